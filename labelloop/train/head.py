"""The head: multinomial logistic regression on frozen features, refitted from scratch after every answer.

Left out: features (backbone.py) and fine-tuning. A refit on 400 labels takes a few hundredths of a second, with
guesses (spreading.py) one to four tenths, so nothing is ever updated in place: the head is a pure function of features
and labels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelloop.cores import each, one_thread, workers
from labelloop.errors import BadInput, CannotTrain
from labelloop.types import Floats, Ints

# Inverse strength of the penalty for each answer, for centred features of mean squared length 1. Nothing to search for:
# with 1 to 50 labels a class of EuroSAT, sign digits and Caltech-101 (lite0, vit_tiny), 10 to 100 came out alike
# (benchmarks/head.py).
C = 10.0
# What the logits of a fit are multiplied by: the penalty makes them too small. At 100 to 300 labels of these sets,
# random ones or chosen by `auto`, 1.9 was the best value on average; how well that calibrates: docs/benchmarks/head.md.
# Less where the labels themselves speak against it.
SHARPEN = 1.9
DTYPE = np.float32
ALIKE = 1e-6  # features of unit length that differ by less, in root mean square, are of images that are all alike
SOLVER = {"ftol": 1e-9, "maxiter": 1000}
FLAT = 0.02  # of the steepest slope at the beginning: a fit is done where no slope is steeper

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Head:
    """A linear classifier with softmax. c classes, d features. A class without labels has bias -inf: probability 0."""

    weight: Floats  # (c, d)
    bias: Floats  # (c,)

    def predict_proba(self, features: NDArray[np.floating[Any]]) -> Floats:
        """Class probabilities (n, c) for features (n, d), read block by block: a memory map is never copied whole."""
        proba = np.empty((len(features), len(self.bias)), np.float32)

        def fill(block: slice) -> None:
            logits = self.logits(features[block])
            logits -= logits.max(axis=1, keepdims=True)
            np.exp(logits, out=logits)
            np.divide(logits, logits.sum(axis=1, keepdims=True), out=proba[block])

        with workers() as executor:
            each(executor, len(features), fill)
        return proba

    def logits(self, features: NDArray[np.floating[Any]]) -> Floats:
        """What softmax makes probabilities of (n, c), for features (n, d)."""
        found: Floats = np.asarray(features, np.float32) @ self.weight.T + self.bias
        return found

    def sharpened(self, by: float) -> Head:
        """The same decisions, surer (by > 1) or less sure."""
        return Head(self.weight * np.float32(by), self.bias * np.float32(by))

    def leant(self, by: NDArray[np.floating[Any]]) -> Head:
        """Towards some classes: what to add to the logits (c,)."""
        return Head(self.weight, self.bias + np.asarray(by, np.float32))

    def save(self, path: Path) -> None:
        """Write weight and bias as safetensors; a reader sees the old file or the new one, never half of one."""
        from safetensors.numpy import save_file

        part = path.with_name(path.name + ".part")
        save_file({"weight": self.weight, "bias": self.bias}, part)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Head:
        """Read what save wrote; raises BadInput when the file is missing or is something else."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
            return cls(tensors["weight"], tensors["bias"])
        except FileNotFoundError:
            raise BadInput(f"there is no model at {path}; train one first") from None
        except (SafetensorError, KeyError) as error:
            raise BadInput(f"{path} is not a saved head ({error}); delete it and train again") from error


def fit_head(
    features: NDArray[np.floating[Any]], y: ArrayLike, n_classes: int, weights: ArrayLike | None = None
) -> Head:
    """Fit to features (m, d) with class indices y (m,). Raises CannotTrain with labels of fewer than two classes.

    `weights` (m,) say how much each label counts, 1 unless told. Images that are exactly alike and have the same class
    count once. Then every class is given the same weight in all, so that a rare one is not drowned: on long-tailed
    sets, up to 10 points of accuracy on equally many images of each class in trials. Its price: where one image of
    500 is of a class that has one label of 51, 13 to 21 % of all others are taken for it (benchmarks/rare_class.py).
    """
    present, index = np.unique(np.asarray(y), return_inverse=True)
    if len(present) < 2:
        raise CannotTrain(
            f"{len(index)} labels of {len(present)} classes; a model needs labels of at least two classes"
        )
    X = np.asarray(features, DTYPE)
    counts = once(X, index) * (1 if weights is None else np.asarray(weights, np.float64))
    return head_of(fit_weighted(X, index, balanced(index, counts), counts), present, n_classes)


def head_of(fitted: tuple[Matrix, Matrix], present: Ints, n_classes: int) -> Head:
    """The head of n_classes classes whose weight and bias were fitted for those present."""
    weight, bias = fitted
    head = Head(np.zeros((n_classes, weight.shape[1]), np.float32), np.full(n_classes, -np.inf, np.float32))
    head.weight[present], head.bias[present] = weight, bias
    return head


