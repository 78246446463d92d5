"""Replays strategies on labels that a project has: what would a model have got right, had this one asked the questions?

Held-out answers are the test set where there are enough, else a third of the labels drawn anew for each seed. Left out:
the replay of one strategy with one seed (simulate.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelloop import late
from labelloop.board import read_board
from labelloop.cli.settings import Settings
from labelloop.errors import BadInput
from labelloop.metrics import ENOUGH
from labelloop.project import Project
from labelloop.simulate import simulate
from labelloop.strategies import Strategy, Value
from labelloop.types import Floats, Ints

OTHERS = ("auto", "random")
COLD_START = "max_herding"
FEWEST_BATCHES = 4  # in the labels to choose from: where nothing is left to choose, all strategies are equal

Curves = dict[str, dict[int, list[float]]]  # strategy → labels → accuracy for each seed


@dataclass(frozen=True)
class Material:
    """What a project gives to replay on. n images, d features."""

    features: Floats  # (n, d)
    y: Ints  # (n,)
    classes: tuple[str, ...]
    exam: Ints  # rows that are always the test set; empty: a third of the rows, drawn anew for each seed
    late: Mapping[str, Callable[[], Any]]

    @property
    def chosen_from(self) -> int:
        """How many images the strategies choose from."""
        return len(self.y) - self.test_size

    @property
    def test_size(self) -> int:
        """How many images the accuracies rest on."""
        return len(self.exam) or len(self.y) // 3

    @property
    def words(self) -> str:
        """What is chosen from and what is judged by."""
        kind = "answered held-out images" if len(self.exam) else "of the labels, a third, drawn anew for each replay"
        return f"{self.chosen_from} labels to choose from; judged by {self.test_size} {kind}."


def material(project: Project, batch: int) -> Material:
    """The labels of a project with what strategies may read; raises BadInput where there are too few."""
    board = read_board(project)
    labeled, exam = board.to_learn_from, board.exam
    if len(exam) < ENOUGH:
        exam = exam[:0]
    rows = np.concatenate([labeled, exam])
    known = late.readings(project, board, rows)
    found = Material(
        features=np.asarray(board.features[rows], np.float32),
        y=board.label[rows],
        classes=board.classes,
        exam=np.arange(len(labeled), len(rows)),
        # Doubts about an answer are not known before it; all other readings were there, or do not tell the class.
        late={**known, "doubts": lambda: np.full(len(rows), np.nan, np.float32)},
    )
    wanted = FEWEST_BATCHES * batch
    if found.chosen_from < wanted or found.test_size < ENOUGH or len(np.unique(board.label[labeled])) < 2:
        raise BadInput(_too_few(project, found, len(labeled), wanted))
    return found


def _too_few(project: Project, found: Material, labels: int, wanted: int) -> str:
    classes = len(np.unique(found.y))
    without_exam = max(math.ceil(wanted * 3 / 2), 3 * ENOUGH)
    return (
        f"{project.folder} has {labels} labels of {classes} {'class' if classes == 1 else 'classes'}, and "
        f"{len(found.exam) or f'fewer than {ENOUGH}'} answered held-out images. A replay wants labels of two classes: "
        f"{without_exam} of them, or {wanted} and {ENOUGH} answered held-out ones. Label on, or take a smaller --batch."
    )


def refuse_again(one: Strategy) -> None:
    """Raise BadInput for a strategy whose point no replay can show."""
    if one.again:
        raise BadInput(
            f"{one.name} asks again about images that have an answer; a replay knows one answer for each, so it cannot "
            "show what that is worth. labelloop check still runs its contract."
        )


def replay(
    found: Material,
    strategies: Sequence[Strategy],
    seeds: int,
    batch: int,
    *,
    settings: Settings,
    progress: Callable[[int, int], None],
) -> Curves:
    """Accuracies of each strategy at growing label counts, one for each seed; all see the same images and test sets."""
    budgets = label_counts(found.chosen_from, batch)
    curves: Curves = {one.name: {count: [] for count in budgets} for one in strategies}
    turns = [(seed, one) for seed in range(seeds) for one in strategies]
    for k, (seed, one) in enumerate(turns):
        progress(k, len(turns))
        played = play(found, one, budgets, batch, seed=seed, settings=settings.get(one.name, {}))
        for count, point in zip(budgets, played.curve, strict=False):
            if point["labels"] == count:  # fewer: it offers no more
                curves[one.name][count].append(point["accuracy"])
    return curves


@dataclass(frozen=True)
class Played:
    """One learning curve; `picked` in it are places in `pool`."""

    strategy: str
    settings: dict[str, Value]  # all that it has
    seed: int
    curve: list[dict[str, Any]]
    pool: Ints  # rows of the material that were chosen from


def play(
    found: Material,
    one: Strategy,
    budgets: Sequence[int],
    batch: int,
    *,
    seed: int,
    settings: Mapping[str, Value],
) -> Played:
    """One strategy with one seed; settings that are not given are the defaults."""
    pool, test = _split(found, seed)
    curve = simulate(
        found.features[pool],
        found.y[pool],
        one,
        budgets=budgets,
        test_features=found.features[test],
        test_y=found.y[test],
        batch=batch,
        seed=seed,
        classes=found.classes,
        settings=settings,
        late={key: _cut(read, pool) for key, read in found.late.items()},
    )
    defaults = {name: setting.default for name, setting in one.settings.items()}
    return Played(one.name, {**defaults, **settings}, seed, curve, pool)


def label_counts(n: int, batch: int) -> list[int]:
    """One batch, two, four, … up to half of n: beyond that there is too little left to choose from."""
    return [batch * 2**k for k in range(n.bit_length()) if batch * 2**k <= n // 2]


def _split(found: Material, seed: int) -> tuple[Ints, Ints]:
    rows = np.random.default_rng(seed).permutation(len(found.y))
    exam = found.exam if len(found.exam) else rows[: found.test_size]
    return np.setdiff1d(rows, exam), np.sort(exam)


def _cut(read: Callable[[], Any], rows: Ints) -> Callable[[], Any]:
    def some() -> Any:
        values = read()
        return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]

    return some


# -- in words ---------------------------------------------------------------------------------------------------------


def table(curves: Curves) -> Iterator[str]:
    """A line for each label count: mean accuracy ± standard deviation over the seeds, for each strategy."""
    width = max(16, *(len(name) + 2 for name in curves))
    yield "labels" + "".join(f"{name:>{width}}" for name in curves)
    for count in next(iter(curves.values())):
        yield f"{count:>6}" + "".join(f"{_cell(points[count]):>{width}}" for points in curves.values())


def _cell(shares: Sequence[float]) -> str:
    if not shares:
        return "–"  # it offered no more images
    spread = f" ± {100 * np.std(shares, ddof=1):.1f}" if len(shares) > 1 else ""
    return f"{100 * np.mean(shares):.1f}{spread} %"


def verdict(curves: Curves, own: str, found: Material) -> str:
    """One sentence: accuracies at one label count, and how large a difference must be to mean something.

    The count is the highest that leaves two thirds to choose from; later, every strategy has chosen much the same.
    """
    reached = [count for count, shares in curves[own].items() if len(shares) == len(curves[OTHERS[0]][count])]
    if not reached:
        return f"{own} offered too few images to be compared: it gives most of them -inf, which means never."
    count = max((count for count in reached if count <= found.chosen_from // 3), default=reached[0])
    mean = {name: float(np.mean(curves[name][count])) for name in (own, *OTHERS)}  # another may offer fewer images
    others = ", ".join(f"{name} {100 * mean[name]:.0f} %" for name in OTHERS)
    noise = max(unsure_by(curves[own][count], curves[name][count], found.test_size) for name in OTHERS)
    return (
        f"With {count} labels {own} reaches {100 * mean[own]:.0f} %, {others}; judged by {found.test_size} images, "
        f"differences below {max(1, math.ceil(100 * noise))} points mean little."
    )


def unsure_by(a: Sequence[float], b: Sequence[float], n: int) -> float:
    """Half the 95 % interval of the difference of two accuracies on n images, from both causes of chance.

    The test images: p (1 - p) / n, half of what two independent test sets would add, because both strategies are judged
    by the same one. The seeds: the spread of the differences over them.
    """
    p = float(np.mean([a, b]))
    spread = float(np.var(np.subtract(a, b), ddof=1)) / len(a) if len(a) > 1 else 0.0
    return 1.96 * math.sqrt(p * (1 - p) / n + spread)
