"""Training images: opened in threads ahead of the network, cropped and lit a little differently every time.

Everything is a function of seed, epoch and row, so a run that was interrupted goes on with the very images that it
would have seen. Left out: how they are learned from (training.py), images kept on a GPU (on_device.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageEnhance

from labelloop.images import open_upright
from labelloop.types import Ints

if TYPE_CHECKING:
    from torch import Tensor

KEPT_OPEN = 2**30  # bytes of decoded images kept in memory
# Share of images: flips cost 3 points on hand signs and gained none on satellites (benchmarks/finetune.py).
FLIPPED = 0.0
LEAST_AREA = 0.6  # of an image that a crop keeps before it is stretched
LIGHT = 0.15  # how far brightness, contrast and colour are changed, either way


class Augment:
    """Batches of training images, normalised as the data `config` of a timm model says, `size` pixels a side."""

    def __init__(self, paths: Sequence[Path], config: dict[str, Any], size: int, seed: int) -> None:
        self.paths = paths
        self.size = size
        self.seed = seed
        self.mean = np.array(config["mean"], np.float32)
        self.std = np.array(config["std"], np.float32)
        self.open = lru_cache(KEPT_OPEN // (3 * (2 * size) ** 2))(lambda row: open_upright(paths[row], 2 * size))

    def batches(
        self, epoch: int, count: int, threads: ThreadPoolExecutor, size: int | None = None
    ) -> Iterator[tuple[Tensor, Ints]]:
        """All images in a new order, in `count` batches: (b, 3, size, size) and their rows (b,).

        The next batch is opened while one is trained on.
        """
        import torch

        chunks = in_batches(len(self.paths), count, self.seed, epoch)
        size = size or self.size
        ahead = self._submit(epoch, chunks[0], threads, size)
        for rows, after in zip(chunks, [*chunks[1:], chunks[0][:0]], strict=True):
            images = [future.result() for future in ahead]
            ahead = self._submit(epoch, after, threads, size)
            yield torch.stack(images), rows

    def image(self, epoch: int, row: int, size: int | None = None) -> Tensor:
        """One image (3, size, size)."""
        import torch

        rng = np.random.default_rng((self.seed, epoch, row))
        image, size = self.open(row), size or self.size
        box = crop(*image.size, rng)
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
        if rng.random() < FLIPPED:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = change(image).enhance(rng.uniform(1 - LIGHT, 1 + LIGHT))
        pixels = (np.asarray(image, np.float32) / 255 - self.mean) / self.std
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def _submit(self, epoch: int, rows: Ints, threads: ThreadPoolExecutor, size: int) -> list[Future[Tensor]]:
        return [threads.submit(self.image, epoch, int(row), size) for row in rows]


def in_batches(n: int, count: int, seed: int, epoch: int) -> list[Ints]:
    """Rows 0 … n - 1 in the order of an epoch, in batches of nearly equal size: no tiny one at the end."""
    return np.array_split(np.random.default_rng((seed, epoch)).permutation(n), count)


def crop(width: float, height: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A random box (left, top, right, bottom) of at least half of the area, nearly in the proportions of the image."""
    scale, stretch = math.sqrt(rng.uniform(LEAST_AREA, 1)), math.exp(rng.uniform(-0.1, 0.1))
    w, h = width * min(1.0, scale * stretch), height * min(1.0, scale / stretch)
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return left, top, min(left + w, width), min(top + h, height)
