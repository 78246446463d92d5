"""Calibration: how sure the head may be, and how far it should lean towards classes that are common.

Two numbers, fitted on held-out answers only: one that logits are multiplied by, so that of the answers given with 80 %
about 80 % are right (Guo et al., 2017, On calibration of modern neural networks), and one for how common classes are.
The head weighs all classes alike, so that rare ones are not drowned; where classes overlap, that makes it take many
images of common classes for rare ones. How common each is, the images without labels tell.

Answers that a strategy asked for are the hard ones: folds of them made the head too modest (benchmarks/head.py), so
before there are enough held-out answers it stays as it is fitted, which head.py already corrects for.
Left out: what counts as enough, which is for learning.py to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.cores import one_thread
from labelloop.types import Floats, Ints

DOUBT = 0.5  # standard deviation of what log sharpness, and leaning, are thought to be before looking
RANGE = 5.0  # the logarithm of sharpness is looked for between minus and plus this
LEAST = 1e-300  # odds of being wrong, so that their logarithm is finite
ROUNDS = 30  # of asking again how common classes are


@dataclass(frozen=True, slots=True)
class Calibration:
    """What to make of logits: multiply by `sharpness`, then add `leaning` times how common each class is."""

    sharpness: float = 1.0
    leaning: float = 0.0  # 0: all classes alike; 1: each as common as it seems


def calibrate(logits: NDArray[np.floating[Any]], y: Ints, common: Floats | None = None) -> Calibration:
    """What makes classes y (n,) of logits (n, c) likeliest, thought before to be about 1 and about 0.

    `common` (c,) are the logarithms of how common classes are; without, nothing leans. Of a row whose own class the
    head does not know (its logit is not finite) it counts that what the head takes it for is wrong.
    """
    from scipy.optimize import minimize

    Z = np.asarray(logits, np.float64)
    Z = Z - Z.max(axis=1, keepdims=True)
    towards = np.zeros(Z.shape[1]) if common is None else np.asarray(common, np.float64)
    rows = np.arange(len(y))
    known = np.isfinite(Z[rows, y])

    def loss(at: NDArray[np.float64]) -> float:
        scaled = Z * np.exp(at[0]) + at[1] * towards
        scaled -= scaled.max(axis=1, keepdims=True)
        odds = np.exp(scaled)
        total = odds.sum(axis=1)
        odds[rows, scaled.argmax(axis=1)] = 0  # what is left is that it is wrong
        happened = np.where(known, scaled[rows, y], np.log(np.maximum(odds.sum(axis=1), LEAST)))
        return float((np.log(total) - happened).sum()) + float((at**2).sum()) / (2 * DOUBT**2)

    log_sharpness, leaning = minimize(loss, (0.0, 0.0), bounds=((-RANGE, RANGE), (0.0, 1.0))).x
    return Calibration(float(np.exp(log_sharpness)), float(leaning))


def how_common(proba: NDArray[np.floating[Any]]) -> Floats:
    """The logarithm of each class's share (c,) of images, by a head that takes all classes for equally common.

    proba (n, c) is what it says. Shares that fit what they make of it are found by making it of them again and again
    (Saerens, Latinne, Decaestecker, 2002, Adjusting the outputs of a classifier to new a priori probabilities). One
    more image of each class keeps them from zero.
    """
    n, c = proba.shape
    P, share = np.asarray(proba, np.float32), np.full(c, 1 / c, np.float32)
    with one_thread():  # the same digits on any number of threads
        for _ in range(ROUNDS):
            leant = share * (P.T @ (1 / np.maximum(P @ share, 1e-12)))  # images of each class, as the shares have it
            share = (leant + 1) / (n + c)
    return np.log(share)


def calibration_error(proba: NDArray[np.floating[Any]], y: Ints, bins: int = 15) -> float:
    """Expected calibration error, 0 to 1, of probabilities (n, c) for classes y (n,).

    The mean distance between how sure and how often right over bins of equal width (Naeini et al., 2015). With few rows
    it is mostly the noise of the bins.
    """
    sure, right = proba.max(axis=1), proba.argmax(axis=1) == y
    place = np.minimum((sure * bins).astype(int), bins - 1)
    gap = np.bincount(place, right - sure.astype(np.float64), minlength=bins)
    return float(np.abs(gap).sum() / len(y))
