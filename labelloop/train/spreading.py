"""Label spreading: the head also learns from images without labels, by what their neighbours were labeled.

A label flows along the nearest neighbours of its image (Zhou et al., 2004, Learning with local and global consistency);
images on which one class arrives well ahead of the others are guesses, and the head is fitted to them as well. A guess
never counts as much as an answer, and the more answers there are, the less all guesses count. With 1 label of each of
10 classes this was worth 9 to 14 points of accuracy, with 2 still 4 to 7, with 50 nothing; labels drawn equally from
101 classes of very unlike size lost up to 2 (benchmarks/head.py).
Left out: when it is used, which is for learning.py to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.cores import each, workers
from labelloop.strategies.distances import at_most
from labelloop.train.head import DTYPE, Head, balanced, fit_head, fit_weighted, head_of, once
from labelloop.types import Floats, Ints

NODES = 4096  # images of the graph at most, drawn at random
NEIGHBOURS = 15
SHARPNESS = 4  # a link weighs similarity to this power
PASSED_ON = 0.8  # share of what a node has that comes from its neighbours
ROUNDS = 10  # 0.8 ** 10 = 0.1: what would still flow
GUESSES = 10.0  # how many answers all guesses of a class weigh as much as, while there are few answers
FADES = 10.0  # answers a class with which guesses weigh half as much
LEARNED, LEARNED_A_CLASS = 1000, 20  # guesses that a head learns from: so many, or so many a class if that is more


@dataclass(frozen=True, eq=False)
class Graph:
    """g images and their nearest neighbours. d features."""

    rows: Ints  # (g,) their rows among all features, ascending
    features: Floats  # (g, d)
    n: int  # of so many images they were drawn

    @cached_property
    def links(self) -> Any:
        """The symmetric graph (g, g), scipy.sparse; D^-1/2 W D^-1/2 in the paper."""
        from scipy import sparse

        g = len(self.rows)
        k = min(NEIGHBOURS, g - 1)
        if k < 1:
            return sparse.csr_array((g, g), dtype=np.float32)
        near, like = nearest(self.features, self.features, k + 1)  # itself too
        other = near != np.arange(g)[:, None]
        links = sparse.csr_array((like[other] ** SHARPNESS, (np.nonzero(other)[0], near[other])), (g, g))
        links = links.maximum(links.T)
        degree = 1 / np.sqrt(np.maximum(np.asarray(links.sum(axis=1)), 1e-12))
        return (links * degree[:, None] * degree).astype(np.float32).tocsr()


def graph(features: NDArray[np.floating[Any]], rows: Ints) -> Graph:
    """The graph of some rows of features (n, d) of unit length; of NODES of them, the same ones each time."""
    nodes = np.sort(at_most(rows, NODES, np.random.default_rng(len(rows))))
    return Graph(nodes, np.asarray(features[nodes], np.float32), len(rows))


def nearest(X: Floats, among: Floats, k: int) -> tuple[Ints, Floats]:
    """The k rows of `among` most like each row of X (len(X), k), unordered, and how like they are, 0 to 1."""

    def block(place: slice) -> tuple[Ints, Floats]:
        like = X[place] @ among.T
        near = np.argpartition(like, len(among) - k, axis=1)[:, len(among) - k :]
        return near, np.clip(np.take_along_axis(like, near, axis=1), 0, 1)

    with workers() as executor:
        parts = each(executor, len(X), block, step=512)
    return np.concatenate([near for near, _ in parts]), np.concatenate([like for _, like in parts])


def spread(graph: Graph, rows: Ints, features: Floats, index: Ints, c: int) -> Floats:
    """How much of each of c classes arrives at each node (g, c), from labeled rows (m,) with classes index (m,).

    A label whose image is no node starts at the nodes most like it. Classes start with the square root of their number
    of labels: in proportion to it common classes would flood rare ones, and equal, rare ones the common.
    """
    F = np.zeros((len(graph.rows), c), np.float32)
    node = np.minimum(np.searchsorted(graph.rows, rows), len(graph.rows) - 1)
    is_node = graph.rows[node] == rows
    np.add.at(F, (node[is_node], index[is_node]), 1)
    if not is_node.all():
        near, like = nearest(features[~is_node], graph.features, min(NEIGHBOURS, len(graph.rows)))
        like = like**SHARPNESS + 1e-12
        np.add.at(F, (near, index[~is_node][:, None]), like / like.sum(axis=1, keepdims=True))
    F /= np.sqrt(np.maximum(F.sum(axis=0), 1e-12))
    start = (1 - PASSED_ON) * F
    for _ in range(ROUNDS):
        F = PASSED_ON * (graph.links @ F) + start
    return F


def fit_spread(
    graph: Graph, features: NDArray[np.floating[Any]], y: Ints, n_classes: int, skipped: Ints | None = None
) -> Head:
    """A head on all labels there are and on guesses from them. features (n, d) of unit length; y (n,), -1 for none.

    Rows in `skipped` are of no class; they keep guesses away from images like them. Raises CannotTrain with labels of
    fewer than two classes.
    """
    rows = np.flatnonzero(y >= 0)
    X = np.asarray(features[rows], DTYPE)
    present, index = np.unique(y[rows], return_inverse=True)
    if len(present) < 2 or len(graph.rows) < 2:
        return fit_head(X, y[rows], n_classes)
    places, guesses, weight = _guess(graph, features, (rows, X, index), len(present), skipped)
    answers = balanced(index, once(X, index))
    fitted = fit_weighted(
        np.concatenate([X, graph.features[places].astype(DTYPE)]),
        np.concatenate([index, guesses]),
        np.concatenate([answers, weight]),
    )
    return head_of(fitted, present, n_classes)


def _guess(
    graph: Graph,
    features: NDArray[np.floating[Any]],
    labeled: tuple[Ints, Floats, Ints],
    c: int,
    skipped: Ints | None,
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Nodes (k,), the class that each is taken for and how much that counts, 0 to 1."""
    rows, X, index = labeled
    m = len(rows)
    if skipped is not None and len(skipped):
        rows, index = np.concatenate([rows, skipped]), np.concatenate([index, np.full(len(skipped), c)])
        X = np.concatenate([X, np.asarray(features[skipped], DTYPE)])
    F = spread(graph, rows, X, index, c + 1)
    total = F.sum(axis=1)
    second, first = np.partition(F, c - 1, axis=1)[:, -2:].T
    guess = F.argmax(axis=1)
    is_one = (total > 0) & (first > second) & (guess < c) & ~np.isin(graph.rows, rows)
    places = np.flatnonzero(is_one)
    places = np.sort(at_most(places, max(LEARNED, LEARNED_A_CLASS * c), np.random.default_rng(len(places))))
    guess = guess[places]
    # Less than arrives on average is no basis for a guess: likely the image is of a class that has no label yet.
    ahead = ((first - second)[places] / (total[places] + total.mean())).astype(np.float64)
    of_class = np.maximum(np.bincount(guess, ahead, minlength=c), 1e-12)
    weight = ahead * (GUESSES / (1 + m / (FADES * c))) / of_class[guess]
    return places, guess, np.minimum(weight, 1.0)
