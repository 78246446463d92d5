"""Learning curves against known answers, and the bootstrap against scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from labelloop.curves import (
    Curves,
    area_difference,
    collect,
    differences,
    labels_saved,
    labels_to_reach,
    paired_interval,
)
from labelloop.errors import BadInput


def curves(*rows: list[float], labels: tuple[int, ...] = (10, 20, 40), seeds: tuple[int, ...] | None = None) -> Curves:
    return Curves(np.array(labels), np.array(rows), seeds or tuple(range(len(rows))))


def points(*shares: tuple[int, float]) -> list[dict[str, float]]:
    return [{"labels": labels, "accuracy": share, "macro_accuracy": share / 2} for labels, share in shares]


def test_mean_spread_and_area():
    both = curves([0.2, 0.4, 0.8], [0.4, 0.6, 0.8])
    assert both.mean == pytest.approx([0.3, 0.5, 0.8])
    assert both.sd == pytest.approx([math.sqrt(0.02), math.sqrt(0.02), 0])
    assert both.areas == pytest.approx([(0.3 * 10 + 0.6 * 20) / 30, (0.5 * 10 + 0.7 * 20) / 30])


def test_one_seed_has_no_spread():
    assert np.isnan(curves([0.2, 0.4, 0.8]).sd).tolist() == [True, True, True]


def test_curves_are_collected_at_the_label_counts_that_every_seed_reached():
    found = collect({7: points((10, 0.5), (20, 0.75)), 3: points((10, 0.25), (20, 0.5), (30, 1.0))})
    assert (found.labels.tolist(), found.seeds) == ([10, 20], (3, 7))
    assert found.values.tolist() == [[0.25, 0.5], [0.5, 0.75]]
    assert collect({3: points((10, 0.25))}, "macro_accuracy").values.tolist() == [[0.125]]


@pytest.mark.parametrize("played", [{}, {0: []}, {0: points((10, 0.5)), 1: points((20, 0.5))}])
def test_curves_without_a_common_label_count_are_refused(played):
    with pytest.raises(BadInput, match="no label count in common"):
        collect(played)


# -- differences ------------------------------------------------------------------------------------------------------


def test_the_interval_is_that_of_scipys_percentile_bootstrap():
    values = np.random.default_rng(5).normal(0.02, 0.03, 12)
    ours = paired_interval(values, resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert (ours.mean, ours.n) == (pytest.approx(values.mean()), 12)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.0005)


def test_the_interval_is_that_of_a_plain_bootstrap_with_the_same_draws():
    values = [0.1, -0.2, 0.4]
    rng = np.random.default_rng(9)
    means = [sum(values[k] for k in row) / 3 for row in rng.integers(0, 3, (2000, 3)).tolist()]
    found = paired_interval(values, resamples=2000, seed=9)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))


def test_the_same_differences_have_the_same_interval_again():
    assert paired_interval([0.1, 0.2, 0.5]) == paired_interval([0.1, 0.2, 0.5])


def test_equal_differences_have_an_interval_without_width():
    found = paired_interval([0.25, 0.25, 0.25])
    assert (found.mean, found.low, found.high, found.n) == (0.25, 0.25, 0.25, 3)


def test_one_seed_has_no_interval():
    found = paired_interval([0.25])
    assert (found.mean, found.n) == (0.25, 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_pairing_takes_away_what_seeds_have_in_common():
    base = np.array([0.3, 0.5, 0.9])
    a, b = (curves(*[[share + add] * 3 for share in base]) for add in (0.01, 0.0))
    assert {n: round(gap.high - gap.low, 12) for n, gap in differences(a, b).items()} == {10: 0, 20: 0, 40: 0}
    assert area_difference(a, b).mean == pytest.approx(0.01)


def test_only_seeds_and_label_counts_that_both_have_are_compared():
    a = curves([0.5, 0.7, 0.9], [0.1, 0.1, 0.1], seeds=(1, 2))
    b = curves([0.9, 0.9], [0.4, 0.4], labels=(20, 40), seeds=(5, 1))
    found = differences(a, b)
    assert {n: (round(gap.mean, 9), gap.n) for n, gap in found.items()} == {20: (0.3, 1), 40: (0.5, 1)}
    assert area_difference(a, b).mean == pytest.approx(0.4)


def test_strategies_with_no_seed_in_common_are_not_compared():
    with pytest.raises(BadInput, match=r"seeds \(0,\) at .* and seeds \(4,\)"):
        differences(curves([0.5, 0.7, 0.9]), curves([0.5, 0.7, 0.9], seeds=(4,)))


# -- labels saved -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "labels"),
    [(0.5, 10), (0.4, 10), (0.6, 15), (0.7, 20), (0.8, 40), (0.81, math.inf)],
    ids=["first point", "below it", "between", "a point", "last point", "never"],
)
def test_labels_to_reach(accuracy, labels):
    assert labels_to_reach([10, 20, 40], [0.5, 0.7, 0.8], accuracy) == pytest.approx(labels)


def test_the_first_time_counts_where_a_curve_falls_again():
    assert labels_to_reach([10, 20, 40, 80], [0.2, 0.6, 0.4, 0.8], 0.5) == pytest.approx(17.5)


def test_labels_saved_at_equal_accuracy():
    auto = curves([0.4, 0.8, 0.9], [0.6, 0.8, 0.9])
    rand = curves([0.2, 0.4, 0.5], [0.2, 0.4, 0.7])
    found = labels_saved(auto, rand, "random", 40)
    assert (found.accuracy, found.n) == (pytest.approx(0.6), 2)
    assert found.needed == pytest.approx(10 + 10 / 3)  # the mean goes from 0.5 to 0.8
    # twice the first seed: 0.5 between 0.4 and 0.8; twice the second: 0.7 between 0.6 and 0.8
    assert (found.low, found.high) == (pytest.approx(12.5), pytest.approx(15))
    assert str(found) == "reaches random's 60.0 % at 40 labels with 13 (33 %)"


def test_an_accuracy_that_is_never_reached_is_said():
    found = labels_saved(curves([0.2, 0.4, 0.6]), curves([0.2, 0.4, 0.7]), "random", 40)
    assert str(found) == "does not reach random's 70.0 % at 40 labels with 40"


def test_label_counts_that_were_not_played_are_refused():
    with pytest.raises(BadInput, match=r"no accuracy at \[30\] labels; there is one at \[10, 20, 40\]"):
        labels_saved(curves([0.2, 0.4, 0.6]), curves([0.2, 0.4, 0.7]), "random", 30)
