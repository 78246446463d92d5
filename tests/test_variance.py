"""Greedy variance reduction agrees with inverting matrices, one candidate after the other."""

import numpy as np
import pytest

from labelloop.strategies.variance import CANDIDATES, LABELED, LIKE, NOISE, PAIRS, SPREAD, most_informative
from labelloop.types import Pool


def cloud(n, d=6, *, labeled=0, pending=0, seed=0) -> Pool:
    """n rows around five centers; the first have labels, the next are on a screen."""
    rng, row = np.random.default_rng(seed), np.arange(n)
    X = rng.normal(size=(5, d))[rng.integers(0, 5, n)] + rng.normal(size=(n, d)) / 2
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    on_screen = (row >= labeled) & (row < labeled + pending)
    y = np.where(row < labeled, row % 3, -1)
    return Pool(row, X.astype(np.float32), y, ("a", "b", "c"), row >= labeled + pending, pending=on_screen)


def by_row(values):
    return lambda rows: values[rows].astype(np.float32)


def covariance(pool: Pool, seed: int) -> np.ndarray:
    """Between all rows, with a radius from the pairs that the strategy draws: the second thing that it draws."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(pool.unlabeled)
    X = pool.features.astype(float)
    pairs = rng.integers(0, len(rows), (2, PAIRS)).T
    square = SPREAD * np.mean([((X[rows[i]] - X[rows[j]]) ** 2).sum() for i, j in pairs])
    return np.array([[np.exp(-((x - s) ** 2).sum() / square) for s in X] for x in X])


def variances(K, rows, known, noise):
    """Of some rows, once others are known: by inversion."""
    if not known:
        return K[rows, rows]
    inverse = np.linalg.inv(K[np.ix_(known, known)] + np.diag(noise))
    return np.array([K[j, j] - K[j, known] @ inverse @ K[known, j] for j in rows])


@pytest.mark.parametrize(("labeled", "pending"), [(0, 0), (1, 0), (12, 0), (12, 5)])
@pytest.mark.parametrize("told", ["nothing", "weights", "everything"])
def test_every_pick_takes_the_most_variance_away(labeled, pending, told):
    pool, rng = cloud(70, labeled=labeled, pending=pending), np.random.default_rng(1)
    weight, doubt, answered = np.ones((3, 70))
    if told != "nothing":
        weight = rng.random(70)
    if told == "everything":
        doubt, answered = rng.random((2, 70))
        doubt[-5:] = 0  # certain, but never quite
    found = most_informative(
        pool, 9, by_row(weight), np.random.default_rng(3), doubt=by_row(doubt), answered=by_row(answered)
    )
    K, rows = covariance(pool, 3), pool.unlabeled
    known, noise = list(range(labeled + pending)), [NOISE] * (labeled + pending)
    for pick in found.rows:
        before, gain = variances(K, rows, known, noise), {}
        for row in rows:
            after = variances(K, rows, [*known, row], [*noise, NOISE / max(doubt[row], 1e-3) ** 2])
            gain[row] = answered[row] * weight[rows] @ (before - after) if row not in known else 0
        assert gain[pick] >= max(gain.values()) - 1e-6 * weight.sum()
        known, noise = [*known, pick], [*noise, NOISE / max(doubt[pick], 1e-3) ** 2]
    assert len(set(found.rows)) == 9


def test_in_a_pool_of_hundreds_it_picks_what_the_whole_matrix_says():
    pool, weight = cloud(400, 12, labeled=60), np.random.default_rng(1).random(400)
    found = most_informative(pool, 40, by_row(weight), np.random.default_rng(3))
    K, rows = covariance(pool, 3), pool.unlabeled
    S, expected = K - K[:, :60] @ np.linalg.inv(K[:60, :60] + NOISE * np.eye(60)) @ K[:60], []
    for _ in range(40):
        gain = (S[np.ix_(rows, rows)] ** 2 @ weight[rows]) / (np.diag(S)[rows] + NOISE)
        gain[np.isin(rows, expected)] = -1
        best = rows[np.argmax(gain)]
        expected.append(int(best))
        S -= np.outer(S[best], S[best]) / (S[best, best] + NOISE)
    assert found.rows.tolist() == expected


def test_what_it_says_of_a_pick_is_so():
    pool = cloud(400, 12, labeled=6)
    found = most_informative(pool, 150, by_row(np.ones(400)), np.random.default_rng(3))
    like, left = covariance(pool, 3) >= LIKE, pool.unlabeled
    for pick, alike, alone in zip(found.rows[:128], found.alike, found.alone, strict=False):  # picks of one window
        assert alike == like[pick, left].sum() - 1
        assert alone == (not like[pick, :6].any())
    assert 0 < found.alone[:128].sum() < 128


def test_no_label_is_overlooked_where_there_are_more_than_it_computes_with():
    X = np.random.default_rng(0).normal(size=(LABELED + 300, 64))
    X = np.concatenate([X, X[-100:]])  # each open row is a copy of a label, and like no other
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    is_open = np.arange(len(X)) >= LABELED + 300
    pool = Pool(np.arange(len(X)), X.astype(np.float32), np.where(is_open, -1, 0), ("a", "b"), is_open)
    found = most_informative(pool, 100, by_row(np.ones(len(X))), np.random.default_rng(0))
    assert not found.alike.any()
    assert not found.alone.any()


def test_only_what_weighs_most_is_a_candidate_and_all_that_is_open_counts():
    pool, weight = cloud(2000), np.random.default_rng(1).random(2000)
    heaviest = np.argsort(-weight)[:CANDIDATES]
    assert np.isin(most_informative(pool, 100, by_row(weight), np.random.default_rng(0)).rows, heaviest).all()


def test_a_copy_is_worth_little_and_an_image_without_weight_nothing():
    """Two copies weigh 1 each, a row apart from them 0.8, one more nothing: first a copy, then the one apart."""
    X = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    pool = Pool(np.arange(4), X, np.full(4, -1), ("a", "b"), np.ones(4, bool))
    rows = most_informative(pool, 4, by_row(np.array([1, 1, 0.8, 0])), np.random.default_rng(0)).rows
    assert rows[0] in (0, 1)
    assert rows[1] == 2
    assert rows[3] == 3


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("apart", [0, 3e-7, 1e-6, 1e-4])
def test_images_that_differ_by_rounding_only(apart, dtype):
    """What float16 makes of nearly equal rows has no unit length, and in float32 x·x is 1 but for the last digits."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1, 1280)) / 1280**0.5 + apart * rng.normal(size=(1500, 1280))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    is_open = np.arange(1500) >= LABELED
    pool = Pool(np.arange(1500), X.astype(dtype), np.where(is_open, -1, 0), ("a", "b"), is_open)
    rows = most_informative(pool, 128, by_row(np.ones(1500)), rng).rows
    assert len(set(rows.tolist())) == 128


@pytest.mark.parametrize("n", [1, 200, 1000])
def test_batches_larger_than_a_window_hold_no_row_twice(n):
    pool = cloud(1000, 8)
    rows = most_informative(pool, n, by_row(np.ones(1000)), np.random.default_rng(0)).rows
    assert len(rows) == len(set(rows.tolist())) == n
