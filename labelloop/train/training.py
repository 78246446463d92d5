"""A run of fine-tuning: network, optimiser and how far it is; a checkpoint after every epoch, the result at the end.

Layers near the image learn more slowly than those near the head, and batch-norm statistics stay what they were while
labels are few. Left out: where it begins and when it is not needed (finetune.py), rates and length (recipe.py).
"""

from __future__ import annotations

import json
import math
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelloop.backbone import TimmBackbone
from labelloop.errors import CannotTrain, is_out_of_memory
from labelloop.train.augment import Augment
from labelloop.train.head import Head
from labelloop.train.on_device import OnDevice, fits
from labelloop.train.recipe import FEW, FROZEN_BELOW, LAYER_DECAY, RATE, SMOOTHING, WEIGHT_DECAY, Epoch, Recipe
from labelloop.types import Ints
from labelloop.weights import HEAD

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

CHECKPOINT, WEIGHTS, ABOUT = "checkpoint.pt", "model.safetensors", "model.json"
SECONDS_BETWEEN = 1.0  # between two reports
STATE = ("recipe", "epoch", "model", "head", "optimizer")  # what a checkpoint holds
# What torch.load raises at files that were cut short or overwritten, found by doing that to thousands of copies.
DAMAGED = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)


class Training:
    """A run: network, optimiser and how far it is. Classes without labels take no part and keep probability 0.

    `head` is on the network's own features. What its stages see is left to the head that comes after: where that was
    trained by as well, sign digits came out 2 points worse, Caltech-101 a little, and EuroSAT the same (200 labels).
    """

    def __init__(self, recipe: Recipe, base: TimmBackbone, head: Head) -> None:
        import torch

        self.recipe = recipe
        self.base = base
        self.device = base.device
        self.in_half = _computes_bfloat16(base.device)
        self.model = base.model
        self.present = np.flatnonzero(np.isfinite(head.bias))
        self.head = torch.nn.Linear(head.weight.shape[1], len(self.present)).to(self.device)
        self.begin_at(head)
        self.optimizer = _optimizer(self.model, self.head)
        self.epoch = 0  # complete ones
        self.parts = 1  # a batch is computed in so many
        self.note = ""

    def begin_at(self, head: Head) -> None:
        """Make the head that one: of the same classes."""
        import torch

        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(head.weight[self.present]))
            self.head.bias.copy_(torch.from_numpy(head.bias[self.present]))

    def run(
        self, paths: Sequence[Path], y: Ints, out: Path, threads: ThreadPoolExecutor, stop: Callable[[], bool]
    ) -> Iterator[Epoch]:
        """Train the epochs that are left, with a checkpoint after each, then write the result."""
        recipe = self.recipe
        augment = _augmented(paths, self.base, recipe)
        begin = reported = time.monotonic()
        first = step = self.epoch * recipe.steps_per_epoch
        loss = None
        yield recipe.report(step, 0.0, None, self.take_note())
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

        with torch.autocast("cuda", torch.bfloat16) if self.in_half else nullcontext():
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

        partial = path.with_suffix(".part")
        torch.save(self._state(), partial)
        put(partial, path)

    def load(self, path: Path) -> bool:
        """Go on from a checkpoint; False where there is none that can be read and is of this recipe, with a note."""
        if not path.exists():
            return False
        state = read_checkpoint(path)
        if state is None:
            self.note = "the checkpoint could not be read: it starts anew"
            return False
        if state["recipe"] != asdict(self.recipe) or _shapes(state) != _shapes(self._state()):
            self.note = "the checkpoint is of other labels, weights or another machine: it starts anew"
            return False
        self.model.load_state_dict(state["model"])
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        return True

    def _state(self) -> dict[str, Any]:
        parts = (self.model.state_dict(), self.head.state_dict(), self.optimizer.state_dict())
        return dict(zip(STATE, (asdict(self.recipe), self.epoch, *parts), strict=True))

    def write(self, out: Path, loss: float | None) -> None:
        """Write the result; model.json last, so that its being there means complete."""
        from safetensors.torch import save_file

        about = {**asdict(self.recipe), "loss": loss}
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.model.state_dict().items()}
        tensors[f"{HEAD}.weight"], tensors[f"{HEAD}.bias"] = self._full_head()
        partial = out / f"{WEIGHTS}.part"
        save_file(tensors, partial, {"format": "pt", "labelloop": json.dumps(about)})
        put(partial, out / WEIGHTS)
        partial = out / f"{ABOUT}.part"
        partial.write_text(json.dumps(about, indent=1), encoding="utf-8")
        put(partial, out / ABOUT)
        (out / CHECKPOINT).unlink(missing_ok=True)

    def _full_head(self) -> tuple[Tensor, Tensor]:
        """Weight (n_classes, d) and bias (n_classes,)."""
        import torch

        weight = torch.zeros(self.recipe.n_classes, self.head.in_features)
        bias = torch.full((self.recipe.n_classes,), -math.inf)
        weight[self.present], bias[self.present] = self.head.weight.detach().cpu(), self.head.bias.detach().cpu()
        return weight, bias

    def _backward(self, images: Tensor, labels: Tensor) -> float:
        """Gradients of the mean loss of a batch, part by part; the loss."""
        from torch.nn.functional import cross_entropy

        total = 0.0
        for few, their in zip(images.tensor_split(self.parts), labels.tensor_split(self.parts), strict=True):
            logits = self.logits(few.to(self.device, memory_format=self.base.layout))
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


def _computes_bfloat16(device: torch.device) -> bool:
    """Whether a GPU has units for it (NVIDIA's since Ampere). Others refuse it or are slower than in full precision."""
    import torch

    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def put(partial: Path, path: Path) -> None:
    """Give a file that is complete its name, once it is on disk: after a power cut it is whole or not there."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """What a checkpoint holds, on the CPU; None where it is damaged: it was made from labels and can be made again."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = {key: state[key] for key in STATE}
        _shapes(state)
        return state
    except DAMAGED:
        return None


def _shapes(state: dict[str, Any]) -> dict[str, Any]:
    """What must be equal for a state to be loaded: it may be of another version of timm, or of labelloop."""
    shapes = {part: {name: value.shape for name, value in state[part].items()} for part in ("model", "head")}
    return shapes | {"groups": [len(group["params"]) for group in state["optimizer"]["param_groups"]]}


def _augmented(paths: Sequence[Path], base: TimmBackbone, recipe: Recipe) -> Augment | OnDevice:
    """The images, on a GPU where they fit and leave room to train in."""
    import torch

    if base.device.type == "cuda" and fits(len(paths), recipe.size, torch.cuda.mem_get_info(base.device)[0]):
        return OnDevice(paths, base.config, recipe.size, recipe.seed, base.device)
    return Augment(paths, base.config, recipe.size, recipe.seed)


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
