"""One round: what a model may see, what a strategy may choose, what a person is told."""

import dataclasses
import gc
import json
import sys
from threading import Thread

import numpy as np
import pytest

from labelloop.board import read_board
from labelloop.errors import BadInput, BadStrategy, CannotTrain
from labelloop.features import FeatureStore
from labelloop.learning import learn
from labelloop.loop import choose, exam_picks, load_strategies, mix_exam, next_batch, pool_of
from labelloop.project import Project
from labelloop.reasons import doubt_about, explain, nearest_labeled
from labelloop.strategies import get, names
from labelloop.types import Event, Pick
from tests.conftest import embed_by_color, truth

RNG = np.random.default_rng


@pytest.fixture
def embedded(project):
    embed_by_color(project)
    return project


def answer(project, image_ids, by="ann"):
    names = truth(project)
    for image_id in image_ids:
        project.label(int(image_id), names[int(image_id)], by=by)


def split(project):
    """Ids of the images to learn from, and of those held out."""
    held_out, _ = project.catalog.flags()
    return np.flatnonzero(~held_out) + 1, np.flatnonzero(held_out) + 1


def test_a_held_out_answer_is_never_learned_from(embedded):
    learning, exam = split(embedded)
    answer(embedded, [*learning[:8], *exam])
    board = read_board(embedded)
    assert set(board.to_learn_from + 1) == set(learning[:8])
    assert set(board.exam + 1) == set(exam)
    pool, _ = pool_of(board, None)
    assert set(pool.ids[pool.labeled]) == set(learning[:8])
    assert (pool.y[exam - 1] == -1).all()


def test_held_out_answers_do_not_change_the_model(embedded):
    learning, exam = split(embedded)
    answer(embedded, learning[:8])
    before = learn(read_board(embedded)).probabilities
    for image_id in exam:
        embedded.label(int(image_id), "red")
    np.testing.assert_array_equal(learn(read_board(embedded)).probabilities, before)


def test_no_strategy_is_ever_offered_a_held_out_image(embedded):
    _, exam = split(embedded)
    for name in ("auto", "margin", "random", "k_center", "max_herding"):
        batch = next_batch(embedded, 40, strategy=name)
        chosen = {pick.image_id for pick in batch if not pick.held_out}
        assert not chosen & set(exam)
        assert {pick.image_id for pick in batch if pick.held_out} == set(exam)


def test_a_held_out_image_comes_without_suggestion(embedded):
    learning, _ = split(embedded)
    answer(embedded, learning[:10])
    batch = next_batch(embedded, 30)
    exam = [pick for pick in batch if pick.held_out]
    assert exam
    assert all((p.suggestion, p.probability, p.strategy) == (None, None, "exam") for p in exam)
    assert all(p.suggestion is not None for p in batch if not p.held_out)


def test_the_exam_says_how_many_were_right(embedded):
    learning, exam = split(embedded)
    answer(embedded, [*learning[:12], *exam])
    learned = learn(read_board(embedded))
    assert (learned.exam.n, learned.exam.correct) == (len(exam), len(exam))  # red and blue are easy


def test_a_wrong_exam_answer_counts_against_the_model(embedded):
    learning, exam = split(embedded)
    answer(embedded, [*learning[:12], *exam])
    embedded.label(int(exam[0]), {"red": "blue", "blue": "red"}[truth(embedded)[int(exam[0])]])
    assert learn(read_board(embedded)).exam.correct == len(exam) - 1


@pytest.mark.parametrize("labels", [[], ["red"], ["red", "red"]])
def test_below_two_classes_there_is_no_model_and_the_cold_start_runs(embedded, labels):
    learning, _ = split(embedded)
    for image_id, label in zip(learning, labels, strict=False):
        embedded.label(int(image_id), label)
    with pytest.raises(CannotTrain):
        learn(read_board(embedded))
    assert next_batch(embedded, 5, strategy="margin").strategy == "max_herding"


