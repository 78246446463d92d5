"""From pointing at a folder to the first image, from an answer to the next choice, and a project of 100,000 images.

    python benchmarks/scale.py start [--backbone NAME --weights FILE]      1,000 photographs, no label
    python benchmarks/scale.py rechoose                                    10,000 images × 2,432 features
    python benchmarks/scale.py large                                       100,000 images × 2,432 features

`start` is measured in Chromium: from the click on Start to the first chosen picture on screen; with --weights, from
making the project to the picture, the loading of the page included. The features of the other two
are random numbers around 50 centres, with 400 labels: the arithmetic is the same as with real ones. `large` labels in
the browser and reads the memory of the server's process.
"""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from common import machine, percentile, table
from labeling_page import CLASSES, FLAGS, Server, opened, press_in_turn, print_times, settle, times
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from labelloop import worker
from labelloop.features import FeatureStore
from labelloop.live import Live
from labelloop.project import Project
from labelloop.types import Event, Settings

DIM, CENTRES, LABELS = 2432, 50, 400  # features: as many as tf_efficientnet_lite0 has


def photographs(folder: Path, n: int) -> None:
    """n JPEG files of 640 × 480 that a camera could have taken, as far as their size and decoding go."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (n, 12, 16, 3), dtype=np.uint8)
    for k in range(n):
        image = Image.fromarray(small[k]).resize((640, 480), Image.Resampling.BICUBIC)
        image.save(folder / f"photo_{k:06d}.jpg", quality=88)


def tiny_images(folder: Path, n: int) -> None:
    """n different images of a few hundred bytes."""
    for k in range(n):
        below = folder / f"{k // 1000:03d}"
        below.mkdir(parents=True, exist_ok=True)
        out = io.BytesIO()
        Image.new("RGB", (16, 16), (k % 256, k // 256 % 256, k // 65536 * 40)).save(out, "PNG")
        (below / f"{k:06d}.png").write_bytes(out.getvalue())


def with_features(folder: Path, images: Path, n: int) -> tuple[Project, float]:
    """A project over n tiny images with made-up features and 400 labels; and the seconds that its scan took."""
    tiny_images(images, n)
    project = Project.create(folder, images, CLASSES, Settings())
    start = time.perf_counter()
    for _ in project.catalog.scan():
        pass
    scan = time.perf_counter() - start
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CENTRES, DIM)).astype(np.float32)
    group = rng.integers(0, CENTRES, n)
    store = FeatureStore.create(project.features_folder("base"), DIM, {"backbone": "made up"})
    store.grow(n)
    for k in range(0, n, 10_000):
        some = centres[group[k : k + 10_000]] + rng.normal(size=(len(group[k : k + 10_000]), DIM)).astype(np.float32)
        store.write(np.arange(k, k + len(some)) + 1, some / np.linalg.norm(some, axis=1, keepdims=True))
    events = [
        Event(image_id=int(i) + 1, kind="label", class_index=int(group[i] % len(CLASSES)))
        for i in rng.choice(n, LABELS, replace=False)
    ]
    project.log.append(events)
    return project, scan


def rechoose(options: argparse.Namespace, work: Path) -> None:
    """An answer, until the queue is based on it."""
    project, _ = with_features(work / "project", work / "images", 10_000)
    live = Live(project)
    live.start()
    live.wait_for(project.log.last_id(), 120)
    seconds = []
    for k in range(30):
        pick = live.take("page", [], 4)[0]
        start = time.perf_counter()
        live.answer([Event(image_id=pick.image_id, kind="label", class_index=k % 9, client="page", seq=k)])
        assert live.wait_for(project.log.last_id(), 60)
        seconds.append(time.perf_counter() - start)
    live.close()
    print(f"\n### Answer → head refitted → queue chosen anew: 10,000 images × {DIM}, {LABELS} labels\n\n{machine()}\n")
    row = [len(seconds), *(f"{percentile(seconds, q):.2f}" for q in (50, 95, 100))]
    print(table(["answers", "seconds p50", "p95", "max"], [row]))


def large(options: argparse.Namespace, work: Path) -> None:
    """100,000 images: open, label, memory."""
    project, scan = with_features(work / "project", work / "images", 100_000)
    opening = []
    for _ in range(5):
        start = time.perf_counter()
        with Project(work / "project") as again:
            live = Live(again)
        opening.append(time.perf_counter() - start)
    del live
    project.close()
    start = time.perf_counter()
    server = Server(work / "project")
    server.wait()
    up = time.perf_counter() - start
    with opened(server) as page:
        first = time.perf_counter() - start
        time.sleep(5)
        press_in_turn(page, 100, 0.3)
        settle(page)
        measured = times(page)
        memory = resident(server.process.pid)
    server.kill()
    print(f"\n### 100,000 images × {DIM}, {LABELS} labels\n\n{machine()}\n")
    rows = [
        ["scan of 100,000 files", f"{scan:.1f} s"],
        ["open the project and read its state (median of 5)", f"{statistics.median(opening):.2f} s"],
        ["`labelloop app` → it answers", f"{up:.1f} s"],
        ["`labelloop app` → first chosen image in the browser, browser start included", f"{first:.1f} s"],
        ["memory of the server after 100 labels: its own", f"{memory['own']:.0f} MB"],
        ["… and with the features it has mapped, shared with the worker", f"{memory['all']:.0f} MB"],
    ]
    print(table(["what", "measured"], rows))
    print_times("100 keys in it, one every 300 ms", measured)


def resident(pid: int) -> dict[str, float]:
    """Resident memory in MB: anonymous, and all."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(fields[field].split()[0]) / 1024 for name, field in (("own", "RssAnon"), ("all", "VmRSS"))}


