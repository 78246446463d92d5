"""What a pool knows beyond features and labels, read when a strategy first asks: paths, groups, seconds, doubts.

Most strategies never ask, and choosing waits for none of it. Of held-out images nothing is told but where they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from labelloop.board import UNSURE, Board
from labelloop.project import Project
from labelloop.types import Floats, Ints

FOLDS = 5


def readings(project: Project, board: Board, rows: Ints) -> dict[str, Callable[[], Any]]:
    """Pool.late for the pool of these rows (image ids - 1)."""
    return {
        "paths": lambda: paths_of(project, rows),
        "groups": lambda: groups_of(project, rows),
        "seconds": lambda: seconds_of(project, board)[rows],
        "doubts": lambda: doubts_of(board)[rows],
    }


def paths_of(project: Project, rows: Ints) -> list[str]:
    """The path of each row's first file below its folder of images; empty where no file is known any more."""
    places = project.catalog.places()
    return [places.get(image_id, (0, ""))[1] for image_id in (rows + 1).tolist()]


def groups_of(project: Project, rows: Ints) -> Ints:
    """One number for each folder that images lie in, counted from 0 in the order of the rows (len(rows),)."""
    places, numbers = project.catalog.places(), dict[tuple[int, str], int]()
    groups = np.empty(len(rows), np.int64)
    for row, image_id in enumerate((rows + 1).tolist()):
        number, path = places.get(image_id, (0, ""))
        groups[row] = numbers.setdefault((number, path.rpartition("/")[0]), len(numbers))
    return groups


def seconds_of(project: Project, board: Board) -> Floats:
    """Seconds before each image's answer (n,), by image id - 1; NaN where no person answered it by itself."""
    seconds = np.full(len(board.state), np.nan, np.float32)
    for image_id, value in project.log.seconds(upto=board.last_event).items():
        seconds[image_id - 1] = value
    seconds[board.held_out] = np.nan
    return seconds


def doubts_of(board: Board) -> Floats:
    """How doubtful each answer is (n,), by image id - 1, as Pool.doubts says.

    A fifth of the labels at a time is judged by a head that learned from the others: five fits of the labels there are.
    """
    from labelloop.train.head import fit_head

    doubts = np.full(len(board.state), np.nan, np.float32)
    doubts[(board.state == UNSURE) & ~board.held_out] = 1
    rows = board.to_learn_from
    y, X = board.label[rows], np.asarray(board.features[rows], np.float32)
    fold = _folds(y)
    for k in range(FOLDS):
        out = np.flatnonzero(fold == k)
        if len(out) and len(np.unique(y)) > 1:
            proba = fit_head(X[fold != k], y[fold != k], len(board.classes)).predict_proba(X[out])
            doubts[rows[out]] = 1 - proba[np.arange(len(out)), y[out]]
    return doubts


def _folds(y: Ints) -> Ints:
    """The fold of each label (len(y),): those of one class go round, so that no fold takes a whole class away.

    -1, in no fold, for the only label of its class: a head without it could not know the class.
    """
    fold = np.full(len(y), -1)
    several = np.bincount(y)[y] > 1 if len(y) else np.zeros(0, bool)
    order = np.argsort(np.where(several, y, y.max(initial=0) + 1), kind="stable")[: several.sum()]
    fold[order] = np.arange(len(order)) % FOLDS
    return fold
