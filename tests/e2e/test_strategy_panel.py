"""The strategy panel in a real browser, from a file somebody wrote to the images it chooses; and reasons on screen."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from stub import Server
from test_component import open_page
from test_pages import App, begin, image_is_there, visit

from tests.conftest import draw

pytestmark = pytest.mark.browser

BY_NUMBER = '''
from labelloop import strategy
from labelloop.strategies import because

@strategy
def by_number(pool, n, rng, *, direction: float = 1.0, word: str = "number"):
    """The highest number first, or the lowest."""
    return because(direction * pool.ids, lambda row: f"its {word} is {pool.ids[row]}")
'''


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(tmp_path_factory.mktemp("cwd"))
    yield app
    app.stop()


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    for k in range(60):
        draw(tmp_path / "leaves" / f"{k}.png", (200 - k, 2 * k, 20) if k < 30 else (20, 2 * k, 220 - k), size=(96, 64))
    return tmp_path / "leaves"


def queue(app: App, key: str) -> list[dict[str, Any]]:
    """What a page that opens now is given, without the exam."""
    with urllib.request.urlopen(f"{app.url}/ll/{key}/queue?client=another&have=&n=12") as reply:
        return [item for item in json.load(reply)["items"] if not item["exam"]]


def queue_when(app: App, key: str, fits: Callable[[list[int]], bool]) -> list[dict[str, Any]]:
    """The queue once the ids in it are as wanted."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        items = queue(app, key)
        if fits([item["id"] for item in items]):
            return items
    raise AssertionError(f"the queue does not follow: {items}")


def test_a_strategy_and_its_setting_decide_what_comes_next(page: Page, app: App, leaves: Path) -> None:
    folder = begin(page, app, leaves)
    image_is_there(page)
    key = (page.locator(".frame img").get_attribute("src") or "").split("/ll/")[1].split("/")[0]
    assert {item["strategy"] for item in queue(app, key)} <= {"auto", "max_herding"}
    (folder / "strategies").mkdir()
    (folder / "strategies" / "mine.py").write_text(BY_NUMBER)

    visit(page, "Progress")
    page.get_by_text("Strategy · auto").click()
    page.get_by_text("by_number", exact=True).click()
    expect(page.get_by_text("The highest number first, or the lowest. · file strategies/mine.py")).to_be_visible()
    page.get_by_role("textbox", name="Word").fill("**rank**")
    page.get_by_role("spinbutton", name="Direction").fill("-1")
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_text("by_number chose the images that come next.")).to_be_visible()
    expect(page.get_by_text("Strategy · by_number")).to_be_visible()
    lowest = queue_when(app, key, lambda ids: ids == sorted(ids))
    assert {item["strategy"] for item in lowest} == {"by_number"}
    assert [item["reason"] for item in lowest] == [f"its **rank** is {item['id']}" for item in lowest]

    # A field that is typed into while the page is still being drawn anew takes its old value back.
    expect(page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]')).to_be_visible()
    page.get_by_role("spinbutton", name="Direction").fill("2.5")
    page.get_by_role("button", name="Use it").click()
    highest = queue_when(app, key, lambda ids: ids == sorted(ids, reverse=True))
    assert {item["strategy"] for item in highest} == {"by_number"}
    visit(page, "Label")
    image_is_there(page)
    visit(page, "Progress")
    page.get_by_text("Strategy · by_number").click()
    expect(page.get_by_role("spinbutton", name="Direction")).to_have_value("2.5")
    expect(page.get_by_role("textbox", name="Word")).to_have_value("**rank**")

    page.get_by_role("button", name="Back to the default").click()
    expect(page.get_by_text("Strategy · auto")).to_be_visible()
    expect(page.get_by_role("button", name="In use")).to_be_disabled()
    expect(page.get_by_text(re.compile("(auto|max_herding) chose the images"))).to_be_visible()
    assert "by_number" not in {item["strategy"] for item in queue(app, key)}


@pytest.mark.parametrize(
    "context_options",
    [{"viewport": {"width": 1280, "height": 800}}, {"viewport": {"width": 390, "height": 844}}],
    ids=["desktop", "phone"],
)
def test_a_long_reason_is_whole_and_moves_no_picture(page: Page, stub: Callable[..., Server]) -> None:
    """122 characters beside three neighbours; every other image is of the exam, whose reason is half as long."""
    names = ["powdery mildew in early stage", "leaf rust of winter wheat ..."]
    server = stub(classes=names, exam_every=2)
    for image in (101, 103, 105):
        server.project.take("other", "ben", {"seq": image, "image": image, "kind": "label", "class": 0})
    open_page(page, server)
    reason, places, lengths = page.locator(".reason"), set(), []
    for _ in range(2):
        image_is_there(page)
        places.add(json.dumps(page.locator(".stage").bounding_box()))
        lengths.append(len(reason.inner_text()))
        assert reason.evaluate("it => it.scrollHeight <= it.clientHeight + 1"), "the reason is cut"
        if lengths[-1] > 100:
            expect(page.locator(".near figure")).to_have_count(3)
        src = page.locator(".frame img").get_attribute("src")
        page.keyboard.press("1")
        expect(page.locator(".frame img")).not_to_have_attribute("src", src or "")
    assert sorted(lengths) == [56, 122]
    assert len(places) == 1
