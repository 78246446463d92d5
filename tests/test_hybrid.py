"""Known answers of `auto` and Uncertainty Herding, a plain version of the latter, and whether reasons are true."""

import re
from dataclasses import replace

import numpy as np
import pytest

from labelloop.strategies import choose
from labelloop.strategies.hybrid import likely_answered
from labelloop.types import Pool


def unit(X):
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)


def make_pool(X, *, y=None, proba=None, **changes) -> Pool:
    n = len(X)
    y = np.full(n, -1) if y is None else np.asarray(y)
    proba = None if proba is None else np.asarray(proba, np.float32)
    classes = tuple(f"class {k}" for k in range(3 if proba is None else proba.shape[1]))
    return Pool(np.arange(n), unit(np.asarray(X)), y, classes, y < 0, proba, **changes)


def blobs(*sizes, d=16, spread=0.1, seed=0):
    """So many rows around each axis, and the axis of each."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(np.arange(len(sizes)), sizes)
    return unit(np.eye(d)[kind] + rng.normal(size=(len(kind), d)) * spread), kind


def cloud(n, c, d=16, labeled=0, seed=0) -> Pool:
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) < labeled, np.arange(n) % c, -1)
    return make_pool(rng.normal(size=(n, d)), y=y, proba=rng.dirichlet(np.full(c, 0.5), n) if labeled else None)


def rows(pool, n, name="auto", seed=0):
    return choose(pool, n, name, np.random.default_rng(seed)).rows


# auto


@pytest.mark.parametrize("labels", [2, 5], ids=["herding", "later"])
def test_auto_leaves_alone_what_is_like_skipped_images(labels):
    """60 of one class, 60 of another, 60 of junk that the model doubts most; two of the junk were skipped."""
    X, kind = blobs(60, 60, 60)
    y, skipped = np.full(180, -1), np.isin(np.arange(180), [120, 121])
    y[:labels], y[60 : 60 + labels] = 0, 1
    proba = np.array([[0.7, 0.3], [0.3, 0.7], [0.5, 0.5]])[kind]
    pool = make_pool(X, y=y, proba=proba)
    pool = replace(pool, open=pool.open & ~skipped)
    assert (kind[rows(pool, 20)] == 2).sum() >= 8
    assert (kind[rows(replace(pool, skipped=skipped), 20)] == 2).sum() <= 2


def test_what_is_like_skipped_images_is_unlikely_to_be_answered():
    X, kind = blobs(60, 60)
    y, skipped = np.full(120, -1), np.isin(np.arange(120), [60, 61])
    y[:4] = [0, 1, 0, 1]
    pool = make_pool(X, y=y, skipped=skipped)
    chance = likely_answered(pool, np.random.default_rng(0))(np.arange(120))
    assert chance[kind == 0].min() > 0.5 > chance[kind == 1].max()
    for nothing in (replace(pool, skipped=None), replace(pool, skipped=~np.ones(120, bool)), make_pool(X)):
        assert (likely_answered(nothing, np.random.default_rng(0))(np.arange(5)) == 1).all()


def test_auto_does_not_trust_a_model_that_has_seen_few_of_the_classes():
    """90 images that it is sure of and 10 that it doubts: those first, unless most classes have no labels yet."""
    for labels, first in ([0, 1], 0), ([0, 1, 2, 3] * 2, 1):
        X, kind = blobs(90, 10, len(labels))
        proba = np.array([[0.99, 0.01, 0, 0], [0.5, 0.5, 0, 0], [1, 0, 0, 0]])[kind]
        pool = make_pool(X, y=[-1] * 100 + labels, proba=proba)
        assert kind[rows(pool, 1)].tolist() == [first]


@pytest.mark.parametrize(("labels", "doubt", "many"), [([0, 1], 0.16, 90), ([0, 0, 1, 1], 0.36, 72)])
def test_auto_weighs_by_the_root_of_the_doubt(labels, doubt, many):
    """30 images of doubt 0.64, whose root is 0.8, against more of less doubt.

    Herding: 90 x 0.4 > 30 x 0.8, but 90 x 0.16 < 30 x 0.64. The process divides by 1 + noise / doubt², which is 2.0 and
    1.3: 72 x 0.6 / 2.0 > 30 x 0.8 / 1.3, but 72 x 0.36 / 2.0 < 30 x 0.64 / 1.3.
    """
    X, kind = blobs(many, 30, *[1] * len(labels), spread=0.02)
    proba = np.array([[1 - doubt / 2, doubt / 2], [0.68, 0.32], *[[1, 0]] * len(labels)])[kind]
    pool = make_pool(X, y=[-1] * (many + 30) + labels, proba=proba)
    assert kind[rows(pool, 1)].tolist() == [0]


@pytest.mark.parametrize("model", [True, False])
def test_auto_does_not_pick_two_copies(model):
    X = np.repeat(np.random.default_rng(0).normal(size=(40, 8)), 3, axis=0)
    proba = np.random.default_rng(1).dirichlet([1, 1, 1], 120) if model else None
    picked = rows(make_pool(X, y=[0, 1, 2] + [-1] * 117, proba=proba), 30)
    assert len(set((picked // 3).tolist())) == 30
    assert 0 not in picked // 3  # all three of it are labeled


def test_auto_starts_from_no_label_with_one_of_each_group():
    X, kind = blobs(100, 80, 60, 40, 20)
    chosen = choose(make_pool(X), 5, "auto", np.random.default_rng(0))
    assert chosen.strategy == "auto"
    assert sorted(kind[chosen.rows].tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("n", [1, 10, 100, 1000])
def test_auto_takes_batches_of_any_size(n):
    picked = rows(cloud(3000, 10, labeled=30), n)
    assert len(set(picked.tolist())) == n
    assert picked.min() >= 30


def test_auto_gets_along_with_a_thousand_classes():
    pool = cloud(1500, 1000, labeled=300)
    chosen = choose(pool, 20, "auto", np.random.default_rng(0))
    assert len(set(chosen.rows.tolist())) == 20
    assert all(reason.startswith(("unsure: class ", "sure: class ")) for reason in chosen.reasons)


def test_a_list_of_classes_longer_than_what_the_images_show_changes_nothing():
    pool = cloud(600, 3, labeled=60)
    some, many = (
        make_pool(pool.features, y=pool.y, proba=np.pad(pool.proba, [(0, 0), (0, more)])) for more in (5, 500)
    )
    assert rows(some, 30).tolist() == rows(many, 30).tolist()


@pytest.mark.parametrize("name", ["auto", "uncertainty_herding", "max_herding"])
def test_the_same_picks_on_any_number_of_threads(name):
    from threadpoolctl import threadpool_limits

    pool, picks = cloud(2500, 10, d=64, labeled=200), []
    pool = replace(pool, skipped=np.isin(np.arange(2500), range(250, 280)), open=pool.open & (np.arange(2500) >= 280))
    for threads in (1, 2):
        with threadpool_limits(threads):
            picks.append(rows(pool, 150, name).tolist())
    assert picks[0] == picks[1]


# Its reasons


def test_reasons_of_auto_count_right():
    """Three tight groups apart from each other: all of a group are alike, and nothing else."""
    X, kind = blobs(39, 21, 19, spread=0.01)
    y = np.full(79, -1)
    y[60:75] = 0  # five labels a class: enough for more than herding
    proba = np.array([[0.5, 0.3, 0.2], [0.41, 0.39, 0.2], [0.01, 0.97, 0.02]])[kind]
    chosen = choose(make_pool(X, y=y, proba=proba), 78, "auto", np.random.default_rng(0))
    assert set(zip(kind[chosen.rows].tolist(), chosen.reasons, strict=True)) == {
        (0, "unsure: class 0 50 %, class 1 30 %; stands for 38 images like it, none labeled"),
        (1, "unsure: class 0 41 %, class 1 39 %; stands for 20 images like it, none labeled"),
        (2, "sure: class 1 97 %; stands for 3 images like it"),
    }


def test_an_image_like_one_other_and_an_image_like_none():
    X = np.eye(6)[[0, 0, 1]]
    assert sorted(choose(make_pool(X), 2, "auto", np.random.default_rng(0)).reasons) == [
        "like no other image",
        "stands for 1 image like it, none labeled",
    ]


def test_what_is_counted_on_a_part_of_the_pool_is_said_to_be_about_right():
    X, kind = blobs(6000, 3000, 15, spread=0.01)
    pool = make_pool(X, y=np.where(kind == 2, 0, -1), proba=np.full((9015, 3), 1 / 3))
    chosen = choose(pool, 2, "auto", np.random.default_rng(0))
    assert kind[chosen.rows].tolist() == [0, 1]
    counts = [re.search(r"; stands for about (\S+) images like it, none labeled$", why)[1] for why in chosen.reasons]
    assert np.allclose([int(count.replace(",", "")) for count in counts], [6000, 3000], rtol=0.1)
    assert "," in counts[0]


def test_before_there_are_five_labels_a_class_auto_is_herding():
    pool = cloud(300, 3, labeled=14)
    even = replace(pool, probabilities=np.tile(np.float32([0.5, 0.3, 0.2]), (300, 1)), y=pool.y.clip(max=1))
    assert rows(even, 5).tolist() == rows(even, 5, "uncertainty_herding").tolist()
    enough = replace(even, y=np.where(np.arange(300) < 15, np.arange(300) % 3, -1))
    assert rows(enough, 5).tolist() != rows(enough, 5, "uncertainty_herding").tolist()


# Uncertainty Herding


@pytest.mark.parametrize("name", ["uncertainty_herding", "max_herding"])
def test_herding_is_greedy_coverage_of_what_is_in_doubt(name):
    """Weighted by 1 - margin where it is Uncertainty Herding; labels and what is on a screen cover already."""
    pool = cloud(110, 3, d=6, labeled=30)
    screen = (np.arange(110) >= 30) & (np.arange(110) < 37)
    pool = replace(pool, pending=screen, open=pool.open & ~screen)
    X, known, left = pool.features.astype(float), range(37), pool.unlabeled
    squares = np.array([[((x - s) ** 2).sum() for s in X] for x in X])
    square = np.mean([min(squares[i, j] for j in known if j != i) for i in known])
    best = np.sort(pool.proba.astype(float), axis=1)
    weight = 1 - (best[:, -1] - best[:, -2]) if name == "uncertainty_herding" else np.ones(110)
    picks: list[int] = []
    for pick in rows(pool, 10, name).tolist():
        value = {}
        for row in set(left.tolist()) - set(picks):
            chosen = [*known, *picks, row]
            value[row] = sum(weight[j] * np.exp(-squares[j, chosen].min() / square) for j in left)
        assert value[pick] >= max(value.values()) - 1e-5  # two rows near each other alone are worth the same
        picks.append(pick)


def test_uncertainty_herding_leaves_alone_what_the_model_is_sure_of():
    X, kind = blobs(60, 20)
    pool = make_pool(X, proba=np.array([[1, 0], [0.5, 0.5]])[kind])
    assert (kind[rows(pool, 8, "uncertainty_herding")] == 1).all()
    assert (kind[rows(pool, 1, "max_herding")] == 0).all()
