"""The labeling page in a real browser, against a stand-in server that keeps a log of what reached it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from conftest import Errors, Stops
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect
from stub import Project, Server, routes

from labelloop.ui.component import static_version
from tests.conftest import wait_until

pytestmark = pytest.mark.browser

Stub = Callable[..., Server]
NASTY = "<img src=x onerror=\"document.title='owned'\">"
OFFLINE = ["Failed to load resource"]  # what Chromium itself writes when a server is away
TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
TABLET = {"viewport": {"width": 820, "height": 1180}, "has_touch": True, "is_mobile": True}


def open_page(page: Page, server: Server, query: str = "") -> Project:
    page.goto(server.url + query)
    expect(page.locator(".frame img, .tile").first).to_be_visible()
    expect(page.locator(".ll")).not_to_have_css("visibility", "hidden")
    # The next pictures are there: on a busy machine a later one may be ready first, and would be shown first.
    page.wait_for_load_state("networkidle")
    return server.project


def on_screen(page: Page) -> int:
    """The id of the image on screen."""
    return int(page.locator(".frame img").get_attribute("src").rsplit("/", 1)[1])


def expect_image(page: Page, image: int) -> None:
    expect(page.locator(".frame img")).to_have_attribute("src", re.compile(rf"/view/{image}$"))


def press(page: Page, *keys: str) -> None:
    """Keys at the speed of a fast person: each one when the image, and then the next, is on screen."""
    page.evaluate(TWO_FRAMES)
    for key in keys:
        page.keyboard.press(key)
        page.evaluate(TWO_FRAMES)


def saved(page: Page) -> None:
    """Wait until all is on disk: after a failure, the page itself rests for up to 12 seconds before the next try."""
    expect(page.locator(".saved")).to_have_text("✓ saved", timeout=20_000)


def said(project: Project) -> list[tuple[int, str, int | None]]:
    return [(e["image"], e["kind"], e["class"]) for e in project.log]


def tile(page: Page, index: int) -> Locator:
    return page.locator(f'.tile[data-index="{index}"]')


def test_keys_label_and_advance_without_a_click_first(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "1", "2", "3")
    expect_image(page, 4)
    saved(page)
    assert said(project) == [(1, "label", 0), (2, "label", 1), (3, "label", 2)]
    assert [e["seq"] for e in project.log] == [1, 2, 3]
    assert {e["by"] for e in project.log} == {"anna"}
    assert all(0 < e["seconds"] < 60 for e in project.log)
    expect(page.locator(".figure")).to_have_text("3 / 200 labeled")


def test_enter_accepts_what_was_suggested(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    wanted = project.item(1)
    expect(page.locator(".class.suggested")).to_contain_text(project.classes[wanted["suggestion"]])
    expect(page.locator(".class.suggested .enter")).to_be_visible()
    press(page, "Enter")
    saved(page)
    assert project.log[0]["source"] == "accepted"
    assert project.log[0]["class"] == project.log[0]["suggestion"] == wanted["suggestion"]
    assert project.log[0]["probability"] == wanted["probability"]


def test_undo_takes_back_and_goes_back(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "1", "2", "Backspace")
    expect_image(page, 2)
    press(page, "z")
    expect_image(page, 1)
    press(page, "3")
    expect_image(page, 2)
    saved(page)
    assert [kind for _, kind, _ in said(project)] == ["label", "label", "undo", "undo", "label"]
    assert project.labels() == {1: 2}


def test_undo_works_after_a_reload(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "1", "2")
    saved(page)
    page.reload()
    expect_image(page, 3)
    expect(page.locator(".cell.labeled")).to_have_count(2)
    press(page, "Backspace")
    expect_image(page, 2)
    saved(page)
    assert project.labels() == {1: 0}


def test_undo_after_a_reload_brings_back_the_answer_before(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "1", "ArrowLeft", "2")
    saved(page)
    page.reload()
    expect_image(page, 2)
    expect(page.locator(".cell.labeled")).to_have_count(1)
    press(page, "z")
    expect_image(page, 1)
    expect(page.locator(".badge")).to_have_text("answered: rust")
    saved(page)
    assert project.labels() == {1: 0}


@pytest.mark.parametrize("reload", [False, True])
def test_undo_never_takes_back_what_somebody_else_said(page: Page, stub: Stub, errors: Errors, reload: bool) -> None:
    errors.expected += OFFLINE
    project = open_page(page, stub())
    press(page, "1")
    saved(page)
    if reload:
        page.reload()
        expect_image(page, 2)
        expect(page.locator(".cell.labeled")).to_have_count(1)
    project.take("other", "ben", {"seq": 1, "image": 1, "kind": "label", "class": 2})
    press(page, "z")
    expect(page.locator(".trouble")).to_have_text("one answer was not taken: ben has answered this image since")
    expect_image(page, 1)
    expect(page.locator(".badge")).to_have_text("answered: healthy")
    saved(page)
    assert project.labels() == {1: 2}


def test_undo_shows_what_is_on_disk(page: Page, stub: Stub) -> None:
    """The page does not know of ben's answer when it gives its own."""
    server = stub()
    server.project.take("before", "bob", {"seq": 1, "image": 1, "kind": "label", "class": 0})
    project = open_page(page, server, "?mode=review")
    project.take("other", "ben", {"seq": 1, "image": 1, "kind": "label", "class": 1})
    expect(tile(page, 0).locator(".chip")).to_have_text("rust")
    tile(page, 0).click()
    press(page, "3", "z")
    saved(page)
    expect(tile(page, 0).locator(".chip")).to_have_text("mildew")
    assert project.labels() == {1: 1}


