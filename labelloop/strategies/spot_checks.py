"""Spot checks: now and then an image that the model is sure of, of a class for which few answers speak.

A model is sure of whatever looks alike to it. Where it takes 80 images for one class after three answers that agree,
half of them may be of another class that nobody was shown, and a strategy that follows the model's doubts never asks
there again. So one answer in ten may go to a class whose images are many for the answers it has. docs/auto.md has what
that is worth. Left out: all other picks (hybrid.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelloop.strategies.distances import at_most
from labelloop.strategies.uncertainty import doubt
from labelloop.strategies.variance import Weigh
from labelloop.types import Ints, Pool

EVERY = 10  # answers of which one may be a spot check
MANY = 2.0  # times as many images for each answer as there are on average: from there on a class is checked
ENOUGH = 10  # answers that speak for a class, however many images it has
LOOKED_AT = 16_384  # open images at most, drawn at random
NEVER_ZERO = 1e-6  # doubt: what the model is certain of may be checked as well


@dataclass(frozen=True)
class SpotCheck:
    """One row to ask about, and why."""

    row: int
    place: int  # among the picks, 0 for the first
    k: int  # the class that the model takes it for
    images: int  # open ones that it takes for that class; an estimate where only a part was looked at
    labels: int  # of that class


def spot_checks(pool: Pool, n: int, answered: Weigh, rng: np.random.Generator) -> list[SpotCheck]:
    """The spot checks among the next n picks, by place; none while every class has its share of answers.

    A class with fewer than ENOUGH labels is checked where the model takes MANY times as many open images for it, for
    each of its labels and one more, as there are open images for a label on average; the class with the most first. The
    image is drawn at random among those, in proportion to how much the model doubts it. `answered` (0 to 1) is the
    probability that rows get a label at all. There are none before the first model. Cost: O(w (c + checks)), w at most
    LOOKED_AT.
    """
    places, found = _places(pool, n), list[SpotCheck]()
    if not places or pool.probabilities is None or not len(pool.labeled):
        return []
    rows = at_most(pool.unlabeled, LOOKED_AT, rng)
    chance, taken_for = answered(rows).astype(np.float64), pool.probabilities[rows].argmax(axis=1)
    lots = (doubt(pool.probabilities[rows]) + NEVER_ZERO) * chance
    images = np.bincount(taken_for, chance, minlength=len(pool.classes)) * len(pool.unlabeled) / len(rows)
    labels: Ints = np.bincount(pool.y[pool.labeled], minlength=len(pool.classes))
    usual, then = images.sum() / len(pool.labeled), labels.copy()  # then: once these are answered
    for place in places:
        load = np.where(then < ENOUGH, images / (then + 1), 0)
        k = int(np.argmax(load))
        mine = np.where(taken_for == k, lots, 0)
        if load[k] < MANY * usual or not mine.any():
            break
        at = int(rng.choice(len(rows), p=mine / mine.sum()))
        found.append(SpotCheck(int(rows[at]), place, k, round(float(images[k])), int(labels[k])))
        lots[at], then[k] = 0, then[k] + 1
    return found


def _places(pool: Pool, n: int) -> list[int]:
    """Every tenth place, counted from the first answer on: batches of one get their share as well as one of 100."""
    skipped = 0 if pool.skipped is None else np.count_nonzero(pool.skipped)
    so_far = len(pool.covered) + skipped
    return [place for place in range(n) if (so_far + place + 1) % EVERY == 0]
