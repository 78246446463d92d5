"""Runs one strategy over the pools of pools.py and says in plain words what breaks its contract, and what it costs.

A strategy under check is any Strategy, registered or not. Nothing here stops one that never ends: who calls may want a
process of its own (cli/apart.py).
"""

from __future__ import annotations

import math
import random
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from labelloop.errors import BadInput, LabelloopError, NeedsModel
from labelloop.strategies.choosing import choose
from labelloop.strategies.contract import Scores, Strategy, code_of, defined, fault, file_of, said, where
from labelloop.strategies.folder import execute, is_left_alone
from labelloop.strategies.pools import POOLS, make_pool
from labelloop.strategies.registry import get, names
from labelloop.types import Ints, Pool

BATCH, SEED = 10, 3
FEW, MANY, TEN_TIMES = 2_500, 10_000, 100_000  # images: two are measured to see how the cost grows, the third is said
SLOW_SECONDS = 2.0  # at MANY images: what nobody notices while they answer a batch
MUCH_BYTES = 4e9  # at TEN_TIMES images
WAITS = "needs a model: until two classes have labels, another strategy runs in its place, and the log says which"


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a strategy breaks the contract."""

    found: str
    wanted: str
    todo: str
    place: str  # file and line
    on: tuple[str, ...] = ()  # the pools that show it, in words


@dataclass
class Report:
    """What is known about one strategy; it keeps the contract when there is no fault."""

    name: str
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # allowed, but hardly meant
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None  # for MANY images; None where it was not measured

    def add(self, new: Fault, on: str) -> None:
        """Note a fault seen on a pool; the same one on another pool is not said twice."""
        for k, old in enumerate(self.faults):
            if (old.todo, old.place) == (new.todo, new.place):
                self.faults[k] = replace(old, on=(*old.on, on))
                return
        self.faults.append(replace(new, on=(on,)))

    def warn(self, text: str) -> None:
        """Note a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def wait(self) -> None:
        """Note, once, that it waits for a model."""
        self.notes += [] if WAITS in self.notes else [WAITS]

    @property
    def summary(self) -> str:
        """One line."""
        if self.faults:
            several = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
            return f"{self.name}: breaks the contract ({several})"
        cost = "" if self.seconds is None else f"; {MANY:,} images in {max(self.seconds, 0.01):.2f} s"
        return f"{self.name}: keeps the contract{cost}"


def load(file: Path) -> list[Strategy]:
    """The strategies of one file, wherever it lies, without registering them. Raises BadInput, BadStrategy."""
    if not file.is_file():
        what = "is a folder, not a file with Python code" if file.is_dir() else "is not there"
        raise BadInput(f"{file} {what}; wanted a file that defines strategies, such as leaves/strategies/mine.py")
    return list(execute(file.resolve()).values())


def name_taken(name: str, by: str, place: str) -> Fault:
    """Two strategies have one name."""
    found = f"the name {name!r} is taken by {by}"
    return Fault(found, "a name of its own: nothing is silently replaced", "give the function another name", place)


def needs_model(one: Strategy) -> bool:
    """Whether it asks for probabilities, so that the cold-start strategy runs before labels of two classes."""
    try:
        with warnings.catch_warnings(action="ignore"):
            chosen = choose(make_pool(9, model=False), 1, one, np.random.default_rng(SEED))
    except LabelloopError:  # whatever else is wrong with it is not the question here
        return False
    return chosen.strategy != one.name


def check(one: Strategy, *, step: Callable[[str], None] = lambda words: None) -> Report:
    """Run the whole contract; `step` is told before each pool, in words. Never raises for what the strategy does."""
    report = Report(one.name, notes=list(_about(one)))
    if one.name in names() and (taken := get(one.name).origin) != one.origin:
        report.faults.append(name_taken(one.name, taken, defined(one)))
    for words, make in POOLS.items():
        step(words)
        for new in _faults(one, _opened(one, make()), report):
            report.add(new, words)
    if not report.faults:
        _measure(one, step, report)
    return report


def _about(one: Strategy) -> Iterator[str]:
    if one.settings:
        yield f"settings: {one.settings_in_words}"
    if one.again:
        yield "may ask again about images that have an answer"
    if is_left_alone(Path(one.origin)):
        yield "the app does not read files whose names start with _ or a dot"


# -- one run on one pool ----------------------------------------------------------------------------------------------