def test_looking_back_and_correcting_returns_to_the_flow(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "1", "1", "1", "ArrowLeft", "ArrowLeft")
    expect_image(page, 2)
    expect(page.locator(".badge")).to_have_text("answered: rust")
    press(page, "3")
    expect_image(page, 4)
    saved(page)
    assert project.labels() == {1: 0, 2: 2, 3: 0}


def test_skip_unsure_flag_and_note(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "s", "u", "f")
    expect_image(page, 3)
    press(page, "n")
    page.keyboard.type("12 spots, r or c?")
    press(page, "Enter", "1")
    expect_image(page, 4)
    saved(page)
    assert said(project) == [
        (1, "skip", None), (2, "unsure", None), (3, "flag", None), (3, "note", None), (3, "label", 0),
    ]  # fmt: skip
    assert project.notes == {3: "12 spots, r or c?"}


def test_more_than_ten_classes_get_letters_and_a_finder(page: Page, stub: Stub) -> None:
    names = [f"class {i}" for i in range(1, 11)] + ["robin", "blackbird", "bullfinch", "crane"]
    project = open_page(page, stub(classes=names))
    keys = page.locator(".classes kbd:not(.enter)")
    assert keys.all_text_contents() == [*"1234567890", "O", "B", "L", "E"]
    press(page, "0", "b", "/")
    page.keyboard.type("finch")
    expect(page.locator(".found .row")).to_have_text(re.compile("bullfinch"))
    press(page, "Enter")
    expect(page.locator(".finder")).to_be_hidden()
    expect_image(page, 4)
    saved(page)
    assert [index for _, _, index in said(project)] == [9, 11, 12]


def test_the_finder_adds_a_class_and_uses_it(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "/")
    page.keyboard.type("septoria")
    expect(page.locator(".found .row")).to_have_text("add new class “septoria”")
    press(page, "Enter")
    expect_image(page, 2)
    saved(page)
    assert project.classes == ["rust", "mildew", "healthy", "septoria"]
    assert said(project) == [(1, "label", 3)]


def test_the_finder_says_which_class_a_slip_of_the_fingers_meant(page: Page, stub: Stub) -> None:
    project = open_page(page, stub(classes=["rust", "mildew", "leaf spot 1"]))
    message, names = page.locator(".finder .message"), page.locator(".found .name")
    press(page, "/")
    for typed in ("mildwe", "mildw", "Mldew", "mildeww", "mold"):
        page.locator(".finder input").fill(typed)
        meant = typed != "mold"
        expect(names).to_have_text([f"add new class “{typed}”", *(["mildew"] if meant else [])])
        expect(message).to_have_text("Did you mean “mildew”? It is in the list: ↓, Enter" if meant else "")
    page.locator(".finder input").fill("leaf spot 2")  # names with numbers are meant to be alike
    expect(names).to_have_text(["add new class “leaf spot 2”"])
    page.locator(".finder input").fill("rsut")
    press(page, "ArrowDown", "Enter")
    expect_image(page, 2)
    saved(page)
    assert (project.classes, said(project)) == (["rust", "mildew", "leaf spot 1"], [(1, "label", 0)])


def test_the_finder_tells_screen_readers_which_class_enter_takes(page: Page, stub: Stub) -> None:
    open_page(page, stub())
    press(page, "/")
    field = page.get_by_role("dialog", name="find a class…").get_by_role("combobox", name="find a class…")
    expect(field).to_be_focused()
    press(page, "ArrowDown")
    chosen = page.get_by_role("option", selected=True)
    expect(chosen).to_contain_text("mildew")
    assert field.get_attribute("aria-activedescendant") == chosen.get_attribute("id")
    press(page, "Enter")
    saved(page)
    expect_image(page, 2)


def test_classes_can_be_added_from_nothing(page: Page, stub: Stub) -> None:
    project = open_page(page, stub(classes=[]))
    expect(page.locator(".invite")).to_be_visible()
    page.locator(".add").click()
    page.keyboard.type("rust")
    press(page, "Enter")
    expect(page.locator(".class .name")).to_have_text(["rust"])
    page.keyboard.type("mildew")
    press(page, "Enter")
    expect(page.locator(".class .name")).to_have_text(["rust", "mildew"])
    press(page, "Escape", "2")
    saved(page)
    assert said(project) == [(1, "label", 1)]


def test_a_class_gets_another_name(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "2")
    saved(page)
    page.get_by_role("button", name="rename…").click()
    page.keyboard.type("mil")
    press(page, "Enter")
    expect(page.get_by_label("new name of mildew")).to_have_value("mildew")
    page.keyboard.type("rust")
    press(page, "Enter")
    expect(page.locator(".finder .message")).to_have_text(
        "There is a class “rust”. Enter merges “mildew” (1 label) into it; Esc does not."
    )
    page.get_by_label("new name of mildew").fill("powdery mildew")
    press(page, "Enter")
    expect(page.locator(".finder")).to_be_hidden()
    expect(page.locator(".toast")).to_have_text("mildew is now powdery mildew")
    expect(page.locator(".class .name")).to_have_text(["rust", "powdery mildew", "healthy"])
    assert project.classes == ["rust", "powdery mildew", "healthy"]
    page.get_by_role("button", name="rename…").click()
    press(page, "Escape", "2")
    saved(page)
    assert said(project) == [(1, "label", 1), (2, "label", 1)]


