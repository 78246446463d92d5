"""Copy this file to a name without the leading _, for example blurry_first.py; that is all there is to install."""

from labelloop import because, strategy  # also: in_order(pool, rows), ranks(scores)


@strategy  # @strategy(again=True) may also choose images of pool.again, which have an answer
def template(pool, n, rng, *, noise: float = 0.1):
    """The first line is what people read about the strategy: say which images come first."""
    # pool.features (n_images, d), unit length    pool.y (n_images,) class index, -1 = no label
    # pool.proba     (n_images, c), probabilities; before the first model the cold-start strategy runs instead
    # pool.labeled, pool.unlabeled: rows          n: how many will be shown     rng: the only randomness to use
    # pool.paths, .groups, .seconds, .doubts: read when first used, see README.md
    doubt = 1 - pool.proba.max(axis=1)
    scores = doubt + noise * rng.random(len(pool))  # one float for each image: larger = sooner, -inf = never
    return because(scores, lambda row: f"best guess {100 * (1 - doubt[row]):.0f} %")  # asked of chosen rows only
