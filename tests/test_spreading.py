"""Label spreading, and the head that learns from it."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from labelloop.errors import CannotTrain
from labelloop.train import spreading
from labelloop.train.head import fit_head
from labelloop.train.spreading import fit_spread, graph, spread


def bands(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two long bands side by side on a sphere (n, 3), and which one each point is of."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    along, across = rng.uniform(-1.2, 1.2, n), np.where(y, 0.35, -0.35) + 0.06 * rng.normal(size=n)
    X = np.stack([np.cos(across) * np.cos(along), np.cos(across) * np.sin(along), np.sin(across)], axis=1)
    return X.astype(np.float32), y


X, Y = bands(300)
ALL = graph(X, np.arange(300))


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


# -- the graph -----------------------------------------------------------------------------------------------------


def test_links_are_those_of_scikit_learns_neighbours():
    from sklearn.neighbors import kneighbors_graph

    near = kneighbors_graph(X, spreading.NEIGHBOURS, include_self=False).toarray()
    weights = np.where(near > 0, np.clip(X @ X.T, 0, 1) ** spreading.SHARPNESS, 0)
    weights = np.maximum(weights, weights.T)
    degree = 1 / np.sqrt(weights.sum(axis=1))
    assert np.allclose(ALL.links.toarray(), weights * degree[:, None] * degree, atol=1e-5)


def test_of_a_large_pool_a_part_is_looked_at_and_always_the_same(monkeypatch):
    monkeypatch.setattr(spreading, "NODES", 40)
    one, again = graph(X, np.arange(300)), graph(X, np.arange(300))
    assert len(one.rows) == 40
    assert one.n == 300
    assert np.array_equal(one.rows, again.rows)
    assert (np.diff(one.rows) > 0).all()


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_few_images(n):
    few = graph(X, np.arange(n))
    assert few.links.shape == (n, n)
    head = fit_spread(few, X, known([0, 1, 2]), 2)
    assert np.isfinite(head.predict_proba(X)).all()


def test_images_that_are_all_alike_teach_nothing():
    same = np.ones((60, 4), np.float32) / 2
    head = fit_spread(graph(same, np.arange(60)), same, np.where(np.arange(60) < 6, np.arange(60) % 3, -1), 3)
    assert np.allclose(head.predict_proba(same[:1]), 1 / 3, atol=0.02)


# -- what flows ----------------------------------------------------------------------------------------------------


def test_it_is_the_spreading_of_scikit_learn(monkeypatch):
    from sklearn.semi_supervised import LabelSpreading

    monkeypatch.setattr(spreading, "ROUNDS", 200)
    rows = np.array([0, 1, 2, 3])
    ours = spread(ALL, rows, X[rows], Y[rows], 2)
    near = np.zeros((300, 300))
    index, like = spreading.nearest(X, X, spreading.NEIGHBOURS + 1)
    np.put_along_axis(near, index, like.astype(float) ** spreading.SHARPNESS, axis=1)
    np.fill_diagonal(near, 0)
    near = np.maximum(near, near.T)
    theirs = LabelSpreading(kernel=lambda a, b: near, alpha=spreading.PASSED_ON, max_iter=500, tol=1e-9)
    theirs.fit(X, known(rows))
    assert np.allclose(ours / ours.sum(axis=1, keepdims=True), theirs.label_distributions_, atol=1e-4)


def test_a_label_outside_the_graph_starts_at_the_images_most_like_it():
    part = graph(X, np.arange(1, 300))
    outside, inside = (spread(part, np.array([row, 1]), X[[row, 1]], np.array([0, 1]), 2) for row in (0, 2))
    assert outside[:, 0].sum() > 0.5 * inside[:, 0].sum()
    near = np.argsort(-X[1:] @ X[0])
    assert outside[near[:15], 0].min() > outside[near[100:], 0].max()


def test_a_common_class_starts_with_the_square_root_of_its_labels(monkeypatch):
    monkeypatch.setattr(spreading, "ROUNDS", 0)
    rows = np.array([0, 2, 4, 6, 1])
    F = spread(ALL, rows, X[rows], np.array([0, 0, 0, 0, 1]), 2)
    assert np.allclose(F.sum(axis=0), [2, 1])


# -- the head ------------------------------------------------------------------------------------------------------


def test_one_label_a_class_is_enough_where_neighbours_agree():
    rows = askew()
    assert accuracy(fit_head(X[rows], Y[rows], 2)) < 0.88  # the line between the two labels runs across both bands
    assert accuracy(fit_spread(ALL, X, known(rows), 2)) > 0.95


def test_guesses_weigh_less_than_answers_and_fade_with_them():
    totals = []
    for m in (2, 20, 200):
        rows = np.arange(m)
        places, guesses, weight = spreading._guess(ALL, X, (rows, X[rows], Y[rows]), 2, None)
        assert weight.max() <= 1
        assert not np.isin(ALL.rows[places], rows).any()
        totals.append(weight.sum())
        assert set(guesses) <= {0, 1}
    assert totals[0] == pytest.approx(2 * 10 / (1 + 2 / 20), rel=0.01)
    assert totals[0] > totals[1] > totals[2]


def test_a_guess_far_from_all_labels_counts_less():
    rows = np.array(askew())
    places, _, weight = spreading._guess(ALL, X, (rows, X[rows], Y[rows]), 2, None)
    nearest = np.argsort(-(X[places] @ X[rows].T).max(axis=1))
    assert weight[nearest[:30]].mean() > 2 * weight[nearest[-30:]].mean()


def test_what_was_skipped_keeps_guesses_away():
    junk = np.flatnonzero(np.abs(X[:, 1]) < 0.3)  # the middle of both bands is of no class
    left = [int(k) for k in np.argsort(X[:, 1])[:8]]
    skipped = junk[::2]
    free = spreading._guess(ALL, X, (np.array(left), X[left], Y[left]), 2, None)[0]
    kept = spreading._guess(ALL, X, (np.array(left), X[left], Y[left]), 2, skipped)[0]
    assert np.isin(junk[1::2], ALL.rows[free]).mean() > 0.9
    assert np.isin(junk[1::2], ALL.rows[kept]).mean() < 0.1


def test_a_wrong_neighbourhood_cannot_outvote_many_answers():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)  # classes that have nothing to do with what is near what
    head = fit_spread(ALL, X, np.where(np.arange(300) < 250, y, -1), 2)
    plain = fit_head(X[:250], y[:250], 2)
    assert np.abs(head.predict_proba(X) - plain.predict_proba(X)).max() < 0.1


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
    head = fit_spread(graph(many, np.arange(1200)), many, y, 1000)
    assert (head.predict_proba(many[:1000]).argmax(1) == np.arange(1000)).mean() > 0.5


def test_one_and_two_threads_give_the_same_head():
    heads = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            heads.append(fit_spread(graph(X, np.arange(300)), X, known(np.arange(10)), 2))
    assert np.array_equal(heads[0].weight, heads[1].weight)
    assert np.array_equal(heads[0].bias, heads[1].bias)
