"""How sure a head may be."""

import numpy as np
import pytest

from labelloop.train.calibration import calibration_error, sharpness


def answers(n: int, by: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, 3) that would be right multiplied by `by`, and classes (n,) drawn accordingly."""
    rng = np.random.default_rng(seed)
    true = 2 * rng.normal(size=(n, 3))
    proba = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    return true / by, np.array([rng.choice(3, p=p) for p in proba])


@pytest.mark.parametrize("by", [0.5, 1.0, 3.0])
def test_it_finds_what_the_logits_are_too_small_or_too_large_by(by):
    assert sharpness(*answers(4000, by)) == pytest.approx(by, rel=0.08)


def test_few_answers_move_it_less_than_many():
    few, many = (sharpness(*answers(n, 3.0)) for n in (10, 4000))
    assert 1 < few < many


def test_answers_that_are_all_right_do_not_make_it_endlessly_sure():
    logits = np.eye(3)[np.arange(60) % 3]
    assert 1 < sharpness(logits, np.arange(60) % 3) < 20


def test_a_class_that_was_never_learned_is_left_out():
    logits, y = answers(500, 2.0)
    logits = np.concatenate([logits, np.full((500, 1), -np.inf)], axis=1)
    with_it = np.concatenate([logits, logits[:50]]), np.concatenate([y, np.full(50, 3)])
    assert sharpness(*with_it) == sharpness(logits, y)
    assert sharpness(logits, np.full(500, 3)) == 1.0


def test_calibration_error_of_known_answers():
    proba = np.array([[0.9, 0.1]] * 10 + [[0.4, 0.6]] * 10)
    y = np.array([0] * 9 + [1] + [1] * 6 + [0] * 4)
    assert calibration_error(proba, y) == pytest.approx(0)
    assert calibration_error(proba, np.array([0] * 10 + [1] * 10)) == pytest.approx(0.25)
