"""Known answers of the strategies that ask one model, and the words they give as reasons."""

from dataclasses import replace

import numpy as np
import pytest

from labelloop.errors import BadStrategy, NeedsModel
from labelloop.strategies import choose
from labelloop.strategies.uncertainty import CELLS, FEW, chances, doubt, shannon, torn
from labelloop.types import Pool


def pool_of(proba, *, y=None, classes=None) -> Pool:
    proba = np.asarray(proba, np.float32)
    n, c = proba.shape
    y = np.full(n, -1) if y is None else np.asarray(y)
    names = classes or tuple(f"class {k}" for k in range(c))
    return Pool(np.arange(1, n + 1), np.ones((n, 1), np.float32), y, names, y < 0, proba)


def rows(pool, n, name, seed=0, **settings):
    return choose(pool, n, name, np.random.default_rng(seed), settings=settings).rows.tolist()


THREE = [[0.50, 0.49, 0.01], [0.45, 0.28, 0.27], [0.52, 0.24, 0.24], [0.98, 0.01, 0.01]]


@pytest.mark.parametrize(
    ("name", "expected", "scores"),
    [
        ("least_confidence", [1, 0, 2, 3], [0.55, 0.50, 0.48, 0.02]),
        ("margin", [0, 1, 2, 3], [0.99, 0.83, 0.72, 0.03]),
        ("entropy", [1, 2, 0, 3], [1.0693, 1.0251, 0.7422, 0.1119]),
    ],
)
def test_what_each_takes_first(name, expected, scores):
    chosen = choose(pool_of(THREE), 4, name, np.random.default_rng(0))
    assert chosen.rows.tolist() == expected
    assert np.allclose(chosen.scores, scores, atol=1e-4)


def test_entropy_is_between_0_for_one_certain_class_and_log_c():
    assert shannon(np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4])).tolist() == [0, np.log(2), np.log(4)]


