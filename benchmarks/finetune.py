"""Fine-tuning against the frozen head and fastai, the rule that swaps models, and where a next fine-tune starts.

    python benchmarks/finetune.py versus CACHE --labels 50 100 200 --peer-python VENV/bin/python
    python benchmarks/finetune.py recipes CACHE --labels 100 300 --recipes "as it is" "flips"
    python benchmarks/finetune.py projects CACHE
    python benchmarks/finetune.py rounds CACHE
    python benchmarks/finetune.py report CACHE

All train on random labels of real photographs with a small network at a small image size on one core, make the features
anew, fit a head on them and ask it about 500 test images; `versus` asks a head that learned from guesses as well. What
is in CACHE already is not run again; `report` prints the tables of what is there. `projects` are fine-tunes with
settings that are meant to be bad, for the rule. `versus` takes a Python with fastai (`python -m venv VENV &&
VENV/bin/pip install fastai timm`); without it, ours runs alone.
Left out: sizes that need a GPU.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from finetune_cells import SETS, SIZE, Kept, Photos, changed, features, peer, small_weights, tune
from finetune_report import report

from labelloop.backbone import Backbone
from labelloop.train.head import Head
from labelloop.train.recipe import batch_and_epochs

RECIPES: dict[str, dict[str, float]] = {
    "as it is": {},
    "flips": {"FLIPPED": 0.5},
    "twice the rate": {"RATE": 1e-3},
    "no smoothing": {"SMOOTHING": 0.0},
    "smaller images first": {"SMALLER": 0.67},
    "all layers": {"FROZEN_BELOW": 0.0},
    "fewer layers": {"FROZEN_BELOW": 0.2},
}
BAD: dict[str, dict[str, float]] = {
    "20 times the rate": {"RATE": 1e-2},
    "5 times the rate": {"RATE": 2.5e-3},
    "a twentieth of the rate": {"RATE": 2.5e-5},
    "an eighth of the steps": {"CPU_IMAGES": 300, "CPU_EPOCHS": 2},
    "every layer at the full rate": {"FROZEN_BELOW": 0.0, "LAYER_DECAY": 1.0},
    "batch-norm statistics of few images": {"FEW": 0},
    "a third of its labels are wrong": {},
    "no smoothing, flips": {"SMOOTHING": 0.0, "FLIPPED": 0.5},
}
WRONG = {"a third of its labels are wrong": 0.33}
FASTAI_EPOCHS = 6
STARTS = ("the pretrained weights", "the last fine-tuned ones", "these, shrunk and perturbed")
SHRINK, PERTURB = 0.4, 0.1
VERSUS = [50, 100, 200, 500, 2000]
ROUNDS = [50, 75, 112, 168, 252]


class Bench:
    """Where things are kept, and the photographs."""

    def __init__(self, folder: Path) -> None:
        self.kept = Kept(folder)
        self.folder = folder
        self.weights = small_weights(folder)
        self.photos = cache(lambda name: Photos(name, folder, self.weights))

    def cells(self, options: argparse.Namespace) -> Iterator[tuple[Photos, int, int]]:
        """Sets, labels and seeds, few labels first: a run that is cut short has something of every set."""
        for seed, n, name in product(options.seeds, options.labels, options.sets):
            photos = self.photos(name)
            if n <= 0.7 * len(photos.y):
                yield photos, n, seed

    def tuned(self, photos: Photos, n: int, seed: int, job: str, name: str, wrong: float = 0.0) -> None:
        """Run and keep one fine-tune, the share `wrong` of whose labels are random ones."""
        key = {"job": job, "set": photos.name, "labels": n, "seed": seed, "name": name}
        if self.kept.has(**key):
            return
        rows, rng = photos.draw(n, seed), np.random.default_rng(seed)
        y = np.where(rng.random(n) < wrong, rng.choice(photos.y, n), photos.y[rows])
        begin = time.process_time()
        old = photos.head(photos.base, rows)
        before_seconds = time.process_time() - begin
        backbone, head, seconds = tune(photos, rows, y, self.weights, self.folder / "run", seed)
        said = {"new": said_by(backbone, head, photos), "old": old.logits(photos.frozen), "y": photos.test_y}
        found = {
            "right": photos.right(said["new"]),
            "seconds": seconds,
            "before": photos.right(said["old"]),
            "before_seconds": before_seconds,
        }
        if job == "versus":
            said |= in_use(photos, backbone, rows)
            found |= {f"{side} in use": photos.right(said[f"{side} in use"]) for side in ("new", "old")}
        self.kept.add({**key, **found}, said)

    def fastai(self, photos: Photos, n: int, seed: int, epochs: int, python: Path) -> None:
        """Run and keep fastai's fine_tune, with one frozen epoch before so many with all layers."""
        name = "fastai" if epochs == FASTAI_EPOCHS else "fastai, as many images"
        key = {"job": "versus", "set": photos.name, "labels": n, "seed": seed, "name": name}
        if not self.kept.has(**key):
            logits, seconds = peer(photos, photos.draw(n, seed), epochs, seed, python, self.folder)
            self.kept.add({**key, "right": photos.right(logits), "seconds": seconds})

    def full(self, photos: Photos) -> None:
        """Keep what the head on frozen features comes to with all training images: what fine-tuning has to pass."""
        key = {"job": "full", "set": photos.name, "labels": len(photos.y), "seed": 0, "name": "head"}
        if not self.kept.has(**key):
            head = photos.head(photos.base, np.arange(len(photos.y)))
            self.kept.add({**key, "right": photos.right(head.logits(photos.frozen))})


