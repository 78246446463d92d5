"""A slip of the hand, a slow server or a small window costs nobody an answer, a note or the picture."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from conftest import Errors
from playwright.sync_api import Locator, Page, expect
from stub import Server
from test_component import (
    OFFLINE,
    expect_image,
    open_grid,
    open_page,
    press,
    said,
    saved,
    selected,
    tile,
)  # fmt: skip

from labelloop.ui.component import static_version

pytestmark = pytest.mark.browser

Stub = Callable[..., Server]
PHONE = {"viewport": {"width": 375, "height": 667}, "has_touch": True, "is_mobile": True}
MODULES = f"/ll/static/{static_version()}"


# -- many images at once


def test_all_on_screen_means_those_without_an_answer(page: Page, stub: Stub) -> None:
    project = open_grid(page, stub())
    tile(page, 1).click()
    press(page, "2", "a")
    assert 1 not in selected(page)
    press(page, "1")
    saved(page)
    labels = project.labels()
    assert labels.pop(2) == 1
    assert len(labels) >= 17
    assert set(labels.values()) == {0}


def test_all_in_a_review_means_all(page: Page, stub: Stub) -> None:
    server = stub()
    for image in (1, 2, 3):
        server.project.take("before", "bob", {"seq": image, "image": image, "kind": "label", "class": 0})
    open_page(page, server, "?mode=review")
    press(page, "a")
    assert selected(page) == [0, 1, 2]


def test_a_range_grows_and_shrinks(page: Page, stub: Stub) -> None:
    open_grid(page, stub())
    tile(page, 0).click()
    tile(page, 5).click(modifiers=["Shift"])
    assert selected(page) == [0, 1, 2, 3, 4, 5]
    tile(page, 2).click(modifiers=["Shift"])
    assert selected(page) == [0, 1, 2]
    tile(page, 8).click(modifiers=["Control"])
    tile(page, 10).click(modifiers=["Shift"])
    tile(page, 9).click(modifiers=["Shift"])
    assert selected(page) == [0, 1, 2, 8, 9]


SELECTION = """async (module) => {
  const { Selection } = await import(module);
  const one = new Selection();
  const seen = [];
  one.only(1);
  one.startDrag(true);
  one.drag([4, 5]);
  one.drag([4]);
  seen.push(one.targets());
  one.toggle(7);
  one.startDrag(true);
  one.extendTo(9);
  one.startDrag(true);
  one.extendTo(8);
  seen.push(one.targets());
  one.clear();
  one.extendTo(6);
  seen.push(one.targets());
  return seen;
}"""


def test_a_range_keeps_what_was_selected_otherwise(page: Page, stub: Stub) -> None:
    open_page(page, stub())
    assert page.evaluate(SELECTION, f"{MODULES}/selection.js") == [[1, 4], [1, 4, 7, 8], [6, 7]]


# -- answers and notes


def double_click(page: Page, on: Locator) -> None:
    """Two clicks 80 ms apart, by the times that they carry: a busy machine would put more between them."""
    box = on.bounding_box()
    assert box
    browser, begin = page.context.new_cdp_session(page), time.time()
    where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "button": "left"}
    for count, after in ((1, 0.0), (2, 0.08)):
        for kind, held in (("mousePressed", 0.0), ("mouseReleased", 0.04)):
            event = {"type": kind, "clickCount": count, "timestamp": begin + after + held}
            browser.send("Input.dispatchMouseEvent", where | event)


def test_a_double_click_labels_one_image(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    double_click(page, page.locator(".class").nth(1))
    expect(page.locator(".toast")).to_have_text("a double click counts once")
    expect_image(page, 2)
    saved(page)
    assert said(project) == [(1, "label", 1)]


SLOW = """(path) => {
  const { fetch } = window;
  window.later = new Promise((done) => (window.goOn = done));
  window.fetch = async (url, options) => {
    if (String(url).endsWith(path)) await window.later;
    return fetch(url, options);
  };
}"""


@pytest.mark.parametrize("leave", ["Escape", "a click on a class"])
def test_a_class_that_comes_late_is_not_for_the_next_image(page: Page, stub: Stub, leave: str) -> None:
    project = open_page(page, stub())
    page.evaluate(SLOW, "/classes")
    press(page, "/")
    page.keyboard.type("volcano")
    press(page, "Enter")
    if leave == "Escape":
        press(page, "Escape", "1")
    else:
        page.locator(".class").first.click()
    expect_image(page, 2)
    page.evaluate("window.goOn()")
    expect(page.locator(".class .name")).to_have_text(["rust", "mildew", "healthy", "volcano"])
    press(page, "2")
    saved(page)
    assert said(project) == [(1, "label", 0), (2, "label", 1)]


def test_a_name_typed_while_the_one_before_is_added_is_whole(page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected.append("400 (Bad Request)")  # a name that is taken
    project = open_page(page, stub())
    page.evaluate(SLOW, "/classes")
    page.locator(".add").click()
    page.keyboard.type("ibis")
    press(page, "Enter")
    expect(page.locator(".finder .message")).to_have_text("adding ibis…")
    page.keyboard.type("flamin")
    page.evaluate("window.goOn()")
    expect(page.locator(".class .name")).to_have_text(["rust", "mildew", "healthy", "ibis"])
    page.keyboard.type("go")
    press(page, "Enter")
    expect(page.locator(".class .name")).to_have_text(["rust", "mildew", "healthy", "ibis", "flamingo"])
    project.classes.append("stork")  # by somebody else
    page.keyboard.type("stork")
    press(page, "Enter")
    expect(page.locator(".finder .message")).to_contain_text("already")
    expect(page.locator(".finder input")).to_have_value("stork")


def test_without_classes_there_is_none_to_rename(page: Page, stub: Stub) -> None:
    open_page(page, stub(classes=[]))
    expect(page.locator(".invite")).to_be_visible()
    expect(page.locator(".rename")).to_be_hidden()
    page.locator(".add").click()
    page.keyboard.type("rust")
    press(page, "Enter")
    expect(page.locator(".rename")).to_be_visible()


def test_only_escape_throws_a_note_away(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "n")
    page.keyboard.type("drought?")
    page.locator(".frame").click()
    expect(page.locator(".note")).to_be_hidden()
    expect(page.locator(".note-text")).to_have_text("note: drought?")
    press(page, "n")
    page.keyboard.type(" no")
    press(page, "Escape", "n", "Enter", "n")
    page.locator(".words").click()
    saved(page)
    assert [(e["kind"], e["note"]) for e in project.log] == [("note", "drought?")]


def test_no_text_for_several_images_leaves_their_notes(page: Page, stub: Stub) -> None:
    server = stub()
    server.project.notes = {1: "one", 2: "two"}
    project = open_grid(page, server)
    tile(page, 0).click()
    tile(page, 1).click(modifiers=["Control"])
    press(page, "n", "Enter")
    assert project.log == []
    press(page, "n")
    page.keyboard.type("both")
    press(page, "Enter", "n")
    expect(page.get_by_label("Note")).to_have_value("both")
    page.get_by_label("Note").fill("")
    press(page, "Enter")
    saved(page)
    assert project.notes == {1: "", 2: ""}


def test_undo_takes_a_flag_back_before_the_answer(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "1", "f", "z")
    expect_image(page, 2)
    expect(page.locator(".badge.flag")).to_have_count(0)
    saved(page)
    assert said(project) == [(1, "label", 0), (2, "flag", None), (2, "unflag", None)]
    press(page, "z")
    expect_image(page, 1)
    saved(page)
    assert project.labels() == {}


# -- the server is away


def count(page: Page, path: str) -> list[str]:
    """The requests to this path from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if path in request.url else None)
    return asked


