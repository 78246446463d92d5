"""The head on real features: accuracy, calibration and speed beside scikit-learn's and other heads.

    python benchmarks/head.py run RAW.jsonl [--cache FOLDER] [--seeds 10]
    python benchmarks/head.py report RAW.jsonl
    python benchmarks/head.py speed

`run` appends JSON lines and leaves out what the file has, so that it can be stopped and go on. Labels are drawn in two
ways: equally many of each class (from all train images of a set), and by chance from the pools of real_sets.py, where
they are also chosen by `auto`. The cheap heads come first. Slow ones get SLOW_SEEDS seeds where a fit takes minutes
(is_long). `report` prints Markdown (head_report.py). `speed` fits on made-up clusters and scores 50,000 images; run it
on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, table
from head_methods import GUESSING, KERNEL, LDA, LRCV, METHODS, OURS, PROTOTYPES, Answer, Drawn, lrcv
from real_sets import BACKBONES, KINDS_OF, NAMES, load, pool
from threadpoolctl import threadpool_limits

from labelloop.simulate import simulate
from labelloop.train.calibration import calibration_error
from labelloop.train.neighbours import Graph, graph

DEFAULT_CACHE = Path.home() / ".cache" / "labelloop-benchmarks"
A_CLASS = (1, 2, 5, 10, 50)
BUDGETS = {"random": (20, 40, 80, 100, 160, 300), "auto": (100, 160, 300)}
BATCH = 40  # of auto
SLOW = (LRCV, KERNEL, LDA)
SLOW_SEEDS = 2  # where is_long
FIRST_POOLS = 3  # seeds of pools played before the slow heads
Cell = tuple[
    str, str, str, str, str, int
]  # "class" or "pool", set, backbone, labels a class or kind, head or draw, seed

ROWS, DIM, SPREAD = 50_000, 384, 3.0  # of `speed`; spread: standard deviation within a cluster, 1 among the centres
REPEATS, PATIENCE = 7, 180  # a head that has taken so many seconds is not repeated again


# -- run --------------------------------------------------------------------------------------------------------------


def cells(seeds: int) -> Iterator[Cell]:
    """All that is wanted: cheap heads, a few pools, slow heads one by one, further pools; each seed by seed."""
    yield from _class_cells(range(seeds), [name for name in METHODS if name not in SLOW])
    yield from _pool_cells(range(min(FIRST_POOLS, seeds)))
    for method in SLOW:
        yield from _class_cells(range(seeds), [method])
    yield from _pool_cells(range(FIRST_POOLS, seeds))


def _class_cells(seeds: range, methods: list[str]) -> Iterator[Cell]:
    for seed in seeds:
        for count in A_CLASS:
            for name in NAMES:
                for backbone in BACKBONES:
                    for method in methods:
                        is_impossible = method == LDA and count == 1  # nothing varies within a class
                        is_enough = seed >= SLOW_SEEDS and is_long(method, name, backbone, count)
                        if not is_impossible and not is_enough:
                            yield "class", name, backbone, str(count), method, seed


def is_long(method: str, name: str, backbone: str, count: int) -> bool:
    """Whether one fit may take minutes. LDA makes a covariance for each class: 1,280 × 1,280 with lite0."""
    return (method == LDA and backbone == "lite0") or (method in SLOW and name == "caltech101" and count == 50)


def _pool_cells(seeds: range) -> Iterator[Cell]:
    for seed in seeds:
        for name in NAMES:
            for backbone in BACKBONES:
                for kind in KINDS_OF[name]:
                    for draw in BUDGETS:
                        yield "pool", name, backbone, kind, draw, seed


def run(options: argparse.Namespace) -> None:
    """Play what is missing, one cell after the other on one thread."""
    done = {tuple(json.loads(line)["cell"]) for line in options.raw.open()} if options.raw.exists() else set()
    missing = [cell for cell in cells(options.seeds) if cell not in done]
    print(f"{len(missing)} cells to play, {len(done)} are there", flush=True)
    with options.raw.open("a") as raw, threadpool_limits(1):
        for cell in missing:
            play = by_class if cell[0] == "class" else by_chance
            lines = [json.dumps({"cell": list(cell)} | line) + "\n" for line in play(cell, options.cache)]
            raw.write("".join(lines))  # at once: a cell is there as a whole or not at all
            raw.flush()


_load = lru_cache(load)


@lru_cache
def _graph(name: str, backbone: str, cache: Path) -> Graph:
    """Of all train images; made once, as the app makes it once for a pool."""
    data = _load(name, backbone, cache)
    return _made_graph(data.train, int(data.train_y.max()) + 1)


def by_class(cell: Cell, cache: Path) -> list[dict[str, Any]]:
    """One head on equally many labels of each class, or on all there are in a class with fewer."""
    _, name, backbone, count, method, seed = cell
    data = _load(name, backbone, cache)
    c = int(data.train_y.max()) + 1
    rng = np.random.default_rng([seed, int(count)])
    rows = np.concatenate([rng.permutation(np.flatnonzero(data.train_y == k))[: int(count)] for k in range(c)])
    known = np.full(len(data.train_y), -1)
    known[rows] = data.train_y[rows]
    drawn = Drawn(data.train, known, c, _graph(name, backbone, cache) if method == GUESSING else None)
    seconds, answer = timed(partial(METHODS[method], drawn))
    measured = exam(answer, data.test, data.test_y, is_sure=method != PROTOTYPES)
    return [{"labels": len(rows), "method": method, "seconds": seconds, **measured}]


def by_chance(cell: Cell, cache: Path) -> list[dict[str, Any]]:
    """labelloop's head, without and with guesses, on labels that came as they come in a pool; all budgets."""
    _, name, backbone, kind, draw, seed = cell
    data, (X, y) = _load(name, backbone, cache), pool(name, backbone, kind, seed, cache)
    c, lines = int(data.train_y.max()) + 1, []
    links = graph(X, np.arange(len(X)), c)
    for picked in _picked(X, y, draw, seed, data, c):
        known = np.full(len(y), -1)
        known[picked] = y[picked]
        drawn = Drawn(X, known, c, links, picked[y[picked] < 0])
        rest = np.setdiff1d(np.flatnonzero(y >= 0), picked)
        for method in (OURS, GUESSING):
            seconds, answer = timed(partial(METHODS[method], drawn))
            in_pool = {f"rest_{key}": value for key, value in exam(answer, X[rest], y[rest]).items()}
            lines.append(
                {"labels": len(picked), "method": method, "seconds": seconds}
                | exam(answer, data.test, data.test_y)
                | in_pool
            )
    return lines


