"""Views for benchmarks/embedded_backbone.py: what the teacher and the student both look at, and what the teacher says.

A view is 128 x 128 pixels. The first of each image is the whole of it, the others are random crops, turned over, in
other light, now and then grey or blurred. Made images are shapes over noise ("dead leaves": Baradad et al., Learning to
see by looking at noise, 2021). Left out: what is learned from the views.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

SIDE = 128
TEACHER = "mobilenetv2_100"
MADE = 3000
Pixels = np.ndarray  # (SIDE, SIDE, 3) of bytes


class Teacher:
    """A pretrained network of ../shared/weights: views to its features (n, 1280)."""

    def __init__(self, weights: Path) -> None:
        import timm

        file = str(weights / f"{TEACHER}.safetensors")
        model = timm.create_model(TEACHER, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": file})
        self.model = model.eval().to(memory_format=torch.channels_last)
        config = timm.data.resolve_data_config({}, model=model)
        self.mean, self.std = (torch.tensor(config[key]).view(3, 1, 1) * 255 for key in ("mean", "std"))

    def __call__(self, views: np.ndarray) -> np.ndarray:
        """Features in half precision."""
        batch = (torch.from_numpy(views).permute(0, 3, 1, 2).float() - self.mean) / self.std
        with torch.inference_mode():
            features: np.ndarray = self.model(batch.contiguous(memory_format=torch.channels_last)).numpy()
        return features.astype(np.float16)


def views_of(images: list[Image.Image], turn: int, rng: np.random.Generator) -> Iterator[Pixels]:
    """One view of each image: the whole of it on turn 0, a random crop later."""
    for image in images:
        yield whole(image, rng) if turn == 0 else crop(image, rng)


def whole(image: Image.Image, rng: np.random.Generator) -> Pixels:
    """All of an image, squeezed as the built-in features do it, mirrored every other time."""
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(small.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else small)


def crop(image: Image.Image, rng: np.random.Generator) -> Pixels:
    """A random part of an image, 30 % of its area at least, in another light."""
    width, height = image.size
    area, shape = rng.uniform(0.3, 1), np.exp(rng.uniform(-0.29, 0.29))
    w, h = width * min(1, (area * shape) ** 0.5), height * min(1, (area / shape) ** 0.5)
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    box = (left, top, left + w, top + h)
    image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.15:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if rng.random() < 0.5:
        for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = change(image).enhance(rng.uniform(0.6, 1.4))
    if rng.random() < 0.1:
        image = image.convert("L").convert("RGB")
    if rng.random() < 0.1:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2)))
    return np.asarray(image)


def made(rng: np.random.Generator, side: int = 192) -> Image.Image:
    """Up to 120 shapes, flat or with a texture, over noise."""
    image = Image.fromarray(noise(rng, side))
    textures = [Image.fromarray(noise(rng, side)) for _ in range(2)]
    largest = side * rng.uniform(0.05, 0.5)
    for _ in range(rng.choice([0, 3, 10, 40, 120])):
        mask = Image.new("L", (side, side))
        _shape(ImageDraw.Draw(mask), side, largest * rng.uniform(0.1, 1) ** 1.5, rng)
        flat = Image.new("RGB", (side, side), tuple(rng.integers(0, 256, 3).tolist()))
        image.paste(textures[rng.integers(2)] if rng.random() < 0.4 else flat, mask=mask)
    return image


def _shape(draw: ImageDraw.ImageDraw, side: int, radius: float, rng: np.random.Generator) -> None:
    x, y = rng.uniform(0, side, 2)
    kind = rng.integers(4)
    if kind == 0:
        across, down = radius, radius * rng.uniform(0.4, 1)
        draw.ellipse((x - across, y - down, x + across, y + down), fill=255)
    elif kind == 1:
        draw.regular_polygon((x, y, max(radius, 1)), int(rng.integers(3, 8)), float(rng.uniform(0, 360)), fill=255)
    elif kind == 2:
        points = [tuple(point) for point in rng.uniform(0, side, (rng.integers(2, 5), 2)).tolist()]
        draw.line(points, fill=255, width=int(rng.integers(1, 10)))
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        away = radius * rng.uniform(0.4, 1, len(angles))
        points = np.stack([x + away * np.cos(angles), y + away * np.sin(angles)], axis=1)
        draw.polygon([tuple(point) for point in points.tolist()], fill=255)


def noise(rng: np.random.Generator, side: int) -> np.ndarray:
    """Noise whose strength falls with its frequency, in random colours (side, side, 3)."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    frequency[0, 0] = 1
    falling = frequency ** -rng.uniform(0.5, 2.2)
    waves = rng.normal(size=(3, *frequency.shape)) + 1j * rng.normal(size=(3, *frequency.shape))
    planes = np.fft.irfft2(waves * falling, s=(side, side), axes=(1, 2))
    planes /= planes.std(axis=(1, 2), keepdims=True)
    colours = rng.normal(size=(3, 3)) * 0.6 + rng.uniform(0, 1)
    image = np.moveaxis(planes, 0, 2) @ colours * rng.uniform(10, 50) + rng.uniform(40, 215, 3)
    return np.clip(image, 0, 255).astype(np.uint8)
