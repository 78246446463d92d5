"""The report of head.py: Markdown tables, and an answer to each question that the head is asked.

Accuracies and calibration errors are in %, differences in points. Differences are paired by seed: the same labels and
the same images to predict; square brackets are 95 % bootstrap intervals over the seeds. Left out: playing.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import mean_sd, table
from head_methods import GUESSING, LRCV, METHODS, OTHER_C, OURS
from real_sets import BACKBONES, KINDS, NAMES

from labelloop.curves import paired_interval
from labelloop.train.head import C

ENOUGH, WANTED = 100, 5.0  # labels from which on the calibration error is to be at most so many %
BELOW = 0.5  # points by which guesses may do harm before it is told
CELL_ORDER = [*NAMES, *BACKBONES, *KINDS]

Setting = tuple[str, ...]  # set, backbone, and for pools the kind


@dataclass(frozen=True)
class Line:
    """One fit and its exam."""

    part: str  # "class" or "pool"
    setting: Setting
    draw: str  # labels a class, or "random" or "auto"
    method: str
    labels: int
    seed: int
    measured: dict[str, float | None]


@dataclass(frozen=True)
class Lines:
    """Some fits; what one measures is had by seed."""

    lines: tuple[Line, ...]

    def of(self, **wanted: Any) -> Lines:
        """Those that have all these values."""
        return Lines(tuple(line for line in self.lines if all(getattr(line, k) == v for k, v in wanted.items())))

    def all(self, field: str) -> list[Any]:
        """The different values of a field, in the order in which the tables have them."""
        return sorted({getattr(line, field) for line in self.lines}, key=_place)

    def by_seed(self, measure: str, factor: float = 100) -> dict[int, float]:
        """Without heads that have no such measure."""
        found = {line.seed: line.measured.get(measure) for line in self.lines}
        return {seed: factor * value for seed, value in sorted(found.items()) if value is not None}


def _place(value: Any) -> Any:
    if isinstance(value, tuple):
        return [CELL_ORDER.index(part) for part in value]
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return list(METHODS).index(value) if value in METHODS else value


def read(raw: Path) -> Lines:
    """What `run` has written so far."""
    lines = []
    for text in raw.read_text(encoding="utf-8").splitlines():
        one = json.loads(text)
        part, name, backbone, count_or_kind, method_or_draw, seed = one["cell"]
        is_class = part == "class"
        setting = (name, backbone) if is_class else (name, backbone, count_or_kind)
        draw = count_or_kind if is_class else method_or_draw
        lines.append(Line(part, setting, draw, one["method"], one["labels"], seed, one))
    return Lines(tuple(lines))


def report(raw: Path) -> str:
    """All sections for which the file has something."""
    lines = read(raw)
    by_class, pools = lines.of(part="class"), lines.of(part="pool")
    sections = [_versus(by_class), _accuracies(by_class), _penalties(by_class), _fit_seconds(by_class)]
    sections += [_guesses(pools, "accuracy", "the test set"), _guesses(pools, "rest_accuracy", "the rest of the pool")]
    sections += [_calibration(lines), _calibration_in_full(pools)]
    return "\n\n".join(text for section in sections for text in section) or f"{raw} has no fits yet."


# -- equally many labels of each class --------------------------------------------------------------------------------


def _versus(lines: Lines) -> Iterator[str]:
    """Is the head as accurate as LogisticRegressionCV?"""
    counts, settings = lines.all("draw"), lines.of(method=LRCV).all("setting")
    if not settings:
        return
    yield "#### Is the head at least as accurate as LogisticRegressionCV?"
    yield (
        "Equally many labels of each class, or all there are; points above LogisticRegressionCV on the test set, "
        f"{_seeds(lines.of(method=LRCV))}. At 1 label a class there is nothing to leave out: LogisticRegression, C = 1."
    )
    for method in (GUESSING, OURS):
        cells = {
            (setting, count): _pair(lines.of(setting=setting, draw=count), method, LRCV, "accuracy")
            for setting in settings
            for count in counts
        }
        there = {cell: gaps for cell, gaps in cells.items() if gaps}
        if there:
            yield _lowest(method, there)
            yield _grid(settings, counts, lambda setting, count, cells=cells: _points(cells[setting, count]))


def _lowest(method: str, cells: dict[tuple[Setting, str], list[float]]) -> str:
    mean = {cell: statistics.fmean(gaps) for cell, gaps in cells.items()}
    (setting, count), least = min(mean.items(), key=lambda item: item[1])
    level = sum(gap >= 0 for gap in mean.values())
    return (
        f"**{_title(method)}**: level or above in {level} of {len(mean)} cells; lowest {least:+.1f} "
        f"({', '.join(setting)}, {count} a class); on average {statistics.fmean(mean.values()):+.1f}."
    )


def _accuracies(lines: Lines) -> Iterator[str]:
    """Every head in every setting."""
    most = max(map(len, _groups(lines).values()), default=0)
    shown = [method for method in lines.all("method") if not method.startswith("C = ")]
    for setting in lines.all("setting"):
        some = lines.of(setting=setting)
        counts = some.all("draw")
        rows = []
        for method in shown:
            values = [list(some.of(method=method, draw=count).by_seed("accuracy").values()) for count in counts]
            rows.append([_title(method), *(_accuracy(cell, most) for cell in values)])
        yield f"#### Accuracy %, {', '.join(setting)}"
        yield table(["labels a class", *counts], rows)
    if shown:
        yield f"± standard deviation over {most} seeds; (n) where there are fewer. LDA needs two labels of a class."


def _accuracy(values: list[float], most: int) -> str:
    if not values:
        return "–"
    return mean_sd(values) + (f" ({len(values)})" if len(values) < most else "")


def _penalties(lines: Lines) -> Iterator[str]:
    """Is there a C to search for?"""
    methods = {C: OURS} | {float(other): f"C = {other:.0f}" for other in OTHER_C}
    names = [methods[key] for key in sorted(methods)]
    if not lines.of(method=names[-1]).lines:
        return
    rows = []
    for count in lines.all("draw"):
        some = lines.of(draw=count)
        means = [[_mean(some.of(setting=s, method=m), "accuracy") for m in names] for s in some.all("setting")]
        own = names.index(OURS)
        best = max(means, key=lambda row: max(row) - row[own])
        where = some.all("setting")[means.index(best)]
        average = [f"{statistics.fmean(column):.1f}" for column in zip(*means, strict=True)]
        rows.append([count, *average, f"{max(best) - best[own]:.1f} ({', '.join(where)})"])
    yield "#### Is there a C to search for?"
    yield f"Accuracy % without guesses, mean over sets, backbones and seeds. The head has C = {C:.0f}."
    head = [f"C = {key:.0f}" for key in sorted(methods)]
    yield table(["labels a class", *head, f"{C:.0f} below the best of these, at worst"], rows)


def _fit_seconds(lines: Lines) -> Iterator[str]:
    """How long a fit took, next to each other on one thread."""
    wide = Lines(tuple(line for line in lines.lines if line.setting[-1] == "lite0"))
    settings = wide.all("setting")
    if not settings:
        return
    yield "#### Milliseconds of a fit, lite0 (1,280 features), one thread"
    yield "Median over seeds, at 1 / 10 / 50 labels a class. The graph of the guesses is made once for a pool."
    rows = []
    for method in [method for method in wide.all("method") if not method.startswith("C = ")]:
        some = wide.of(method=method)
        cells = [[some.of(setting=s, draw=k).by_seed("seconds", 1000) for k in ("1", "10", "50")] for s in settings]
        rows.append([_title(method), *(" / ".join(map(_median, cell)) for cell in cells)])
    yield table(["", *(setting[0] for setting in settings)], rows)


def _median(values: dict[int, float]) -> str:
    return f"{statistics.median(values.values()):,.0f}" if values else "–"


# -- labels as they come ----------------------------------------------------------------------------------------------


def _guesses(lines: Lines, measure: str, where: str) -> Iterator[str]:
    """Do guesses pay where labels come as they come?"""
    drawn = lines.of(draw="random")
    settings, counts = drawn.all("setting"), drawn.all("labels")
    if not settings:
        return
    cells = {
        (setting, count): _pair(drawn.of(setting=setting, labels=count), GUESSING, OURS, measure)
        for setting in settings
        for count in counts
    }
    rows = [["**mean**", *(f"{_mean_of(cells[s, count] for s in settings):+.1f}" for count in counts)]]
    for kind in KINDS:
        some = [setting for setting in settings if setting[2] == kind]
        rows += [[kind, *(f"{_mean_of(cells[s, count] for s in some):+.1f}" for count in counts)]] if some else []
    rows += [[", ".join(setting), *(_points(cells[setting, count]) for count in counts)] for setting in settings]
    worse = [cell for cell, gaps in cells.items() if gaps and statistics.fmean(gaps) < -BELOW]
    there = sum(bool(gaps) for gaps in cells.values())
    yield f"#### Random labels: points that guesses add, on {where}"
    yield f"{_seeds(drawn)}. Worse by more than {BELOW} points in {len(worse)} of {there} cells."
    yield table(["pool, labels", *map(str, counts)], rows)


# -- calibration ------------------------------------------------------------------------------------------------------


def _calibration(lines: Lines) -> Iterator[str]:
    """How large is the error, for each head and each way of drawing?"""
    enough = Lines(tuple(line for line in lines.lines if line.labels >= ENOUGH))
    fewer = Lines(tuple(line for line in lines.lines if line.labels < ENOUGH))
    for title, some, methods in (
        (f"Calibration error % at {ENOUGH} labels and more", enough, enough.all("method")),
        (f"Calibration error % below {ENOUGH} labels", fewer, [OURS, GUESSING]),
    ):
        rows = list(_calibration_rows(some, methods))
        if rows:
            yield f"#### {title}"
            yield "15 bins of equal width; each cell is the mean over its seeds."
            yield table(["labels", "head", "mean", "largest", f"cells ≤ {WANTED:.0f} %"], rows)


def _calibration_rows(lines: Lines, methods: list[Any]) -> Iterator[list[str]]:
    for title, some, measure in (
        ("equally many a class, test set", lines.of(part="class"), "calibration"),
        ("random from a pool, test set", lines.of(draw="random"), "calibration"),
        ("random from a pool, rest of it", lines.of(draw="random"), "rest_calibration"),
        ("chosen by `auto`, test set", lines.of(draw="auto"), "calibration"),
        ("chosen by `auto`, rest of the pool", lines.of(draw="auto"), "rest_calibration"),
    ):
        for method in methods:
            groups = _groups(some.of(method=method), measure)
            if groups:
                yield [title, _title(method), *_errors(groups)]


def _errors(groups: dict[tuple[Any, ...], list[float]]) -> list[str]:
    mean = {key: statistics.fmean(values) for key, values in groups.items()}
    setting, _, _, labels = worst = max(mean, key=mean.__getitem__)
    good = sum(value <= WANTED for value in mean.values())
    return [
        f"{statistics.fmean(mean.values()):.1f}",
        f"{mean[worst]:.1f} ({', '.join(setting)}, {labels})",
        f"{good} of {len(mean)}",
    ]


def _calibration_in_full(pools: Lines) -> Iterator[str]:
    """Labelloop's head as the app fits it, in every pool."""
    some = Lines(tuple(line for line in pools.of(method=GUESSING).lines if line.labels >= ENOUGH))
    columns = [(draw, count) for draw in ("random", "auto") for count in some.of(draw=draw).all("labels")]
    if not columns:
        return
    rows = []
    for setting in some.all("setting"):
        cells = [some.of(setting=setting, draw=draw, labels=count) for draw, count in columns]
        rows.append([", ".join(setting), *(_two_errors(cell) for cell in cells)])
    yield f"#### Calibration error % of {GUESSING}: on the test set / on the rest of the pool"
    yield table(["pool", *(f"{draw}, {count}" for draw, count in columns)], rows)


