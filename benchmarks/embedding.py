"""Embedding from end to end beside the bare network: images/s, on 1 and 2 threads, on small and on large photographs.

    python benchmarks/embedding.py [--json speed.jsonl]          about 5 minutes on an idle machine

Photographs of Caltech-101 as they are (up to 224 pixels), and enlarged to 640 × 480 and 2048 × 1536. For each backbone
and number of threads, in one process, all of these in turn, several times:

    bare        batches that are ready go through the network, one thread a batch, as embedding does it
    shared      the same, all threads at one batch, as torch does it by itself
    prepare     the ceiling of decoding: files are opened, shrunk and cut, and nothing more
    end to end  embed_missing: from files on the disk to features on the disk

On a CPU, decoding takes its time from the same cores as the network. So the most that can be had is 1 / (1 / bare +
1 / prepare), and "of that" says how close it comes. Left out: a GPU; reading files from a disk that is slow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import real_sets
from common import machine, table
from PIL import Image

from labelloop.backbone import Backbone, TimmBackbone
from labelloop.cores import threads, workers
from labelloop.embedding import MOST_THREADS, embed_missing
from labelloop.features import FeatureStore
from labelloop.images import open_for

BACKBONES = ("tf_efficientnet_lite0", "mobilenetv2_100", "vit_tiny_patch16_224", "embedded")
SIZES = {"small": None, "640 × 480": (640, 480), "2048 × 1536": (2048, 1536)}
Times = dict[str, Any]


def make_images(folder: Path, n: int) -> None:
    """n photographs in each size, in folders called like it."""
    with tarfile.open(real_sets.SHARED / "data" / "caltech101.tar") as archive:
        archive.extractall(folder / "all", filter="data")
    files = sorted((folder / "all").glob("*/test/*/*.jpg"))
    for row, k in enumerate(np.random.default_rng(0).permutation(len(files))[:n]):
        for name, size in SIZES.items():
            target = folder / name / f"{row:03d}.jpg"
            target.parent.mkdir(exist_ok=True)
            if size is None:
                target.write_bytes(files[k].read_bytes())
            else:
                Image.open(files[k]).convert("RGB").resize(size, Image.Resampling.BICUBIC).save(target, quality=90)


# -- one backbone on one number of threads: a process of its own ------------------------------------------------------


def measure(name: str, folder: Path, repeats: int) -> Times:
    """Images/s of each kind, `repeats` times, after one that does not count."""
    backbone = real_sets.with_weights(name)
    files = {size: sorted((folder / size).glob("*.jpg")) for size in SIZES}
    ready = [_ready(backbone, path) for path in files["small"]]
    runs: Times = {"bare": [], "shared": [], "prepare": [], "end_to_end": []}
    for _ in range(repeats + 1):
        runs["bare"].append(_speed(len(ready), partial(_forward, backbone, ready)))
        runs["shared"].append(_speed(len(ready), partial(_forward_shared, backbone, ready)))
        for kind, work in (("prepare", _prepare), ("end_to_end", _end_to_end)):
            runs[kind].append(
                {size: _speed(len(paths), partial(work, backbone, paths)) for size, paths in files.items()}
            )
    counted = {kind: values[1:] for kind, values in runs.items()}
    return {"backbone": name, "threads": threads(MOST_THREADS), "n": len(ready), **counted}


def _speed(n: int, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return n / (time.perf_counter() - begin)


def _ready(backbone: Backbone, path: Path) -> Any:
    """What the bare network starts from; the built-in features are made of one image alone, so of that."""
    image = open_for(path, backbone.size)
    return backbone.prepare(image) if isinstance(backbone, TimmBackbone) else image


def _bare(backbone: Backbone, batch: Sequence[Any]) -> None:
    backbone.forward(batch if isinstance(backbone, TimmBackbone) else [backbone.prepare(image) for image in batch])


@contextmanager
def _as_embedding(backbone: Backbone) -> Iterator[Executor]:
    with backbone.shared_by(threads(MOST_THREADS)), workers(MOST_THREADS) as executor:
        yield executor


def _batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _forward(backbone: Backbone, ready: list[Any]) -> None:
    with _as_embedding(backbone) as executor:
        list(executor.map(lambda batch: _bare(backbone, batch), _batches(ready, backbone.batch)))


def _forward_shared(backbone: Backbone, ready: list[Any]) -> None:
    for batch in _batches(ready, backbone.batch):
        _bare(backbone, batch)


def _prepare(backbone: Backbone, paths: list[Path]) -> None:
    with _as_embedding(backbone) as executor:
        list(executor.map(lambda batch: [_ready(backbone, path) for path in batch], _batches(paths, backbone.batch)))


def _end_to_end(backbone: Backbone, paths: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore.create(Path(folder) / "features", backbone.dim, {})
        for _ in embed_missing(enumerate(paths, 1), store, backbone, on_problem=_refuse):
            pass


def _refuse(number: int, problem: str) -> None:
    raise SystemExit(f"image {number}: {problem}")


# -- all of them, and the tables --------------------------------------------------------------------------------------


def cell(name: str, n_threads: int, folder: Path, repeats: int) -> Times:
    """`measure` in a process that has so many threads."""
    count = str(n_threads)
    env = {**os.environ, "OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count, "MKL_NUM_THREADS": count}
    command = [sys.executable, __file__, "cell", name, str(folder), str(repeats)]
    ran = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    found: Times = json.loads(ran.stdout.splitlines()[-1])
    return found


def report(lines: list[Times]) -> str:
    """A table of speeds, and one of how they grow from the fewest threads to the most."""
    rows: list[tuple[object, ...]] = []
    growth: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        bare, shared = median(line["bare"]), median(line["shared"])
        for size in SIZES:
            prepare, found = (median([run[size] for run in line[kind]]) for kind in ("prepare", "end_to_end"))
            most = 1 / (1 / bare + 1 / prepare)
            spread = (
                f"{min(run[size] for run in line['end_to_end']):.0f}–{max(run[size] for run in line['end_to_end']):.0f}"
            )
            rows.append(
                (line["backbone"], line["threads"], size, f"{bare:.0f}", f"{shared:.0f}", f"{prepare:.0f}",
                 f"{found:.0f} ({spread})", f"{found / bare:.2f}", f"{found / most:.2f}")
            )  # fmt: skip
            growth.setdefault((line["backbone"], size), []).append(found)
    head = (
        "backbone",
        "threads",
        "photographs",
        "bare",
        "shared",
        "prepare",
        "end to end",
        "of bare",
        "of what can be",
    )
    grown = [
        (name, size, f"× {speeds[-1] / speeds[0]:.2f}") for (name, size), speeds in growth.items() if len(speeds) > 1
    ]
    return f"{table(head, rows)}\n\n{table(('backbone', 'photographs', 'all threads beside one'), grown)}"


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["cell"]:
        name, folder, repeats = sys.argv[2:]
        print(json.dumps(measure(name, Path(folder), int(repeats))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(machine(), "", f"Images/s, {options.images} images of each size, median of {options.repeats}", sep="\n")
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), options.images)
        for name in options.backbones:
            for n_threads in options.threads:
                lines.append(cell(name, n_threads, Path(folder), options.repeats))
                print(f"{name} on {n_threads}: done", file=sys.stderr)
    if options.json:
        options.json.write_text("".join(json.dumps(line) + "\n" for line in lines))
    print("", report(lines), sep="\n")


if __name__ == "__main__":
    main()
