"""Why an image is shown: words for a person, and the labeled images nearest to it.

For strategies that say nothing themselves; the words of those that do (`because`) come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from labelloop.board import NONE, Board
from labelloop.types import Floats, Ints


@dataclass(frozen=True)
class Reasons:
    """Why images are shown, with their nearest labeled images: a list of (image id, class index) each."""

    words: list[str]
    neighbours: list[list[tuple[int, int]]] = field(default_factory=list)


def explain(
    board: Board,
    probabilities: Floats | None,
    image_ids: Sequence[int],
    rng: np.random.Generator,
    *,
    said: Sequence[str] = (),
) -> Reasons:
    """A line for each image that says why it is worth a look, and its three nearest labeled images.

    `said` is what the strategy says of each; where it has words for all of them, none are sought.
    """
    rows = np.array(image_ids, dtype=int) - 1
    if not len(board.to_learn_from):
        return Reasons(["typical of many images here, and none like it is labeled yet"] * len(rows), [[] for _ in rows])
    near = nearest_labeled(board, rows)
    if said and all(said):
        return Reasons(list(said), [neighbours for neighbours, _ in near])
    # "nothing like it" means: further from every label than four fifths of what is still open
    still_open = np.flatnonzero((board.state == NONE) & board.embedded)
    some = rng.choice(still_open, min(256, len(still_open)), replace=False)
    usual = [similarity for _, similarity in nearest_labeled(board, some)]
    far = np.quantile(usual, 0.2) if usual else -np.inf
    words = []
    for row, (_, similarity) in zip(rows, near, strict=True):
        doubt = "" if probabilities is None else doubt_about(probabilities[row], board.classes)
        alone = "nothing like it is labeled yet" if similarity <= far else ""
        words.append("; ".join(part for part in (doubt, alone) if part) or "stands for other images like it")
    return Reasons(words, [neighbours for neighbours, _ in near])


def doubt_about(probabilities: Floats, classes: Sequence[str]) -> str:
    """What the model cannot decide about one image, in words."""
    order = np.argsort(-probabilities)
    (first, p), (second, q) = ((classes[k], float(probabilities[k])) for k in order[:2])
    if p - q < 0.2:
        return f"torn between {first} ({100 * p:.0f} %) and {second} ({100 * q:.0f} %)"
    return f"probably {first} ({100 * p:.0f} %)" if p < 0.9 else ""


def nearest_labeled(board: Board, rows: Ints, k: int = 3) -> list[tuple[list[tuple[int, int]], float]]:
    """For each image: its k nearest other labeled images as (image id, class index), and the similarity of the nearest.

    Reads the features of every label: with thousands of them too slow for a request that somebody waits for.
    """
    labeled = board.to_learn_from
    known = board.embedded[rows]
    result: list[tuple[list[tuple[int, int]], float]] = [([], -np.inf) for _ in rows]
    if not len(labeled) or not known.any():
        return result
    similarity = np.asarray(board.features[rows[known]]) @ np.asarray(board.features[labeled]).T
    similarity[rows[known][:, None] == labeled] = -np.inf  # itself
    for place, line in zip(np.flatnonzero(known), similarity, strict=True):
        few = np.argpartition(-line, min(k, len(line)) - 1)[:k]
        order = few[np.argsort(-line[few], kind="stable")]
        near = [(int(labeled[j]) + 1, int(board.label[labeled[j]])) for j in order if line[j] > -np.inf]
        result[place] = (near, float(line[order[0]]))
    return result
