"""How good the model is, with the number of images it rests on and the interval that number allows.

Left out: which images may be asked (only a held-out random part gives honest figures; project and loop see to that)
and drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from labelloop.types import Ints

ENOUGH = 20
"""Images below which an accuracy is not shown: at 20 its 95 % interval is still some 35 points wide."""

Z = 1.96  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of right answers and its 95 % interval; value, low and high are 0 to 1, NaN when n is 0."""

    n: int
    correct: int
    value: float
    low: float
    high: float

    @property
    def enough(self) -> bool:
        """Whether it rests on enough images to be shown."""
        return self.n >= ENOUGH


def wilson(correct: int, n: int, z: float = Z) -> tuple[float, float]:
    """Score interval (low, high) of a share; (0, 1) when n is 0. Wilson, JASA 1927."""
    if n == 0:
        return 0.0, 1.0
    share = correct / n
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, center - half), min(1.0, center + half)


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Accuracy:
    """Share of equal class indices, with its Wilson interval. Raises ValueError when the lengths differ."""
    true, pred = _pair(y_true, y_pred)
    n, correct = len(true), int(np.count_nonzero(true == pred))
    low, high = wilson(correct, n)
    return Accuracy(n, correct, correct / n if n else float("nan"), low, high)


def confusion(y_true: ArrayLike, y_pred: ArrayLike, n_classes: int) -> Ints:
    """Counts (c, c): row = true class, column = predicted class."""
    true, pred = _pair(y_true, y_pred)
    counts = np.bincount(true * n_classes + pred, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


def macro_f1(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Mean F1 over the classes that occur in either; NaN without images. Every class counts the same, however rare."""
    true, pred = _pair(y_true, y_pred)
    if not len(true):
        return float("nan")
    counts = confusion(true, pred, int(max(true.max(), pred.max())) + 1)
    seen = counts.sum(axis=0) + counts.sum(axis=1)  # 2 tp + fp + fn
    f1 = 2 * counts.diagonal()[seen > 0] / seen[seen > 0]
    return float(f1.mean())


def area_under_curve(labels: ArrayLike, values: ArrayLike) -> float:
    """Mean height of a learning curve between its first and last label count, by trapezoids; one point: its height.

    Raises ValueError unless the label counts grow.
    """
    x, y = np.asarray(labels, float), np.asarray(values, float)
    if len(x) != len(y) or not len(x) or np.any(np.diff(x) <= 0):
        raise ValueError(f"a learning curve needs growing label counts, one for each value; got {x} and {y}")
    if len(x) == 1:
        return float(y[0])
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))


def _pair(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Ints, Ints]:
    true, pred = np.asarray(y_true, np.int64), np.asarray(y_pred, np.int64)
    if true.shape != pred.shape or true.ndim != 1:
        raise ValueError(f"{true.shape} true classes and {pred.shape} predicted ones; wanted two lists of equal length")
    return true, pred
