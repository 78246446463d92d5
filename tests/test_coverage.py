"""ProbCover against a plain version, and on blobs whose answer is known."""

from bisect import bisect_right

import numpy as np
import pytest

from labelloop.strategies import choose, coverage
from labelloop.strategies.coverage import cover, find_reach, likeness, pseudo_classes
from labelloop.types import Pool


def make_pool(X, *, labeled=(), n_classes=3) -> Pool:
    X = np.asarray(X, np.float32)
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    y = np.full(len(X), -1)
    y[list(labeled)] = 0
    return Pool(np.arange(1, len(X) + 1), X, y, tuple(f"class {k}" for k in range(n_classes)), y < 0)


def blobs(*sizes, spread=0.05, seed=0):
    """Rows around as many axes as there are sizes."""
    noise = np.random.default_rng(seed).normal(scale=spread, size=(sum(sizes), len(sizes)))
    return np.repeat(np.eye(len(sizes)), sizes, axis=0) + noise


def distances(X):
    return np.linalg.norm(X[:, None].astype(float) - X.astype(float), axis=2)


def plain_reach(D, pseudo):
    """Looks for it among all distances: the larger they are, the fewer balls are pure."""
    tried = np.unique(D[pseudo[:, None] != pseudo])

    def purity(reach):
        return np.mean([len(set(pseudo[row < reach - 1e-9])) == 1 for row in D])

    largest = bisect_right(tried, -0.95, key=lambda reach: -purity(reach)) - 1
    return float(tried[largest]) * (1 - 1e-5)


def plain_cover(D, is_open, reach, n):
    picks = []
    while len(picks) < n:
        near = reach > D
        is_covered = near[~is_open].any(axis=0) | near[picks].any(axis=0) | ~is_open
        if is_covered.all():
            reach /= 2
            continue
        gain = np.where(is_open, (near & ~is_covered).sum(axis=1), -1)
        picks.append(int(np.argmax(gain)))
    return picks


@pytest.mark.parametrize(("n", "labeled"), [(60, 0), (150, 10), (300, 40)])
@pytest.mark.parametrize("d", [2, 5, 20])
def test_prob_cover_is_the_plain_one(n, labeled, d):
    pool = make_pool(np.random.default_rng(n + d).normal(size=(n, d)), labeled=range(labeled), n_classes=5)
    rows, D = pool.unlabeled, distances(pool.features)
    X = pool.features[rows]
    reach = plain_reach(D[rows][:, rows], pseudo_classes(X, likeness(X), 5, np.random.default_rng(7)))
    between = D[rows][:, rows] + 9 * np.eye(len(rows))
    reach = max(reach, np.median(between.min(axis=1)) * (1 + 1e-5))
    expected = plain_cover(D, pool.open, reach, 50)  # more than it takes to cover all
    assert choose(pool, 50, "prob_cover", np.random.default_rng(7)).rows.tolist() == expected


@pytest.mark.parametrize("reach", [0.1, 0.3, 0.6, 1.0, 1.4])
def test_cover_is_greedy_whatever_the_reach(reach):
    pool = make_pool(np.random.default_rng(3).normal(size=(200, 4)), labeled=range(10))
    D, rows = distances(pool.features), pool.unlabeled
    nearest = 1 - D[rows][:, :10].min(axis=1) ** 2 / 2
    picks, _ = cover(likeness(pool.features[rows]), nearest.astype(np.float32), reach, 60)
    assert rows[picks].tolist() == plain_cover(D, pool.open, reach, 60)


def test_reach_is_the_largest_with_pure_balls():
    D = distances(make_pool(np.random.default_rng(0).normal(size=(200, 4))).features)
    like, pseudo = (1 - D**2 / 2).astype(np.float32), np.random.default_rng(1).integers(0, 2, 200)
    assert find_reach(like, pseudo) == pytest.approx(plain_reach(D, pseudo), abs=1e-3)
    pseudo = (D[0] < np.median(D[0])).astype(int)
    assert find_reach(like, pseudo) == pytest.approx(plain_reach(D, pseudo), rel=1e-4)
    assert find_reach(like, np.zeros(200, np.int64)) == 2.0


def test_reach_holds_a_blob_and_not_the_next():
    pool = make_pool(blobs(40, 30, 20))
    D, blob = distances(pool.features), np.repeat([0, 1, 2], [40, 30, 20])
    pseudo = pseudo_classes(pool.features, likeness(pool.features), 3, np.random.default_rng(0))
    assert [len(set(pseudo[blob == k])) for k in range(3)] == [1, 1, 1]
    reach = find_reach(likeness(pool.features), pseudo)
    same = blob[:, None] == blob
    assert D[same].max() < reach < D[~same].min() * 1.2


def test_the_largest_blobs_first_and_why():
    chosen = choose(make_pool(blobs(6, 4, 9)), 4, "prob_cover", np.random.default_rng(0))
    assert [int(np.searchsorted([6, 10], row, side="right")) for row in chosen.rows[:3]] == [2, 0, 1]
    assert chosen.reasons[:3] == [f"within reach of {k} images, none of them covered yet" for k in (9, 6, 4)]


def test_what_labels_or_screens_cover_counts_no_more():
    pool = make_pool(blobs(20, 12, 30), labeled=[35])
    assert 0 <= choose(pool, 1, "prob_cover", np.random.default_rng(0)).rows[0] < 20
    pending = np.arange(len(pool)) == 5
    pool = Pool(pool.ids, pool.features, pool.y, pool.classes, pool.open & ~pending, pending=pending)
    assert 20 <= choose(pool, 1, "prob_cover", np.random.default_rng(0)).rows[0] < 32


def test_copies_come_last():
    X = np.concatenate([np.repeat(np.eye(3), 5, axis=0), [[1, 1, 1]]])
    chosen = choose(make_pool(X), 16, "prob_cover", np.random.default_rng(0))
    assert sorted(chosen.rows.tolist()) == list(range(16))
    assert len(np.unique(X[chosen.rows[:4]], axis=0)) == 4
    assert [reason.startswith("all is covered") for reason in chosen.reasons] == [False] * 4 + [True] * 12


def test_a_large_pool_is_covered_by_parts(monkeypatch):
    monkeypatch.setattr(coverage, "PART", 120)
    pool = make_pool(blobs(300, 200, 100, 60), n_classes=4)
    chosen = choose(pool, 4, "prob_cover", np.random.default_rng(0))
    assert [int(np.searchsorted([300, 500, 600], row, side="right")) for row in chosen.rows] == [0, 1, 2, 3]
    count = int(chosen.reasons[0].split()[3])
    assert 200 < count < 400
    chosen = choose(pool, 300, "prob_cover", np.random.default_rng(0))
    assert len(set(chosen.rows.tolist())) == 300


def test_float16_does_not_make_copies_look_unlike():
    X = np.repeat(np.random.default_rng(0).normal(size=(100, 32)), 2, axis=0)
    pool = make_pool(X)
    small = Pool(pool.ids, pool.features.astype(np.float16), pool.y, pool.classes, pool.open)
    reasons = choose(small, 200, "prob_cover", np.random.default_rng(0)).reasons
    assert [k.startswith("all is covered") for k in reasons] == [False] * 100 + [True] * 100


def test_the_same_picks_on_one_and_two_threads():
    from threadpoolctl import threadpool_limits

    pool, picks = make_pool(np.random.default_rng(0).normal(size=(3000, 64)), n_classes=20), []
    for threads in (1, 2):
        with threadpool_limits(threads):
            picks.append(choose(pool, 200, "prob_cover", np.random.default_rng(0)).rows.tolist())
    assert picks[0] == picks[1]
