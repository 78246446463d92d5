"""The head on sets that no constant of it was fixed on: scikit-learn's own, which need no download.

    python benchmarks/head_elsewhere.py

Random labels of the part that is not tested on; ours with and without guesses, and scikit-learn's
LogisticRegressionCV. The cells of sample_data are seen by the built-in features. Left out: speed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from common import machine, mean_sd, table
from head_methods import GUESSING, LRCV, METHODS, OURS, Array, Drawn
from sklearn import datasets
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from labelloop.backbone import load_backbone
from labelloop.demo import sample_data, sample_truth
from labelloop.images import open_upright
from labelloop.train.neighbours import graph

SEEDS, TESTED = 10, 1 / 3
LABELS = {
    "digits": (10, 20, 50, 100, 300),
    "cells": (6, 12, 24, 60),
    "wine": (6, 12, 24, 60),
    "cancer": (6, 12, 24, 60),
}


def sets() -> Iterator[tuple[str, Array, Array]]:
    """Name, features (n, d) and classes (n,) of each."""
    yield "digits", *datasets.load_digits(return_X_y=True)
    yield "cells", *cells()
    for name, load in (("wine", datasets.load_wine), ("cancer", datasets.load_breast_cancer)):
        X, y = load(return_X_y=True)
        yield name, StandardScaler().fit_transform(X), y


def cells() -> tuple[Array, Array]:
    """The demo's images, as the built-in features see them."""
    truth = sample_truth()
    images = [open_upright(sample_data() / "images" / name) for name in truth]
    return load_backbone("embedded").embed(images), np.unique(list(truth.values()), return_inverse=True)[1]


def row(name: str, X: Array, y: Array, m: int) -> list[object]:
    """Accuracy in % of each head, mean and spread over the seeds."""
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
    c, right = int(y.max()) + 1, dict[str, list[float]]()
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(y))
        tested, pool = np.split(order, [round(TESTED * len(y))])
        known = np.full(len(y), -1)
        known[pool[:m]] = y[pool[:m]]
        drawn = Drawn(X, known, c, graph(X, np.sort(pool), c))
        for method in (LRCV, OURS, GUESSING):
            said = METHODS[method](drawn)(X[tested]).argmax(axis=1)
            right.setdefault(method, []).append(100 * float((said == y[tested]).mean()))
    return [name, len(y), c, m, *(mean_sd(values) for values in right.values())]


def main() -> None:
    """Print the table."""
    with threadpool_limits(1):
        rows = [row(name, X, y, m) for name, X, y in sets() for m in LABELS[name]]
    print(f"#### Sets that no constant of the head was fixed on\n\n{machine()}; {SEEDS} seeds\n")
    print(table(["set", "images", "classes", "labels", LRCV, OURS, GUESSING], rows))


if __name__ == "__main__":
    main()
