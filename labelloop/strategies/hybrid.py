"""Strategies that ask the model and look at the features: what it doubts, but no two alike. `auto` is one of them."""

from __future__ import annotations

import numpy as np

from labelloop.strategies.contract import Scores, because, in_order
from labelloop.strategies.distances import read
from labelloop.strategies.diversity import herd
from labelloop.strategies.registry import strategy
from labelloop.strategies.uncertainty import doubt, torn
from labelloop.strategies.variance import WINDOW, Weigh, most_informative
from labelloop.types import Floats, Ints, Pool

KNOWN = 2048  # answers of either kind that the guess rests on whether an image will get a label


@strategy
def auto(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """The default: what the model is unsure of and many images are like, but no two alike.

    The images whose labels would take most uncertainty away from all images (variance.py), where the uncertainty of an
    image weighs as much as the model doubts it, more where it may be of a class with few labels, and less where images
    like it were skipped. Before the first model every image weighs the same: it starts with what is typical.
    docs/auto.md has the why and the curves. Cost: see most_informative.
    """
    answered = likely_answered(pool, rng)
    chosen = most_informative(
        pool, n, lambda rows: _doubt(pool, rows) * _rare(pool, rows) * answered(rows), rng,
        doubt=lambda rows: _doubt(pool, rows), answered=answered,
    )  # fmt: skip
    place = {int(row): k for k, row in enumerate(chosen.rows)}

    def why(row: int) -> str:
        k = place[row]
        unsure = "" if pool.probabilities is None else torn(pool, row)
        stands = _stands_for(int(chosen.alike[k]), bool(chosen.alone[k]), exactly=len(pool.unlabeled) <= WINDOW)
        return "; ".join(part for part in (unsure, stands) if part) or "like no other image"

    return because(in_order(pool, chosen.rows), why)


@strategy
def uncertainty_herding(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """Typical of what the model is still unsure about, and no two alike.

    Bae, Oliveira, Sutherland: Uncertainty herding: one active learning method for all label budgets, ICLR 2025. Without
    a model every weight is 1, which is max_herding; as labels come in, the radius of coverage shrinks and it becomes
    margin that skips look-alikes. Cost: as max_herding.
    """
    weight = np.ones(len(pool), np.float32) if pool.probabilities is None else doubt(pool.probabilities)
    return in_order(pool, herd(pool, n, weight, rng))


def likely_answered(pool: Pool, rng: np.random.Generator) -> Weigh:
    """A function of rows: the probability (len(rows),) that each gets a label rather than being skipped.

    What is skipped is mostly not what the task is about, so images like it teach nothing either. 1 before the first
    skipped image, and before the first label.
    """
    if pool.skipped is None or not pool.skipped.any() or not len(pool.labeled):
        return lambda rows: np.ones(len(rows), np.float32)
    from labelloop.train.head import fit_head

    parts = [pool.labeled, np.flatnonzero(pool.skipped)]
    known = [part if len(part) <= KNOWN else rng.choice(part, KNOWN, replace=False) for part in parts]
    X = read(pool, np.concatenate(known))
    head = fit_head(X, np.repeat([1, 0], [len(part) for part in known]), 2)
    return lambda rows: head.predict_proba(read(pool, rows))[:, 1]


def _stands_for(others: int, alone: bool, *, exactly: bool) -> str:
    if not others:
        return ""
    images = f"{'' if exactly else 'about '}{others:,} image{'s' * (others != 1)} like it"
    return f"stands for {images}{', none labeled' * alone}"


def _doubt(pool: Pool, rows: Ints) -> Floats:
    return np.ones(len(rows), np.float32) if pool.probabilities is None else doubt(pool.probabilities[rows])


def _rare(pool: Pool, rows: Ints) -> Floats:
    """How rare the classes are that each row may be of (len(rows),): 1 on average classes.

    The square root: between counting every image the same and counting every class the same, as nobody said which.
    """
    if pool.probabilities is None:
        return np.ones(len(rows), np.float32)
    counts = np.bincount(pool.y[pool.labeled], minlength=pool.probabilities.shape[1]) + 1.0
    rarity: Floats = np.sqrt(pool.probabilities[rows] @ (counts.mean() / counts)).astype(np.float32)
    return rarity
