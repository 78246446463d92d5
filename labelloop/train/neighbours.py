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
        return product(features - self.mean, self.directions)

    def locate(self, rows: Ints, features: Floats) -> Located:
        """Find some rows (m,) of all features, and their features (m, d), in the graph or near it."""
        places = self.place(features)
        node = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        node = np.where(self.rows[node] == rows, node, -1)
        near, _ = nearest(_unit(places[node < 0]), _unit(self.places), min(CANDIDATES, len(self.rows)))
        return Located(places, node, near)

    @cached_property
    def links(self) -> Links:
        """In the metric of the features themselves."""
        return self.links_in(np.eye(self.directions.shape[1]).astype(np.float32))

    def links_in(self, metric: Floats) -> Links:
        """In a metric (k, k): the nearest candidates of each image, and how near they are."""
        seen = _unit(product(self.places, metric))
        return Links(seen, metric, _symmetric(*_best_of(self.candidates, seen, seen)))


@dataclass(frozen=True, eq=False)
class Located:
    """m images, in the graph or not."""

    places: Floats  # (m, k)
    node: Ints  # (m,) which image of the graph it is, -1 where it is none
    candidates: Ints  # (how many are none, CANDIDATES or g): the images of the graph most like those


@dataclass(frozen=True, eq=False)
class Links:
    """g images as one metric sees them, each linked to its neighbours."""

    seen: Floats  # (g, k) places in the metric, of unit length
    metric: Floats  # (k, k)
    weights: Any  # scipy.sparse (g, g), symmetric: D^-1/2 W D^-1/2 of Zhou et al. (2004)

    def neighbours(self, outside: Floats, candidates: Ints) -> tuple[Ints, Floats]:
        """The nearest candidates of places (m, k) outside the graph (m, NEIGHBOURS), and how like they are, 0 to 1."""
        return _best_of(candidates, _unit(product(outside, self.metric)), self.seen)


def graph(features: NDArray[np.floating[Any]], rows: Ints, n_classes: int) -> Graph:
    """The graph of some rows of features (n, d) of unit length; of a part of them, the same each time.

    Costs one comparison of all its images with all, and the main directions of d features.
    """
    most = min(max(NODES, NODES_A_CLASS * n_classes), MOST_NODES)
    nodes = np.sort(at_most(rows, most, np.random.default_rng(len(rows))))
    X = np.asarray(features[nodes], np.float32)
    mean = X.mean(axis=0) if len(X) else np.zeros(X.shape[1], np.float32)
    directions = _main_directions(X - mean)
    places = product(X - mean, directions)
    seen = _unit(places)
    near, _ = nearest(seen, seen, min(CANDIDATES, max(len(X) - 1, 0)), is_same=True)
    return Graph(nodes, len(rows), mean, directions, places, near)


def nearest(X: Floats, among: Floats, k: int, is_same: bool = False) -> tuple[Ints, Floats]:
    """The k rows of `among` most like each row of X (len(X), k), unordered, and how like they are, 0 to 1.

    With `is_same`, X is `among`, and a row is not its own neighbour.
    """

    def block(place: slice) -> tuple[Ints, Floats]:
        like = X[place] @ among.T
        if is_same:
            like[np.arange(len(like)), np.arange(place.start, place.stop)] = -np.inf
        return _most(like, k)

    return _by_blocks(block, len(X), k, STEP)


def product(rows: Floats, columns: Floats) -> Floats:
    """rows (m, d) @ columns (d, k), by blocks: the same digits on any number of threads."""
    with workers() as executor:
        parts = each(executor, len(rows), lambda place: np.asarray(rows[place] @ columns, np.float32), step=STEP)
    return np.concatenate(parts) if parts else np.zeros((0, columns.shape[1]), np.float32)


def _best_of(candidates: Ints, X: Floats, among: Floats) -> tuple[Ints, Floats]:
    """Of the candidates of each row of X, rows of `among`, the NEIGHBOURS most like it, and how like they are."""
    k = min(NEIGHBOURS, candidates.shape[1])

    def block(place: slice) -> tuple[Ints, Floats]:
        best, like = _most(np.matmul(among.take(candidates[place], axis=0), X[place][:, :, None])[:, :, 0], k)
        return np.take_along_axis(candidates[place], best, axis=1), like

    return _by_blocks(block, len(X), k, CANDIDATE_STEP)


def _most(like: Floats, k: int) -> tuple[Ints, Floats]:
    best = np.argpartition(like, like.shape[1] - k, axis=1)[:, like.shape[1] - k :]
    return best, np.clip(np.take_along_axis(like, best, axis=1), 0, 1)


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
    links.data *= np.repeat(degree, np.diff(links.indptr)) * degree[links.indices]
    return links


def _main_directions(centred: Floats) -> Floats:
    """The directions (d, k) in which rows (g, d) differ most, at most DIRECTIONS of them."""
    from scipy.linalg import eigh, qr

    g, d = centred.shape
    k = max(min(DIRECTIONS, d, g - 1), 1)
    with one_thread():  # see product
        if d <= g or g < 2:
            _, directions = eigh(centred.T @ centred, subset_by_index=(d - k, d - 1))
        else:  # of few images with many features, as combinations of the images: the smaller problem
            _, mixed = eigh(centred @ centred.T, subset_by_index=(g - k, g - 1))
            directions, _ = qr(centred.T @ mixed, mode="economic")
    found: Floats = np.ascontiguousarray(directions, np.float32)
    return found


def _unit(rows: Floats) -> Floats:
    # Where images are all alike, what is left of them is rounding error; it must not become a direction.
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-5)
    return unit
