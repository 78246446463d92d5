"""Fine-tuning against the frozen head, recipe by recipe, and the rule that decides between the two.

    python benchmarks/finetune.py recipes CACHE --set eurosat --labels 100 300 --seeds 2
    python benchmarks/finetune.py rule CACHE

`recipes` trains on random labels at a small image size, makes the features anew, fits a head on them and asks it and
the head on frozen features about test images. What both said is kept in CACHE. `rule` draws judging images out of all
that is kept there and counts how often a model was put in charge that is worse, and how many gains were caught.
Left out: other packages; sizes that need a GPU.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tarfile
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
from common import machine, mean_sd, table

from labelloop.backbone import TimmBackbone, load_backbone
from labelloop.images import open_upright
from labelloop.judging import compare
from labelloop.train import augment, finetune, recipe
from labelloop.train.head import Head, fit_head

SHARED = Path(__file__).parent.parent.parent / "shared"
SETS = ("eurosat", "signdigits", "caltech101")
BACKBONE, SIZE, TESTED = "mobilenetv2_100", 96, 500
MODULES = (augment, finetune, recipe)  # a constant is changed wherever it is known

RECIPES: dict[str, dict[str, float]] = {
    "as it is": {},
    "flips": {"FLIPPED": 0.5},
    "twice the rate": {"RATE": 1e-3},
    "flips, twice the rate": {"FLIPPED": 0.5, "RATE": 1e-3},
    "smaller images first": {"SMALLER": 0.67},
    "all layers": {"FROZEN_BELOW": 0.0},
    "fewer layers": {"FROZEN_BELOW": 0.2},
    "20 times the rate": {"RATE": 1e-2},  # these two are there to be refused
    "a twentieth of the rate": {"RATE": 2.5e-5},
}


class Photos:
    """A set of photographs: training paths and classes, test images as the network takes them."""

    def __init__(self, name: str, cache: Path, base: TimmBackbone) -> None:
        if not (cache / name).exists():
            with tarfile.open(SHARED / "data" / f"{name}.tar") as archive:
                archive.extractall(cache, filter="data")
        self.classes = sorted(folder.name for folder in (cache / name / "train").iterdir() if folder.is_dir())
        self.paths, self.y = self._list(cache / name / "train")
        paths, y = self._list(cache / name / "test")
        tested = np.random.default_rng(1).permutation(len(paths))[:TESTED]
        self.test = prepared(base, paths[tested])
        self.test_y = y[tested]

    def _list(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        files = [(file, k) for k, name in enumerate(self.classes) for file in sorted((folder / name).iterdir())]
        return np.array([file for file, _ in files]), np.array([k for _, k in files])


def prepared(base: TimmBackbone, paths: np.ndarray) -> list:
    """Images as the network takes them."""
    return [base.prepare(open_upright(path, 2 * base.size)) for path in paths]


def features(backbone: TimmBackbone, images: list) -> np.ndarray:
    """Features (n, d) of prepared images."""
    step = backbone.batch
    return np.concatenate([backbone.forward(images[start : start + step]) for start in range(0, len(images), step)])


def changed(constants: Mapping[str, float]) -> ExitStack:
    """A recipe's constants, as long as it is open."""
    stack = ExitStack()
    for name, value in constants.items():
        known: list[ModuleType] = [module for module in MODULES if hasattr(module, name)]
        assert known, name
        for module in known:
            stack.enter_context(patch.object(module, name, value))
    return stack


def small_weights(cache: Path) -> Path:
    """The published weights, said to be for small images."""
    from safetensors.torch import load_file, save_file

    path = cache / f"{BACKBONE}-{SIZE}.safetensors"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        save_file(
            load_file(SHARED / "weights" / f"{BACKBONE}.safetensors"), path, {"labelloop": json.dumps({"size": SIZE})}
        )
    return path


