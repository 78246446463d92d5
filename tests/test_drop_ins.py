"""The drop-ins that come with the repository: a known answer for each. test_strategies.py runs the contract on them."""

from pathlib import Path

import numpy as np
import pytest

from labelloop.errors import BadStrategy
from labelloop.strategies import choose, folder
from labelloop.types import Pool

folder.load_folder(Path(__file__).parent.parent / "strategies")


def angles(*degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1).astype(np.float32)


def make_pool(X, y, *, proba=None, again=None, **late) -> Pool:
    y = np.asarray(y)
    return Pool(
        ids=np.arange(1, len(y) + 1),
        features=np.asarray(X, np.float32),
        y=y,
        classes=("Rust", "mildew", "healthy"),
        open=y < 0,
        probabilities=None if proba is None else np.asarray(proba, np.float32),
        again=None if again is None else np.isin(np.arange(len(y)), again),
        late={name: lambda value=value: value for name, value in late.items()},
    )


def picked(pool, n, name, **settings):
    return choose(pool, n, name, np.random.default_rng(0), settings=settings).rows.tolist()


def reasons(pool, n, name, **settings):
    return choose(pool, n, name, np.random.default_rng(0), settings=settings).reasons


def refused(pool, name, **settings):
    with pytest.raises(BadStrategy) as caught:
        choose(pool, 1, name, np.random.default_rng(0), settings=settings)
    return str(caught.value)


# -- rare_first ------------------------------------------------------------------------------------------------------


def test_rare_first_wants_what_may_be_of_a_class_with_few_labels():
    proba = [[0.9, 0.1, 0], [0.1, 0.9, 0], [0.1, 0.8, 0.1]]
    pool = make_pool(angles(*range(6)), [0, 0, 1, -1, -1, -1], proba=[[1, 0, 0]] * 3 + proba)
    assert picked(pool, 3, "rare_first") == [5, 4, 3]  # no label of healthy, one of mildew, two of rust


# -- hunt ------------------------------------------------------------------------------------------------------------


def test_hunt_finds_what_is_like_its_class_and_unlike_the_others():
    pool = make_pool(angles(0, 10, 60, 80, 4, 30, 62, 90), [0, 0, 1, 2, -1, -1, -1, -1])
    assert picked(pool, 4, "hunt", target="rust") == [4, 5, 6, 7]
    assert picked(pool, 1, "hunt", target="mildew") == [6]
    assert picked(pool, 1, "hunt", target=" HEALTHY ") == [7]
    assert picked(pool, 1, "hunt") == [6]  # mildew and healthy have one label each
    assert reasons(pool, 1, "hunt", target="rust") == ["hunting Rust: 1.00 like it, 0.56 like another class"]


def test_hunt_believes_the_model_as_much_as_the_distances():
    proba = np.full((6, 3), 1 / 3)
    proba[4:] = [[0.2, 0.4, 0.4], [0.9, 0.05, 0.05]]
    pool = make_pool(angles(0, 80, 90, 10, 20, 25), [0, 1, 2, -1, -1, -1], proba=proba)
    assert picked(pool, 3, "hunt", target="rust") == [3, 5, 4]  # by distance 3, 4, 5; by the model 5, 3, 4


def test_hunt_says_what_it_cannot_hunt():
    pool = make_pool(angles(0, 10, 90), [0, 0, -1])
    assert "there is no class 'blight' to hunt for. The classes are: Rust, mildew, healthy" in refused(
        pool, "hunt", target="blight"
    )
    assert "no image is labeled 'mildew' yet" in refused(pool, "hunt", target="mildew")
    unlabeled = make_pool(angles(0, 10, 90), [-1, -1, -1])
    assert choose(unlabeled, 2, "hunt", np.random.default_rng(0)).strategy == "max_herding"


# -- like_these ------------------------------------------------------------------------------------------------------


def test_like_these_goes_towards_what_is_named_and_away_from_the_rest():
    pool = make_pool(angles(0, 40, 90, 2, 50, 88), [0, 1, 2, -1, -1, -1])
    assert picked(pool, 3, "like_these", more="rust") == [3, 4, 5]
    assert picked(pool, 3, "like_these", less="rust") == [5, 4, 3]
    assert picked(pool, 3, "like_these", more="mildew, #1") == [3, 4, 5]  # 2 degrees from one, 10 and 48 from the other
    assert picked(pool, 3, "like_these", more="2", less="Rust,healthy") == [4, 3, 5]
    assert picked(pool, 1, "like_these") == [4]  # nothing named: the least like any label
    assert reasons(pool, 1, "like_these", more="rust", less="3") == ["1.00 like rust, 0.03 like 3"]
    assert reasons(pool, 1, "like_these") == ["0.98 like the nearest label"]


def test_like_these_says_what_it_does_not_know():
    pool = make_pool(angles(0, 10, 90), [0, 0, -1])
    assert "'blight' is neither the number of an image nor a class" in refused(pool, "like_these", more="rust, blight")
    assert "'99' is neither" in refused(pool, "like_these", less="99")
    assert "no image is labeled 'mildew' yet" in refused(pool, "like_these", less="mildew")


# -- ask_again -------------------------------------------------------------------------------------------------------


