"""The built-in features as they are, on the drawn cells of the demo, which no network ever saw; and what they cost.

    python benchmarks/embedded_cells.py

Accuracy on all other cells of a head that learned from a few of each kind, drawn at random; made by hand alone, the
network alone, and both, which is what is built in. CPU time of one thread an image. Needs nothing but the package.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from common import machine, mean_sd, table
from PIL import Image

from labelloop import embedded
from labelloop.cores import one_thread
from labelloop.demo import sample_data, sample_truth
from labelloop.train.head import fit_head

LABELS, DRAWS = (1, 2, 5, 10), 20
IMAGES, REPEATS = 100, 5  # whose CPU time is taken

LOOKS: dict[str, Callable[[Image.Image], np.ndarray]] = {
    "by hand": lambda image: embedded.by_hand(embedded.sizes(image)),
    "network": embedded.seen,
    "both": embedded.features,
}


def cells() -> tuple[list[Image.Image], np.ndarray]:
    """The images, and the index of the kind of each."""
    kinds = sample_truth()
    images = [Image.open(sample_data() / "images" / name).convert("RGB") for name in kinds]
    return images, np.unique(list(kinds.values()), return_inverse=True)[1]


def accuracy(X: np.ndarray, y: np.ndarray, n: int, draw: int) -> float:
    """In %, on the other cells, of a head that learned from n of each kind."""
    rng, classes = np.random.default_rng(draw), int(y.max()) + 1
    drawn = np.concatenate([rng.permutation(np.flatnonzero(y == k))[:n] for k in range(classes)])
    rest = np.setdiff1d(np.arange(len(y)), drawn)
    right = fit_head(X[drawn], y[drawn], classes).logits(X[rest]).argmax(axis=1) == y[rest]
    return float(100 * right.mean())


def milliseconds(look: Callable[[Image.Image], np.ndarray], images: list[Image.Image]) -> list[float]:
    """CPU time of an image, in each of some turns."""
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        for image in images[:IMAGES]:
            look(image)
        found.append(1000 * (time.process_time() - start) / IMAGES)
    return found


def main() -> None:
    """See above."""
    images, y = cells()
    print(f"{len(images)} cells of {int(y.max()) + 1} kinds, {DRAWS} draws. {machine()}\n")
    rows = []
    with one_thread():
        for name, look in LOOKS.items():
            X = np.stack([look(image) for image in images])
            right = [mean_sd([accuracy(X, y, n, draw) for draw in range(DRAWS)]) for n in LABELS]
            took = milliseconds(look, images)
            rows.append([name, *right, f"{statistics.median(took):.1f} ({min(took):.1f}–{max(took):.1f})"])
    print(table(["features", *(f"{n} of each kind" for n in LABELS), "ms an image"], rows))


if __name__ == "__main__":
    main()
