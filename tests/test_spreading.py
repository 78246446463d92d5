"""Label spreading, and the head that learns from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from labelloop.errors import CannotTrain
from labelloop.train import spreading
from labelloop.train.head import fit_head
from labelloop.train.neighbours import NEIGHBOURS, SHARPNESS, graph
from labelloop.train.spreading import fit_spread, spread


def bands(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two long bands side by side on a sphere (n, 3), and which one each point is of."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    along, across = rng.uniform(-1.2, 1.2, n), np.where(y, 0.35, -0.35) + 0.06 * rng.normal(size=n)
    X = np.stack([np.cos(across) * np.cos(along), np.cos(across) * np.sin(along), np.sin(across)], axis=1)
    return X.astype(np.float32), y


X, Y = bands(300)
ALL = graph(X, np.arange(300), 2)


def known(rows) -> np.ndarray:
    found = np.full(len(Y), -1)
    found[rows] = Y[rows]
    return found


def askew() -> list[int]:
    """An image somewhat left in one band, and one somewhat right in the other."""
    left, right = (np.flatnonzero(k == Y) for k in (0, 1))
    return [int(left[np.argsort(X[left, 1])][60]), int(right[np.argsort(-X[right, 1])][60])]


def accuracy(head) -> float:
    T, t = bands(400, seed=1)
    return float((head.predict_proba(T).argmax(1) == t).mean())


# -- what flows ----------------------------------------------------------------------------------------------------


def test_it_is_the_spreading_of_scikit_learn(monkeypatch):
    from sklearn.neighbors import kneighbors_graph
    from sklearn.semi_supervised import LabelSpreading

    monkeypatch.setattr(spreading, "ROUNDS", 200)
    rows = np.array([0, 1, 2, 3])
    ours = spread(ALL.links, ALL.locate(rows, X[rows]), Y[rows], 2)
    seen = ALL.links.seen
    near = kneighbors_graph(seen, NEIGHBOURS, include_self=False).toarray() > 0
    weights = np.where(near | near.T, np.clip(seen @ seen.T, 0, 1) ** SHARPNESS, 0)
    theirs = LabelSpreading(kernel=lambda a, b: weights, alpha=spreading.PASSED_ON, max_iter=500, tol=1e-9)
    theirs.fit(X, known(rows))
    assert np.allclose(ours / ours.sum(axis=1, keepdims=True), theirs.label_distributions_, atol=1e-4)


def test_a_label_outside_the_graph_starts_at_the_images_most_like_it():
    part = graph(X, np.arange(1, 300), 2)
    outside, inside = (
        spread(part.links, part.locate(np.array([row, 1]), X[[row, 1]]), np.array([0, 1]), 2) for row in (0, 2)
    )
    assert outside[:, 0].sum() > 0.5 * inside[:, 0].sum()
    near = np.argsort(-X[1:] @ X[0])
    assert outside[near[:15], 0].min() > outside[near[100:], 0].max()


def test_a_common_class_starts_with_the_square_root_of_its_labels(monkeypatch):
    monkeypatch.setattr(spreading, "ROUNDS", 0)
    rows = np.array([0, 2, 4, 6, 1])
    F = spread(ALL.links, ALL.locate(rows, X[rows]), np.array([0, 0, 0, 0, 1]), 2)
    assert np.allclose(F.sum(axis=0), [2, 1])


# -- the head ------------------------------------------------------------------------------------------------------


def test_one_label_a_class_is_enough_where_neighbours_agree():
    rows = askew()
    assert accuracy(fit_head(X[rows], Y[rows], 2)) < 0.88  # the line between the two labels runs across both bands
    assert accuracy(fit_spread(ALL, X, known(rows), 2)) > 0.95


def guess(rows, y=Y, skipped=()) -> tuple[spreading.Known, spreading.Guesses]:
    """What is guessed from the answers to some rows, before any metric."""
    shown = np.concatenate([rows, np.asarray(skipped, np.int64)])
    some = spreading.Known(ALL.locate(shown, X[shown]), y[rows], np.ones(len(rows)), int(y.max()) + 1)
    return some, spreading._guess(ALL.links, some)


def test_with_many_answers_one_metric_is_learned(monkeypatch):
    rows = np.arange(30)
    few = fit_spread(ALL, X, known(rows), 2)
    monkeypatch.setattr(spreading, "METRICS", 1)
    once = fit_spread(ALL, X, known(rows), 2)
    assert not np.allclose(few.weight, once.weight)
    monkeypatch.setattr(spreading, "FADES", 30.0)
    many = fit_spread(ALL, X, known(rows), 2)
    monkeypatch.setattr(spreading, "METRICS", 2)
    assert np.array_equal(many.weight, fit_spread(ALL, X, known(rows), 2).weight)


def test_guesses_weigh_less_than_answers_and_fade_with_them():
    totals = []
    for m in (2, 20, 200):
        some, guesses = guess(np.arange(m))
        answers, weights = np.split(spreading._weights(some, guesses), [m])
        assert answers == pytest.approx(np.ones(m))
        assert weights.max() <= 1
        assert (guesses.nodes >= m).all()
        assert set(guesses.index) <= {0, 1}
        totals.append(weights.sum())
    assert totals[0] == pytest.approx(2 * 7 / (1 + 2 / 100), rel=0.01)
    assert totals[0] > totals[1] > totals[2]


def test_guesses_of_a_rare_class_weigh_as_much_to_its_answers_as_those_of_a_common_one():
    some, guesses = guess([*np.flatnonzero(Y == 0)[:9], np.flatnonzero(Y == 1)[0]])
    answers, weights = np.split(spreading._weights(some, guesses), [10])
    assert answers == pytest.approx([5 / 9] * 9 + [5])
    most = 7 / (1 + 10 / 200)
    assert [weights[guesses.index == k].sum() for k in (0, 1)] == pytest.approx([most * 5 / 9, most * 5])


def test_a_guess_far_from_all_labels_counts_less():
    rows = np.array(askew())
    _, guesses = guess(rows)
    nearest = np.argsort(-(X[guesses.nodes] @ X[rows].T).max(axis=1))
    assert guesses.ahead[nearest[:30]].mean() > 2 * guesses.ahead[nearest[-30:]].mean()


def test_what_was_skipped_keeps_guesses_away():
    junk = np.flatnonzero(np.abs(X[:, 1]) < 0.3)  # the middle of both bands is of no class
    left = np.flatnonzero(X[:, 1] < -0.4)[::4]
    free, kept = (guess(left, skipped=skipped)[1].nodes for skipped in ([], junk[::2]))
    assert np.isin(junk[1::2], ALL.rows[free]).mean() > 0.9
    assert np.isin(junk[1::2], ALL.rows[kept]).mean() < 0.1


def test_a_wrong_neighbourhood_cannot_outvote_many_answers():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)  # classes that have nothing to do with what is near what
    head = fit_spread(ALL, X, np.where(np.arange(300) < 250, y, -1), 2)
    plain = fit_head(X[:250], y[:250], 2)
    assert np.abs(head.predict_proba(X) - plain.predict_proba(X)).max() < 0.1


def test_the_head_sees_only_the_main_directions_of_the_pool():
    noise = 0.01 * np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    wide = np.concatenate([X, noise], axis=1)
    few = graph(wide, np.arange(300), 2)
    main = replace(few, directions=few.directions[:, -3:], places=few.places[:, -3:])
    head = fit_spread(main, wide, known(np.arange(20)), 2)
    across = np.linalg.qr(main.directions, mode="complete")[0][:, 3:]
    assert np.abs(head.weight @ across).max() < 1e-4 * np.abs(head.weight).max()
    assert (head.predict_proba(wide).argmax(1) == Y).mean() > 0.95


def test_a_label_of_half_the_weight_is_one_of_two_copies(monkeypatch):
    """Halved, it counts as much as each of two copies of an image that have the same label."""
    y = known(np.arange(8))
    halved = fit_spread(ALL, X, y, 2, weights=np.where(np.arange(300) < 2, 0.5, 1.0))
    monkeypatch.setattr(spreading, "once", lambda rows, index: np.where(np.arange(8) < 2, 0.5, 1.0))
    copies = fit_spread(ALL, X, y, 2)
    assert np.array_equal(halved.weight, copies.weight)
    assert not np.allclose(halved.weight, fit_head(X[:8], Y[:8], 2).weight)


def test_with_few_answers_for_many_classes_it_is_less_sure(monkeypatch):
    """Of 4 answers of 2 classes it keeps 4 / 5 of its logits; of 5 classes, the root of 2 / 5 of 4 / 6.5."""
    y = known([0, 1, 2, 3])
    two, five = (fit_spread(ALL, X, y, n_classes).logits(X)[:, :2] for n_classes in (2, 5))
    monkeypatch.setattr(spreading, "HALF_SURE", 0)
    fitted = fit_spread(ALL, X, y, 2).logits(X)
    assert two == pytest.approx(0.8 * fitted, rel=1e-4, abs=1e-5)
    assert five == pytest.approx(0.4**0.5 * 4 / 6.5 * fitted, rel=1e-4, abs=1e-5)


def test_a_list_longer_than_what_the_images_show_makes_it_no_less_sure():
    y = known(range(60))
    some, many = (fit_spread(ALL, X, y, n_classes).logits(X)[:, :2] for n_classes in (7, 700))
    assert np.array_equal(some, many)


def test_classes_without_labels_have_probability_zero():
    proba = fit_spread(ALL, X, np.where(np.arange(300) < 6, 2 * Y + 1, -1), 5).predict_proba(X)
    assert (proba[:, [0, 2, 4]] == 0).all()
    assert np.allclose(proba.sum(axis=1), 1, atol=1e-5)


def test_labels_of_one_class_cannot_be_learned():
    with pytest.raises(CannotTrain, match="1 labels of 1 classes"):
        fit_spread(ALL, X, known([0]), 2)


def test_a_thousand_classes_of_one_label():
    rng = np.random.default_rng(0)
    many = rng.normal(size=(1200, 16)).astype(np.float32)
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    y = np.where(np.arange(1200) < 1000, np.arange(1200), -1)
    head = fit_spread(graph(many, np.arange(1200), 1000), many, y, 1000)
    assert (head.predict_proba(many[:1000]).argmax(1) == np.arange(1000)).mean() > 0.5


def test_one_and_two_threads_give_the_same_head():
    heads = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            heads.append(fit_spread(graph(X, np.arange(300), 2), X, known(np.arange(10)), 2))
    assert np.array_equal(heads[0].weight, heads[1].weight)
    assert np.array_equal(heads[0].bias, heads[1].bias)


def test_a_metric_learned_from_guesses_finds_classes_that_noise_hides():
    rng = np.random.default_rng(0)
    y = np.concatenate([np.arange(6) % 3, rng.integers(0, 3, 594)])
    class_of, nuisance = 0.7 * rng.normal(size=(3, 20)), rng.normal(size=(4, 20))
    mixed = class_of[y] + rng.normal(size=(600, 4)) @ nuisance + 0.3 * rng.normal(size=(600, 20))
    mixed = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    plain = fit_head(mixed[:6], y[:6], 3)
    learned = fit_spread(graph(mixed, np.arange(600), 3), mixed, np.where(np.arange(600) < 6, y, -1), 3)
    right = [float((head.predict_proba(mixed[6:]).argmax(1) == y[6:]).mean()) for head in (plain, learned)]
    assert right[0] < 0.75
    assert right[1] > 0.95
