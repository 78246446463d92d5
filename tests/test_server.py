"""The routes of the labeling page: what is acknowledged is on disk, and what is not ours is refused."""

import json
import shutil
from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from labelloop.project import Project
from labelloop.server import desk, listen
from labelloop.server.guards import guards, hosts_for
from labelloop.server.routes import routes
from labelloop.types import Event
from labelloop.ui.component import static_version
from tests.conftest import PATIENCE, draw, embed_by_color, truth

HEADERS = {"Origin": "http://localhost", "X-Labelloop": "1", "Content-Type": "application/json"}


@pytest.fixture
def page(project):
    """A client of the app with one project open; `page.base` is its address, `page.live` its live loop."""
    embed_by_color(project)
    key = desk.open_project(project.folder)
    app = Starlette(routes=routes(), middleware=guards(hosts_for("127.0.0.1")))
    with TestClient(app, base_url="http://localhost") as client:
        client.base, client.live = f"/ll/{key}", desk.get(key)
        assert client.live.wait_for(0, PATIENCE)
        yield client
    desk.close_all()


def send(page, *answers, client="tab", headers=HEADERS, **more):
    body = {"client": client, "by": "ann", "have": [], "answers": list(answers), **more}
    return page.post(f"{page.base}/answers", content=json.dumps(body), headers=headers)


def label(seq, image, index=0, **more):
    return {"seq": seq, "image": image, "kind": "label", "class": index, **more}


def test_an_acknowledged_answer_is_on_disk_with_all_that_is_known_of_it(page):
    answer = label(1, 3, 1, source="accepted", seconds=1.5, round=1, strategy="auto", suggestion=1, probability=0.9)
    reply = send(page, answer)
    assert reply.status_code == 200
    assert reply.json()["acked"] == 1
    with Project(page.live.project.folder) as other:
        (event,) = other.log.answers()
    assert (event.image_id, event.class_index, event.by, event.source) == (3, 1, "ann", "accepted")
    assert (event.seconds, event.round, event.strategy, event.suggestion, event.probability) == (1.5, 1, "auto", 1, 0.9)
    assert (event.client, event.seq) == ("tab", 1)


def test_the_same_post_twice_stores_once(page):
    for _ in range(2):
        assert send(page, label(1, 3), label(2, 4)).json()["acked"] == 2
    assert len(list(page.live.project.log.since())) == 2


def test_the_reply_carries_the_next_images(page):
    reply = send(page, label(1, 3), n=5, have=[7]).json()
    assert len(reply["items"]) == 5
    assert not {3, 7} & {item["id"] for item in reply["items"]}
    assert reply["state"]["images"] == 40


def test_images_come_with_their_round_and_with_no_newer_version_than_theirs(page, monkeypatch):
    """A page that was told a newer one would not ask again; the next images may be chosen before the reply is made."""
    page.live.close()
    live, take = page.live, page.live.take
    given = (live.dealer.round, live.dealer.version)

    def then_choose(*args, **more):
        picks = take(*args, **more)
        live.answer([Event(image_id=1, kind="skip", client="other tab", seq=1)])
        live._follow()
        return picks

    monkeypatch.setattr(live, "take", then_choose)
    reply = page.get(f"{page.base}/queue", params={"client": "tab", "n": 5}).json()
    assert (live.dealer.round, live.dealer.version) == (given[0] + 1, given[1] + 1)
    assert ({item["round"] for item in reply["items"]}, reply["state"]["version"]) == ({given[0]}, given[1])


def test_a_page_that_is_closed_while_its_answer_is_written_keeps_no_images(page, monkeypatch):
    live, write = page.live, page.live.answer
    page.get(f"{page.base}/queue", params={"client": "tab", "n": 5})

    def slowly(events):
        write(events)
        page.post(f"{page.base}/goodbye", content=json.dumps({"client": "tab"}), headers=HEADERS)

    monkeypatch.setattr(live, "answer", slowly)
    assert send(page, label(1, 3), n=5).json()["acked"] == 1
    assert live.dealer.clients == {}
    page.get(f"{page.base}/queue", params={"client": "tab", "n": 5})  # a browser may bring a page back
    assert list(live.dealer.clients) == ["tab"]


