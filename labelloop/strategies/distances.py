"""Distances between rows of a pool, in blocks: features may be a memory map larger than memory, and nothing is n × n.

Features have unit length, so a product is a cosine similarity and |x - s|² = 2 - 2 x·s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from labelloop.types import Bools, Floats, Ints, Pool

BLOCK = 4096  # rows read from a memory map at a time


@dataclass(frozen=True)
class Picks:
    """k chosen rows, best first, and what can be said of each."""

    rows: Ints  # (k,)
    alike: Ints  # (k,) other open images that it stands for; an estimate where only a part of the pool was looked at
    alone: Bools  # (k,) whether no image with a label, or on a screen, is as near as these


def read(pool: Pool, rows: Ints) -> Floats:
    """Features of some rows (len(rows), d) as float32."""
    return np.asarray(pool.features[rows], np.float32)


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


def central(pool: Pool, rows: Ints) -> int:
    """The place among rows of the one nearest to their mean."""
    total = np.zeros(pool.features.shape[1], np.float32)
    for _, X in blocks(pool, rows):
        total += X.sum(axis=0)
    return int(np.argmax(np.concatenate([X @ total for _, X in blocks(pool, rows)])))