def test_two_classes_become_one(page: Page, stub: Stub) -> None:
    server = stub(classes=["rust", "mildew", "mildw"], exam_every=0)
    project = open_page(page, server)
    press(page, "3", "2")
    saved(page)
    page.get_by_role("button", name="rename…").click()
    page.keyboard.type("mildw")
    press(page, "Enter")
    page.get_by_label("new name of mildw").fill("Mildew")
    press(page, "Enter", "Enter")
    expect(page.locator(".toast")).to_have_text("mildw is mildew now; Progress takes them apart")
    expect(page.locator(".class .name")).to_have_text(["rust", "mildew"])
    expect(page.locator(".class .count")).to_have_text(["", "2"])
    expect(page.locator('.strip [title$=": mildew"]')).to_have_count(2)
    press(page, "3")  # fingers may still go there
    saved(page)
    assert said(project) == [(1, "label", 2), (2, "label", 1), (3, "label", 1)]
    press(page, "ArrowLeft", "ArrowLeft", "ArrowLeft")
    expect(page.locator(".badge")).to_have_text("answered: mildew")
    expect(page.locator(".class.answered .name")).to_have_text("mildew")
    press(page, "/")
    page.keyboard.type("mil")
    expect(page.locator(".finder .row .name")).to_have_text(["mildew"])
    page.goto(f"{server.url}?mode=review")
    expect(page.get_by_label("Class", exact=True).locator("option")).to_have_text(["One class…", "rust", "mildew"])


