"""Which images of the pool are like which: the graph along which labels spread (spreading.py).

A part of the pool is looked at, from its mean and along its main directions: features of lesser ones are mostly noise,
and less to compute. Who may be near whom is found once; how near they are is asked again for each metric (metric.py).
Left out: labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.cores import each, one_thread, workers
from labelloop.strategies.distances import at_most
from labelloop.types import Floats, Ints

NODES, NODES_A_CLASS, MOST_NODES = 2048, 40, 4096  # images of the graph, drawn at random
DIRECTIONS = 256
CANDIDATES = 40  # images that may be neighbours of an image, whatever the metric
NEIGHBOURS = 15
SHARPNESS = 4  # a link weighs similarity to this power
STEP, CANDIDATE_STEP = 512, 128  # rows compared at a time, with all others or with their candidates


@dataclass(frozen=True, eq=False)
class Graph:
    """g images and what they are near to, in any metric. Of d features, k main directions."""

    rows: Ints  # (g,) their rows among all features, ascending
    n: int  # of so many images they were drawn
    mean: Floats  # (d,)
    directions: Floats  # (d, k), orthonormal
    places: Floats  # (g, k)
    candidates: Ints  # (g, CANDIDATES or g - 1)

    def place(self, features: Floats) -> Floats:
        """Where images (m, d) are along the main directions (m, k)."""
        return _product(features - self.mean, self.directions)

    @cached_property
    def links(self) -> Links:
        """In the metric of the features themselves."""
        return self.links_in(np.eye(self.directions.shape[1]).astype(np.float32))

    def links_in(self, metric: Floats) -> Links:
        """In a metric (k, k): the nearest candidates of each image, and how near they are."""
        seen = _unit(_product(self.places, metric))
        return Links(self.rows, seen, metric, _symmetric(*_best_of(self.candidates, seen)))


@dataclass(frozen=True, eq=False)
class Links:
    """g images as one metric sees them, each linked to its neighbours."""

    rows: Ints  # (g,)
    seen: Floats  # (g, k) places in the metric, of unit length
    metric: Floats  # (k, k)
    weights: Any  # scipy.sparse (g, g), symmetric: D^-1/2 W D^-1/2 of Zhou et al. (2004)

    def nearest(self, places: Floats) -> tuple[Ints, Floats]:
        """The images most like those at some places (m, k): who they are (m, NEIGHBOURS), and how like, 0 to 1."""
        return nearest(_unit(_product(places, self.metric)), self.seen, min(NEIGHBOURS, len(self.rows)))


def graph(features: NDArray[np.floating[Any]], rows: Ints, n_classes: int) -> Graph:
    """The graph of some rows of features (n, d) of unit length; of a part of them, the same each time.

    Costs one comparison of all its images with all, and the main directions of d features.
    """
    most = min(max(NODES, NODES_A_CLASS * n_classes), MOST_NODES)
    nodes = np.sort(at_most(rows, most, np.random.default_rng(len(rows))))
    X = np.asarray(features[nodes], np.float32)
    mean = X.mean(axis=0) if len(X) else np.zeros(X.shape[1], np.float32)
    directions = _main_directions(X - mean)
    places = _product(X - mean, directions)
    seen = _unit(places)
    near, _ = nearest(seen, seen, min(CANDIDATES + 1, len(X)))  # itself too, or copies of it
    return Graph(nodes, len(rows), mean, directions, places, near)


def nearest(X: Floats, among: Floats, k: int) -> tuple[Ints, Floats]:
    """The k rows of `among` most like each row of X (len(X), k), unordered, and how like they are, 0 to 1."""

    def block(place: slice) -> tuple[Ints, Floats]:
        like = X[place] @ among.T
        near = np.argpartition(like, len(among) - k, axis=1)[:, len(among) - k :]
        return near, np.clip(np.take_along_axis(like, near, axis=1), 0, 1)

    return _by_blocks(block, len(X), k, STEP)


def _best_of(candidates: Ints, seen: Floats) -> tuple[Ints, Floats]:
    """The nearest candidates of each image (g, NEIGHBOURS), and how like they are; 0 for the image itself."""
    k = min(NEIGHBOURS, max(candidates.shape[1] - 1, 0))

    def block(place: slice) -> tuple[Ints, Floats]:
        near = candidates[place]
        like = np.matmul(seen[near], seen[place][:, :, None])[:, :, 0]
        like[near == np.arange(place.start, place.stop)[:, None]] = -1
        best = np.argpartition(like, near.shape[1] - k, axis=1)[:, near.shape[1] - k :]
        return np.take_along_axis(near, best, axis=1), np.clip(np.take_along_axis(like, best, axis=1), 0, 1)

    return _by_blocks(block, len(seen), k, CANDIDATE_STEP)


def _by_blocks(block: Any, n: int, k: int, step: int) -> tuple[Ints, Floats]:
    if not n or not k:
        return np.zeros((n, k), np.int64), np.zeros((n, k), np.float32)
    with workers() as executor:
        parts = each(executor, n, block, step=step)
    return np.concatenate([near for near, _ in parts]), np.concatenate([like for _, like in parts])


def _symmetric(near: Ints, like: Floats) -> Any:
    from scipy import sparse

    g, k = near.shape
    starts = np.arange(0, g * k + 1, k) if k else np.zeros(g + 1, np.int64)
    links = sparse.csr_array((like.ravel() ** SHARPNESS, near.ravel(), starts), (g, g))
    links = links.maximum(links.T)
    degree = 1 / np.sqrt(np.maximum(np.asarray(links.sum(axis=1)), 1e-12))
    return (links * degree[:, None] * degree).astype(np.float32).tocsr()


def _main_directions(centred: Floats) -> Floats:
    """The directions (d, k) in which rows (g, d) differ most, at most DIRECTIONS of them."""
    from scipy.linalg import eigh, qr

    g, d = centred.shape
    k = max(min(DIRECTIONS, d, g - 1), 1)
    with one_thread():  # see _product
        if d <= g or g < 2:
            _, directions = eigh(centred.T @ centred, subset_by_index=(d - k, d - 1))
        else:  # of few images with many features, as combinations of the images: the smaller problem
            _, mixed = eigh(centred @ centred.T, subset_by_index=(g - k, g - 1))
            directions, _ = qr(centred.T @ mixed, mode="economic")
    found: Floats = np.ascontiguousarray(directions, np.float32)
    return found


def _product(rows: Floats, columns: Floats) -> Floats:
    with one_thread():  # on two threads the last digits would be others, and with them the picks
        return np.asarray(rows @ columns, np.float32)


def _unit(rows: Floats) -> Floats:
    # Where images are all alike, what is left of them is rounding error; it must not become a direction.
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-5)
    return unit
