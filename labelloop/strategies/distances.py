"""Distances between rows of a pool, in blocks: features may be a memory map larger than memory, and nothing is n × n.

Features have unit length, so a product is a cosine similarity and |x - s|² = 2 - 2 x·s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from labelloop.cores import BLOCK
from labelloop.errors import BadInput
from labelloop.types import Bools, Floats, Ints, Pool

Weigh = Callable[[Ints], Floats]  # of rows (m,): a number for each (m,)


@dataclass(frozen=True)
class Picks:
    """k chosen rows, best first, and what can be said of each."""

    rows: Ints  # (k,)
    alike: Ints  # (k,) other open images that it stands for; an estimate where only a part of the pool was looked at
    alone: Bools  # (k,) whether no image with a label, or on a screen, is as near as these


def read(pool: Pool, rows: Ints) -> Floats:
    """Features of some rows (len(rows), d) as float32.

    Raises BadInput with the numbers of images whose features have NaN or infinity: a comparison with NaN is always
    false, so that they would be chosen first, or looked for without end.
    """
    X = np.asarray(pool.features[rows], np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(X.sum())  # one pass, and no array of the size of X
    if not finite and (bad := ~np.isfinite(X).all(axis=1)).any():
        _refuse(pool.ids[rows[bad]], "NaN or infinity")
    return X


def read_unit(pool: Pool, rows: Ints) -> Floats:
    """As read, scaled to unit length again, which float16 keeps to three digits only. Refuses rows of zeros too."""
    X = read(pool, rows)
    length = np.linalg.norm(X, axis=1, keepdims=True)
    if not length.all():
        _refuse(pool.ids[rows[length[:, 0] == 0]], "only zeros")
    X /= length
    return X


def _refuse(ids: Ints, what: str) -> NoReturn:
    raise BadInput(f"{what} as features of images {some_of(ids)}; leave them out of the pool")


def some_of(numbers: Ints) -> str:
    """The first ten different ones, and how many more there are, in words."""
    different = np.unique(numbers).tolist()
    more = f" and {len(different) - 10} more" if len(different) > 10 else ""
    return f"{', '.join(map(str, different[:10]))}{more}"


def blocks(pool: Pool, rows: Ints) -> Iterator[tuple[slice, Floats]]:
    """The features of rows, BLOCK at a time, each with its place among the rows."""
    for start in range(0, len(rows), BLOCK):
        place = slice(start, min(start + BLOCK, len(rows)))
        yield place, read(pool, rows[place])


def nearest(pool: Pool, rows: Ints, targets: Ints) -> Floats:
    """Cosine similarity of each row to the most similar target (len(rows),); -1 when there is no target."""
    like = np.full(len(rows), -1, np.float32)
    if len(targets):
        T = read(pool, targets).T
        for place, X in blocks(pool, rows):
            like[place] = (X @ T).max(axis=1)
    return like


def kernel(like: Floats, square: float) -> Floats:
    """exp(-|x - s|² / r²) of cosine similarities, written over them: they are the largest arrays of whoever asks."""
    like -= 1  # |x - s|² = 2 - 2 x·s for unit length
    np.minimum(like, 0, out=like)
    like *= 2 / square
    return np.exp(like, out=like)


def at_most(rows: Ints, n: int, rng: np.random.Generator) -> Ints:
    """The rows, or n of them at random where there are more."""
    return rows if len(rows) <= n else rng.choice(rows, n, replace=False)


def central(pool: Pool, rows: Ints) -> int:
    """The place among rows of the one nearest to their mean."""
    total = np.zeros(pool.features.shape[1], np.float32)
    for _, X in blocks(pool, rows):
        total += X.sum(axis=0)
    return int(np.argmax(np.concatenate([X @ total for _, X in blocks(pool, rows)])))