def test_stop_reaches_the_job_that_runs_not_the_one_that_waits_for_it(page):
    jobs = page.live.project.jobs
    running, _ = jobs.ask("fine-tune")
    jobs.report(running, state="running", done=1, total=4)
    waiting, _ = jobs.ask("embed")
    state = page.post(f"{page.base}/jobs", content=json.dumps({"stop": True}), headers=HEADERS).json()
    assert state["job"]["id"] == running
    assert (jobs.get(running).stop, jobs.get(waiting).stop) == (True, False)


def test_undo_takes_the_answer_back(page):
    send(page, label(1, 3), {"seq": 2, "image": 3, "kind": "undo"})
    assert page.live.project.log.answers() == []


def undo(seq, image, **named):
    return {"seq": seq, "image": image, "kind": "undo", **named}


def test_undo_takes_back_what_it_names_and_says_what_is_there_now(page):
    send(page, label(1, 3, 0), label(2, 3, 1))
    reply = send(page, undo(3, 3, undoes_seq=2), label(4, 5), undo(5, 5, undoes_seq=4)).json()
    assert reply["now"] == {"3": {"kind": "label", "class": 0}, "5": None}
    assert send(page, undo(6, 3, undoes=1)).json()["now"] == {"3": None}
    assert page.live.project.log.answers() == []


@pytest.mark.parametrize("named", [{"undoes_seq": 1}, {"undoes": 1}])
def test_undo_is_refused_when_somebody_has_answered_since(page, named):
    send(page, label(1, 3, 0))
    send(page, label(1, 3, 1), client="other tab", by="ben")
    reply = send(page, undo(2, 3, **named), label(3, 4))
    assert reply.status_code == 400
    assert reply.json() == {
        "error": "nothing was undone: ben has answered this image since",
        "seq": 2,
        "now": {"3": {"kind": "label", "class": 1}},
    }
    assert [(event.by, event.class_index) for event in page.live.project.log.answers()] == [("ben", 1)]


def test_undo_of_what_was_undone_or_never_stored_is_refused(page):
    send(page, label(1, 3, 0), label(2, 3, 1), undo(3, 3, undoes_seq=2))
    for seq, named in enumerate([{"undoes_seq": 2}, {"undoes_seq": 77}, {"undoes": 2}, {"undoes": 10**30}], 4):
        reply = send(page, undo(seq, 3, **named))
        assert (reply.status_code, reply.json()["seq"]) == (400, seq)
        assert reply.json()["now"] == {"3": {"kind": "label", "class": 0}}
    assert [event.class_index for event in page.live.project.log.answers()] == [0]


def test_one_bad_answer_is_named_and_the_ones_before_it_are_kept(page):
    reply = send(page, label(1, 3), label(2, 9999), label(3, 4))
    assert reply.status_code == 400
    assert reply.json()["seq"] == 2
    assert [event.image_id for event in page.live.project.log.since()] == [3]
    assert send(page, label(1, 3), label(3, 4)).json()["acked"] == 3


@pytest.mark.parametrize(
    "answer",
    [
        {"seq": 1, "image": 3, "kind": "delete everything"},
        {"seq": 1, "image": 3, "kind": "label", "class": 77},
        {"seq": 1, "image": 3, "kind": "label"},
        {"seq": 1, "image": "../../etc/passwd", "kind": "label", "class": 0},
        {"seq": 1, "image": 3, "kind": "label", "class": 0, "source": "import"},
        {"seq": 1, "image": 3, "kind": "note", "note": "x" * 20_000},
        {"seq": 1, "image": 3, "kind": "note", "note": {"a": 1}},
        {"seq": 1, "image": 3, "kind": "undo"},
    ],
)
def test_answers_that_make_no_sense_are_refused(page, answer):
    reply = send(page, answer)
    assert reply.status_code == 400
    assert reply.json()["error"]
    assert reply.json()["seq"] == 1  # so that the page can drop this one and send the rest
    assert list(page.live.project.log.since()) == []


