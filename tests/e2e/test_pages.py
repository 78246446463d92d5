"""The whole app in a real browser: from a folder of images to an exported one, over reloads, restarts, dead workers."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import Errors, Stops
from playwright.sync_api import BrowserContext, Page, expect

from labelloop.project import Project
from labelloop.types import Settings
from labelloop.worker import embed
from tests.conftest import PATIENCE, draw

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SERVE = "import sys; from labelloop.server import serve; serve(None, port=int(sys.argv[1]), browser=False)"
HOSTILE = "**b** <i>x</i> :smile: $a$"
# What Chromium and Streamlit write when a server is away.
OFFLINE = ["Failed to load resource", "WebSocket connection", "Client Error", "Is Streamlit still running?",
           "Cannot send rerun"]  # fmt: skip


class App:
    """The real server in a process of its own, in an empty directory, without a project."""

    def __init__(self, cwd: Path):
        self.cwd = cwd
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://localhost:{self.port}"
        self.start()

    def start(self) -> None:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HOME": str(self.cwd)}
        env.pop("LABELLOOP_PROJECT", None)
        self.log = (self.cwd / "server.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(self.port)], cwd=self.cwd, env=env, stdout=self.log, stderr=self.log
        )
        until = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, (self.cwd / "server.log").read_text()
            assert time.monotonic() < until, "the server does not answer"

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1) as reply:
            return reply.status == 200
        return False

    def stop(self, sign: int = signal.SIGTERM) -> None:
        self.process.send_signal(sign)
        self.process.wait(timeout=20)
        self.log.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One server for all tests that leave it alive."""
    app = App(tmp_path_factory.mktemp("cwd"))
    yield app
    app.stop()


@pytest.fixture
def mortal_app(tmp_path: Path, servers: list[Stops]) -> App:
    """A server for one test."""
    (tmp_path / "cwd").mkdir()
    app = App(tmp_path / "cwd")
    servers.append(app)
    return app


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    """Sixty images in one folder: the first half reddish, the others bluish."""
    for k in range(60):
        color = (200 - k, 2 * k, 20) if k < 30 else (20, 2 * k, 220 - k)
        draw(tmp_path / "leaves" / f"leaf {k:02d} *.png", color, size=(96, 64))
    return tmp_path / "leaves"


@pytest.fixture
def look() -> Iterator[Callable[[Path], Project]]:
    """Opens projects beside the server, as another program would."""
    opened: list[Project] = []

    def open_it(folder: Path) -> Project:
        opened.append(Project(folder))
        return opened[-1]

    yield open_it
    for project in opened:
        project.close()


def begin(page: Page, app: App, images: Path, classes: str = f"red\nblue\n{HOSTILE}", by: str = "anna") -> Path:
    """What a newcomer does on Start; returns the project folder."""
    page.goto(app.url)
    page.get_by_role("textbox", name="Folder with your images").press_sequentially(str(images))
    expect(page.get_by_text(re.compile(r"\d+ images found"))).to_be_visible()
    page.get_by_role("textbox", name="What can an image show?").fill(classes)
    page.get_by_role("textbox", name="Your name").fill(by)
    page.get_by_role("textbox", name="Your name").press("Tab")
    expect(page).to_have_url(re.compile(f"by={by}"))
    # While Streamlit runs the page anew, what has moved stands there twice for a moment.
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    start = page.get_by_role("button", name="Start labeling")
    expect(start).to_have_count(1)
    start.last.click()
    return images.with_name(f"{images.name}-labels")


def image_is_there(page: Page) -> None:
    """On screen, for two frames: a key that comes before the image could be seen is no answer to it."""
    expect(page.locator(".frame img")).to_be_visible(timeout=1000 * PATIENCE)  # once it is embedded
    page.evaluate("new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(seen)))")


