"""The built-in features: statistics made by hand and a small network, in plain numpy. Nothing to download, no torch.

Made by hand: an image is squeezed to 128 x 128 pixels, turned into opponent colours (brightness, red-green,
yellow-blue) and halved twice. Six blocks of numbers are taken from these three sizes. Tones, colours, bands and
patterns are counted over the whole image, so turning or shifting it changes little; rings know how far from the centre
something is; edges know where it is. Beside them are three stages of a ResNet of timm's, trained by us: what they see
in the image, and in each of 3 x 3 cells of it. Both are a floor to start from, far below a large network on
photographs. Left out: how the network was trained (benchmarks/embedded_backbone.py), its worth (docs/embedded.md).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelloop.types import Floats

VERSION = "embedded-3"
"""Changes whenever the same image would get other features, so that stored ones are not mixed with new ones."""

SIDE = 128
NETWORK = Path(__file__).with_name("embedded.safetensors")
# How far each block counts: chosen by hand for accuracy at 100 random labels of EuroSAT, sign digits and sample_data,
# so figures on these three flatter them a little. docs/benchmarks/built_in_features.md says what they are worth.
WEIGHTS = {"tones": 0.4, "colours": 0.3, "bands": 0.5, "patterns": 0.9, "rings": 0.7, "edges": 1.4}


def features(image: Image.Image) -> Floats:
    """Features (DIM,), unit length, of an RGB image of any size and shape; hand and network count alike."""
    return _unit(np.concatenate([by_hand(sizes(image)), seen(image)]))


def sizes(image: Image.Image) -> tuple[Floats, Floats, Floats]:
    """Opponent colours at three sizes: (3, 128, 128), (3, 64, 64), (3, 32, 32)."""
    pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0))
    full = _opponent(np.moveaxis(pixels, 2, 0).astype(np.float32) / np.float32(255))
    half = _half(full)
    return full, half, _half(half)


# -- the network ------------------------------------------------------------------------------------------------------

LOOKS_AT = 96  # pixels of a side
MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of colours, as timm's networks expect them
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
STAGES = 3
GRID = 3  # cells of a side


@cache
def network() -> dict[str, Floats]:
    """Convolutions, each as a matrix (9 c, o) with an offset (o,), and the main directions of what is seen."""
    from safetensors.numpy import load_file

    return {name: tensor.astype(np.float32) for name, tensor in load_file(NETWORK).items()}


def seen(image: Image.Image) -> Floats:
    """What the network sees in an RGB image (SEEN,), unit length."""
    return _unit(places(maps(pixels(image))) @ network()["directions"])


def pixels(image: Image.Image) -> Floats:
    """All of an RGB image, squeezed, as the network takes it (96, 96, 3)."""
    small = image.convert("RGB").resize((LOOKS_AT, LOOKS_AT), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return (np.asarray(small, np.float32) / np.float32(255) - MEAN) / DEVIATION


def maps(x: Floats) -> Floats:
    """Maps (6, 6, 256) of pixels (96, 96, 3): timm's resnet10t until its third stage, batch norms folded."""
    for layer, step in ((0, 2), (1, 1), (2, 1)):
        x = _positive(_convolve(x, f"stem.{layer}", step))
    x = _around(x, 2).max(axis=2)
    for stage in range(1, STAGES + 1):
        step, across = (1, x) if stage == 1 else (2, _halve_and_widen(x, f"{stage}.across"))
        inside = _convolve(_positive(_convolve(x, f"{stage}.0", step)), f"{stage}.1", 1)
        x = _positive(inside + across)
    return x


def places(found: Floats) -> Floats:
    """Means of each map (h, w, c) over the image and over 3 x 3 cells of it (10 c,), of which both count alike.

    Their roots, of unit length: twice as much of something is not twice as telling.
    """
    side, channels = len(found) // GRID, found.shape[2]
    cells = found.reshape(GRID, side, GRID, side, channels).mean(axis=(1, 3)).reshape(-1, channels)
    return np.concatenate([_unit(np.sqrt(cells.mean(axis=0))), _unit(np.sqrt(cells.ravel()))])


