"""How sure a head may be, and how far it leans towards common classes."""

import numpy as np
import pytest

from labelloop.train.calibration import Calibration, calibrate, calibration_error, how_common


def answers(n: int, by: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, 3) that would be right multiplied by `by`, and classes (n,) drawn accordingly."""
    rng = np.random.default_rng(seed)
    true = 2 * rng.normal(size=(n, 3))
    proba = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    return true / by, np.array([rng.choice(3, p=p) for p in proba])


@pytest.mark.parametrize("by", [0.5, 1.0, 3.0])
def test_it_finds_what_the_logits_are_too_small_or_too_large_by(by):
    assert calibrate(*answers(4000, by)).sharpness == pytest.approx(by, rel=0.08)


def test_few_answers_move_it_less_than_many():
    few, many = (calibrate(*answers(n, 3.0)).sharpness for n in (10, 4000))
    assert 1 < few < many


def test_answers_that_are_all_right_do_not_make_it_endlessly_sure():
    logits = np.eye(3)[np.arange(60) % 3]
    assert 1 < calibrate(logits, np.arange(60) % 3).sharpness < 20


def test_answers_of_a_class_that_was_never_learned_make_it_less_sure():
    logits, y = answers(500, 1.0)
    logits = np.concatenate([logits, np.full((500, 1), -np.inf)], axis=1)
    without = calibrate(logits, y).sharpness
    y[:100] = 3
    found = calibrate(logits, y).sharpness
    assert 0 < found < 0.8 * without
    sure = softmax(found * logits).max(axis=1).mean()
    assert sure == pytest.approx((logits.argmax(axis=1) == y).mean(), abs=0.06)
    assert 0 < calibrate(1000 * logits, y).sharpness < 1


def test_without_answers_all_stays_as_it_is():
    assert calibrate(np.zeros((0, 3)), np.zeros(0, int)) == Calibration(sharpness=1.0, leaning=0.0)


SHARES = np.array([0.7, 0.25, 0.05])


def uneven(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, 3) of a head that takes all classes for equally common, and classes (n,) that are not."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=SHARES)
    centres = 1.5 * np.eye(3)
    X = centres[y] + rng.normal(size=(n, 3))
    return X @ centres.T, y  # log p(X | class), but for what is the same for all classes


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_images_without_labels_tell_how_common_classes_are():
    logits, _ = uneven(4000)
    assert np.exp(how_common(softmax(logits))) == pytest.approx(SHARES, abs=0.02)


def test_a_class_that_no_image_is_of_is_rare_and_not_impossible():
    proba = np.tile([0.9, 0.1, 0.0], (500, 1))
    assert np.exp(how_common(proba))[2] == pytest.approx(1 / 503, rel=1e-3)


def test_it_leans_as_far_as_classes_are_uneven():
    logits, y = uneven(4000)
    found = calibrate(logits, y, np.log(SHARES))
    assert found.sharpness == pytest.approx(1, rel=0.08)
    assert found.leaning == pytest.approx(1, abs=0.08)
    before, after = ((Z.argmax(axis=1) == y).mean() for Z in (logits, logits + found.leaning * np.log(SHARES)))
    assert after > before + 0.05


def test_it_leans_less_where_fewer_answers_say_so_and_not_where_none_do():
    few = calibrate(*uneven(20), np.log(SHARES)).leaning
    many = calibrate(*uneven(2000), np.log(SHARES)).leaning
    assert 0 < few < many
    logits, y = uneven(2000)
    alike = np.concatenate([np.flatnonzero(y == k)[:60] for k in range(3)])
    assert calibrate(logits[alike], y[alike], np.log(SHARES)).leaning < 0.2
    assert calibrate(logits, y).leaning == 0


def test_calibration_error_of_known_answers():
    proba = np.array([[0.9, 0.1]] * 10 + [[0.4, 0.6]] * 10)
    y = np.array([0] * 9 + [1] + [1] * 6 + [0] * 4)
    assert calibration_error(proba, y) == pytest.approx(0)
    assert calibration_error(proba, np.array([0] * 10 + [1] * 10)) == pytest.approx(0.25)
