"""What a pool knows beyond features and labels: where images lie, how long answers took, which are doubtful."""

import numpy as np
import pytest

from labelloop.board import read_board
from labelloop.late import doubts_of
from labelloop.learning import learn
from labelloop.loop import choose, pool_of
from labelloop.project import Project
from labelloop.train.head import fit_head
from labelloop.types import Event
from tests.conftest import draw, embed_by_color, truth


@pytest.fixture
def embedded(project):
    embed_by_color(project)
    return project


def split(project):
    """Ids of the images to learn from, and of those held out."""
    held_out, _ = project.catalog.flags()
    return (np.flatnonzero(~held_out) + 1).tolist(), (np.flatnonzero(held_out) + 1).tolist()


def label(project, image_id, name, **details):
    index = project.class_index(name)
    project.log.append([Event(image_id=image_id, kind="label", class_index=index, **details)])


def pool_now(project):
    return pool_of(read_board(project), None, project=project)[0]


def test_paths_lie_below_the_folder_and_groups_are_folders(embedded):
    pool = pool_now(embedded)
    names = [embedded.catalog.image(image_id).name for image_id in pool.ids.tolist()]
    assert list(pool.paths) == names
    assert {(path.split("/")[0], group) for path, group in zip(pool.paths, pool.groups.tolist(), strict=True)} == {
        (names[0].split("/")[0], 0),
        ({"red": "blue", "blue": "red"}[names[0].split("/")[0]], 1),
    }


def test_folders_of_one_name_in_two_places_are_two_groups_and_a_copy_changes_nothing(tmp_path):
    for k, place in enumerate(("a/x/1.png", "a/x/2.png", "a/3.png", "b/x/4.png")):
        draw(tmp_path / place, (10 * k, 200, 90))
    draw(tmp_path / "b/x/copy_of_1.png", (0, 200, 90))
    with Project.create(tmp_path / "project", [tmp_path / "a", tmp_path / "b"], ("u", "v")) as project:
        list(project.catalog.scan())
        embed_by_color(project)
        pool = pool_now(project)
        group = dict(zip(pool.paths, pool.groups.tolist(), strict=True))
        (tmp_path / "a/x/1.png").unlink()
        list(project.catalog.scan())
        after = set(pool_now(project).paths)
    assert set(group) == {"x/1.png", "x/2.png", "3.png", "x/4.png"}
    assert group["x/1.png"] == group["x/2.png"]
    assert len(set(group.values())) == 3
    assert after == {"x/copy_of_1.png", "x/2.png", "3.png", "x/4.png"}


def test_seconds_are_those_of_a_person_at_one_image(embedded):
    (a, b, c, d, e, *_), (exam, *_) = split(embedded)
    label(embedded, a, "red", seconds=9.0)
    label(embedded, a, "blue", seconds=1.5)  # the newest answer counts
    label(embedded, b, "red", seconds=2.5, source="accepted")
    label(embedded, c, "red", seconds=4.0, source="bulk")
    label(embedded, d, "red")
    embedded.log.append([Event(image_id=e, kind="unsure", seconds=7.0)])
    label(embedded, exam, "red", seconds=3.0)
    seconds = pool_now(embedded).seconds
    known = {row + 1: float(seconds[row]) for row in np.flatnonzero(~np.isnan(seconds)).tolist()}
    assert known == {a: 1.5, b: 2.5, e: 7.0}


def test_a_wrong_label_is_doubtful_and_a_right_one_is_not(embedded):
    names, (learning, _) = truth(embedded), split(embedded)
    for image_id in learning[:20]:
        label(embedded, image_id, names[image_id])
    wrong = learning[3]
    label(embedded, wrong, {"red": "blue", "blue": "red"}[names[wrong]])
    embedded.log.append([Event(image_id=learning[20], kind="unsure")])
    doubts = pool_now(embedded).doubts
    assert doubts[wrong - 1] > 0.9
    assert doubts[learning[20] - 1] == 1
    assert np.median([doubts[i - 1] for i in learning[:20]]) < 0.1
    assert np.isnan(np.delete(doubts, np.array(learning[:21]) - 1)).all()


def test_a_doubt_comes_from_a_model_that_did_not_see_the_label(embedded):
    """The same as leaving out the fold by hand: labels by class and id, dealt out to five folds in turn."""
    names, (learning, _) = truth(embedded), split(embedded)
    for image_id in learning[:13]:
        label(embedded, image_id, names[image_id])
    board = read_board(embedded)
    rows = sorted((i - 1 for i in learning[:13]), key=lambda row: (board.label[row], row))
    for place, row in enumerate(rows):
        others = [other for k, other in enumerate(rows) if k % 5 != place % 5]
        head = fit_head(board.features[others], board.label[others], 2)
        expected = 1 - head.predict_proba(board.features[[row]])[0, board.label[row]]
        assert doubts_of(board)[row] == pytest.approx(expected, abs=1e-4)
    np.testing.assert_array_equal(doubts_of(board), doubts_of(read_board(embedded)))


