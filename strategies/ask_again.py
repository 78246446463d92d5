"""A drop-in strategy: asks again where labels are doubtful.

When to use it: several people label, labels were imported, or somebody was in a hurry. An image is asked about once
more, without its label being shown; the new answer counts. On photographs of 10 and of 101 classes, with one in twelve
of 100 to 3,000 labels made wrong, at least 8 in 10 wrong labels had a doubt above 0.9; of the labels above it, one in
five (101 classes, 300 labels) to two in three were wrong.
"""

import numpy as np

from labelloop import because, strategy
from labelloop.strategies.uncertainty import doubt, torn


@strategy(again=True)  # without this, an image that has an answer is never shown again
def ask_again(pool, n, rng, *, least_doubt: float = 0.9):
    """Answers that the model doubts are asked for once more, the worst first; then what it is torn about."""
    new = doubt(pool.proba)  # (n_images,) 0 to 1; before the first model there is nothing to doubt with
    asked_once = np.zeros(len(pool), bool) if pool.again is None else pool.again
    # pool.doubts: 1 for "unsure", else 1 - the probability of the label by a model that never saw it; NaN: no answer
    doubtful = asked_once & (pool.doubts >= least_doubt)
    scores = np.where(doubtful, 1 + pool.doubts, np.where(asked_once, -np.inf, new))

    def why(row):
        if not doubtful[row]:
            return torn(pool, row)
        return "asked once more: the first answer is in doubt"  # and no word of which answer it was

    return because(scores, why)
