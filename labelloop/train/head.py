"""The head: multinomial logistic regression on frozen features, refitted from scratch after every answer.

Left out: features (backbone.py) and fine-tuning. A refit at 400 labels takes a few hundredths of a second, so
nothing is ever updated in place: the head is a pure function of features and labels.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelloop.errors import BadInput, CannotTrain
from labelloop.types import Floats

# Inverse strength of the penalty, for centred features of mean squared length 1. Of 1, 3, 10, …, 300 on 20 to 1000
# random labels of EuroSAT, sign digits and Caltech-101 (lite0), 100 had the best log-loss and, within noise, accuracy.
C = 100.0
SOLVER = {"gtol": 3e-4, "ftol": 1e-9, "maxiter": 1000}
BLOCK = 8192  # rows predicted at a time

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Head:
    """A linear classifier with softmax. c classes, d features. A class without labels has bias -inf: probability 0."""

    weight: Floats  # (c, d)
    bias: Floats  # (c,)

    def predict_proba(self, features: NDArray[np.floating[Any]]) -> Floats:
        """Class probabilities (n, c) for features (n, d), read block by block: a memory map is never copied whole."""
        proba = np.empty((len(features), len(self.bias)), np.float32)
        for start in range(0, len(features), BLOCK):
            logits = np.asarray(features[start : start + BLOCK], np.float32) @ self.weight.T + self.bias
            logits -= logits.max(axis=1, keepdims=True)
            np.exp(logits, out=logits)
            proba[start : start + BLOCK] = logits / logits.sum(axis=1, keepdims=True)
        return proba

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


def fit_head(features: NDArray[np.floating[Any]], y: ArrayLike, n_classes: int) -> Head:
    """Fit to features (m, d) with class indices y (m,). Raises CannotTrain with labels of fewer than two classes."""
    present, index = np.unique(np.asarray(y), return_inverse=True)
    if len(present) < 2:
        raise CannotTrain(
            f"{len(index)} labels of {len(present)} classes; a model needs labels of at least two classes"
        )
    X = np.asarray(features, np.float64)
    mean = X.mean(axis=0)
    X = X - mean
    # `or 1`: all images alike leave nothing to scale; the head then knows the class frequencies, and no more.
    scale = float(np.sqrt((X**2).sum(axis=1).mean())) or 1.0
    weight, bias = _fit_in_row_space(X / scale, np.eye(len(present))[index])
    weight /= scale
    bias -= weight @ mean
    head = Head(np.zeros((n_classes, X.shape[1]), np.float32), np.full(n_classes, -np.inf, np.float32))
    head.weight[present], head.bias[present] = weight, bias
    return head


def _fit_in_row_space(X: Matrix, Y: Matrix) -> tuple[Matrix, Matrix]:
    # The weights of an L2-penalised fit are combinations of the rows. With fewer rows than features, turning into the
    # space of the rows (X = RᵀQᵀ) is therefore exact, and the solver sees m columns instead of d.
    if len(X) >= X.shape[1]:
        return _fit(X, Y)
    with _one_thread():
        Q, R = np.linalg.qr(X.T)  # (d, m), (m, m)
    weight, bias = _fit(R.T, Y)
    return weight @ Q.T, bias


def _fit(X: Matrix, Y: Matrix) -> tuple[Matrix, Matrix]:
    """Weight (c, d) and bias (c,) that minimise the mean log-loss + |weight|² / (2 C m), for one-hot classes Y (m, c).

    The model of scikit-learn's LogisticRegression, which is not called because it warns whenever there are fewer than
    two labels a class (which is how every project starts), and because importing it takes seconds.
    """
    from scipy.optimize import minimize

    (m, d), c = X.shape, Y.shape[1]

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        weight, bias = flat[: c * d].reshape(c, d), flat[c * d :]
        logits = X @ weight.T + bias  # (m, c)
        logits -= logits.max(axis=1, keepdims=True)
        log_proba = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        error = (np.exp(log_proba) - Y) / m
        value = -(log_proba * Y).sum() / m + (weight**2).sum() / (2 * C * m)
        return value, np.concatenate([(error.T @ X + weight / (C * m)).ravel(), error.sum(axis=0)])

    with _one_thread():
        found = minimize(loss, np.zeros(c * (d + 1)), jac=True, method="L-BFGS-B", options=SOLVER)
    return found.x[: c * d].reshape(c, d), found.x[c * d :]


def _one_thread() -> AbstractContextManager[Any]:
    # On a busy machine the threads of BLAS wait for each other: 3.0 s instead of 0.06 s for 500 labels.
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits
