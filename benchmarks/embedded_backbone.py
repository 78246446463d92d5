"""Trains the network of the built-in features (labelloop/embedded.safetensors) and measures what it is worth.

    python benchmarks/embedded_backbone.py views FOLDER     views of all training images, and what the teacher says
    python benchmarks/embedded_backbone.py measure FOLDER   trains three times, with one set left out, and tests on it
    python benchmarks/embedded_backbone.py write FOLDER     trains on all three sets and writes the file of the package

A network of one layer: filters found by k-means on patches (Coates, Ng & Lee, 2011), pooled, and a linear map, which is
the ridge regression from these responses and the features made by hand to the teacher's features of the same view
(distillation in closed form). Only train/ folders are learned from. docs/embedded.md has what else was tried.
"""

from __future__ import annotations

import argparse
import tarfile
import time
from pathlib import Path

import numpy as np
import torch
from common import machine, mean_sd, table
from embedded_views import MADE, Teacher, made, views_of
from PIL import Image
from safetensors.numpy import save_file

from labelloop import embedded
from labelloop.train.head import fit_head

SHARED = Path(__file__).parent.parent.parent / "shared"
SETS = ("signdigits", "eurosat", "caltech101")
TURNS = {"signdigits": 3, "eurosat": 2, "caltech101": 3, "made": 2}
FILTERS, ROUNDS = 200, 10
PATCHES = (1500, 14)  # views of each set, patches of each
TARGETS = 256  # principal components of the teacher's features
WHITEN = 0.5  # 0 leaves the components as they are, 0.5 makes all of them count alike
RIDGE = 0.2  # of the mean squared length of an input
LABELS, DRAWS = (1, 5, 10, 50), 10

Arrays = dict[str, np.ndarray]


# -- views ------------------------------------------------------------------------------------------------------------


def files_of(folder: Path, name: str, split: str) -> list[Path]:
    """Images of a set, which is unpacked on the way."""
    if not (folder / name).exists():
        with tarfile.open(SHARED / "data" / f"{name}.tar") as archive:
            archive.extractall(folder, filter="data")
    return sorted((folder / name / split).glob("*/*.jpg"))


def make_views(folder: Path) -> None:
    """Save views, teacher's features and features made by hand; goes on where it was stopped."""
    teacher = Teacher(SHARED / "weights")
    for name, turns in TURNS.items():
        images = [made(np.random.default_rng([7, k])) for k in range(MADE)] if name == "made" else None
        for turn in range(turns):
            file = folder / f"{name}-{turn}.npy"
            if file.exists():
                continue
            images = images or opened(files_of(folder, name, "train"))
            rng = np.random.default_rng([turn, sum(name.encode())])
            views = np.stack(list(views_of(images, turn, rng)))
            said = [teacher(views[start : start + 8]) for start in range(0, len(views), 8)]
            np.save(folder / f"{name}-{turn}-teacher.npy", np.concatenate(said))
            np.save(folder / f"{name}-{turn}-hand.npy", np.stack([hand_of(Image.fromarray(view)) for view in views]))
            np.save(file, views)  # last: when it is there, the other two are
            print(f"{name}: turn {turn} of {len(views)} views", flush=True)


def opened(files: list[Path]) -> list[Image.Image]:
    """All images in memory."""
    return [Image.open(file).convert("RGB") for file in files]


def hand_of(image: Image.Image) -> np.ndarray:
    """The features made by hand."""
    return embedded.by_hand(embedded.sizes(image))


# -- training ---------------------------------------------------------------------------------------------------------


def train(folder: Path, names: list[str]) -> Arrays:
    """The network: filters (108, k), offset (k,), mean (d,) and map (d, TARGETS)."""
    rng = np.random.default_rng(0)
    filters, offset = find_filters(some_patches(folder, names, rng), rng)
    inputs, targets = [], []
    for name in names:
        X, T = [], []
        for turn in range(TURNS[name]):
            half = (embedded.sizes(Image.fromarray(view))[1] for view in np.load(folder / f"{name}-{turn}.npy", "r"))
            X.append(np.stack([embedded.responses(embedded.patches(image), filters, offset) for image in half]))
            T.append(np.load(folder / f"{name}-{turn}-teacher.npy").astype(np.float32))
        hands = [np.load(folder / f"{name}-{turn}-hand.npy") for turn in range(TURNS[name])]
        inputs.append(np.hstack([np.concatenate(X), np.concatenate(hands)]))
        targets.append(unit(np.concatenate(T)))
    mean = np.concatenate(inputs).mean(axis=0)
    return {"filters": filters, "offset": offset, "mean": mean, "map": distil(inputs, targets)}


def some_patches(folder: Path, names: list[str], rng: np.random.Generator) -> np.ndarray:
    """Patches of views of each set (p, 108)."""
    found = []
    for name in names:
        views = np.load(folder / f"{name}-0.npy", "r")
        for k in rng.integers(0, len(views), PATCHES[0]):
            patches = embedded.patches(embedded.sizes(Image.fromarray(views[k]))[1])
            found.append(patches[rng.integers(0, len(patches), PATCHES[1])])
    return np.concatenate(found)


