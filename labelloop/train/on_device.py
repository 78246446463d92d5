"""Training images on a GPU: decoded once, kept there as bytes, and cropped and lit there, a batch at a time.

The same crops and lights as augment.py makes with Pillow for the same seed, epoch and row; there a processor core is
through with some 200 images a second, which a GPU does not wait for. Left out: what is done where they do not fit, or
where there is no GPU (augment.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from labelloop.images import open_upright
from labelloop.train.augment import FLIPPED, LEAST_AREA, LIGHT, crop, in_batches
from labelloop.types import Ints

if TYPE_CHECKING:
    from torch import Tensor, device

KEPT, KEPT_OF_FREE = 2 * 2**30, 0.25  # bytes of images on the device at most, and their share of what is free there
GREY = (0.299, 0.587, 0.114)  # of red, green and blue, as Pillow weighs them


def side(size: int) -> int:
    """Pixels of a side that are kept to show `size`: as many that the smallest crop is not enlarged."""
    return math.ceil(size / math.sqrt(LEAST_AREA))


def fits(n: int, size: int, free: float = math.inf) -> bool:
    """Whether n images may be kept on the device, of which so many bytes are free."""
    return 3 * n * side(size) ** 2 <= min(KEPT, KEPT_OF_FREE * free)


class OnDevice:
    """Batches of training images, normalised as the data `config` of a timm model says, `size` pixels a side."""

    def __init__(self, paths: Sequence[Path], config: dict[str, Any], size: int, seed: int, where: device) -> None:
        import torch

        self.paths, self.size, self.seed, self.where = paths, size, seed, where
        self.mean, self.std = (torch.tensor(config[name], device=where)[:, None, None] for name in ("mean", "std"))
        self.images = torch.zeros((len(paths), 3, side(size), side(size)), dtype=torch.uint8, device=where)
        self.is_there = np.zeros(len(paths), bool)

    def batches(
        self, epoch: int, count: int, threads: ThreadPoolExecutor, size: int | None = None
    ) -> Iterator[tuple[Tensor, Ints]]:
        """All images in a new order, in `count` batches: (b, 3, size, size) on the device and their rows (b,).

        In the first epoch the next batch is decoded while one is trained on.
        """
        chunks = in_batches(len(self.paths), count, self.seed, epoch)
        ahead = self._decode(chunks[0], threads)
        for rows, after in zip(chunks, [*chunks[1:], chunks[0][:0]], strict=True):
            for row, future in ahead.items():
                self.images[row] = future.result().to(self.where)
                self.is_there[row] = True
            ahead = self._decode(after, threads)
            yield self.batch(epoch, rows, size or self.size), rows

    def batch(self, epoch: int, rows: Ints, size: int) -> Tensor:
        """Images that are there already (b, 3, size, size)."""
        import torch
        from torch.nn.functional import affine_grid, grid_sample

        theta, lights = np.zeros((len(rows), 2, 3), np.float32), np.zeros((len(rows), 3), np.float32)
        for place, row in enumerate(rows.tolist()):
            rng = np.random.default_rng((self.seed, epoch, row))
            left, top, right, bottom = crop(1.0, 1.0, rng)
            mirror = -1 if rng.random() < FLIPPED else 1
            theta[place] = [[mirror * (right - left), 0, left + right - 1], [0, bottom - top, top + bottom - 1]]
            lights[place] = rng.uniform(1 - LIGHT, 1 + LIGHT, 3)
        images = self.images[torch.from_numpy(rows).to(self.where)].float() / 255
        grid = affine_grid(torch.from_numpy(theta).to(self.where), [len(rows), 3, size, size], align_corners=False)
        cropped = grid_sample(images, grid, padding_mode="border", align_corners=False)
        lit = _lit(cropped, torch.from_numpy(lights).to(self.where))
        normal: Tensor = (lit - self.mean) / self.std
        return normal

    def _decode(self, rows: Ints, threads: ThreadPoolExecutor) -> dict[int, Future[Tensor]]:
        return {row: threads.submit(self._open, row) for row in rows.tolist() if not self.is_there[row]}

    def _open(self, row: int) -> Tensor:
        import torch

        kept = side(self.size)
        image = open_upright(self.paths[row], 2 * self.size).resize((kept, kept), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())


def _lit(images: Tensor, lights: Tensor) -> Tensor:
    """Images (b, 3, s, s) from 0 to 1 with brightness, contrast and colour times lights (b, 3), as Pillow does it."""
    brightness, contrast, colour = lights.T[:, :, None, None, None]
    images = (images * brightness).clamp(0, 1)
    mean = _grey(images).mean(dim=(2, 3), keepdim=True)
    images = (mean + contrast * (images - mean)).clamp(0, 1)
    grey = _grey(images)
    coloured: Tensor = (grey + colour * (images - grey)).clamp(0, 1)
    return coloured


def _grey(images: Tensor) -> Tensor:
    red, green, blue = (weight * images[:, k : k + 1] for k, weight in enumerate(GREY))
    return red + green + blue
