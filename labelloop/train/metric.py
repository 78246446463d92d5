"""A metric learned from labels: what differs between images of one class is noise, and should count less.

The covariance within classes, shrunk towards the identity, says along which directions images of one class differ; its
inverse square root shortens them (Fisher's discriminant; relevant component analysis: Bar-Hillel et al., 2005). With
10 labels there would be nothing to learn it from, so guesses count as well: they are many, and the covariance does not
mind that some are wrong. Left out: where guesses come from (spreading.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.cores import one_thread
from labelloop.types import Floats, Ints

SHRUNK = 0.3  # share of the identity; 0.2 to 0.5 came out alike


def learn(places: Floats, index: Ints, weights: NDArray[np.floating[Any]], c: int) -> Floats:
    """The metric (k, k), symmetric, for places (m, k) of classes index (m,) below c, each with its weight.

    A place times the metric is where it is then seen. Images that are all alike teach none: the identity.
    """
    from scipy import sparse

    share = (weights / weights.sum()).astype(np.float32)
    in_class = (share / np.bincount(index, share, minlength=c)[index]).astype(np.float32)
    means = sparse.csr_array((in_class, (index, np.arange(len(index)))), (c, len(index))) @ places
    apart = (places - means[index]) * np.sqrt(share)[:, None]
    with one_thread():
        variance, directions = np.linalg.eigh(apart.T @ apart)
        variance = np.maximum(variance, 0) / (variance.mean() or 1)
        metric: Floats = (directions * ((1 - SHRUNK) * variance + SHRUNK) ** -0.5) @ directions.T
    return metric


def see(features: Floats, directions: Floats, metric: Floats) -> Floats:
    """Features (m, d) as the metric of some orthonormal directions (d, k) sees them; all others stay as they are."""
    with one_thread():
        along = features @ directions
        return np.asarray(features + (along @ metric - along) @ directions.T, np.float32)
