"""A drop-in strategy: more like these, less like those.

When to use it: you know what you want to see next, by a class or by a few images. "more" and "less" take names of
classes and numbers of images (as `labelloop next` prints them, or on the page), with commas between: "rust, 12, 57".
"""

import numpy as np

from labelloop import because, strategy
from labelloop.errors import BadInput
from labelloop.strategies.distances import nearest


@strategy
def like_these(pool, n, rng, *, more: str = "", less: str = ""):
    """Like what more names and unlike what less names; with neither, unlike all labels."""
    wanted, unwanted = named(pool, more), named(pool, less)
    if not len(wanted) and not len(unwanted):
        unwanted = pool.labeled
    rows = pool.unlabeled
    like, unlike = np.zeros(len(pool)), np.zeros(len(pool))  # cosine similarities, 0 where nothing is named
    if len(wanted):
        like[rows] = nearest(pool, rows, wanted)
    if len(unwanted):
        unlike[rows] = nearest(pool, rows, unwanted)

    def why(row):
        parts = [f"{like[row]:.2f} like {more}"] if len(wanted) else []
        parts += [f"{unlike[row]:.2f} like {less or 'the nearest label'}"] if len(unwanted) else []
        return ", ".join(parts) or "nothing is named and nothing labeled: any image"

    return because(like - unlike, why)


def named(pool, text):
    """The rows of all images that a text names, by class or by number."""
    classes = {name.casefold(): index for index, name in enumerate(pool.classes)}
    found = [np.empty(0, np.int64)]
    for word in filter(None, map(str.strip, text.split(","))):
        number = word.removeprefix("#")
        if word.casefold() in classes:
            found.append(np.flatnonzero(pool.y == classes[word.casefold()]))
        elif number.isdecimal() and int(number) in pool.ids:
            found.append(np.flatnonzero(pool.ids == int(number)))
        else:
            raise BadInput(f"{word!r} is neither the number of an image nor a class: {', '.join(pool.classes)}")
        if not len(found[-1]):
            raise BadInput(f"no image is labeled {word!r} yet: label one, or name an image by its number")
    return np.concatenate(found)
