"""What a model learns from a board: the head in use, and what it says about every image.

The head is a pure function of the board. It learns from the labels and from guesses that spread from them
(train/spreading.py); with enough held-out answers it is asked whether those guesses help, how sure it may be, and how
far it should lean towards classes that are common (train/calibration.py).
Left out: which image to show next (loop.py), fine-tuning (worker.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelloop.board import SKIP, UNSURE, Board
from labelloop.errors import CannotTrain
from labelloop.metrics import Accuracy, accuracy
from labelloop.types import Floats, Ints

if TYPE_CHECKING:
    from labelloop.train.head import Head

# Held-out answers from which on they say how sure the head may be and how far it leans (they say so the more, the more
# there are, and fewer helped already: benchmarks/leaning.py), and from which on they decide about guesses.
CALIBRATING, JUDGES = 20, 50
# As how many answers a label counts that was given to many images at once. Where these are right it costs up to half a
# point; where three in ten are wrong it is worth up to 2.4 (docs/benchmarks.md).
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
    head, guesses = _fit_and_judge(board, rows)
    probabilities = head.predict_proba(board.features)
    seconds = time.perf_counter() - start
    probabilities[~board.embedded] = 0
    exam = accuracy(board.label[board.exam], probabilities[board.exam].argmax(1))
    return Learned(head, len(rows), seconds, probabilities, exam, guesses)


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


def _fit_and_judge(board: Board, rows: Ints) -> tuple[Head, bool]:
    """A head, and whether it learned from guesses: not if without them it gets more of the held-out answers right."""
    head, guesses, exam = fit(board, rows), True, board.exam
    X, y = np.asarray(board.features[exam]), board.label[exam]
    if len(exam) >= JUDGES:
        plain = fit(board, rows, guesses=False)
        if (plain.logits(X).argmax(axis=1) == y).sum() > (head.logits(X).argmax(axis=1) == y).sum():
            head, guesses = plain, False
    return (_calibrated(head, board, X, y) if len(exam) >= CALIBRATING else head), guesses


def _calibrated(head: Head, board: Board, X: Floats, y: Ints) -> Head:
    """As sure as held-out answers X (m, d), y (m,) allow, and as far towards common classes as they say."""
    from labelloop.train.calibration import calibrate, how_common

    common = how_common(head.predict_proba(np.asarray(board.features[board.graph.rows])))
    found = calibrate(head.logits(X), y, common)
    return head.sharpened(found.sharpness).leant(found.leaning * common)
