"""What the head in use learns from, and what held-out answers decide about it."""

from __future__ import annotations

import numpy as np
import pytest

from labelloop.board import LABEL, NONE, SKIP, Board
from labelloop.errors import CannotTrain
from labelloop.learning import CALIBRATING, _Judged, fit, learn


def board(label: np.ndarray, held_out: np.ndarray, X: np.ndarray) -> Board:
    n = len(label)
    return Board(
        classes=("a", "b"),
        held_out=held_out,
        gone=np.zeros(n, bool),
        label=label,
        state=np.where(label >= 0, LABEL, NONE),
        times=(label >= 0).astype(int),
        bulk=np.zeros(n, bool),
        event=(label >= 0).astype(int),
        by=np.full(n, "", object),
        features=X,
        embedded=np.ones(n, bool),
        features_name="base",
    )


def groups(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 8) in four tight groups, and the group of each."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 4
    X = np.random.default_rng(9).normal(size=(4, 8))[group] + 0.3 * rng.normal(size=(n, 8))
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32), group


def answered(truth: np.ndarray, exam: int, asked: int = 12) -> Board:
    """The first images are asked for; of the held-out ones at the end `exam` are answered."""
    X, _ = groups()
    held_out = np.arange(300) >= 200
    label = np.where((np.arange(300) < asked) | (held_out & (np.arange(300) < 200 + exam)), truth, -1)
    return board(label, held_out, X)


TWO = groups()[1] % 2


def test_the_graph_is_made_of_images_that_are_not_held_out():
    one = answered(TWO, exam=60)
    assert one.graph.rows.tolist() == list(range(200))
    assert one.graph is one.graph
    one.embedded = one.embedded & (np.arange(300) != 5)
    assert 5 not in one.graph.rows


def test_before_there_are_judges_the_head_is_as_it_was_fitted():
    one = answered(TWO, exam=CALIBRATING - 1)
    learned = learn(one)
    assert learned.guesses
    assert np.array_equal(learned.head.weight, fit(one, one.to_learn_from).weight)


@pytest.mark.parametrize("exam", [CALIBRATING, 60])
def test_with_judges_it_is_as_sure_as_it_is_right(exam):
    one = answered(TWO, exam=exam)
    learned, fitted = learn(one), fit(one, one.to_learn_from)
    by = learned.head.weight / fitted.weight
    assert learned.guesses
    assert by.mean() > 1  # all are right
    assert np.allclose(by, by.mean(), rtol=1e-3)
    assert np.array_equal(learned.probabilities.argmax(1), fitted.predict_proba(one.features).argmax(1))


def overlapping() -> tuple[Board, np.ndarray, np.ndarray]:
    """Two classes that overlap, one of them rare; features and classes of all images."""
    rng = np.random.default_rng(4)
    truth = (rng.random(300) < 0.15).astype(int)
    X = rng.normal(size=(300, 8)).astype(np.float32) + 0.8 * truth[:, None].astype(np.float32) * np.eye(8)[0]
    one = answered(truth, exam=100, asked=60)
    one.features = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
    return one, one.features, truth


def test_judges_make_it_lean_towards_what_is_common():
    one, X, truth = overlapping()
    learned, fitted = learn(one), fit(one, one.to_learn_from, guesses=learn(one).guesses)
    rest = (one.label < 0) & ~one.held_out
    said, before = learned.probabilities[rest].argmax(1), fitted.predict_proba(X[rest]).argmax(1)
    assert (said == truth[rest]).mean() > (before == truth[rest]).mean() + 0.05
    assert learned.probabilities[rest, 1].mean() == pytest.approx(0.15, abs=0.1)


def test_no_held_out_answer_has_a_say_in_whether_it_was_guessed_right():
    one, _, _ = overlapping()
    even = one.exam % 2 == 0
    before = _Judged(one, one.to_learn_from).said()
    one.label[one.exam[even]] = 1 - one.label[one.exam[even]]
    after = _Judged(one, one.to_learn_from).said()
    assert np.array_equal(before[even], after[even])
    assert not np.array_equal(before[~even], after[~even])


def test_guesses_that_make_it_worse_are_left_out():
    X = np.random.default_rng(2).normal(size=(300, 40)).astype(np.float32)  # neighbours are of one class by chance only
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    one = answered((X[:, 0] + X[:, 1] > 0).astype(int), exam=100, asked=40)
    one.features = X
    y, exam = one.label[one.exam], X[one.exam]
    right = {
        guesses: int((fit(one, one.to_learn_from, guesses=guesses).logits(exam).argmax(1) == y).sum())
        for guesses in (True, False)
    }
    assert right[False] > right[True]
    assert not learn(one).guesses
    assert learn(one).exam.correct == right[False]


def test_skipped_images_are_told_to_the_head():
    one = answered(TWO, exam=0)
    before = fit(one, one.to_learn_from).weight
    one.state[20:40] = SKIP
    assert not np.array_equal(fit(one, one.to_learn_from).weight, before)


def test_it_needs_two_classes():
    with pytest.raises(CannotTrain, match="all of one class"):
        learn(answered(np.zeros(300, int), exam=60))
    with pytest.raises(CannotTrain, match="no labels to learn from"):
        learn(answered(TWO, exam=60, asked=0))


def test_a_label_given_to_many_images_at_once_counts_half():
    one = answered(TWO, exam=0)
    one.label[:4] = 1 - TWO[:4]  # one wrong label in each group, beside two right ones
    plain = [fit(one, one.to_learn_from, guesses=guesses).predict_proba(one.features) for guesses in (True, False)]
    one.bulk = np.arange(300) < 4
    halved = [fit(one, one.to_learn_from, guesses=guesses).predict_proba(one.features) for guesses in (True, False)]
    right = np.arange(300), TWO
    for before, after in zip(plain, halved, strict=True):
        assert after[right].mean() > before[right].mean() + 0.02
