"""Strategies that look at the features alone: they need no model, so they can start from no label at all.

Nothing here is ever (n, n). Herding costs the same for any number of images, because it measures coverage on a random
part of the pool; k-center compares every image with every label. Left out: whatever asks the model
(uncertainty.py, hybrid.py).
"""

from __future__ import annotations

import numpy as np

from labelloop.cores import one_thread
from labelloop.strategies.contract import Scores, in_order
from labelloop.strategies.distances import Picks, Weigh, at_most, central, kernel, nearest, read, read_unit
from labelloop.strategies.registry import strategy
from labelloop.types import Floats, Ints, Pool

CANDIDATES = 512  # open rows that herding weighs against each other; 1,024 chose no better on EuroSAT
REFERENCE = 4096  # open rows whose coverage it measures; the candidates are among them
WEIGHED = 16_384  # open rows that it weighs, to find the heaviest; at random where there are more
LABELED = 2048  # labeled rows that it takes as covered
AT_ONCE = 128  # rows that it chooses before it looks at new candidates
LIKE = 0.5  # cover from which images count as alike, where a reason says how many are
FEW = 20  # labels below which they say nothing about the radius yet


@strategy
def k_center(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """The least like everything chosen or labeled so far: finds rare kinds early, outliers too.

    Greedy k-center, Sener & Savarese: Active learning for convolutional neural networks, ICLR 2018. Exact, with O(n)
    memory. Without labels it starts from the image nearest to the mean.
    """
    rows, picks = pool.unlabeled, np.empty(0, np.int64)
    like = nearest(pool, rows, pool.covered)
    if not len(pool.covered):
        picks = rows[[central(pool, rows)]]
        like = _without(rows, picks, nearest(pool, rows, picks))
    while len(picks) < n:
        new = _farthest(pool, rows, like, n - len(picks))
        picks = np.concatenate([picks, new])
        if len(picks) < n:
            like = _without(rows, new, np.maximum(like, nearest(pool, rows, new)))
    return in_order(pool, picks)


@strategy
def max_herding(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """Typical of many images that nothing chosen or labeled so far is like: the best first labels.

    Bae, Noh, Sutherland: Generalized coverage for more robust low-budget active learning, ECCV 2024.
    """
    return in_order(pool, herd(pool, n, lambda rows: np.ones(len(rows), np.float32), rng).rows)


def herd(pool: Pool, n: int, weigh: Weigh, rng: np.random.Generator) -> Picks:
    """n open rows which, after the labeled ones, cover the most of what `weigh` says that given rows weigh, best first.

    A row x is covered by max exp(-|x - s|² / r²) over the labeled and chosen s. The radius r follows the labels: r² is
    the mean squared distance from a labeled row to its nearest other one.
    """
    nothing = np.empty(0, np.int64)
    parts, picks, left = [(nothing, nothing, nothing.astype(bool))], nothing, pool.unlabeled
    with one_thread():  # products on two threads end in other digits: the same seed must give the same picks
        while len(picks) < n:
            rows, weight, candidates = _window(left, weigh, rng)
            X = read_unit(pool, rows)
            centers = np.concatenate([at_most(pool.covered, LABELED, rng), picks[-LABELED:]])
            square = _squared_radius(pool, at_most(centers, LABELED // 4, rng) if len(centers) >= FEW else rows[:FEW])
            covered = kernel(nearest(pool, rows, centers), square) if len(centers) else np.zeros(len(rows), np.float32)
            K = kernel(X[:candidates] @ X.T, square)  # (candidates, rows)
            new = _greedy(K, covered, weight, min(n - len(picks), AT_ONCE))
            alike = (np.count_nonzero(K[new] >= LIKE, axis=1) - 1) * len(left) / len(rows)
            alone = kernel(nearest(pool, rows[new], pool.covered), square) < LIKE
            parts.append((rows[new], alike.round().astype(np.int64), alone))
            left, picks = np.setdiff1d(left, rows[new], assume_unique=True), np.concatenate([picks, rows[new]])
    return Picks(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _window(left: Ints, weigh: Weigh, rng: np.random.Generator) -> tuple[Ints, Floats, int]:
    """Up to REFERENCE of the rows and their weights; the first k (also returned) are the candidates.

    Half of the candidates are drawn from the heaviest fifth of the rows, everything else from all.
    """
    rows = rng.permutation(left)[:WEIGHED]
    weight = weigh(rows)
    candidates = min(CANDIDATES, len(rows))
    fifth = np.argsort(-weight, kind="stable")[: max(len(rows) // 5, candidates // 2)]
    first = rng.choice(fifth, candidates // 2, replace=False)
    order = np.concatenate([first, np.delete(np.arange(len(rows)), first)])[:REFERENCE]
    return rows[order], weight[order], candidates


def _greedy(K: Floats, covered: Floats, weight: Floats, n: int) -> list[int]:
    picks: list[int] = []
    for _ in range(min(n, len(K))):
        gain = np.maximum(K - covered, 0) @ weight
        gain[picks] = -np.inf
        picks.append(int(np.argmax(gain)))
        covered = np.maximum(covered, K[picks[-1]])
    return picks


def _squared_radius(pool: Pool, rows: Ints) -> float:
    X = read(pool, rows)
    like = X @ X.T
    np.fill_diagonal(like, -1)
    square = float(np.maximum(2 - 2 * like.max(axis=1), 0).mean())
    return max(square, 1e-6)  # duplicates only: the radius must not be 0


def _farthest(pool: Pool, rows: Ints, like: Floats, n: int) -> Ints:
    """Exact greedy picks, at least one and at most n, without another pass over all rows.

    Among the CANDIDATES least alike: as rows only become more alike to what is chosen, a pick that is at most
    as alike as every row outside was, is the least alike of all.
    """
    inside = np.argpartition(like, min(CANDIDATES, len(rows)) - 1)[:CANDIDATES]
    bound = np.delete(like, inside).min(initial=np.inf)
    X, mine, picks = read(pool, rows[inside]), like[inside], list[int]()
    while len(picks) < n and mine[best := int(np.argmin(mine))] <= bound:
        picks.append(best)
        mine = np.maximum(mine, X @ X[best])
        mine[picks] = np.inf
    return rows[inside[picks]]


def _without(rows: Ints, picks: Ints, like: Floats) -> Floats:
    like[np.isin(rows, picks)] = np.inf  # a picked row is never the least alike again, not even among duplicates
    return like