@pytest.mark.parametrize(("given", "judged"), [([], 0), (["red"], 0), (["red", "red"], 0), (["red", "blue"], 0),
                                               (["red", "red", "blue"], 2)])  # fmt: skip
def test_what_nothing_can_judge_has_no_doubt(embedded, given, judged):
    learning, _ = split(embedded)
    for image_id, name in zip(learning, given, strict=False):
        label(embedded, image_id, name)
    assert np.count_nonzero(~np.isnan(pool_now(embedded).doubts)) == judged


def test_nothing_a_strategy_may_read_changes_with_an_answer_to_the_exam(embedded):
    names, (learning, exam) = truth(embedded), split(embedded)
    for image_id in learning[:10]:
        label(embedded, image_id, names[image_id], seconds=1.0)

    def seen():
        board = read_board(embedded)
        pool = pool_of(board, learn(board), project=embedded, taken=exam)[0]
        arrays = (pool.y, pool.open, pool.again, pool.pending, pool.skipped, pool.proba, pool.groups)
        return [*(np.array(a) for a in (*arrays, pool.seconds, pool.doubts)), np.array(pool.paths)]

    before = seen()
    for image_id, kind in zip(exam, ("unsure", "skip", "label"), strict=False):
        embedded.log.append(
            [Event(image_id=image_id, kind=kind, class_index=0 if kind == "label" else None, seconds=2)]
        )
    for a, b in zip(before, seen(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not before[2][np.array(exam) - 1].any()


def test_nothing_is_read_for_a_strategy_that_does_not_ask(embedded, monkeypatch):
    for name in ("paths_of", "groups_of", "seconds_of", "doubts_of"):
        monkeypatch.setattr(f"labelloop.late.{name}", lambda *_: 1 / 0)
    board = read_board(embedded)
    assert len(choose(embedded, board, None, 5, np.random.default_rng(0), strategy="auto").picks) == 5


def test_only_what_was_answered_once_is_asked_again(embedded):
    (a, b, c, d, e, f, *_), (exam, *_) = split(embedded)
    label(embedded, a, "red")
    embedded.log.append([Event(image_id=b, kind="unsure")])
    embedded.log.append([Event(image_id=c, kind="skip")])
    label(embedded, d, "red")
    label(embedded, d, "red", by="ben")
    label(embedded, e, "red")
    embedded.log.append([Event(image_id=e, kind="undo")])
    label(embedded, exam, "red")
    label(embedded, f, "red")
    board = read_board(embedded)
    pool, _ = pool_of(board, None, taken=[f])
    assert pool.ids[pool.again].tolist() == sorted([a, b])
    label(embedded, a, "blue")
    embedded.log.append([Event(image_id=d, kind="undo")])
    board.apply(embedded, embedded.log.since(board.last_event))
    np.testing.assert_array_equal(board.times, read_board(embedded).times)
    pool, _ = pool_of(board, None)
    assert pool.ids[pool.again].tolist() == sorted([b, d, f])


def test_the_board_knows_which_answers_were_given_to_many_images_at_once(embedded):
    (a, b, c, *_), _ = split(embedded)
    board = read_board(embedded)
    for image_id in (a, b, c):
        label(embedded, image_id, "red", source="bulk")
    label(embedded, b, "red")
    board.apply(embedded, embedded.log.since(board.last_event))
    assert (np.flatnonzero(board.bulk) + 1).tolist() == sorted([a, c])
    embedded.log.append([Event(image_id=c, kind="undo")])
    board.apply(embedded, embedded.log.since(board.last_event))
    assert (np.flatnonzero(board.bulk) + 1).tolist() == [a]
    np.testing.assert_array_equal(board.bulk, read_board(embedded).bulk)


def test_the_board_knows_who_gave_the_newest_answer_and_when(embedded):
    (a, b, c, *_), _ = split(embedded)
    board = read_board(embedded)
    for image_id, by in ((a, "ann"), (b, "bob"), (c, "ann"), (a, "bob")):  # events 1 to 4
        label(embedded, image_id, "red", by=by)
    board.apply(embedded, embedded.log.since(board.last_event))
    assert [(board.event[i - 1], board.by[i - 1]) for i in (a, b, c)] == [(4, "bob"), (2, "bob"), (3, "ann")]
    embedded.log.append([Event(image_id=i, kind="undo") for i in (a, b)])
    board.apply(embedded, embedded.log.since(board.last_event))
    for one in (board, read_board(embedded)):
        assert [(one.event[i - 1], one.by[i - 1]) for i in (a, b, c)] == [(1, "ann"), (0, ""), (3, "ann")]
        assert one.event.sum() == 4
