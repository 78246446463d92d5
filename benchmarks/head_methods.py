"""The heads that benchmarks/head.py compares: labelloop's, scikit-learn's, and others in closed form.

    METHODS["ridge"](drawn) -> answer;  answer(features (n, d)) -> probabilities (n, c)

Every one gets features of unit length and finds its own settings from the labels. Left out: drawing and measuring.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.train import head as ours
from labelloop.train.neighbours import Graph
from labelloop.train.spreading import fit_spread

Array = NDArray[np.floating[Any]]
Answer = Callable[[Array], Array]

NOISE = 10.0 ** np.arange(-3, 1.01, 0.5)  # of ridge and kernel ridge, tried by leave-one-out
WIDTHS = (0.5, 1.0, 2.0)  # of the kernel, in medians of the squared distances
SHARPNESS = np.exp(np.linspace(-2.5, 5, 60))  # what scores may be multiplied by before softmax
OTHER_C = (1.0, 3.0, 30.0, 100.0)  # beside the one that head.py has


@dataclass(frozen=True)
class Drawn:
    """What a head may learn from: n images, of which some have labels."""

    features: Array  # (n, d)
    y: NDArray[np.int64]  # (n,), -1 for no label
    c: int
    graph: Graph | None = None  # of features; for `with guesses`
    skipped: NDArray[np.int64] | None = None  # rows that are of no class

    @property
    def rows(self) -> NDArray[np.int64]:
        """With labels (m,)."""
        return np.flatnonzero(self.y >= 0)

    @property
    def labeled(self) -> tuple[Array, NDArray[np.int64]]:
        """Features (m, d) and classes (m,)."""
        return self.features[self.rows], self.y[self.rows]


def without_guesses(drawn: Drawn, C: float | None = None) -> Answer:
    """labelloop's head on the labels alone; C other than its own to see whether there is something to search for."""
    with _penalty(C):
        return ours.fit_head(*drawn.labeled, drawn.c).predict_proba


def with_guesses(drawn: Drawn) -> Answer:
    """labelloop's head, as the app fits it: on the labels and on guesses spread from them over all n images."""
    assert drawn.graph is not None
    return fit_spread(drawn.graph, drawn.features, drawn.y, drawn.c, drawn.skipped).predict_proba


@contextmanager
def _penalty(C: float | None) -> Iterator[None]:
    own = ours.C
    ours.C = own if C is None else C
    try:
        yield
    finally:
        ours.C = own


