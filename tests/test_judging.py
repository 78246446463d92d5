"""Who is in charge after a fine-tune: never one with fewer right, and every decision is told with its numbers."""

import numpy as np
import pytest

from labelloop import judging
from labelloop.board import read_board
from labelloop.errors import CannotTrain
from labelloop.features import FeatureStore
from labelloop.judging import Comparison, compare, in_words, split_to_judge
from labelloop.project import Project
from labelloop.types import Event
from tests.conftest import draw, embed_by_color, truth

# -- the rule -----------------------------------------------------------------------------------------------------


def logits(right, sure=2.0):
    """Of two classes, for images of class 0: right or wrong, and how sure."""
    return np.where(np.asarray(right)[:, None], [sure, 0], [0, sure]).astype(np.float32)


def some(n, wrong):
    """n images, those at the given places wrong."""
    return ~np.isin(np.arange(n), wrong)


def test_numbers_are_those_of_a_table_of_four():
    new, old = logits([1, 1, 1, 0, 0]), logits([1, 0, 0, 1, 0])
    found = compare(new, old, np.zeros(5, int))
    assert (found.n, found.new_right, found.old_right, found.only_new, found.only_old) == (5, 3, 2, 2, 1)


def test_a_model_that_is_clearly_better_takes_over_and_the_other_way_round_it_does_not():
    new, old, y = logits(some(50, [1])), logits(some(50, range(10))), np.zeros(50, int)
    assert compare(new, old, y).takes_over
    assert not compare(old, new, y).takes_over
    assert compare(new, old, y).certainty == pytest.approx(1 - compare(old, new, y).certainty)


def test_the_same_model_does_not_take_over_nor_does_one_more_right_of_twenty():
    same, y = logits(some(20, [3, 4])), np.zeros(20, int)
    assert compare(same, same, y).certainty == 0.5
    assert not compare(same, same, y).takes_over
    assert not compare(logits(some(20, [3, 4, 5])), logits(some(20, [6, 7, 8, 9])), y).takes_over


def test_being_surer_is_no_merit():
    right, y = some(50, range(10)), np.zeros(50, int)
    surer, less_sure = logits(right, 4), logits(right, 1)
    assert compare(surer, less_sure, y).certainty == pytest.approx(0.5, abs=0.1)
    assert not compare(surer, less_sure, y).takes_over
    assert not compare(less_sure, surer, y).takes_over


def test_fewer_right_never_takes_over_however_much_surer_of_the_right_class():
    old = np.tile(np.float32([0.1, 0]), (50, 1))  # all right, by a hair
    new = logits(some(50, [0]), 6)
    assert not compare(new, old, np.zeros(50, int)).takes_over


def test_a_class_that_neither_model_knows_counts_on_neither_side():
    new, old, y = logits(some(50, [1])), logits(some(50, range(10))), np.zeros(50, int)
    unknown = np.full((50, 1), -np.inf, np.float32)
    with_it = compare(np.hstack([new, unknown]), np.hstack([old, unknown]), np.append(y[:-1], 2))
    assert np.isfinite(with_it.certainty)
    assert with_it.takes_over


def test_without_answers_nothing_takes_over():
    found = compare(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), np.zeros(0, int))
    assert not found.takes_over
    assert in_words(found, 0) == "no answers are left to judge the fine-tuned model by: the old model stays in charge"


def test_the_decision_is_told_with_its_numbers():
    found = Comparison(50, 45, 40, 6, 1, 0.984)
    assert in_words(found, 30) == (
        "45 of 50 answers right after fine-tuning, 40 before: the new model is in charge (30 held-out answers and 20 "
        "labels set aside; right only after: 6, only before: 1; better with a certainty of 98%, wanted 70%)"
    )
    assert "(50 held-out answers; " in in_words(found, 50)


def test_over_many_projects_few_swaps_harm_and_most_gains_are_caught():
    # The margin of the right class is N(1.5, 1.5) for both models, with noise of their own; the new one is too sure.
    rng = np.random.default_rng(0)
    y, gains, swaps = np.zeros(100, int), rng.normal(0, 0.4, 400), []
    for gain in gains:
        shared = rng.normal(1.5, 1.5, 100)
        old, new = (shared + rng.normal(shift, 0.7, 100) for shift in (0, gain))
        swaps.append(compare(two(2 * new), two(old), y).takes_over)
    point = 0.063  # what moves accuracy by a point: 0.01 / density of N(1.5, 1.66) at 0
    assert (gains[swaps] < -point).mean() <= 0.05
    assert np.array(swaps)[gains > 3 * point].mean() >= 0.8


def two(margin):
    return np.stack([margin, np.zeros(len(margin))], axis=1).astype(np.float32)


# -- what judges --------------------------------------------------------------------------------------------------


def label_all(project, keep=lambda image_id: True):
    names = {image_id: name for image_id, name in truth(project).items() if keep(image_id)}
    events = [Event(image_id=i, kind="label", class_index=project.class_index(name)) for i, name in names.items()]
    project.log.append(events)


def test_what_judges_was_never_trained_on_and_the_exam_never_trains(project):
    embed_by_color(project)
    label_all(project)
    board = read_board(project)
    train, judge = split_to_judge(board, seed=0)
    assert not set(train) & set(judge)
    assert not board.held_out[train].any()
    assert set(board.exam) < set(judge)
    assert len(train) + len(judge) == 40
    assert len(judge) - len(board.exam) < len(board.to_learn_from) / 2


