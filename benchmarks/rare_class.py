"""What equal weights of classes cost where one of two classes is very rare: the head against one that weighs answers.

    python benchmarks/rare_class.py [--cache FOLDER] [--seeds 5]

Four images of one kind lie in a pool with 2,000 of all other kinds (or all there are), which are one class. Of the test
images it is told how many of the others are taken for the rare class, and how much of the rare class is found.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from common import machine, table
from real_sets import load
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from labelloop.train.head import fit_head
from labelloop.train.neighbours import graph
from labelloop.train.spreading import fit_spread

DEFAULT_CACHE = Path.home() / ".cache" / "labelloop-benchmarks"
RARE, COMMON = 4, 2000
LABELS = ((1, 20), (1, 50), (3, 50), (3, 200))  # of the rare class, and of the common one
HEADS = ("with guesses", "without guesses", "LogisticRegression")


def answers(X: np.ndarray, y: np.ndarray, head: str, T: np.ndarray) -> np.ndarray:
    """What a head of labels y (n,), -1 for none, takes images T for (t,): 1 is the rare class."""
    known = y >= 0
    if head == "LogisticRegression":
        return LogisticRegression(max_iter=1000).fit(X[known], y[known]).predict(T)
    if head == "without guesses":
        return fit_head(X[known], y[known], 2).predict_proba(T).argmax(axis=1)
    return fit_spread(graph(X, np.arange(len(X)), 2), X, y, 2).predict_proba(T).argmax(axis=1)


def main() -> None:
    """Print a table: each cell over all kinds of a set, and seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for name in ("eurosat", "signdigits"):
        data = load(name, "lite0", options.cache)
        for rare, common in LABELS:
            found: dict[str, list[tuple[float, float]]] = {head: [] for head in HEADS}
            for kind in range(int(data.train_y.max()) + 1):
                for seed in range(options.seeds):
                    rng = np.random.default_rng([seed, kind])
                    few = rng.permutation(np.flatnonzero(data.train_y == kind))[:RARE]
                    many = rng.permutation(np.flatnonzero(data.train_y != kind))[:COMMON]
                    X, y = data.train[np.concatenate([few, many])], np.full(len(few) + len(many), -1)
                    y[:rare], y[RARE : RARE + common] = 1, 0
                    for head in HEADS:
                        said = answers(X, y, head, data.test) == 1
                        is_rare = data.test_y == kind
                        found[head].append((100 * said[~is_rare].mean(), 100 * said[is_rare].mean()))
            cells = [
                f"{mean(column):.1f} ± {stdev(column):.1f}"
                for head in HEADS
                for column in zip(*found[head], strict=True)
            ]
            rows.append([name, f"{rare} : {common}", *cells])
    print(f"{options.seeds} seeds of each of 10 kinds; ± over these. {machine()}\n")
    print(table(["set", "labels", *(f"{head}: {what}" for head in HEADS for what in ("taken for it", "found"))], rows))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
