"""A drop-in strategy: hunts for one class from a few labels of it.

When to use it: a class is so rare that it hardly ever comes up by itself. Label two or three images of it, name it in
the setting, and answer what it shows until it finds no more. Then go back to `auto`: this one looks for nothing else.
"""

import numpy as np

from labelloop import because, ranks, strategy
from labelloop.errors import BadInput, NeedsModel
from labelloop.strategies.distances import blocks, nearest, read


@strategy
def hunt(pool, n, rng, *, target: str = ""):
    """Looks like one class, named by target or else the rarest, and not like the others."""
    wanted = class_to_hunt(pool, target)
    mine, others = np.flatnonzero(pool.y == wanted), np.flatnonzero((pool.y >= 0) & (pool.y != wanted))
    center = read(pool, mine).mean(axis=0)
    center /= np.linalg.norm(center) or 1

    rows = pool.unlabeled  # only these are compared, block by block: the features may be larger than memory
    like, unlike, scores = (np.full(len(pool), -np.inf) for _ in range(3))
    like[rows] = np.concatenate([features @ center for _, features in blocks(pool, rows)])  # cosine similarity
    unlike[rows] = nearest(pool, rows, others)  # to the most similar image of another class
    scores[rows] = ranks(like[rows] - unlike[rows])
    if pool.probabilities is not None:  # two opinions, on one scale: they err in different places
        scores[rows] += ranks(pool.probabilities[rows, wanted])

    name = pool.classes[wanted]
    return because(scores, lambda row: f"hunting {name}: {like[row]:.2f} like it, {unlike[row]:.2f} like another class")


def class_to_hunt(pool, target):
    """The index of the named class, or of the one with the fewest labels; it must have one to start from."""
    counts = np.bincount(pool.y[pool.labeled], minlength=len(pool.classes))
    if not target.strip():
        if not counts.any():
            raise NeedsModel("there is no label to start from")  # so the cold-start strategy runs until there is
        return int(np.argmin(np.where(counts > 0, counts, counts.max() + 1)))
    names = [name.casefold() for name in pool.classes]
    if target.strip().casefold() not in names:
        raise BadInput(f"there is no class {target!r} to hunt for. The classes are: {', '.join(pool.classes)}")
    wanted = names.index(target.strip().casefold())
    if not counts[wanted]:
        raise BadInput(f"no image is labeled {target!r} yet: label one or two by hand, then hunt for more")
    return wanted
