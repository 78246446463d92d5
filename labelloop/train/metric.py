"""A metric learned from labels: what differs between images of one class is noise, and should count less.

The covariance within classes, shrunk towards the identity, says along which directions images of one class differ; a
root of its inverse shortens them (Fisher's discriminant; relevant component analysis: Bar-Hillel et al., 2005). With
10 labels there would be nothing to learn it from, so guesses count as well: they are many, and the covariance does not
mind that some are wrong. Left out: where guesses come from (spreading.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.cores import each, workers
from labelloop.types import Floats, Ints

STEP = 512  # rows multiplied at a time
SHRUNK = 0.3  # share of the identity; 0.2 to 0.5 came out alike


def learn(places: Floats, index: Ints, weights: NDArray[np.floating[Any]], c: int) -> Floats:
    """The metric (k, k) for places (m, k) of classes index (m,) below c, each with its weight.

    A place times the metric is where it is then seen. Of images that are all alike nothing is learned.
    """
    from scipy import sparse
    from scipy.linalg import cholesky, solve_triangular

    share = (weights / weights.sum()).astype(np.float32)
    in_class = (share / np.bincount(index, share, minlength=c)[index]).astype(np.float32)
    means = sparse.csr_array((in_class, (index, np.arange(len(index)))), (c, len(index))) @ places
    apart = (places - means[index]) * np.sqrt(share)[:, None]
    identity = np.eye(places.shape[1], dtype=np.float32)
    with workers() as executor:
        covariance = sum(each(executor, len(apart), lambda block: apart[block].T @ apart[block], step=STEP))
        variance = np.float32(np.trace(covariance) / len(covariance)) or np.float32(1)
        shrunk = np.float32(1 - SHRUNK) / variance * covariance + np.float32(SHRUNK) * identity
        metric: Floats = solve_triangular(cholesky(shrunk, lower=True), identity, lower=True).T
    return metric