@pytest.mark.parametrize(("size", "side"), [("view", 1280), ("full", 2000)])
def test_a_large_image_comes_reduced_and_for_a_closer_look_whole(page, size, side):
    large = draw(page.live.project.catalog.image(1).path.with_name("large.png"), (9, 9, 9), (2000, 500))
    list(page.live.project.catalog.scan())
    reply = page.get(f"{page.base}/{size}/{page.live.project.catalog.find(large)}")
    assert Image.open(BytesIO(reply.content)).size == (side, side // 4)


def test_a_full_disk_answers_not_saved(page):
    # Requests run in threads with connections of their own; the limit is per connection, so set it on each.
    live, folder = page.live, page.live.project.folder
    original = type(live.project).db.fget

    def with_limit(self):
        db = original(self)
        if self.folder == folder:
            db.conn.execute("PRAGMA max_page_count = 1")  # no more pages than there are
        return db

    type(live.project).db = property(with_limit)
    try:
        replies = [send(page, {"seq": k, "image": 3, "kind": "note", "note": "x" * 9000}) for k in range(1, 40)]
    finally:
        type(live.project).db = property(original)
    full = [reply for reply in replies if reply.status_code == 507]
    assert full
    assert "the disk is full" in full[0].json()["error"]
    saved = [reply for reply in replies if reply.status_code == 200]
    assert len(list(live.project.log.since())) == len(saved)


def test_a_held_out_image_gives_nothing_away(page):
    board = page.live.board
    names = truth(page.live.project)
    for seq, row in enumerate((~board.held_out).nonzero()[0][:10], 1):
        send(page, label(seq, int(row) + 1, page.live.project.class_index(names[int(row) + 1])))
    assert page.live.wait_for(page.live.project.log.last_id(), PATIENCE)
    items = page.get(f"{page.base}/queue", params={"client": "tab", "n": 60}).json()["items"]
    exam = [item for item in items if item["exam"]]
    assert {item["id"] for item in exam} <= set((board.held_out.nonzero()[0] + 1).tolist())
    assert exam
    for item in exam:
        assert (item["suggestion"], item["probability"], item["probs"], item["neighbours"]) == (None, None, [], [])
    assert all(item["probs"] for item in items if not item["exam"])


def test_the_reserve_is_drawn_at_random_and_never_held_out(page):
    def reserve(n):
        return page.get(f"{page.base}/reserve", params={"client": "tab", "n": n}).json()["items"]

    queued = {pick.image_id for pick in page.live.dealer.newcomer.queue}
    held_out = set((page.live.board.held_out.nonzero()[0] + 1).tolist())
    items = reserve(200)
    assert {item["id"] for item in items} == set(range(1, 41)) - queued - held_out
    assert reserve(2) == items[:2]
    first = items[0]
    assert (first["strategy"], first["round"], first["answer"], first["exam"]) == ("random", None, None, False)
    assert (first["suggestion"], first["probability"], first["probs"], first["neighbours"]) == (None, None, [], [])
    assert first["reason"] == "drawn at random, because the server could not be reached"
    send(page, label(1, first["id"], strategy="random", round=None))
    assert first["id"] not in {item["id"] for item in reserve(200)}
    assert page.get(f"{page.base}/reserve").status_code == 400


def test_held_out_images_stay_without_suggestion_in_the_review(page):
    board = page.live.board
    held_out = int(board.held_out.nonzero()[0][0]) + 1
    others = [int(row) + 1 for row in (~board.held_out).nonzero()[0][:6]]
    names = truth(page.live.project)
    for seq, image_id in enumerate([held_out, *others], 1):
        send(page, label(seq, image_id, page.live.project.class_index(names[image_id])))
    assert page.live.wait_for(page.live.project.log.last_id(), PATIENCE)
    found = {item["id"]: item for item in page.get(f"{page.base}/review").json()["items"]}
    assert found[held_out]["suggestion"] is None
    assert found[others[0]]["suggestion"] is not None


def test_the_review_filters_and_orders(page):
    send(page, label(1, 5, 0), label(2, 6, 1), {"seq": 3, "image": 7, "kind": "unsure"})
    send(page, {"seq": 4, "image": 8, "kind": "skip"}, {"seq": 5, "image": 5, "kind": "flag"})
    send(page, {"seq": 6, "image": 6, "kind": "note", "note": "which one?"})
    assert page.live.wait_for(page.live.project.log.last_id(), PATIENCE)

    def ids(**wanted):
        return [item["id"] for item in page.get(f"{page.base}/review", params=wanted).json()["items"]]

    assert ids() == [8, 7, 6, 5]
    assert ids(order="old") == [5, 6, 7, 8]
    assert ids(show="class", **{"class": 1}) == [6]
    assert (ids(show="unsure"), ids(show="skipped"), ids(show="flagged"), ids(show="noted")) == ([7], [8], [5], [6])
    assert ids(offset=1, n=2) == [7, 6]
    assert page.get(f"{page.base}/review").json()["total"] == 4
    assert page.get(f"{page.base}/review", params={"show": "nonsense"}).status_code == 400


def test_a_review_has_each_answer_that_was_acknowledged_though_the_model_is_still_being_fitted(page):
    live = page.live
    live.close()
    send(page, label(1, 5, 0), label(2, 6, 1))
    page.post(f"{page.base}/classes", content=json.dumps({"name": "green"}), headers=HEADERS)
    send(page, label(3, 5, 2), {"seq": 4, "image": 6, "kind": "undo"}, client="other tab", by="ben")
    for order in ("new", "doubt"):
        reply = page.get(f"{page.base}/review", params={"order": order}).json()
        assert [(item["id"], item["answer"]) for item in reply["items"]] == [(5, {"kind": "label", "class": 2})]
        assert (reply["total"], reply["people"]) == (1, ["ben"])
    assert page.get(f"{page.base}/review", params={"show": "class", "class": 0}).json()["total"] == 0
    assert live.board.last_event == 0  # the thread still has to learn from them


def test_a_review_has_an_answer_of_a_class_that_the_model_does_not_know_yet(page):
    answered(page)
    page.live.close()
    page.post(f"{page.base}/classes", content=json.dumps({"name": "green"}), headers=HEADERS)
    send(page, label(1, 5, 2), client="other tab", by="ben")
    for order in ("new", "doubt"):
        items = page.get(f"{page.base}/review", params={"order": order}).json()["items"]
        assert {"kind": "label", "class": 2} in [item["answer"] for item in items if item["id"] == 5]


def test_the_review_finds_images_by_their_paths_and_by_who_answered(page):
    """The even images are in red/, the odd ones in blue/; ann answers 01 to 04, and bob takes 02 over."""
    number = {image.name[-6:-4]: image.id for image in page.live.project.catalog.images().values()}
    one, two, three, four = (number[f"{k:02}"] for k in (1, 2, 3, 4))
    send(page, label(1, one, 1), label(2, two, 0), {"seq": 3, "image": three, "kind": "unsure"}, label(4, four, 0))
    send(page, label(1, two, 0), {"seq": 2, "image": one, "kind": "flag"}, client="other tab", by="bob")
    assert page.live.wait_for(page.live.project.log.last_id(), PATIENCE)

    def ids(**wanted):
        reply = page.get(f"{page.base}/review", params=wanted).json()
        assert reply["total"] == len(reply["items"])
        assert reply["people"] == ["ann", "bob"]
        return [item["id"] for item in reply["items"]]

    assert ids() == [two, four, three, one]
    assert ids(find="BLUE/ img") == [three, one]
    assert ids(find="BLUE/ img", order="old") == [one, three]
    assert ids(find="blue", show="unsure") == [three]
    assert ids(find="blue", show="flagged") == [one]
    assert ids(find="_0", show="class", **{"class": 0}) == [two, four]
    assert ids(find="img_05") == []  # it is there, but has no answer
    assert (ids(by="ann"), ids(by="bob"), ids(by="eve"), ids(by="")) == ([four, three, one], [two], [], [])
    assert ids(by="ann", find="red", order="old") == [four]
    assert ids(by="bob", show="flagged") == []
    assert page.get(f"{page.base}/review", params={"find": "x" * 201}).status_code == 400


def test_answers_that_nobody_put_a_name_to_are_somebodys_too(page):
    send(page, label(1, 5), by="")
    send(page, label(1, 6), client="other tab", by="Ann")
    assert page.live.wait_for(page.live.project.log.last_id(), PATIENCE)
    reply = page.get(f"{page.base}/review", params={"by": ""}).json()
    assert (reply["people"], [item["id"] for item in reply["items"]]) == (["", "Ann"], [5])


@pytest.mark.parametrize("wanted", [{}, {"find": "img", "by": "ann", "show": "flagged"}])
def test_a_review_asks_the_database_as_often_for_many_images_as_for_few(page, wanted):
    answered(page)
    send(page, *({"seq": 100 + k, "image": k, "kind": "flag"} for k in range(1, 41)))
    asked, original = [], type(page.live.project).db.fget

    def traced(self):
        db = original(self)
        db.conn.set_trace_callback(asked.append if self is page.live.project else None)
        return db

    def ask(n):
        asked.clear()
        assert len(page.get(f"{page.base}/review", params={**wanted, "n": n}).json()["items"]) == n
        return len(asked)

    assert page.live.wait_for(page.live.project.log.last_id(), 60)  # else a review reads what the board has not
    page.live.close()
    ask(1)  # the paths are read once
    type(page.live.project).db = property(traced)
    try:
        assert ask(1) == ask(40) <= 8
    finally:
        type(page.live.project).db = property(original)


def test_the_review_reads_neither_the_log_nor_the_features_of_all_labels(page, monkeypatch):
    """With 100,000 answers either took longer than all the rest."""
    answered(page)
    assert all(len(item["neighbours"]) == (0 if item["exam"] else 3) for item in recent(page, "ann"))
    page.live.close()
    for name in ("answers", "times"):
        monkeypatch.setattr(page.live.project.log, name, None)
    items = page.get(f"{page.base}/review").json()["items"]
    assert [item["id"] for item in items] == list(truth(page.live.project))[::-1]
    assert {len(item["neighbours"]) for item in items} == {0}


def recent(page, by):
    return page.get(f"{page.base}/recent", params={"by": by}).json()["items"]


def test_recent_answers_of_one_person(page):
    send(page, label(1, 5))
    send(page, label(1, 6), client="other tab", by="ben")
    assert [item["id"] for item in recent(page, "ann")] == [5]


def test_recent_answers_come_with_what_an_undo_needs(page):
    send(page, label(1, 5, 0), label(2, 6, 0), client="ben's tab", by="ben")
    send(page, label(1, 6, 1), label(2, 7, 1), {"seq": 3, "image": 5, "kind": "unsure"})
    items = recent(page, "ann")
    red, blue = ({"kind": "label", "class": k} for k in (0, 1))
    assert [(one["id"], one["event"], one["answer"], one["before"]) for one in items] == [
        (5, 5, {"kind": "unsure"}, red),
        (7, 4, blue, None),
        (6, 3, blue, red),
    ]


def test_pages_that_ask_for_no_image_are_given_none_and_one_that_says_goodbye_has_none(page):
    page.get(f"{page.base}/queue", params={"client": "a review", "n": 0})
    send(page, label(1, 3), client="an earlier tab", n=0)
    assert page.live.dealer.clients == {}
    page.get(f"{page.base}/queue", params={"client": "tab", "n": 5})
    assert list(page.live.dealer.clients) == ["tab"]
    assert page.get(f"{page.base}/state", params={"client": "other"}).json()["elsewhere"] > 5
    for _ in range(2):
        reply = page.post(f"{page.base}/goodbye", content=json.dumps({"client": "tab"}), headers=HEADERS)
        assert reply.status_code == 200
    assert page.live.dealer.clients == {}


def test_a_new_class(page):
    def add(name):
        return page.post(f"{page.base}/classes", content=json.dumps({"name": name}), headers=HEADERS)

    assert add("green").json() == {
        "classes": ["red", "blue", "green"],
        "first_names": ["red", "blue", "green"],
        "merged": {},
        "class": 2,
    }
    assert add("RED").status_code == add(" ").status_code == 400


def test_a_class_gets_another_name(page):
    def rename(index, name):
        return page.post(f"{page.base}/classes/{index}", content=json.dumps({"name": name}), headers=HEADERS)

    assert rename(0, "crimson").json() == {
        "classes": ["crimson", "blue"],
        "first_names": ["red", "blue"],
        "merged": {},
        "class": 0,
    }
    state = page.get(f"{page.base}/state").json()
    assert (state["classes"], state["first_names"]) == (["crimson", "blue"], ["red", "blue"])
    assert rename(0, "Blue").status_code == rename(1, " ").status_code == rename(2, "pink").status_code == 400


def test_two_classes_become_one(page):
    def merge(index, into):
        content = json.dumps({"into": into})
        return page.post(f"{page.base}/classes/{index}/merge", content=content, headers=HEADERS)

    page.live.project.add_class("rde")
    assert merge(2, 0).json() == {
        "classes": ["red", "blue", "red"],
        "first_names": ["red", "blue", "rde"],
        "merged": {"2": 0},
        "class": 0,
    }
    assert page.get(f"{page.base}/state").json()["merged"] == {"2": 0}
    for index, into in ((0, 0), (2, 1), (1, 2), (0, 7), (7, 0), (1, "0"), (1, None), (1, -1)):
        assert merge(index, into).status_code == 400
    assert page.live.project.merged == {2: 0}


def test_pictures_go_by_id_alone(page):
    for size in ("thumb", "view"):
        reply = page.get(f"{page.base}/{size}/1")
        assert reply.headers["content-type"].startswith("image/")
        assert "immutable" in reply.headers["cache-control"]
        assert page.get(f"{page.base}/{size}/1").content == reply.content
    assert page.get(f"{page.base}/thumb/999").status_code == 404
    assert page.get(f"{page.base}/thumb/..%2f..%2fproject.db").status_code == 404
    assert page.get(f"{page.base}/project.db/1").status_code in (400, 404)


def test_a_picture_shows_the_image(page, tmp_path):
    (tmp_path / "one").write_bytes(page.get(f"{page.base}/view/1").content)
    original = Image.open(page.live.project.catalog.image(1).path).convert("RGB")
    with Image.open(tmp_path / "one") as shown:
        assert shown.size == original.size
        difference = [abs(a - b) for a, b in zip(shown.convert("RGB").getpixel((9, 9)), original.getpixel((9, 9)))]  # noqa: B905
    assert max(difference) < 12


def test_an_unknown_project_says_what_to_do(page):
    reply = page.get("/ll/000000000000/state")
    assert reply.status_code == 400
    assert "Start page" in reply.json()["error"]


# -- guards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 400),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": None}, 415),
        ({"X-Labelloop": None}, 403),
    ],
)
def test_a_request_from_elsewhere_changes_nothing(page, change, status):
    headers = {name: value for name, value in {**HEADERS, **change}.items() if value is not None}
    assert send(page, label(1, 3), headers=headers).status_code == status
    assert list(page.live.project.log.since()) == []


