"""Fine-tuning: a generator of epochs that trains backbone and head together on the labels so far.

It begins where the frozen features left off (LP-FT: Kumar et al., 2022, Fine-tuning can distort pretrained features):
pretrained weights and a head fitted on their own features (what stages see is left out); and so every time, as the
last fine-tuned weights, shrunk and perturbed (Ash & Adams, 2020) or not, were not clearly better
(docs/benchmarks/fine_tuning.md). The run itself is training.py; rates and length are in recipe.py.

The folder `out` gets checkpoint.pt after every epoch, from which a killed run goes on as if nothing had happened (one
that cannot be read, or is of another recipe, counts as none; the first report has a note of it), then
model.safetensors (the backbone by timm's names, and the head on its features) and, last of all, model.json.
Left out: choosing hyper-parameters, validation (the worker compares the result with what was there), several GPUs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from labelloop.backbone import TimmBackbone, pick_device
from labelloop.errors import CannotTrain
from labelloop.images import open_upright
from labelloop.train.head import Head, fit_head
from labelloop.train.recipe import CPU_SIZE, MIN_LABELS, SMALLER, Epoch, Recipe, batch_and_epochs, hash_of_labels
from labelloop.train.training import ABOUT, CHECKPOINT, Training, read_checkpoint
from labelloop.types import Ints
from labelloop.weights import Announce, Loaded, fixed_size, load_model

__all__ = ["Epoch", "finetune"]


def finetune(
    paths: Sequence[Path],
    y: Sequence[int] | Ints,
    n_classes: int,
    *,
    backbone: str,
    weights: Path | None,
    out: Path,
    device: str = "auto",
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
    resume: bool = True,
    announce: Announce = print,
) -> Iterator[Epoch]:
    """Train on images `paths` of classes `y`; complete when out/model.json is there, unfinished when `stop` said so.

    Raises CannotTrain where there is nothing to learn, BadWeights as load_backbone does.
    """
    import torch

    y = np.asarray(y, np.int64)
    _check(paths, y, n_classes, backbone)
    loaded = load_model(backbone, weights, announce)
    base = _base(loaded, pick_device(device, announce))
    recipe = _recipe(paths, y, n_classes, base, loaded.sha256, seed)
    if resume and _is_complete(out, recipe):
        yield recipe.report(recipe.steps, 0.0, 0.0, "it was complete already")
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / ABOUT).unlink(missing_ok=True)
    training = Training(recipe, base, _blank(y, n_classes, base.own_dim))
    if not (resume and training.load(out / CHECKPOINT)):
        head = _fit_on(paths, y, n_classes, base, stop)
        if head is None:
            return
        training.begin_at(head)
    torch.set_flush_denormal(True)  # where a run goes astray, numbers near 0 would make a CPU ten times slower
    try:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1), "decode") as threads:
            yield from training.run(paths, y, out, threads, stop)
    finally:
        torch.set_flush_denormal(False)  # it holds for all that the process computes


def _check(paths: Sequence[Path], y: Ints, n_classes: int, backbone: str) -> None:
    if len(paths) != len(y) or (len(y) and not 0 <= y.min() <= y.max() < n_classes):
        raise ValueError(f"{len(paths)} images with {len(y)} labels, of {n_classes} classes")
    if backbone == "embedded":
        raise CannotTrain(
            "the built-in features have nothing to fine-tune; choose a timm backbone, such as tf_efficientnet_lite0"
        )
    present = len(np.unique(y))
    if present < 2 or len(y) < MIN_LABELS:
        raise CannotTrain(
            f"{len(y)} labels of {present} classes; fine-tuning needs at least {MIN_LABELS} labels of two classes"
        )


def _base(loaded: Loaded, device: str) -> TimmBackbone:
    """The backbone at the size to train at."""
    base = TimmBackbone(loaded, device)
    if device == "cpu" and base.size > CPU_SIZE and not fixed_size(loaded.name):
        base = TimmBackbone(replace(loaded, size=CPU_SIZE), device)
    return base


def _recipe(paths: Sequence[Path], y: Ints, n_classes: int, base: TimmBackbone, weights: str, seed: int) -> Recipe:
    batch, epochs = batch_and_epochs(len(y), base.device.type == "cpu")
    return Recipe(
        backbone=base.name,
        weights=weights,
        labels=hash_of_labels(paths, y),
        n=len(y),
        n_classes=n_classes,
        size=base.size,
        size_at_first=base.size if fixed_size(base.name) else round(SMALLER * base.size / 16) * 16,
        batch=batch,
        epochs=epochs,
        seed=seed,
    )


def _is_complete(out: Path, recipe: Recipe) -> bool:
    about = read_result(out) or {}
    return all(about.get(key) == value for key, value in asdict(recipe).items())


def read_result(out: Path) -> dict[str, Any] | None:
    """What model.json says of a run that is complete; None where it is not, or that file is damaged."""
    try:
        about = json.loads((out / ABOUT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def can_go_on(out: Path) -> bool:
    """Whether a run left a result or a checkpoint there that can be read, of whatever recipe."""
    return read_result(out) is not None or (
        (out / CHECKPOINT).exists() and read_checkpoint(out / CHECKPOINT) is not None
    )


def _blank(y: Ints, n_classes: int, d: int) -> Head:
    """A head that knows which classes there are, and no more."""
    bias = np.full(n_classes, -np.inf, np.float32)
    bias[np.unique(y)] = 0
    return Head(np.zeros((n_classes, d), np.float32), bias)


def _fit_on(
    paths: Sequence[Path], y: Ints, n_classes: int, base: TimmBackbone, stop: Callable[[], bool]
) -> Head | None:
    """A head on the network's own frozen features at the size to train at, to begin with. None where `stop` says so."""
    features = []
    for start in range(0, len(y), base.batch):
        if stop():
            return None
        images = [open_upright(path, 2 * base.size) for path in paths[start : start + base.batch]]
        features.append(base.own([base.prepare(image) for image in images]))
    return fit_head(np.concatenate(features), y, n_classes)
