"""Which network should describe the images: accuracy of the head on the features of each, its size and its speed.

    python benchmarks/embedding.py --json speed.jsonl
    python benchmarks/backbones.py --cache DIR [--speed speed.jsonl]

Of each real set, 1, 5, 10 and 50 labels a class are drawn from the train images (all of a class that has fewer), five
times, and the head (labelloop.train.head) is judged on the test images, which nothing else sees. Features are made once
and kept in DIR; those that other benchmarks keep there (real_sets.py) are used. Left out: networks whose weights
are not in ../shared/weights.
"""

from __future__ import annotations

import argparse
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np
import real_sets
from common import machine, mean_sd, table

from labelloop.backbone import Backbone, TimmBackbone, load_backbone
from labelloop.embedding import embed_missing
from labelloop.features import FeatureStore
from labelloop.train.head import fit_head

BACKBONES = ("tf_efficientnet_lite0", "vit_tiny_patch16_224", "mobilenetv2_100", "embedded")
LABELS_A_CLASS = (1, 5, 10, 50)
SHORT = {name: short for short, name in real_sets.BACKBONES.items()}


@dataclass(frozen=True)
class Seen:
    """A set as a backbone sees it: features (n, d) and classes (n,) of the train and the test images."""

    train: np.ndarray
    train_y: np.ndarray
    test: np.ndarray
    test_y: np.ndarray


def load(name: str, of: str, cache: Path) -> Seen:
    """The set `of` with the features of backbone `name`, from the cache or made now."""
    if name in SHORT and (cache / f"{of}-{SHORT[name]}.npz").exists():
        kept = real_sets.load(of, SHORT[name], cache)
        return Seen(kept.train, kept.train_y, kept.test, kept.test_y)
    if not (cache / of).exists():
        with tarfile.open(real_sets.SHARED / "data" / f"{of}.tar") as archive:
            archive.extractall(cache, filter="data")
    parts = []
    for split in ("train", "test"):
        files = sorted((cache / of / split).glob("*/*.jpg"))
        classes = sorted({file.parent.name for file in files})
        parts += [embed(name, files, cache / f"{of}-{split}-{name}")]
        parts += [np.array([classes.index(file.parent.name) for file in files])]
    return Seen(*parts)


def embed(name: str, files: list[Path], folder: Path) -> np.ndarray:
    """Features (n, d) of files, kept in a store; stopped, it goes on where it was."""
    backbone = with_weights(name)
    about = {"backbone": backbone.name, "weights": backbone.weights_id}
    if not FeatureStore.is_there(folder):
        FeatureStore.create(folder, backbone.dim, about)
    store = FeatureStore.open(folder, expected=about)
    for _ in embed_missing(enumerate(files, 1), store, backbone, on_problem=refuse):
        pass
    return np.array(store.read()[0])


def refuse(number: int, problem: str) -> None:
    """Every file of the sets can be read."""
    raise SystemExit(f"file {number}: {problem}")


def with_weights(name: str) -> Backbone:
    """The backbone with the weights in ../shared, on the CPU."""
    file = None if name == "embedded" else real_sets.SHARED / "weights" / f"{name}.safetensors"
    return load_backbone(name, file, device="cpu")


def probe(seen: Seen, labels: int, draws: int) -> list[float]:
    """Accuracy in per cent of a head on so many labels of each class, once for each draw."""
    n_classes = int(seen.train_y.max()) + 1
    accuracies = []
    for draw in range(draws):
        rng = np.random.default_rng([draw, labels])
        each = [rng.permutation(np.flatnonzero(seen.train_y == k))[:labels] for k in range(n_classes)]
        rows = np.concatenate(each)
        head = fit_head(seen.train[rows], seen.train_y[rows], n_classes)
        right = head.predict_proba(seen.test).argmax(axis=1) == seen.test_y
        accuracies.append(100 * float(right.mean()))
    return accuracies


def accuracy_table(names: list[str], cache: Path, draws: int) -> str:
    """A row for each set and backbone, and the mean over the sets."""
    rows, all_means = [], {name: [] for name in names}
    for of in real_sets.NAMES:
        for name in names:
            seen = load(name, of, cache)
            found = [probe(seen, labels, draws) for labels in LABELS_A_CLASS]
            all_means[name].append([fmean(accuracies) for accuracies in found])
            rows.append((of, name, *(mean_sd(accuracies) for accuracies in found)))
    rows += [("mean", name, *(f"{value:.1f}" for value in np.mean(all_means[name], axis=0))) for name in names]
    return table(["set", "backbone", *(f"{labels} a class" for labels in LABELS_A_CLASS)], rows)


def size_table(names: list[str], speed: Path | None) -> str:
    """Parameters, features, and images/s end to end on small photographs, as benchmarks/embedding.py measured them."""
    lines = [json.loads(line) for line in speed.read_text().splitlines()] if speed else []
    rows = []
    for name in names:
        backbone = with_weights(name)
        timm = isinstance(backbone, TimmBackbone)
        parameters = sum(p.numel() for p in backbone.model.parameters()) / 1e6 if timm else 0.0
        by_threads = [
            median([run["small"] for run in line["end_to_end"]]) if line else None
            for threads in (1, 2)
            for line in [next((x for x in lines if (x["backbone"], x["threads"]) == (name, threads)), None)]
        ]
        shown = ["–" if value is None else f"{value:.0f}" for value in by_threads]
        rows.append((name, f"{parameters:.1f}" if timm else "–", backbone.dim, *shown))
    return table(["backbone", "million parameters", "features", "images/s, 1 thread", "2 threads"], rows)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--speed", type=Path)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    options = parser.parse_args()
    print(machine(), "", f"Test accuracy in per cent, mean ± deviation of {options.draws} draws", sep="\n")
    print("", accuracy_table(options.backbones, options.cache, options.draws), "", sep="\n")
    print(size_table(options.backbones, options.speed))


if __name__ == "__main__":
    main()