def test_the_cold_start_is_not_random(project):
    """Of forty images in four tight groups, the first four chosen are one of each."""
    group = np.arange(40) % 4
    features = np.eye(4)[group] + RNG(0).normal(0, 0.05, (40, 4))
    store = FeatureStore.create(project.features_folder("base"), 4, {})
    store.grow(40)
    store.write(range(1, 41), features / np.linalg.norm(features, axis=1, keepdims=True))
    picks = [pick.image_id for pick in next_batch(project, 20) if not pick.held_out]
    assert {int(group[image_id - 1]) for image_id in picks[:4]} == {0, 1, 2, 3}


def test_same_state_same_batch(embedded, make_project, photos):
    twin = make_project(photos, name="twin", held_out=0.25)
    embed_by_color(twin)
    assert [p.image_id for p in next_batch(embedded, 12)] == [p.image_id for p in next_batch(twin, 12)]


def test_answered_unsure_and_taken_images_are_not_chosen_again(embedded):
    learning, _ = split(embedded)
    answer(embedded, learning[:4])
    embedded.log.append([Event(image_id=int(learning[4]), kind="unsure")])
    board = read_board(embedded)
    choice = choose(embedded, board, learn(board), 40, RNG(0), taken=[int(learning[5])])
    chosen = {pick.image_id for pick in choice.picks if not pick.held_out}
    assert chosen == set(learning[6:].tolist())


def test_nothing_like_what_is_on_a_screen_is_chosen_next(project):
    """Two tight groups; with one of the first on somebody's screen, the second comes first."""
    group = np.arange(40) % 2
    features = np.eye(2)[group] + RNG(0).normal(0, 0.02, (40, 2))
    store = FeatureStore.create(project.features_folder("base"), 2, {})
    store.grow(40)
    store.write(range(1, 41), features / np.linalg.norm(features, axis=1, keepdims=True))
    board = read_board(project)
    for on_screen in (split(project)[0][:4]).tolist():
        picks = choose(project, board, None, 10, RNG(0), strategy="k_center", taken=[on_screen]).picks
        first = next(pick.image_id for pick in picks if not pick.held_out)
        assert group[first - 1] != group[on_screen - 1]


def test_skipped_images_come_back_when_nothing_else_is_left(embedded):
    learning, exam = split(embedded)
    answer(embedded, [*learning[2:], *exam])
    embedded.log.append([Event(image_id=int(i), kind="skip") for i in learning[:2]])
    assert {pick.image_id for pick in next_batch(embedded, 10)} == set(learning[:2].tolist())


def test_skipped_images_of_the_exam_come_back_after_the_others(embedded):
    learning, exam = split(embedded)
    answer(embedded, [*learning, *exam[3:]])
    embedded.log.append([Event(image_id=int(i), kind="skip") for i in exam[:2]])
    assert [pick.image_id for pick in next_batch(embedded, 10)] == [exam[2]]
    answer(embedded, [exam[2]])
    picks = list(next_batch(embedded, 10))
    assert {pick.image_id for pick in picks} == set(exam[:2].tolist())
    assert all(pick.held_out and pick.suggestion is None for pick in picks)


def test_images_that_are_gone_are_not_chosen(embedded):
    learning, _ = split(embedded)
    embedded.catalog.image(int(learning[0])).path.unlink()
    list(embedded.catalog.scan())
    assert int(learning[0]) not in {pick.image_id for pick in next_batch(embedded, 40)}


def test_before_images_are_embedded_there_is_no_batch_of_held_out_ones_either(project):
    with pytest.raises(BadInput, match=r"no image is embedded yet\. .* labelloop embed .*, or embed\(project\)"):
        next_batch(project, 40)
    assert project.rounds.last() == 0


def test_a_round_and_its_picks_are_logged(embedded):
    batch = next_batch(embedded, 6, strategy="random")
    rows = embedded.db.conn.execute("SELECT * FROM picks WHERE round = ? ORDER BY rank", (batch.round,)).fetchall()
    assert [(row["image_id"], row["strategy"], row["reason"]) for row in rows] == [
        (pick.image_id, pick.strategy, pick.reason) for pick in batch
    ]


