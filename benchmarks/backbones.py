"""Which network should describe the images, and by what it sees on the way: accuracy, size and speed.

    python benchmarks/embedding.py --json speed.jsonl
    python benchmarks/backbones.py --cache DIR [--speed speed.jsonl] [--sets mnist,solar]

Of each real set, 1, 5, 10 and 50 labels a class are drawn from the train images (all of a class that has fewer), five
times, and the head, with guesses on the other train images, is judged on the test images, which nothing else sees; once
on the network's own numbers, and once on these with what its stages see (labelloop/stages.py), which is what labelloop
uses. Features are made once and kept in DIR. Left out: networks whose weights are not in ../shared/weights.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

import numpy as np
from common import machine, mean_sd, table
from real_sets import NAMES, Features, load, with_weights

from labelloop.backbone import TimmBackbone
from labelloop.simulate import unit
from labelloop.train.neighbours import graph
from labelloop.train.spreading import fit_spread

BACKBONES = ("tf_efficientnet_lite0", "vit_tiny_patch16_224", "mobilenetv2_100", "embedded")
LABELS_A_CLASS = (1, 5, 10, 50)
OWN, ALL = "its own", "with its stages"


def ways(name: str, seen: Features) -> dict[str, Features]:
    """By the network's own numbers, and with what its stages see, where there are such."""
    backbone = with_weights(name)
    if not isinstance(backbone, TimmBackbone):
        return {OWN: seen}
    train, test = (unit(X[:, : backbone.own_dim]) for X in (seen.train, seen.test))
    return {OWN: replace(seen, train=train, test=test), ALL: seen}


def probe(seen: Features, labels: int, draws: int) -> list[float]:
    """Accuracy in per cent of a head on so many labels of each class, once for each draw."""
    n_classes, near = int(seen.train_y.max()) + 1, graph(seen.train, np.arange(len(seen.train)), len(set(seen.train_y)))
    accuracies = []
    for draw in range(draws):
        rng = np.random.default_rng([draw, labels])
        each = [rng.permutation(np.flatnonzero(seen.train_y == k))[:labels] for k in range(n_classes)]
        y = np.full(len(seen.train_y), -1)
        y[np.concatenate(each)] = seen.train_y[np.concatenate(each)]
        head = fit_spread(near, seen.train, y, n_classes)
        accuracies.append(100 * float((head.predict_proba(seen.test).argmax(axis=1) == seen.test_y).mean()))
    return accuracies


def accuracy_table(names: list[str], sets: list[str], cache: Path, draws: int) -> str:
    """A row for each set, backbone and way, and the mean over the sets."""
    rows, means = [], dict[tuple[str, str], list[list[float]]]()
    for of in sets:
        for name in names:
            for way, seen in ways(name, load(of, name, cache)).items():
                found = [probe(seen, labels, draws) for labels in LABELS_A_CLASS]
                means.setdefault((name, way), []).append([fmean(accuracies) for accuracies in found])
                rows.append((of, name, way, *(mean_sd(accuracies) for accuracies in found)))
                print("|", " | ".join(map(str, rows[-1])), "|", flush=True)
    rows += [("mean", *key, *(f"{value:.1f}" for value in np.mean(found, axis=0))) for key, found in means.items()]
    return table(["set", "backbone", "features", *(f"{labels} a class" for labels in LABELS_A_CLASS)], rows)


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
    """Print both tables, rows of the first one as they come as well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--speed", type=Path)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(NAMES))
    options = parser.parse_args()
    print(machine(), "", f"Test accuracy in per cent, mean ± deviation of {options.draws} draws", sep="\n")
    print("", accuracy_table(options.backbones, options.sets, options.cache, options.draws), "", sep="\n")
    print(size_table(options.backbones, options.speed))


if __name__ == "__main__":
    main()