def test_a_foreign_host_reads_nothing(page):
    for path in ("state", "queue?client=x", "thumb/1"):
        assert page.get(f"{page.base}/{path}", headers={"Host": "evil.example"}).status_code == 400


def test_a_body_that_is_too_large_is_not_read(page):
    reply = page.post(f"{page.base}/answers", content=b"x" * 1_000_001, headers=HEADERS)
    assert reply.status_code == 413


def test_every_answer_keeps_other_sites_out(page):
    headers = page.get(f"{page.base}/state").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers
    assert "default-src 'self'" in headers["content-security-policy"]


def test_static_files_only_of_this_version_and_folder(page):
    version = static_version()
    assert page.get(f"/ll/static/{version}/labeler.js").headers["content-type"].startswith("text/javascript")
    assert page.get("/ll/static/old/labeler.js").status_code == 404
    assert page.get(f"/ll/static/{version}/..%2fcomponent.py").status_code == 404
    assert page.get(f"/ll/static/{version}/../component.py").status_code in (400, 404)


def test_own_socket_sends_at_once():
    """asyncio sets TCP_NODELAY only on a socket whose protocol says TCP."""
    import socket

    listening = listen("127.0.0.1", 0)
    assert listening.proto == socket.IPPROTO_TCP
    listening.close()


