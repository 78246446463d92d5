"""Strategies that cluster: what k-means finds, a slow and obvious TypiClust, known answers on blobs, reasons."""

import re

import numpy as np
import pytest

from labelloop.errors import NeedsModel
from labelloop.strategies import choose, clustering, get
from labelloop.strategies.clustering import most_typical
from labelloop.train.head import fit_head
from labelloop.types import Pool


def unit(X):
    X = np.asarray(X, float)
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)


def blobs(*sizes, d=16, spread=0.02, seed=0):
    """That many images around each of the first axes, and which axis it is; the blobs lie one after the other."""
    of = np.repeat(np.arange(len(sizes)), sizes)
    return unit(np.eye(d)[of] + np.random.default_rng(seed).normal(scale=spread, size=(len(of), d))), of


def make_pool(X, *, labels=None, proba=None, classes=("rust", "mildew", "healthy")) -> Pool:
    y = np.full(len(X), -1)
    for row, label in (labels or {}).items():
        y[row] = label
    proba = None if proba is None else np.asarray(proba, np.float32)
    return Pool(np.arange(1, len(X) + 1), np.asarray(X), y, classes, y < 0, proba)


def picks(pool, n, name, seed=0):
    chosen = choose(pool, n, name, np.random.default_rng(seed))
    assert chosen.strategy == name
    return chosen.rows.tolist()


def reasons(pool, n, name):
    return choose(pool, n, name, np.random.default_rng(0)).reasons


# k-means


@pytest.mark.parametrize("seed", range(5))
def test_clusters_of_far_blobs_are_the_blobs(seed):
    X, of = blobs(30, 20, 10, 5)
    pool = make_pool(X)
    centers = clustering._fit(pool, pool.unlabeled, 4, np.random.default_rng(seed))
    cluster, _ = clustering._assign(pool, pool.unlabeled, centers)
    assert len({(a, b) for a, b in zip(of, cluster, strict=True)}) == len(set(cluster.tolist())) == 4


def test_clusters_are_as_tight_as_those_of_scikit_learn():
    from sklearn.cluster import KMeans

    X = unit(np.random.default_rng(0).normal(size=(5000, 12)))  # more rows than one block, and no clusters to find
    pool = make_pool(X)
    centers = clustering._fit(pool, pool.unlabeled, 20, np.random.default_rng(0))
    cluster, distance = clustering._assign(pool, pool.unlabeled, centers)
    squares = ((X[:, None] - centers) ** 2).sum(axis=2)
    assert cluster.tolist() == squares.argmin(axis=1).tolist()
    assert np.allclose(distance, squares.min(axis=1), atol=1e-5)
    assert distance.sum() < 1.03 * KMeans(20, n_init=1, random_state=0).fit(X).inertia_


def test_there_are_no_more_centers_than_images_that_differ():
    X = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    centers = clustering._fit(make_pool(X), np.arange(30), 8, np.random.default_rng(0))
    assert sorted(centers.tolist()) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


# k_means


def test_k_means_takes_the_middle_of_each_group_the_largest_first():
    X, of = blobs(8, 12, 4)
    middle = [int(np.argmin(((X - X[of == k].mean(axis=0)) ** 2).sum(axis=1))) for k in (1, 0, 2)]
    assert picks(make_pool(X), 3, "k_means") == middle
    assert reasons(make_pool(X), 3, "k_means") == [f"in the middle of {k} images alike" for k in (12, 8, 4)]


def test_k_means_takes_several_of_a_group_when_there_are_fewer_groups_than_picks():
    X = np.repeat(np.eye(3, dtype=np.float32), [9, 1, 3], axis=0)
    assert [int(X[row].argmax()) for row in picks(make_pool(X), 7, "k_means")] == [0, 2, 1, 0, 2, 0, 2]
    assert reasons(make_pool(X), 3, "k_means")[2] == "in the middle of 1 image alike"


# TypiClust


