"""Label spreading: the head also learns from images without labels, by what their neighbours were labeled.

A label flows along the nearest neighbours of its image (Zhou et al., 2004, Learning with local and global consistency);
images on which one class arrives well ahead of the others are guesses. From answers and guesses a metric is learned
(metric.py) in which images of one class are nearer to each other; in it labels are spread once more. Then the head is
fitted to answers and guesses, in that metric. A guess never counts more than an answer of its class, and the more
answers there are, the less all guesses count, and the surer the head may be. What it is worth: docs/benchmarks/head.md
(benchmarks/head.py).
Left out: when it is used, which is for learning.py to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.cores import one_thread, workers
from labelloop.richness import likely_classes
from labelloop.strategies.distances import at_most
from labelloop.train import metric
from labelloop.train.head import DTYPE, Head, balanced, fit_head, fit_weighted, head_of, once
from labelloop.train.neighbours import SHARPNESS, Graph, Links, Located, product
from labelloop.types import Floats, Ints

PASSED_ON = 0.8  # share of what a node has that comes from its neighbours
ROUNDS = 5  # of passing on; with 10 nothing came out better
# Learned one after the other. A third added 0.1 points in trials; from FADES answers on, a second 0.02.
METRICS = 2
GUESSES = 7.0  # how many answers all guesses of a class weigh as much as, while there are few answers
FADES = 200.0  # answers with which guesses weigh half as much
# A head of few answers is too sure: it took guesses for answers. With so many answers a class its logits are halved,
# with ten times as many they are a tenth smaller. At 20 to 300 labels, random ones and those of `auto`, 0.5 came out
# better than 0 and 1 on average.
HALF_SURE = 0.5
LEARNED, LEARNED_A_CLASS = 1000, 20  # guesses that a head learns from: so many, or so many a class if that is more

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Known:
    """m answers, with which one of c classes, and s images that were skipped."""

    located: Located  # (m + s,), the answers first
    index: Ints  # (m,) 0 … c - 1
    counts: Matrix  # (m,) as how many answers each counts: less than 1 where copies have the same, or by its weight
    c: int

    @property
    def places(self) -> Floats:
        """Of the answers (m, k)."""
        return self.located.places[: len(self.index)]


@dataclass(frozen=True, eq=False)
class Guesses:
    """Nodes without an answer, the class that each is taken for, and how far that class is ahead."""

    nodes: Ints  # (k,)
    index: Ints  # (k,)
    ahead: Matrix  # (k,) 0 to 1


def spread(links: Links, labeled: Located, index: Ints, c: int) -> Floats:
    """How much of each of c classes arrives at each node (g, c), from labeled images (m,) with classes index (m,).

    A label whose image is no node starts at the nodes most like it. Classes start with the square root of their number
    of labels: in proportion to it common classes would flood rare ones, and equal, rare ones the common.
    """
    F = np.zeros((len(links.seen), c), np.float32)
    is_node = labeled.node >= 0
    np.add.at(F, (labeled.node[is_node], index[is_node]), 1)
    near, like = links.neighbours(labeled.places[~is_node], labeled.candidates)
    like = like**SHARPNESS + 1e-12
    np.add.at(F, (near, index[~is_node][:, None]), like / like.sum(axis=1, keepdims=True))
    F /= np.sqrt(np.maximum(F.sum(axis=0), 1e-12))
    start = (1 - PASSED_ON) * F
    for _ in range(ROUNDS):
        F = PASSED_ON * (links.weights @ F) + start
    return F


def fit_spread(
    graph: Graph,
    features: NDArray[np.floating[Any]],
    y: Ints,
    n_classes: int,
    skipped: Ints | None = None,
    weights: NDArray[np.floating[Any]] | None = None,
) -> Head:
    """A head on all labels there are and on guesses from them. features (n, d) of unit length; y (n,), -1 for none.

    Rows in `skipped` are of no class; they keep guesses away from images like them. `weights` (n,) say as how many
    answers a label counts, 1 unless told. Raises CannotTrain with labels of fewer than two classes.
    """
    rows = np.flatnonzero(y >= 0)
    X = np.asarray(features[rows], DTYPE)
    present, index = np.unique(y[rows], return_inverse=True)
    weighed = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)[rows]
    if len(present) < 2 or len(graph.rows) < 2:
        return fit_head(X, y[rows], n_classes, weighed)
    all_rows = np.concatenate([rows, np.zeros(0, np.int64) if skipped is None else skipped])
    located = graph.locate(all_rows, np.asarray(features[all_rows], DTYPE))
    known = Known(located, index, once(X, index) * weighed, len(present))
    links = graph.links
    with workers():  # the same ones for all steps
        for _ in range(METRICS if known.counts.sum() < FADES else 1):
            links = graph.links_in(_metric(graph, known, _guess(links, known)))
        fitted = _fit_seen(graph, known, _guess(links, known))
    answers = float(known.counts.sum())
    head = head_of(fitted, present, n_classes)
    # It knows nothing of classes without an answer: the root of the share of those with one, as 0 and 1 came out worse.
    likely = likely_classes(np.bincount(present[index], known.counts, minlength=n_classes))
    return head.sharpened(answers / (answers + HALF_SURE * likely) * np.sqrt(len(present) / likely))


def _fit_seen(graph: Graph, known: Known, guesses: Guesses) -> tuple[Matrix, Matrix]:
    """Weight (c, d) and bias (c,) of the fit to answers and guesses along the main directions, in a learned metric."""
    learned = _metric(graph, known, guesses)
    index = np.concatenate([known.index, guesses.index])
    counts = np.concatenate([known.counts, np.ones(len(guesses.nodes))])
    seen = product(np.concatenate([known.places, graph.places[guesses.nodes]]), learned)
    with one_thread():  # the same digits on any number of threads
        weight, bias = fit_weighted(seen, index, _weights(known, guesses), counts)
        weight = weight @ product(graph.directions, learned).T
        return weight, bias - weight @ graph.mean


def _guess(links: Links, known: Known) -> Guesses:
    node = known.located.node
    index = np.concatenate([known.index, np.full(len(node) - len(known.index), known.c)])
    F = spread(links, known.located, index, known.c + 1)
    total = F.sum(axis=1)
    second, first = np.partition(F, known.c - 1, axis=1)[:, -2:].T
    guess = F.argmax(axis=1)
    is_one = (total > 0) & (first > second) & (guess < known.c)
    is_one[node[node >= 0]] = False
    nodes = np.flatnonzero(is_one)
    nodes = np.sort(at_most(nodes, max(LEARNED, LEARNED_A_CLASS * known.c), np.random.default_rng(len(nodes))))
    # Less than arrives on average is no basis for a guess: likely the image is of a class that has no label yet.
    ahead = ((first - second)[nodes] / (total[nodes] + total.mean())).astype(np.float64)
    return Guesses(nodes, guess[nodes], ahead)


def _metric(graph: Graph, known: Known, guesses: Guesses) -> Floats:
    """From answers and from guesses; one that is as sure as the average counts as much as an answer."""
    places = np.concatenate([known.places, graph.places[guesses.nodes]])
    sure = np.minimum(guesses.ahead / (guesses.ahead.mean() if len(guesses.ahead) else 1), 1)
    weights = np.concatenate([balanced(known.index, known.counts), sure])
    return metric.learn(places, np.concatenate([known.index, guesses.index]), weights, known.c)


def _weights(known: Known, guesses: Guesses) -> Matrix:
    """What answers and guesses (m + k,) count for the head: guesses in units of an answer of their class.

    Classes weigh the same, so an answer of a rare class weighs more; its guesses then do too.
    """
    answers = balanced(known.index, known.counts)
    of_class = np.bincount(known.index, known.counts)
    in_all = np.maximum(np.bincount(guesses.index, guesses.ahead, minlength=known.c), 1e-12)
    most = GUESSES / (1 + known.counts.sum() / FADES)
    relative = np.minimum(guesses.ahead * most / in_all[guesses.index], 1)
    an_answer = of_class.sum() / (known.c * of_class)
    return np.concatenate([answers, relative * an_answer[guesses.index]])