def test_a_taken_port_says_so():
    from labelloop.errors import BadInput

    listening = listen("127.0.0.1", 0)
    with pytest.raises(BadInput, match="--port"):
        listen("127.0.0.1", listening.getsockname()[1])
    listening.close()


def test_a_project_that_is_closed_while_it_is_looked_for_is_not_open(page, monkeypatch):
    find = desk._find

    def and_close(folder):
        key = find(folder)
        desk.close_all()
        return key

    monkeypatch.setattr(desk, "_find", and_close)
    assert not desk.is_open(page.live.project.folder)


def test_a_project_made_anew_in_the_same_folder_has_another_address(page, photos):
    folder, old = page.live.project.folder, page.base
    assert page.get(f"{old}/view/1").content == page.get(f"{old}/view/1").content
    shutil.rmtree(folder)
    assert not desk.is_open(folder)
    draw(photos / "red" / "new.png", (1, 2, 3), size=(50, 50))  # the images have other numbers than before
    with Project.create(folder, photos, ["red", "blue"]) as anew:
        for _ in anew.catalog.scan():
            pass
        embed_by_color(anew)
    assert send(page, label(1, 3)).status_code == 400
    page.base = f"/ll/{desk.open_project(folder)}"
    assert page.base != old  # browsers keep pictures of the old ones for ever
    assert page.get(f"{old}/state").status_code == 400
    assert send(page, label(1, 3)).json()["acked"] == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"image": 10**30},
        {"image": 3, "probability": float("inf")},  # no file could hold it: it would bar every export
        {"image": 3, "seconds": float("nan")},
        {"image": 3, "round": 10**30},
        {"image": 3, "suggestion": 10**30},
    ],
)
def test_an_answer_that_cannot_be_stored_is_named_so_that_the_page_can_let_it_go(page, bad):
    reply = send(page, label(1, 4), label(2, **bad), label(3, 5))
    assert (reply.status_code, reply.json()["seq"]) == (400, 2)
    assert [event.seq for event in page.live.project.log.since()] == [1]


