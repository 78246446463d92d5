"""What a model learns from a board: the head in use, and what it says about every image.

The head is a pure function of the board. It learns from the labels and from guesses that spread from them
(train/spreading.py); with enough held-out answers it is asked whether those guesses help, how sure it may be, and how
far it should lean towards classes that are common (train/calibration.py).
Left out: which image to show next (loop.py), fine-tuning (worker.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from labelloop.board import SKIP, UNSURE, Board
from labelloop.errors import CannotTrain
from labelloop.metrics import Accuracy, accuracy
from labelloop.types import Bools, Floats, Ints

if TYPE_CHECKING:
    from labelloop.train.head import Head

# Held-out answers from which on they say how sure the head may be and how far it leans (they say so the more, the more
# there are, and fewer helped already: benchmarks/leaning.py), and from which on they decide about guesses.
CALIBRATING, JUDGES = 20, 50
# As how many answers a label counts that was given to many images at once. Where these are right it costs up to half a
# point; where three in ten are wrong it is worth up to 2.4 (docs/benchmarks/head.md).
BULK = 0.5


@dataclass(frozen=True)
class Learned:
    """A head, what it says about every image, and how it did on the exam."""

    head: Head
    labels: int
    seconds: float
    probabilities: Floats  # (n, c), by image id - 1; zeros where an image is not embedded
    exam: Accuracy
    guesses: bool = True  # whether it learned from guesses too


def learn(board: Board) -> Learned:
    """Fit a head on all labels it may see and ask it about every image; raises CannotTrain below two classes."""
    start = time.perf_counter()
    rows = board.to_learn_from
    judged = _Judged(board, rows)
    head, guesses = judged.decided()
    probabilities = head.predict_proba(board.features)
    seconds = time.perf_counter() - start
    probabilities[~board.embedded] = 0
    return Learned(head, len(rows), seconds, probabilities, accuracy(judged.y, judged.said()), guesses)


def fit(board: Board, rows: Ints, *, guesses: bool = True) -> Head:
    """A head on the labels of some images, and on guesses from them; raises CannotTrain below two classes."""
    from labelloop.train.head import fit_head
    from labelloop.train.spreading import fit_spread

    if len(np.unique(board.label[rows])) < 2:
        raise CannotTrain(
            f"the labels to learn from ({len(rows)}) are all of one class; a model needs two to tell apart"
            if len(rows)
            else "there are no labels to learn from yet"
        )
    counts = np.where(board.bulk, BULK, 1.0)
    if not guesses:
        return fit_head(np.asarray(board.features[rows]), board.label[rows], len(board.classes), counts[rows])
    known = np.full(len(board.label), -1)
    known[rows] = board.label[rows]
    skipped = np.flatnonzero(np.isin(board.state, (SKIP, UNSURE)) & ~board.held_out & board.embedded)
    return fit_spread(board.graph, board.features, known, len(board.classes), skipped, counts)


class _Judged:
    """Heads on some labels, and the held-out answers that decide which of them it is, how sure, and how far it leans.

    h answers of d features. The accuracy is that on each half of them as the other half alone decides: all of them
    would flatter what they decided, by 1.5 points where they are 20 (docs/benchmarks/head.md).
    """

    def __init__(self, board: Board, rows: Ints):
        exam = board.exam
        self.X, self.y = np.asarray(board.features[exam]), board.label[exam]  # (h, d), (h,)
        self.half = exam % 2  # (h,) by image, so that it stays the same when there are more
        self.heads = [fit(board, rows)]
        if len(exam) >= JUDGES:
            self.heads.append(fit(board, rows, guesses=False))
        self.pool = np.asarray(board.features[board.graph.rows]) if len(exam) >= CALIBRATING else None

    def decided(self, by: Bools | None = None) -> tuple[Head, bool]:
        """The head, and whether it learned from guesses: not if without them it gets more of the answers right.

        `by` (h,) are the answers that decide, all unless told.
        """
        from labelloop.train.calibration import calibrate

        if self.pool is None:
            return self.heads[0], True
        X, y = (self.X, self.y) if by is None else (self.X[by], self.y[by])
        k = int(np.argmax([(head.logits(X).argmax(axis=1) == y).sum() for head in self.heads]))
        found = calibrate(self.heads[k].logits(X), y, self.common[k])
        return self.heads[k].sharpened(found.sharpness).leant(found.leaning * self.common[k]), k == 0

    @cached_property
    def common(self) -> list[Floats]:
        """How common classes are to each head (c,)."""
        from labelloop.train.calibration import how_common

        return [how_common(head.predict_proba(self.pool)) for head in self.heads if self.pool is not None]

    def said(self) -> Ints:
        """The class (h,) that each image is taken for, had its own half of the answers no say."""
        said = np.empty(len(self.y), np.int64)
        for half in (0, 1):
            mine = self.half == half
            said[mine] = self.decided(~mine)[0].logits(self.X[mine]).argmax(axis=1)
        return said
