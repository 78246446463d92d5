"""Replies, files and frames that come late, or in another order: no answer, image or undo is taken for another."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from conftest import Errors
from playwright.sync_api import APIResponse, Page, Route, expect
from stub import Server
from test_component import (
    OFFLINE,
    TWO_FRAMES,
    expect_image,
    large,
    open_grid,
    open_page,
    press,
    said,
    saved,
    selected,
    tile,
)  # fmt: skip
from test_slips import count

pytestmark = pytest.mark.browser

Stub = Callable[..., Server]


class Held:
    """Requests to this path wait from now on, until they may go on."""

    def __init__(self, page: Page, path: str) -> None:
        self.routes: list[Route] = []
        self.is_open = False
        page.route(path, lambda route: route.continue_() if self.is_open else self.routes.append(route))

    def let_go(self) -> None:
        self.is_open = True
        for route in self.routes:
            route.continue_()


@pytest.mark.parametrize("when", ["late", "at the second try"])
def test_an_answer_that_the_list_of_recent_ones_has_too_is_undone_once(
    page: Page, stub: Stub, errors: Errors, when: str
) -> None:
    errors.expected += OFFLINE
    server = stub()
    held = Held(page, "**/recent?*")
    page.goto(server.url)
    expect_image(page, 1)
    press(page, "1")
    saved(page)
    with page.expect_response("**/recent?*"):
        if when == "at the second try":
            held.is_open = True
            held.routes[0].abort()
        else:
            held.let_go()
    page.wait_for_load_state("networkidle")
    press(page, "2", "z", "z", "z")
    expect(page.locator(".toast")).to_have_text("nothing to undo")
    saved(page)
    assert [kind for _, kind, _ in said(server.project)] == ["label", "label", "undo", "undo"]


BOUNCE = """() => {
  const events = [..."12"].map((key) => new KeyboardEvent("keydown", { key, composed: true }));
  for (const event of events) document.body.dispatchEvent(event); // made at the same time: pressed at the same time
}"""


def test_a_key_that_bounces_in_large_does_not_label_an_image_nobody_saw(page: Page, stub: Stub) -> None:
    """The next one is in the browser already, and complete before it is on screen."""
    project = open_grid(page, stub(exam_every=0))
    press(page, "ArrowRight", "ArrowRight", "Shift+Space")
    expect(large(page)).to_have_attribute("src", re.compile("/view/2$"))
    page.evaluate(TWO_FRAMES)
    page.evaluate(BOUNCE)
    expect(page.locator(".toast")).to_have_text("wait for the image")
    expect(large(page)).to_have_attribute("src", re.compile("/view/3$"))
    press(page, "3")
    saved(page)
    assert said(project) == [(2, "label", 0), (3, "label", 2)]


def test_no_key_is_taken_while_nothing_can_be_seen(page: Page, stub: Stub) -> None:
    server = stub()
    held = Held(page, "**/labeler.css")
    page.goto(server.url, wait_until="commit")
    page.locator(".frame img").wait_for(state="attached")
    press(page, "1")
    held.let_go()
    expect(page.locator(".ll")).not_to_have_css("visibility", "hidden")
    expect_image(page, 1)
    press(page, "2")
    saved(page)
    assert said(server.project) == [(1, "label", 1)]


def test_the_style_is_asked_for_again_where_it_did_not_come(page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected.append("Failed to load resource")
    page.route("**/labeler.css*", lambda route: route.abort(), times=2)
    page.goto(stub().url)
    expect(page.locator(".ll")).not_to_have_css("visibility", "hidden")
    expect_image(page, 1)


def test_what_is_selected_in_a_review_stays_so_when_the_rest_comes(page: Page, stub: Stub) -> None:
    server = stub()
    for image in (1, 2, 3):
        server.project.take("before", "bob", {"seq": image, "image": image, "kind": "label", "class": 0})
    asked = count(page, "/review?")
    held = Held(page, "**/recent?*")
    page.goto(f"{server.url}?mode=review")
    expect(tile(page, 2)).to_be_visible()
    tile(page, 1).click()
    with page.expect_response("**/recent?*"):
        held.let_go()
    page.wait_for_load_state("networkidle")
    assert selected(page) == [1]
    assert len(asked) == 2  # these, and that there are no others
    press(page, "3")
    saved(page)
    assert said(server.project)[-1] == (2, "label", 2)


def test_what_waits_from_before_a_reload_does_not_overrule_what_is_said_after_it(
    page: Page, stub: Stub, errors: Errors
) -> None:
    """Its image was shown again, and what was said of it then was saved before what had been said at first."""
    errors.expected += OFFLINE
    project = open_page(page, stub())
    page.on("dialog", lambda dialog: dialog.accept())
    project.refuse = (507, "the disk is full")
    press(page, "1")
    expect(page.locator(".trouble")).to_contain_text("the disk is full")
    page.reload()
    expect_image(page, 2)
    expect(page.locator(".saved")).to_have_text("1 waiting")
    press(page, "2")
    project.refuse = None
    saved(page)
    assert project.labels() == {1: 0, 2: 1}


class Late:
    """The server's replies on this path, as they were when they were made, wait until they may be heard."""

    def __init__(self, page: Page, path: str) -> None:
        self.page = page
        self.replies: list[tuple[Route, APIResponse]] = []
        self.is_open = False
        page.route(path, self._hold)

    def _hold(self, route: Route) -> None:
        reply = route.fetch()
        if self.is_open:
            route.fulfill(response=reply)
        else:
            self.replies.append((route, reply))

    def wait(self) -> None:
        """Until there is one."""
        while not self.replies:
            self.page.wait_for_timeout(20)

    def let_go(self) -> None:
        self.is_open = True
        for route, reply in self.replies:
            route.fulfill(response=reply)


