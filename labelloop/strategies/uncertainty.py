"""Strategies that ask what the model is unsure of, and the baseline that asks nobody.

From the plain to the elaborate: a score for each image alone (random, least_confidence, margin, entropy), a lottery
over such a score (power_margin), a batch that also counts labels (class_balanced_margin). None looks at the features,
so what they choose may look alike: hybrid.py has those that spread out. Left out: what several models make of an
image (committee.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.errors import BadInput
from labelloop.strategies.contract import Scores, because, in_order
from labelloop.strategies.registry import strategy
from labelloop.types import Floats, Ints, Pool

CELLS = 2**17  # probabilities looked at a time: they stay in the cache, and at 1M × 100 a copy of all would be 400 MB
FEW = 50  # classes up to which numpy is faster class by class than row by row
SURE = 0.9  # from here on the second best class is not worth a word
NO_DOUBT = 1e-7  # stands for a doubt of 0, which a lottery could never draw; float32 cannot tell it from 0
MOST_POWER = 10.0  # beyond it a lottery is margin in all but name


def doubt(proba: Floats) -> Floats:
    """1 - margin for probabilities (n, c): 1 where the two best classes tie, 0 where one is certain. O(n c)."""
    return _in_blocks(_one_minus_margin, proba)


def torn(pool: Pool, row: int) -> str:
    """What the model makes of one image, in words: "unsure: rust 41 %, mildew 39 %" or "sure: rust 97 %".

    Raises NeedsModel before the first model.
    """
    chances = pool.proba[row].tolist()  # plain floats: a list this short is looked through sooner than an array
    best = max(chances)
    first = chances.index(best)
    if best >= SURE:
        return f"sure: {_percent(pool, first, best)}"
    chances[first] = -1
    second = max(chances)
    return f"unsure: {_percent(pool, first, best)}, {_percent(pool, chances.index(second), second)}"


def shannon(proba: NDArray[np.floating[Any]]) -> Floats:
    """Entropy in nats along the last axis, which sums to 1: 0 for one certain class, log(c) for all c alike."""
    tiny = np.finfo(np.float32).tiny  # 0 log 0 = 0
    entropy: Floats = -np.einsum("...c,...c->...", proba, np.log(np.maximum(proba, tiny)))
    return entropy


@strategy
def random(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """Any image, each as likely as the next."""
    return rng.random(len(pool))


@strategy
def least_confidence(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """The model is least sure of its best guess.

    Lewis, Gale: A sequential algorithm for training text classifiers, SIGIR 1994. O(n c).
    """
    return because(_in_blocks(lambda proba: 1 - _largest(proba), pool.proba), lambda row: torn(pool, row))


@strategy
def margin(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """The model is torn between two classes.

    Scheffer, Decomain, Wrobel: Active hidden Markov models for information extraction, IDA 2001. O(n c).
    """
    return because(doubt(pool.proba), lambda row: torn(pool, row))


@strategy
def entropy(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """The model is torn between many classes.

    Shannon: A mathematical theory of communication, 1948; Settles: Active learning literature survey, 2009. O(n c).
    With many classes it likes images that are a little like everything; margin is the safer choice.
    """
    return because(_in_blocks(shannon, pool.proba), lambda row: torn(pool, row))


@strategy
def power_margin(pool: Pool, n: int, rng: np.random.Generator, *, power: float = 1.0) -> Scores:
    """A lottery: the more the model is torn about an image, the more likely it is drawn.

    Kirsch et al.: Stochastic batch acquisition, TMLR 2023. An image is drawn with probability proportional to
    (1 - margin) ** power, without replacement: adding Gumbel noise to the logarithm of the weights and taking the n
    largest does just that. Large batches hold fewer look-alikes than those of margin. O(n c).

    The reason records p, the chance to be drawn first. The chance of the k-th pick after those before it is
    p_k / (1 - p_1 - … - p_(k-1)), which is what an estimate that corrects for the choice needs to know.
    Raises BadInput for a power below 0 or above 10.
    """
    rows, chance = pool.unlabeled, chances(pool, power)
    scores = np.full(len(pool), -np.inf)
    scores[rows] = np.log(chance[rows]) + rng.gumbel(size=len(rows))
    return because(scores, lambda row: f"drawn with probability {_one_in(chance[row])}; {torn(pool, row)}")


def chances(pool: Pool, power: float = 1.0) -> NDArray[np.float64]:
    """The chance of each image (len(pool),) to be the first that power_margin draws; 0 for what may not be chosen."""
    if not 0 <= power <= MOST_POWER:
        raise BadInput(f"power must be from 0 (random) to {MOST_POWER:g} (nearly margin itself), not {power:g}")
    weight = np.zeros(len(pool))
    rows = pool.unlabeled
    weight[rows] = np.maximum(doubt(pool.proba)[rows], NO_DOUBT, dtype=np.float64) ** power
    weight /= weight.sum()
    return weight


@strategy
def class_balanced_margin(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """Half by margin, half from the predicted classes with the fewest labels: finds rare classes.

    In the spirit of Zhang, Katz-Samuels, Nowak: GALAXY, ICML 2022, and Bengar et al.: Class-balanced active learning,
    WACV 2022. Of the images predicted as one class the most doubtful come first; each counts as a label of that class
    once it is chosen, so a batch levels the classes instead of pouring itself into the rarest. O(n c + n log n).

    Balancing by predictions feeds on itself where they are wrong: images mistaken for a rare class never raise its
    count, so it stays first in line. Two things stop that. Each of them comes back with a label, which moves the model
    away from the mistake; and half of every batch is margin's own, whatever the counts say. A class that the model
    never predicts takes no part, and one that has no image left gives way to the next.
    """
    unsure = rng.permutation(pool.unlabeled)  # ties fall by lot
    unsure = unsure[np.argsort(-doubt(pool.proba)[unsure], kind="stable")]
    half = int(n + rng.integers(2)) // 2  # batches of one take turns by lot
    own, rest = unsure[:half], unsure[half:]
    predicted = pool.proba.argmax(axis=1)
    labels = np.bincount(pool.y[pool.labeled], minlength=pool.proba.shape[1])
    known = np.where(pool.y >= 0, pool.y, predicted)[np.concatenate([pool.covered, own])]
    taken = np.bincount(known, minlength=pool.proba.shape[1])
    level = taken[predicted[rest]] + _place_in_class(predicted[rest])
    rare = rest[np.argsort(level, kind="stable")][: n - half]
    balancing = set(rare.tolist())

    def why(row: int) -> str:
        if row not in balancing:
            return torn(pool, row)
        count = int(labels[predicted[row]])
        return f"{pool.classes[predicted[row]]} has {count} label{'s' * (count != 1)}; {torn(pool, row)}"

    return because(in_order(pool, _in_turn(rare, own)), why)


def _place_in_class(classes: Ints) -> Ints:
    """For each entry, how many of the same class stand before it."""
    order = np.argsort(classes, kind="stable")
    first = np.searchsorted(classes[order], classes[order])
    place = np.empty(len(classes), np.int64)
    place[order] = np.arange(len(classes)) - first
    return place


def _in_turn(a: Ints, b: Ints) -> Ints:
    """The first of a, the first of b, the second of a, …"""
    turn = np.concatenate([np.arange(len(a)), np.arange(len(b))])
    return np.concatenate([a, b])[np.argsort(turn, kind="stable")]


def _percent(pool: Pool, k: int, chance: float) -> str:
    return f"{pool.classes[k]} {round(100 * chance)} %"


def _one_in(chance: float) -> str:
    odds = 1 / chance
    return f"1 in {odds:,.0f}" if 100 <= odds < 1e9 else f"1 in {odds:.3g}"


def _one_minus_margin(proba: Floats) -> Floats:
    if proba.shape[1] < 2:
        return np.zeros(len(proba), np.float32)
    first, second = _two_largest(proba)
    return 1 - (first - second)


def _largest(proba: Floats) -> Floats:
    largest: Floats = proba.max(axis=1) if proba.shape[1] > FEW else np.ascontiguousarray(proba.T).max(axis=0)
    return largest


def _two_largest(proba: Floats) -> tuple[Floats, Floats]:
    """The largest and the second largest of each row (n, c), c at least 2: twice as fast as to partition each."""
    if proba.shape[1] > FEW:
        rest, largest = proba.copy(), (np.arange(len(proba)), proba.argmax(axis=1))
        rest[largest] = -1
        return proba[largest], rest.max(axis=1)
    one, other, *columns = np.ascontiguousarray(proba.T)
    first, second = np.maximum(one, other), np.minimum(one, other)
    for column in columns:
        second = np.maximum(second, np.minimum(first, column))
        first = np.maximum(first, column)
    return first, second


def _in_blocks(measure: Callable[[Floats], Floats], proba: Floats) -> Floats:
    step = CELLS // (proba.shape[1] + 1) + 1
    return np.concatenate([measure(proba[start : start + step]) for start in range(0, max(len(proba), 1), step)])