def test_an_answer_to_a_pick_says_what_was_shown(embedded):
    answer(embedded, split(embedded)[0][:8])
    batch = next_batch(embedded, 5)
    pick = next(pick for pick in batch if not pick.held_out)
    assert pick.round == batch.round
    embedded.label(pick, "red", by="bea", seconds=2.5)
    (event,) = embedded.log.latest(1)
    assert (event.image_id, event.kind, event.by, event.seconds) == (pick.image_id, "label", "bea", 2.5)
    assert (event.round, event.strategy, event.suggestion, event.probability) == (
        batch.round, "auto", pick.suggestion, pick.probability,
    )  # fmt: skip
    assert event.suggestion is not None


def test_an_image_can_be_skipped_left_unsure_and_taken_back(embedded):
    embedded.label(1, "red")
    embedded.skip(embedded.catalog.image(1).path)
    assert [event.kind for event in embedded.log.answers()] == ["skip"]
    embedded.unsure(np.int64(1), by="bea")
    assert [(event.kind, event.by) for event in embedded.log.answers()] == [("unsure", "bea")]
    for kinds in (["skip"], ["label"], []):
        embedded.undo(1)
        assert [event.kind for event in embedded.log.answers()] == kinds
    with pytest.raises(BadInput, match="nothing to undo"):
        embedded.undo(1)
    with pytest.raises(BadInput, match="wanted a pick, or its id, or its path"):
        embedded.skip(None)


@pytest.mark.parametrize("n", [0, -1, 2.5, "3"])
def test_a_batch_is_of_at_least_one_image(embedded, n):
    with pytest.raises(BadInput, match="wanted a whole number of at least 1"):
        next_batch(embedded, n)


def test_the_board_follows_the_log_as_a_fresh_reading_would(embedded):
    board = read_board(embedded)
    answer(embedded, range(1, 9))
    embedded.label(3, "blue")
    embedded.log.append(
        [Event(image_id=4, kind="undo"), Event(image_id=5, kind="skip"), Event(image_id=6, kind="flag")]
    )
    board.apply(embedded, embedded.log.since(board.last_event))
    fresh = read_board(embedded)
    for field in dataclasses.fields(board):
        np.testing.assert_array_equal(getattr(board, field.name), getattr(fresh, field.name))


# -- words ---------------------------------------------------------------------------------------------------------


def test_doubt_in_words():
    classes = ("rust", "mildew", "healthy")
    assert doubt_about(np.array([0.41, 0.39, 0.2]), classes) == "torn between rust (41 %) and mildew (39 %)"
    assert doubt_about(np.array([0.1, 0.2, 0.7]), classes) == "probably healthy (70 %)"
    assert doubt_about(np.array([0.02, 0.03, 0.95]), classes) == ""


def test_every_pick_has_a_reason_and_neighbours_are_labeled_images(embedded):
    learning, _ = split(embedded)
    answer(embedded, learning[:6])
    board = read_board(embedded)
    reasons = explain(board, learn(board).probabilities, learning[6:16], RNG(0))
    assert all(reasons.words)
    names, features = truth(embedded), board.features
    for image_id, neighbours in zip(learning[6:16], reasons.neighbours, strict=True):
        by_hand = sorted(learning[:6], key=lambda i, a=image_id: -float(features[i - 1] @ features[a - 1]))[:3]
        assert [i for i, _ in neighbours] == by_hand
        assert [embedded.classes[k] for _, k in neighbours] == [names[i] for i in by_hand]


# -- the exam between the picks ------------------------------------------------------------------------------------


