"""A drop-in strategy: the most value for each second of the person's time.

When to use it: some kinds of image take much longer to answer than others, and it is hours that are scarce, not
labels. How long an image will take is learned from how long the answers so far took, class by class. Doubtful images
are slow ones as well, so this trades some doubt for speed; at equal numbers of labels it is behind `margin`.
"""

import numpy as np

from labelloop import because, strategy
from labelloop.errors import BadInput
from labelloop.strategies.uncertainty import doubt

PRIOR = 5  # a class is taken to be like all others until about so many of its answers were timed
BETWEEN = 0.5  # seconds that any image costs, however easy it is


@strategy
def value_per_second(pool, n, rng, *, longest: float = 60.0):
    """The most doubt for the time that it will take; whoever needs more than `longest` seconds was away."""
    if longest <= 0:
        raise BadInput(f"longest is {longest:g} s; wanted more than 0, such as 60")
    value = doubt(pool.proba)
    seconds = pool.proba @ seconds_of_each_class(pool, longest)  # (n_images,) as the model expects the classes

    def why(row):
        return f"value {value[row]:.2f} for about {seconds[row]:.1f} s"

    return because(value / seconds, why)


def seconds_of_each_class(pool, longest):
    """Seconds an answer takes, by class (c,); the mean of logarithms, because one long look must not count for ten."""
    timed = pool.labeled[~np.isnan(pool.seconds[pool.labeled])]
    if not len(timed):
        return np.ones(len(pool.classes))  # nothing is known: then only the doubt counts
    took, y = np.log(np.clip(pool.seconds[timed], 0, longest) + BETWEEN), pool.y[timed]
    counts = np.bincount(y, minlength=len(pool.classes))
    sums = np.bincount(y, weights=took, minlength=len(pool.classes))
    return np.exp((sums + PRIOR * took.mean()) / (counts + PRIOR))