def slow_typiclust(X, is_open, cluster, n):
    """As the authors' code reads, in distances instead of their squares, and going on when clusters run out."""
    X, cluster = X.astype(float), cluster.copy()
    size = {k: int((cluster == k).sum()) for k in set(cluster.tolist())}
    labels = {k: int((cluster[~is_open] == k).sum()) for k in size}
    cluster[~is_open] = -1
    order = sorted(size, key=lambda k: (labels[k], -size[k], k))
    large, small = [k for k in order if size[k] > 5], [k for k in order if size[k] <= 5]
    selected = []
    for group in (large, small):
        while len(selected) < n and any((cluster == k).any() for k in group):
            for k in group:
                rows = np.flatnonzero(cluster == k)
                if not len(rows) or len(selected) == n:
                    continue
                near = min(20, len(rows) // 2)
                cost = [sum(sorted(np.linalg.norm(X[rows] - X[i], axis=1))[1 : near + 1]) / max(near, 1) for i in rows]
                selected.append(int(rows[np.argmin(cost)]))
                cluster[selected[-1]] = -1
    return selected


@pytest.mark.parametrize("n", [1, 5, 17, 130, 170])
@pytest.mark.parametrize("seed", range(4))
def test_typical_images_are_those_of_the_plain_slow_version(seed, n):
    rng = np.random.default_rng(seed)
    X = unit(rng.normal(size=(200, 5)))
    cluster = rng.permutation(np.repeat(np.arange(7), [90, 49, 30, 18, 6, 5, 2]))
    pool = make_pool(X, labels=dict.fromkeys(rng.choice(200, 30, replace=False).tolist(), 0))
    found = most_typical(pool, np.arange(200), cluster, n, rng)
    assert found.tolist() == slow_typiclust(X, pool.open, cluster, n)


def test_typiclust_goes_to_the_largest_groups_without_a_label():
    X, of = blobs(40, 30, 20, 10)
    pool = make_pool(X, labels={0: 0, 70: 1})
    assert of[picks(pool, 2, "typiclust")].tolist() == [1, 3]
    assert reasons(pool, 2, "typiclust") == [f"typical of {k} images, none of them labeled" for k in (30, 10)]


def test_typiclust_says_how_many_labels_a_group_has():
    X, of = blobs(40, 30)
    pool = make_pool(X, labels=dict.fromkeys([*range(3), *range(40, 42)], 0))
    rows = np.arange(70)
    assert of[most_typical(pool, rows, of, 3, np.random.default_rng(0))].tolist() == [1, 0, 1]
    one = np.ones(12)[:, None] * X[0]
    pool = make_pool(one.astype(np.float32), labels={0: 0, 1: 1, 2: 0})
    assert reasons(pool, 1, "typiclust") == ["typical of 12 images, 3 of them labeled"]


def test_what_is_on_a_screen_counts_as_labeled():
    X, of = blobs(40, 30)
    open_rows = np.arange(70) != 0
    pending = ~open_rows
    pool = Pool(np.arange(1, 71), X, np.full(70, -1), ("a", "b"), open_rows, pending=pending)
    assert of[picks(pool, 1, "typiclust")].tolist() == [1]


def test_groups_of_five_images_are_outliers_and_come_last():
    X, of = blobs(40, 5, 6, spread=0)
    pool = make_pool(X)
    assert of[most_typical(pool, np.arange(51), of, 4, np.random.default_rng(0))].tolist() == [0, 2, 0, 2]
    assert sorted(of[most_typical(pool, np.arange(51), of, 51, np.random.default_rng(0))].tolist()) == of.tolist()


def test_a_group_that_is_too_large_to_compare_is_judged_by_a_part(monkeypatch):
    monkeypatch.setattr(clustering, "WINDOW", 64)
    X, of = blobs(300, 40)
    found = most_typical(make_pool(X), np.arange(340), of, 200, np.random.default_rng(0))
    assert np.bincount(of[found]).tolist() == [160, 40]
    assert len(set(found.tolist())) == 200


# Cluster-Margin


def test_cluster_margin_takes_the_closest_call_of_each_group_the_smallest_group_first():
    X, _ = blobs(6, 3, 11)
    margin = np.linspace(0.01, 0.2, 20)
    proba = np.stack([0.5 + margin / 2, 0.5 - margin / 2, 0 * margin], axis=1)
    pool = make_pool(X, proba=proba)
    assert picks(pool, 3, "cluster_margin") == [6, 0, 9]
    assert reasons(pool, 1, "cluster_margin") == ["unsure: rust 50 %, mildew 50 %; one group of such images"]
    assert reasons(pool, 3, "cluster_margin")[2].endswith("; one of 3 groups of such images")


def test_cluster_margin_looks_at_ten_close_calls_for_each_pick_and_no_more():
    X, _ = blobs(10, 30)
    margin = np.repeat([0.1, 0.9], [10, 30])
    pool = make_pool(X, proba=np.stack([0.5 + margin / 2, 0.5 - margin / 2, 0 * margin], axis=1))
    assert all(picks(pool, 1, "cluster_margin", seed)[0] < 10 for seed in range(5))


# DropQuery


def wavering():
    """200 images that all features agree on, half of each class; 200 in two groups that one feature decides."""
    rng = np.random.default_rng(0)
    X = np.ones((400, 32))
    X[:200:2] *= -1
    X[200:300], X[300:] = [0.2, -0.2] * 16, [-0.2, 0.2] * 16
    X[200:, 0] += 0.4
    X = unit(X + rng.normal(scale=0.01, size=X.shape))
    labels = {row: row % 2 for row in range(40)}
    head = fit_head(X[:40], list(labels.values()), 2)
    return make_pool(X, labels=labels, proba=head.predict_proba(X), classes=("rust", "mildew"))


def test_drop_query_takes_one_of_each_group_whose_class_hangs_on_few_features():
    for seed in range(5):
        first, second = sorted(picks(wavering(), 2, "drop_query", seed))
        assert 200 <= first < 300 <= second


def test_drop_query_says_how_often_the_class_changed():
    for reason in reasons(wavering(), 2, "drop_query"):
        assert re.fullmatch(
            r"another class in [23] of 3 trials that hide features; in the middle of \d+ images", reason
        )


def test_drop_query_takes_sure_images_too_when_few_waver():
    pool = wavering()
    found = picks(pool, 200, "drop_query")
    assert len(set(found)) == 200
    assert min(found) < 200


def test_dropout_leaves_out_three_quarters_of_the_features():
    rng = np.random.default_rng(0)
    pool = make_pool(unit(rng.normal(size=(6000, 16))))
    head = fit_head(np.eye(16)[:2], [0, 1], 2)  # decides between the first two features
    changes = clustering._changes(pool, pool.unlabeled, head, rng)
    assert changes.max() == 3
    # both hidden (9/16): the bias decides; one kept: its sign decides; both kept: nothing changes
    X = pool.features
    flips = [((X[:, 0] * a - X[:, 1] * b > 0) != (X[:, 0] > X[:, 1])).mean() for a, b in [(1, 0), (0, 1), (0, 0)]]
    assert abs(changes.mean() / 3 - (3 / 16 * (flips[0] + flips[1]) + 9 / 16 * flips[2])) < 0.015


def test_drop_query_needs_labels_of_two_classes():
    X, _ = blobs(5, 5)
    with pytest.raises(NeedsModel, match="there is none before"):
        get("drop_query").function(make_pool(X), 2, np.random.default_rng(0))
    pool = make_pool(X, labels={0: 1, 1: 1}, proba=np.full((10, 3), 1 / 3))
    with pytest.raises(NeedsModel, match="no labels of two classes"):
        get("drop_query").function(pool, 2, np.random.default_rng(0))


# Threads


def on_threads(work):
    from threadpoolctl import threadpool_limits

    for threads in (1, 2, 4):
        with threadpool_limits(threads):
            yield work()


def test_rows_between_two_centers_go_to_the_same_one_on_any_number_of_threads():
    rng = np.random.default_rng(0)
    centers = unit(rng.normal(size=(200, 384)))
    pool = make_pool(unit(centers[rng.integers(200, size=5000)] + centers[rng.integers(200, size=5000)]))
    first, *others = on_threads(lambda: clustering._assign(pool, pool.unlabeled, centers)[0])
    assert [np.array_equal(first, other) for other in others] == [True, True]


@pytest.mark.parametrize("name", ["k_means", "typiclust", "cluster_margin", "drop_query"])
def test_picks_are_the_same_on_any_number_of_threads(name):
    X = unit(np.random.default_rng(0).normal(size=(9000, 48)))
    labels = {row: row % 3 for row in range(60)}
    head = fit_head(X[:60], list(labels.values()), 3)
    pool = make_pool(X, labels=labels, proba=head.predict_proba(X))
    first, *others = on_threads(lambda: picks(pool, 50, name))
    assert others == [first, first]
