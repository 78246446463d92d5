"""simulate(): the same core as the loop, known answers, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from labelloop import strategies
from labelloop.errors import BadInput
from labelloop.simulate import simulate
from labelloop.strategies import registry
from labelloop.train.head import fit_head
from labelloop.train.neighbours import graph
from labelloop.train.spreading import fit_spread
from labelloop.types import Pool


def photos(n: int, c: int = 3, d: int = 8, seed: int = 0, noise: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) of unit length around c directions, and their classes (n,), every one of which occurs."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % c)
    directions = np.random.default_rng(99).normal(size=(c, d))
    X = directions[y] + noise * np.sqrt(d) * rng.normal(size=(n, d)) / 2
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32), y


TRAIN, TEST = photos(150), photos(60, seed=1)


def play(strategy: str = "random", X=TRAIN[0], y=TRAIN[1], budgets=(10, 20), **options) -> list[dict]:
    return simulate(X, y, strategy, budgets=budgets, **{"test_features": TEST[0], "test_y": TEST[1], **options})


def without_seconds(curve: list[dict]) -> list[dict]:
    return [{key: value for key, value in point.items() if not key.endswith("_seconds")} for point in curve]


@pytest.fixture
def register():
    """Makes functions strategies for the length of a test."""
    made: list[str] = []

    def one(function):
        made.append(function.__name__)
        return strategies.strategy(function)

    yield one
    registry.replace(__name__, {})
    assert not set(made) & set(strategies.names())


# -- what it gives ----------------------------------------------------------------------------------------------------


def test_a_point_has_these_values():
    curve = play(budgets=[5, 20, 21])
    assert [list(point) for point in curve] == [
        ["labels", "accuracy", "macro_accuracy", "select_seconds", "fit_seconds", "picked"]
    ] * 3
    assert [point["labels"] for point in curve] == [5, 20, 21]
    assert [len(point["picked"]) for point in curve] == [5, 20, 21]
    for before, after in pairwise(curve):
        assert after["picked"][: len(before["picked"])] == before["picked"]
    assert len(set(curve[-1]["picked"])) == 21
    assert min(point["select_seconds"] for point in curve) > 0
    assert "NaN" not in json.dumps(curve)


def test_without_guesses_the_head_learns_from_the_labels_alone():
    for point in play(budgets=[20, 40], guesses=False):
        rows = point["picked"]
        head = fit_head(TRAIN[0][rows], TRAIN[1][rows], len(np.unique(TRAIN[1])))
        assert point["accuracy"] == (head.predict_proba(TEST[0]).argmax(axis=1) == TEST[1]).mean()


def _known(y, picked):
    known = np.full(len(y), -1)
    known[picked] = y[picked]
    return known


@pytest.mark.parametrize("name", ["auto", "margin", "random"])
def test_its_picks_are_those_of_choose_called_by_hand(name):
    (X, y), rng = TRAIN, np.random.default_rng(4)
    picked, probabilities = [], None
    for n in (7, 7, 1, 7, 3):  # batches of 7, cut at the budgets 15 and 25
        is_open = np.ones(len(y), bool)
        is_open[picked] = False
        pool = Pool(
            ids=np.arange(len(y)),
            features=X,
            y=np.where(is_open, -1, y),
            classes=("0", "1", "2"),
            open=is_open,
            probabilities=probabilities,
            skipped=np.zeros(len(y), bool),
        )
        picked += strategies.choose(pool, n, name, rng).rows.tolist()
        probabilities = fit_spread(graph(X, np.arange(len(X)), 3), X, _known(y, picked), 3).predict_proba(X)
    assert play(name, budgets=[15, 25], batch=7, seed=4)[-1]["picked"] == picked


def test_the_curve_of_random_is_that_of_the_head_on_the_same_rows():
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    test_y = np.where(np.arange(60) < 20, TEST[1], 0)  # classes of unlike size
    X, y = TRAIN
    for point in play(budgets=[20, 60, 120], test_y=test_y, seed=3):
        head = fit_spread(graph(X, np.arange(len(X)), 3), X, _known(y, point["picked"]), 3)
        guess = head.predict_proba(TEST[0]).argmax(1)
        assert point["accuracy"] == accuracy_score(test_y, guess)
        assert point["macro_accuracy"] == pytest.approx(balanced_accuracy_score(test_y, guess))


def test_features_of_any_length_are_scaled_to_one():
    stretched = TRAIN[0] * np.linspace(0.5, 20, len(TRAIN[0]))[:, None]
    one, other = play("margin"), play("margin", X=stretched)
    assert [point["picked"] for point in one] == [point["picked"] for point in other]


def test_settings_and_late_readings_reach_the_strategy(register):
    @register
    def by_path(pool, n, rng, *, sign: float = 1.0):
        """The paths decide."""
        return sign * np.array([float(path) for path in pool.paths])

    late = {"paths": lambda: [str(k) for k in range(150)]}
    assert play("by_path", budgets=[3], late=late)[0]["picked"] == [149, 148, 147]
    assert play("by_path", budgets=[3], late=late, settings={"sign": -1.0})[0]["picked"] == [0, 1, 2]
    with pytest.raises(BadInput, match="margin has no setting 'sign'"):
        play("margin", settings={"sign": -1.0})


# -- where pools end --------------------------------------------------------------------------------------------------


def test_budgets_beyond_the_pool_end_with_what_there_is():
    curve = play(budgets=[100, 200, 300])
    assert [point["labels"] for point in curve] == [100, 150]
    assert sorted(curve[-1]["picked"]) == list(range(150))


def test_a_budget_that_is_the_pool_is_the_last():
    assert [point["labels"] for point in play(budgets=[100, 150, 151])] == [100, 150]


@pytest.mark.parametrize("name", ["auto", "random"])
def test_a_batch_larger_than_the_pool(name):
    curve = play(name, budgets=[500], batch=1000)
    assert [point["labels"] for point in curve] == [150]


def test_a_pool_of_one():
    curve = play("auto", X=TRAIN[0][:1], y=TRAIN[1][:1], budgets=[5, 10])
    assert [(point["labels"], point["picked"]) for point in curve] == [(1, [0])]
    assert curve[0]["accuracy"] == np.mean(TEST[1] == TRAIN[1][0])  # the only class it knows


def test_a_strategy_that_offers_no_more_ends_the_curve(register):
    @register
    def first_twelve(pool, n, rng):
        """The first twelve."""
        return np.where(np.arange(len(pool)) < 12, 1.0, -np.inf)

    assert [point["labels"] for point in play("first_twelve", budgets=[10, 20, 30])] == [10, 12]


def test_skipped_rows_cost_a_label_and_teach_nothing():
    y = TRAIN[1].copy()
    y[::2] = -1
    curve = play(y=y, budgets=[40, 150], seed=2)
    assert [point["labels"] for point in curve] == [40, 150]
    known = [row for row in curve[0]["picked"] if y[row] >= 0]
    assert 0 < len(known) < 40
    skipped = np.array([row for row in curve[0]["picked"] if y[row] < 0])
    head = fit_spread(graph(TRAIN[0], np.arange(150), 3), TRAIN[0], _known(y, known), 3, skipped)
    assert curve[0]["accuracy"] == np.mean(head.predict_proba(TEST[0]).argmax(1) == TEST[1])


def test_a_strategy_that_offers_nothing_has_no_curve(register):
    @register
    def never(pool, n, rng):
        """Nothing."""
        return np.full(len(pool), -np.inf)

    assert play("never") == []


def test_a_strategy_sees_which_rows_were_skipped(register):
    seen = []

    @register
    def watch(pool, n, rng):
        """Row by row."""
        seen.append((pool.labeled.tolist(), np.flatnonzero(pool.skipped).tolist()))
        return -np.arange(len(pool), dtype=float)

    play("watch", y=np.where(np.arange(150) % 2, TRAIN[1], -1), budgets=[6], batch=2)
    assert seen == [([], []), ([1], [0]), ([1, 3], [0, 2])]


def test_all_rows_skipped():
    curve = play("auto", y=np.full(150, -1), budgets=[10, 20])
    assert [point["labels"] for point in curve] == [10, 20]
    assert curve[0]["accuracy"] == np.mean(TEST[1] == 0)  # it knows nothing and says the first class


@pytest.mark.parametrize("name", ["auto", "margin", "random"])
def test_one_class(name):
    curve = play(name, y=np.ones(150, int), budgets=[10, 30])
    assert [point["accuracy"] for point in curve] == [np.mean(TEST[1] == 1)] * 2
    assert [point["macro_accuracy"] for point in curve] == [pytest.approx(1 / 3)] * 2


@pytest.mark.parametrize("c", [2, 1000])
@pytest.mark.parametrize("name", ["auto", "margin"])
def test_two_and_a_thousand_classes(name, c):
    X, y = photos(1200, c, d=16)
    test_X, test_y = photos(1000, c, d=16, seed=1)
    curve = simulate(X, y, name, budgets=[4, 44], test_features=test_X, test_y=test_y, batch=20)
    assert [point["labels"] for point in curve] == [4, 44]
    assert all(0 <= point["accuracy"] <= 1 for point in curve)
    assert curve[-1]["accuracy"] > 1 / c


# -- the same again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["auto", "margin", "random"])
def test_the_same_seed_gives_the_same_curve_and_another_seed_another(name):
    one, again, other = (without_seconds(play(name, seed=seed)) for seed in (5, 5, 6))
    assert one == again
    if name == "random":
        assert one != other


def test_the_arrays_given_are_left_as_they_are():
    X, y = TRAIN[0] * 3, TRAIN[1].copy()
    before = X.copy(), y.copy()
    play("auto", X=X, y=y)
    assert np.array_equal(X, before[0])
    assert np.array_equal(y, before[1])


THREADS = """
import json
from tests.test_simulate import photos, simulate
(X, y), (test_X, test_y) = photos(3000, 10, 64), photos(500, 10, 64, seed=1)
curve = simulate(X, y, "auto", budgets=[20, 60], test_features=test_X, test_y=test_y)
print(json.dumps([[point["accuracy"], point["picked"]] for point in curve]))
"""


def test_one_and_two_blas_threads_give_the_same_curve():
    said = [
        subprocess.run(
            [sys.executable, "-c", THREADS], cwd=Path(__file__).parent.parent,
            env=os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads),
            capture_output=True, text=True, check=True,
        ).stdout
        for threads in ("1", "2")
    ]  # fmt: skip
    assert json.loads(said[0])[-1][0] > 0.2
    assert said[0] == said[1]


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_rows_without_usable_features_are_refused_by_number(bad):
    X = TRAIN[0].copy()
    X[[3, 77]] = bad
    with pytest.raises(BadInput, match="rows 3, 77 have NaN, infinity or only zeros"):
        play(X=X)
    with pytest.raises(BadInput, match="rows 3, 77 have NaN, infinity or only zeros"):
        play(test_features=X, test_y=TRAIN[1])


def test_many_bad_rows_are_counted():
    with pytest.raises(BadInput, match="rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 140 more have NaN"):
        play(X=np.zeros((150, 8)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budgets": []}, "wanted label counts that grow"),
        ({"budgets": [20, 10]}, "wanted label counts that grow"),
        ({"budgets": [10, 10]}, "wanted label counts that grow"),
        ({"budgets": [0, 10]}, "wanted label counts that grow"),
        ({"budgets": 10}, "budgets 10: wanted label counts that grow"),
        ({"budgets": [10.5]}, "wanted label counts that grow"),
        ({"budgets": [[10], [20]]}, "wanted label counts that grow"),
        ({"batch": 0}, "batch 0: wanted a whole number of at least 1"),
        ({"batch": 2.5}, "batch 2.5: wanted a whole number of at least 1"),
        ({"seed": -1}, "seed -1: wanted a whole number of at least 0"),
        ({"seed": None}, "seed None: wanted a whole number"),
        (
            {"y": [f"class {k}" for k in TRAIN[1]]},
            r"labels of type <U7, such as .*'class .*numpy.unique\(names, return_inverse=True\)",
        ),
        ({"y": TRAIN[1].astype(str)}, "wanted whole numbers: class indices"),
        ({"y": TRAIN[1] + 0.5}, "labels of type float64"),
        ({"y": TRAIN[1] + 20261122}, r"class index 20261124: .* numpy.unique\(numbers, return_inverse=True\)"),
        ({"y": TRAIN[1] + 2**62}, "there would be as many classes"),
        ({"y": TRAIN[1] - 2}, "label -2; wanted class indices 0, 1, 2, …, or -1 for none"),
        ({"y": [None] * 150}, "labels of type object, such as None"),
        ({"X": np.empty((0, 8)), "y": []}, "no images to choose from"),
        ({"X": [[1.0, 2.0], [3.0]], "y": [0, 1]}, "features that are no numbers, or not as many for each image"),
        ({"X": [["a", "b"]] * 150}, "features that are no numbers"),
        ({"X": TRAIN[0].astype(float) * 1e200}, "rows 0, 1, .* and 140 more have NaN, infinity or only zeros"),
        ({"classes": 3}, "classes 3; wanted a name for each class"),
        ({"classes": "abc"}, "classes 'abc'; wanted a name for each class"),
        ({"strategy": None}, "no strategy is called None"),
        ({"strategy": print}, "wanted a name"),
        ({"y": TRAIN[1][:-1]}, r"150 rows of features and labels of shape \(149,\)"),
        ({"X": TRAIN[0][0]}, r"features of shape \(8,\); wanted \(images, features\)"),
        ({"test_features": TEST[0][:, :5]}, "8 features an image in the pool, 5 in the test set"),
        ({"test_features": TEST[0][:0], "test_y": []}, "0 test images"),
        ({"test_y": np.where(TEST[1] == 2, -1, TEST[1])}, "60 test images, 20 of them without a class"),
        ({"classes": ["a", "b"]}, "class index 2, but there are 2 classes"),
        ({"strategy": "margn"}, "did you mean 'margin'"),
    ],
)
def test_what_does_not_fit_is_refused(options, said):
    with pytest.raises(BadInput, match=said):
        play(**options)
