"""As how many answers should a label count that was given to many images at once, and so with less care?

    python benchmarks/bulk_labels.py [--cache FOLDER] [--seeds 5]

Random labels from the balanced pools of real_sets.py; half of them were given in bulk, and of these a share is wrong.
The head with guesses learns from all, where those given in bulk count 1, 0.5 or 0.25. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import machine, table
from head import DEFAULT_CACHE
from real_sets import NAMES, load, pool

from labelloop.train.neighbours import Graph, graph
from labelloop.train.spreading import fit_spread

BACKBONE = "vit_tiny"
LABELS, WRONG, COUNTS = (100, 300), (0.0, 0.1, 0.3), (1.0, 0.5, 0.25)


def main() -> None:
    """Play all cells and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for name in NAMES:
        points: dict[tuple[int, float], list[list[float]]] = {}
        for seed in range(options.seeds):
            X, y = pool(name, BACKBONE, "balanced", seed, options.cache)
            like = graph(X, np.arange(len(X)), int(y.max()) + 1)
            for m in LABELS:
                for wrong in WRONG:
                    given = labels(y, m, wrong, np.random.default_rng(seed))
                    points.setdefault((m, wrong), []).append(accuracies(name, options.cache, like, X, given))
        for (m, wrong), found in points.items():
            mean = np.mean(found, axis=0)
            better = np.array(found)[:, 1] - np.array(found)[:, 0]
            cells = [*(f"{one:.1f}" for one in mean), f"{better.mean():+.1f} ± {better.std():.1f}"]
            rows.append((name, m, f"{100 * wrong:.0f}", *cells))
    print(f"{machine()}\n\nTest accuracy %, {BACKBONE}, {options.seeds} seeds.\n")
    print(table(["set", "labels", "% of the bulk wrong", *(f"count {c:g}" for c in COUNTS), "0.5 − 1, paired"], rows))


def labels(y: np.ndarray, m: int, wrong: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """m random labels of a pool as (n,) with -1 for none, and which of them were given in bulk (n,)."""
    rows = rng.permutation(len(y))[:m]
    given, bulk = np.full(len(y), -1), np.zeros(len(y), bool)
    given[rows] = y[rows]
    bulk[rows[: m // 2]] = True
    bad = rows[: m // 2][rng.random(m // 2) < wrong]
    given[bad] = (y[bad] + rng.integers(1, y.max() + 1, len(bad))) % (y.max() + 1)
    return given, bulk


def accuracies(name: str, cache: Path, like: Graph, X: np.ndarray, given: tuple[np.ndarray, np.ndarray]) -> list[float]:
    """Percent of the test images right, for each of COUNTS."""
    test, (y, bulk) = load(name, BACKBONE, cache), given
    classes = int(test.train_y.max()) + 1
    heads = [fit_spread(like, X, y, classes, weights=np.where(bulk, count, 1.0)) for count in COUNTS]
    return [100 * float((head.predict_proba(test.test).argmax(1) == test.test_y).mean()) for head in heads]


if __name__ == "__main__":
    main()
