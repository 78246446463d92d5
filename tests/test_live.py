"""The live loop: the queue follows every answer, nobody gets what somebody else has, and nothing stands still."""

import itertools
import re

import numpy as np
import pytest

from labelloop import loop, worker
from labelloop.board import NONE, Board
from labelloop.errors import NotSaved
from labelloop.features import FeatureStore
from labelloop.live import Live
from labelloop.project import Project
from labelloop.server.items import items
from labelloop.strategies import choose, pools
from labelloop.types import Event, Pick, Settings
from tests.conftest import PATIENCE, draw, embed_by_color, truth, wait_until

NUMBERS = itertools.count(1)


@pytest.fixture
def live(project):
    embed_by_color(project)
    live = Live(project)
    live.start()
    assert live.wait_for(0, PATIENCE)
    yield live
    live.close()


def label(live, image_id, name=None, client="tab"):
    """Answer like the page does, and wait until the queue follows."""
    index = live.project.class_index(name or truth(live.project)[image_id])
    live.answer([Event(image_id=image_id, kind="label", class_index=index, client=client, seq=image_id)])
    assert live.wait_for(live.project.log.last_id(), PATIENCE)


def first_of_each(live):
    """One image to learn from of each class."""
    board, names = live.board, truth(live.project)
    open_ids = (np.flatnonzero(~board.held_out) + 1).tolist()
    return [next(i for i in open_ids if names[i] == name) for name in ("red", "blue")]


def test_the_first_images_are_there_before_any_label(live):
    picks = live.take("tab", [], 10)
    assert len(picks) == 10
    assert live.learned is None
    assert live.state()["model"] is None


def test_an_answer_reaches_the_choice_of_images(live):
    for image_id in first_of_each(live):
        label(live, image_id)
    assert live.learned is not None
    assert live.learned.labels == 2
    picks = live.take("tab", [], 20)
    assert not {pick.image_id for pick in picks} & set(first_of_each(live))
    assert all(pick.suggestion is not None for pick in picks if not pick.held_out)


def test_after_answers_it_asks_whether_fine_tuning_is_due(project, monkeypatch):
    asked = []
    monkeypatch.setattr(worker, "fine_tune_when_due", lambda project, board: asked.append(len(board.to_learn_from)))
    embed_by_color(project)
    live = Live(project)
    live._follow()
    live._follow()
    assert asked == [0]  # nothing is new the second time
    both = first_of_each(live)
    live.answer([Event(image_id=k, kind="label", class_index=0, client="tab", seq=k) for k in both])
    live._follow()
    assert asked == [0, 2]


@pytest.fixture
def resumed(project, monkeypatch):
    """(An open project all of whose images are embedded, the jobs it asks for); starting a job starts no process."""
    asked = []

    def start(project, kind):
        asked.append(kind)
        return project.jobs.ask(kind)

    monkeypatch.setattr(worker, "start", start)
    embed_by_color(project)
    live = Live(project)
    live._follow()
    return live, asked


def end(project, kind, state):
    """A job, as a worker ends it."""
    job_id, _ = project.jobs.ask(kind)
    project.jobs.report(job_id, state=state)


def find_new(project, photos, name):
    draw(photos / f"{name}.png", (90, 90, len(name)))
    list(project.catalog.scan())


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_images_that_a_fine_tuning_found_are_embedded_though_it_came_to_no_end(resumed, photos, state):
    live, asked = resumed
    job_id, _ = live.project.jobs.ask("fine-tune")
    find_new(live.project, photos, "late")
    live._follow()
    assert asked == []  # it embeds them itself
    live.project.jobs.report(job_id, state=state)
    live._follow()
    live._follow()
    assert asked == ["embed"]


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_embedding_that_failed_or_was_stopped_is_not_started_again_and_again(resumed, photos, state):
    live, asked = resumed
    end(live.project, "fine-tune", "failed")
    find_new(live.project, photos, "late")
    live._follow()
    end(live.project, "embed", state)  # the one that was asked for
    find_new(live.project, photos, "later")
    for _ in range(3):
        live._follow()
    assert asked == ["embed"]


def test_images_from_the_command_line_are_embedded_once_even_if_one_keeps_no_features(resumed, photos):
    live, asked = resumed
    for name in ("new", "newer"):
        find_new(live.project, photos, name)
        live._follow()
        end(live.project, "embed", "done")
        for _ in range(3):
            live._follow()
    assert asked == ["embed", "embed"]