def test_held_out_images_are_mixed_in_at_their_share():
    picks = [Pick(image_id=k, strategy="random") for k in range(1, 2001)]
    mixed = mix_exam(picks, exam_picks(range(5001, 6001)), 1000, 0.1, RNG(0), rest=True)
    places = [k for k, pick in enumerate(mixed) if pick.held_out]
    assert len(mixed) == 1000
    assert 70 <= len(places) <= 130
    assert len(np.unique(np.diff(places))) > 5  # at random places, not every tenth
    assert [p.image_id for p in mixed if not p.held_out] == list(range(1, 1000 - len(places) + 1))


def test_what_is_left_of_the_exam_comes_at_the_end():
    last = [Pick(image_id=1, strategy="random")]
    assert [p.held_out for p in mix_exam(last, exam_picks([2, 3]), 10, 0.0, RNG(0), rest=True)] == [False, True, True]
    assert [p.held_out for p in mix_exam(last, exam_picks([2, 3]), 10, 0.0, RNG(0), rest=False)] == [False]


# -- drop-in strategies ----------------------------------------------------------------------------------------------

DROP_IN = """
import numpy as np
from labelloop import strategy

@strategy
def highest_number(pool, n, rng):
    "The newest images first."
    return pool.ids.astype(float)
"""


def test_a_strategy_dropped_into_the_project_is_used(embedded):
    (embedded.folder / "strategies").mkdir()
    (embedded.folder / "strategies" / "mine.py").write_text(DROP_IN)
    learning, _ = split(embedded)
    chosen = [pick.image_id for pick in next_batch(embedded, 40, strategy="highest_number") if not pick.held_out]
    assert chosen == sorted(learning.tolist(), reverse=True)


def test_a_broken_drop_in_is_named_with_file_and_line(embedded):
    (embedded.folder / "strategies").mkdir()
    (embedded.folder / "strategies" / "broken.py").write_text("import numpy\n1 / 0\n")
    with pytest.raises(BadStrategy, match=r"^\S*broken.py, line 2: ZeroDivisionError: division by zero$"):
        next_batch(embedded, 5, strategy="broken")
    with pytest.raises(
        BadInput, match=r"no strategy is called 'margn'; did you mean 'margin'.*broken.py, line 2: Zero"
    ):
        next_batch(embedded, 5, strategy="margn")
    assert len(next_batch(embedded, 5)) == 5


def write(project, expression, name="mine", file="mine.py"):
    """A drop-in of a project, whose scores are an expression."""
    folder = project.folder / "strategies"
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(
        "import numpy as np\nfrom labelloop import strategy\n\n@strategy\n"
        f"def {name}(pool, n, rng, *, sign: float = 1.0):\n    'Any.'\n    return {expression}\n"
    )


def chosen_by(project, name):
    return [pick.image_id for pick in next_batch(project, 40, strategy=name) if not pick.held_out]


def test_two_open_projects_may_have_drop_ins_of_one_name(embedded, make_project, photos):
    twin = make_project(photos, name="twin", held_out=0.25)
    embed_by_color(twin)
    write(embedded, "pool.ids * 1.0")
    write(twin, "pool.ids * -1.0")
    rising = sorted(split(embedded)[0].tolist())
    for _ in range(2):
        assert chosen_by(embedded, "mine") == rising[::-1]
        assert chosen_by(twin, "mine") == rising
    assert load_strategies(embedded).problems == load_strategies(twin).problems == []
    write(embedded, "-1.0 * pool.ids")
    assert chosen_by(embedded, "mine") == rising
    (twin.folder / "strategies" / "mine.py").unlink()
    with pytest.raises(BadInput, match="no strategy is called 'mine'"):
        next_batch(twin, 5, strategy="mine")
    assert chosen_by(embedded, "mine") == rising


def test_what_a_closed_project_brought_is_gone(make_project, photos):
    folder = make_project(photos, name="twin").folder
    with Project(folder) as opened:
        write(opened, "pool.ids * 1.0")
        found = load_strategies(opened).get("mine")
        assert found.function.__module__ in sys.modules
        module = found.function.__module__
    del opened, found
    gc.collect()
    assert module not in sys.modules
    assert "mine" not in names()
    assert "mine" not in load_strategies().known