@pytest.mark.parametrize("n_classes", [2, 5, FEW, FEW + 1])
def test_blocks_are_put_together_in_order(n_classes):
    proba = np.random.default_rng(0).dirichlet(np.ones(n_classes), 2 * CELLS // n_classes + 3).astype(np.float32)
    proba[:9] = np.roll(proba[:9].round(1), 1)  # ties, and probabilities of 0
    two = np.sort(proba, axis=1)[:, -2:]
    assert np.array_equal(doubt(proba), 1 - (two[:, 1] - two[:, 0]))
    everything = choose(pool_of(proba), len(proba), "least_confidence", np.random.default_rng(0))
    assert np.array_equal(everything.scores, np.sort(1 - two[:, 1])[::-1])
    nats = -(proba.astype(float) * np.log(np.maximum(proba, 1e-30, dtype=float))).sum(axis=1)
    chosen = choose(pool_of(proba), len(proba), "entropy", np.random.default_rng(0))
    assert np.allclose(chosen.scores, nats[chosen.rows], atol=1e-6)


def test_one_class_leaves_no_doubt():
    assert doubt(np.ones((2, 1), np.float32)).tolist() == [0, 0]
    assert torn(pool_of([[1.0]]), 0) == "sure: class 0 100 %"


# Reasons


@pytest.mark.parametrize(
    ("proba", "words"),
    [
        ([0.41, 0.39, 0.20], "unsure: rust 41 %, mildew 39 %"),
        ([0.10, 0.30, 0.60], "unsure: leaf 60 %, mildew 30 %"),
        ([0.02, 0.97, 0.01], "sure: mildew 97 %"),
        ([0.5, 0.5, 0.0], "unsure: rust 50 %, mildew 50 %"),
    ],
)
def test_a_doubt_in_words(proba, words):
    pool = pool_of([proba], classes=("rust", "mildew", "leaf"))
    assert torn(pool, 0) == words
    for name in ("least_confidence", "margin", "entropy"):
        assert choose(pool, 1, name, np.random.default_rng(0)).reasons == [words]


def test_without_a_model_there_are_no_words():
    pool = Pool(np.array([1]), np.ones((1, 1), np.float32), np.array([-1]), ("a", "b"), np.array([True]))
    with pytest.raises(NeedsModel):
        torn(pool, 0)


# power_margin


def test_each_image_is_drawn_as_often_as_the_reason_says():
    proba = [[0.5, 0.5], [0.6, 0.4], [0.7, 0.3], [0.9, 0.1]]  # doubts 1, 0.8, 0.6, 0.2
    pool = pool_of(proba)
    for power in (0.0, 1.0, 2.0):
        expected = np.array([1, 0.8, 0.6, 0.2]) ** power
        expected /= expected.sum()
        assert np.allclose(chances(pool, power), expected, atol=1e-6)
        first = [rows(pool, 1, "power_margin", seed, power=power)[0] for seed in range(1000)]
        assert np.allclose(np.bincount(first, minlength=4) / 1000, expected, atol=0.05)


def test_the_second_is_drawn_from_those_that_are_left():
    pool = pool_of([[0.5, 0.5], [0.6, 0.4], [0.9, 0.1]])
    p = chances(pool)
    pairs = [tuple(rows(pool, 2, "power_margin", seed)) for seed in range(1000)]
    for a, b in [(0, 1), (1, 0), (0, 2), (2, 1)]:
        assert abs(pairs.count((a, b)) / 1000 - p[a] * p[b] / (1 - p[a])) < 0.05


def test_the_chance_is_recorded_and_only_open_images_have_one():
    pool = pool_of([[0.5, 0.5]] * 840 + [[0.6, 0.4]], y=[-1] * 840 + [0])
    assert chances(pool)[[0, 840]].tolist() == [1 / 840, 0]
    chosen = choose(pool, 1, "power_margin", np.random.default_rng(0))
    assert chosen.reasons == ["drawn with probability 1 in 840; unsure: class 0 50 %, class 1 50 %"]
    few = choose(pool_of([[0.5, 0.5]] * 3), 1, "power_margin", np.random.default_rng(0))
    assert few.reasons[0].startswith("drawn with probability 1 in 3; ")


def test_a_large_power_is_nearly_margin_and_a_certain_model_is_no_obstacle():
    pool = pool_of([[0.9, 0.1]] * 5 + [[0.5, 0.5]] + [[0.8, 0.2]] * 5)
    assert {rows(pool, 1, "power_margin", seed, power=10.0)[0] for seed in range(30)} == {5}
    certain = choose(pool_of([[1, 0]] * 5), 5, "power_margin", np.random.default_rng(0), settings={"power": 10.0})
    assert sorted(certain.rows) == [0, 1, 2, 3, 4]
    assert np.isfinite(certain.scores).all()


@pytest.mark.parametrize("power", [-1.0, 11.0, float("nan")])
def test_a_power_that_makes_no_sense_is_refused(power):
    with pytest.raises(BadStrategy, match=r"power must be from 0 \(random\) to 10"):
        rows(pool_of(THREE), 1, "power_margin", power=power)


# class_balanced_margin


def rare_pool(labels):
    """Ten open rows predicted 0, unsure; three predicted 1, surer; labels of both classes behind them."""
    proba = [[0.5 + 0.001 * k, 0.5 - 0.001 * k, 0] for k in range(1, 11)] + [[0.3 - 0.01 * k, 0.7, 0] for k in range(3)]
    y = [-1] * 13 + labels
    return pool_of(proba + [[0.6, 0.4, 0]] * len(labels), y=y, classes=("common", "rare", "unseen"))


def test_half_of_the_batch_levels_the_classes_and_half_is_margin():
    chosen = choose(rare_pool([0] * 6 + [1] * 2), 6, "class_balanced_margin", np.random.default_rng(0))
    assert chosen.rows.tolist() == [10, 0, 11, 1, 12, 2]
    assert chosen.reasons[:2] == [
        "rare has 2 labels; unsure: rare 70 %, common 30 %",
        "unsure: common 50 %, rare 50 %",
    ]


def test_picks_count_as_labels_so_that_a_batch_levels_the_classes():
    picks = rows(rare_pool([0] * 1 + [1] * 3), 8, "class_balanced_margin")
    assert picks[1::2] == [0, 1, 2, 3]  # margin's own: common has 5 with them
    assert picks[0::2] == [10, 11, 4, 12]  # rare has 3, 4, then both have 5


def test_what_is_on_a_screen_counts_as_its_prediction():
    pool = rare_pool([0] * 3 + [1] * 3)
    shown = np.isin(np.arange(len(pool)), [10, 11])
    pool = replace(pool, open=pool.open & ~shown, pending=shown)
    assert rows(pool, 4, "class_balanced_margin")[0::2] == [2, 12]  # both have 5: rare's shown, margin's own


def test_one_at_a_time_it_alternates_by_lot():
    pool = rare_pool([0] * 6 + [1] * 2)
    first = [rows(pool, 1, "class_balanced_margin", seed)[0] for seed in range(200)]
    assert set(first) == {0, 10}
    assert 60 < first.count(0) < 140


def test_a_class_that_margin_neglects_gets_the_other_half():
    proba = [[0.51, 0.49]] * 20 + [[0.2, 0.8]] * 20
    picks = rows(pool_of(proba + [[0.5, 0.5]] * 2, y=[-1] * 40 + [0, 1]), 20, "class_balanced_margin")
    assert sum(row >= 20 for row in picks) == 10


@pytest.mark.parametrize("c", [2, 10, 1000])
def test_any_number_of_classes_and_a_model_that_knows_only_one(c):
    proba = np.zeros((60, c))
    proba[:, 0], proba[:, 1] = 0.8, 0.2
    pool = pool_of(proba, y=[-1] * 50 + [0] * 10)
    assert sorted(rows(pool, 50, "class_balanced_margin")) == list(range(50))
    proba = np.random.default_rng(0).dirichlet(np.full(c, 0.1), 300)
    assert len(set(rows(pool_of(proba), 20, "class_balanced_margin"))) == 20
