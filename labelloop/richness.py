"""How many classes there likely are: a list of classes may be longer than what the photographs show.

Left out: which they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MORE = 5  # classes that are looked for beyond the estimate, as long as the list has them


def likely_classes(counts: NDArray[np.integer[Any]] | NDArray[np.floating[Any]]) -> float:
    """Of c classes with so many labels each (c,): those seen, and as many more as the rare ones among them tell.

    Seen classes over coverage, which is 1 - the share of labels that are the only one of their class (Chao & Lee, 1992,
    Estimating the number of classes via sample coverage; Good, 1953), and MORE; never more than c. c without labels.
    """
    seen, only = np.count_nonzero(counts), np.count_nonzero((counts > 0) & (counts <= 1))
    labels = float(counts.sum())
    if labels <= only:
        return float(len(counts))
    return min(seen / (1 - only / labels) + MORE, len(counts))