def test_ask_again_asks_what_is_doubtful_then_what_is_new_and_nothing_a_third_time():
    """Row 0 is certain, rows 1 and 2 are doubtful, row 3 is too but was asked about twice."""
    proba = [[0.1, 0.8, 0.1]] * 4 + [[0.6, 0.4, 0.0], [0.5, 0.5, 0.0]]
    doubts = np.array([0.1, 0.95, 1.0, 1.0, np.nan, np.nan], np.float32)
    pool = make_pool(angles(*range(6)), [0, 0, 2, 1, -1, -1], proba=proba, again=[0, 1, 2], doubts=doubts)
    assert picked(pool, 9, "ask_again") == [2, 1, 5, 4]
    assert picked(pool, 9, "ask_again", least_doubt=0.05) == [2, 1, 0, 5, 4]
    words = reasons(pool, 3, "ask_again")
    assert words == ["asked once more: the first answer is in doubt"] * 2 + ["unsure: Rust 50 %, mildew 50 %"]


def test_ask_again_leaves_answers_alone_while_there_is_no_model():
    pool = make_pool(angles(*range(6)), [0, 0, 0, 0, -1, -1], again=[0, 1, 2, 3], doubts=np.ones(6, np.float32))
    chosen = choose(pool, 9, "ask_again", np.random.default_rng(0))
    assert (chosen.strategy, sorted(chosen.rows.tolist())) == ("max_herding", [4, 5])
    nothing_new = make_pool(angles(0, 1), [0, 0], again=[0, 1], doubts=np.ones(2, np.float32))
    assert picked(nothing_new, 9, "ask_again") == []


# -- spread_over_groups ----------------------------------------------------------------------------------------------


def test_groups_with_the_fewest_labels_take_turns():
    groups = np.array([0, 0, 1, 0, 0, 1, 1, 2])
    proba = np.zeros((8, 3))
    proba[:, 0] = [1, 1, 1, 0.9, 0.6, 0.7, 0.8, 0.99]  # the lower, the more doubtful
    proba[:, 1] = 1 - proba[:, 0]
    pool = make_pool(angles(*range(8)), [0, 0, 1, -1, -1, -1, -1, -1], proba=proba, groups=groups)
    # Group 2 has no label, group 1 has one, group 0 two; row 6 would be the third of group 1, like row 4 of group 0.
    assert picked(pool, 5, "spread_over_groups") == [7, 5, 4, 6, 3]
    assert reasons(pool, 2, "spread_over_groups") == ["its group has 0 of 3 labels", "its group has 1 of 3 labels"]


def test_before_a_model_the_image_of_a_group_is_the_one_unlike_the_labels():
    pool = make_pool(angles(0, 5, 90, 180), [0, -1, -1, -1], groups=np.array([0, 1, 1, 0]))
    assert picked(pool, 3, "spread_over_groups") == [2, 3, 1]


def test_groups_may_be_found_in_paths():
    paths = ["day1/cam_a.jpg", "day1/cam_b.jpg", "day2/cam_a.jpg", "day2/cam_b.jpg", "other.jpg"]
    pool = make_pool(angles(0, 10, 20, 30, 40), [0, -1, -1, -1, -1], paths=paths, groups=np.zeros(5, int))
    assert picked(pool, 4, "spread_over_groups", pattern=r"cam_(\w)") == [4, 3, 2, 1]
    assert picked(pool, 4, "spread_over_groups", pattern="day2") == [3, 4, 2, 1]
    assert "'(' is no regular expression" in refused(pool, "spread_over_groups", pattern="(")
    assert "finds nothing in any path; the first one is 'day1/cam_a.jpg'" in refused(
        pool, "spread_over_groups", pattern="patient"
    )


# -- value_per_second ------------------------------------------------------------------------------------------------


def test_of_two_equal_doubts_the_quick_one_comes_first():
    proba = np.zeros((24, 3))
    proba[:10, 0] = proba[10:20, 1] = 1
    proba[20:] = [[0.5, 0, 0.5], [0, 0.5, 0.5], [0.9, 0.1, 0.0], [0.0, 0.9, 0.1]]
    seconds = np.array([1.0] * 10 + [8.0] * 10 + [np.nan] * 4, np.float32)  # rust is quick, mildew slow
    pool = make_pool(angles(*range(24)), [0] * 10 + [1] * 10 + [-1] * 4, proba=proba, seconds=seconds)
    assert picked(pool, 4, "value_per_second") == [20, 21, 22, 23]
    # Logarithms of 1.5 and 8.5 seconds, each class of 10 answers shrunk to the mean as if by 5 more.
    quick, slow = np.log(1.5), np.log(8.5)
    mean = (quick + slow) / 2
    rust, healthy = np.exp((10 * quick + 5 * mean) / 15), np.exp(mean)
    chosen = choose(pool, 1, "value_per_second", np.random.default_rng(0))
    assert chosen.scores[0] == pytest.approx(1 / (0.5 * rust + 0.5 * healthy))
    assert chosen.reasons == [f"value 1.00 for about {0.5 * rust + 0.5 * healthy:.1f} s"]


def test_without_times_only_the_doubt_counts_and_an_absence_counts_as_the_longest():
    proba = [[1, 0, 0], [0, 1, 0], [0.6, 0.4, 0], [0.5, 0.5, 0]]
    unknown = make_pool(angles(*range(4)), [0, 1, -1, -1], proba=proba, seconds=np.full(4, np.nan, np.float32))
    assert picked(unknown, 2, "value_per_second") == [3, 2]
    away = np.array([10_000, 60, np.nan, np.nan], np.float32)
    late = make_pool(angles(*range(4)), [0, 1, -1, -1], proba=proba, seconds=away)
    chosen = choose(late, 1, "value_per_second", np.random.default_rng(0))
    assert chosen.scores[0] == pytest.approx(1 / 60.5)
    assert "longest is -1 s; wanted more than 0, such as 60" in refused(late, "value_per_second", longest=-1.0)
