"""What it is worth that held-out answers say how sure the head may be, and how far it leans towards common classes.

    python benchmarks/leaning.py [--cache FOLDER] [--seeds 3]

A part of a pool is held out and answered: 20, 50 or 150 random images. Of the others 100 or 300 are labeled, at random
or as `auto` chooses. The head that they teach says what is on the rest of the pool, where classes are as common or rare
as anywhere in it: as it was fitted, made as sure as the held-out answers allow, and leaning as well. "Seems better by":
how much more accurate it seems on the held-out images, which had their say, than it is on the rest (random labels only,
as `auto` leaves no fair draw), and in brackets the same when each half of them is judged as the other half alone
decides, which is what labelloop shows. Sets: real_sets.py.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one pool a core; before numpy is imported

import numpy as np
from common import machine, table
from real_sets import BACKBONES, load, pool

from labelloop.metrics import macro_f1
from labelloop.simulate import simulate
from labelloop.train.calibration import calibrate, calibration_error, how_common
from labelloop.train.head import Head
from labelloop.train.neighbours import graph
from labelloop.train.spreading import fit_spread

DEFAULT_CACHE = Path.home() / ".cache" / "labelloop-benchmarks"
POOLS = (
    ("solar", "as_it_is"),
    ("solar_grades", "as_it_is"),
    ("mnist", "long_tailed"),
    ("eurosat", "long_tailed"),
    ("signdigits", "long_tailed"),
    ("caltech101", "long_tailed"),
    ("mnist", "balanced"),
    ("eurosat", "balanced"),
    ("signdigits", "balanced"),
)
JUDGES, LABELS, DRAWS, BATCH = (20, 50, 150), (100, 300), ("random", "auto"), 25
HEADS = ("as fitted", "as sure as it may be", "leaning as well")
MEASURES = ("accuracy %", "macro-F1 %", "log-loss", "calibration error %")
SEEMS, BY_HALVES = "seems better by", "by halves"
Cell = tuple[str, str, str, str, int, int]  # set, kind, backbone, draw, held-out answers, seed
Row = dict[str, float]  # by measure


def play(cell: Cell, cache: Path) -> dict[str, list[Row]]:
    """For each head a row of each number of labels."""
    name, kind, backbone, draw, judges, seed = cell
    whole, truth = pool(name, backbone, kind, seed, cache)
    order = np.random.default_rng([seed, 9]).permutation(len(truth))
    held_out, left = order[:judges], np.sort(order[judges:])
    E, of_exam, X, y = whole[held_out], truth[held_out], whole[left], truth[left]
    classes = int(load(name, backbone, cache).train_y.max()) + 1
    links, half = graph(X, np.arange(len(y)), classes), np.arange(judges) % 2
    found = defaultdict(list)
    for rows in picked(X, y, draw, classes, seed):
        known = np.full(len(y), -1)
        known[rows] = y[rows]
        head, rest = fit_spread(links, X, known, classes), np.delete(np.arange(len(y)), rows)
        common, Z = how_common(head.predict_proba(X[links.rows])), head.logits(E)
        heads = head, head.sharpened(calibrate(Z, of_exam).sharpness), leaning(head, Z, of_exam, common)
        for words, one in zip(HEADS, heads, strict=True):
            row = measured(one, X[rest], y[rest])
            row[SEEMS] = 100 * float((one.logits(E).argmax(axis=1) == of_exam).mean()) - row[MEASURES[0]]
            found[words].append(row)
        said = np.empty(judges, np.int64)
        for k in (0, 1):
            other = leaning(head, Z[half != k], of_exam[half != k], common)
            said[half == k] = other.logits(E[half == k]).argmax(axis=1)
        row[BY_HALVES] = 100 * float((said == of_exam).mean()) - row[MEASURES[0]]
    return dict(found)


def leaning(head: Head, Z: np.ndarray, y: np.ndarray, common: np.ndarray) -> Head:
    """As sure, and as far towards common classes, as answers y (m,) to images of logits Z (m, c) say."""
    by = calibrate(Z, y, common)
    return head.sharpened(by.sharpness).leant(by.leaning * common)


def picked(X: np.ndarray, y: np.ndarray, draw: str, classes: int, seed: int) -> list[np.ndarray]:
    """The rows that are labeled, for each number of labels."""
    if draw == "random":
        order = np.random.default_rng([seed, 5]).permutation(len(y))
        return [order[:n] for n in LABELS if n < len(y)]
    curve = simulate(
        X, y, draw, budgets=LABELS, test_features=X, test_y=y, batch=BATCH, seed=seed, classes=range(classes)
    )
    return [np.array(point["picked"]) for point in curve if point["labels"] < len(y)]


def measured(head: Head, X: np.ndarray, y: np.ndarray) -> Row:
    """On the rest of the pool."""
    proba = head.predict_proba(X)
    said, own = proba.argmax(axis=1), proba[np.arange(len(y)), y]
    loss = -np.log(np.maximum(own, 1e-6)).mean()
    values = 100 * (said == y).mean(), 100 * macro_f1(y, said), loss, 100 * calibration_error(proba, y)
    return dict(zip(MEASURES, map(float, values), strict=True))


def main() -> None:
    """Play all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    cells = [(*of, *rest) for rest in product(BACKBONES, DRAWS, JUDGES, range(options.seeds)) for of in POOLS]
    print(f"{options.seeds} seeds, two backbones, labels at random and by `auto`. {machine()}\n")
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        played = list(zip(cells, workers.map(partial(play, cache=options.cache), cells), strict=True))
    for judges in JUDGES:
        rows = []
        for of in POOLS:
            some = [found for cell, found in played if cell[:2] == of and cell[4] == judges]
            means = {words: {m: mean(some, words, m) for m in MEASURES} for words in HEADS}
            gains = [row for found in some for row in gain(found)]
            spread = np.std(gains, ddof=1) / np.sqrt(len(gains))
            cells_of = [" / ".join(f"{means[w][m]:.{2 if m == 'log-loss' else 1}f}" for w in HEADS) for m in MEASURES]
            fair = [found for cell, found in played if cell[:2] == of and cell[4] == judges and cell[3] == "random"]
            seems = " / ".join(f"{mean(fair, words, SEEMS):.1f}" for words in HEADS)
            seems += f" ({mean(fair, HEADS[-1], BY_HALVES):.1f})"
            rows.append([", ".join(of), len(gains), *cells_of, f"{np.mean(gains):+.1f} ± {spread:.1f}", seems])
        print(f"{judges} held-out answers; {' / '.join(HEADS)}; ± standard error\n")
        print(table(["pool", "heads", *MEASURES, "accuracy that leaning adds", SEEMS], rows) + "\n")


def mean(played: list[dict[str, list[Row]]], words: str, measure: str) -> float:
    """Over all pools and numbers of labels."""
    return float(np.mean([row[measure] for found in played for row in found[words]]))


def gain(found: dict[str, list[Row]]) -> list[float]:
    """Points of accuracy that leaning adds, for each number of labels."""
    before, after = (found[words] for words in HEADS[1:])
    return [b[MEASURES[0]] - a[MEASURES[0]] for a, b in zip(before, after, strict=True)]


if __name__ == "__main__":
    main()
