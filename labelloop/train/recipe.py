"""How long and how hard a fine-tune learns, and how it tells how far it is. Numbers only; training.py does the work."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labelloop.types import Ints

MIN_LABELS = 10
FIRST_LABELS, FIRST_LABELS_A_CLASS = 50, 5  # from which on fine-tuning begins by itself
GROWTH, GROWTH_AFTER_FAILURE = 1.5, 2.0  # how many times as many labels it takes until the next one
RATE, LAYER_DECAY, WEIGHT_DECAY, SMOOTHING = 5e-4, 0.8, 0.05, 0.1
# Layers that would learn at less than this share of the rate stay as they are: a quarter to a third less time than with
# all of them (mobilenetv2_100, benchmarks/finetune.py).
FROZEN_BELOW = 0.1
# Side of the images in the first epochs, and the share of epochs that is so. Off: at 96 px, 0.67 saved 12 % of the time
# and cost up to 2 points (benchmarks/finetune.py).
SMALLER, SMALLER_UNTIL = 1.0, 0.5
WARM_UP = 0.15  # share of the steps
FEW = 1000  # labels, below which batch-norm statistics stay frozen
CPU_SIZE = 160  # pixels of a side on a CPU: half the time of 224
CPU_IMAGES, CPU_EPOCHS = 2400, 20  # looked at in a run, for as many labels as that suffices for


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """How far a run is. Reported about once a second; `loss` is there only when an epoch has just been completed."""

    epoch: int  # complete ones
    epochs: int
    step: int
    steps: int
    loss: float | None  # mean over the epoch
    seconds: float  # since this process began to train
    seconds_left: float | None
    size: int  # pixels of a side that the model looks at
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that decides how a run comes out; a checkpoint of another recipe is not used."""

    backbone: str
    weights: str  # hash
    labels: str  # hash of paths and classes
    n: int
    n_classes: int
    size: int
    size_at_first: int  # progressive resizing
    batch: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return math.ceil(self.n / self.batch)

    @property
    def steps(self) -> int:
        """Batches of the whole run."""
        return self.epochs * self.steps_per_epoch

    def size_in(self, epoch: int) -> int:
        """Pixels of a side in an epoch."""
        return self.size_at_first if epoch < int(SMALLER_UNTIL * self.epochs) else self.size

    def rate(self, step: int) -> float:
        """Learning rate of the head at a step, one cycle: up in a line, down along a cosine."""
        up = max(1, round(WARM_UP * self.steps))
        if step < up:
            return RATE * (step + 1) / up
        return RATE * (1 + math.cos(math.pi * (step - up) / (self.steps - up))) / 2

    def report(self, step: int, seconds: float, left: float | None, note: str = "", loss: float | None = None) -> Epoch:
        """Where a run of this recipe is after `step` batches."""
        return Epoch(
            epoch=step // self.steps_per_epoch,
            epochs=self.epochs,
            step=step,
            steps=self.steps,
            loss=loss,
            seconds=seconds,
            seconds_left=left,
            size=self.size_in(min(step // self.steps_per_epoch, self.epochs - 1)),
            note=note,
        )


def labels_wanted(n_classes: int, last: int | None = None, did_better: bool = False) -> int:
    """Labels from which on to fine-tune by itself; `last`: how many there were at the last attempt, good or not.

    An attempt that came to nothing (not better, failed, or stopped by a person) is made again at twice the labels, so
    that all of them together cost at most about twice the time of the last one.
    """
    if last is None:
        return max(FIRST_LABELS, FIRST_LABELS_A_CLASS * n_classes)
    return max(FIRST_LABELS, math.ceil(last * (GROWTH if did_better else GROWTH_AFTER_FAILURE)))


def batch_and_epochs(n: int, on_cpu: bool) -> tuple[int, int]:
    """Of n labels. On a CPU 2400 images, at 15-30 ms for a small network about a minute; more only for many labels."""
    return (16, min(CPU_EPOCHS, max(3, CPU_IMAGES // n))) if on_cpu else (32, min(30, max(8, 20_000 // n)))


def hash_of_labels(paths: Sequence[Path], y: Ints) -> str:
    """Tells one set of training images and their classes from another."""
    lines = "\n".join(f"{label} {path}" for label, path in zip(y, paths, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()
