"""Strategies that ask what the model is unsure of, and the baseline that asks nobody.

Pointwise scores: the n best of them may look alike. hybrid.py has those that also spread out.
"""

from __future__ import annotations

import numpy as np

from labelloop.strategies.contract import Scores
from labelloop.strategies.registry import strategy
from labelloop.types import Floats, Pool


def doubt(proba: Floats) -> Floats:
    """1 - margin for probabilities (n, c): 1 where the two best classes tie, 0 where one is certain."""
    if proba.shape[1] < 2:
        return np.zeros(len(proba), np.float32)
    best = np.partition(proba, -2, axis=1)[:, -2:]
    return 1 - (best[:, 1] - best[:, 0])


@strategy
def random(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """Any image, each as likely as the next."""
    return rng.random(len(pool))


@strategy
def margin(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """The model is torn between two classes.

    Scheffer, Decomain, Wrobel: Active hidden Markov models for information extraction, IDA 2001.
    """
    return doubt(pool.proba)
