"""The contract of a strategy, the registry, and the one place that runs one.

A strategy is one function `(pool, n, rng, *, settings…) -> scores`: one float for each image of the pool, larger =
sooner, `-inf` = never. Its name is its key, the first line of its docstring is what people read, its keyword-only
arguments are its settings. Adding one = writing one function under `@strategy`: here in the page of its family
(uncertainty, diversity, hybrid), in a project's `strategies/` folder (folder.py finds those), or in an installed
package. Left out: where the pool comes from and what becomes of the choice (loop.py).
"""

from __future__ import annotations

import difflib
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelloop.errors import BadInput, BadStrategy, NeedsModel
from labelloop.types import Ints, Pool

Scores = NDArray[np.floating[Any]]
Function = Callable[..., Scores]
Value = float | int | bool | str

_TYPES: dict[str, type[Value]] = {"float": float, "int": int, "bool": bool, "str": str}


@dataclass(frozen=True, slots=True)
class Setting:
    """One keyword-only argument of a strategy."""

    type: type[Value]
    default: Value


@dataclass(frozen=True, slots=True)
class Strategy:
    """A function that keeps the contract, and what people read about it."""

    name: str
    function: Function
    what: str  # first line of the docstring
    settings: dict[str, Setting]
    origin: str  # the module or drop-in file that defines it


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Rows to show, best first, and who chose them. k rows, k <= n."""

    rows: Ints  # (k,)
    scores: Scores  # (k,)
    strategy: str  # the one that ran, which may be the cold-start one


_registry: dict[str, Strategy] = {}
_collecting: ContextVar[dict[str, Strategy]] = ContextVar("collecting", default=_registry)


def strategy(function: Function) -> Function:
    """Register a function as a strategy under its own name and return it unchanged.

    Raises BadStrategy when the signature breaks the contract or another module already has that name.
    """
    found = Strategy(
        name=function.__name__,
        function=function,
        what=_what(function),
        settings=_settings(function),
        origin=function.__module__,
    )
    known = _collecting.get()
    refuse_taken(found, known)
    known[found.name] = found
    return function


def get(name: str) -> Strategy:
    """The strategy of that name; raises BadInput with the names there are and the closest one."""
    if name in _registry:
        return _registry[name]
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise BadInput(f"no strategy is called {name!r}{hint} There are: {', '.join(names())}")


def names() -> list[str]:
    """All names there are, sorted."""
    return sorted(_registry)


@contextmanager
def collect() -> Iterator[dict[str, Strategy]]:
    """Within it, @strategy adds to the yielded dict, not to the registry: a file that breaks halfway leaves nothing."""
    found: dict[str, Strategy] = {}
    token = _collecting.set(found)
    try:
        yield found
    finally:
        _collecting.reset(token)


def replace(origin: str, found: Mapping[str, Strategy]) -> None:
    """Swap all strategies of one origin for the found ones, or none of them when a name is taken elsewhere."""
    for one in found.values():
        refuse_taken(one, _registry)
    for name in [name for name, old in _registry.items() if old.origin == origin and name not in found]:
        del _registry[name]
    _registry.update(found)


def refuse_taken(new: Strategy, known: Mapping[str, Strategy]) -> None:
    """Raise BadStrategy when the name belongs to another origin: nothing is ever silently replaced."""
    old = known.get(new.name)
    if old is not None and old.origin != new.origin:
        raise BadStrategy(f"{new.name} ({new.origin}): the name is taken by {old.origin}; give it another one")


def choose(
    pool: Pool,
    n: int,
    name: str,
    rng: np.random.Generator,
    *,
    settings: Mapping[str, Value] | None = None,
    cold_start: str = "max_herding",
) -> Chosen:
    """At most n open rows, best first, ties broken by rng. The same rng state gives the same rows.

    Before the first model a strategy that needs one is replaced by `cold_start` (with its own defaults). Raises
    BadInput for an unknown name or setting, BadStrategy for one that fails or breaks the contract.
    """
    asked, fallback = get(name), get(cold_start)
    keywords = _check_settings(asked, settings or {})
    n = min(n, len(pool.unlabeled))
    if n < 1:
        return Chosen(np.empty(0, np.int64), np.empty(0), asked.name)
    try:
        ran, scores = asked, _run(asked, pool, n, rng, keywords)
    except NeedsModel:
        ran, scores = fallback, _run(fallback, pool, n, rng, {})
    rows = pool.unlabeled[scores[pool.unlabeled] > -np.inf]
    rows = rows[np.lexsort((rng.random(len(rows)), -scores[rows]))][:n]
    return Chosen(rows, scores[rows], ran.name)


def in_order(pool: Pool, rows: ArrayLike) -> Scores:
    """Scores (len(pool),) that choose exactly these rows in this order: k, k-1, …, 1 and -inf for the rest."""
    chosen = np.asarray(rows, dtype=np.int64)
    if len(np.unique(chosen)) != len(chosen):
        raise ValueError(f"in_order was given {len(chosen)} rows, of which {len(np.unique(chosen))} differ")
    scores = np.full(len(pool), -np.inf)
    scores[chosen] = np.arange(len(chosen), 0, -1)
    return scores


def ranks(scores: Scores) -> Scores:
    """Scores on the common scale 0 < rank <= 1, so that unlike ones can be added; ties share, -inf stays."""
    finite = scores > -np.inf
    _, place, count = np.unique(scores[finite], return_inverse=True, return_counts=True)
    result = np.full(len(scores), -np.inf)
    result[finite] = (np.cumsum(count) - (count - 1) / 2)[place] / len(place)
    return result


def where(error: BaseException, file: str) -> str:
    """'file, line k' of the deepest place in that file which led to the error."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}, line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}, line {lines[-1]}" if lines else file


