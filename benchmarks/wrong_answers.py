"""Choosing while some answers are wrong: `auto`, random and others on real photographs.

    python benchmarks/wrong_answers.py [--cache FOLDER] [--seeds 2]

Balanced pools of two sets (real_sets.py), batches of 40. Each answer is wrong with a certain probability: any other
class, each as likely. Test labels are right. Prints mean accuracy over the budgets (area) and at the last of them.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one curve a core; before numpy is imported

import numpy as np
from common import machine, mean_sd, table
from real_sets import BACKBONES, load, pool

from labelloop.simulate import simulate

DEFAULT_CACHE = Path.home() / ".cache" / "labelloop-benchmarks"
SETS, RATES = ("eurosat", "signdigits"), (0.1, 0.2)
STRATEGIES = ("auto", "cluster_margin", "margin", "uncertainty_herding", "typiclust", "random")
BUDGETS = [40, 80, 120, 160, 200, 300]
Cell = tuple[str, str, float, str, int]  # set, backbone, share of wrong answers, strategy, seed


def play(cell: Cell, cache: Path) -> tuple[float, float]:
    """Mean accuracy between first and last budget, and at the last, in %."""
    name, backbone, rate, strategy, seed = cell
    data, (X, y) = load(name, backbone, cache), pool(name, backbone, "balanced", seed, cache)
    classes = int(data.train_y.max()) + 1
    rng = np.random.default_rng([seed, 1])
    wrong = rng.random(len(y)) < rate
    said = np.where(wrong, (y + rng.integers(1, classes, len(y))) % classes, y)
    curve = simulate(
        X, said, strategy, budgets=BUDGETS, test_features=data.test, test_y=data.test_y, batch=40, seed=seed,
        classes=range(classes),
    )  # fmt: skip
    right = [100 * point["accuracy"] for point in curve]
    return float(np.trapezoid(right, BUDGETS) / (BUDGETS[-1] - BUDGETS[0])), right[-1]


def main() -> None:
    """Play all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    settings = list(product(SETS, BACKBONES, RATES))
    cells = [(*setting, one, seed) for setting in settings for one in STRATEGIES for seed in range(options.seeds)]
    print(f"Area, and at {BUDGETS[-1]} labels, {options.seeds} seeds. {machine()}\n")
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        found = dict(zip(cells, workers.map(partial(play, cache=options.cache), cells), strict=True))
    rows = []
    for name, backbone, rate in settings:
        of = [[found[name, backbone, rate, one, seed] for seed in range(options.seeds)] for one in STRATEGIES]
        rows.append(
            [f"{name}, {backbone}, {rate:.0%}", *(" / ".join(map(mean_sd, zip(*one, strict=True))) for one in of)]
        )
    areas = [np.mean([found[cell][0] for cell in cells if cell[3] == one]) for one in STRATEGIES]
    rows.append(["mean area", *(f"{area:.1f}" for area in areas)])
    print(table(["set, features, wrong answers", *STRATEGIES], rows))


if __name__ == "__main__":
    main()
