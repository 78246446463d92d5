"""Small pools that every strategy must get along with: what real projects look like on their strangest days.

For check.py and for tests. All is drawn at random from a fixed seed. Left out: what is wanted of the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from labelloop.types import Bools, Floats, Pool


def make_pool(
    n: int,
    d: int = 8,
    *,
    labeled: int = 0,
    known: int = 3,
    classes: int = 3,
    model: bool = True,
    features: NDArray[Any] | None = None,
    dtype: DTypeLike = np.float32,
    closed: Sequence[int] = (),
) -> Pool:
    """n images of which the first `labeled` have labels of the first `known` classes, and what a project knows of them.

    As with a real head, classes without labels have probability 0. `closed` rows may not be chosen, as if held out.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) if features is None else features
    rows = np.arange(n)
    return Pool(
        ids=rows + 1,
        features=(X / np.linalg.norm(X, axis=1, keepdims=True)).astype(dtype),
        y=np.where(rows < labeled, rows % known, -1),
        classes=tuple(f"class {k}" for k in range(classes)),
        open=(rows >= labeled) & ~np.isin(rows, closed),
        probabilities=_probabilities(n, known, classes, rng) if model else None,
        again=rows < labeled // 2,
        late=_late(rows < labeled, rng),
    )


def _probabilities(n: int, known: int, classes: int, rng: np.random.Generator) -> Floats:
    proba = np.zeros((n, classes), np.float32)
    proba[:, :known] = rng.dirichlet(np.ones(known), n)
    return proba


def _late(answered: Bools, rng: np.random.Generator) -> dict[str, Callable[[], Any]]:
    n = len(answered)
    groups = rng.integers(0, 4, n)
    seconds = np.where(answered, rng.exponential(3, n), np.nan).astype(np.float32)
    doubts = np.where(answered, rng.random(n), np.nan).astype(np.float32)
    return {
        "paths": lambda: [f"folder {group}/image {row}.jpg" for row, group in enumerate(groups)],
        "groups": groups.copy,
        "seconds": seconds.copy,
        "doubts": doubts.copy,
    }


def _certain() -> Pool:
    pool = make_pool(40, labeled=6)
    return replace(pool, probabilities=np.eye(3, dtype=np.float32)[np.zeros(40, int)])


def _busy() -> Pool:
    """Rows 50 to 54 were answered "skip", rows 55 to 59 are on somebody's screen."""
    rows = np.arange(60)
    pool = make_pool(60, labeled=9, closed=range(50, 60))
    return replace(pool, skipped=(rows >= 50) & (rows < 55), pending=rows >= 55)


POOLS: dict[str, Callable[[], Pool]] = {
    "an ordinary pool": lambda: make_pool(60, labeled=9),
    "no label yet": lambda: make_pool(60, model=False),
    "one label": lambda: make_pool(60, labeled=1, known=1, model=False),
    "labels of one class only": lambda: make_pool(60, labeled=5, known=1, model=False),
    "a model, but no label of this set": lambda: make_pool(60),
    "labels of 2 of 5 classes": lambda: make_pool(60, labeled=9, known=2, classes=5),
    "held-out images": lambda: make_pool(60, labeled=9, closed=[*range(9, 20), *range(50, 60)]),
    "images that were skipped or are on a screen": _busy,
    "3 images left, fewer than asked": lambda: make_pool(12, labeled=9),
    "a pool of one image": lambda: make_pool(1, model=False),
    "one image left, one label": lambda: make_pool(2, labeled=1, known=1, model=False),
    "pairs of identical features": lambda: make_pool(40, labeled=4, features=np.repeat(np.eye(20), 2, axis=0)),
    "images that are all alike": lambda: make_pool(40, labeled=30, features=np.ones((40, 8))),
    "a model that is certain": _certain,
    "2 classes": lambda: make_pool(60, labeled=9, known=2, classes=2),
    "1,000 classes": lambda: make_pool(300, labeled=40, known=40, classes=1000),
    "features in float16": lambda: make_pool(60, labeled=9, dtype=np.float16),
}
