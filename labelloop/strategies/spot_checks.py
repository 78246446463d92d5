"""Spot checks: now and then an image of a class that the model is sure of, and for which few answers speak.

A model is sure of whatever looks alike to it. Where it takes 80 images for one class after three answers that agree,
half of them may be of another class that nobody was shown, and a strategy that follows the model's doubts may never ask
there again. So one answer in ten may go to a class whose images are many for the answers it has. docs/auto.md has what
that is worth. Left out: all other picks (hybrid.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelloop.strategies.distances import Weigh
from labelloop.strategies.uncertainty import doubt
from labelloop.types import Ints, Pool

EVERY = 10  # picks of which one may be a spot check
MANY = 2.0  # times as many images for each answer as there are on average: from there on a class is checked
ENOUGH = 10  # answers that speak for a class, however many images it has
LOOKED_AT = 16_384  # open images at most
NEVER_ZERO = 1e-6  # doubt: what the model is certain of may be checked as well

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class SpotCheck:
    """One row to ask about, and why."""

    row: int
    place: int  # among the picks, 0 for the first
    k: int  # the class that the model takes it for
    images: int  # open ones that it takes for that class; an estimate where only LOOKED_AT were looked at
    labels: int  # of that class


def spot_checks(pool: Pool, n: int, answered: Weigh, rng: np.random.Generator) -> list[SpotCheck]:
    """The spot checks among the next n picks, by place; none while every class has its share of answers.

    A class with fewer than ENOUGH labels is checked where the model takes MANY times as many open images for it, for
    each of its labels and one more, as there are open images for a label on average; the class with the most first.
    What is on a screen, or was skipped, counts as a label of the class that the model takes it for. `answered` (0 to 1)
    is the probability that rows get a label at all: an image counts as much. There are none before the first model.
    Cost: O(len(pool) + w (c + d)) for w rows of d features, at most LOOKED_AT, and c classes.
    """
    places = range(int(rng.integers(EVERY)), n, EVERY)
    if not places or pool.probabilities is None or not len(pool.labeled):
        return []
    luck = np.random.default_rng(0).random(len(pool))
    rows = _luckiest(pool.unlabeled, luck)
    proba, chance = pool.probabilities[rows], answered(rows).astype(np.float64)
    taken_for, c, scale = proba.argmax(axis=1), len(pool.classes), len(pool.unlabeled) / len(rows)
    order = _drawn(luck[rows], (doubt(proba) + NEVER_ZERO) * chance)
    labels: Ints = np.bincount(pool.y[pool.labeled], minlength=c)
    images, weighed = (scale * np.bincount(taken_for, of_each, minlength=c) for of_each in (None, chance))
    usual, then, found = weighed.sum() / len(pool.labeled), labels + _asked(pool), list[SpotCheck]()
    for place in places:
        load = np.where(then < ENOUGH, weighed / (then + 1), 0)
        k = int(np.argmax(load))
        mine = order[taken_for[order] == k]
        if load[k] < MANY * usual or not len(mine):
            break
        found.append(SpotCheck(int(rows[mine[0]]), place, k, round(float(images[k])), int(labels[k])))
        order, then[k] = order[order != mine[0]], then[k] + 1
    return found


def _luckiest(rows: Ints, luck: Doubles) -> Ints:
    """The LOOKED_AT rows of the most luck, or all where there are no more."""
    if len(rows) <= LOOKED_AT:
        return rows
    best: Ints = rows[np.argpartition(-luck[rows], LOOKED_AT)[:LOOKED_AT]]
    return best


def _drawn(luck: Doubles, weight: Doubles) -> Ints:
    """Places (m,) in the order of a draw in proportion to weight, without those of weight 0.

    Luck (m,), 0 to 1, decides it (Efraimidis and Spirakis, 2006, Weighted random sampling with a reservoir): the same
    luck draws the same rows, so that a page which was given some keeps them when the next ones are chosen.
    """
    key = np.log(luck) / np.maximum(weight, 1e-300)
    order: Ints = np.argsort(-key, kind="stable")
    return order[weight[order] > 0]


def _asked(pool: Pool) -> Ints:
    """For each class, how many images the model takes for it that are on a screen or were skipped (c,)."""
    asked = np.zeros(len(pool), bool)
    for some in (pool.pending, pool.skipped):
        if some is not None:
            asked |= some & (pool.y < 0)
    counts: Ints = np.bincount(pool.proba[np.flatnonzero(asked)].argmax(axis=1), minlength=len(pool.classes))
    return counts
