"""Image folders whose classes are known, as what strategies are replayed on: train/CLASS and test/CLASS, or CLASS.

Features are kept, so that a second call is quick. Left out: projects (replay.py), and playing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from labelloop.cli.replay import FEWEST_BATCHES, Material
from labelloop.cli.terminal import Bar, say
from labelloop.errors import BadInput
from labelloop.features import FeatureStore
from labelloop.images import find_files
from labelloop.metrics import ENOUGH
from labelloop.types import Bools, Floats, Ints

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Listed:
    """The images of a folder, sorted by path, and their classes. n images."""

    folder: Path
    paths: tuple[str, ...]  # (n,) below the folder
    classes: tuple[str, ...]
    y: Ints  # (n,)
    is_test: Bools  # (n,); none at all: the folder does not say


@dataclass(frozen=True)
class Network:
    """What turns images into features, as it was asked for."""

    backbone: str | None
    weights: Path | None


def listed(folder: Path) -> Listed:
    """What lies in train/CLASS and test/CLASS, or in CLASS; raises BadInput where there are not two classes."""
    split = all((folder / name).is_dir() for name in SPLITS)
    depth = 1 if split else 0  # of the folder that is called like the class
    parts = {path: PurePosixPath(path).parts for path in find_files(folder)}
    paths = [path for path, at in parts.items() if len(at) > depth + 1 and (not split or at[0] in SPLITS)]
    is_test = np.array([split and parts[path][0] == "test" for path in paths], bool)
    names = [parts[path][depth] for path in paths]
    classes = sorted({name for name, test in zip(names, is_test, strict=True) if not test})
    only_test = sorted(set(names) - set(classes))
    if len(classes) < 2 or only_test:
        raise BadInput(_no_classes(folder, split, classes, only_test))
    if len(paths) < len(parts):
        say(f"Files in no folder of a class, left out: {len(parts) - len(paths)}")
    index = {name: k for k, name in enumerate(classes)}
    return Listed(folder, tuple(paths), tuple(classes), np.array([index[name] for name in names]), is_test)


def _no_classes(folder: Path, split: bool, classes: Sequence[str], only_test: Sequence[str]) -> str:
    place = folder / "train" if split else folder
    if only_test:
        return f"classes of {folder / 'test'} without an image in {place}: {', '.join(only_test)}; wanted some of each"
    found = f"images of one class only, {classes[0]!r}" if classes else "no folder with images"
    return (
        f"{place} has {found}; wanted at least two folders, each called like its class. IMAGES may also hold "
        "train/CLASS and test/CLASS, or be a project"
    )


def material_of(found: Listed, network: Network, batch: int, keep: Path) -> tuple[Material, tuple[str, ...], str]:
    """What strategies are replayed on, the path of each row, and what made the features; embeds what is missing.

    Images that cannot be read are left out and counted. Raises BadInput where too few are left.
    """
    features, done, made_by = _embed(found, network, keep)
    order = np.concatenate([np.flatnonzero(done & ~found.is_test), np.flatnonzero(done & found.is_test)])
    tests = int((done & found.is_test).sum())
    material = Material(
        features=features[order],
        y=found.y[order],
        classes=found.classes,
        exam=np.arange(len(order) - tests, len(order)),
        late={},  # paths would tell the class
    )
    wanted = FEWEST_BATCHES * batch
    learnable = len(np.unique(found.y[done & ~found.is_test]))
    if material.chosen_from < wanted or material.test_size < ENOUGH or learnable < 2:
        raise BadInput(
            f"{found.folder} has {material.chosen_from} images of {learnable} classes to choose from and "
            f"{material.test_size} to judge by; wanted {wanted} of two classes, and {ENOUGH}. Add images, or take a "
            "smaller --batch"
        )
    return material, tuple(found.paths[row] for row in order), made_by


def _embed(found: Listed, network: Network, keep: Path) -> tuple[Floats, Bools, str]:
    """Features (n, d), which rows could be read (n,), and the backbone with its weights."""
    from labelloop.backbone import load_backbone, resolve
    from labelloop.embedding import embed_missing

    name, why = resolve(network.backbone, network.weights)
    say(f"Backbone: {name} ({why})")
    backbone = load_backbone(name, network.weights, announce=say)
    about = {"backbone": backbone.name, "weights": backbone.weights_id, "images": _digest(found)}
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
    folder = keep / f"features-{key}"
    if not FeatureStore.is_there(folder):
        FeatureStore.create(folder, backbone.dim, about)
    store = FeatureStore.open(folder, expected=about)
    problems: dict[int, str] = {}
    files = [(row + 1, found.folder / path) for row, path in enumerate(found.paths)]
    with Bar() as bar:
        for through in embed_missing(files, store, backbone, on_problem=problems.__setitem__):
            bar.show(through, len(files), "getting to know the images")
    for number, reason in sorted(problems.items())[:3]:
        say(f"  {found.paths[number - 1]}: {reason}")
    if problems:
        say(f"Files that cannot be used, left out: {len(problems)}")
    features, done = store.read()
    return np.asarray(features), done, f"{backbone.name} {backbone.weights_id[:12]}"


def _digest(found: Listed) -> str:
    """Another one when a file came, went or changed."""
    whole = hashlib.sha256(str(found.folder.resolve()).encode(errors="surrogateescape"))
    for path in found.paths:
        state = (found.folder / path).stat()
        whole.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()
