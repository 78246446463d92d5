"""ProbCover: as many images as possible within reach of a labeled or chosen one, with the reach found by itself.

All is measured on a random part of the open rows, so that the cost is the same for any number of images; up to PART
open rows are their own part, and the result is the paper's. Left out: soft coverage, for which the reach need not be
just right (diversity.py, hybrid.py).

BLAS has one thread here: on two a product may differ in its last digit, and a row at the edge of a ball falls out.
"""

from __future__ import annotations

import numpy as np

from labelloop.cores import BLOCK, one_thread
from labelloop.strategies.contract import Scores, because, in_order
from labelloop.strategies.distances import read_unit
from labelloop.strategies.registry import strategy
from labelloop.types import Floats, Ints, Pool

PART = 4096  # open rows that are chosen from and that coverage is counted on; the largest arrays are PART × PART
PURE = 0.95  # share of the balls that must lie within one pseudo-class: the paper's alpha
PASSES = 5  # of k-means from a k-means++ start; more of them moved the reach of two photo sets by less than a seed does
EVERYTHING = 2.0  # the largest distance between features of unit length
COPY = 2e-3  # distance below which float32 cannot tell a row from its copy


@strategy
def prob_cover(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """Near the most images that nothing chosen or labeled is near yet.

    Yehuda, Dekel, Hacohen, Weinshall: Active learning through a covering lens, NeurIPS 2022. Greedily the row with the
    most uncovered rows nearer than delta, the first of those that tie; these are covered from then on, as are those
    near labels. delta is the largest for which 95 % of the balls hold one pseudo-class: k-means clusters, as many as
    there are classes but at most a third of the rows; never less than the typical gap between neighbours, because then
    a row would cover nothing but itself. Once all rows are covered, delta is halved until one is not; copies of covered
    rows come last, the least alike first. O(m² d) for m = min(open rows, 4096), again for each m picks, and O(m d) for
    each label; O(m²) memory, 120 MB at most.
    """
    left, picks, counts = pool.unlabeled, np.empty(0, np.int64), list[int]()
    with one_thread():
        while len(picks) < n:
            part = left if len(left) <= PART else np.sort(rng.choice(left, PART, replace=False))
            X = read_unit(pool, part)
            like = likeness(X)
            if not len(picks):
                reach = max(find_reach(like, pseudo_classes(X, like, len(pool.classes), rng)), typical_gap(like))
            new, count = cover(like, _nearest(pool, X, np.concatenate([pool.covered, picks])), reach, n - len(picks))
            counts += [round(k * len(left) / len(part)) for k in count]
            left, picks = np.setdiff1d(left, part[new], assume_unique=True), np.concatenate([picks, part[new]])
    near = dict(zip(picks.tolist(), counts, strict=True))
    return because(in_order(pool, picks), lambda row: _words(near[row]))


def cover(like: Floats, nearest: Floats, reach: float, n: int) -> tuple[list[int], list[int]]:
    """Up to n of m places that cover the most, and how many rows each newly covers (0 for copies of covered rows).

    like (m, m) is symmetric, nearest (m,) how alike each row is to the most alike labeled one, reach a distance. Two
    rows are near each other if their likeness is above 1 - reach² / 2.
    """
    picks, counts = list[int](), list[int]()
    while len(picks) < min(n, len(like)):
        while reach > COPY and (nearest > 1 - reach**2 / 2).all():
            reach /= 2
        if reach <= COPY:
            copies = np.setdiff1d(np.argsort(nearest, kind="stable"), picks)
            picks += copies[np.argsort(nearest[copies], kind="stable")][: n - len(picks)].tolist()
            break
        near = like > 1 - reach**2 / 2
        missing = nearest <= 1 - reach**2 / 2
        gain = np.count_nonzero(near & missing, axis=1)
        while len(picks) < n and (best := int(np.argmax(gain))) >= 0 and gain[best]:
            picks.append(best)
            counts.append(int(gain[best]))
            gain -= np.count_nonzero(near[missing & near[best]], axis=0)
            missing &= ~near[best]
            nearest = np.maximum(nearest, like[best])
    return picks, counts + [0] * (len(picks) - len(counts))


def find_reach(like: Floats, pseudo: Ints) -> float:
    """The largest distance for which PURE of the balls around rows hold rows of one pseudo-class (m,) only.

    Less a hair, so that rounding does not let the next row in. A ball is pure as long as it ends before the nearest row
    of another class, so it is a quantile of those distances; EVERYTHING where there is one class.
    """
    if (pseudo == pseudo[0]).all():
        return EVERYTHING
    strangers = np.array([row[pseudo != own].max() for row, own in zip(like, pseudo, strict=True)])
    distances = np.sort(np.sqrt(np.maximum(2 - 2 * strangers, 0)))
    return float(distances[int((1 - PURE) * len(distances))]) * (1 - 1e-5)


def typical_gap(like: Floats) -> float:
    """The median distance of a row to the nearest other one, and a hair; 0 for a row alone."""
    if len(like) < 2:
        return 0.0
    nearest = np.partition(like, -2, axis=1)[:, -2]
    return float(np.sqrt(np.maximum(2 - 2 * np.median(nearest), 0))) * (1 + 1e-5)


def pseudo_classes(X: Floats, like: Floats, n_classes: int, rng: np.random.Generator) -> Ints:
    """k-means clusters 0, 1, 2, … of rows X (m, d) whose likeness is known: as many as classes, at most m / 3.

    Plain products and not scikit-learn's, which takes seconds to find 100 first centers because it cannot know the
    likeness, and adds up in another order on two threads.
    """
    k = min(max(n_classes, 2), max(len(X) // 3, 1))
    C = X[_seeds(like, k, rng)]
    cluster: Ints = np.zeros(len(X), np.int64)
    for _ in range(PASSES):
        cluster = (X @ C.T - np.einsum("ij,ij->i", C, C) / 2).argmax(axis=1)
        order = np.argsort(cluster, kind="stable")
        _, cluster, size = np.unique(cluster, return_inverse=True, return_counts=True)
        C = np.add.reduceat(X[order], np.cumsum(size) - size)
        C /= size[:, None]
    return cluster


def likeness(X: Floats) -> Floats:
    """Cosine similarities (m, m) of rows of unit length; symmetric, 1 for a row and itself."""
    like = X @ X.T
    np.fill_diagonal(like, 1)
    return like


def _seeds(like: Floats, k: int, rng: np.random.Generator) -> list[int]:
    """k-means++: k rows, each drawn by its squared distance to those before; fewer where fewer differ."""
    seeds = [int(rng.integers(len(like)))]
    gap = 1 - like[seeds[0]]
    while len(seeds) < k and gap.max() > COPY**2 / 2:
        reach = np.cumsum(np.maximum(gap, 0), dtype=np.float64)
        seeds.append(int(np.searchsorted(reach, rng.random() * reach[-1], side="right")))
        gap = np.minimum(gap, 1 - like[seeds[-1]])
    return seeds


def _nearest(pool: Pool, X: Floats, targets: Ints) -> Floats:
    """How alike each row of X is to the most alike target (m,); -1 when there is none."""
    like = np.full(len(X), -1, np.float32)
    for start in range(0, len(targets), BLOCK):
        like = np.maximum(like, (X @ read_unit(pool, targets[start : start + BLOCK]).T).max(axis=1))
    return like


def _words(count: int) -> str:
    if not count:
        return "all is covered; a copy of an image that is"
    if count == 1:
        return "no image near it is covered yet, and it covers one"
    return f"within reach of {count} images, none of them covered yet"