def _picked(X: np.ndarray, y: np.ndarray, draw: str, seed: int, data: Any, c: int) -> list[np.ndarray]:
    """The rows answered at each budget that the pool has; a row of another set was answered "skip"."""
    budgets = [budget for budget in BUDGETS[draw] if budget < len(y)]
    if draw == "random":
        order = np.random.default_rng([seed, 5]).permutation(len(y))
        return [order[:budget] for budget in budgets]
    curve = simulate(
        X, y, draw, budgets=budgets, test_features=data.test, test_y=data.test_y, batch=BATCH, seed=seed,
        classes=[str(k) for k in range(c)],
    )  # fmt: skip
    return [np.array(point["picked"]) for point in curve]


def exam(answer: Answer, X: np.ndarray, y: np.ndarray, *, is_sure: bool = True) -> dict[str, float | None]:
    """Accuracy on X, and the calibration error of heads that say how sure they are."""
    proba = answer(X)
    error = calibration_error(proba, y) if is_sure else None
    return {"accuracy": float((proba.argmax(axis=1) == y).mean()), "calibration": error}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


# -- speed ------------------------------------------------------------------------------------------------------------


def clusters(c: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features (ROWS, DIM) of unit length and classes (ROWS,), each a round cluster."""
    centres = rng.standard_normal((c, DIM), np.float32)
    y = rng.integers(0, c, ROWS)
    X = centres[y] + SPREAD * rng.standard_normal((ROWS, DIM), np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True), y


def speed(options: argparse.Namespace) -> None:
    """Print a table: fit and score, ours and scikit-learn's on the same rows, in turn."""
    rows = []
    with threadpool_limits(options.threads):
        for c in (10, 100):
            for m in (100, 1000):
                rows.append(_speed_row(c, m, options.threads))
    print(f"### Fit, and score {ROWS:,} × {DIM}\n\n{machine()}; {options.threads} threads\n")
    print(
        "Median milliseconds of a fit and of the probabilities of all images, on labels drawn at random from made-up "
        "clusters; [runs] where they are not 7. The graph is made once for a pool, not for each fit. In brackets: × = "
        "how many times as fast as LogisticRegressionCV, which gets a process for each thread: its quickest way here.\n"
    )
    print(table(["classes", "labels", OURS, GUESSING, "the graph", LRCV, "accuracy % of the three"], rows))


def _speed_row(c: int, m: int, threads: int) -> list[object]:
    rng = np.random.default_rng([c, m])
    X, y = clusters(c, rng)
    rows = rng.choice(ROWS, m, replace=False)
    known = np.full(ROWS, -1)
    known[rows] = y[rows]
    making, links = timed(partial(_made_graph, X, c))
    drawn = Drawn(X, known, c, links)
    heads = {OURS: METHODS[OURS], GUESSING: METHODS[GUESSING], LRCV: partial(lrcv, threads=threads)}
    for head in heads.values():  # untimed: imports and worker processes
        head(Drawn(X[:500], np.where(np.arange(500) < 60, y[:500] % 3, -1), c, graph(X, np.arange(500), c)))
    seconds: dict[str, list[float]] = {name: [] for name in heads}
    right = {}
    for _ in range(REPEATS):
        for name, head in heads.items():
            if sum(seconds[name]) < PATIENCE:
                took, proba = timed(lambda head=head: head(drawn)(X))
                seconds[name].append(took)
                right[name] = f"{100 * (proba.argmax(axis=1) == y).mean():.0f}"
    theirs = statistics.median(seconds[LRCV])
    quick = [f"{_ms(seconds[name])} (×{theirs / statistics.median(seconds[name]):.0f})" for name in (OURS, GUESSING)]
    return [c, m, *quick, f"{1000 * making:,.0f}", _ms(seconds[LRCV]), ", ".join(right.values())]


def _made_graph(X: np.ndarray, c: int) -> Graph:
    made = graph(X, np.arange(len(X)), c)
    _ = made.links
    return made


def _ms(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):,.0f}" + (f" [{len(seconds)}]" if len(seconds) < REPEATS else "")


def main() -> None:
    """Parse, then run, report or time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report", "speed"])
    parser.add_argument("raw", type=Path, nargs="?", help="for run and report")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of speed")
    options = parser.parse_args()
    if options.what != "speed" and options.raw is None:
        parser.error(f"{options.what} needs a file: RAW.jsonl")
    if options.what == "report":
        from head_report import report

        print(report(options.raw))
    else:
        {"run": run, "speed": speed}[options.what](options)


if __name__ == "__main__":
    main()
