"""One measurement in a process of its own: one strategy, of labelloop or a peer, chooses once from made-up features.

strategy_speed.py starts it as `python strategy_cell.py JSON`, under the Python that has the package; the last line it
prints is the result as JSON. It ends itself when its time or memory is used up. Left out: repeats and tables
(strategy_speed.py).
"""

from __future__ import annotations

import ctypes
import json
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

DIM, GROUPS, BLOCK = 384, 200, 4096
WARM_ROWS, WARM_BATCH = 2000, 10
SHORT = 0.1  # seconds below which the median of nine choices in the same process counts
IMPORTS = 120  # seconds that a package may take to load, on top of the limit


@dataclass(frozen=True)
class Cell:
    """What is to be measured."""

    who: str  # "labelloop", "peer" or "floor"
    name: str
    n: int
    c: int  # classes
    b: int  # images to choose
    folder: str  # with the arrays of make()
    threads: int = 2
    labels: int = 200
    limit: int = 600  # seconds for the choice
    memory: float = 16.0  # GB for the choice
    seed: int = 0

    def json(self) -> str:
        """As the argument of this script."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Arrays:
    """A pool before anything is chosen."""

    features: np.ndarray  # (n, DIM) float32, unit length, memory-mapped
    proba: np.ndarray  # (n, c) float32, memory-mapped
    y: np.ndarray  # (n,) -1 where there is no label


Chooser = Callable[[Arrays, int], np.ndarray]


def make(folder: Path, n: int, classes: list[int]) -> None:
    """Save features in 200 groups of unlike sizes, and what a model that is right about 4 times in 5 says of them.

    Around its centre a group varies along 24 directions much and along all others little, as real features do. A
    group is of one class, so that with 10 classes a class is made of 20 groups.
    """
    rng = np.random.default_rng(0)
    centres = _unit(rng.normal(size=(GROUPS, DIM)))
    directions = _unit(rng.normal(size=(24, DIM))) * 0.2
    share = rng.dirichlet(np.full(GROUPS, 2.0))
    X = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, (n, DIM))
    group = rng.choice(GROUPS, n, p=share).astype(np.int16)
    for block in _blocks(n, 50_000):
        z, rest = rng.standard_normal((len(X[block]), 24)), rng.standard_normal((len(X[block]), DIM), np.float32)
        X[block] = _unit(centres[group[block]] + z @ directions + 0.02 * rest)
    for c in classes:
        heads = _unit(np.stack([centres[np.arange(GROUPS) % c == k].sum(axis=0) for k in range(c)]))
        heads = 30 * (heads + rng.normal(size=heads.shape) * 0.03)
        P = np.lib.format.open_memmap(folder / f"proba_{c}.npy", "w+", np.float32, (n, c))
        for block in _blocks(n, 50_000):
            logits = X[block] @ heads.T.astype(np.float32)
            P[block] = np.exp(logits - logits.max(axis=1, keepdims=True))
            P[block] /= P[block].sum(axis=1, keepdims=True)
        np.save(folder / f"y_{c}.npy", group % c)


def load(cell: Cell, n: int) -> Arrays:
    """The first n rows, some of them labeled: at least one of each class that they have, as far as that goes."""
    folder = Path(cell.folder)
    truth = np.load(folder / f"y_{cell.c}.npy")[:n].astype(np.int64)
    rng = np.random.default_rng(cell.seed)
    order = rng.permutation(n)
    first = order[np.unique(truth[order], return_index=True)[1]]
    rows = np.concatenate([first, order[~np.isin(order, first)]])[: cell.labels]
    y = np.full(n, -1)
    y[rows] = truth[rows]
    features, proba = (np.load(folder / file, mmap_mode="r")[:n] for file in ("features.npy", f"proba_{cell.c}.npy"))
    return Arrays(np.asarray(features), np.asarray(proba), y)


def chooser(cell: Cell) -> Chooser:
    """(arrays, b) -> rows. Everything it needs is imported when it is made or in the untimed call."""
    if cell.who == "floor":
        return one_pass
    if cell.who == "peer":
        from peers import PEERS

        peer = PEERS[cell.name]
        return lambda given, b: peer(
            given.features, given.y, given.proba if peer.reads_proba else None, b, np.random.default_rng(cell.seed)
        )
    from labelloop.strategies import choose
    from labelloop.types import Pool

    def built_in(given: Arrays, b: int) -> np.ndarray:
        names, ids = tuple(map(str, range(cell.c))), np.arange(len(given.y))
        pool = Pool(ids, given.features, given.y, names, given.y < 0, given.proba)
        chosen = choose(pool, b, cell.name, np.random.default_rng(cell.seed))
        assert chosen.strategy == cell.name, f"{chosen.strategy} ran"
        return chosen.rows

    return built_in


def one_pass(given: Arrays, b: int) -> np.ndarray:
    """The floor: every feature read once, one product for each image."""
    v = np.ones(DIM, np.float32)
    score = np.concatenate([given.features[block] @ v for block in _blocks(len(given.y), BLOCK)])
    return np.argpartition(-score, b)[:b]


def measure(cell: Cell) -> dict[str, Any]:
    """Seconds on the clock and of processors, and MB at the highest, beyond what there was before.

    Before: the arrays are resident and everything is imported.
    """
    choose = chooser(cell)
    signal.alarm(cell.limit + IMPORTS)  # not handled: the process dies at once, wherever it is
    choose(load(cell, min(WARM_ROWS, cell.n)), WARM_BATCH)
    given = load(cell, cell.n)
    for array in (given.features, given.proba):  # read from disk, and resident, so that they do not count as memory
        for block in _blocks(cell.n, 50_000):
            array[block].sum()
    before = _allow(cell.memory)
    signal.alarm(cell.limit)
    rows, seconds, cpu = _timed(choose, given, cell.b)
    if seconds < SHORT:
        seconds = statistics.median([seconds, *(_timed(choose, given, cell.b)[1] for _ in range(8))])
    signal.alarm(0)
    peak = _status().get("VmHWM")
    mb = None if peak is None or before is None else max(peak - before, 0) / 1024
    return {"seconds": seconds, "cpu": cpu, "mb": mb, "rows": np.asarray(rows).tolist(), "versions": _versions()}


def _timed(choose: Chooser, given: Arrays, b: int) -> tuple[np.ndarray, float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    rows = choose(given, b)
    return rows, time.perf_counter() - start, time.process_time() - cpu


def _allow(gigabytes: float) -> int | None:
    """Forbid more memory than that from now on, forget the highest so far; the resident kB now, None if unknown."""
    if "VmData" not in _status():
        return None
    limit = _status()["VmData"] * 1024 + int(gigabytes * 2**30)
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # what the untimed call left free would be used without being seen
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    Path("/proc/self/clear_refs").write_text("5")
    return _status()["VmRSS"]


def _status() -> dict[str, int]:
    """Figures in kB that Linux keeps of this process; empty elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}


def _versions() -> str:
    """Of what does the arithmetic."""
    found = [f"{name} {sys.modules[name].__version__}" for name in ("numpy", "sklearn", "torch") if name in sys.modules]
    return ", ".join(found)


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(k, min(k + size, n)) for k in range(0, n, size))


def _unit(X: np.ndarray) -> np.ndarray:
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def main() -> None:
    """Measure what the argument says."""
    print("\n" + json.dumps(measure(Cell(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