def train(
    photos: Photos, rows: np.ndarray, head: Head, constants: Mapping[str, float], cache: Path, seed: int
) -> tuple:
    """The fine-tuned backbone, and the seconds it took."""
    out = cache / "run"
    shutil.rmtree(out, ignore_errors=True)
    begin = time.perf_counter()
    with changed(constants):
        for _ in finetune.finetune(
            list(photos.paths[rows]),
            photos.y[rows],
            len(photos.classes),
            backbone=BACKBONE,
            weights=small_weights(cache),
            head=head,
            out=out,
            device="cpu",
            seed=seed,
        ):
            pass
    return load_backbone(BACKBONE, out / "model.safetensors", device="cpu"), time.perf_counter() - begin


def recipes(options: argparse.Namespace) -> None:
    """Print a table for each number of labels."""
    base = load_backbone(BACKBONE, small_weights(options.cache), device="cpu")
    photos = Photos(options.set, options.cache, base)
    print(f"{options.set}, {BACKBONE} at {SIZE} px, {len(photos.test_y)} test images, {options.seeds} seeds")
    print(machine())
    for n in options.labels:
        right, seconds = cell(base, photos, n, options)
        shown = [(name, mean_sd(right[name]), mean_sd(seconds[name], 0) if name in seconds else "") for name in right]
        print(f"\n{n} labels\n\n" + table(["recipe", "right, %", "seconds"], shown), flush=True)


def cell(
    base: TimmBackbone, photos: Photos, n: int, options: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Percent of test images right and seconds, by recipe, one for each seed."""
    right, seconds = defaultdict(list), defaultdict(list)
    frozen = features(base, photos.test)
    for seed in range(options.seeds):
        rows = np.random.default_rng(seed).choice(len(photos.y), n, replace=False)
        images = prepared(base, photos.paths[rows])
        head = fit_head(features(base, images), photos.y[rows], len(photos.classes))
        old = head.logits(frozen)
        right["frozen"].append(100 * float((old.argmax(1) == photos.test_y).mean()))
        for name in options.recipes or RECIPES:
            tuned, took = train(photos, rows, head, RECIPES[name], options.cache, seed)
            again = fit_head(features(tuned, images), photos.y[rows], len(photos.classes))
            new = again.logits(features(tuned, photos.test))
            right[name].append(100 * float((new.argmax(1) == photos.test_y).mean()))
            seconds[name].append(took)
            file = options.cache / f"said-{options.set}-{n}-{seed}-{name.replace(' ', '_')}.npz"
            np.savez(file, new=new, old=old, y=photos.test_y)
    return right, seconds


def rule(options: argparse.Namespace) -> None:
    """Print what the rule does with the models that `recipes` kept."""
    kept = [dict(np.load(file)) for file in sorted(options.cache.glob("said-*.npz"))]
    rng = np.random.default_rng(0)
    rows = []
    for n in (20, 50, 100, 200):
        swaps = harmful = gains = caught = 0
        for said in kept:
            y = said["y"]
            gain = float((said["new"].argmax(1) == y).mean() - (said["old"].argmax(1) == y).mean())
            for _ in range(options.draws):
                drawn = rng.choice(len(y), n, replace=False)
                takes_over = compare(said["new"][drawn], said["old"][drawn], y[drawn]).takes_over
                swaps += takes_over
                harmful += takes_over and gain < -0.01
                gains += gain > 0.03
                caught += takes_over and gain > 0.03
        rows.append((n, f"{100 * harmful / max(swaps, 1):.1f}", f"{100 * caught / max(gains, 1):.1f}"))
    print(f"{len(kept)} fine-tunes, {options.draws} draws of judging images from each")
    print(table(["judging images", "swaps that cost more than 1 point, %", "gains above 3 points caught, %"], rows))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("recipes")
    one.add_argument("cache", type=Path)
    one.add_argument("--set", choices=SETS, default="eurosat")
    one.add_argument("--labels", type=int, nargs="+", default=[100, 300])
    one.add_argument("--seeds", type=int, default=2)
    one.add_argument("--recipes", nargs="+", choices=RECIPES)
    one.set_defaults(run=recipes)
    two = commands.add_parser("rule")
    two.add_argument("cache", type=Path)
    two.add_argument("--draws", type=int, default=60)
    two.set_defaults(run=rule)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
