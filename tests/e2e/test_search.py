"""Review finds an image by its file name, and what one person answered."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Errors
from playwright.sync_api import Locator, Page, expect
from stub import Server
from test_component import open_page, press, said, saved, selected, tile
from test_slips import PHONE, count, is_inside

pytestmark = pytest.mark.browser

Stub = Callable[..., Server]
NAMES = {1: "Süd/Leaf 07.JPG", 2: "süd/leaf 08.jpg", 3: "nord/leaf 07.jpg", 4: "nord/twig.jpg"}


def open_review(page: Page, stub: Stub, by: str = "bob", images: int = 4) -> Server:
    """A review of images that one person answered: 1 and 2 are of class 0, 3 is unsure, the others of class 1."""
    server = stub(names=NAMES)
    for image in range(1, images + 1):
        kind, index = ("unsure", None) if image == 3 else ("label", 0 if image < 3 else 1)
        server.project.take("before", by, {"seq": image, "image": image, "kind": kind, "class": index})
    open_page(page, server, "?mode=review")
    return server


def field(page: Page) -> Locator:
    return page.get_by_role("searchbox", name="Find images by file name")


def shown(page: Page) -> list[str]:
    return [str(one.get_attribute("title")) for one in page.locator(".tile").all()]


def test_words_find_images_by_their_paths_among_those_that_are_chosen(page: Page, stub: Stub) -> None:
    open_review(page, stub)
    expect(page.locator(".total")).to_have_text("4 images")
    field(page).fill("LEAF süd")
    expect(page.locator(".total")).to_have_text("2 images found")
    expect(page.locator(".tile")).to_have_count(2)
    assert shown(page) == [NAMES[2], NAMES[1]]
    page.get_by_label("Order").select_option(label="oldest first")
    expect(tile(page, 0)).to_have_attribute("title", NAMES[1])
    field(page).fill("leaf")
    expect(page.locator(".total")).to_have_text("3 images found")
    page.get_by_role("button", name="Unsure").first.click()
    expect(page.locator(".total")).to_have_text("1 image found")
    assert shown(page) == [NAMES[3]]
    field(page).fill("")
    expect(page.locator(".total")).to_have_text("1 image")


AT_A_STRETCH = """async (input, text) => {
  input.focus();
  for (const letter of text) {
    input.value += letter;
    input.dispatchEvent(new Event("input"));
    await new Promise((done) => setTimeout(done, 20));
  }
}"""


def test_typing_asks_once_for_what_is_typed_at_a_stretch(page: Page, stub: Stub) -> None:
    open_review(page, stub)
    asked = count(page, "offset=0&")
    field(page).evaluate(AT_A_STRETCH, "süd/leaf 07.jpg leaf süd jpg")
    expect(page.locator(".total")).to_have_text("1 image found")
    assert len(asked) <= 3  # one, unless the machine is so busy that 20 ms take 150
    before = len(asked)
    page.keyboard.type("   ")
    page.wait_for_timeout(400)
    assert len(asked) == before


def test_a_late_reply_to_what_was_typed_before_changes_nothing(page: Page, stub: Stub) -> None:
    server = open_review(page, stub)
    server.project.slow["le"] = 1.5
    with page.expect_response(lambda response: "find=le&" in response.url):
        with page.expect_request(lambda request: "find=le&" in request.url):
            field(page).fill("le")
        field(page).fill("twig")
        expect(page.locator(".total")).to_have_text("1 image found")
    page.wait_for_timeout(100)
    expect(page.locator(".total")).to_have_text("1 image found")
    assert shown(page) == [NAMES[4]]


@pytest.mark.parametrize("leave", ["Escape", "Enter"])
def test_keys_are_letters_in_the_field_and_classes_after_it(page: Page, stub: Stub, leave: str) -> None:
    project = open_review(page, stub).project
    before = len(project.log)
    press(page, "Control+f")
    expect(field(page)).to_be_focused()
    press(page, *"1 susfa/? 7z", "Backspace", "Control+z", "ArrowLeft", "Delete")
    page.wait_for_timeout(300)
    assert len(project.log) == before
    expect(page.locator(".finder, .help").first).to_be_hidden()
    field(page).fill("twig")
    press(page, leave)
    expect(field(page)).not_to_be_focused()
    expect(field(page)).to_have_value("twig")
    expect(page.locator(".total")).to_have_text("1 image found")
    press(page, "ArrowRight", "2")
    saved(page)
    assert said(project)[before:] == [(4, "label", 1)]


def test_the_key_is_the_browsers_own_elsewhere(page: Page, stub: Stub) -> None:
    server = open_review(page, stub)
    kept = """() => { const event = new KeyboardEvent("keydown",
      { key: "f", code: "KeyF", ctrlKey: true, bubbles: true, composed: true, cancelable: true });
      (document.getElementById("root").shadowRoot.activeElement ?? document.body).dispatchEvent(event);
      return event.defaultPrevented; }"""
    assert page.evaluate(kept) is True
    expect(field(page)).to_be_focused()
    assert page.evaluate(kept) is False  # a second time it is the browser's search
    open_page(page, server)
    press(page, "g")
    assert page.evaluate(kept) is False
    expect(page.get_by_role("searchbox")).to_have_count(0)


def test_a_click_on_an_image_or_a_filter_leaves_the_field(page: Page, stub: Stub) -> None:
    project = open_review(page, stub).project
    field(page).fill("leaf")
    expect(page.locator(".tile")).to_have_count(3)
    tile(page, 0).click()
    expect(field(page)).not_to_be_focused()
    press(page, "1")
    saved(page)
    assert said(project)[-1] == (3, "label", 0)
    field(page).fill("leaf 08")
    page.get_by_role("button", name="All", exact=True).click()
    expect(field(page)).not_to_be_focused()
    expect(page.locator(".total")).to_have_text("1 image found")


def test_where_nothing_is_found_it_is_said_and_there_is_a_way_out(page: Page, stub: Stub) -> None:
    open_review(page, stub)
    field(page).fill("twig 07")
    hint = page.locator(".grid .empty")
    expect(hint.locator("p")).to_have_text("No answered image has “twig” and “07” in its path.")
    expect(page.locator(".total")).to_have_text("0 images found")
    expect(page.get_by_role("button", name="Look among all answers")).to_be_hidden()
    page.get_by_role("button", name="Clear the search").click()
    expect(page.locator(".total")).to_have_text("4 images")
    expect(hint).to_be_hidden()
    page.get_by_role("button", name="Unsure").first.click()
    field(page).fill("twig")
    expect(hint.locator("p")).to_have_text("None of these images has “twig” in its path.")
    page.get_by_role("button", name="Look among all answers").click()
    expect(page.locator(".total")).to_have_text("1 image found")
    assert shown(page) == [NAMES[4]]
    expect(page.get_by_role("button", name="All", exact=True)).to_have_attribute("aria-pressed", "true")


def test_an_empty_review_has_nothing_to_clear(page: Page, stub: Stub) -> None:
    page.goto(f"{stub().url}?mode=review")
    expect(page.locator(".grid .empty")).to_have_text("No images here.", use_inner_text=True)
    expect(page.get_by_role("button", name="Clear the search")).to_be_hidden()


def test_the_help_of_the_review_names_the_key(page: Page, stub: Stub) -> None:
    open_review(page, stub)
    press(page, "?")
    expect(page.locator(".help")).to_contain_text("Ctrl+F or ⌘F")
    press(page, "Control+f")
    expect(page.locator(".help")).to_be_hidden()
    press(page, "Shift+Space")
    expect(page.locator(".preview")).to_be_hidden()


def test_with_two_people_one_of_them_can_be_chosen(page: Page, stub: Stub) -> None:
    server = open_review(page, stub)
    who = page.get_by_label("Answered by")
    expect(who).to_be_hidden()
    for image, by in ((2, "ann"), (4, "")):
        server.project.take(f"of {by}", by, {"seq": 1, "image": image, "kind": "label", "class": 2})
    page.get_by_role("button", name="All", exact=True).click()
    expect(who).to_be_visible()
    assert who.locator("option").all_text_contents() == ["by: everybody", "by: no name", "by: ann", "by: bob"]
    who.select_option(label="by: ann")
    expect(page.locator(".total")).to_have_text("1 image")
    assert shown(page) == [NAMES[2]]
    who.select_option(label="by: no name")
    expect(tile(page, 0)).to_have_attribute("title", NAMES[4])
    who.select_option(label="by: bob")
    expect(page.locator(".total")).to_have_text("2 images")
    field(page).fill("twig")
    expect(page.locator(".grid .empty p")).to_have_text("None of these images has “twig” in its path.")
    press(page, "Escape")
    who.select_option(label="by: everybody")
    expect(page.locator(".total")).to_have_text("1 image found")


def test_a_person_without_answers_left_stays_chosen(page: Page, stub: Stub) -> None:
    server = open_review(page, stub)
    server.project.take("anns", "ann", {"seq": 1, "image": 2, "kind": "label", "class": 2})
    page.get_by_role("button", name="All", exact=True).click()
    who = page.get_by_label("Answered by")
    who.select_option(label="by: ann")
    expect(page.locator(".tile")).to_have_count(1)
    server.project.take("before", "bob", {"seq": 99, "image": 2, "kind": "label", "class": 0})
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator(".total")).to_have_text("0 images")
    expect(who).to_have_value("1")
    assert who.locator("option").all_text_contents() == ["by: everybody", "by: bob", "by: ann"]
    who.select_option(label="by: everybody")
    expect(page.locator(".total")).to_have_text("4 images")
    expect(who).to_be_hidden()


def test_a_search_goes_on_when_the_server_is_back(page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected.append("Failed to load resource")
    open_review(page, stub)
    failing = True
    page.route("**/ll/stub/review?*", lambda route: route.abort() if failing else route.continue_())
    field(page).fill("twig")
    expect(page.locator(".trouble")).to_have_text("connection lost, trying again…")
    failing = False
    expect(page.locator(".total")).to_have_text("1 image found")
    expect(page.locator(".trouble")).to_be_hidden()
    expect(field(page)).to_be_focused()


@pytest.mark.parametrize("context_options", [PHONE, {**PHONE, "color_scheme": "dark"}])
def test_on_a_phone_the_field_can_be_tapped_and_there_is_room_for_images(page: Page, stub: Stub) -> None:
    project = open_review(page, stub, images=60).project
    box, grid = field(page).bounding_box(), page.locator(".grid").bounding_box()
    assert box
    assert grid
    assert box["height"] >= 40
    assert box["width"] >= 150
    assert grid["height"] >= 250
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    field(page).tap()
    page.keyboard.type("twig")
    press(page, "Enter")
    expect(page.locator(".total")).to_have_text("1 image found")
    tile(page, 0).tap()
    assert selected(page) == [0]
    page.locator(".class").first.tap()
    saved(page)
    assert said(project)[-1] == (4, "label", 0)


@pytest.mark.parametrize("width", [320, 600, 820, 1280])
def test_the_sentence_and_the_way_out_are_seen_in_every_window(page: Page, stub: Stub, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    open_review(page, stub)
    page.get_by_role("button", name="Unsure").first.click()
    field(page).fill("x" * 150)
    for name in ("Look among all answers", "Clear the search"):
        way_out = page.get_by_role("button", name=name)
        expect(way_out).to_be_visible()
        assert is_inside(way_out, page.locator(".grid"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