def find_filters(patches: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Spherical k-means of whitened patches, a patch and its negative alike; whitening is folded into the filters."""
    mean = patches.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(patches.T))
    whiten = (vectors / np.sqrt(values + values.mean() / 10)) @ vectors.T
    white = ((patches - mean) @ whiten).astype(np.float32)
    centres = unit(rng.normal(size=(FILTERS, patches.shape[1])).astype(np.float32))
    for _ in range(ROUNDS):
        likeness = white @ centres.T
        nearest = np.abs(likeness).argmax(axis=1)[:, None]
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest[:, 0], white * np.take_along_axis(likeness, nearest, axis=1))
        alive = np.linalg.norm(sums, axis=1) > 1e-6
        centres[alive] = unit(sums[alive])
    filters = whiten @ centres.T / np.abs(white @ centres.T).std()
    return filters.astype(np.float32), (mean @ filters).astype(np.float32)


def distil(inputs: list[np.ndarray], targets: list[np.ndarray]) -> np.ndarray:
    """Ridge regression (d, TARGETS) from inputs to the teacher's whitened principal components.

    Inputs and targets of each set are centred on their own: what tells sets apart tells little about images in one.
    """
    X = np.concatenate([one - one.mean(axis=0) for one in inputs])
    T = np.concatenate([one - one.mean(axis=0) for one in targets])
    values, vectors = np.linalg.eigh(T.T @ T / len(T))
    components = vectors[:, ::-1][:, :TARGETS] * values[::-1][:TARGETS] ** -WHITEN
    gram = (X.T @ X).astype(np.float64)
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    solved = np.linalg.solve(gram, (X.T @ (T @ components)).astype(np.float64))
    return (solved / np.abs(solved).max()).astype(np.float32)  # lengths do not matter, and so it fits half precision


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6)


# -- measuring --------------------------------------------------------------------------------------------------------


def measure(folder: Path) -> None:
    """Print, for each set, the test accuracy of a head on features of networks that never saw this set."""
    print(machine())
    rows = []
    for name in SETS:
        begin = time.process_time()
        net = train(folder, [other for other in TURNS if other != name])
        seconds = time.process_time() - begin
        sides = [seen_by(net, files_of(folder, name, split)) for split in ("train", "test")]
        y = [labels_of(folder, name, split) for split in ("train", "test")]
        print(f"{name} left out: trained in {seconds:.0f} s of CPU time", flush=True)
        for n in LABELS:
            found = {kind: [100 * accuracy(sides, y, kind, n, draw) for draw in range(DRAWS)] for kind in sides[0]}
            gain = np.array(found["both"]) - np.array(found["by hand"])
            rows.append([name, n, *(mean_sd(found[kind]) for kind in found), mean_sd(gain.tolist())])
    kinds = ["by hand", "random filters", "network alone", "both"]
    print(table(["set left out", "labels a class", *kinds, "both − by hand, paired"], rows))


def seen_by(net: Arrays, files: list[Path]) -> Arrays:
    """Features of images by hand, by the network, and together; and by random filters and a random map of them."""
    rng = np.random.default_rng(1)
    untrained = {key: rng.normal(size=net[key].shape).astype(np.float32) for key in ("filters", "map")}
    untrained["filters"] /= np.float32(np.sqrt(len(net["filters"])))
    untrained["map"][-embedded.BY_HAND :] = 0
    untrained |= {"offset": np.zeros_like(net["offset"]), "mean": np.zeros_like(net["mean"])}
    hand, random, trained = [], [], []
    for file in files:
        sizes = embedded.sizes(Image.open(file))
        hand.append(embedded.by_hand(sizes))
        patches = embedded.patches(sizes[1])
        for model, into in ((untrained, random), (net, trained)):
            answers = embedded.responses(patches, model["filters"], model["offset"])
            into.append((np.concatenate([answers, hand[-1]]) - model["mean"]) @ model["map"])
    by_hand, by_network = np.stack(hand), unit(np.stack(trained))
    together = unit(np.hstack([by_hand, embedded.GUESS * by_network]))
    return {"by hand": by_hand, "random": unit(np.stack(random)), "trained": by_network, "both": together}


def labels_of(folder: Path, name: str, split: str) -> np.ndarray:
    """Class indices; train and test have the same classes."""
    names = [file.parent.name for file in files_of(folder, name, split)]
    return np.unique(names, return_inverse=True)[1]


def accuracy(sides: list[Arrays], y: list[np.ndarray], kind: str, n: int, draw: int) -> float:
    """Of a head learned from n labels a class (fewer where a class has fewer), drawn at random."""
    rng = np.random.default_rng(draw)
    classes = int(y[0].max()) + 1
    drawn = np.concatenate([rng.permutation(np.flatnonzero(y[0] == k))[:n] for k in range(classes)])
    head = fit_head(sides[0][kind][drawn], y[0][drawn], classes)
    return float((head.logits(sides[1][kind]).argmax(axis=1) == y[1]).mean())


def write(folder: Path) -> None:
    """The file of the package, in half precision."""
    net = {key: np.ascontiguousarray(array, np.float16) for key, array in train(folder, list(TURNS)).items()}
    save_file(net, embedded.NETWORK, {"version": embedded.VERSION})
    embedded.NETWORK.chmod(0o644)
    print(f"{embedded.NETWORK.name}: {embedded.NETWORK.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    """See above."""
    steps = {"views": make_views, "measure": measure, "write": write}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    parser.add_argument("folder", type=Path, help="for images and views, about 2.5 GB")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    steps[arguments.step](arguments.folder)


if __name__ == "__main__":
    main()
