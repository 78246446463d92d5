"""Strategies that ask the model and look at the features: what it doubts, but no two alike. `auto` is one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from labelloop.richness import likely_classes
from labelloop.strategies.contract import Scores, because, in_order
from labelloop.strategies.distances import Picks, Weigh, at_most, read
from labelloop.strategies.diversity import herd
from labelloop.strategies.registry import strategy
from labelloop.strategies.spot_checks import LOOKED_AT, SpotCheck, spot_checks
from labelloop.strategies.uncertainty import doubt, torn
from labelloop.strategies.variance import WINDOW, most_informative
from labelloop.types import Floats, Ints, Pool

EARLY = 5  # labels a class, on average, below which the model has little to go by
CHECKED = 2  # from so many on there may be spot checks
KNOWN = 2048  # answers of either kind that the guess rests on whether an image will get a label


@strategy
def auto(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """The default: what the model is unsure of and many images are like, but no two alike.

    The images whose labels would take most uncertainty away from all images (variance.py), where the uncertainty of an
    image weighs as much as the root of how far the model doubts it, its doubt being at least the share of classes that
    it has seen no label of, of those there likely are (richness.py), and less where images like it were skipped. Until
    there are five labels a class, the model says little yet: until then, the images that cover most of that same weight
    (uncertainty herding; without a model all weigh the same). From two labels a class on, one image in ten may be a
    spot check (spot_checks.py).

    docs/auto.md has the why and the curves. Cost: see most_informative and herd.
    """
    answered = likely_answered(pool, rng)
    of_class = np.bincount(pool.y[pool.labeled], minlength=len(pool.classes))
    likely = likely_classes(of_class)
    unseen = np.float32(1 - np.count_nonzero(of_class) / likely if len(pool.labeled) else 0)

    def weigh(rows: Ints) -> Floats:
        return np.sqrt(np.maximum(_doubt(pool, rows), unseen)) * answered(rows)

    found = spot_checks(pool, n, answered, rng) if len(pool.labeled) >= CHECKED * likely else []
    rest, n = _as_if_labeled(pool, [one.row for one in found]), min(n, len(pool.unlabeled)) - len(found)
    if len(pool.labeled) < EARLY * likely:
        picks = herd(rest, n, weigh, rng)
    else:
        picks = most_informative(rest, n, weigh, rng, doubt=partial(_doubt, pool), answered=answered)
    return _with_reasons(pool, picks, found)


@strategy
def uncertainty_herding(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """Typical of what the model is still unsure about, and no two alike.

    Bae, Oliveira, Sutherland: Uncertainty herding: one active learning method for all label budgets, ICLR 2025. Without
    a model every weight is 1, which is max_herding; as labels come in, the radius of coverage shrinks and it becomes
    margin that skips look-alikes. Cost: as max_herding.
    """
    return _with_reasons(pool, herd(pool, n, partial(_doubt, pool), rng))


def likely_answered(pool: Pool, rng: np.random.Generator) -> Weigh:
    """A function of rows: the probability (len(rows),) that each gets a label rather than being skipped.

    What is skipped is mostly not what the task is about, so images like it teach nothing either. 1 before the first
    skipped image, and before the first label.
    """
    if pool.skipped is None or not pool.skipped.any() or not len(pool.labeled):
        return lambda rows: np.ones(len(rows), np.float32)
    from labelloop.train.head import fit_head

    parts = [pool.labeled, np.flatnonzero(pool.skipped)]
    known = [at_most(part, KNOWN, rng) for part in parts]
    X = read(pool, np.concatenate(known))
    head = fit_head(X, np.repeat([1, 0], [len(part) for part in known]), 2)
    return lambda rows: head.predict_proba(read(pool, rows))[:, 1]


def _as_if_labeled(pool: Pool, rows: list[int]) -> Pool:
    """The pool once these rows are on somebody's screen."""
    if not rows:
        return pool
    opened, pending = pool.open.copy(), np.zeros(len(pool), bool) if pool.pending is None else pool.pending.copy()
    opened[rows], pending[rows] = False, True
    return replace(pool, open=opened, pending=pending)


def _with_reasons(pool: Pool, picks: Picks, found: Sequence[SpotCheck] = ()) -> Scores:
    """The picks with the spot checks at their places among them."""
    place = {int(row): k for k, row in enumerate(picks.rows)}
    about = "about " if len(pool.unlabeled) > WINDOW else ""
    checked, order = {one.row: one for one in found}, picks.rows.tolist()
    for one in found:
        order.insert(one.place, one.row)

    def why(row: int) -> str:
        if row in checked:
            return _why_checked(pool, checked[row])
        others, alone = int(picks.alike[place[row]]), bool(picks.alone[place[row]])
        unsure = "" if pool.probabilities is None else torn(pool, row)
        images = f"{about}{others:,} image{'s' * (others != 1)} like it"
        stands = f"stands for {images}{', none labeled' * alone}" if others else ""
        return "; ".join(part for part in (unsure, stands) if part) or "like no other image"

    return because(in_order(pool, order), why)


def _why_checked(pool: Pool, one: SpotCheck) -> str:
    about = "about " if len(pool.unlabeled) > LOOKED_AT else ""
    images, answers = (
        f"{about}{one.images:,} image{'s' * (one.images != 1)}",
        f"{one.labels} answer{'s' * (one.labels != 1)}",
    )
    return f"a spot check: {images} look like {pool.classes[one.k]} to the model, after {answers}"


def _doubt(pool: Pool, rows: Ints) -> Floats:
    return np.ones(len(rows), np.float32) if pool.probabilities is None else doubt(pool.probabilities[rows])