def _run(one: Strategy, pool: Pool, n: int, rng: np.random.Generator, keywords: Mapping[str, Value]) -> Scores:
    try:
        scores = one.function(pool, n, rng, **keywords)
    except NeedsModel:
        raise
    except Exception as error:  # as broad as it gets: the code is the user's, and whatever it raises must be said
        place = where(error, inspect.unwrap(one.function).__code__.co_filename)
        raise BadStrategy(f"{one.name} failed ({place}): {type(error).__name__}: {error}") from error
    fault = _fault(scores, len(pool))
    if fault:
        raise BadStrategy(
            f"{one.name} ({one.origin}) returned {fault}; wanted one float for each of {len(pool)} images"
        )
    return scores


def _fault(scores: object, n: int) -> str:
    if not isinstance(scores, np.ndarray):
        return f"a {type(scores).__name__}, not a numpy array"
    if scores.shape != (n,):
        return f"an array of shape {scores.shape}, not ({n},)"
    if not np.issubdtype(scores.dtype, np.floating):
        return f"{scores.dtype}, not floats"
    if count := np.count_nonzero(np.isnan(scores)):
        return f"{count} NaN"
    if count := np.count_nonzero(scores == np.inf):
        return f"{count} scores of +inf"
    return ""


def _what(function: Function) -> str:
    lines = (function.__doc__ or "").strip().splitlines()
    if not lines:
        raise BadStrategy(f"{function.__name__} has no docstring; its first line is what people read about it")
    return lines[0].strip()


def _settings(function: Function) -> dict[str, Setting]:
    parameters = list(inspect.signature(function).parameters.values())
    fixed = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    if [p.name for p in fixed] != ["pool", "n", "rng"] or any(p.kind is not p.POSITIONAL_OR_KEYWORD for p in fixed):
        found = ", ".join(str(p) for p in fixed)
        raise BadStrategy(f"{function.__name__}({found}) must start with (pool, n, rng), with settings after a *")
    return {p.name: _setting(function, p) for p in parameters[3:]}


def _setting(function: Function, parameter: inspect.Parameter) -> Setting:
    default = parameter.default
    annotation = parameter.annotation
    if annotation is parameter.empty:
        annotation = type(default)
    kind = _TYPES.get(annotation if isinstance(annotation, str) else getattr(annotation, "__name__", ""))
    if kind is None or not _fits(default, kind):
        raise BadStrategy(
            f"{function.__name__}: setting '{parameter}' needs a type (float, int, bool or str) and a default of it"
        )
    return Setting(kind, default)


def _fits(value: object, kind: type[Value]) -> bool:
    if isinstance(value, bool):  # a bool is an int to Python, but never to a person
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _check_settings(one: Strategy, given: Mapping[str, Value]) -> Mapping[str, Value]:
    for name, value in given.items():
        if name not in one.settings:
            known = ", ".join(one.settings) or "none"
            raise BadInput(f"{one.name} has no setting {name!r}; its settings: {known}")
        if not _fits(value, one.settings[name].type):
            raise BadInput(f"{one.name}: {name} must be {one.settings[name].type.__name__}, not {value!r}")
    return given


# At the end, because each page needs `strategy` from above; importing a page registers its functions.
from labelloop.strategies import diversity, hybrid, uncertainty  # noqa: E402, F401
