"""Strategies that ask the model and look at the features: what it doubts, but no two alike."""

from __future__ import annotations

import numpy as np

from labelloop.strategies.contract import Scores, in_order
from labelloop.strategies.diversity import herd
from labelloop.strategies.registry import strategy
from labelloop.strategies.uncertainty import doubt
from labelloop.types import Pool


@strategy
def auto(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """The default: typical of what the model is still unsure about, and no two alike.

    Uncertainty herding, Bae, Oliveira, Sutherland: Uncertainty herding: one active learning method for all label
    budgets, ICLR 2025. Without a model every weight is 1, which is max_herding; as labels come in, the radius of
    coverage shrinks and it becomes margin that skips look-alikes.
    """
    weight = np.ones(len(pool), np.float32) if pool.probabilities is None else doubt(pool.probabilities)
    return in_order(pool, herd(pool, n, weight, rng))
