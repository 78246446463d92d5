"""The built-in features: statistics made by hand and a small network, in plain numpy. Nothing to download, no torch.

An image is squeezed to 128 x 128 pixels, turned into opponent colours (brightness, red-green, yellow-blue) and halved
twice. Six blocks of numbers are taken from these three sizes. Tones, colours, bands and patterns are counted over the
whole image, so turning or shifting it changes little; rings know how far from the centre something is; edges know
where it is. Then a network of one layer of filters and a linear map, in embedded.safetensors, guesses from all this
what a large network would have said. They are a floor to start from, far below a trained backbone on photographs.
Left out: how the network was trained (benchmarks/embedded_backbone.py) and what it is worth (docs/embedded.md).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelloop.types import Floats

VERSION = "embedded-2"
"""Changes whenever the same image would get other features, so that stored ones are not mixed with new ones."""

SIDE = 128
NETWORK = Path(__file__).with_name("embedded.safetensors")
GUESS = 0.4  # how far the network counts, beside 1 for what was made by hand
# How far each block counts: chosen by hand for accuracy at 100 random labels of EuroSAT, sign digits and sample_data,
# so figures on these three flatter them a little. docs/benchmarks.md says what they are worth.
WEIGHTS = {"tones": 0.4, "colours": 0.3, "bands": 0.5, "patterns": 0.9, "rings": 0.7, "edges": 1.4}


def features(image: Image.Image) -> Floats:
    """Features (DIM,), unit length, of an RGB image of any size and shape."""
    net, size = network(), sizes(image)
    hand = by_hand(size)
    inputs = np.concatenate([responses(patches(size[1]), net["filters"], net["offset"]), hand])
    guess = _unit((inputs - net["mean"]) @ net["map"])
    return _unit(np.concatenate([hand, np.float32(GUESS) * guess]))


def sizes(image: Image.Image) -> tuple[Floats, Floats, Floats]:
    """Opponent colours at three sizes: (3, 128, 128), (3, 64, 64), (3, 32, 32)."""
    pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0))
    full = _opponent(np.moveaxis(pixels, 2, 0).astype(np.float32) / np.float32(255))
    half = _half(full)
    return full, half, _half(half)


# -- the network ------------------------------------------------------------------------------------------------------

SPAN, STEP, GRID = 6, 2, 3  # pixels of a filter's side and between neighbours; cells of a side
FAINT = 1e-3  # contrast, squared, below which a patch is rather noise
DEAD = 0.1  # responses nearer to 0 than this are none


@cache
def network() -> dict[str, Floats]:
    """Filters (108, k) with their offsets (k,); mean (d,) and map (d, m) of the numbers they and the hand give."""
    from safetensors.numpy import load_file

    return {name: tensor.astype(np.float32) for name, tensor in load_file(NETWORK).items()}


def patches(half: Floats) -> Floats:
    """All patches (900, 108) of an image (3, 64, 64), row by row; mean brightness and contrast are taken out."""
    windows = np.lib.stride_tricks.sliding_window_view(half, (SPAN, SPAN), (1, 2))[:, ::STEP, ::STEP]
    found = np.ascontiguousarray(windows.transpose(1, 2, 0, 3, 4)).reshape(-1, 3 * SPAN * SPAN)
    brightness = found[:, : SPAN * SPAN]
    brightness -= brightness.mean(axis=1, keepdims=True)
    found /= np.sqrt(np.einsum("nd,nd->n", found, found)[:, None] / found.shape[1] + FAINT)
    return found


def responses(found: Floats, filters: Floats, offset: Floats) -> Floats:
    """How strongly patches answer filters, either way, over all the image and in 3 x 3 cells (2k * 10,), unit length.

    Coates, Ng & Lee, An analysis of single-layer networks in unsupervised feature learning, 2011.
    """
    answer = found @ filters - offset
    answer = np.concatenate([np.maximum(answer - DEAD, 0), np.maximum(-answer - DEAD, 0)], axis=1)
    side = int(len(found) ** 0.5) // GRID
    cells = answer.reshape(GRID, side, GRID, side, -1).mean(axis=(1, 3)).reshape(GRID * GRID, -1)
    return _unit(np.sqrt(np.concatenate([cells.mean(axis=0), cells.ravel() / GRID])))


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
DIM = BY_HAND + 256
