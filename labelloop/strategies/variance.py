"""Chooses the rows whose labels would take most of the weighted uncertainty away: a Gaussian process over features.

Between two images the process has the covariance exp(-|x - s|² / r²): what is alike likely has the same label. A label
at s lowers the variance of every image j by cov(s, j)² / (var(s) + noise), so how much of the uncertainty of all images
a label would take away is known before it is given. Rows chosen earlier count as labeled: no two alike are chosen.
Cohn, Ghahramani, Jordan: Active learning with statistical models, JAIR 1996; Seo et al.: Gaussian process regression:
active data selection and test point rejection, IJCNN 2000. Left out: what the weights are (hybrid.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelloop.cores import one_thread
from labelloop.strategies.distances import Picks, Weigh, at_most, blocks, kernel, read_unit
from labelloop.types import Floats, Ints, Pool

WINDOW = 4096  # open rows whose uncertainty counts, drawn at random for every AT_ONCE picks
CANDIDATES = 512  # of these, the ones with the largest weight may be chosen
AT_ONCE = 128  # rows that are chosen before it looks at another window
LABELED = 1024  # labels that the process knows of; a random part where there are more
PAIRS = 256  # rows against as many others, whose mean squared distance gives the radius
SPREAD = 0.5  # r² as a share of that mean
NOISE = 0.13  # variance of what a label tells, that of an image before any label being 1; docs/auto.md
LIKE = 0.5  # covariance from which images count as alike, where a reason says how many are
NEVER_ZERO = 1e-3
FINEST = 4e-3  # r² at least: with less, rounding of float32 is so much of a distance that no process fits them


@dataclass
class Process:
    """The process over one window after all labels and picks so far. w rows, c candidates among them."""

    cov: Floats  # (c, w) between candidates and rows
    prior: Floats  # (c, w) the same before any label
    var: Floats  # (c,)
    square: float  # radius² of the covariance

    def gain(self, weight: Floats, noise: Floats, buffer: Floats) -> Floats:
        """Weighted variance (c,) that a label at each candidate would take away."""
        np.multiply(self.cov, self.cov, out=buffer)
        gains: Floats = buffer @ weight / (self.var + noise)
        return gains

    def take(self, k: int, candidates: Ints, noise: float, buffer: Floats) -> None:
        """Condition on candidate k, as if it were labeled; `candidates` are their places among the rows."""
        row = self.cov[k].copy()
        scaled = row[candidates] / (self.var[k] + noise)
        np.multiply(scaled[:, None], row, out=buffer)
        self.cov -= buffer
        self.var = np.maximum(self.var - row[candidates] * scaled, 1e-9)


def most_informative(
    pool: Pool,
    n: int,
    weigh: Weigh,
    rng: np.random.Generator,
    *,
    doubt: Weigh | None = None,
    answered: Weigh | None = None,
) -> Picks:
    """n open rows, best first. For given rows, `weigh` says how much the uncertainty of each matters.

    `doubt` (0 to 1) says how much the model would learn from a label there, as what is certain anyway tells little: the
    noise of a label is divided by its square. `answered` is the probability that a label is given at all. Both are 1
    unless told. Cost of b picks among n rows of d features, with m labels: O(n + w (m² + (m + c) d + b c)) time and
    O(w (c + m)) memory, w and c at most WINDOW and CANDIDATES: hardly more for a million rows than for ten thousand.
    """
    nothing = np.empty(0, np.int64)
    parts, picks, left = [(nothing, nothing, nothing.astype(bool))], nothing, pool.unlabeled
    with one_thread():  # products on two threads end in other digits: the same seed must give the same picks
        while len(picks) < n:
            rows = rng.permutation(left)[:WINDOW]
            weight = weigh(rows)
            candidates = np.argsort(-weight, kind="stable")[:CANDIDATES]
            process = _process(pool, rows, candidates, picks, rng)
            at = rows[candidates]
            noise = NOISE / np.maximum(doubt(at) if doubt else 1.0, NEVER_ZERO) ** 2 * np.ones(len(at), np.float32)
            factor = answered(at) if answered else np.ones(len(at), np.float32)
            new = _greedy(process, weight, candidates, noise.astype(np.float32), factor, min(n - len(picks), AT_ONCE))
            alike = (np.count_nonzero(process.prior[new] >= LIKE, axis=1) - 1) * len(left) / len(rows)
            alone = _nearest_label(pool, at[new], process.square) < LIKE
            parts.append((at[new], alike.round().astype(np.int64), alone))
            picks = np.concatenate([picks, at[new]])
            left = np.setdiff1d(left, at[new], assume_unique=True)
    return Picks(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _greedy(process: Process, weight: Floats, candidates: Ints, noise: Floats, factor: Floats, n: int) -> list[int]:
    picks, buffer = list[int](), np.empty_like(process.cov)
    for _ in range(min(n, len(candidates))):
        gain = process.gain(weight, noise, buffer) * factor
        gain[picks] = -np.inf
        picks.append(int(np.argmax(gain)))
        process.take(picks[-1], candidates, float(noise[picks[-1]]), buffer)
    return picks


def _process(pool: Pool, rows: Ints, candidates: Ints, picks: Ints, rng: np.random.Generator) -> Process:
    """The process over these rows, conditioned on what is labeled, on a screen, or chosen already."""
    from scipy.linalg import cholesky, solve_triangular

    X = read_unit(pool, rows)
    square = _squared_radius(X, rng)
    prior = kernel(X[candidates] @ X.T, square)
    known = np.concatenate([at_most(pool.covered, LABELED, rng), picks[-LABELED:]])
    if not len(known):
        return Process(prior.copy(), prior, np.ones(len(candidates), np.float32), square)
    L = read_unit(pool, known)
    inner, outer = kernel(L @ L.T, square), kernel(L @ X.T, square)
    inner[np.diag_indices_from(inner)] += NOISE
    A = solve_triangular(cholesky(inner, lower=True), outer, lower=True)  # (m, w)
    B = A[:, candidates]
    cov = prior - B.T @ A
    return Process(cov, prior, np.maximum(1 - (B**2).sum(axis=0), 1e-9), square)


def _nearest_label(pool: Pool, rows: Ints, square: float) -> Floats:
    """Prior covariance (len(rows),) with the nearest covered row: of all, as a reason must not overlook one."""
    X, like = read_unit(pool, rows), np.zeros(len(rows), np.float32)
    for _, labeled in blocks(pool, pool.covered):
        like = np.maximum(like, kernel(X @ labeled.T, square).max(axis=1))
    return like


def _squared_radius(X: Floats, rng: np.random.Generator) -> float:
    some, others = rng.integers(0, len(X), (2, PAIRS))
    square = SPREAD * float((2 - 2 * (X[some] * X[others]).sum(axis=1)).mean())
    return max(square, FINEST)
