"""Fine-tuning: a generator of epochs that trains backbone and head together on the labels so far.

It begins where the frozen features left off (LP-FT: Kumar et al., 2022, Fine-tuning can distort pretrained features):
pretrained weights and a head fitted on them, so the first predictions are those already seen; and so every time, as the
last fine-tuned weights, shrunk and perturbed (Ash & Adams, 2020) or not, were not clearly better (docs/benchmarks.md).
Layers near the image learn more slowly than those near the head, and batch-norm statistics stay what they were while
labels are few. Rates and length are in recipe.py.

The folder `out` gets checkpoint.pt after every epoch, from which a killed run goes on as if nothing had happened, then
model.safetensors (timm's names, classifier included; it expects features of unit length) and, last of all, model.json.
Left out: choosing hyper-parameters, validation (the worker compares the result with what was there), several GPUs.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelloop.backbone import TimmBackbone, pick_device
from labelloop.errors import CannotTrain, is_out_of_memory
from labelloop.images import open_upright
from labelloop.train.augment import Augment
from labelloop.train.head import Head, fit_head
from labelloop.train.recipe import (
    CPU_SIZE,
    FEW,
    FROZEN_BELOW,
    LAYER_DECAY,
    MIN_LABELS,
    RATE,
    SMALLER,
    SMOOTHING,
    WEIGHT_DECAY,
    Epoch,
    Recipe,
    batch_and_epochs,
    hash_of_labels,
)
from labelloop.types import Ints
from labelloop.weights import Announce, Loaded, classifier_names, fixed_size, load_model

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Epoch", "finetune"]

CHECKPOINT, WEIGHTS, ABOUT = "checkpoint.pt", "model.safetensors", "model.json"
SECONDS_BETWEEN = 1.0  # between two reports


def finetune(
    paths: Sequence[Path],
    y: Sequence[int] | Ints,
    n_classes: int,
    *,
    backbone: str,
    weights: Path | None,
    head: Head | None,
    out: Path,
    device: str = "auto",
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
    resume: bool = True,
    announce: Announce = print,
) -> Iterator[Epoch]:
    """Train on images `paths` of classes `y`; complete when out/model.json is there, unfinished when `stop` said so.

    `head` is the current one on the features of this backbone; without it, or where it does not fit, one is fitted.
    Raises CannotTrain where there is nothing to learn, BadWeights as load_backbone does.
    """
    import torch

    y = np.asarray(y, np.int64)
    _check(paths, y, n_classes, backbone)
    base, native_size = _base(load_model(backbone, weights, announce), pick_device(device))
    recipe = _recipe(paths, y, n_classes, base, seed)
    if resume and _is_complete(out, recipe):
        yield recipe.report(recipe.steps, 0.0, 0.0, "it was complete already")
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / ABOUT).unlink(missing_ok=True)
    if head is None or base.size != native_size or not _fits(head, y, n_classes, base.dim):
        head = _fit_on(paths, y, n_classes, base, stop)
    if stop():
        return
    training = Training(recipe, base, head)
    if resume:
        training.load(out / CHECKPOINT)
    torch.set_flush_denormal(True)  # where a run goes astray, numbers near 0 would make a CPU ten times slower
    try:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1), "decode") as threads:
            yield from training.run(paths, y, out, threads, stop)
    finally:
        torch.set_flush_denormal(False)  # it holds for all that the process computes


class Training:
    """A run: network, optimiser and how far it is. Classes without labels take no part and keep probability 0."""

    def __init__(self, recipe: Recipe, base: TimmBackbone, head: Head) -> None:
        import torch

        self.recipe = recipe
        self.base = base
        self.device = base.device
        self.model = base.model
        self.present = np.flatnonzero(np.isfinite(head.bias))
        self.head = torch.nn.Linear(base.dim, len(self.present)).to(self.device)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(head.weight[self.present]))
            self.head.bias.copy_(torch.from_numpy(head.bias[self.present]))
        self.optimizer = _optimizer(self.model, self.head)
        self.epoch = 0  # complete ones
        self.parts = 1  # a batch is computed in so many
        self.note = ""

    def run(
        self, paths: Sequence[Path], y: Ints, out: Path, threads: ThreadPoolExecutor, stop: Callable[[], bool]
    ) -> Iterator[Epoch]:
        """Train the epochs that are left, with a checkpoint after each, then write the result."""
        recipe = self.recipe
        augment = Augment(paths, self.base.config, recipe.size, recipe.seed)
        begin = reported = time.monotonic()
        first = step = self.epoch * recipe.steps_per_epoch
        loss = None
        yield recipe.report(step, 0.0, None)
        while self.epoch < recipe.epochs:
            total = 0.0
            size = recipe.size_in(self.epoch)
            for images, rows in augment.batches(self.epoch, recipe.steps_per_epoch, threads, size):
                if stop():
                    return
                total += self.step(images, np.searchsorted(self.present, y[rows]), step) * len(rows)
                step += 1
                now = time.monotonic()
                left = (now - begin) / (step - first) * (recipe.steps - step)
                if now - reported > SECONDS_BETWEEN and step % recipe.steps_per_epoch:
                    reported = now
                    yield recipe.report(step, now - begin, left, self.take_note())
            self.epoch += 1
            self.save(out / CHECKPOINT)
            loss = total / recipe.n
            yield recipe.report(step, now - begin, left, self.take_note(), loss)
        self.write(out, loss)

    def step(self, images: Tensor, targets: Ints, step: int) -> float:
        """One step on images (b, 3, s, s) and rows of the head (b,); the mean loss. Out of memory: smaller parts."""
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(step) * group["lr_scale"]
        self._train_mode()
        labels = torch.from_numpy(targets)
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                loss = self._backward(images, labels)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._use_smaller_parts(len(labels))
                continue
            torch.nn.utils.clip_grad_norm_([*self.model.parameters(), *self.head.parameters()], 1.0)
            self.optimizer.step()
            return loss

    def logits(self, images: Tensor) -> Tensor:
        """Of the classes present (b, c), from features of unit length, as the head was fitted on them."""
        import torch
        from torch.nn.functional import normalize

        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            features = self.model(images)
        logits: Tensor = self.head(normalize(features.float(), dim=1))
        return logits

    def take_note(self) -> str:
        """What there is to tell since it was last asked."""
        note, self.note = self.note, ""
        return note

    def save(self, path: Path) -> None:
        """Write the state of the run, whole or not at all."""
        import torch

        state = {
            "recipe": asdict(self.recipe),
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = path.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> bool:
        """Go on from a checkpoint; False where there is none of this recipe."""
        import torch

        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            return False
        self.model.load_state_dict(state["model"])
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        return True

    def write(self, out: Path, loss: float | None) -> None:
        """Write the result; model.json last, so that its being there means complete."""
        from safetensors.torch import save_file

        about = {**asdict(self.recipe), "loss": loss}
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.model.state_dict().items()}
        layer = classifier_names(self.recipe.backbone)[0]
        tensors[f"{layer}.weight"], tensors[f"{layer}.bias"] = self._full_head()
        partial = out / f"{WEIGHTS}.part"
        save_file(tensors, partial, {"format": "pt", "labelloop": json.dumps(about)})
        partial.replace(out / WEIGHTS)
        partial = out / f"{ABOUT}.part"
        partial.write_text(json.dumps(about, indent=1), encoding="utf-8")
        partial.replace(out / ABOUT)
        (out / CHECKPOINT).unlink(missing_ok=True)

    def _full_head(self) -> tuple[Tensor, Tensor]:
        """Weight (n_classes, d) and bias (n_classes,)."""
        import torch

        weight = torch.zeros(self.recipe.n_classes, self.base.dim)
        bias = torch.full((self.recipe.n_classes,), -math.inf)
        weight[self.present], bias[self.present] = self.head.weight.detach().cpu(), self.head.bias.detach().cpu()
        return weight, bias

    def _backward(self, images: Tensor, labels: Tensor) -> float:
        """Gradients of the mean loss of a batch, part by part; the loss."""
        import torch
        from torch.nn.functional import cross_entropy

        total = 0.0
        for few, their in zip(images.tensor_split(self.parts), labels.tensor_split(self.parts), strict=True):
            logits = self.logits(few.to(self.device, memory_format=torch.channels_last))
            loss = cross_entropy(logits, their.to(self.device), label_smoothing=SMOOTHING, reduction="sum")
            loss = loss / len(labels)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def _use_smaller_parts(self, n: int) -> None:
        import torch

        if self.parts >= n:
            raise CannotTrain("the GPU has no memory for a single image at a time; choose a smaller backbone")
        self.parts = min(n, 2 * self.parts)
        self.note = f"the GPU ran out of memory: batches are computed in {self.parts} parts from here on"
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _train_mode(self) -> None:
        import torch

        self.model.train()
        if self.recipe.n < FEW:
            for module in self.model.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()


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


def _base(loaded: Loaded, device: str) -> tuple[TimmBackbone, int]:
    """The backbone at the size to train at, and the size that its features are made at."""
    base = TimmBackbone(loaded, device)
    native = base.size
    if device == "cpu" and native > CPU_SIZE and not fixed_size(loaded.name):
        base = TimmBackbone(replace(loaded, size=CPU_SIZE), device)
    return base, native


def _recipe(paths: Sequence[Path], y: Ints, n_classes: int, base: TimmBackbone, seed: int) -> Recipe:
    batch, epochs = batch_and_epochs(len(y), base.device.type == "cpu")
    return Recipe(
        backbone=base.name,
        weights=base.weights_id,
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
    if not (out / ABOUT).exists():
        return False
    about = json.loads((out / ABOUT).read_text(encoding="utf-8"))
    return all(about.get(key) == value for key, value in asdict(recipe).items())


def _fits(head: Head, y: Ints, n_classes: int, dim: int) -> bool:
    return head.weight.shape == (n_classes, dim) and bool(np.isfinite(head.bias[y]).all())


def _fit_on(paths: Sequence[Path], y: Ints, n_classes: int, base: TimmBackbone, stop: Callable[[], bool]) -> Head:
    """A head on the frozen features at the size to train at, where they differ. Cut short by `stop`."""
    features = np.zeros((len(y), base.dim), np.float32)
    for start in range(0, len(y), base.batch):
        if stop():
            break
        images = [open_upright(path, 2 * base.size) for path in paths[start : start + base.batch]]
        features[start : start + len(images)] = base.embed(images)
    return fit_head(features, y, n_classes)


def _optimizer(model: nn.Module, head: nn.Module) -> Any:
    import torch
    from timm.optim._param_groups import param_groups_layer_decay

    spared: Any = getattr(model, "no_weight_decay", tuple)()  # names; some models have none
    groups: Any = param_groups_layer_decay(model, WEIGHT_DECAY, spared, layer_decay=LAYER_DECAY)
    for group in groups:
        for weight in group["params"]:
            weight.requires_grad_(group["lr_scale"] >= FROZEN_BELOW)
    groups = [group for group in groups if group["lr_scale"] >= FROZEN_BELOW]
    groups.append({"params": list(head.parameters()), "lr_scale": 1.0, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=RATE)