def test_an_own_strategy_never_takes_the_name_of_one_for_all(embedded):
    write(embedded, "pool.ids * 1.0", name="margin")
    found = load_strategies(embedded)
    assert found.known["margin"] is get("margin")
    (problem,) = found.problems
    assert str(embedded.folder / "strategies" / "mine.py") in str(problem)
    assert "the name is taken by labelloop.strategies.uncertainty; give it another one" in str(problem)


def test_of_two_own_files_with_one_name_the_first_keeps_it_until_it_is_gone(embedded):
    write(embedded, "pool.ids * 1.0", file="one.py")
    write(embedded, "pool.ids * -1.0", file="two.py")
    one, two = (str(embedded.folder / "strategies" / name) for name in ("one.py", "two.py"))
    found = load_strategies(embedded)
    assert found.known["mine"].origin == one
    assert [str(problem) for problem in found.problems] == [
        f"mine ({two}): the name is taken by {one}; give it another one"
    ]
    (embedded.folder / "strategies" / "one.py").unlink()
    found = load_strategies(embedded)
    assert (found.known["mine"].origin, found.problems) == (two, [])
    write(embedded, "pool.ids * 1.0", file="one.py")
    assert load_strategies(embedded).known["mine"].origin == two  # it is in use, and sorts last


def test_only_changed_files_are_executed_again_whoever_asks(embedded):
    write(embedded, "pool.ids * 1.0")
    functions = []
    threads = [Thread(target=lambda: functions.append(load_strategies(embedded).get("mine").function)) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(functions) == 4
    assert len(set(functions)) == 1
    write(embedded, "-1.0 * pool.ids")
    assert load_strategies(embedded).get("mine").function is not functions[0]


def test_stored_settings_are_for_their_strategy_only(embedded):
    write(embedded, "sign * pool.ids")
    board, rising = read_board(embedded), sorted(split(embedded)[0].tolist())
    embedded.change_settings(strategy="mine", strategy_settings={"sign": -1.0})

    def chosen(**options):
        choice = choose(embedded, board, None, 40, RNG(0), **options)
        return [pick.image_id for pick in choice.picks], choice.settings

    assert chosen() == chosen(strategy="mine") == (rising, {"sign": -1.0})
    assert chosen(strategy="mine", settings={}) == (rising[::-1], {})
    assert chosen(strategy=load_strategies(embedded).get("mine")) == (rising, {"sign": -1.0})
    assert chosen(strategy="random")[1] == {}
    next_batch(embedded, 5, strategy="random")
    next_batch(embedded, 5)
    rows = embedded.db.conn.execute("SELECT strategy, settings FROM rounds ORDER BY id").fetchall()
    logged = [(row["strategy"], json.loads(row["settings"])) for row in rows]
    assert logged == [("random", {}), ("mine", {"sign": -1.0})]


def test_an_unknown_strategy_is_refused(embedded):
    with pytest.raises(BadInput, match="margin"):
        next_batch(embedded, 5, strategy="margn")


# -- what is in charge -----------------------------------------------------------------------------------------------


def test_another_set_of_features_is_in_charge_after_one_write(embedded):
    embed_by_color(embedded, "fine-tune-1")
    assert read_board(embedded).features_name == "base"
    embedded.put_features_in_charge("fine-tune-1", "resnet18", "models/fine-tune-1/model.safetensors")
    assert read_board(embedded).features_name == "fine-tune-1"
    assert read_board(embedded, features="base").features_name == "base"


def test_a_labeled_image_is_no_neighbour_of_its_own(embedded):
    names = truth(embedded)
    learning = (np.flatnonzero(~read_board(embedded).held_out) + 1).tolist()[:2]
    for image_id in learning:
        embedded.label(image_id, names[image_id])
    near = nearest_labeled(read_board(embedded), np.array(learning) - 1)
    assert [[i for i, _ in neighbours] for neighbours, _ in near] == [[learning[1]], [learning[0]]]