def test_an_undone_answer_is_unlearned(live):
    for image_id in first_of_each(live):
        label(live, image_id)
    live.answer([Event(image_id=first_of_each(live)[0], kind="undo", client="tab", seq=999)])
    assert live.wait_for(live.project.log.last_id(), PATIENCE)
    assert live.learned is None


def test_an_image_whose_answer_was_undone_is_asked_again(live):
    image_id = live.take("tab", [], 1)[0].image_id
    label(live, image_id)
    live.answer([Event(image_id=image_id, kind="undo", client="tab", seq=999)])
    assert live.wait_for(live.project.log.last_id(), PATIENCE)
    pages = [*live.dealer.clients.values(), live.dealer.newcomer]
    assert image_id in {pick.image_id for page in pages for pick in page.next(live.dealer._answered)}


def test_two_pages_never_have_the_same_image(live):
    live.take("ann", [], 12)
    live.take("ben", [], 12)
    label(live, 1)  # the images are dealt out anew, between two pages and one that may come
    ann = {pick.image_id for pick in live.take("ann", [], 12)}
    ben = {pick.image_id for pick in live.take("ben", [], 12)}
    assert len(ann) == len(ben) == 12
    assert not ann & ben


def test_looking_without_taking_makes_no_rounds(live):
    before = live.project.rounds.last()
    for k in range(3):
        live.answer([Event(image_id=int(np.flatnonzero(live.board.held_out)[k]) + 1, kind="skip", client="x", seq=k)])
        assert live.wait_for(live.project.log.last_id(), PATIENCE)
    assert live.project.rounds.last() == before == 1


def test_what_a_page_may_be_showing_is_not_dealt_to_another(live):
    """A page shows what it was just given before it tells so; a choice made in between must not hand that on."""
    live.take("ann", [], 12)
    live.take("ben", [], 12)
    label(live, 1)
    ann = {pick.image_id for pick in live.take("ann", [], 12)}
    label(live, 2)  # ann has not been heard of since
    assert not ann & {pick.image_id for pick in live.take("ben", [], 40)}


def test_what_a_page_begins_to_show_while_images_are_chosen_is_not_dealt_to_another(project, monkeypatch):
    embed_by_color(project)
    live, choose = Live(project), loop.choose
    for page in ("ann", "ben", "ann", "ben"):
        live._follow()
        live.take(page, [], 12)
    ann = [pick.image_id for pick in live.take("ann", [], 12)]

    def meanwhile(*args, **more):
        choice = choose(*args, **more)
        live.take("ann", ann, 1)
        return choice

    live.answer([Event(image_id=live.take("ben", [], 12)[0].image_id, kind="skip", client="ben", seq=1)])
    monkeypatch.setattr("labelloop.chooser.choose", meanwhile)
    live._follow()
    assert not set(ann) & {pick.image_id for pick in live.take("ben", [], 40)}
    assert not set(ann) & {pick.image_id for pick in live.dealer.newcomer.queue}


def test_a_page_keeps_its_images_and_is_not_given_them_again(live):
    have = [pick.image_id for pick in live.take("tab", [], 5)]
    assert not set(have) & {pick.image_id for pick in live.take("tab", have, 10)}


