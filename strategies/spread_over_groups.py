"""A drop-in strategy: spreads the labels over groups, such as patients, cameras, sites or days.

When to use it: images of one group are alike, so that the tenth of them teaches less than the first of another, and the
model must work for groups it has never seen. A group is the folder an image lies in, or what a regular expression
finds in its path: `patient_(\\d+)` puts all images of a patient together, wherever they lie.
"""

import re

import numpy as np

from labelloop import because, strategy
from labelloop.errors import BadInput
from labelloop.strategies.distances import nearest
from labelloop.strategies.uncertainty import doubt


@strategy
def spread_over_groups(pool, n, rng, *, pattern: str = ""):
    """Groups with few labels take turns; of each, what the model doubts or what no label is like."""
    group = groups_by(pattern, pool.paths) if pattern else np.asarray(pool.groups)
    rows = pool.unlabeled
    worth = np.zeros(len(pool))  # 0 to 1, before the first model by distance
    if pool.probabilities is None:
        worth[rows] = (1 - nearest(pool, rows, pool.covered)) / 2
    else:
        worth = doubt(pool.probabilities)

    labels = np.bincount(group[pool.covered], minlength=group.max(initial=0) + 1)  # of each group, those on screens too
    order = rows[np.lexsort((-worth[rows], group[rows]))]  # group by group, the best of each first
    first = np.searchsorted(group[order], group[order])  # where its group begins
    turn = labels[group[order]] + np.arange(len(order)) - first  # how many of its group come before it

    scores = np.full(len(pool), -np.inf)
    scores[order] = worth[order] - 2 * turn  # a turn earlier weighs more than any worth
    return because(scores, lambda row: f"its group has {labels[group[row]]} of {len(pool.covered)} labels")


def groups_by(pattern, paths):
    """0, 1, 2, … by what the pattern finds in each path, its first (…) if it has one; one group for all without it."""
    try:
        found = [re.search(pattern, path) for path in paths]
    except re.error as error:
        raise BadInput(f"the pattern {pattern!r} is no regular expression: {error}") from error
    keys = ["" if match is None else match[min(1, len(match.groups()))] or "" for match in found]
    if paths and not any(keys):
        raise BadInput(f"the pattern {pattern!r} finds nothing in any path; the first one is {paths[0]!r}")
    return np.unique(keys, return_inverse=True)[1]
