"""One round of the loop: read the state, call the core, write the state.

    read_board  →  learn  →  pool_of  →  choose  →  explain  →  a Batch, logged

Here (and in late.py) image ids and pool rows cross: arrays on the Board go by image id - 1, arrays in a Pool by row.
Left out: what is known (board.py), what is read on demand only (late.py), and words for a person (reasons.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from labelloop import late, strategies
from labelloop.board import NONE, SKIP, UNSURE, Board, read_board
from labelloop.errors import BadInput, CannotTrain
from labelloop.learning import Learned, learn
from labelloop.project import Measured, Project
from labelloop.reasons import explain
from labelloop.strategies import Strategy, Value
from labelloop.strategies.folder import load_folder, load_installed
from labelloop.strategies.registry import Offered, everything
from labelloop.types import Batch, Ints, Pick, Pool

EXAM = "exam"
EXAM_REASON = "for the exam: drawn at random, so no suggestion is shown"
AGAIN_REASON = "asked once more, so neither a suggestion nor the first answer is shown"
OWN_STRATEGIES = Path(__file__).parent.parent / "strategies"  # of a source checkout; not there in a plain install


def pool_of(
    board: Board, learned: Learned | None, *, project: Project | None = None, taken: Iterable[int] = ()
) -> tuple[Pool, Ints]:
    """The pool a strategy sees, and for each of its rows the image id - 1.

    Skipped images come back when nothing else is open. `taken` are ids that are on somebody's screen. Without the
    project, the pool knows no paths, groups, seconds and doubts.
    """
    is_open = (board.state == NONE) & ~board.held_out & ~board.gone & board.embedded
    if not is_open.any():
        is_open = (board.state == SKIP) & ~board.held_out & ~board.gone & board.embedded
    pending = np.zeros(len(is_open), bool)
    pending[np.array(list(taken), dtype=int) - 1] = True
    is_open &= ~pending
    rows = np.flatnonzero(board.embedded)
    # Images are embedded in the order of their ids, so these rows are nearly always the first k: no copy.
    everything = len(rows) > 0 and rows[-1] == len(rows) - 1
    cut: Any = slice(0, len(rows)) if everything else rows
    may_learn = np.where(board.held_out, -1, board.label)
    pool = Pool(
        ids=rows + 1,
        features=board.features[cut],
        y=may_learn[cut],
        classes=board.classes,
        open=is_open[cut],
        probabilities=None if learned is None else learned.probabilities[cut],
        pending=(pending & ~board.held_out)[cut],
        skipped=(np.isin(board.state, (SKIP, UNSURE)) & ~board.held_out)[cut],
        again=(board.again & ~pending)[cut],
        late={} if project is None else late.readings(project, board, rows),
    )
    return pool, rows


def record(project: Project, board: Board, learned: Learned) -> Measured:
    """Put a head on the learning curve."""
    measured = Measured(
        kind="head",
        features=board.features_name,
        labels=learned.labels,
        exam_n=learned.exam.n,
        exam_correct=learned.exam.correct,
        seconds=learned.seconds,
    )
    project.rounds.add_model(measured)
    return measured


@dataclass(frozen=True)
class Choice:
    """Images in the order in which to show them, and the strategy that ran; no held-out ones among them."""

    strategy: str
    picks: list[Pick]
    settings: Mapping[str, Value]  # that it was given; the cold start gets none


def load_strategies(project: Project | None = None) -> Offered:
    """The strategies that a project can use, files that changed read anew; without one, those for all projects.

    A project's own drop-ins are known to it alone: two that are open in one process may each have a `mine`. One that
    wants the name of a strategy for all projects is a problem, and not there.
    """
    problems = [*load_installed(), *load_folder(OWN_STRATEGIES)]
    known = everything()
    own, more = ({}, []) if project is None else project.drop_ins.load(known)
    return Offered(dict(sorted({**known, **own}.items())), [*problems, *more])


def choose(
    project: Project,
    board: Board,
    learned: Learned | None,
    n: int,
    rng: np.random.Generator,
    *,
    strategy: Strategy | str | None = None,
    settings: Mapping[str, Value] | None = None,
    taken: Iterable[int] = (),
) -> Choice:
    """Let a strategy, the project's unless told, choose n images; `taken` are ids that are on somebody's screen.

    Without `settings` the project's strategy runs with those stored for it, any other with its defaults.
    """
    stored = project.settings
    one = strategy if isinstance(strategy, Strategy) else load_strategies(project).get(strategy or stored.strategy)
    if settings is None:
        settings = stored.strategy_settings if one.name == stored.strategy else {}
    pool, rows = pool_of(board, learned, project=project, taken=taken)
    chosen = strategies.choose(pool, n, one, rng, settings=settings)
    picks = [
        Pick(image_id=int(rows[row]) + 1, strategy=chosen.strategy, score=float(score), reason=why)
        for row, score, why in zip(chosen.rows, chosen.scores, chosen.reasons, strict=True)
    ]
    probabilities = None if learned is None else learned.probabilities
    words = explain(board, probabilities, [pick.image_id for pick in picks], rng, said=chosen.reasons)
    told = zip(picks, chosen.rows, words.words, words.neighbours, strict=True)
    return Choice(
        chosen.strategy,
        [
            replace(pick, again=True, reason=pick.reason or AGAIN_REASON)
            if not pool.open[row]
            else replace(pick, reason=pick.reason or why, neighbours=tuple(near), **suggestion_for(pool, row))
            for pick, row, why, near in told
        ],
        settings if chosen.strategy == one.name else {},
    )


def suggestion_for(pool: Pool, row: int) -> dict[str, Any]:
    """The class the model would answer, with its probability; nothing before the first model."""
    if pool.probabilities is None:
        return {}
    best = int(pool.probabilities[row].argmax())
    return {"suggestion": best, "probability": float(pool.probabilities[row, best])}


def mix_exam(
    picks: Sequence[Pick], exam: Sequence[Pick], n: int, share: float, rng: np.random.Generator, *, rest: bool
) -> list[Pick]:
    """Put held-out images between the picks: each place is one with probability `share`; at most n images in all.

    With `rest`, what is left of them follows after the last pick: there is nothing else to show.
    """
    chosen, waiting = list(picks), list(exam)
    mixed: list[Pick] = []
    while len(mixed) < n and (chosen or (waiting and rest)):
        take_exam = waiting and (not chosen or rng.random() < share)
        mixed.append((waiting if take_exam else chosen).pop(0))
    return mixed


def exam_picks(image_ids: Iterable[int]) -> list[Pick]:
    """Held-out images as they are shown: without a suggestion."""
    return [Pick(image_id=int(i), strategy=EXAM, reason=EXAM_REASON, held_out=True) for i in image_ids]


def next_batch(
    project: Project, n: int = 20, *, strategy: str | None = None, settings: Mapping[str, Value] | None = None
) -> Batch:
    """One round: learn from every answer so far, choose the n images to ask about next, and log them.

    Fewer than n where no more are left. Strategy and settings are as in `choose`. Raises BadInput before images are
    embedded, and for an n that is no whole number of at least 1.
    """
    if not isinstance(n, int | np.integer) or n < 1:
        raise BadInput(f"a batch of {n!r} images; wanted a whole number of at least 1")
    board = read_board(project)
    if not board.embedded.any():
        raise BadInput(f"no image is embedded yet. Do it with: labelloop embed {project.folder}, or embed(project)")
    try:
        learned = learn(board)
    except CannotTrain:
        learned = None  # the cold-start strategy runs, and the batch says so
    seed = project.settings.seed
    rng = np.random.default_rng([seed, project.rounds.last() + 1])
    choice = choose(project, board, learned, n, rng, strategy=strategy, settings=settings)
    share = project.settings.held_out
    exam = exam_picks(rng.permutation(board.exam_open + 1))
    picks = mix_exam(choice.picks, exam, n, share, rng, rest=not board.is_embedding)
    number = project.rounds.start(
        choice.strategy, dict(choice.settings), seed, 0 if learned is None else learned.labels
    )
    project.rounds.add_picks(number, picks)
    return Batch(round=number, strategy=choice.strategy, picks=tuple(replace(pick, round=number) for pick in picks))