def test_with_enough_held_out_answers_no_label_is_set_aside(project, monkeypatch):
    embed_by_color(project)
    label_all(project)
    board = read_board(project)
    monkeypatch.setattr(judging, "WANTED", len(board.exam) + 1)
    assert len(split_to_judge(board, seed=0)[1]) == len(board.exam) + 1  # only what is missing
    monkeypatch.setattr(judging, "WANTED", len(board.exam))
    train, judge = split_to_judge(board, seed=0)
    assert judge.tolist() == board.exam.tolist()
    assert train.tolist() == board.to_learn_from.tolist()


def test_what_was_learned_from_once_is_not_set_aside_later(project):
    embed_by_color(project)
    label_all(project, lambda image_id: image_id <= 20)
    train, _ = split_to_judge(read_board(project), seed=3)
    label_all(project)
    _, judge = split_to_judge(read_board(project), seed=3)
    assert not set(train) & set(judge)


# -- the decision -------------------------------------------------------------------------------------------------


def noise(project, name):
    """Features that say nothing about the classes."""
    values = np.random.default_rng(0).normal(size=(40, 3))
    store = FeatureStore.create(project.features_folder(name), 3, {})
    store.grow(40)
    store.write(range(1, 41), values / np.linalg.norm(values, axis=1, keepdims=True))


def decide(project, train, judge):
    return judging.decide(project, "fine-tune-1", train, judge, 1.0)


@pytest.mark.parametrize("better", [True, False])
def test_only_what_does_better_is_put_in_charge(project, better):
    (noise if better else embed_by_color)(project, "base")
    (embed_by_color if better else noise)(project, "fine-tune-1")
    label_all(project)
    train, judge = split_to_judge(read_board(project), seed=0)
    verdict = decide(project, train, judge)
    assert project.features_in_charge["name"] == ("fine-tune-1" if better else "base")
    assert ("the new model is in charge" if better else "the old model stays in charge") in verdict
    (measured,) = project.rounds.models()
    assert (measured.kind, measured.in_charge) == ("fine-tune", better)
    assert measured.labels == len(read_board(project).to_learn_from)
    assert measured.note == verdict
    assert Project(project.folder).features_in_charge["name"] == project.features_in_charge["name"]


def test_a_tie_changes_nothing(project):
    embed_by_color(project)
    embed_by_color(project, "fine-tune-1")
    label_all(project)
    decide(project, *split_to_judge(read_board(project), seed=0))
    assert project.features_in_charge["name"] == "base"


def both(project):
    """Features of noise in charge, good ones beside them, everything labeled; rows to train on and to judge by."""
    noise(project, "base")
    embed_by_color(project, "fine-tune-1")
    label_all(project)
    return split_to_judge(read_board(project), seed=0)


def undo(project, rows):
    for row in rows:
        project.log.append([Event(image_id=int(row) + 1, kind="undo")])


def test_labels_taken_back_while_it_trained_count_on_neither_side(project):
    train, judge = both(project)
    undo(project, (*train[:5], *judge[:2]))
    assert f" of {len(judge) - 2} answers right after" in decide(project, train, judge)
    assert sum(m.labels for m in project.rounds.models()) == len(read_board(project).to_learn_from)


def test_images_that_went_while_it_trained_count_on_neither_side(project):
    train, judge = both(project)
    gone = judge[:3] + 1
    for image_id in gone.tolist():
        project.catalog.image(image_id).path.unlink()
    list(project.catalog.scan())
    board = read_board(project)
    verdict = decide(project, train, judge)
    left = judge[~np.isin(judge, gone - 1)]
    held_out = int(board.held_out[left].sum())
    assert f"({held_out} held-out answers and {len(left) - held_out} labels set aside;" in verdict


def test_a_class_all_of_whose_labels_were_taken_back_leaves_the_old_model_in_charge(project):
    train, judge = both(project)
    red = [image_id - 1 for image_id, name in truth(project).items() if name == "red"]
    before = len(list(project.log.since(0)))
    undo(project, red)
    with pytest.raises(CannotTrain, match="all of one class"):
        decide(project, train, judge)
    assert project.features_in_charge["name"] == "base"
    assert len(list(project.log.since(0))) == before + len(red)  # no label was touched


def test_all_answers_that_judge_taken_back_leave_the_old_model_in_charge(project):
    train, judge = both(project)
    undo(project, judge)
    assert decide(project, train, judge).endswith("the old model stays in charge")
    assert project.features_in_charge["name"] == "base"


def test_an_image_that_is_added_while_it_decides_does_not_stand_in_the_way(project, photos, monkeypatch):
    train, judge = both(project)

    def read_and_add(project, **which):
        board = read_board(project, **which)
        draw(photos / f"{len(board.label)}.png", (90, 90, 90))
        list(project.catalog.scan())
        return board

    monkeypatch.setattr(judging, "read_board", read_and_add)
    assert "the new model is in charge" in decide(project, train, judge)


def test_a_class_that_was_added_while_it_trained_does_not_stand_in_the_way(project):
    train, judge = both(project)
    project.add_class("green")
    project.label(int(judge[0]) + 1, "green")
    assert "the new model is in charge" in decide(project, train, judge)