def test_a_grid_without_images_does_not_ask_again_and_again(page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected += OFFLINE
    server = stub(images=2)
    open_page(page, server)
    press(page, "1", "1", "g")
    saved(page)
    expect(page.locator(".grid .empty")).to_have_text("No images here.")
    server.stop()
    asked = count(page, "/queue?")
    expect(page.locator(".trouble")).to_have_text("connection lost, trying again…", timeout=15_000)
    page.wait_for_timeout(3000)
    assert len(asked) < 10
    server.project.images = 5
    server.start()
    expect(tile(page, 0)).to_be_visible()
    expect(page.locator(".trouble")).to_be_hidden()


def test_a_review_opens_when_the_server_is_back(page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected += OFFLINE
    server = stub()
    server.project.take("before", "bob", {"seq": 1, "image": 1, "kind": "label", "class": 0})
    failing = True
    page.route("**/ll/stub/review?*", lambda route: route.abort() if failing else route.continue_())
    page.goto(f"{server.url}?mode=review")
    expect(page.locator(".trouble")).to_have_text("connection lost, trying again…")
    press(page, "Escape")
    expect(page.locator(".trouble")).to_be_visible()
    failing = False
    expect(tile(page, 0)).to_be_visible()
    expect(page.locator(".trouble")).to_be_hidden()


# -- names and keys


def test_another_name_is_shown_everywhere(page: Page, stub: Stub) -> None:
    server = stub(exam_every=0)
    for image in (1, 2, 3):
        server.project.take("before", "bob", {"seq": image, "image": image, "kind": "label", "class": 0})
    open_page(page, server)
    expect(page.locator(".near figcaption")).to_have_text(["rust"] * 3)
    rename(page, "rust", "red")
    expect(page.locator(".near figcaption")).to_have_text(["red"] * 3)
    page.goto(f"{server.url}?mode=review")
    rename(page, "red", "scarlet")
    expect(page.get_by_label("Class", exact=True).locator("option").nth(1)).to_have_text("scarlet")


def rename(page: Page, name: str, to: str) -> None:
    page.get_by_role("button", name="rename…").click()
    page.keyboard.type(name)
    press(page, "Enter")
    page.get_by_label(f"new name of {name}").fill(to)
    press(page, "Enter")
    expect(page.locator(".finder")).to_be_hidden()


def test_a_class_keeps_its_key_whatever_it_is_called(page: Page, stub: Stub) -> None:
    names = [f"class {i}" for i in range(1, 11)] + ["robin", "blackbird", "bullfinch"]
    project = open_page(page, stub(classes=names))
    keys = page.locator(".classes kbd:not(.enter)")
    before = [*"1234567890", "O", "B", "L"]
    assert keys.all_text_contents() == before
    rename(page, "robin", "bobolink")
    assert keys.all_text_contents() == before
    page.locator(".add").click()
    page.keyboard.type("lark")
    press(page, "Enter", "Escape")
    expect(keys).to_have_count(14)
    added = [*before, "K"]
    assert keys.all_text_contents() == added
    rename(page, "lark", "vulture")
    assert keys.all_text_contents() == added
    page.reload()
    expect_image(page, 1)
    assert keys.all_text_contents() == added
    press(page, "k")
    saved(page)
    assert said(project) == [(1, "label", 13)]


# -- a closer look


def test_a_click_on_the_picture_looks_closer_there(page: Page, stub: Stub) -> None:
    open_page(page, stub())
    frame = page.locator(".frame")
    box = frame.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    expect(frame).to_have_class("frame closer")
    assert frame.evaluate("(frame) => frame.style.getPropertyValue('--x')") == "25.0%"
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(frame).to_have_class("frame")


@pytest.mark.parametrize("context_options", [PHONE])
def test_a_finger_looks_closer_where_it_taps(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    frame = page.locator(".frame")
    box = frame.bounding_box()
    assert box
    page.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    expect(frame).to_have_class("frame closer")
    assert frame.evaluate("(frame) => frame.style.getPropertyValue('--x')").startswith("25.")
    page.locator(".class").first.tap()
    expect_image(page, 2)
    expect(frame).to_have_class("frame")
    saved(page)
    assert said(project) == [(1, "label", 0)]


def test_pictures_get_brighter_until_it_is_changed_back(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    image = page.locator(".frame img")
    press(page, "]", "]", "1")
    expect(page.locator(".badge")).to_have_text("brightness 156 %")
    expect(image).to_have_css("filter", "brightness(1.5625)")
    press(page, "[", "[")
    expect(page.locator(".badge")).to_have_count(0)
    expect(image).to_have_css("filter", "none")
    press(page, *["["] * 9)
    expect(page.locator(".badge")).to_have_text("brightness 41 %")
    saved(page)
    assert said(project) == [(1, "label", 0)]


def test_control_z_takes_back_but_not_while_typing(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "1", "n")
    page.keyboard.type("a")
    press(page, "Control+z", "Escape")
    expect_image(page, 2)
    press(page, "Control+Shift+z", "Control+z")
    expect_image(page, 1)
    press(page, "2", "Meta+z")
    expect_image(page, 1)
    saved(page)
    assert project.labels() == {}


def test_the_name_of_the_file_is_shown(page: Page, stub: Stub) -> None:
    open_page(page, stub())
    expect(page.locator(".file")).to_have_text("field3/IMG_0001.jpg")
    box, words = page.locator(".file").bounding_box(), page.locator(".words").bounding_box()
    assert box
    assert words
    assert box["y"] + box["height"] <= words["y"] + words["height"] + 0.5


# -- windows


@pytest.mark.parametrize("size", [(375, 667), (844, 390), (640, 360), (900, 700), (568, 320), (820, 1180)])
def test_every_window_has_room_for_the_picture(page: Page, stub: Stub, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    open_page(page, stub(classes=[f"class {i}" for i in range(24)], exam_every=0))
    stage, aside = page.locator(".stage").bounding_box(), page.locator("aside").bounding_box()
    assert stage
    assert aside
    assert stage["height"] >= 190
    assert stage["width"] >= 280
    assert aside["x"] >= stage["x"] + stage["width"] or aside["y"] >= stage["y"] + stage["height"]
    expect(page.locator(".frame img")).to_be_in_viewport(ratio=0.8)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert is_inside(page.locator(".likely .suggested"), page.locator(".legend"))
    press(page, "g")
    grid = page.locator(".grid").bounding_box()
    assert grid
    assert grid["height"] >= 220
    assert grid["height"] <= max(size[1], 300)


def is_inside(one: Locator, other: Locator) -> bool:
    """Whether nothing of it is scrolled away or cut off."""
    inner, outer = one.bounding_box(), other.bounding_box()
    assert inner
    assert outer
    return outer["y"] <= inner["y"] and inner["y"] + inner["height"] <= outer["y"] + outer["height"]


@pytest.mark.parametrize("context_options", [PHONE])
def test_a_review_on_a_phone_has_room_for_images(page: Page, stub: Stub) -> None:
    server = stub()
    for image in range(1, 100):
        server.project.take("before", "bob", {"seq": image, "image": image, "kind": "label", "class": 0})
    project = open_page(page, server, "?mode=review")
    grid = page.locator(".grid").bounding_box()
    assert grid
    assert 250 <= grid["height"] <= 400
    tile(page, 0).tap()
    page.locator(".class").nth(1).tap()
    saved(page)
    assert said(project)[-1] == (99, "label", 1)


# -- what can be read


CONTRAST = """(page) => {
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (style) => {
    const [a, b] = [light(style.color), light(style.backgroundColor)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const least = (element) => {
    element.style.transition = "none";
    const found = Array.from({ length: 360 }, (_, hue) => {
      element.style.setProperty("--hue", hue);
      return ratio(getComputedStyle(element));
    });
    return Math.min(...found);
  };
  page.querySelector(".toast").classList.add("colored");  // here, for the page takes both away when it draws anew
  page.querySelector(".tile").classList.add("labeled");
  return [".badge", ".toast.colored", ".tile.labeled .chip"].map((name) => [name, least(page.querySelector(name))]);
}"""


def test_names_of_classes_can_be_read_on_every_colour(page: Page, stub: Stub) -> None:
    open_grid(page, stub())
    tile(page, 0).click()
    press(page, "1", "g", "ArrowLeft", "g")
    expect(page.locator(".badge")).to_have_count(1)
    least = dict(page.locator(".ll").evaluate(CONTRAST))
    assert list(least) == [".badge", ".toast.colored", ".tile.labeled .chip"]
    assert all(ratio >= 4.5 for ratio in least.values()), least


def test_the_picture_says_its_name(page: Page, stub: Stub) -> None:
    open_page(page, stub())
    expect(page.locator(".frame img")).to_have_attribute("alt", "field3/IMG_0001.jpg")
    press(page, "1")
    expect(page.locator(".frame img")).to_have_attribute("alt", "field3/IMG_0002.jpg")