def test_the_first_of_two_bad_answers_is_named(page):
    reply = send(page, label(1, 4), {"seq": 2, "image": 5, "kind": "undo"}, {"seq": 3, "image": 5, "kind": "shout"})
    assert (reply.status_code, reply.json()["seq"]) == (400, 2)


def test_half_an_emoji_does_not_hold_up_the_answers_after_it(page):
    assert send(page, {"seq": 1, "image": 3, "kind": "note", "note": "odd \ud83d"}, label(2, 3)).json()["acked"] == 2
    assert page.live.project.log.notes() == {3: "odd ?"}


def test_a_request_that_makes_no_sense_is_refused_before_anything_is_stored(page):
    for more in ({"have": None}, {"have": ["x"]}, {"n": "many"}):
        assert send(page, label(1, 3), **more).status_code == 400
    assert page.live.project.log.last_id() == 0


def test_images_that_a_page_has_from_another_project_disturb_nobody(page):
    assert send(page, label(1, 3), have=[0, -1, 10**6, 7]).status_code == 200
    assert page.live.wait_for(1, PATIENCE)
    assert (page.live.notice, page.live.dealer.clients["tab"].pinned) == (None, {7})


def test_review_works_while_images_and_classes_come_in(page):
    answered(page)
    live = page.live
    live.close()
    live.learned = replace(live.learned, probabilities=live.learned.probabilities[:5])  # of before they came in
    for order in ("new", "doubt"):
        for show in ("all", "disagree"):
            assert page.get(f"{page.base}/review?show={show}&order={order}").status_code == 200


