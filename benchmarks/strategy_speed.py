"""Speed, memory and identity of picks, one run side by side with modAL, scikit-activeml, small-text and DISTIL.

    python benchmarks/strategy_speed.py                    every strategy and peer, 10,000 to 1,000,000 images (hours)
    python benchmarks/strategy_speed.py growth             how the cost grows, against one pass over the features
    python benchmarks/strategy_speed.py identity           k-center and margin choose what the peers choose
    python benchmarks/strategy_speed.py threads            the same seed chooses the same on 1 and 2 threads

The peers are installed from peers.txt into build/peers, or are found in the environment whose Python is given with
--peers-python. Each choice runs in a process of its own (strategy_cell.py), after a small untimed one, on --threads
threads and without a GPU; it is repeated where the first took less than 20 s. A peer that ran out of time (--limit) or
memory (--memory) is not tried on more images or classes. Features are made up: 384 numbers in groups of unlike sizes.
With --json every measurement is appended to a file, and those already in it are not made again: begin a new file when
the code has changed. Run it on a machine that does nothing else: peers that use many short parallel loops slow down
more than in proportion on a busy one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, table
from peers import PEERS, counterparts
from strategy_cell import DIM, Cell, load, make

HERE = Path(__file__).parent
ONCE = 20  # seconds above which a choice is not repeated
GROWTH_N, GROWTH_B = 50_000, (10, 100, 1000)
FLOOR = "one pass over the features"
LATER = "–"  # ran out of time or memory on less
TOO_LARGE = ("allocate", "MemoryError", "bad_alloc")  # how torch, numpy and C++ put it


@dataclass
class Bench:
    """Runs cells and keeps what they gave."""

    options: argparse.Namespace
    folder: Path  # with the arrays
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by key(): one for each repeat

    def __post_init__(self) -> None:
        if self.options.json and self.options.json.exists():
            for line in self.options.json.read_text().splitlines():
                one = json.loads(line)
                self.results.setdefault(key(Cell(**one["cell"])), []).append(one["result"])

    def cell(self, who: str, name: str, n: int, c: int, b: int) -> Cell:
        """A cell with what the options say of all of them."""
        o = self.options
        return Cell(who, name, n, c, b, str(self.folder), o.threads, o.labels, o.limit, o.memory)

    def run(self, cell: Cell) -> list[dict[str, Any]]:
        """Its measurements: those there are, or new ones."""
        done = self.results.setdefault(key(cell), [])
        while not done or (len(done) < self.options.repeats and done[0].get("seconds", ONCE) < ONCE):
            done.append(self.measure(cell))
            print(
                f"{cell.who} {cell.name} n={cell.n} c={cell.c} b={cell.b}: {brief(done)}", file=sys.stderr, flush=True
            )
            if self.options.json:
                with self.options.json.open("a") as file:
                    file.write(json.dumps({"cell": asdict(cell) | {"folder": ""}, "result": done[-1]}) + "\n")
        return done

    def measure(self, cell: Cell) -> dict[str, Any]:
        """One process."""
        python = self.options.peers_python if cell.who == "peer" else sys.executable
        threads = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(self.options.threads)
        )
        environment = os.environ | threads | ({} if self.options.gpu else {"CUDA_VISIBLE_DEVICES": ""})
        command = [str(python), str(HERE / "strategy_cell.py"), cell.json()]
        ran = subprocess.run(command, capture_output=True, text=True, env=environment)
        if ran.returncode == 0:
            result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
            return result
        if ran.returncode == -signal.SIGALRM:
            return {"error": "time"}
        if any(word in ran.stderr for word in TOO_LARGE) or ran.returncode == -signal.SIGKILL:
            return {"error": "memory"}
        last = (ran.stderr.strip().splitlines() or [f"exit {ran.returncode}"])[-1]
        return {"error": last.replace("|", "/")[:200]}

    def is_hopeless(self, cell: Cell) -> bool:
        """Whether the same peer ran out of time or memory on no more images and classes."""
        tried = (
            self.cell("peer", cell.name, n, c, cell.b)
            for n in self.options.n
            for c in self.options.c
            if n <= cell.n and c <= cell.c and (n, c) != (cell.n, cell.c)
        )
        return any(one.get("error") in ("time", "memory") for less in tried for one in self.results.get(key(less), []))


def key(cell: Cell) -> str:
    """What tells one cell from another."""
    return f"{cell.who} {cell.name} n={cell.n} c={cell.c} b={cell.b} labels={cell.labels} threads={cell.threads}"


def brief(done: Sequence[dict[str, Any]], unit: str = "seconds") -> str:
    """'0.27 ± 0.01', or what went wrong."""
    if "error" in done[0]:
        return {"time": "out of time", "memory": "out of memory"}.get(done[0]["error"], "failed: " + done[0]["error"])
    values = [one[unit] for one in done]
    if None in values:
        return "unknown"
    if unit == "mb":
        return f"{max(values):,.0f}"
    return f"{middle(done):.3g}" + (f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else "")


def middle(done: Sequence[dict[str, Any]]) -> float:
    """Median seconds; infinite when it never finished."""
    return statistics.median(one["seconds"] for one in done) if "seconds" in done[0] else np.inf


def speed(bench: Bench) -> None:
    """Every strategy and its peers, n × c."""
    options = bench.options
    for c in options.c:
        seconds, memory = [], []
        for name in chosen(options):
            rivals = [peer for peer in counterparts(name) if not options.only_built_in]
            for row, who in [(name, "labelloop"), *((peer, "peer") for peer in rivals)]:
                cells = [cell_of(bench, who, row, n, c) for n in options.n]
                done = [None if who == "peer" and bench.is_hopeless(cell) else bench.run(cell) for cell in cells]
                bold = f"**{row}**" if who == "labelloop" else f"· {row}"
                memory.append([bold, *(LATER if one is None else brief(one, "mb") for one in done)])
                seconds.append([bold, *(LATER if one is None else brief(one) for one in done)])
            compare(bench, seconds[-len(rivals) - 1], name, rivals, c)
        head = ["", *(f"{n:,} images" for n in options.n)]
        beside = "" if options.only_built_in else "; × = times the fastest peer's speed"
        print(f"\n### Seconds to choose {options.b} images, {c} classes{beside}\n")
        print(table(head, seconds))
        print(f"\n### MB beyond features and probabilities at the highest, {c} classes\n")
        print(table(head, memory))


def cell_of(bench: Bench, who: str, name: str, n: int, c: int) -> Cell:
    """The cell; peers that read no probabilities are measured with the fewest classes only."""
    is_same = who == "peer" and not PEERS[name].reads_proba
    return bench.cell(who, name, n, min(bench.options.c) if is_same else c, bench.options.b)


def compare(bench: Bench, row: list[str], name: str, rivals: Sequence[str], c: int) -> None:
    """Add to the row of a built-in strategy how it compares with the fastest of its peers."""
    for place, n in enumerate(bench.options.n, 1):
        mine = middle(bench.results[key(bench.cell("labelloop", name, n, c, bench.options.b))])
        theirs = [bench.results.get(key(cell_of(bench, "peer", rival, n, c))) for rival in rivals]
        fastest = min((middle(one) for one in theirs if one), default=np.inf)
        if fastest < np.inf > mine:
            row[place] += f" (×{fastest / mine:.3g})"
        elif rivals:
            row[place] += " (no peer finished)"


def growth(bench: Bench) -> None:
    """Built-in strategies alone: against n, b and c, as seconds and as multiples of the floor."""
    options = bench.options
    few, n = min(options.c), min(GROWTH_N, max(options.n))
    grown = (
        [(k, few, options.b) for k in options.n],
        [(n, few, b) for b in GROWTH_B],
        [(n, c, options.b) for c in options.c],
    )
    cells = list(dict.fromkeys(cell for part in grown for cell in part))
    head = ["", *(f"n={k:,} c={c} b={b}" for k, c, b in cells)]
    rows, floors = [], []
    for who, name in [("floor", FLOOR), *(("labelloop", name) for name in chosen(options))]:
        done = [bench.run(bench.cell(who, name, *cell)) for cell in cells]
        floors = floors or [middle(one) for one in done]
        times = [middle(one) / floor for one, floor in zip(done, floors, strict=True)]
        rows.append([name, *(f"{brief(one)} ({k:.3g})" for one, k in zip(done, times, strict=True))])
    print("\n### How the cost grows: seconds, and in brackets how many passes over the features they are worth\n")
    print(table(head, rows))


def identity(bench: Bench) -> bool:
    """Compare picks; True when k-center and margin are those of scikit-activeml."""
    rows, same = [], True
    for name in ("k_center", "margin"):
        for n in bench.options.n:
            mine = bench.cell("labelloop", name, n, min(bench.options.c), bench.options.b)
            ours = bench.run(mine)[0]["rows"]
            for rival in counterparts(name):
                result = bench.run(bench.cell("peer", rival, n, mine.c, mine.b))[0]
                verdict = compare_picks(mine, ours, result["rows"]) if "rows" in result else brief([result])
                rows.append([name, f"{n:,}", rival, verdict])
                same &= verdict.startswith("equal") or not rival.startswith("skactiveml")
    print(f"\n### The same {bench.options.b} picks as the peers\n")
    print(table(["strategy", "images", "peer", "picks"], rows))
    return same


def threads(bench: Bench) -> bool:
    """Whether every built-in strategy chooses the same, in the same order, on 1 and on 2 threads."""
    rows = []
    for name in chosen(bench.options):
        cells = [bench.cell("labelloop", name, n, c, bench.options.b) for n in bench.options.n for c in bench.options.c]
        pairs = [[bench.run(replace(cell, threads=count))[0]["rows"] for count in (1, 2)] for cell in cells]
        rows.append([name, *("same" if one == two else "DIFFERENT" for one, two in pairs)])
    print("\n### The same seed on 1 and on 2 threads\n")
    print(table(["", *(f"{n:,} images, {c} classes" for n in bench.options.n for c in bench.options.c)], rows))
    return "DIFFERENT" not in {cell for row in rows for cell in row}


def compare_picks(cell: Cell, ours: Sequence[int], theirs: Sequence[int]) -> str:
    """'equal', or where they part and by how much the two differ in what the strategy decides by."""
    given = load(cell, cell.n)
    if cell.name == "margin":  # a set: packages return the n best in any order
        ours, theirs = (
            sorted(ours, key=lambda row: gap(given.proba, row)),
            sorted(theirs, key=lambda row: gap(given.proba, row)),
        )
    parts = next((k for k, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), None)
    if parts is None:
        return f"equal, all {len(ours)}"
    a, b = ours[parts], theirs[parts]
    if cell.name == "margin":
        apart = abs(gap(given.proba, a) - gap(given.proba, b))
    else:
        centres = given.features[[*np.flatnonzero(given.y >= 0), *ours[:parts]]].astype(np.float64)
        distances = [np.linalg.norm(centres - given.features[row], axis=1).min() for row in (a, b)]
        apart = abs(distances[0] - distances[1])
    return f"{'equal up to a tie' if apart < 1e-6 else 'DIFFERENT'} at pick {parts + 1}: {apart:.1e} apart"


def gap(proba: np.ndarray, row: int) -> float:
    """Best minus second-best probability."""
    second, best = np.sort(proba[row].astype(np.float64))[-2:]
    return float(best - second)


def chosen(options: argparse.Namespace) -> list[str]:
    """The built-in strategies to measure."""
    from labelloop.strategies import get, names

    built_in = [name for name in names() if get(name).origin.startswith("labelloop.")]
    return [name for name in built_in if not options.only or name in options.only]


def peers_python(given: Path | None) -> Path:
    """The Python that has the peers; makes it where none is given."""
    if given:
        return given
    folder = HERE.parent / "build" / "peers"
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "-r", HERE / "peers.txt"], check=True)
    return folder / "bin" / "python"


def numbers(text: str) -> list[int]:
    """'10000,50000'."""
    return sorted({int(part) for part in text.split(",")})


def versions(bench: Bench) -> Iterable[str]:
    """What the two environments computed with."""
    for who in ("labelloop", "peer"):
        found = {
            one["versions"]
            for name, done in bench.results.items()
            for one in done
            if name.startswith(who) and "versions" in one
        }
        if found:
            yield f"{who}: {max(found, key=len)}"


def repeated(repeats: int) -> str:
    """How often each cell was measured."""
    if repeats == 1:
        return "one process a cell"
    return f"median of {repeats} processes a cell ± standard deviation, of one where it took over {ONCE} s"


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="speed", choices=["speed", "growth", "identity", "threads"])
    parser.add_argument("--n", type=numbers, help="images, as 10000,50000")
    parser.add_argument("--c", type=numbers, default=[10, 100], help="classes")
    parser.add_argument("--b", type=int, default=100, help="images to choose")
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--only", type=lambda text: text.split(","), help="built-in strategies, as auto,badge")
    parser.add_argument("--only-built-in", action="store_true", help="leave the peers out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=600, help="seconds for one choice")
    parser.add_argument("--memory", type=float, default=16, help="GB for one choice")
    parser.add_argument("--gpu", action="store_true", help="let strategies see the GPU")
    parser.add_argument("--peers-python", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.what in ("identity", "threads"):
        options.n, options.repeats = options.n or [2000, 10_000], 1
    options.n = options.n or [10_000, 50_000, 200_000, 1_000_000]
    options.only_built_in |= options.what in ("growth", "threads")
    return options


def main() -> None:
    """Parse, make the arrays, run."""
    options = parsed()
    if not options.only_built_in:
        options.peers_python = peers_python(options.peers_python)
    print(f"\n## Strategies, {options.what}\n\n{machine()}\n")
    print(f"{DIM} features, {options.labels} labels, {options.threads} threads; {repeated(options.repeats)}")
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), max(options.n), options.c)
        bench = Bench(options, Path(folder))
        run = {"speed": speed, "growth": growth, "identity": identity, "threads": threads}[options.what]
        ok = run(bench)
        print("\n" + "; ".join(versions(bench)))
    sys.exit(ok is False)


if __name__ == "__main__":
    main()
