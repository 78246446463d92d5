"""One fine-tune at a small image size on a CPU, and what it says about test images; kept in a folder, never run twice.

Left out: which ones are run (finetune.py), tables (finetune_report.py).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from labelloop.backbone import Backbone, load_backbone
from labelloop.images import open_upright
from labelloop.train import augment, finetune, recipe, training
from labelloop.train.head import Head, fit_head
from labelloop.train.neighbours import graph
from labelloop.train.spreading import fit_spread

SHARED = Path(__file__).parent.parent.parent / "shared"
SETS = ("eurosat", "signdigits", "caltech101")
BACKBONE, SIZE, TESTED = "mobilenetv2_100", 96, 500
MODULES = (augment, finetune, recipe, training)  # a constant is changed wherever it is known


class Photos:
    """A set of photographs, unpacked into `cache`: training paths and classes, test images and their features."""

    def __init__(self, name: str, cache: Path, weights: Path, backbone: str = BACKBONE) -> None:
        if not (cache / name).exists():
            with tarfile.open(SHARED / "data" / f"{name}.tar") as archive:
                archive.extractall(cache, filter="data")
        self.name = name
        self.base = load_backbone(backbone, weights, device="cpu")
        self.classes = sorted(folder.name for folder in (cache / name / "train").iterdir() if folder.is_dir())
        self.paths, self.y = self._list(cache / name / "train")
        paths, y = self._list(cache / name / "test")
        tested = np.random.default_rng(1).permutation(len(paths))[:TESTED]
        self.test_paths, self.test_y = paths[tested], y[tested]

    @cached_property
    def test(self) -> list[Any]:
        """Test images as the network takes them."""
        return prepared(self.base, self.test_paths)

    @cached_property
    def frozen(self) -> np.ndarray:
        """Features of the test images by the pretrained backbone."""
        return features(self.base, self.test)

    @cached_property
    def pool(self) -> list[Any]:
        """All training images as the network takes them."""
        return prepared(self.base, self.paths)

    @cached_property
    def frozen_pool(self) -> np.ndarray:
        """Features of all training images by the pretrained backbone."""
        return features(self.base, self.pool)

    def draw(self, n: int, seed: int) -> np.ndarray:
        """Rows of n random training images; more labels of a seed begin with its fewer ones."""
        return np.random.default_rng(seed).permutation(len(self.y))[:n]

    def head(self, backbone: Backbone, rows: np.ndarray) -> Head:
        """The head of these labels on a backbone's features."""
        return fit_head(features(backbone, prepared(backbone, self.paths[rows])), self.y[rows], len(self.classes))

    def head_in_use(self, pool: np.ndarray, rows: np.ndarray) -> Head:
        """The head of these labels and of guesses on the rest of the training images, whose features are `pool`."""
        y = np.full(len(self.y), -1)
        y[rows] = self.y[rows]
        return fit_spread(graph(pool, np.arange(len(pool)), len(self.classes)), pool, y, len(self.classes))

    def right(self, logits: np.ndarray) -> float:
        """Percent of the test images."""
        return 100 * float((logits.argmax(1) == self.test_y).mean())

    def _list(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        files = [(file, k) for k, name in enumerate(self.classes) for file in sorted((folder / name).iterdir())]
        return np.array([file for file, _ in files]), np.array([k for _, k in files])


@dataclass
class Kept:
    """What was measured, a line of JSON each, and the logits that the rule is asked about."""

    folder: Path
    runs: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "runs.jsonl"
        if self.file.exists():
            self.runs = [json.loads(line) for line in self.file.read_text().splitlines()]

    def has(self, **key: Any) -> bool:
        """Whether a run with this job, set, labels, seed and name is there."""
        return any(key.items() <= run.items() for run in self.runs)

    def add(self, run: dict[str, Any], logits: dict[str, np.ndarray] | None = None) -> None:
        """Write it down; `logits` of new and old models, with the classes."""
        if logits is not None:
            run = {**run, "said": f"said-{len(self.runs)}.npz"}
            np.savez(self.folder / run["said"], **logits)  # type: ignore[arg-type]
        self.runs.append(run)
        with self.file.open("a") as file:
            file.write(json.dumps(run) + "\n")
        print({key: value for key, value in run.items() if key != "said"}, flush=True)

    def said(self, run: dict[str, Any]) -> dict[str, np.ndarray]:
        """The logits kept with a run."""
        return dict(np.load(self.folder / run["said"]))


def prepared(base: Backbone, paths: np.ndarray) -> list[Any]:
    """Images as the network takes them."""
    return [base.prepare(open_upright(path, 2 * base.size)) for path in paths]


def features(backbone: Backbone, images: list[Any]) -> np.ndarray:
    """Features (n, d) of prepared images."""
    step = backbone.batch
    return np.concatenate([backbone.forward(images[start : start + step]) for start in range(0, len(images), step)])


def changed(constants: Mapping[str, Any]) -> ExitStack:
    """A recipe's constants, or other names of its modules, as long as it is open."""
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


def tune(
    photos: Photos, rows: np.ndarray, y: np.ndarray, weights: Path, out: Path, seed: int
) -> tuple[Backbone, Head, float]:
    """The fine-tuned backbone, the head fitted on its features, and the CPU seconds of both."""
    shutil.rmtree(out, ignore_errors=True)
    begin = time.process_time()
    for _ in finetune.finetune(
        list(photos.paths[rows]),
        y,
        len(photos.classes),
        backbone=photos.base.name,
        weights=weights,
        out=out,
        device="cpu",
        seed=seed,
    ):
        pass
    tuned = load_backbone(photos.base.name, out / "model.safetensors", device="cpu")
    head = photos.head(tuned, rows)
    return tuned, head, time.process_time() - begin


def peer(
    photos: Photos, rows: np.ndarray, epochs: int, seed: int, python: Path, folder: Path
) -> tuple[np.ndarray, float]:
    """Logits of the test images (n, classes) after fastai's fine_tune, and its CPU seconds."""
    task = {
        "train": [str(path) for path in photos.paths[rows]],
        "y": photos.y[rows].tolist(),
        "test": [str(path) for path in photos.test_paths],
        "backbone": BACKBONE,
        "weights": str(SHARED / "weights" / f"{BACKBONE}.safetensors"),
        "size": SIZE,
        "epochs": epochs,
        "seed": seed,
    }
    asked, answer = folder / "task.json", folder / "answer.npz"
    asked.write_text(json.dumps(task))
    script = Path(__file__).parent / "finetune_peer.py"
    subprocess.run([python, "-W", "ignore", script, asked, answer], check=True)
    said = np.load(answer)
    logits = np.full((len(photos.test_y), len(photos.classes)), -np.inf, np.float32)
    logits[:, said["classes"]] = said["logits"]
    return logits, float(said["seconds"])