def _faults(one: Strategy, pool: Pool, report: Report) -> Iterator[Fault]:
    """What is wrong with one strategy on one pool; warnings go to the report."""
    n = min(BATCH, len(pool.unlabeled))  # as choose asks
    before = _global_state(), _arrays(pool)
    scores = _call(one, pool, n, report)
    if isinstance(scores, Fault):
        yield scores
        return
    if isinstance(scores, NeedsModel):
        report.wait()
        return
    if wrong := _wrong(one, pool, n, scores):
        yield wrong
        return
    if _arrays(pool) != before[1]:
        yield Fault("changed the pool", "a pool left as it was", "copy an array before you write to it", defined(one))
    if _global_state() != before[0]:
        yield _uses_global_randomness(one, pool, n)
        return
    yield from _picks(one, pool, n, scores, report)


def _opened(one: Strategy, pool: Pool) -> Pool:
    """The pool as a strategy that asks again sees it: images with an answer are open to it too."""
    return replace(pool, open=pool.open | pool.again) if one.again and pool.again is not None else pool


def _wrong(one: Strategy, pool: Pool, n: int, scores: object) -> Fault | None:
    if not (problem := fault(scores, len(pool))):
        return None
    wanted = f"one float for each of {len(pool)} images, labeled ones too: a numpy array of shape ({len(pool)},)"
    return Fault(f"returned {problem}", wanted, _advice(scores, len(pool)), _line(one, pool, n))


def _picks(one: Strategy, pool: Pool, n: int, scores: Scores, report: Report) -> Iterator[Fault]:
    rows = _best(pool, n, scores)
    second = _call(one, pool, n, report)
    if isinstance(second, np.ndarray) and _best(pool, n, second).tolist() != rows.tolist():
        yield Fault(
            "two runs with the same seed chose different images",
            "the same picks from the same pool and seed",
            "draw from rng and from nothing else, and keep nothing between two calls",
            defined(one),
        )
    if len(rows) < n and not one.again:  # one that asks again may have no doubt left
        report.warn(
            "offers fewer images than asked for and than there are: choose among pool.unlabeled, or give a score"
        )
    why: Callable[[int], str] | None = getattr(scores, "why", None)
    if why is None:
        return
    for row in rows.tolist():
        try:
            with np.errstate():
                why(row)
        except (Exception, SystemExit) as error:  # noqa: BLE001 the code is the user's, whatever it raises must be said
            if isinstance(error, NeedsModel) and pool.probabilities is None:
                report.wait()
                return
            todo = "make the function given to because(…) work for every row that may be chosen"
            yield Fault(f"its reason failed: {said(error)}", "a few words", todo, where(error, file_of(one)))
            return


def _call(one: Strategy, pool: Pool, n: int, report: Report) -> Scores | Fault | NeedsModel:
    """The scores, or what went wrong, or that it waits for a model which is not there."""
    try:
        with warnings.catch_warnings(record=True) as caught, np.errstate():
            warnings.simplefilter("always")
            scores: Scores = one.function(pool, n, np.random.default_rng(SEED))
    except NeedsModel as error:
        if pool.probabilities is None or len(np.unique(pool.y[pool.labeled])) < 2:
            return error
        todo = "use pool.proba and let it say when there is none"
        return Fault(f"asks for a model: {error}", "scores: this pool has a model", todo, where(error, file_of(one)))
    except (Exception, SystemExit) as error:  # noqa: BLE001 the code is the user's, and whatever it raises must be said
        return _failure(one, error)
    for one_warning in caught:
        report.warn(f"{one_warning.message} ({one_warning.filename}, line {one_warning.lineno})")
    return scores


def _failure(one: Strategy, error: BaseException) -> Fault:
    place, words = where(error, file_of(one)), said(error)
    if isinstance(error, ValueError) and "read-only" in words:
        todo = "work on a copy: y = pool.y.copy()"
        return Fault(f"wrote to an array of the pool ({error})", "a pool left as it was", todo, place)
    if isinstance(error, AttributeError) and "cannot assign" in words:
        return Fault(f"wrote to the pool ({error})", "a pool left as it was", "use a variable of your own", place)
    todo = "repair that line; every project looks like this at some time"
    if "NoneType" in words:
        todo = "pool.skipped may be None, and pool.probabilities is before the first model: pool.proba waits for one"
    return Fault(f"failed with {words}", "scores from every pool", todo, place)


def _advice(scores: object, n: int) -> str:
    """What to do about scores in which `fault` found something."""
    if scores is None:
        return "end with: return scores"
    if not isinstance(scores, np.ndarray):
        return "return np.asarray(scores, float)"
    if isinstance(scores, np.ma.MaskedArray):
        return "end with: return scores.filled(-np.inf)"
    if scores.shape != (n,):
        return "score every row of pool.features; for a list of rows, best first, end with: return in_order(pool, rows)"
    if not np.issubdtype(scores.dtype, np.floating):
        return "return scores.astype(float)"
    if np.isnan(scores).any():
        return "look for 0 / 0, log(0) and means of nothing; np.clip(pool.proba, 1e-12, 1) keeps logarithms finite"
    return "look for a division by 0; to put an image first, a large number is enough"