def _around(x: Floats, step: int) -> Floats:
    """The 3 x 3 places around each one of maps (h, w, c), 0 outside, or around every other one (h', w', 9, c)."""
    h, w, channels = x.shape
    bordered = np.zeros((h + 2, w + 2, channels), np.float32)
    bordered[1:-1, 1:-1] = x
    found = np.empty((h // step, w // step, 9, channels), np.float32)
    for k in range(9):
        top, left = divmod(k, 3)
        found[:, :, k] = bordered[top : top + h : step, left : left + w : step]
    return found


def _convolve(x: Floats, name: str, step: int) -> Floats:
    """A convolution of maps (h, w, c) with 3 x 3 weights."""
    found = _around(x, step)
    h, w = found.shape[:2]
    convolved = found.reshape(h * w, -1) @ network()[name]
    convolved += network()[f"{name}.offset"]
    return convolved.reshape(h, w, -1)


def _halve_and_widen(x: Floats, name: str) -> Floats:
    """Maps (h, w, c) at half their size, with more channels."""
    halved = x.reshape(len(x) // 2, 2, len(x) // 2, 2, -1).mean(axis=(1, 3))
    widened: Floats = halved @ network()[name] + network()[f"{name}.offset"]
    return widened


def _positive(x: Floats) -> Floats:
    return np.maximum(x, 0, out=x)


# -- made by hand -----------------------------------------------------------------------------------------------------


def by_hand(size: tuple[Floats, Floats, Floats]) -> Floats:
    """The blocks of an image at three sizes, weighed (BY_HAND,), unit length."""
    return _unit(np.concatenate([WEIGHTS[name] * block for name, block in describe(size).items()]))


def describe(size: tuple[Floats, Floats, Floats]) -> dict[str, Floats]:
    """The blocks before they are weighed."""
    full, half, quarter = size
    steps = ((full, 0.005), (half, 0.01), (quarter, 0.01))  # detail has less contrast the finer it is
    return {
        "tones": _tones(half.reshape(3, -1)),
        "colours": _colours(half.reshape(3, -1)),
        "bands": _bands(full),
        "patterns": np.concatenate([_patterns(layer[0], step) for layer, step in steps]),
        "rings": _rings(half),
        "edges": _edges(quarter[0]),
    }


def _opponent(rgb: Floats) -> Floats:
    red, green, blue = rgb
    return np.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue])


def _half(image: Floats) -> Floats:
    rows = image[:, 0::2] + image[:, 1::2]
    return (rows[:, :, 0::2] + rows[:, :, 1::2]) * np.float32(0.25)


def _unit(vector: NDArray[np.floating[Any]]) -> Floats:
    return (vector / (np.linalg.norm(vector) + 1e-6)).astype(np.float32)


def _tones(channels: Floats) -> Floats:
    """Mean, spread, skewness, correlation and percentiles of three channels (3, n)."""
    n = channels.shape[1]
    mean, spread = channels.mean(axis=1, keepdims=True), channels.std(axis=1, keepdims=True) + 1e-3
    standard = (channels - mean) / spread
    skew = (standard * standard * standard).mean(axis=1)
    correlation = (standard @ standard.T / n)[np.triu_indices(3, 1)]
    places = (np.array([0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99]) * (n - 1)).astype(np.int64)
    middle = np.array([[0.5], [0], [0]], np.float32)
    percentiles = np.sort(channels, axis=1)[:, places] - middle
    parts = [2 * (mean - middle), np.log(spread) / 2 + 1.5, np.tanh(skew / 2) / 2, correlation / 2, percentiles]
    return np.concatenate([part.ravel() for part in parts])


def _colours(channels: Floats) -> Floats:
    """Square root of a joint histogram: 3 steps of brightness, 6 x 6 of colour, finer near grey."""
    brightness = np.minimum((channels[0] * 3).astype(np.int64), 2)
    opponents = channels[1:] / 0.6
    signed_root = np.sign(opponents) * np.sqrt(np.abs(opponents))
    cells = np.clip((signed_root + 1) * 3, 0, 5).astype(np.int64)
    return _root_histogram((brightness * 6 + cells[0]) * 6 + cells[1], 108)


def _root_histogram(codes: NDArray[np.int64], bins: int) -> Floats:
    return np.sqrt(np.bincount(codes.ravel(), minlength=bins) / codes.size).astype(np.float32)


def _bands(image: Floats) -> Floats:
    """Strength and peakedness of five bands of detail in each channel (a Laplacian pyramid), on a log scale."""
    found = []
    for _ in range(5):
        smaller = _half(image)
        _, h, w = smaller.shape
        band = np.abs(image.reshape(3, h, 2, w, 2) - smaller[:, :, None, :, None]).reshape(3, -1)
        mean = band.mean(axis=1)
        peaked = np.einsum("cn,cn->c", band, band) / band.shape[1] / (mean**2 + 1e-5)
        found += [np.log(mean + 0.002) / 2 + 2, np.log(peaked + 1e-3) / 2]
        image = smaller
    return np.concatenate(found)


@cache
def _kinds_of_code() -> NDArray[np.int64]:
    """8-bit pattern to one of ten kinds that turning does not change (Ojala et al., 2002)."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), 9).astype(np.int64)


def _patterns(grey: Floats, step: float) -> Floats:
    """Square root of a histogram: local binary patterns, ten kinds, at four strengths of local contrast."""
    h, w = grey.shape
    centre = grey[1:-1, 1:-1]
    code = np.zeros(centre.shape, np.uint8)
    for bit, (dy, dx) in enumerate([(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]):
        code |= (grey[dy : h - 2 + dy, dx : w - 2 + dx] > centre).astype(np.uint8) << bit
    around = (grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]) / 4
    difference = np.abs(centre - around)
    strength = np.zeros(centre.shape, np.int64)
    for factor in (1, 3, 8):
        strength += difference > step * factor
    return _root_histogram(_kinds_of_code()[code] * 4 + strength, 40)


@cache
def _ring_of_pixel(side: int, rings: int) -> NDArray[np.int64]:
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    radius = np.hypot(axis[:, None], axis)
    ring: NDArray[np.int64] = np.minimum(radius * rings, rings).astype(np.int64)  # the corners share the last one
    return ring.ravel()


def _rings(image: Floats) -> Floats:
    """Mean and spread of each channel in rings around the centre."""
    ring = _ring_of_pixel(image.shape[1], 6)
    count = np.bincount(ring)
    found = []
    for channel in image.reshape(3, -1):
        mean = np.bincount(ring, channel) / count
        spread = np.sqrt(np.maximum(np.bincount(ring, channel**2) / count - mean**2, 0))
        found += [mean - channel.mean(), spread]
    return np.float32(2) * np.concatenate(found, dtype=np.float32)


@cache
def _tents(side: int, cells: int) -> Floats:
    """Weights (cells, side): every pixel counts for its cell and, the nearer the border, for the next one."""
    place = (np.arange(side) + 0.5) / side * cells - 0.5
    weights: Floats = np.maximum(0, 1 - np.abs(place - np.arange(cells)[:, None])).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _edges(grey: Floats, cells: int = 6, directions: int = 6) -> Floats:
    """Square root of the strength of edges by place and direction (HOG: Dalal & Triggs, 2005, without its blocks)."""
    dy, dx = np.zeros_like(grey), np.zeros_like(grey)
    dy[1:-1] = grey[2:] - grey[:-2]
    dx[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    strength = np.hypot(dx, dy)
    angle = np.arctan2(dy, dx) / np.pi % 1 * directions  # of the line, not of the side that is brighter
    low = np.floor(angle).astype(np.int64)
    share = angle - low
    planes = np.zeros((directions, grey.size), np.float32)
    pixel = np.arange(grey.size)
    planes[low.ravel() % directions, pixel] = (strength * (1 - share)).ravel()
    planes[(low.ravel() + 1) % directions, pixel] = (strength * share).ravel()
    tents = _tents(len(grey), cells)
    return _unit(np.sqrt(tents @ planes.reshape(directions, *grey.shape) @ tents.T).ravel())


BY_HAND = 33 + 108 + 30 + 120 + 42 + 216
SEEN = 512
DIM = BY_HAND + SEEN
