"""Copy this file to a name without the leading _, for example blurry_first.py; that is all there is to install."""

from labelloop import strategy  # also: in_order(pool, rows), ranks(scores)


@strategy
def template(pool, n, rng, *, noise: float = 0.1):
    """The first line is what people read about the strategy: say which images come first."""
    # pool.features (n_images, d), unit length    pool.y (n_images,) class index, -1 = no label
    # pool.proba     (n_images, c), probabilities; before the first model the cold-start strategy runs instead
    # pool.labeled, pool.unlabeled: rows          n: how many will be shown     rng: the only randomness to use
    doubt = 1 - pool.proba.max(axis=1)
    return doubt + noise * rng.random(len(pool))  # one float for each image: larger = sooner, -inf = never
