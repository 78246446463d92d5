"""BADGE against a plain version that makes every gradient, and against D² sampling itself."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from labelloop.strategies import choose
from labelloop.strategies.gradients import Race
from labelloop.types import Pool


def make_pool(n, d, c, *, sharp=1.0, groups=0, spread=0.1, seed=0, labeled=0) -> Pool:
    """Random images, or in tight groups; a larger `sharp` is a model that is more sure."""
    rng = np.random.default_rng(seed)
    X, Z = rng.normal(size=(n, d)), sharp * rng.normal(size=(n, c))
    if groups:
        k = rng.integers(0, groups, n)
        X, Z = X[k] + spread * rng.normal(size=(n, d)), Z[k] + spread * Z
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    P = np.exp(Z - Z.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)
    y = np.where(np.arange(n) < labeled, 0, -1)
    names = tuple(f"class {k}" for k in range(c))
    return Pool(np.arange(1, n + 1), X.astype(np.float32), y, names, y < 0, P.astype(np.float32))


def gradients(pool):
    """(n open, c · d), made in full."""
    P, X = pool.proba[pool.unlabeled].astype(float), pool.features[pool.unlabeled].astype(float)
    A = P - np.eye(P.shape[1])[P.argmax(axis=1)]
    return (A[:, :, None] * X[:, None, :]).reshape(len(A), -1)


def plain(G, luck, n):
    """The race in which all rows hear of every pick at once; and the time of each pick."""
    picks, now = [int(np.argmax((G**2).sum(axis=1)))], [0.0]
    D2, left = ((G - G[picks[0]]) ** 2).sum(axis=1), luck.copy()
    while len(picks) < n:
        D2[picks] = 0
        wait = np.full(len(G), np.inf)
        np.divide(left, D2, out=wait, where=D2 > 1e-8)
        if np.isinf(wait.min()):
            break
        picks.append(int(np.argmin(wait)))
        left, now = left - wait.min() * D2, [*now, now[-1] + wait.min()]
        D2 = np.minimum(D2, ((G - G[picks[-1]]) ** 2).sum(axis=1))
    return picks, now


POOLS = {
    "unsure": {"n": 900, "d": 10, "c": 5, "sharp": 0.5},
    "as usual": {"n": 900, "d": 10, "c": 20, "sharp": 3},
    "sure": {"n": 900, "d": 10, "c": 5, "sharp": 12},
    "two classes": {"n": 400, "d": 6, "c": 2, "sharp": 2},
    "groups": {"n": 900, "d": 12, "c": 5, "groups": 7, "spread": 0.02},
    "copies": {"n": 900, "d": 12, "c": 5, "groups": 150, "spread": 0},
    "labels": {"n": 900, "d": 10, "c": 5, "labeled": 300},
}


@pytest.mark.parametrize("window", [8, 512])
@pytest.mark.parametrize("kind", POOLS)
def test_the_race_is_the_plain_one(kind, window):
    for seed in range(3):
        pool = make_pool(**POOLS[kind], seed=seed)
        luck = np.random.default_rng(seed).standard_exponential(len(pool.unlabeled))
        race = Race(pool, luck, window)
        picks, times = plain(gradients(pool), luck, 200)
        assert race.run(200).tolist() == picks
        assert np.allclose(race.times, times, rtol=1e-4)


@pytest.mark.parametrize("sharp", [1, 3, 30])
def test_rows_far_from_being_picked_are_never_read(sharp):
    pool = make_pool(20_000, 8, 5, sharp=sharp)
    race = Race(pool, np.random.default_rng(0).standard_exponential(len(pool)))
    race.run(50)
    assert np.count_nonzero(race.seen) < 1000


def test_what_a_row_has_heard_are_its_distances():
    pool = make_pool(3000, 16, 10)
    race, G = Race(pool, np.random.default_rng(0).standard_exponential(3000)), gradients(pool)
    race.run(60)
    heard = np.flatnonzero(race.seen == 60)
    heard = heard[~np.isin(heard, race.picks)]
    D2 = ((G[heard, None] - G[race.picks]) ** 2).sum(axis=2).min(axis=1)
    assert len(heard) > 100
    assert np.abs(race.gap[heard] - D2).max() < 1e-6


def test_picks_are_distributed_as_k_means_plus_plus():
    pool = make_pool(6, 3, 3, seed=4)
    G = gradients(pool)
    D2 = ((G[:, None] - G) ** 2).sum(axis=2)
    first = int(np.argmax((G**2).sum(axis=1)))
    expected = {}
    for a, b in permutations(set(range(6)) - {first}, 2):
        near = np.minimum(D2[first], D2[a])
        expected[first, a, b] = D2[first, a] / D2[first].sum() * near[b] / near.sum()
    rng, draws = np.random.default_rng(0), 2000
    found = Counter(tuple(Race(pool, rng.standard_exponential(6), 2).run(3).tolist()) for _ in range(draws))
    assert set(found) <= set(expected)
    square = sum((found[key] - draws * p) ** 2 / (draws * p) for key, p in expected.items())
    assert square < 36.2  # 99 % of a chi-square with 19 degrees of freedom


def test_badge_starts_with_the_largest_gradient_and_says_what_it_would_do():
    proba = np.array([[0.98, 0.01, 0.01], [0.40, 0.35, 0.25], [0.80, 0.15, 0.05], [1, 0, 0]], np.float32)
    X = np.eye(4, dtype=np.float32)
    pool = Pool(np.arange(1, 5), X, np.full(4, -1), ("rust", "mildew", "none"), np.ones(4, bool), proba)
    chosen = choose(pool, 4, "badge", np.random.default_rng(0))
    reasons = dict(zip(chosen.rows.tolist(), chosen.reasons, strict=True))
    assert chosen.rows[0] == 1
    assert reasons[1] == "would change the model much; unsure: rust 40 %, mildew 35 %"
    assert reasons[2].startswith("would change the model in its own way; ")
    assert reasons[0].startswith("one of those that hardly change the model; ")


def test_when_all_gradients_left_equal_a_chosen_one_the_rest_is_drawn():
    pool = make_pool(60, 5, 3, groups=4, spread=0)
    chosen = choose(pool, 10, "badge", np.random.default_rng(0))
    assert len(set(chosen.rows.tolist())) == 10
    assert [reason.startswith("would change the model like one chosen before") for reason in chosen.reasons] == (
        [False] * 4 + [True] * 6
    )


def test_features_kept_as_float16_are_enough():
    pool = make_pool(800, 24, 4, sharp=2)
    small = Pool(pool.ids, pool.features.astype(np.float16), pool.y, pool.classes, pool.open, pool.probabilities)
    luck = np.random.default_rng(0).standard_exponential(800)
    assert Race(small, luck).run(100).tolist() == plain(gradients(small), luck, 100)[0]


def test_the_same_picks_on_one_and_two_threads():
    from threadpoolctl import threadpool_limits

    pool = make_pool(5000, 64, 10, sharp=2)
    picks = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            picks.append(choose(pool, 100, "badge", np.random.default_rng(0)).rows.tolist())
    assert picks[0] == picks[1]
