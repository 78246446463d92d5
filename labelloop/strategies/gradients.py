"""BADGE: a batch of images that would each change the model much, and each in another way.

The gradient of image i at the model's last layer is the outer product g = a ⊗ x of a = p - onehot(argmax p) and its
features x. It is never made, because |g - h|² = |a|²|x|² + |b|²|y|² - 2 (a·b)(x·y) for h = b ⊗ y.

D² sampling as a race. Row i has a luck drawn from Exp(1), its D² (squared distance to the nearest pick) adds up over
time, and it is picked when the sum reaches its luck: at every moment the next to come is row i with probability
D²_i / ΣD², which is k-means++ exactly. D² only shrinks, so a row that has not heard of the newest picks comes too early
in our books, never too late: only the rows that would be next need be brought up to date, all others are never read.

Left out: gradients of earlier layers, and what labels are already there (as in the paper).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelloop.cores import BLOCK, one_thread
from labelloop.strategies.contract import Scores, because, in_order
from labelloop.strategies.distances import read
from labelloop.strategies.registry import strategy
from labelloop.strategies.uncertainty import torn
from labelloop.types import Floats, Ints, Pool

WINDOW = 256  # rows brought up to date, and picked from, at once
SLACK = 1.02  # features kept as float16 are of unit length only to three digits
COPY = 1e-10  # squared distances below this share of the squared norms are 0: float32 cannot tell such rows apart
REPEAT = "would change the model like one chosen before, as all others would"

Doubles = NDArray[np.float64]


@strategy
def badge(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """Each would change the model much, and each in another way.

    Ash, Zhang, Krishnamurthy, Langford, Agarwal: Deep batch active learning by diverse, uncertain gradient lower
    bounds, ICLR 2020. First the row with the largest last-layer gradient, then k-means++ (D²) sampling over the
    gradients: exact, in factored form. When all gradients left equal a chosen one, the rest is drawn at random. Reads
    probabilities once, O(n c), then the features of those k rows that come near being picked, O(k b (c + d)): a few
    times the batch of b on usual pools, all rows at worst. O(n) memory.
    """
    luck = rng.standard_exponential(len(pool.unlabeled))
    with one_thread():  # its products are small: two threads take twice as long
        race = Race(pool, luck)
        places = race.run(n)
    share = dict(zip(race.rows[places].tolist(), race.norm[places] / (race.norm.max() or 1), strict=True))
    if len(places) < n:
        others = np.setdiff1d(np.arange(len(luck)), places)
        places = np.concatenate([places, others[np.argsort(luck[others])][: n - len(places)]])

    def why(row: int) -> str:
        return f"{_effect(share[row]) if row in share else REPEAT}; {torn(pool, row)}"

    return because(in_order(pool, race.rows[places]), why)


def _effect(share: float) -> str:
    """The norm of a gradient, as a share of the largest, in words."""
    if share >= 0.5:
        return "would change the model much"
    return "would change the model in its own way" if share >= 0.05 else "one of those that hardly change the model"


class Race:
    """D² sampling of open rows for a given luck (len(pool.unlabeled),); the same luck gives the same picks.

    `seen` is how many picks a row has heard of, `gap` its D² to those, `due` the time at which it is picked if its gap
    stays as it is. For a row that has heard of none, the norms of gradients bound the gap from above.
    """

    def __init__(self, pool: Pool, luck: Doubles, window: int = WINDOW) -> None:
        self.pool, self.rows, self.luck, self.window = pool, pool.unlabeled, luck, window
        self.norm = _norms(pool)
        first = int(np.argmax(self.norm))
        self.picks, self.times = [first], [0.0]
        self.smallest = self.norm[first]
        self.gap = self._bounds()
        self.due = _divide(luck, self.gap)
        self.seen = np.zeros(len(luck), np.int64)
        self.due[first], self.gap[first], self.seen[first] = np.inf, 0, 1

    def run(self, n: int) -> Ints:
        """Places of n picks among the open rows, in order; of fewer when all gradients left equal a chosen one."""
        size = self.window
        while len(self.picks) < n:
            near, bound = self._soonest(np.arange(len(self.due)), size)
            self._catch_up(near)
            if np.isinf(min(bound, self.due[near].min())):
                break
            near, inner = self._soonest(near, self.window)
            before = len(self.picks)
            self._pick(near, min(bound, inner), n)
            self._tighten()
            # few picks mean that bounds are far off everywhere, as after the first pick of a dense group
            size = self.window if len(self.picks) - before > size // 64 else 2 * size
        return np.array(self.picks)

    def _soonest(self, places: Ints, k: int) -> tuple[Ints, float]:
        """The k places that are due first, and when the first of the others is."""
        if len(places) <= k:
            return places, np.inf
        order = np.argpartition(self.due[places], k)
        return places[order[:k]], float(self.due[places[order[k]]])

    def _bounds(self) -> Doubles:
        """Upper bound of D² for every row, by the triangle inequality and the smallest gradient picked."""
        bounds: Doubles = SLACK * np.square(self.norm + self.smallest, dtype=np.float64)
        return bounds

    def _tighten(self) -> None:
        """Rows that have heard of no pick get the better bound that a pick with a smaller gradient gives."""
        smallest, now, new = self.norm[self.picks].min(), self.times[-1], self.seen == 0
        if smallest < self.smallest:
            self.smallest = smallest
            gap = self._bounds()
            with np.errstate(invalid="ignore"):  # never due × no gap
                due = now + _divide((self.due - now) * self.gap, gap)
            self.due, self.gap = np.where(new, due, self.due), np.where(new, gap, self.gap)

    def _catch_up(self, places: Ints) -> None:
        """Tell these rows of all picks, in blocks of rows that have heard of about as many."""
        places = places[np.argsort(self.seen[places], kind="stable")]
        for start in range(0, len(places), BLOCK):
            block = places[start : start + BLOCK]
            G = self._gradients(block)
            for since in range(int(self.seen[block].min()), len(self.picks), WINDOW):
                self._hear(block, G.to(self._gradients(self.picks[since : since + WINDOW])), since)

    def _hear(self, block: Ints, D: Doubles, since: int) -> None:
        """Take in squared distances (rows, k) to the picks from `since` on; picks that a row knows change nothing."""
        times = np.array(self.times[since : since + D.shape[1]])
        new = self.seen[block] == 0
        gaps = np.minimum.accumulate(np.column_stack([np.where(new, np.inf, self.gap[block]), D]), axis=1)
        with np.errstate(invalid="ignore"):  # never due × no gap
            left = np.where(new, self.luck[block], (self.due[block] - times[0]) * self.gap[block])
            left -= gaps[:, 1:-1] @ np.diff(times)
        self.gap[block] = gaps[:, -1]
        self.due[block] = times[-1] + _divide(left, gaps[:, -1])
        self.seen[block] = np.maximum(self.seen[block], since + len(times))

    def _pick(self, places: Ints, bound: float, n: int) -> None:
        """Picks among places, which are up to date, as long as no other row can be due before."""
        G, due, gap = self._gradients(places), self.due[places], self.gap[places]
        while len(self.picks) < n and due[k := int(np.argmin(due))] <= bound and due[k] < np.inf:
            now = float(due[k])
            self.picks.append(int(places[k]))
            self.times.append(now)
            closer = np.minimum(gap, G.to(G[k])[:, 0])
            closer[k] = 0
            with np.errstate(invalid="ignore"):
                due, gap = now + _divide((due - now) * gap, closer), closer
        self.due[places], self.gap[places], self.seen[places] = due, gap, len(self.picks)

    def _gradients(self, places: Ints | list[int]) -> Gradients:
        rows = self.rows[places]
        return Gradients(_slopes(self.pool, rows).astype(np.float64), read(self.pool, rows).astype(np.float64))


class Gradients:
    """Gradients A ⊗ X of m rows, A (m, c) and X (m, d): float64, because D² is a small difference of large numbers."""

    def __init__(self, A: Doubles, X: Doubles) -> None:
        self.A, self.X = A, X
        self.squares = np.einsum("ij,ij->i", A, A) * np.einsum("ij,ij->i", X, X)

    def __getitem__(self, k: int) -> Gradients:
        return Gradients(self.A[[k]], self.X[[k]])

    def to(self, others: Gradients) -> Doubles:
        """Squared distances (m, k) to k others."""
        both = self.squares[:, None] + others.squares
        D: Doubles = both - 2 * (self.A @ others.A.T) * (self.X @ others.X.T)
        D[COPY * both > D] = 0
        return D


def _slopes(pool: Pool, rows: Ints) -> Floats:
    """p - onehot(argmax p) of some rows (len(rows), c)."""
    A = np.array(pool.proba[rows], np.float32)
    A[np.arange(len(A)), A.argmax(axis=1)] -= 1
    return A


def _norms(pool: Pool) -> Floats:
    """Norm of the gradient of each open row; features have unit length."""
    rows, norm = pool.unlabeled, np.empty(len(pool.unlabeled), np.float32)
    for start in range(0, len(rows), BLOCK):
        A = _slopes(pool, rows[start : start + BLOCK])
        norm[start : start + BLOCK] = np.sqrt(np.einsum("ij,ij->i", A, A))
    return norm


def _divide(left: Doubles, gap: Doubles) -> Doubles:
    """left / gap, infinite where there is no gap."""
    quotient = np.full(len(gap), np.inf)
    np.divide(left, gap, out=quotient, where=gap > 0)
    return quotient