def label(page: Page, *keys: str) -> None:
    """Keys, each when the next image is on screen; ends when all are on disk."""
    for key in keys:
        image_is_there(page)
        before = page.locator(".frame img").get_attribute("src")
        page.keyboard.press(key)
        expect(page.locator(".frame img")).not_to_have_attribute("src", before or "")
    expect(page.locator(".saved")).to_have_text("✓ saved")


def visit(page: Page, name: str) -> None:
    """Ends when the page is there: of clicks on links that come too fast, Streamlit goes by the last one only."""
    link = page.get_by_role("link", name=name, exact=True)
    path = urlsplit(link.get_attribute("href") or "").path
    link.click()
    expect(page).to_have_url(re.compile(rf"://[^/]+{re.escape(path)}(\?|$)"))
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def labels(project: Project) -> dict[int, str]:
    return {a.image_id: project.classes[a.class_index or 0] for a in project.log.answers() if a.kind == "label"}


def test_from_a_folder_of_images_to_an_exported_one(
    page: Page, app: App, leaves: Path, look: Callable[[Path], Project]
) -> None:
    folder = begin(page, app, leaves)
    label(page, "1", "2", "1", "3")
    page.reload()
    label(page, "2", "2")
    project = look(folder)
    assert len(labels(project)) == 6
    assert {event.by for event in project.log.since(0)} == {"anna"}

    visit(page, "Progress")
    expect(page.get_by_test_id("stMetricValue").first).to_have_text("6")
    expect(page.get_by_text("of 20 exam images answered")).to_be_visible()

    visit(page, "Export")
    expect(page.get_by_text("6 images will be written")).to_be_visible()
    page.get_by_role("combobox", name="Format").click()
    page.get_by_role("option", name="imagefolder").click()
    out = leaves.with_name("leaves-labels-export")
    expect(page.get_by_role("textbox", name="Write to")).to_have_value(str(out))
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.get_by_text("6 labels written to")).to_be_visible()
    check_export(out, project)


def check_export(out: Path, project: Project) -> None:
    """Each label is one file, byte for byte, in the folder of its split and class; nothing else is there."""
    folders = {entry["name"]: entry["folder"] for entry in json.loads((out / "classes.json").read_text())}
    wanted = {
        (f"{'test' if image.held_out else 'train'}/{folders[name]}", image.path.read_bytes())
        for image_id, name in labels(project).items()
        for image in [project.catalog.image(image_id)]
    }
    found = list(out.rglob("*.png"))
    assert len(found) == len(labels(project)) == len(wanted)
    assert {(path.parent.relative_to(out).as_posix(), path.read_bytes()) for path in found} == wanted


def test_the_folder_with_the_images_is_found_by_looking(page: Page, app: App, tmp_path: Path) -> None:
    draw(tmp_path / HOSTILE.replace("/", "") / "field a" / "leaf.png", (1, 2, 3))
    page.goto(app.url)
    field = page.get_by_role("textbox", name="Folder with your images")
    field.fill(str(tmp_path / "not there"))
    page.get_by_role("button", name="Browse").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(str(tmp_path), exact=True)).to_be_visible()
    dialog.get_by_role("button", name="**b** <i>x<i>").click()
    dialog.get_by_role("button", name="field a").click()
    expect(dialog.get_by_text("No folders in here.")).to_be_visible()
    expect(dialog.get_by_text("1 image in it")).to_be_visible()
    dialog.get_by_role("button", name="Up").click()
    expect(dialog.get_by_role("button", name="field a")).to_be_visible()
    dialog.get_by_role("button", name="Take this folder").click()
    expect(dialog).to_have_count(0)
    expect(field).to_have_value(str(tmp_path / HOSTILE.replace("/", "")))
    expect(page.get_by_text("1 image found")).to_be_visible()