def test_a_review_goes_by_one_board_though_an_image_comes_in_while_it_is_made(page, photos, monkeypatch):
    answered(page)
    live, before = page.live, page.live.board
    live.close()
    draw(photos / "late.png", (90, 90, 90))
    list(live.project.catalog.scan())
    live._follow()
    looks, after = iter([before]), live.board
    monkeypatch.setattr(type(live), "board", property(lambda _: next(looks, after)), raising=False)
    reply = page.get(f"{page.base}/review?show=disagree")
    assert (reply.status_code, reply.json()["total"]) == (200, 0)


def test_review_does_not_tell_where_the_model_and_the_exam_differ(page):
    answered(page)
    live = page.live
    live.close()
    live.learned = replace(live.learned, probabilities=1 - live.learned.probabilities)  # wrong everywhere
    seen = page.get(f"{page.base}/review?show=disagree").json()
    assert seen["total"] == int((~live.board.held_out).sum())
    assert not any(item["exam"] for item in seen["items"])
    ordered = page.get(f"{page.base}/review?show=all&order=doubt&n=40").json()["items"]
    assert [item["exam"] for item in ordered] == sorted(item["exam"] for item in ordered)
    assert {item["round"] for item in ordered} == {None}


def answered(page):
    """All images, as their folders are called."""
    names = truth(page.live.project)
    index = page.live.project.class_index
    send(page, *(label(k, image, index(name)) for k, (image, name) in enumerate(names.items(), 1)))
    assert page.live.wait_for(page.live.project.log.last_id(), PATIENCE)


def test_the_next_images_come_with_labeled_ones_that_look_like_them(page):
    board, names = page.live.board, truth(page.live.project)
    learning = [int(row) + 1 for row in (~board.held_out).nonzero()[0]]
    for seq, image_id in enumerate(learning[:6], 1):
        send(page, label(seq, image_id, page.live.project.class_index(names[image_id])))
    assert page.live.wait_for(page.live.project.log.last_id(), PATIENCE)
    (first, *_) = [item for item in page.get(f"{page.base}/queue?client=tab&n=20").json()["items"] if not item["exam"]]
    assert len(first["neighbours"]) == 3
    assert {one["id"] for one in first["neighbours"]} <= set(learning[:6])
    assert all(page.live.project.classes[one["class"]] == names[one["id"]] for one in first["neighbours"])
