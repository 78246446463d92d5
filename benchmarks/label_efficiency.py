"""Accuracy against labels, for every strategy, on real photo sets, three kinds of pools, two batch sizes, ten seeds.

    python benchmarks/label_efficiency.py run RAW.jsonl [--cache FOLDER] [--only eurosat,margin] [--seeds 10] [--plain]
    python benchmarks/label_efficiency.py report RAW.jsonl [--full]
    python benchmarks/label_efficiency.py saved RAW.jsonl PLAIN.jsonl

`run` appends one JSON line for each curve and leaves out those that the file has, so that it can be stopped and go on.
With --plain the head learns from labels alone, as other tools' do; such curves go to a file of their own.
`report` prints Markdown: answers and areas, with --full every curve. `saved` prints with how many labels `auto` is as
accurate as random with the plain head. Peers' own implementations (peers.py) are played
by the same simulation, with the same head, where their packages are installed. `--sets mnist,solar,solar_grades` are
sets that nothing was tuned to (elsewhere.py).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one curve a core; before numpy is imported

import peers
from real_sets import BACKBONES, KINDS_OF, NAMES, load, pool

from labelloop import strategies
from labelloop.simulate import simulate

DEFAULT_CACHE = Path.home() / ".cache" / "labelloop-benchmarks"
BATCHES = (10, 40)
BUDGETS = {
    (10, False): [10, 20, 40, 60, 80, 120, 160, 200, 300],
    (40, False): [40, 80, 120, 160, 200, 300],
    (10, True): [20, 50, 100, 150, 200, 300, 400],
    (40, True): [40, 80, 120, 200, 280, 400, 500, 600, 800, 1000],
}
LONG = {False: [300], True: [500, 700, 1000]}  # further budgets of random, which others are compared with
PACKAGES = {"modal": "modAL", "skactiveml": "skactiveml", "small_text": "small_text", "distil": "distil"}
Cell = tuple[str, str, str, int, str, int]  # set, backbone, kind, batch, strategy, seed


def cells(sets: list[str], names: list[str], seeds: int, only: list[str]) -> Iterator[Cell]:
    """Every curve that is wanted, seed by seed, so that a run that is stopped has whole seeds."""
    for seed in range(seeds):
        for name in sets:
            for backbone in BACKBONES:
                for kind in KINDS_OF[name]:
                    for batch in BATCHES:
                        for strategy in names:
                            cell = (name, backbone, kind, batch, strategy, seed)
                            if all(any(str(part) in choice.split("|") for part in cell) for choice in only):
                                yield cell


def play(cell: Cell, cache: Path, folder: Path | None, guesses: bool) -> dict[str, object]:
    """One curve."""
    name, backbone, kind, batch, strategy, seed = cell
    prepare(folder)
    data, (X, y) = load(name, backbone, cache), pool(name, backbone, kind, seed, cache)
    many = name == "caltech101"
    budgets = BUDGETS[batch, many]
    if strategy == "random":  # as good in one draw as in many: the batch only changes which images
        batch, budgets = 1000, sorted({*budgets, *LONG[many]})
    curve = simulate(
        X, y, strategy, budgets=[b for b in budgets if b <= len(y)],
        test_features=data.test, test_y=data.test_y, batch=batch, seed=seed, classes=range(int(data.train_y.max()) + 1),
        guesses=guesses,
    )  # fmt: skip
    for point in curve:
        del point["picked"]
    return {"cell": list(cell), "n": len(y), "curve": curve}


def prepare(folder: Path | None) -> None:
    """Register the peers' implementations and drop-ins on trial."""
    peers.as_strategies()
    if folder is not None:
        from labelloop.strategies.folder import load_folder

        for problem in load_folder(folder):
            raise problem


def all_names() -> list[str]:
    """All strategies, without those of packages that are not installed."""
    absent = [prefix for prefix, package in PACKAGES.items() if find_spec(package) is None]
    missing = {name for name in peers.PEERS for prefix in absent if name.startswith(f"{prefix}_")}
    return [name for name in strategies.names() if name not in missing]


def run(options: argparse.Namespace) -> None:
    """Play what is missing, in as many processes as there are cores."""
    prepare(options.strategies_folder)
    names = options.strategies.split(",") if options.strategies else all_names()
    done = {tuple(json.loads(line)["cell"]) for line in options.raw.open()} if options.raw.exists() else set()
    missing = [cell for cell in cells(options.sets.split(","), names, options.seeds, options.only) if cell not in done]
    print(f"{len(missing)} curves to play, {len(done)} are there", flush=True)
    with ProcessPoolExecutor(options.processes) as workers, options.raw.open("a") as raw:
        how = options.cache, options.strategies_folder, not options.is_plain
        jobs = [workers.submit(play, cell, *how) for cell in missing]
        for job in as_completed(jobs):
            raw.write(json.dumps(job.result()) + "\n")
            raw.flush()


def main() -> None:
    """Parse, then run or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report", "saved"])
    parser.add_argument("raw", type=Path)
    parser.add_argument("plain", type=Path, nargs="?", help="of saved: curves that were played with --plain")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--sets", default=",".join(NAMES), help="comma-separated; those of ../shared unless given")
    parser.add_argument("--strategies", help="comma-separated; all unless given")
    parser.add_argument("--strategies-folder", type=Path, help="a folder of drop-ins to play as well")
    parser.add_argument("--only", action="append", default=[], help="parts of a cell, a|b for either; may be repeated")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument(
        "--plain", dest="is_plain", action="store_true", help="play with a head that learns from labels alone"
    )
    parser.add_argument("--full", action="store_true", help="report every curve")
    parser.add_argument("--drawings", type=Path, help="a folder for curves of some settings as SVG")
    options = parser.parse_args()
    if (options.what == "saved") != (options.plain is not None):
        parser.error("`saved` wants two files, the others one")
    if options.what == "run":
        run(options)
    else:
        from efficiency_report import draw, report, report_saved

        if options.what == "saved":
            report_saved(options.raw, options.plain)
            return
        report(options.raw, full=options.full)
        if options.drawings:
            draw(options.raw, options.drawings)


if __name__ == "__main__":
    main()
