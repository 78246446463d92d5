"""The labeling page in a real Chromium, on the real server: how fast it paints, and that it loses nothing.

    python benchmarks/labeling_page.py keys IMAGES [--keys 200]      one key every 300 ms, one at a time
    python benchmarks/labeling_page.py training IMAGES --backbone NAME --weights FILE
                                                                     the same while it fine-tunes, begun by itself
    python benchmarks/labeling_page.py burst IMAGES                  20 keys a second for 15 s, SIGKILL half way

IMAGES is a folder of images, taken as a pool without labels; keys 1 to 9 are pressed in turn. Times are the page's
own: from the key event's time stamp to the frame after the one that saw the next picture complete, and to the
acknowledgement of the commit. While it fine-tunes, on all cores (by itself, labelloop leaves one free), it is also
measured how long it takes from the commit of an answer until the queue is chosen anew, looked at every 50 ms. Needs
Chromium.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, percentile, table
from playwright.sync_api import Page, sync_playwright

from labelloop.background import embed
from labelloop.board import read_board
from labelloop.project import Project
from labelloop.train.recipe import labels_wanted
from labelloop.types import Event, Settings

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
CLASSES = [f"kind {k}" for k in range(1, 10)]
ACK = "key → acknowledged"
# Before anything of the page sees a key: which image is on screen, and which key it was.
WATCH = """
window.pressed = [];
addEventListener("keydown", (event) => {
  const inside = (root) => [...root.querySelectorAll("*")].flatMap((e) => (e.shadowRoot ? inside(e.shadowRoot) : []))
    .concat([...root.querySelectorAll(".frame img")]);
  const image = inside(document)[0];
  window.pressed.push({key: event.key, t: event.timeStamp, image: image ? Number(image.src.split("/").pop()) : null});
}, true);
"""


class Server:
    """The app in a process of its own, as `labelloop app` starts it."""

    def __init__(self, project: Path | None) -> None:
        self.project = project
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()
        atexit.register(self.kill)  # also when the benchmark fails

    def start(self) -> None:
        """Start it and wait until it answers."""
        project = [] if self.project is None else [str(self.project)]
        command = [sys.executable, "-m", "labelloop", "app", *project, "--no-browser", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def wait(self) -> None:
        """Wait until it answers."""
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.05)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://localhost:{self.port}"

    def kill(self) -> None:
        """As a power cut would, as far as the process is concerned."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def opened(server: Server) -> Iterator[Page]:
    """The labeling page with its first image on screen."""
    with sync_playwright() as playwright:
        path = os.environ.get("LABELLOOP_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.add_init_script(WATCH)
        page.goto(server.url)
        page.locator(".frame img").first.wait_for(timeout=120_000)
        yield page
        browser.close()


def make_project(folder: Path, images: Path, options: argparse.Namespace) -> Project:
    """A scanned and embedded project, all images unlabeled."""
    weights = options.weights and str(Path(options.weights).resolve())
    project = Project.create(folder, images, CLASSES, Settings(backbone=options.backbone, weights=weights))
    for _ in embed(project):
        pass
    return project


def press_in_turn(page: Page, n: int, every: float) -> None:
    """n label keys, one every so many seconds; a late one is not made up for by two at once."""
    due = time.perf_counter()
    for k in range(n):
        page.keyboard.press(str(k % len(CLASSES) + 1))
        due = max(due + every, time.perf_counter())
        time.sleep(max(0.0, due - time.perf_counter()))


def settle(page: Page) -> None:
    """Wait until everything is saved."""
    page.locator(".saved", has_text="✓ saved").wait_for(timeout=120_000)


def times(page: Page) -> dict[str, list[float]]:
    """Milliseconds from key to paint and to acknowledgement, of every answer."""
    entries: list[dict[str, Any]] = page.evaluate("window.__labelloop.paints")
    paints = [entry["t_paint"] - entry["t_key"] for entry in entries if entry["t_paint"] is not None]
    return {"key → next image painted": paints, ACK: [e["ack_ms"] for e in entries if e["ack_ms"]]}


def print_times(title: str, measured: dict[str, list[float]]) -> None:
    """A table of percentiles."""
    print(f"\n### {title}\n\n{machine()}\n")
    rows = [
        [name, len(values), *(f"{percentile(values, q):.0f}" for q in (50, 95, 100))]
        for name, values in measured.items()
    ]
    print(table(["milliseconds", "n", "p50", "p95", "max"], rows))


def keys(options: argparse.Namespace, work: Path) -> None:
    """Single keys at a person's speed."""
    make_project(work / "project", options.images, options).close()
    server = Server(work / "project")
    server.wait()
    with opened(server) as page:
        time.sleep(3)  # the page has settled
        press_in_turn(page, options.keys, 0.3)
        settle(page)
        print_times(f"{options.keys} keys, one every 300 ms", times(page))
    server.kill()


class Watch:
    """Looks, in a thread, up to which event of the log the server has chosen its queue."""

    def __init__(self, page: Page, server: Server) -> None:
        source = page.locator(".frame img").first.get_attribute("src") or ""
        self.url = server.url + source.partition("/view/")[0] + "/state"  # /ll/KEY/state
        self.seen: list[tuple[float, int]] = []  # seconds since 1970, id of the newest event
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            with urllib.request.urlopen(self.url, timeout=10) as reply:
                self.seen.append((time.time(), json.load(reply)["seen_event"]))

    def milliseconds(self, events: Iterable[Event]) -> list[float]:
        """From the commit of each event until the queue was based on it; ends the thread."""
        self._over.set()
        self._thread.join()
        took = []
        for event in events:
            committed = datetime.fromisoformat(event.at).timestamp()
            took.append(1000 * next(when - committed for when, newest in self.seen if newest >= (event.id or 0)))
        return took


def training(options: argparse.Namespace, work: Path) -> None:
    """Single keys while the worker fine-tunes, which began by itself; only answers given while it ran are counted."""
    project = make_project(work / "project", options.images, options)
    board = read_board(project)
    some = np.flatnonzero(~board.held_out)[: labels_wanted(len(CLASSES)) - 3]
    project.log.append([Event(image_id=int(row) + 1, kind="label", class_index=int(row) % 9) for row in some])
    os.environ["OMP_NUM_THREADS"] = str(os.cpu_count())  # what the worker would set to one core less
    server = Server(work / "project")
    server.wait()
    with opened(server) as page:
        watch = Watch(page, server)
        while (job := project.jobs.latest("fine-tune")) is None:
            press_in_turn(page, 1, 0.3)
        while not (job := project.jobs.get(job.id)).message.startswith("step 1"):
            assert job.is_open, f"it does not train: {job}"
            time.sleep(0.3)
        settle(page)
        before, last, began = len(times(page)[ACK]), project.log.last_id(), job.message
        press_in_turn(page, options.keys, 0.3)
        settle(page)
        job, newest = project.jobs.get(job.id), project.log.last_id()
        assert job.is_open, f"the training was over before the keys were: {job}"
        while watch.seen[-1][1] < newest:
            time.sleep(0.1)
        measured = {name: values[before:] for name, values in times(page).items()}
        measured["answer → queue chosen anew"] = watch.milliseconds(project.log.since(last))
        print_times(f"{options.keys} keys, one every 300 ms, from {began!r} to {job.message!r}", measured)
    project.jobs.stop(job.id)
    server.kill()


def burst(options: argparse.Namespace, work: Path) -> None:
    """20 keys a second for 15 s, the server killed half way and started again; then the log is compared."""
    project = make_project(work / "project", options.images, options)
    server = Server(work / "project")
    server.wait()
    with opened(server) as page:
        time.sleep(options.settle)
        press_in_turn(page, 150, 0.05)
        server.kill()
        server.start()
        press_in_turn(page, 150, 0.05)
        server.wait()
        settle(page)
        entries = page.evaluate("window.__labelloop.paints")
        pressed = {press["t"]: press for press in page.evaluate("window.pressed")}
    stored = {event.seq: event for event in project.log.since()}
    wrong = lost = 0
    for entry in entries:
        event, press = stored.get(entry["seq"]), pressed[entry["t_key"]]
        if event is None:
            lost += 1
        elif (event.image_id, event.class_index) != (press["image"], int(press["key"]) - 1):
            wrong += 1
    print(f"\n### 20 keys a second for 15 s, SIGKILL of the server half way\n\n{machine()}\n")
    refused = len(pressed) - len(entries)
    unseen = sum(press["image"] is None for press in pressed.values())
    head = ["keys pressed", "answers taken", "in the log", "taken and lost", "wrong", "refused", "… no image on screen"]
    print(table(head, [[len(pressed), len(entries), len(stored), lost, wrong, refused, unseen]]))
    server.kill()


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["keys", "training", "burst"])
    parser.add_argument("images", type=Path)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--weights")
    parser.add_argument("--settle", type=float, default=10.0, help="seconds on the page before the burst")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        {"keys": keys, "training": training, "burst": burst}[options.what](options, Path(work))


if __name__ == "__main__":
    main()
