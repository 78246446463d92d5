import numpy as np
import pytest

from labelloop.metrics import ENOUGH, accuracy, area_under_curve, confusion, macro_f1, wilson


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (93, 100, 0.8625, 0.9657),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (500, 1000, 0.4691, 0.5309),
    ],
)
def test_wilson_agrees_with_published_values(correct, n, low, high):
    assert wilson(correct, n) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


def test_wilson_of_nothing_is_anything():
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilson_narrows_with_a_smaller_z():
    assert wilson(93, 100, z=1.0) == (pytest.approx(0.9000, abs=6e-5), pytest.approx(0.9515, abs=6e-5))


def test_wilson_holds_the_truth_as_often_as_it_says():
    correct = np.random.default_rng(0).binomial(40, 0.9, size=4000)
    intervals = [wilson(int(k), 40) for k in correct]
    assert 0.93 < np.mean([low <= 0.9 <= high for low, high in intervals]) < 0.97


def test_accuracy_says_on_how_many_images_it_rests():
    result = accuracy([0, 1, 2, 2], [0, 1, 2, 0])
    assert (result.n, result.correct, result.value) == (4, 3, 0.75)
    assert (round(result.low, 3), round(result.high, 3)) == (0.301, 0.954)
    assert not result.enough


def test_accuracy_is_enough_from_twenty_images_on():
    assert ENOUGH == 20
    assert not accuracy([0] * 19, [0] * 19).enough
    assert accuracy([0] * 20, [0] * 20).enough


def test_accuracy_of_no_images():
    result = accuracy([], [])
    assert (result.n, result.correct, result.low, result.high) == (0, 0, 0.0, 1.0)
    assert np.isnan(result.value)


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\) true classes and \(3,\) predicted"):
        accuracy([0, 1], [0, 1, 1])


def test_confusion_has_true_classes_in_rows():
    assert confusion([0, 0, 1, 2], [0, 1, 1, 0], 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert confusion([], [], 2).tolist() == [[0, 0], [0, 0]]


def test_macro_f1_counts_every_class_the_same():
    assert macro_f1([0, 0, 0, 1], [0, 0, 0, 0]) == pytest.approx((6 / 7 + 0) / 2)
    assert macro_f1([0, 2], [0, 2]) == 1.0  # class 1 does not occur
    assert np.isnan(macro_f1([], []))


def test_macro_f1_and_confusion_agree_with_scikit_learn():
    from sklearn.metrics import confusion_matrix, f1_score

    true, pred = np.random.default_rng(0).integers(0, 5, (2, 200))
    assert macro_f1(true, pred) == pytest.approx(f1_score(true, pred, average="macro"))
    assert confusion(true, pred, 5).tolist() == confusion_matrix(true, pred).tolist()


def test_area_under_a_learning_curve_is_its_mean_height():
    assert area_under_curve([10, 20, 40], [0.5, 0.7, 0.9]) == pytest.approx((0.6 * 10 + 0.8 * 20) / 30)
    assert area_under_curve([10], [0.5]) == 0.5


def test_a_learning_curve_must_grow():
    with pytest.raises(ValueError, match="growing label counts"):
        area_under_curve([10, 10], [0.5, 0.6])