def test_a_correction_is_not_taken_back_on_screen_by_a_list_that_was_asked_for_before(page: Page, stub: Stub) -> None:
    server = stub()
    for image in (1, 2, 3):
        server.project.take("before", "bob", {"seq": image, "image": image, "kind": "label", "class": 0})
    project = open_page(page, server, "?mode=review")
    tile(page, 0).click()
    held, late = Held(page, "**/answers"), Late(page, "**/review?*")
    press(page, "3")
    page.get_by_label("Class", exact=True).select_option(label="rust")
    late.wait()
    held.let_go()
    saved(page)
    late.let_go()
    expect(tile(page, 0).locator(".chip")).to_have_text("healthy")
    assert project.labels()[3] == 2


def test_what_was_learned_from_an_answer_is_asked_for_soon_though_another_question_was_under_way(
    page: Page, stub: Stub
) -> None:
    project = open_page(page, stub())
    late = Late(page, "**/state?*")
    press(page, "1")
    late.wait()
    press(page, "2")
    saved(page)
    project.images = 300
    late.let_go()
    expect(page.locator(".figure")).to_have_text("2 / 300 labeled")  # not with the next look, after ten seconds


def test_a_name_does_not_go_back_to_what_a_late_reply_says(page: Page, stub: Stub) -> None:
    open_page(page, stub())
    late = Late(page, "**/answers")
    press(page, "1")
    late.wait()
    page.get_by_role("button", name="rename…").click()
    page.keyboard.type("rust")
    press(page, "Enter")
    page.get_by_label("new name of rust").fill("red")
    press(page, "Enter")
    expect(page.locator(".class .name")).to_have_text(["red", "mildew", "healthy"])
    page.evaluate(WATCH)
    late.let_go()
    saved(page)
    page.evaluate(TWO_FRAMES)
    assert page.evaluate("window.names.filter((text) => text.includes('rust'))") == []


WATCH = """() => {
  window.names = [];
  const list = document.getElementById("root").shadowRoot.querySelector(".classes");
  const look = () => window.names.push(list.textContent);
  new MutationObserver(look).observe(list, { childList: true, subtree: true, characterData: true });
}"""