def _two_errors(lines: Lines) -> str:
    if not lines.lines:
        return "–"
    return f"{_mean(lines, 'calibration'):.1f} / {_mean(lines, 'rest_calibration'):.1f}"


# -- what the sections share ------------------------------------------------------------------------------------------


def _groups(lines: Lines, measure: str = "accuracy") -> dict[tuple[Any, ...], list[float]]:
    """Values in % by setting, draw, method and labels."""
    groups: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for line in lines.lines:
        value = line.measured.get(measure)
        if value is not None:
            groups[line.setting, line.draw, line.method, line.labels].append(100 * value)
    return groups


def _pair(lines: Lines, one: str, other: str, measure: str) -> list[float]:
    """Points by which one head is above the other, for each seed that both have."""
    ours, theirs = (lines.of(method=method).by_seed(measure) for method in (one, other))
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def _mean(lines: Lines, measure: str) -> float:
    values = list(lines.by_seed(measure).values())
    return statistics.fmean(values) if values else float("nan")


def _mean_of(cells: Iterable[list[float]]) -> float:
    means = [statistics.fmean(cell) for cell in cells if cell]
    return statistics.fmean(means) if means else float("nan")


def _points(gaps: list[float]) -> str:
    """'+1.2 [0.4, 2.1]', and the number of seeds where an interval means little."""
    if len(gaps) < 2:
        return f"{gaps[0]:+.1f} (1)" if gaps else "–"
    gap = paired_interval(gaps)
    return f"{gap.mean:+.1f} [{gap.low:.1f}, {gap.high:.1f}]" + (f" ({gap.n})" if gap.n < 3 else "")


def _grid(settings: list[Setting], counts: list[str], cell: Callable[[Setting, str], str]) -> str:
    rows = [[", ".join(setting), *(cell(setting, count) for count in counts)] for setting in settings]
    return table(["labels a class", *counts], rows)


def _seeds(lines: Lines) -> str:
    numbers = sorted({len(values) for values in _groups(lines).values()})
    return f"{numbers[0]} to {numbers[-1]} seeds" if len(numbers) > 1 else f"{numbers[0]} seed{'s' * (numbers[0] > 1)}"


def _title(method: str) -> str:
    return method[0].upper() + method[1:]