def said_by(backbone: Backbone, head: Head, photos: Photos) -> np.ndarray:
    """Logits of the test images."""
    return head.logits(features(backbone, photos.test))


def in_use(photos: Photos, tuned: Backbone, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Logits of the test images by heads as labelloop fits them, with guesses, on new and on frozen features."""
    new = photos.head_in_use(features(tuned, photos.pool), rows)
    old = photos.head_in_use(photos.frozen_pool, rows)
    return {"new in use": said_by(tuned, new, photos), "old in use": old.logits(photos.frozen)}


def versus(options: argparse.Namespace) -> None:
    """Ours, fastai with its six epochs, and fastai with as many images as ours where that is more."""
    bench = Bench(options.cache)
    for photos, n, seed in bench.cells(options):
        bench.tuned(photos, n, seed, "versus", "ours")
        if options.peer_python is None:
            continue
        bench.fastai(photos, n, seed, FASTAI_EPOCHS, options.peer_python)
        epochs = batch_and_epochs(n, on_cpu=True)[1] - 1
        if epochs > FASTAI_EPOCHS:
            bench.fastai(photos, n, seed, epochs, options.peer_python)
    for name in options.sets:
        bench.full(bench.photos(name))


def recipes(options: argparse.Namespace) -> None:
    """Other constants than those in the package."""
    bench = Bench(options.cache)
    for photos, n, seed in bench.cells(options):
        for name in options.recipes or RECIPES:
            with changed(RECIPES[name]):
                bench.tuned(photos, n, seed, "recipes", name)


def projects(options: argparse.Namespace) -> None:
    """Bad settings, for the rule."""
    bench = Bench(options.cache)
    for photos, n, seed in bench.cells(options):
        for name, constants in BAD.items():
            with changed(constants):
                bench.tuned(photos, n, seed, "projects", name, WRONG.get(name, 0.0))


def rounds(options: argparse.Namespace) -> None:
    """Five rounds with half as many labels again in each, by what each fine-tune starts from."""
    bench = Bench(options.cache)
    for photos, n, seed in bench.cells(options):
        for start in STARTS if n > options.labels[0] else STARTS[:1]:
            key = {"job": "rounds", "set": photos.name, "labels": n, "seed": seed, "name": start}
            if not bench.kept.has(**key):
                bench.kept.add({**key, **one_round(bench, photos, seed, start, n, options.labels)})


def one_round(bench: Bench, photos: Photos, seed: int, start: str, n: int, labels: list[int]) -> dict[str, float]:
    """Percent right and CPU seconds; what it started from and came to is kept in a file for each round."""

    def place(k: int) -> Path:
        began = STARTS.index(start) if k else 0  # all have the first round in common
        return bench.folder / f"round-{photos.name}-{seed}-{began}-{labels[k]}.safetensors"

    at = labels.index(n)
    weights, rows = bench.weights, photos.draw(n, seed)
    if at and start != STARTS[0]:
        weights = place(at - 1)
    if at and start == STARTS[2]:
        weights = shrunk(weights, bench.weights, bench.folder / "shrunk.safetensors", seed)
    backbone, head, seconds = tune(photos, rows, photos.y[rows], weights, bench.folder / "run", seed)
    shutil.copy(bench.folder / "run" / "model.safetensors", place(at))
    return {"right": photos.right(said_by(backbone, head, photos)), "seconds": seconds}


def shrunk(last: Path, pretrained: Path, out: Path, seed: int) -> Path:
    """Weights of which 40 % of what the last fine-tune changed is left, with noise of a tenth of its size.

    Ash & Adams (2020) shrink towards 0 and add a fresh start; here the fresh start is what was pretrained. Shrunk
    towards 0, the network would no longer be the one whose frozen batch-norm statistics are used.
    """
    from safetensors.torch import load_file, save_file

    torch.manual_seed(seed)
    new, old, about = load_file(last), load_file(pretrained), {"labelloop": json.dumps({"size": SIZE})}
    for key, value in new.items():
        if key in old and value.shape == old[key].shape and value.is_floating_point():
            change = SHRINK * (value - old[key])
            noise = PERTURB * change.std() * torch.randn(value.shape) if value.numel() > 1 else 0.0
            new[key] = old[key] + change + noise
    save_file(new, out, about)
    return out


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    defaults = ((versus, VERSUS), (recipes, [100, 300]), (projects, [50, 100, 200]), (rounds, ROUNDS))
    for run, labels in defaults:
        command = commands.add_parser(run.__name__)
        command.add_argument("cache", type=Path)
        command.add_argument("--sets", choices=SETS, nargs="+", default=SETS)
        command.add_argument("--labels", type=int, nargs="+", default=labels)
        command.add_argument("--seeds", type=int, nargs="+", default=[0])
        command.set_defaults(run=run)
        if run is versus:
            command.add_argument("--peer-python", type=Path)
        if run is recipes:
            command.add_argument("--recipes", nargs="+", choices=RECIPES)
    one = commands.add_parser("report")
    one.add_argument("cache", type=Path)
    one.set_defaults(run=lambda options: report(Kept(options.cache)))
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