def test_in_a_narrow_window_figures_are_whole(page: Page, app: App, leaves: Path) -> None:
    begin(page, app, leaves)
    visit(page, "Progress")
    figures = page.get_by_test_id("stMetricValue").get_by_test_id("stMarkdownContainer")
    figure = figures.filter(has_text="Not enough yet")
    expect(figure).to_be_visible()
    page.set_viewport_size({"width": 683, "height": 400})  # a laptop at 200 %
    expect(page.get_by_test_id("stTopNavLink")).to_have_count(0)
    assert figure.evaluate("(figure) => figure.scrollWidth <= figure.clientWidth")


def test_the_way_to_the_pages_is_seen_without_a_mouse(page: Page, app: App, leaves: Path) -> None:
    begin(page, app, leaves)
    page.get_by_role("link", name="Progress", exact=True).focus()
    page.keyboard.press("Shift+Tab")
    link = page.get_by_role("link", name="Review", exact=True)
    expect(link).to_be_focused()
    expect(link).to_have_css("outline-style", "solid")


def test_two_people_in_two_windows_get_different_images(
    page: Page, context: BrowserContext, app: App, leaves: Path, look: Callable[[Path], Project]
) -> None:
    folder = begin(page, app, leaves)
    image_is_there(page)
    other = context.new_page()
    other.goto(f"{app.url}/?project={folder}&by=ben")
    for key in "1212":
        label(page, key)
        label(other, key)
    events = list(look(folder).log.since(0))
    assert sorted(event.by for event in events) == ["anna"] * 4 + ["ben"] * 4
    assert len({event.image_id for event in events}) == 8, [
        (e.by, e.image_id, e.round, e.strategy, e.client, e.seq) for e in events
    ]


def test_leaving_the_page_takes_no_image_along(
    page: Page, app: App, leaves: Path, look: Callable[[Path], Project]
) -> None:
    for path in sorted(leaves.iterdir())[14:]:
        path.unlink()
    folder = begin(page, app, leaves)
    for keys in ("1212", "121", "21212"):
        label(page, *keys)
        for name in ("Review", "Progress", "Label"):
            visit(page, name)
            page.wait_for_load_state("networkidle")
    label(page, "1")
    image_is_there(page)
    page.keyboard.press("2")
    expect(page.get_by_text("Everything here is labeled")).to_be_visible()
    expect(page.locator(".saved")).to_have_text("✓ saved")
    assert len(labels(look(folder))) == 14


def test_a_restarted_server_finds_the_project_again(
    page: Page, mortal_app: App, leaves: Path, errors: Errors, look: Callable[[Path], Project]
) -> None:
    errors.expected += OFFLINE
    folder = begin(page, mortal_app, leaves)
    label(page, "1", "2")
    mortal_app.stop(signal.SIGKILL)
    mortal_app.start()
    page.reload()
    label(page, "1")
    assert len(labels(look(folder))) == 3


