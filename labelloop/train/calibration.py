"""Calibration: one number that logits are multiplied by, so that of the answers given with 80 % about 80 % are right.

Fitted on held-out answers only (Guo et al., 2017, On calibration of modern neural networks). Answers that a strategy
asked for are the hard ones: folds of them made the head too modest (benchmarks/head.py), so before there are enough
held-out answers it stays as it is fitted, which head.py already corrects for.
Left out: what counts as enough, which is for learning.py to say.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.types import Ints

DOUBT = 0.5  # standard deviation of what log sharpness is thought to be before looking
RANGE = 5.0  # the logarithm is looked for between minus and plus this


def sharpness(logits: NDArray[np.floating[Any]], y: Ints) -> float:
    """What to multiply logits (n, c) by for the least log-loss on classes y (n,), with a prior that it is about 1.

    Rows whose own class has no finite logit are left out: no multiple of it would help. 1 when none are left.
    """
    from scipy.optimize import minimize_scalar

    own = np.isfinite(logits[np.arange(len(y)), y])
    Z, y = np.asarray(logits, np.float64)[own], y[own]
    Z = Z - Z.max(axis=1, keepdims=True)

    def loss(log_sharpness: float) -> float:
        scaled = Z * np.exp(log_sharpness)
        surprise = np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(y)), y]
        return float(surprise.sum()) + (log_sharpness / DOUBT) ** 2 / 2

    return float(np.exp(minimize_scalar(loss, bounds=(-RANGE, RANGE), method="bounded").x)) if len(y) else 1.0


def calibration_error(proba: NDArray[np.floating[Any]], y: Ints, bins: int = 15) -> float:
    """Expected calibration error, 0 to 1, of probabilities (n, c) for classes y (n,).

    The mean distance between how sure and how often right over bins of equal width (Naeini et al., 2015). With few rows
    it is mostly the noise of the bins.
    """
    sure, right = proba.max(axis=1), proba.argmax(axis=1) == y
    place = np.minimum((sure * bins).astype(int), bins - 1)
    gap = np.bincount(place, right - sure.astype(np.float64), minlength=bins)
    return float(np.abs(gap).sum() / len(y))