def test_typing_on_takes_back_the_offer_to_merge(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    page.get_by_role("button", name="rename…").click()
    page.keyboard.type("mil")
    press(page, "Enter")
    page.get_by_label("new name of mildew").fill("rust")
    press(page, "Enter")
    expect(page.locator(".finder .message")).to_contain_text("Enter merges")
    page.keyboard.type("y")
    expect(page.locator(".finder .message")).to_contain_text("a new name for")
    press(page, "Enter")
    expect(page.locator(".class .name")).to_have_text(["rust", "rusty", "healthy"])
    assert (project.classes, project.merged) == (["rust", "rusty", "healthy"], {})


def test_a_check_image_shows_no_suggestion(page: Page, stub: Stub) -> None:
    project = open_page(page, stub(exam_every=1))
    expect(page.locator(".reason")).to_contain_text("for the exam")
    expect(page.locator(".class.suggested")).to_have_count(0)
    assert "".join(page.locator(".share").all_text_contents()) == ""
    press(page, "Enter")
    expect(page.locator(".toast")).to_have_text("nothing is suggested here")
    expect_image(page, 1)
    press(page, "g")
    expect(tile(page, 0)).to_be_visible()
    assert "".join(page.locator(".guess").all_text_contents()) == ""
    assert project.log == []


def test_an_answer_is_asked_for_again_without_showing_the_first(page: Page, stub: Stub) -> None:
    project = open_page(page, stub(images=6, exam_every=0))
    press(page, "1", "1")
    saved(page)
    project.again = {1}
    press(page, "1", "1", "1", "1")
    expect_image(page, 1)
    expect(page.locator(".badge")).to_have_count(0)
    expect(page.locator(".reason")).to_have_text("asked once more")
    expect(page.locator(".near figure")).to_have_count(0)
    expect(page.locator(".cell.labeled")).to_have_count(5)  # its first answer is not among those before
    press(page, "Enter")
    expect(page.locator(".toast")).to_have_text("nothing is suggested here")
    press(page, "3")
    expect(page.locator(".empty h2")).to_have_text("Everything here is labeled")
    saved(page)
    assert project.labels() == {1: 2, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    (again,) = [e for e in project.log if e["strategy"] == "ask_again"]
    assert (again["image"], again["class"], again["suggestion"]) == (1, 2, None)
    press(page, "Backspace", "Backspace")
    expect_image(page, 6)
    saved(page)
    assert project.labels() == {1: 0, 2: 0, 3: 0, 4: 0, 5: 0}


def test_keys_with_modifiers_and_held_keys_label_nothing(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "Control+1", "Alt+2", "Meta+3")
    page.keyboard.down("1")
    page.keyboard.down("1")  # what a held key sends
    page.keyboard.up("1")
    expect_image(page, 2)
    saved(page)
    assert said(project) == [(1, "label", 0)]


def test_the_server_goes_away_and_nothing_is_lost(page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected += OFFLINE
    server = stub()
    project = open_page(page, server)
    press(page, "1")
    saved(page)
    expect(page.locator(".cell:not(.none)")).to_have_count(8)
    page.wait_for_function(
        "!document.querySelector('#root').shadowRoot.querySelector('.frame img').matches(':not([src])')"
    )
    server.stop()
    press(page, "2", "3", "1", "2")
    expect(page.locator(".trouble")).to_have_text("connection lost, 4 answers safe in this browser, trying again…")
    assert len(project.log) == 1
    server.start()
    saved(page)
    expect(page.locator(".trouble")).to_be_hidden()
    assert said(project) == [(i + 1, "label", k) for i, k in enumerate([0, 1, 2, 0, 1])]


def test_a_refusal_is_told_and_tried_again(page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected += OFFLINE
    project = open_page(page, stub())
    project.refuse = (507, "the disk is full")
    press(page, "1", "2")
    expect(page.locator(".trouble")).to_have_text("not saved: 2 answers wait here — the disk is full")
    expect(page.locator(".cell.unsaved")).to_have_count(2)
    project.refuse = None
    saved(page)
    expect(page.locator(".cell.unsaved")).to_have_count(0)
    assert said(project) == [(1, "label", 0), (2, "label", 1)]


def test_what_was_not_acknowledged_is_sent_again(page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected += OFFLINE
    project = open_page(page, stub())
    project.refuse, project.flight = (503, "busy"), 2
    press(page, "1", "2", "3", "1", "2")
    expect(page.locator(".saved")).to_have_text("5 waiting")
    project.refuse = None
    saved(page)
    assert said(project) == [(i + 1, "label", k) for i, k in enumerate([0, 1, 2, 0, 1])]


def test_a_reload_sends_what_waited(context: BrowserContext, page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected += OFFLINE
    project = open_page(page, stub())
    page.on("dialog", lambda dialog: dialog.accept())
    project.refuse = (503, "busy")
    press(page, "1", "2", "3")
    expect(page.locator(".saved")).to_have_text("3 waiting")
    page.close()  # as a crash would: no question asked
    project.refuse = None
    again = context.new_page()
    open_page(again, Again(project, page_url=page.url))
    expect_image(again, 4)
    saved(again)
    assert said(project) == [(1, "label", 0), (2, "label", 1), (3, "label", 2)]
    assert again.evaluate("localStorage.length") == 0
    press(again, "1")
    saved(again)
    assert len({e["client"] for e in project.log}) == 2


class Again:
    """The same server, for a second tab."""

    def __init__(self, project: Project, page_url: str) -> None:
        self.project = project
        self.url = page_url


def test_one_bad_answer_does_not_hold_up_the_others(page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected += OFFLINE
    project = open_page(page, stub())
    project.classes.pop()  # the page still offers three
    press(page, "3")
    expect(page.locator(".trouble")).to_have_text("one answer was not taken: there is no such class")
    press(page, "2")
    saved(page)
    assert said(project) == [(2, "label", 1)]


def test_a_key_that_bounces_does_not_label_an_image_nobody_saw(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    page.evaluate("""() => {
      const events = [..."12"].map((key) => new KeyboardEvent("keydown", { key, composed: true }));
      for (const event of events) document.body.dispatchEvent(event); // made at the same time: pressed at the same time
    }""")
    expect(page.locator(".toast")).to_have_text("wait for the image")
    expect_image(page, 2)
    saved(page)
    assert said(project) == [(1, "label", 0)]


BURST = """async () => {
  window.seen = [];
  const root = document.getElementById("root").shadowRoot;
  const picture = () => root.querySelector(".frame img");
  let before = performance.now();
  for (window.left ??= 100; window.left > 0; window.left--) {
    if (!picture() || performance.now() - before > 100) { // a slow machine: who lost the rhythm looks first
      while (!picture()) await new Promise((done) => setTimeout(done, 5));
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    }
    const key = String((window.seen.length * 7) % 3 + 1);
    window.seen.push([Number(picture().src.split("/").pop()), Number(key) - 1]);
    before = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true }));
    await new Promise((done) => setTimeout(done, 50));
  }
}"""


def test_twenty_keys_a_second_each_to_the_image_on_screen(page: Page, stub: Stub) -> None:
    project = open_page(page, stub(images=1000))
    page.evaluate(BURST)
    saved(page)
    seen = page.evaluate("window.seen")
    assert [[e["image"], e["class"]] for e in project.log] == seen
    assert len({image for image, _ in seen}) == 100
    assert [e["seq"] for e in project.log] == list(range(1, 101))


def load_reserve(page: Page, project: Project) -> None:
    """Wait until the last picture of the reserve is there, and the queue's are too."""
    page.evaluate("performance.setResourceTimingBufferSize(1000)")  # 250 unless told: these are nearly as many
    wait_until(lambda: project.reserve)  # on a slow machine it is there before the page counts as loaded
    page.wait_for_function(
        "(id) => performance.getEntriesByType('resource').some((one) => one.name.endsWith(`/view/${id}`))",
        arg=project.reserve[-1],
        timeout=60_000,
    )


def test_the_reserve_fills_in_while_the_server_is_away(page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected += OFFLINE
    server = stub(images=1000)
    project = open_page(page, server)
    load_reserve(page, project)
    reserve = set(project.reserve)
    assert len(reserve) == 200
    page.evaluate(f"window.left = Infinity; window.burst = ({BURST})(); null")
    page.wait_for_function("window.seen.length >= 40")
    server.stop()
    at_least = page.evaluate("window.seen.length") + 100
    page.wait_for_function("(n) => window.seen.length >= n", arg=at_least, timeout=60_000)  # five seconds, or more
    assert len(project.log) < at_least - 80
    server.start()
    wait_until(lambda: len(project.log) > at_least and {e["strategy"] for e in project.log[-20:]} == {"auto"})
    page.evaluate("(window.left = 0, window.burst)")  # the queue has taken over again
    saved(page)
    seen = page.evaluate("window.seen")
    assert [[e["image"], e["class"]] for e in project.log] == seen
    assert len({image for image, _ in seen}) == len(seen)
    assert [e["seq"] for e in project.log] == list(range(1, len(seen) + 1))
    spare = [e for e in project.log if e["strategy"] == "random"]
    assert 70 <= len(spare) < 200  # it has not been used up
    assert {e["image"] for e in spare} <= reserve
    assert {(e["round"], e["suggestion"]) for e in spare} == {(None, None)}


def test_a_server_that_hangs_does_not_stop_the_hand(page: Page, stub: Stub) -> None:
    project = open_page(page, stub(images=1000))
    load_reserve(page, project)
    project.delay = 4.0
    page.evaluate(f"window.left = 100; window.burst = ({BURST})(); null")
    page.evaluate("window.burst")
    project.delay = 0.0
    saved(page)
    seen = page.evaluate("window.seen")
    assert [[e["image"], e["class"]] for e in project.log] == seen
    assert len({image for image, _ in seen}) == 100
    assert "random" in {e["strategy"] for e in project.log}


def test_going_back_and_ahead_while_the_server_is_away(page: Page, stub: Stub, errors: Errors) -> None:
    errors.expected += OFFLINE
    server = stub(images=300)
    project = open_page(page, server)
    load_reserve(page, project)
    server.stop()
    while on_screen(page) not in project.reserve:
        press(page, "1")
    expect(page.locator(".reason")).to_contain_text("drawn at random")
    expect(page.locator(".class.suggested")).to_have_count(0)
    first = on_screen(page)
    press(page, *"121212", *["Backspace"] * 6)
    assert on_screen(page) == first
    press(page, "3")
    page.locator(".cell").last.click()  # of the queue, and not loaded: asked for by name, so nothing takes its place
    expect(page.locator(".stage h2")).to_have_text("This image cannot be shown right now")
    server.start()
    saved(page)
    assert project.labels()[first] == 2


BUSY = """([apart, keys]) => {
  const body = document.body;
  const start = performance.now();
  [...keys].forEach((key, i) => {
    const event = new KeyboardEvent("keydown", { key, composed: true });
    Object.defineProperty(event, "timeStamp", { value: start + i * apart });
    body.dispatchEvent(event);
  });
}"""


@pytest.mark.parametrize(("apart", "taken"), [(40, 4), (10, 1), (200, 1)], ids=["rhythm", "bounce", "impatience"])
def test_keys_that_a_busy_page_gets_all_at_once(page: Page, stub: Stub, apart: int, taken: int) -> None:
    project = open_page(page, stub())
    page.evaluate(BUSY, [apart, "1231"])
    saved(page)
    assert said(project) == [(1, "label", 0), (2, "label", 1), (3, "label", 2), (4, "label", 0)][:taken]


PINS = """async ([module, pressed]) => {
  const { Timeline } = await import(module);
  const items = (from) => Array.from({ length: 24 }, (_, i) => ({ id: from + i, answer: null }));
  const timeline = new Timeline();
  timeline.merge(items(1));
  for (let i = 0; i < pressed; i++) {
    timeline.current.answer = { kind: "skip" };
    timeline.advance(() => true);
  }
  timeline.merge(items(101));
  return timeline.have();
}"""


@pytest.mark.parametrize(("pressed", "kept"), [(0, [1, 2, 3, 4]), (8, list(range(9, 18)))])
def test_what_a_fast_hand_needs_in_a_second_is_not_replaced(
    page: Page, stub: Stub, pressed: int, kept: list[int]
) -> None:
    open_page(page, stub())
    assert page.evaluate(PINS, [f"/ll/static/{static_version()}/timeline.js", pressed]) == kept


FLIGHTS = """async (module) => {
  const { Outbox } = await import(module);
  const flights = [];
  let isAway = true;
  const send = async (body) => {
    if (isAway) throw new Error("nobody is there");
    flights.push([new TextEncoder().encode(JSON.stringify(body)).length, body.answers.map((answer) => answer.seq)]);
    return { acked: body.answers.at(-1).seq };
  };
  const on = { acked() {}, changed() {}, refused() {} };
  const outbox = new Outbox({ base: "/ll/other", by: "anna", send, on });
  for (let i = 0; i < 120; i++) outbox.push({ image: i, kind: "note", note: "ä".repeat(10_000) });
  for (let i = 0; i < 600; i++) outbox.push({ image: i, kind: "label", class: 0 });
  await new Promise((done) => setTimeout(done));
  const lost = outbox.trouble.lost;
  isAway = false;
  outbox.retry();
  while (outbox.waiting) await new Promise((done) => setTimeout(done));
  return [lost, outbox.trouble, flights];
}"""


def test_a_full_outbox_leaves_in_order_and_in_requests_that_are_taken(page: Page, stub: Stub) -> None:
    open_page(page, stub())
    lost, trouble, flights = page.evaluate(FLIGHTS, f"/ll/static/{static_version()}/outbox.js")
    assert (lost, trouble) == (True, None)
    assert [seq for _, seqs in flights for seq in seqs] == list(range(1, 721))
    assert max(size for size, _ in flights) < 1_000_000
    assert len(flights) == 5  # 120 notes of 20 kB need three, and the last of them and 600 labels two


def test_names_are_text_and_nothing_else(page: Page, stub: Stub) -> None:
    open_page(page, stub(classes=[NASTY, "rust"], names={i: f"{NASTY}{i}.jpg" for i in range(1, 201)}))
    expect(page.locator(".class .name").first).to_have_text(NASTY)
    press(page, "1", "1", "/")
    expect(page.locator(".found .name").first).to_have_text(NASTY)
    press(page, "Escape", "g")
    expect(tile(page, 0)).to_have_attribute("title", f"{NASTY}3.jpg")
    tile(page, 0).dblclick()
    expect(page.locator(".preview figcaption")).to_have_text(f"{NASTY}3.jpg")
    expect(page.locator(".preview img")).to_be_in_viewport(ratio=1)
    page.goto(page.url + "?mode=review")
    expect(page.locator(".tile .chip").first).to_have_text(NASTY)
    assert page.title() == "labelloop"
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("context_options", [TABLET])
def test_fingers_can_tap_classes(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    rows = page.locator(".class")
    assert all(row.bounding_box()["height"] >= 44 for row in rows.all())
    rows.nth(1).tap()
    expect_image(page, 2)
    page.locator("[data-action=skip]").tap()
    expect_image(page, 3)
    saved(page)
    assert said(project) == [(1, "label", 1), (2, "skip", None)]
    assert page.evaluate("document.scrollingElement.scrollHeight <= innerHeight")


def test_everything_labeled_is_a_friendly_end(page: Page, stub: Stub) -> None:
    open_page(page, stub(images=3))
    press(page, "1", "2", "1")
    expect(page.locator(".stage h2")).to_have_text("Everything here is labeled")
    expect(page.locator(".tally li")).to_have_text(["rust2", "mildew1", "healthy0"])
    press(page, "Backspace")
    expect_image(page, 3)


def test_what_another_page_has_is_not_said_to_be_labeled(page: Page, stub: Stub) -> None:
    server = stub(images=5, elsewhere={4, 5})
    open_page(page, server)
    press(page, "1", "2", "1")
    expect(page.locator(".stage h2")).to_have_text("2 images are with another page")
    server.project.elsewhere.clear()
    expect_image(page, 4)


def test_a_page_that_is_left_gives_its_images_back(page: Page, stub: Stub) -> None:
    server = stub()
    project = open_page(page, server)
    (before,) = project.kept
    open_page(page, server)
    (now,) = project.kept
    assert now != before
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/goodbye")):
        page.evaluate("page.destroy()")
    assert project.kept == {}


def test_a_page_that_is_left_with_an_answer_under_way_gives_its_images_back(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    held: list[Route] = []
    page.route("**/answers", lambda route: held.append(route))
    with page.expect_request("**/answers"):
        press(page, "1")
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/goodbye")):
        page.evaluate("page.destroy()")
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/goodbye")):
        held[0].continue_()
    assert said(project) == [(1, "label", 0)]
    assert project.kept == {}


def test_no_image_on_screen_means_no_label(page: Page, stub: Stub) -> None:
    job = {"kind": "embed", "state": "running", "done": 3, "total": 200, "message": "", "seconds_left": 12}
    server = stub(embedded=0, job=job)
    page.goto(server.url)
    expect(page.locator(".stage h2")).to_have_text("Getting to know the images")
    expect(page.locator(".stage p")).to_contain_text("3 of 200, about 12 seconds left")
    press(page, "1")
    expect(page.locator(".toast")).to_have_text("wait for the image")
    server.project.embedded, server.project.job = 200, None
    expect_image(page, 1)
    assert server.project.log == []


# -- many images at once


def open_grid(page: Page, server: Server) -> Project:
    project = open_page(page, server)
    with page.expect_response("**/queue?*"):  # it asks for more, and says what it has before any answer
        press(page, "g")
    expect(tile(page, 11)).to_be_visible()
    return project


def selected(page: Page) -> list[int]:
    return sorted(int(one.get_attribute("data-index")) for one in page.locator(".tile.selected").all())


def test_click_shift_click_and_one_key_for_all(page: Page, stub: Stub) -> None:
    project = open_grid(page, stub())
    tile(page, 1).click()
    tile(page, 4).click(modifiers=["Shift"])
    tile(page, 8).click(modifiers=["Control"])
    assert selected(page) == [1, 2, 3, 4, 8]
    press(page, "2")
    expect(page.locator(".tile.labeled")).to_have_count(5)
    saved(page)
    assert said(project) == [(i, "label", 1) for i in (2, 3, 4, 5, 9)]
    assert {e["source"] for e in project.log} == {"bulk"}
    press(page, "Backspace")
    expect(page.locator(".tile.labeled")).to_have_count(0)
    saved(page)
    assert project.labels() == {}


def test_what_the_grid_shows_is_nobody_elses(page: Page, stub: Stub) -> None:
    project = open_grid(page, stub())
    tile(page, 2).click()
    press(page, "1")
    saved(page)
    (kept,) = project.kept.values()
    assert sorted(kept)[:20] == [1, 2, *range(4, 22)]
    press(page, "g", "2")
    saved(page)
    assert [len(kept) for kept in project.kept.values()] == [4]


def test_the_grid_shows_the_last_images_though_the_page_has_them_already(page: Page, stub: Stub) -> None:
    project = open_grid(page, stub(images=24))
    project.images = 28
    tile(page, 0).click()
    tile(page, 23).click(modifiers=["Shift"])
    press(page, "1")
    saved(page)
    expect(tile(page, 27)).to_be_visible()


def test_the_button_of_the_grid_says_whether_it_is_on(page: Page, stub: Stub) -> None:
    open_page(page, stub())
    grid = page.get_by_role("button", name="Grid G")
    expect(grid).to_have_attribute("aria-pressed", "false")
    grid.click()
    expect(tile(page, 0)).to_be_visible()
    expect(grid).to_have_attribute("aria-pressed", "true")
    grid.click()
    expect_image(page, 1)
    expect(grid).to_have_attribute("aria-pressed", "false")


def test_rubber_band_selects_what_it_touches(page: Page, stub: Stub) -> None:
    open_grid(page, stub())
    first, last = tile(page, 0).bounding_box(), tile(page, 7).bounding_box()
    page.mouse.move(first["x"] + 20, first["y"] + 20)
    page.mouse.down()
    page.mouse.move(last["x"] + 30, last["y"] + 30, steps=5)
    page.mouse.up()
    assert selected(page) == [0, 1, 6, 7]
    page.mouse.click(first["x"] - 5, first["y"] + 50)
    assert selected(page) == []


def test_arrows_move_and_shift_extends(page: Page, stub: Stub) -> None:
    project = open_grid(page, stub())
    press(page, "ArrowRight", "ArrowRight", "Shift+ArrowDown")
    assert selected(page) == [1, 2, 3, 4, 5, 6, 7]
    press(page, "Escape", "Space", "ArrowLeft", "1")
    saved(page)
    assert said(project) == [(8, "label", 0)]
    assert project.log[0]["source"] == "human"
    press(page, "a")
    assert len(selected(page)) >= 18


def test_the_keyboard_shows_an_image_of_the_grid_large(page: Page, stub: Stub) -> None:
    open_grid(page, stub())
    press(page, "ArrowRight", "ArrowRight", "Shift+Space")
    expect(page.locator(".preview img")).to_have_attribute("src", re.compile("/view/2$"))
    press(page, "Escape")
    expect(page.locator(".preview")).to_be_hidden()
    assert selected(page) == []


def large(page: Page) -> Locator:
    """The large image, once it is there."""
    image = page.locator(".preview img")
    expect(image).to_have_js_property("complete", value=True)
    return image


def test_keys_answer_the_image_that_is_large_and_no_other(page: Page, stub: Stub) -> None:
    project = open_grid(page, stub(exam_every=0))
    tile(page, 0).click()
    tile(page, 1).click(modifiers=["Control"])
    press(page, "ArrowRight", "Shift+Space")  # the third has the cursor, two others are selected
    expect(large(page)).to_have_attribute("src", re.compile("/view/3$"))
    press(page, "2")
    expect(large(page)).to_have_attribute("src", re.compile("/view/4$"))
    press(page, "ArrowRight")
    expect(large(page)).to_have_attribute("src", re.compile("/view/5$"))
    press(page, "u")
    expect(large(page)).to_have_attribute("src", re.compile("/view/6$"))
    press(page, "f", "Backspace")  # as everywhere: the last step, and the grid is there to show it
    expect(page.locator(".preview")).to_be_hidden()
    saved(page)
    kinds = [(3, "label", 1), (5, "unsure", None), (6, "flag", None), (6, "unflag", None)]
    assert said(project) == kinds
    assert [one["source"] for one in project.log[:2]] == ["human", "human"]
    assert selected(page) == [0, 1]


def test_a_review_is_paged_through_and_corrected_in_large(page: Page, stub: Stub) -> None:
    server = stub(exam_every=0)
    for image in (1, 2, 3):
        server.project.take("before", "bob", {"seq": image, "image": image, "kind": "label", "class": 0})
    project = open_page(page, server, "?mode=review")
    tile(page, 0).dblclick()
    expect(page.locator(".preview figcaption")).to_have_text("field3/IMG_0003.jpgrust")
    press(page, "ArrowRight")
    expect(large(page)).to_have_attribute("src", re.compile("/view/2$"))
    press(page, "3")
    expect(page.locator(".preview figcaption b")).to_have_text("healthy")
    expect(page.locator(".toast")).to_have_text("healthy")
    saved(page)
    assert said(project)[3:] == [(2, "label", 2)]
    press(page, "Escape")
    expect(page.locator(".preview")).to_be_hidden()


def test_an_image_that_is_not_there_yet_is_not_answered_in_large(page: Page, stub: Stub) -> None:
    project = open_grid(page, stub(exam_every=0))
    page.route("**/view/2", lambda route: None)  # never comes
    press(page, "ArrowRight", "ArrowRight", "Shift+Space", "1")
    expect(page.locator(".toast")).to_have_text("wait for the image")
    assert said(project) == []


def test_enter_in_the_grid_takes_each_suggestion(page: Page, stub: Stub) -> None:
    project = open_grid(page, stub())
    tile(page, 7).click()
    tile(page, 10).click(modifiers=["Shift"])  # images 8 to 11; 10 is for the exam
    press(page, "Enter")
    saved(page)
    assert said(project) == [(i, "label", project.item(i)["suggestion"]) for i in (8, 9, 11)]
    assert {e["source"] for e in project.log} == {"accepted"}
    press(page, "g")
    expect_image(page, 1)
    press(page, *"1111111")
    expect_image(page, 10)


SCROLL = """(last) => {
  const grid = document.getElementById("root").shadowRoot.querySelector(".grid");
  grid.scrollTo(0, grid.scrollHeight);
  return grid.querySelector(`[data-index="${last}"]`);
}"""


def test_review_filters_pages_and_relabels(page: Page, stub: Stub) -> None:
    server = stub(images=2000)
    for image in range(1, 1001):
        kind = "unsure" if image % 100 == 0 else "label"
        server.project.take("before", "bob", {"seq": image, "image": image, "kind": kind, "class": image % 3})
    project = open_page(page, server, "?mode=review")
    expect(page.locator(".total")).to_have_text("1,000 images")
    assert page.locator(".tile").count() < 80
    for last in (199, 399, 599, 799, 999):
        page.wait_for_function(SCROLL, arg=last)
    expect(tile(page, 999)).to_be_visible()
    assert page.locator(".tile").count() < 80
    page.locator("[data-show=unsure]").click()
    expect(page.locator(".total")).to_have_text("10 images")
    expect(page.locator(".tile")).to_have_count(10)
    tile(page, 0).click()
    press(page, "1")
    saved(page)
    assert said(project)[-1] == (1000, "label", 0)
    page.locator("select").first.select_option(label="rust")
    expect(page.locator(".total")).to_have_text("331 images")
    press(page, "ArrowRight", "f")
    saved(page)
    assert said(project)[-1][1] == "flag"


def test_review_shows_every_image_though_a_new_model_puts_them_in_another_order(page: Page, stub: Stub) -> None:
    server = stub(images=2000)
    for image in range(1, 501):
        server.project.take("before", "bob", {"seq": image, "image": image, "kind": "label", "class": image % 3})
    open_page(page, server, "?mode=review")
    page.get_by_label("Order").select_option("doubt")
    expect(page.locator(".total")).to_have_text("500 images")
    page.wait_for_function(SCROLL, arg=199)
    server.project.doubt = 4001
    page.wait_for_function(SCROLL, arg=499)


def test_review_finds_images_with_a_note_and_shows_it(page: Page, stub: Stub) -> None:
    server = stub()
    for image in (1, 2, 3):
        server.project.take("before", "bob", {"seq": image, "image": image, "kind": "label", "class": 0})
    server.project.take("before", "bob", {"seq": 4, "image": 2, "kind": "note", "note": "rust, or a scratch?"})
    open_page(page, server, "?mode=review")
    page.get_by_text("With a note").click()
    expect(page.locator(".tile")).to_have_count(1)
    expect(page.locator(".tile")).to_have_attribute("title", re.compile("rust, or a scratch"))


def test_help_names_the_keys_and_any_key_closes_it(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "?")
    expect(page.locator(".help")).to_contain_text("take the suggestion")
    press(page, "1")
    expect(page.locator(".help")).to_be_hidden()
    assert project.log == []


def test_a_panel_has_the_focus_while_it_is_open(page: Page, stub: Stub) -> None:
    open_page(page, stub())
    keys = page.get_by_role("button", name="Keys ?")
    keys.focus()
    press(page, "?")
    panel = page.get_by_role("dialog", name="All keys").locator(".panel")
    expect(panel).to_be_focused()
    press(page, "Tab")
    expect(panel).to_be_focused()
    press(page, "Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(keys).to_be_focused()


def magnified(page: Page) -> float:
    """How many times larger the picture is shown than it fits."""
    transform = page.locator(".frame img").evaluate("(img) => getComputedStyle(img).transform")
    return 1.0 if transform == "none" else float(transform.removeprefix("matrix(").split(",")[0])


def test_space_looks_closer_where_the_mouse_is_until_the_next_image(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    box = page.locator(".frame").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    press(page, " ")
    assert magnified(page) == 2  # it is a small picture, and shown larger than it is already
    assert page.locator(".frame").evaluate("(frame) => frame.style.getPropertyValue('--x')") == "25.0%"
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"])
    assert page.locator(".frame").evaluate("(frame) => frame.style.getPropertyValue('--x')") == "50.0%"
    press(page, " ")
    assert magnified(page) == 1
    press(page, " ", "1")
    expect_image(page, 2)
    assert magnified(page) == 1
    press(page, " ", "Escape")
    assert magnified(page) == 1
    saved(page)
    assert said(project) == [(1, "label", 0)]


def test_a_closer_look_at_a_large_picture_has_all_its_pixels(page: Page, stub: Stub) -> None:
    server = stub()
    item = server.project.item
    server.project.item = lambda image: {**item(image), "w": 4000, "h": 3000}
    open_page(page, server)
    press(page, " ")
    expect(page.locator(".frame img")).to_have_attribute("src", re.compile(r"/full/1$"))
    assert magnified(page) > 3
    press(page, " ")
    expect_image(page, 1)
    press(page, " ", "1")
    expect_image(page, 2)
    press(page, "ArrowLeft")
    expect_image(page, 1)


def test_fine_tuning_is_told_from_its_start_to_its_outcome(page: Page, stub: Stub) -> None:
    project = open_page(page, stub())
    press(page, "t")
    job = page.locator(".job")
    expect(job).to_have_text("fine-tuning 25 %, 40 s left")
    expect(job).to_have_attribute("title", "round 1 of 4")
    project.job |= {"seconds_left": 600}
    press(page, "1")
    expect(job).to_have_text("fine-tuning 25 %, 10 min left")
    verdict = "5 of 6 right, 4 before: the new model is in charge (all the numbers)"
    project.job |= {"state": "done", "message": verdict, "seconds_left": None}
    press(page, "1")
    expect(job).to_have_text("5 of 6 right, 4 before: the new model is in charge")
    expect(job).to_have_attribute("title", verdict)
    page.reload()
    expect(page.locator(".frame img")).to_be_visible()
    expect(job).to_have_text("")


def test_a_failed_fine_tuning_is_told_in_red(page: Page, stub: Stub) -> None:
    server = stub()
    server.project.job = {"id": 1, "kind": "fine-tune", "state": "failed", "message": "it was killed", "done": 0,
                          "total": 0, "seconds_left": None}  # fmt: skip
    open_page(page, server)
    expect(page.locator(".job.failed")).to_have_text("fine-tuning failed: it was killed")


# -- inside Streamlit


def test_in_streamlit_a_rerun_keeps_the_page_and_keys_stay_ours(page: Page, servers: list[Stops]) -> None:
    project = Project()
    script = Path(__file__).with_name("streamlit_page.py")
    app = st.App(script, routes=[route for route in routes(project) if getattr(route, "path", "") != "/"])
    server = Server(project, app=app)
    servers.append(server)
    open_page(page, server)
    press(page, "1", "2")
    saved(page)
    page.locator(".ll").evaluate("(page) => (page.dataset.same = 'yes')")
    page.get_by_role("button", name="again").click()
    expect(page.get_by_text("run 2")).to_be_visible()
    expect(page.locator(".ll")).to_have_attribute("data-same", "yes")
    expect_image(page, 3)
    press(page, "Enter", "/")
    page.keyboard.type("rc")  # Streamlit's own keys: run again, clear the cache
    press(page, "Escape")
    expect_image(page, 4)
    saved(page)
    expect(page.get_by_text("run 2")).to_be_visible()
    assert len({e["client"] for e in project.log}) == 1
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight <= innerHeight")