def _uses_global_randomness(one: Strategy, pool: Pool, n: int) -> Fault:
    before = _global_state()
    place = _line(one, pool, n, until=lambda: _global_state() != before)
    todo = "write rng.random(…) for np.random.rand(…); scikit-learn takes random_state=int(rng.integers(2**31))"
    return Fault("draws from the global random numbers of numpy or Python", "randomness from rng only", todo, place)


def _global_state() -> tuple[Any, ...]:
    state: Any = np.random.get_state()  # noqa: NPY002 it is looked at, not drawn from
    return random.getstate(), state[1].tobytes(), *state[2:]


def _arrays(pool: Pool) -> list[bytes]:
    arrays = (pool.features, pool.y, pool.open, pool.unlabeled, pool.labeled, pool.covered, pool.probabilities)
    return [array.tobytes() for array in arrays if array is not None]


def _best(pool: Pool, n: int, scores: Scores) -> Ints:
    """The rows that choose would take, equal ones in the order of the pool."""
    rows = pool.unlabeled[scores[pool.unlabeled] > -np.inf]
    return rows[np.argsort(-scores[rows], kind="stable")][:n]


# -- where in the file ------------------------------------------------------------------------------------------------


def _line(one: Strategy, pool: Pool, n: int, *, until: Callable[[], bool] = lambda: False) -> str:
    """File and line of the last statement of the function that runs, or after which `until` is true: runs it again."""
    code, lines, reached = code_of(one.function), [0], [False]

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code is not code:
            return None
        reached[0] = reached[0] or until()
        if event == "line" and not reached[0]:
            lines[0] = frame.f_lineno
        return trace

    earlier = sys.gettrace()
    sys.settrace(trace)
    try:
        with warnings.catch_warnings(action="ignore"), np.errstate():  # they were told in the first run
            one.function(pool, n, np.random.default_rng(SEED))
    except Exception:  # noqa: BLE001 it did not fail a moment ago; the line it got to is as good as any
        return defined(one)
    finally:
        sys.settrace(earlier)
    return f"{file_of(one)}, line {lines[0]}" if lines[0] else defined(one)


# -- what it costs ----------------------------------------------------------------------------------------------------


def _measure(one: Strategy, step: Callable[[str], None], report: Report) -> None:
    """Seconds and bytes at MANY images, and what they grow to; warns when that is more than a project can bear."""
    costs: list[tuple[float, float]] = []
    for n in (FEW, MANY):
        step(f"{n:,} images")
        cost = _cost(one, _opened(one, make_pool(n, 64, labeled=200, known=10, classes=10)))
        if isinstance(cost, Fault):
            report.add(cost, f"{n:,} images")
            return
        costs.append(cost)
    seconds, size = (_grown(*pair) for pair in zip(*costs, strict=True))
    report.seconds = costs[1][0]
    todo = "look at a random part of the images, rng.choice(pool.unlabeled, 4096, replace=False), or use float32"
    if report.seconds > SLOW_SECONDS:
        report.warnings.append(
            f"slow: {report.seconds:.1f} s for {MANY:,} images, wanted at most {SLOW_SECONDS:.0f} s; each batch of "
            f"{TEN_TIMES:,} images would take about {seconds:,.0f} s; {todo}"
        )
    if size > MUCH_BYTES:
        report.warnings.append(
            f"large: {costs[1][1] / 1e6:,.0f} MB beside the features for {MANY:,} images; {TEN_TIMES:,} would need "
            f"about {size / 1e9:,.0f} GB; nothing may be images × images: {todo}"
        )


def _cost(one: Strategy, pool: Pool) -> Fault | tuple[float, float]:
    """Seconds, and bytes at the peak in a second run: counting them would slow the first one down."""
    report = Report(one.name)  # its warnings are known from the small pools
    start = time.perf_counter()
    scores = _call(one, pool, BATCH, report)
    seconds = time.perf_counter() - start
    if isinstance(scores, Fault):
        return scores
    if wrong := _wrong(one, pool, BATCH, scores):
        return wrong
    tracemalloc.start()
    try:
        _call(one, pool, BATCH, report)
        return seconds, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _grown(few: float, many: float) -> float:
    """A cost at FEW and at MANY images, carried on to TEN_TIMES: as it grew, but at least in proportion."""
    power = max(1.0, math.log(max(many, 1e-9) / max(few, 1e-9)) / math.log(MANY / FEW))
    return float(many * (TEN_TIMES / MANY) ** min(power, 3.0))