def lrcv(drawn: Drawn, threads: int | None = None) -> Answer:
    """scikit-learn's LogisticRegressionCV; LogisticRegression where no class has two labels: none can be left out.

    Cs=10 and cv=5 (or the labels of the largest class, if fewer) are its own; it may take as many steps as it wants.
    """
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

    X, y = drawn.labeled
    folds = min(5, int(np.bincount(y).max()))
    if folds == 1:
        model = LogisticRegression(max_iter=10_000)
    else:
        model = LogisticRegressionCV(Cs=10, cv=folds, max_iter=10_000, n_jobs=threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its defaults will change
        for rarity in ("The least populated class", "The number of unique classes"):
            warnings.filterwarnings("ignore", rarity)
        model.fit(X, y)
    return partial(_spelled_out, model, drawn.c)


def lda(drawn: Drawn) -> Answer:
    """scikit-learn's linear discriminant analysis, shrunk as Ledoit and Wolf do. Two labels of a class are needed."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(*drawn.labeled)
    return partial(_spelled_out, model, drawn.c)


def _spelled_out(model: Any, c: int, features: Array) -> Array:
    """Probabilities (n, c), 0 for classes that the model has not seen."""
    proba = np.zeros((len(features), c), np.float32)
    proba[:, model.classes_] = model.predict_proba(features)
    return proba


def prototypes(drawn: Drawn) -> Answer:
    """The class whose mean is nearest in angle. The probabilities are a mere form: 20 × the cosine."""
    X, y = drawn.labeled
    means = np.stack([X[y == k].mean(axis=0) if (y == k).any() else np.zeros(X.shape[1]) for k in range(drawn.c)])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return lambda features: _softmax(20 * features @ means.T)


def ridge(drawn: Drawn) -> Answer:
    """Ridge regression on the classes; noise and sharpness by leave-one-out in closed form (PRESS, Allen 1974)."""
    X, y = drawn.labeled
    Z, mean, scale = _standard(X)
    targets = np.eye(drawn.c)[y] - 1 / drawn.c
    U, s, Vt = np.linalg.svd(np.column_stack([Z, np.ones(len(Z))]), full_matrices=False)
    turned, best = U.T @ targets, (np.inf, 1.0, 1.0)
    for noise in NOISE:
        kept = s**2 / (s**2 + noise)
        own = ((U**2) @ kept)[:, None]
        left_out = (U @ (kept[:, None] * turned) - own * targets) / (1 - own)
        best = min(best, (*_sharpest(left_out, y), noise))
    _, sharp, noise = best
    weight = sharp * Vt.T @ ((s / (s**2 + noise))[:, None] * turned)  # (d + 1, c)
    return lambda features: _softmax((features - mean) / scale @ weight[:-1] + weight[-1])


def kernel_ridge(drawn: Drawn) -> Answer:
    """Kernel ridge with a Gaussian kernel, the mean of a Gaussian process; width, noise, sharpness by leave-one-out."""
    X, y = drawn.labeled
    X = X.astype(np.float64)
    targets = np.eye(drawn.c)[y] - 1 / drawn.c
    apart = _distances(X, X)
    middle = float(np.median(apart[np.triu_indices(len(X), 1)])) or 1.0
    found: list[tuple[float, float, float, Array]] = []
    for width in WIDTHS:
        values, V = np.linalg.eigh(np.exp(-apart / (middle * width)))
        turned = V.T @ targets
        for noise in NOISE:
            inverse = 1 / (np.maximum(values, 0) + noise)
            alpha = V @ (inverse[:, None] * turned)
            left_out = targets - alpha / ((V**2) @ inverse)[:, None]
            found.append((*_sharpest(left_out, y), middle * width, alpha))
    _, sharp, width, alpha = min(found, key=lambda one: one[0])
    return lambda features: _softmax(sharp * np.exp(-_distances(features, X) / width) @ alpha)


def _standard(X: Array) -> tuple[Array, Array, float]:
    mean = X.mean(axis=0, dtype=np.float64)
    Z = X - mean
    scale = float(np.sqrt((Z**2).sum(axis=1).mean())) or 1.0
    return Z / scale, mean, scale


def _distances(A: Array, B: Array) -> Array:
    return np.maximum((A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1) - 2 * A @ B.T, 0)


def _sharpest(scores: Array, y: NDArray[np.int64]) -> tuple[float, float]:
    """The least log-loss of scores (m, c) times some sharpness, and that sharpness."""
    scores = scores - scores.max(axis=1, keepdims=True)
    own = scores[np.arange(len(y)), y]
    losses = [float((np.log(np.exp(scores * t).sum(axis=1)) - own * t).mean()) for t in SHARPNESS]
    return min(losses), float(SHARPNESS[int(np.argmin(losses))])


def _softmax(scores: Array) -> Array:
    proba: Array = np.exp(scores - scores.max(axis=1, keepdims=True))
    proba /= proba.sum(axis=1, keepdims=True)
    return proba


OURS, GUESSING, LRCV = "ours without guesses", "ours with guesses", "LogisticRegressionCV"
PROTOTYPES, LDA, KERNEL = "prototypes", "LDA", "kernel ridge"
METHODS: dict[str, Callable[[Drawn], Answer]] = {
    GUESSING: with_guesses,
    OURS: without_guesses,
    LRCV: lrcv,
    "ridge": ridge,
    KERNEL: kernel_ridge,
    LDA: lda,
    PROTOTYPES: prototypes,
    **{f"C = {C:.0f}": partial(without_guesses, C=C) for C in OTHER_C},
}