def test_labeling_goes_on_over_a_restart_without_a_reload(
    page: Page, mortal_app: App, leaves: Path, errors: Errors, look: Callable[[Path], Project]
) -> None:
    errors.expected += OFFLINE
    folder = begin(page, mortal_app, leaves)
    label(page, "1")
    mortal_app.stop(signal.SIGKILL)
    with page.expect_console_message(lambda message: "Is Streamlit still running?" in message.text, timeout=30_000):
        page.keyboard.press("2")
    expect(page.get_by_role("dialog").filter(visible=True)).to_have_count(0)
    expect(page.locator(".trouble")).to_have_text(re.compile("connection lost, 1 answer safe in this browser"))
    page.keyboard.press("n")
    page.keyboard.type("noted meanwhile")
    page.keyboard.press("Enter")
    mortal_app.start()
    expect(page.locator(".saved")).to_have_text("✓ saved", timeout=60_000)
    expect(page.locator(".trouble")).to_be_hidden()
    project = look(folder)
    assert sorted(labels(project).values()) == ["blue", "red"]
    assert [event.note for event in project.log.since(0) if event.kind == "note"] == ["noted meanwhile"]


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the worker the way Linux shows processes")
def test_a_killed_worker_is_told_and_goes_on(
    page: Page, app: App, leaves: Path, look: Callable[[Path], Project]
) -> None:
    folder = begin(page, app, leaves)
    os.kill(worker_of(folder), signal.SIGKILL)
    project = look(folder)
    with project.db.conn:  # a minute later
        project.db.conn.execute("UPDATE jobs SET heartbeat = heartbeat - 60")
    visit(page, "Progress")
    expect(page.get_by_text("Getting to know the images failed.")).to_be_visible()
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("Getting to know the images: done")).to_be_visible(timeout=1000 * PATIENCE)
    visit(page, "Label")
    label(page, "1")


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the worker the way Linux shows processes")
def test_a_worker_killed_while_training_leaves_the_old_model_in_charge(
    page: Page, mortal_app: App, leaves: Path, look: Callable[[Path], Project]
) -> None:
    folder = trainable(leaves)
    page.goto(f"{mortal_app.url}/?project={folder}&by=anna")
    image_is_there(page)
    page.keyboard.press("t")
    project = look(folder)
    until = time.monotonic() + PATIENCE
    while (job := project.jobs.latest("fine-tune")) is None or not job.done:
        assert time.monotonic() < until, f"it does not train: {job}"
        assert job is None or job.is_open, job
    os.kill(worker_of(folder), signal.SIGKILL)
    said = "fine-tuning failed: the background process was killed"
    expect(page.locator(".job")).to_contain_text(said, timeout=30_000)
    label(page, "1", "2")
    assert project.features_in_charge["name"] == "base"
    assert len(labels(project)) == 42
    page.keyboard.press("t")
    while (job := project.jobs.latest("fine-tune")) is None or job.state != "done":
        assert time.monotonic() < until + PATIENCE, f"it does not end: {job}"
        assert job is None or job.state != "failed" or "was killed" in job.message, job
    assert re.search(r"\d+ of \d+ .* right after fine-tuning, \d+ before: the (new|old) model", job.message)
    label(page, "1")


def trainable(images: Path) -> Path:
    """A project whose backbone is a tiny network that can be fine-tuned, with forty labels."""
    import timm
    from safetensors.torch import save_file

    weights = images.with_name("tiny.safetensors")
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    settings = Settings(backbone="test_resnet", weights=str(weights))
    with Project.create(images.with_name("training"), images, ["red", "blue"], settings) as project:
        for _ in embed(project):
            pass
        for image in list(project.catalog.images().values())[:40]:
            project.label(image.id, "red" if int(image.name.split()[1]) < 30 else "blue")
        return project.folder


def worker_of(folder: Path) -> int:
    """The process that works for this project."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it ended meanwhile
                words = process.read_bytes().split(b"\0")
                if os.fsencode(folder) in words and any(b"labelloop.worker" in word for word in words):
                    return int(process.parent.name)
    raise AssertionError("no worker was started")


def test_what_cannot_be_is_shown_as_it_is(page: Page, app: App, leaves: Path) -> None:
    name = f"{HOSTILE} :red[y]"
    begin(page, app, leaves, classes=f"{name}\n{name.upper()}")
    alert = page.get_by_role("alert")
    expect(alert).to_be_in_viewport()
    expect(alert).to_contain_text(f"'{name}' and '{name.upper()}' are the same".replace(":", ":\u2060"))
    expect(page.get_by_role("textbox", name="Folder with your images")).to_have_value(str(leaves))


def test_nothing_is_fetched_from_elsewhere(page: Page, app: App, leaves: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    begin(page, app, leaves)
    image_is_there(page)
    for name in ("Review", "Progress", "Export", "Start", "Label"):
        visit(page, name)
        page.wait_for_load_state("networkidle")
    assert {url.split("/")[2] for url in asked if url.startswith(("http", "ws"))} == {f"localhost:{app.port}"}
