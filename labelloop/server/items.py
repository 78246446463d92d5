"""Images as the labeling page is told of them: what was answered, what the model says, and what it must not say.

Left out: the requests that ask (routes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from labelloop.board import Board
from labelloop.errors import BadInput
from labelloop.learning import Learned
from labelloop.live import Live
from labelloop.loop import EXAM, EXAM_REASON
from labelloop.reasons import nearest_labeled
from labelloop.types import Bools, Event, Pick

Json = dict[str, Any]


def reviewed(
    live: Live, board: Board, show: str, class_index: str | None, order: str, *, by: str | None = None, find: str = ""
) -> list[int]:
    """Ids of answered images that fit a filter, in order; only those whose answer is `by` one person, and those with
    all words of `find` in their path, where these are given.
    """
    learned, labeled = model_for(board, live.learned), board.label >= 0

    def among(image_ids: Iterable[int]) -> Bools:
        return np.isin(np.arange(1, len(labeled) + 1), list(image_ids))

    by_model = np.full(len(labeled), -1) if learned is None else learned.probabilities.argmax(1)
    filters: dict[str, Callable[[], Bools]] = {
        "all": lambda: board.state > 0,
        "class": lambda: board.label == int(class_index or 0),
        # Correcting the exam just where the model errs would make the model look better than it is.
        "disagree": lambda: labeled & ~board.held_out & (by_model >= 0) & (by_model != board.label),
        "unsure": lambda: board.state == 2,
        "skipped": lambda: board.state == 3,
        "exam": lambda: labeled & board.held_out,
        "flagged": lambda: among(live.project.log.flagged()),
        "noted": lambda: among(live.project.log.notes()),
    }
    if show not in filters:
        raise BadInput(f"there is no filter {show!r}; there are {', '.join(filters)}")
    fits = filters[show]()
    if by is not None:
        fits = fits & (board.state > 0) & (board.by == by)
    if find.strip():
        fits = fits & among(live.project.paths.with_words(find))
    rows = np.flatnonzero(fits)
    if order == "doubt" and learned is not None:
        p = learned.probabilities[np.arange(len(labeled)), board.label]
        # Unsure and skipped ones first; the exam last, for the order must not tell what the model says of it.
        key = np.where(board.held_out, 1.0, np.where(labeled, p, 0.0))
    else:
        key = board.event if order == "old" else -board.event
    ids: list[int] = (rows[np.argsort(key[rows], kind="stable")] + 1).tolist()
    return ids


def people(board: Board) -> list[str]:
    """Who gave the answers that there are, "" where that is not known."""
    return sorted(set(board.by[board.state > 0].tolist()), key=lambda name: (name.casefold(), name))


def model_for(board: Board, learned: Learned | None) -> Learned | None:
    """The model, unless images or classes came in since it was fitted; the next one is a moment away."""
    fits = learned is not None and learned.probabilities.shape == (len(board.label), len(board.classes))
    return learned if fits else None


def items(live: Live, board: Board, picks: Sequence[Pick], learned: Learned | None) -> list[Json]:
    """Picks as the page shows them, with what the board knows and `learned` says of them.

    A held-out image carries no suggestion, no probabilities, no neighbours; one that is asked about again neither, and
    no answer.
    """
    ids = [pick.image_id for pick in picks]
    images = live.project.catalog.images(ids)
    flagged, notes = live.project.log.flagged(), live.project.log.notes()
    shown = []
    for pick in picks:
        image, row = images[pick.image_id], pick.image_id - 1
        blind = pick.held_out or pick.again
        hide = blind or learned is None or pick.suggestion is None
        shown.append(
            {
                "id": pick.image_id,
                "name": image.name.encode(errors="backslashreplace").decode(),
                "w": image.width,
                "h": image.height,
                "exam": pick.held_out,
                "again": pick.again,
                "suggestion": None if hide else pick.suggestion,
                "probability": None if hide else pick.probability,
                "probs": [] if hide or learned is None else top(learned.probabilities[row]),
                "reason": pick.reason,
                "neighbours": [] if blind else [{"id": i, "class": k} for i, k in pick.neighbours],
                "round": pick.round,
                "strategy": pick.strategy,
                "answer": None if pick.again else _answer(board, row),
                "flagged": pick.image_id in flagged,
                "note": notes.get(pick.image_id, ""),
            }
        )
    return shown


def answered_items(live: Live, board: Board, image_ids: Sequence[int], *, with_neighbours: bool) -> list[Json]:
    """Answered images with what the model would say now; for held-out ones it stays hidden.

    Neighbours are for a few images: they take long where there are many labels.
    """
    learned = model_for(board, live.learned)
    rows = np.array(image_ids, dtype=int) - 1
    near = [alike for alike, _ in nearest_labeled(board, rows)] if with_neighbours else [[] for _ in rows]
    picks = []
    for image_id, alike in zip(image_ids, near, strict=True):
        row = image_id - 1
        if board.held_out[row]:
            picks.append(Pick(image_id=image_id, strategy=EXAM, reason=EXAM_REASON, held_out=True))
        elif learned is None or not board.embedded[row]:
            picks.append(Pick(image_id=image_id, strategy="review", neighbours=tuple(alike)))
        else:
            best = int(learned.probabilities[row].argmax())
            p = float(learned.probabilities[row, best])
            picks.append(
                Pick(image_id=image_id, strategy="review", suggestion=best, probability=p, neighbours=tuple(alike))
            )
    return items(live, board, picks, learned)


def top(probabilities: Any, k: int = 10) -> list[tuple[int, float]]:
    """The k likeliest classes with their probabilities, best first."""
    order = np.argsort(-probabilities)[:k]
    return [(int(j), round(float(probabilities[j]), 4)) for j in order]


def said(event: Event | None) -> Json | None:
    """An answer of the log, as the page knows it."""
    if event is None:
        return None
    return {"kind": event.kind} | ({"class": event.class_index} if event.kind == "label" else {})


def _answer(board: Any, row: int) -> Json | None:
    kind = (None, "label", "unsure", "skip")[board.state[row]]
    if kind is None:
        return None
    return {"kind": kind} | ({"class": int(board.label[row])} if kind == "label" else {})
