"""Features and labels of real photo sets, embedded once and kept; pools of four kinds made of them.

    balanced      equally many images of each class
    long_tailed   class sizes fall geometrically from the largest to the smallest
    dirty         balanced; 20 % of all images are of another set, and a tenth is there a second time, re-photographed
    as_it_is      a random part of the set, with its classes as common or rare as they are there

Sets: three in ../shared, and those of elsewhere.py. Left out: who plays on them (label_efficiency.py).
"""

from __future__ import annotations

import functools
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import elsewhere
import numpy as np
from PIL import Image, ImageEnhance

from labelloop.backbone import Backbone, load_backbone

SHARED = Path(__file__).parent.parent.parent / "shared"
BACKBONES = {"lite0": "tf_efficientnet_lite0", "vit_tiny": "vit_tiny_patch16_224"}
JUNK_OF = {"eurosat": "signdigits", "signdigits": "caltech101", "caltech101": "eurosat"}
CLASS_SIZE = {"eurosat": 300, "signdigits": 125, "caltech101": 40, "mnist": 300}
# largest class, and over the smallest
TAIL = {"eurosat": (444, 50), "signdigits": (155, 50), "caltech101": (150, 15), "mnist": (350, 50)}
PART = 0.75  # of a set, in a pool "as it is"
CLASS_ORDER_SEED = 7  # which classes are rare is the same for all seeds; on caltech101 those that have few images
NAMES = tuple(JUNK_OF)
KINDS = ("balanced", "long_tailed", "dirty", "as_it_is")
KINDS_OF = {name: KINDS[:3] for name in NAMES} | {"mnist": KINDS[:2], "solar": KINDS[3:], "solar_grades": KINDS[3:]}


@dataclass(frozen=True)
class Features:
    """One set seen by one backbone. `again` are re-photographed copies of the train images `again_of`."""

    train: np.ndarray  # (n, d)
    train_y: np.ndarray  # (n,)
    test: np.ndarray  # (t, d)
    test_y: np.ndarray  # (t,)
    again: np.ndarray  # (n // 5, d)
    again_of: np.ndarray  # (n // 5,)


@functools.lru_cache(4)
def load(name: str, backbone: str, cache: Path) -> Features:
    """The features of a set by `backbone`, of BACKBONES or as timm names it; made now unless the cache folder has them.

    They are those that labelloop makes, with what a network's stages see.
    """
    embedder = with_weights(backbone)
    file = cache / f"{name}-{embedder.name}-{embedder.weights_id[:12]}.npz"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{os.getpid()}-{file.name}")  # another process may look for it meanwhile
        np.savez(part, **vars(embed(name, embedder, cache)))
        part.replace(file)
    with np.load(file) as arrays:
        return Features(**arrays)


def embed(name: str, backbone: Backbone, cache: Path) -> Features:
    """Open all images of the set, and embed them."""
    images, y = elsewhere.SETS[name]() if name in elsewhere.SETS else unpacked(name, cache)
    of = np.arange(0, len(images["train"]), 5)
    rng = np.random.default_rng(0)
    copies = [photograph_again(images["train"][k], rng) for k in of]
    train, test, again = (backbone.embed(part) for part in (images["train"], images["test"], copies))
    return Features(train, y["train"], test, y["test"], again, of)


@functools.cache
def with_weights(backbone: str) -> Backbone:
    """The backbone with the weights in ../shared, on the CPU; "embedded" needs none."""
    name = BACKBONES.get(backbone, backbone)
    file = None if name == "embedded" else SHARED / "weights" / f"{name}.safetensors"
    return load_backbone(name, file, device="cpu")


def unpacked(name: str, cache: Path) -> elsewhere.Photos:
    """A set of ../shared, unpacked into the cache folder."""
    if not (cache / name).exists():
        with tarfile.open(SHARED / "data" / f"{name}.tar") as archive:
            archive.extractall(cache, filter="data")
    files = {split: sorted((cache / name / split).glob("*/*.jpg")) for split in ("train", "test")}
    classes = sorted({file.parent.name for file in files["train"]})
    y = {split: np.array([classes.index(file.parent.name) for file in files[split]]) for split in files}
    return {split: [Image.open(file).convert("RGB") for file in files[split]] for split in files}, y


def photograph_again(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A near-duplicate: a little cropped, lighter or darker, compressed once more."""
    width, height = image.size
    left, top = (int(side * rng.uniform(0, 0.06)) for side in (width, height))
    image = image.crop((left, top, int(width * rng.uniform(0.94, 1)), int(height * rng.uniform(0.94, 1))))
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.85, 1.15)).resize((width, height))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer).convert("RGB")


def pool(name: str, backbone: str, kind: str, seed: int, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) and labels (n,), -1 for images of another set; each seed draws other images."""
    data = load(name, backbone, cache)
    rng = np.random.default_rng([seed, 11])
    if kind == "as_it_is":
        rows = rng.permutation(len(data.train_y))[: round(PART * len(data.train_y))]
    else:
        rows = _of_each_class(data.train_y, class_sizes(name, kind, data.train_y), rng)
    X, y = data.train[rows], data.train_y[rows]
    if kind == "dirty":
        other = load(JUNK_OF[name], backbone, cache)
        junk = rng.choice(len(other.train), min(len(rows) // 4, len(other.train)), replace=False)
        copies = rng.permutation(np.flatnonzero(np.isin(data.again_of, rows)))[: len(rows) // 10]
        X = np.concatenate([X, other.train[junk], data.again[copies]])
        y = np.concatenate([y, np.full(len(junk), -1), data.train_y[data.again_of[copies]]])
    order = rng.permutation(len(y))
    return X[order], y[order]


def class_sizes(name: str, kind: str, y: np.ndarray) -> np.ndarray:
    """How many images of each class a pool has."""
    c = int(y.max()) + 1
    if kind != "long_tailed":
        return np.full(c, CLASS_SIZE[name])
    largest, ratio = TAIL[name]
    sizes = np.maximum(np.round(largest * ratio ** (-np.arange(c) / (c - 1))), 2).astype(int)
    there = np.bincount(y)
    if there.min() >= largest:
        return sizes[np.random.default_rng(CLASS_ORDER_SEED).permutation(c)]
    sizes[np.argsort(-there, kind="stable")] = sizes.copy()
    return np.minimum(sizes, there)


def _of_each_class(y: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    parts = [rng.permutation(np.flatnonzero(y == k))[:size] for k, size in enumerate(sizes)]
    return np.concatenate(parts)