def test_the_exam_keeps_its_share_however_often_the_queue_is_made_anew(make_project, tmp_path):
    """Two pages are open, one idle; after each answer the queue is made anew, and one in four is still one in four."""
    for k in range(300):
        draw(tmp_path / "many" / f"{k}.png", (k % 256, (k * 7) % 256, k // 2), size=(8, 8))
    project = make_project(tmp_path / "many", name="of_many", held_out=0.25)
    embed_by_color(project)
    live = Live(project)
    live._follow()
    live.take("idle", [], 24)
    live._follow()
    shown: list[int] = []
    screen: list[int] = []
    while len(shown) < 120:
        screen += [pick.image_id for pick in live.take("tab", screen, 24)][: 4 - len(screen)]
        shown.append(screen.pop(0))
        live.answer([Event(image_id=shown[-1], kind="label", class_index=len(shown) % 2, client="tab", seq=len(shown))])
        live._follow()
    share = live.board.held_out[np.array(shown) - 1].mean()
    assert 0.13 < share < 0.37  # three standard deviations around 0.25


def test_an_image_that_was_just_answered_is_not_handed_out(live):
    image_id = live.take("tab", [], 1)[0].image_id
    live.answer([Event(image_id=image_id, kind="skip", client="tab", seq=1)])
    assert image_id not in {pick.image_id for pick in live.take("tab", [], 30)}


def test_an_image_whose_skip_the_queue_knows_of_already_comes_back(project, monkeypatch):
    """The thread may have read an answer and chosen before the request that stored it goes on."""
    embed_by_color(project)
    live, append = Live(project), project.log.append
    last, *others = (np.flatnonzero(~live.board.held_out) + 1).tolist()
    append([Event(image_id=image_id, kind="skip") for image_id in others])
    live._follow()

    def seen_at_once(events):
        event_ids = append(events)
        live._follow()
        return event_ids

    monkeypatch.setattr(project.log, "append", seen_at_once)
    live.answer([Event(image_id=last, kind="skip", client="tab", seq=1)])
    assert last in {pick.image_id for pick in live.take("tab", [], 100)}


def test_the_reserve_is_open_not_held_out_and_in_nobodys_queue(make_project, tmp_path):
    for k in range(300):
        draw(tmp_path / "many" / f"{k}.png", (k % 256, (k * 7) % 256, k // 2), size=(8, 8))
    project = make_project(tmp_path / "many", name="of_many", held_out=0.25)
    embed_by_color(project)
    live = Live(project)
    live._follow()
    live.take("ann", [], 24)
    live._follow()
    queued = {pick.image_id for client in (live.dealer.clients["ann"], live.dealer.newcomer) for pick in client.queue}
    held_out = set((np.flatnonzero(live.board.held_out) + 1).tolist())
    ids = [pick.image_id for pick in live.reserve("ann", 1000)]
    assert sorted(ids) == sorted(set(range(1, 301)) - queued - held_out)
    assert ids != sorted(ids)
    assert [pick.image_id for pick in live.reserve("ann", 20)] == ids[:20]
    assert [pick.image_id for pick in live.reserve("ben", 1000)] != ids
    live.answer([Event(image_id=ids[0], kind="label", class_index=0, client="ann", seq=1)])
    live.take("ann", [ids[1]], 24)
    assert not {ids[0], ids[1]} & {pick.image_id for pick in live.reserve("ann", 1000)}


def test_an_undo_leaves_the_board_that_a_request_is_reading_as_it_was(project):
    embed_by_color(project)
    project.label(3, "red")
    live = Live(project)
    live._follow()
    project.log.append([Event(image_id=3, kind="undo")])
    undone = iter([live._follow])

    class Read(Board):
        def __getattribute__(self, name):
            value = super().__getattribute__(name)
            if name in ("label", "state"):
                next(undone, int)()
            return value

    live.board = Read(**vars(live.board))
    (shown,) = items(live, live.board, [Pick(image_id=3, strategy="review")], None)
    assert shown["answer"] == {"kind": "label", "class": 0}
    assert (live.board.state[2], live.board.label[2]) == (NONE, -1)


@pytest.fixture
def looked_late(project, photos):
    """A live loop in which an answer and an image come in just as a request waits for the lock; their ids."""
    embed_by_color(project)
    live = Live(project)
    live._follow()
    answered, lock = live.reserve("ann", 1)[0].image_id, live.dealer.lock

    class Late:
        def __enter__(self):
            live.dealer.lock = lock
            find_new(project, photos, "late")
            live.answer([Event(image_id=answered, kind="unsure", client="ben", seq=1)])
            live._follow()
            live.take("ben", [41], 5)
            lock.acquire()

        def __exit__(self, *_):
            lock.release()

    live.dealer.lock = Late()
    return live, answered


def test_the_state_knows_of_all_images_that_other_pages_have(looked_late):
    live, _ = looked_late
    assert (live.state("ann")["images"], live.state("ann")["open"]) == (41, 40)


def test_what_was_answered_is_not_in_the_reserve(looked_late):
    live, answered = looked_late
    assert answered not in {pick.image_id for pick in live.reserve("ann", 100)}


def test_what_was_shown_is_logged_with_its_round(live):
    given = [pick.image_id for pick in live.take("tab", [], 5)]
    live.take("tab", given[:3], 5)  # three of them came onto the screen
    label(live, given[0])
    label(live, given[4])  # this one was answered before the page said that it shows it

    def logged():
        rows = live.project.db.conn.execute("SELECT image_id FROM picks WHERE round = 1 ORDER BY rank")
        return [row["image_id"] for row in rows]

    wait_until(lambda: len(logged()) == 4)  # the queue is there a moment earlier
    assert logged() == [*given[:3], given[4]]
    assert {event.round for event in live.project.log.since()} == {None}


def test_what_was_shown_while_the_disk_was_full_is_logged_later(project, monkeypatch):
    embed_by_color(project)
    live = Live(project)
    live._follow()
    given = [pick.image_id for pick in live.take("tab", [], 3)]
    live.take("tab", given[:2], 3)
    with monkeypatch.context() as full:
        full.setattr(project.rounds, "add_picks", lambda *_: (_ for _ in ()).throw(NotSaved("the disk is full")))
        live._follow_or_say_why_not()
    assert live.notice == "the disk is full"
    live._follow()
    live._follow()  # nothing is logged twice
    rows = project.db.conn.execute("SELECT image_id FROM picks ORDER BY rank")
    assert [row["image_id"] for row in rows] == given[:2]


def test_labels_from_the_command_line_arrive(live):
    """Another process, here another connection, writes to the log; the page follows."""
    with Project(live.project.folder) as other:
        for image_id in first_of_each(live):
            other.label(image_id, truth(other)[image_id], by="cli")
        last = other.log.last_id()
    assert live.wait_for(last, PATIENCE)
    assert live.state()["labeled"] == 2


def test_everything_gets_answered_in_the_end(live):
    """Answer whatever is on top until nothing is left: every image once, held-out ones among them."""
    seen = []
    while picks := live.take("tab", [], 5):
        for pick in picks:
            seen.append(pick.image_id)
            index = live.project.class_index(truth(live.project)[pick.image_id])
            live.answer([Event(image_id=pick.image_id, kind="label", class_index=index)])
        assert live.wait_for(live.project.log.last_id(), PATIENCE)
    assert sorted(seen) == list(range(1, 41))


def test_a_broken_strategy_is_said_and_the_page_goes_on(live):
    folder = live.project.folder / "strategies"
    folder.mkdir()
    (folder / "mine.py").write_text(
        "import numpy as np\nfrom labelloop import strategy\n\n@strategy\ndef all_nan(pool, n, rng):\n"
        "    'Nothing but NaN.'\n    return np.full(len(pool), np.nan)\n"
    )
    live.project.change_settings(strategy="all_nan")
    label(live, first_of_each(live)[0])
    state = live.state()
    assert "all_nan" in state["notice"]
    assert "Going on with 'auto'" in state["notice"]
    assert live.take("tab", [], 5)
    (folder / "mine.py").write_text(
        "import numpy as np\nfrom labelloop import strategy\n\n@strategy\ndef all_nan(pool, n, rng):\n"
        "    'Mended.'\n    return np.zeros(len(pool))\n"
    )
    label(live, first_of_each(live)[1])
    assert live.state()["notice"] is None


MINE = """
from labelloop import strategy

@strategy
def mine(pool, n, rng, *, sign: float = 1.0):
    "By number."
    return {} * sign * pool.ids
"""


def write(project, sign, file="mine.py"):
    (project.folder / "strategies").mkdir(exist_ok=True)
    (project.folder / "strategies" / file).write_text(MINE.format(sign))


def queue(live):
    return [pick.image_id for pick in live.dealer.newcomer.queue if not pick.held_out]


def test_two_broken_files_are_told_in_a_line_each(live):
    folder = live.project.folder / "strategies"
    folder.mkdir(exist_ok=True)
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text("import nowhere_at_all\n")
    label(live, first_of_each(live)[0])
    first, second = live.notice.splitlines()
    assert "one.py" in first
    assert "two.py" in second


def test_two_open_projects_each_run_their_own_file_of_one_name(make_project, photos):
    """Both threads run; each project's file sorts the other way round, and then they are swapped."""
    lives = []
    for name, sign in (("one", +1), ("two", -1)):
        project = make_project(photos, name=name, held_out=0.25)
        embed_by_color(project)
        write(project, sign)
        project.change_settings(strategy="mine")
        lives.append(Live(project))
    for live in lives:
        live.start()
    try:
        for swap in (+1, -1):
            for k, live in enumerate(lives):
                write(live.project, swap * (+1, -1)[k])
                label(live, int(np.flatnonzero(live.board.held_out)[swap]) + 1)  # of the exam: the queue stays whole
            one, two = map(queue, lives)
            assert one == sorted(one, reverse=swap == +1)
            assert two == sorted(two, reverse=swap == -1)
            assert min(len(one), len(two)) > 5
            assert [live.notice for live in lives] == [None, None]
    finally:
        for live in lives:
            live.close()


def test_settings_that_make_auto_fail_do_not_stop_the_queue(project):
    embed_by_color(project)
    project.change_settings(strategy="auto", strategy_settings={"no_such": 1})
    live = Live(project)
    live._follow()
    assert len(queue(live)) > 5
    assert live.ran in ("auto", "max_herding")
    assert "auto has no setting 'no_such'" in live.notice
    assert live.notice.endswith("Going on with 'auto' and its defaults.")
    row = project.db.conn.execute("SELECT settings FROM rounds ORDER BY id DESC").fetchone()
    assert row["settings"] == "{}"


def test_a_strategy_is_never_asked_with_the_settings_of_the_one_before(project, monkeypatch):
    embed_by_color(project)
    write(project, +1)
    live = Live(project)
    mine, margin = Settings(strategy="mine", strategy_settings={"sign": -1.0}), Settings(strategy="margin")
    stored = iter([mine])
    monkeypatch.setattr(Project, "settings", property(lambda _: next(stored, margin)), raising=False)
    live.chooser.follow()
    assert live.chooser.wanted == ("mine", {"sign": -1.0})


def test_the_strategy_that_worked_before_goes_on_with_its_defaults_or_auto_does(project):
    embed_by_color(project)
    write(project, +1)
    project.change_settings(strategy="mine", strategy_settings={"sign": -1.0})
    live = Live(project)
    live._follow()
    assert queue(live) == sorted(queue(live))
    project.change_settings(strategy="margin", strategy_settings={"no_such": 1})
    live._follow()
    assert queue(live) == sorted(queue(live), reverse=True)
    assert live.notice.endswith("Going on with 'mine'.")
    (project.folder / "strategies" / "mine.py").unlink()
    project.change_settings(strategy_settings={"no_such": 2})
    live._follow()
    assert len(queue(live)) > 5
    assert live.notice == "margin has no setting 'no_such'; its settings: none. Going on with 'auto'."


ENDLESS = """
from labelloop import because, strategy

@strategy
def mine(pool, n, rng, *, rounds: float = 1e99):
    "Goes round and round."
    return because(rng.random(len(pool)) + run(rounds), lambda row: f"after {run(rounds)} rounds")

def run(rounds):
    k = 0
    while k < rounds:
        k += 1
    return k
"""


def test_a_strategy_that_never_ends_is_said_and_does_not_stop_the_queue(project):
    embed_by_color(project)
    (project.folder / "strategies").mkdir()
    file = project.folder / "strategies" / "mine.py"
    file.write_text(ENDLESS)
    project.change_settings(strategy="mine")
    live = Live(project)
    live.chooser.patience.seconds = 1.0  # a thread may wait that long for its turn
    live._follow()
    assert len(queue(live)) > 5
    words = "was still running after 1 s, in line 1[123]; it is run again once its file or its settings change"
    assert re.fullmatch(rf"mine failed \({file}\): {words}. Going on with 'auto'\.", live.notice)
    live.chooser.patience.seconds = PATIENCE
    live._choose()  # it is not run again, or this would take minutes
    assert re.search(words, live.notice)
    project.change_settings(strategy_settings={"rounds": 2.0})
    live._follow()
    assert (live.notice, live.ran) == (None, "mine")
    assert {pick.reason for pick in live.dealer.newcomer.queue if not pick.held_out} == {"after 2 rounds"}
    project.change_settings(strategy_settings={})
    file.write_text(ENDLESS.replace("1e99", "3"))
    live._follow()
    assert {pick.reason for pick in live.dealer.newcomer.queue if not pick.held_out} == {"after 3 rounds"}


def test_a_reason_that_never_ends_is_said_too(project):
    embed_by_color(project)
    (project.folder / "strategies").mkdir()
    (project.folder / "strategies" / "mine.py").write_text(ENDLESS.replace(" + run(rounds)", ""))
    project.change_settings(strategy="mine")
    live = Live(project)
    live.chooser.patience.seconds = 1.0  # a thread may wait that long for its turn
    live._follow()
    assert "was still running after 1 s, in line 1" in live.notice
    assert len(queue(live)) > 5


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt"])
def test_a_strategy_that_ends_python_does_not_end_the_thread(live, error):
    (live.project.folder / "strategies").mkdir()
    mine = MINE.replace("return {}", f"raise {error} #")
    (live.project.folder / "strategies" / "mine.py").write_text(mine)
    live.project.change_settings(strategy="mine")
    label(live, first_of_each(live)[0])
    assert f"mine.py, line 7): {error}. Going on with 'auto'." in live.notice
    assert live.take("tab", [], 5)


def test_a_deadline_changes_nothing_of_what_is_drawn(project):
    """With a deadline it draws from a copy of rng; what is drawn after it goes on from there all the same."""
    draws = MINE.replace("{} * sign * pool.ids", "0.0 * rng.random(len(pool))")
    (project.folder / "strategies").mkdir()
    (project.folder / "strategies" / "mine.py").write_text(draws)
    embed_by_color(project)
    live = Live(project)
    live._follow()
    one = live.chooser.offered.get("mine")
    rows = [
        choose(pools.make_pool(60), 60, chosen, np.random.default_rng(5)).rows.tolist()
        for chosen in (one, live.chooser.patience.limit(one))
    ]
    assert rows[0] == rows[1]


def test_new_images_and_features_arrive(project):
    """The page is open while the images are still being embedded."""
    features = embed_by_color(project, "elsewhere")
    store = FeatureStore.create(project.features_folder("base"), 3, {})
    store.grow(40)
    store.write(range(1, 13), features[:12])
    live = Live(project)
    live._follow()
    assert {p.image_id for p in live.dealer.newcomer.queue if not p.held_out} <= set(range(1, 13))
    store.write(range(13, 41), features[12:])
    live._follow()
    assert len([p for p in live.dealer.newcomer.queue if not p.held_out]) > 12
    assert live.state()["embedded"] == 40


def test_the_last_images_arrive_though_one_cannot_be_read(project):
    features = embed_by_color(project, "elsewhere")
    store = FeatureStore.create(project.features_folder("base"), 3, {})
    store.grow(40)
    store.write(range(1, 39), features[:38])
    live = Live(project)
    live._follow()
    store.write([39], features[38:39])
    project.catalog.mark_unreadable(40, "truncated")
    live._follow()
    state = live.state()
    assert (state["embedded"], state["images"], state["unreadable"]) == (39, 39, 1)


def test_images_that_vanish_are_not_offered_any_more(live):
    gone = live.take("tab", [], 1)[0].image_id
    live.project.catalog.image(gone).path.unlink()
    list(live.project.catalog.scan())
    label(live, next(i for i in range(1, 41) if i != gone))
    assert gone not in {pick.image_id for pick in live.take("other tab", [], 40)}
    assert live.state()["images"] == 39


def test_what_the_newest_answer_is_about_is_known_with_it(project, photos, monkeypatch):
    """An answer and the change of the folder before it may both come while the thread is looking."""
    embed_by_color(project)
    live, since = Live(project), project.log.since

    def meanwhile(after):
        monkeypatch.undo()
        project.catalog.image(5).path.unlink()
        find_new(project, photos, "late")
        live.answer([Event(image_id=41, kind="label", class_index=1, client="tab", seq=1)])
        return since(after)

    monkeypatch.setattr(project.log, "since", meanwhile)
    live._follow()
    assert live.wait_for(project.log.last_id(), 0)
    assert live.board.label[40] == 1
    assert 5 not in {pick.image_id for pick in live.take("tab", [], 40)}


def test_a_swap_of_features_is_taken_in(live):
    for image_id in first_of_each(live):
        label(live, image_id)
    embed_by_color(live.project, "fine-tune-1")
    live.project.put_features_in_charge("fine-tune-1", "resnet18", "models/fine-tune-1/model.safetensors")
    label(live, live.take("tab", [], 1)[0].image_id)
    assert live.board.features_name == "fine-tune-1"
    assert live.learned is not None


def test_merged_classes_are_one_to_the_model_at_once(live):
    red, blue = first_of_each(live)
    for image_id in (red, blue):
        label(live, image_id)
    live.project.add_class("crimson")
    more = live.take("tab", [], 1)[0].image_id
    label(live, more, "crimson")
    live.project.merge_class("crimson", "red")
    label(live, live.take("tab", [], 1)[0].image_id, "blue")
    assert live.board.counts == {"red": 2, "blue": 2}
    assert live.board.label[more - 1] == 0
    assert live.learned.probabilities[:, 2].max() == 0
    live.project.unmerge_class("crimson")
    label(live, live.take("tab", [], 1)[0].image_id, "blue")
    assert live.board.counts == {"red": 1, "blue": 3, "crimson": 1}


def test_a_new_class_is_on_the_board_at_once(live):
    for image_id in first_of_each(live):
        label(live, image_id)
    live.project.add_class("green")
    label(live, live.take("tab", [], 1)[0].image_id, "green")
    assert live.state()["classes"] == ["red", "blue", "green"]
    assert live.state()["counts"] == [1, 1, 1]


def test_the_state_keeps_its_counsel_until_there_are_enough_held_out_answers(live):
    exam = (np.flatnonzero(live.board.held_out) + 1).tolist()
    for image_id in [*first_of_each(live), *exam]:
        label(live, image_id)
    state = live.state()
    assert state["exam"]["n"] == len(exam) < 20
    assert state["exam"]["accuracy"] is None


def test_what_could_not_be_learned_for_a_moment_is_learned_later(project, monkeypatch):
    embed_by_color(project)
    live = Live(project)  # without its thread: each look is a call
    for image_id in first_of_each(live):
        project.label(image_id, truth(project)[image_id])
    with monkeypatch.context() as broken:
        broken.setattr("labelloop.live.learn", lambda board: 1 / 0)
        live._follow_or_say_why_not()
        assert "ZeroDivisionError" in live.notice
    live._follow_or_say_why_not()
    assert live.learned is not None
    with monkeypatch.context() as broken:
        broken.setattr("labelloop.chooser.choose", lambda *_, **__: 1 / 0)
        project.log.append([Event(image_id=first_of_each(live)[0], kind="undo")])
        live._follow_or_say_why_not()
    live._follow_or_say_why_not()
    assert (live.dealer.seen_event, live.notice) == (project.log.last_id(), None)
    assert live.learned is None


# -- asking again ----------------------------------------------------------------------------------------------------

AGAIN = """
import numpy as np
from labelloop import strategy

@strategy(again=True)
def asks_twice(pool, n, rng, *, only_answered: bool = False):
    "What was answered comes first."
    return np.where(pool.again, 2.0, -np.inf if only_answered else 1.0)
"""


@pytest.fixture
def asking(project):
    """A project that asks everything twice; nothing happens by itself, each look is a call."""
    embed_by_color(project)
    (project.folder / "strategies").mkdir()
    (project.folder / "strategies" / "again.py").write_text(AGAIN)
    project.change_settings(strategy="asks_twice")
    live = Live(project)
    live._follow()
    return live


def say(live, image_id, name, client="tab"):
    index = live.project.class_index(name)
    live.answer([Event(image_id=image_id, kind="label", class_index=index, client=client, seq=next(NUMBERS))])
    live._follow()


def test_an_image_is_asked_about_asks_twice_and_blind_and_never_a_third_time(asking):
    red, blue = first_of_each(asking)
    say(asking, red, "red")
    say(asking, blue, "blue")
    picks = {pick.image_id: pick for pick in asking.take("tab", [], 30)}
    assert {red, blue} <= set(picks)
    (shown,) = items(asking, asking.board, [picks[red]], asking.chosen_by)
    assert asking.learned is not None
    assert (shown["again"], shown["answer"], shown["suggestion"], shown["probability"]) == (True, None, None, None)
    assert (shown["probs"], shown["neighbours"]) == ([], [])
    assert "red" not in shown["reason"]

    index = asking.project.class_index("blue")
    asking.answer([Event(image_id=red, kind="label", class_index=index, client="tab", seq=999)])
    assert red not in {pick.image_id for pick in asking.take("tab", [], 30)}  # before the queue is made anew
    asking._follow()
    assert red not in {pick.image_id for pick in asking.take("tab", [], 100)}
    assert red not in {pick.image_id for pick in asking.dealer.newcomer.queue}
    assert asking.board.label[red - 1] == index
    kinds = [(event.image_id, event.class_index) for event in asking.project.log.since()]
    assert kinds == [(red, 0), (blue, 1), (red, 1)]


def test_a_second_answer_that_is_undone_is_asked_for_again(asking):
    red, _ = first_of_each(asking)
    say(asking, red, "red")
    say(asking, red, "blue")
    asking.answer([Event(image_id=red, kind="undo", client="tab", seq=999)])
    asking._follow()
    assert asking.board.label[red - 1] == asking.project.class_index("red")
    assert red in {pick.image_id for pick in asking.dealer.newcomer.queue}


def test_two_pages_are_never_asked_about_the_same_answer(asking):
    for image_id in first_of_each(asking):
        say(asking, image_id, truth(asking.project)[image_id])
    asking.take("ann", [], 12)
    asking.take("ben", [], 12)
    asking._follow()
    ann = {pick.image_id for pick in asking.take("ann", [], 20)}
    ben = {pick.image_id for pick in asking.take("ben", [], 20)}
    assert not ann & ben
    assert set(first_of_each(asking)) <= ann | ben


def test_when_all_is_answered_the_answers_are_asked_again_and_then_nothing(asking):
    asking.project.change_settings(strategy_settings={"only_answered": True})
    names = truth(asking.project)
    for image_id in (np.flatnonzero(~asking.board.held_out) + 1).tolist():
        say(asking, image_id, names[image_id])
    asked = []
    while picks := [pick for pick in asking.take("tab", [], 100) if not pick.held_out]:
        for pick in picks:
            asked.append(pick.image_id)
            say(asking, pick.image_id, names[pick.image_id])
    assert sorted(asked) == (np.flatnonzero(~asking.board.held_out) + 1).tolist()
    assert {event.image_id for event in asking.project.log.since()} == set(asked)


def test_what_the_strategy_leaves_out_is_not_offered_to_it_over_and_over(asking):
    """Nothing is answered, so this strategy will have nothing: one look, not one a second."""
    asking.project.change_settings(strategy_settings={"only_answered": True})
    asking._follow()
    version = asking.dealer.version
    asking.take("tab", [], 24)
    for _ in range(3):
        asking._follow()
    assert asking.dealer.version == version


@pytest.mark.parametrize("leave", ["goodbye", "silence"])
def test_images_that_a_closed_page_had_are_dealt_to_others(asking, leave):
    """All that is left is on ann's screen; she goes, and ben gets it, though nothing was answered in between."""
    everything = [pick.image_id for pick in asking.take("ann", [], 100)]
    asking.take("ann", list(range(1, 41)), 100)
    asking._follow()
    asking.take("ben", [], 24)
    asking._follow()
    assert asking.take("ben", [], 24) == []
    version = asking.dealer.version
    asking._follow()
    assert asking.dealer.version == version
    if leave == "goodbye":
        asking.forget("ann")
    else:
        asking.dealer.clients["ann"].seen -= 121
    asking._follow()
    assert set(everything) & {pick.image_id for pick in asking.take("ben", [], 24)}


def test_a_page_is_told_what_is_open_and_what_others_have(asking):
    def waiting(page):
        state = asking.state(page)
        return state["open"], state["elsewhere"]

    asking.take("ann", [1, 2, 3], 24)
    asking.answer([Event(image_id=k, kind="label", class_index=0, client="ann", seq=k) for k in (1, 4)])
    asking.dealer.clients["ann"].queue.clear()
    assert (waiting("ann"), waiting("ben")) == ((38, 0), (38, 2))  # before anything follows the answers
    asking.answer([Event(image_id=1, kind="undo", client="ann", seq=5)])
    asking._follow()
    assert waiting("ann") == (39, 0)


def test_a_page_that_shows_no_next_image_is_given_none(asking):
    assert asking.take("review", [], 0) == []
    assert asking.dealer.clients == {}


def test_a_page_that_only_looks_keeps_what_is_on_its_screen(asking):
    asking.take("ann", [1, 2, 3], 24)
    for _ in range(2):
        asking.dealer.clients["ann"].seen -= 100
        asking.state("ann")
        asking._follow()
    assert asking.dealer.clients["ann"].pinned == {1, 2, 3}