def once(X: Floats, index: Ints) -> Matrix:
    """1 / how many rows are exactly like this one and of the same class (m,): a copy is no second answer."""
    keys = [(row.tobytes(), k) for row, k in zip(X, index.tolist(), strict=True)]
    often = Counter(keys)
    return np.array([1 / often[key] for key in keys])


def balanced(index: Ints, counts: Matrix) -> Matrix:
    """Weights (m,) in proportion to counts within a class, the same in all for each class, and as much as before."""
    of_class = np.bincount(index, counts)
    weights: Matrix = counts * counts.sum() / (len(of_class) * of_class[index])
    return weights


def fit_weighted(X: Floats, index: Ints, weights: Matrix, counts: Matrix) -> tuple[Matrix, Matrix]:
    """Weight (c, d) and bias (c,) of the penalised fit to rows X (m, d) of classes 0 … c - 1, each with its weight.

    The penalty is that of as many answers as say as much as these do: with unlike weights fewer than there are (Kish,
    1965, Survey sampling: the effective sample size). `counts` (m,) says as how many answers a row counts there. On
    long-tailed pools few images of rare classes weigh much; without this the fit trusts them too much.
    """
    share = (weights / weights.sum()).astype(DTYPE)
    mean = share @ X
    X = X - mean
    scale = float(np.sqrt(share @ (X**2).sum(axis=1)))
    if scale < ALIKE:  # what is left is rounding error; the head then knows the class frequencies, and no more
        scale = 1.0
    X /= DTYPE(scale)
    weight, bias = _fit_in_row_space(X, index, share, float((share**2 / counts).sum()) / C)
    with one_thread():  # two would end in other digits, and still be awake while images are scored
        logits = X @ weight.T.astype(DTYPE) + bias.astype(DTYPE)
    sharpen = _sharpen(logits, index, share)
    weight *= sharpen / scale
    return weight, sharpen * bias - weight @ mean


def _sharpen(logits: Floats, index: Ints, share: Floats) -> float:
    """What to multiply the logits (m, c) of a fit by: SHARPEN, or what makes its own rows likeliest if that is less.

    Rows are likelier under the head that learned from them than others will be. So where the classes overlap and even
    they become less likely, it is not the penalty that keeps the logits small. Never less than 1, as a penalised fit is
    not too large for its own rows.
    """
    Z = logits - logits.max(axis=1, keepdims=True)
    own = Z[np.arange(len(Z)), index]

    def slope(by: float) -> float:
        odds = np.exp(DTYPE(by) * Z)
        return float(share @ ((odds * Z).sum(axis=1) / odds.sum(axis=1) - own))

    if slope(SHARPEN) <= 0:
        return SHARPEN
    low, high = 1.0, SHARPEN
    while high - low > 1e-4:  # the loss is convex
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return low


def _fit_in_row_space(X: Floats, index: Ints, share: Floats, penalty: float) -> tuple[Matrix, Matrix]:
    # The weights of an L2-penalised fit are combinations of the rows. With fewer rows than features, turning into the
    # space of the rows (X = RᵀQᵀ) is therefore exact, and the solver sees m columns instead of d.
    if 2 * len(X) >= X.shape[1]:
        return _fit(X, index, share, penalty)
    with one_thread():
        Q, R = np.linalg.qr(X.T)  # (d, m), (m, m)
    weight, bias = _fit(R.T, index, share, penalty)
    return weight @ Q.T, bias


def _fit(X: Floats, index: Ints, share: Floats, penalty: float) -> tuple[Matrix, Matrix]:
    """Weight (c, d) and bias (c,) that minimise the log-loss, rows weighed by share (m,), + penalty |weight|² / 2.

    The model of scikit-learn's LogisticRegression, which is not called because it warns whenever there are fewer than
    two labels a class (which is how every project starts), and because importing it takes seconds.
    """
    from scipy.optimize import minimize

    d, c = X.shape[1], int(index.max()) + 1
    own = index, np.arange(len(X))
    error = np.empty((c, len(X)), DTYPE)  # logits, then what is wrong with the probabilities; new ones would take time

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        weight, bias = flat[: c * d].reshape(c, d).astype(DTYPE), flat[c * d :].astype(DTYPE)
        np.matmul(weight, X.T, out=error)
        np.add(error, bias[:, None], out=error)
        np.subtract(error, error.max(axis=0), out=error)
        of_own = error[own]
        np.exp(error, out=error)
        total = error.sum(axis=0)
        value = float(share @ (np.log(total) - of_own)) + penalty * float((weight**2).sum()) / 2
        np.multiply(error, share / total, out=error)
        error[own] -= share
        slope = np.concatenate([(error @ X + DTYPE(penalty) * weight).ravel(), error.sum(axis=1)])
        return value, slope.astype(np.float64)

    start = np.zeros(c * (d + 1))
    with one_thread():
        _, slope = loss(start)
        options = SOLVER | {"gtol": FLAT * np.abs(slope).max()}
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    return found.x[: c * d].reshape(c, d), found.x[c * d :]