def start(options: argparse.Namespace, work: Path) -> None:
    """A newcomer: from the click on Start to the first chosen picture."""
    photographs(work / "photos", 1000)
    seconds = []
    for k in range(3):
        (work / f"desk{k}").mkdir()
        server = Server(None)
        server.wait()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(server.url)
            folder = work / f"desk{k}" / "project"
            if options.weights:
                seconds.append(make_and_open(page, server.url, work / "photos", folder, options))
            else:
                seconds.append(fill_and_start(page, work / "photos", folder))
            browser.close()
        with Project(folder) as project:  # the next run must not share the machine with this one's worker
            job = project.jobs.latest()
            while job is not None and job.is_open:
                project.jobs.stop(job.id)
                time.sleep(0.5)
                job = project.jobs.latest()
        server.kill()
    print(f"\n### 1,000 photographs of 640 × 480, no label, {options.backbone}: Start → first image\n\n{machine()}\n")
    print(table(["runs", "seconds, median", "max"], [[3, f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}"]]))


def fill_and_start(page: Page, images: Path, folder: Path) -> float:
    """Fill in the Start page; returns the seconds from the click to the picture."""
    page.get_by_role("textbox", name="Folder with your images").fill(str(images))
    page.get_by_text("images found").wait_for()
    page.get_by_role("textbox", name="What can an image show?").fill("one, two, three")
    page.get_by_role("textbox", name="Where to keep the labels").fill(str(folder))
    page.get_by_role("button", name="Start labeling").click()
    begin = time.perf_counter()
    page.locator(".frame img").first.wait_for(timeout=120_000)
    return time.perf_counter() - begin


def make_and_open(page: Page, url: str, images: Path, folder: Path, options: argparse.Namespace) -> float:
    """Make a project with a backbone of one's own, as the Start page does, and open it; returns the seconds."""
    begin = time.perf_counter()
    settings = Settings(backbone=options.backbone, weights=str(Path(options.weights).resolve()))
    with Project.create(folder, images, ["one", "two", "three"], settings) as project:
        worker.start(project, "embed")
    page.goto(f"{url}/label?project={folder}")
    page.locator(".frame img").first.wait_for(timeout=120_000)
    return time.perf_counter() - begin


def main() -> None:
    """Parse, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["start", "rechoose", "large"])
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--weights")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        {"start": start, "rechoose": rechoose, "large": large}[options.what](options, Path(work))


if __name__ == "__main__":
    main()
