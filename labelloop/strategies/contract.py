"""The contract of a strategy: what the function takes and returns, and what it can be told with.

A strategy is one function `(pool, n, rng, *, settings…) -> scores`: one float for each image of the pool, larger =
sooner, `-inf` = never. Its name is its key, the first line of its docstring is what people read, its keyword-only
arguments are its settings. Left out: who keeps the functions (registry.py) and who calls them (choosing.py).
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelloop.errors import BadInput, BadStrategy, LabelloopError
from labelloop.types import Pool

Scores = NDArray[np.floating[Any]]
Function = Callable[..., Scores]
Value = float | int | bool | str

_TYPES: dict[str, type[Value]] = {"float": float, "int": int, "bool": bool, "str": str}


@dataclass(frozen=True, slots=True)
class Setting:
    """One keyword-only argument of a strategy."""

    type: type[Value]
    default: Value

    def __str__(self) -> str:
        return f"{self.type.__name__} = {self.default!r}"


@dataclass(frozen=True, slots=True)
class Strategy:
    """A function that keeps the contract, and what people read about it."""

    name: str
    function: Function
    what: str  # first line of the docstring
    settings: dict[str, Setting]
    origin: str  # the module or drop-in file that defines it
    again: bool = False  # whether it may choose images that have an answer

    @property
    def settings_in_words(self) -> str:
        """'boost: float = 1.0', with commas between; 'none'."""
        return ", ".join(f"{name}: {setting}" for name, setting in self.settings.items()) or "none"


class Reasoned(np.ndarray):
    """Scores that can say why, made by `because`. Arithmetic on them gives scores that cannot: give a new reason."""

    why: Callable[[int], str] | None

    def __array_finalize__(self, other: object) -> None:
        """Nothing made from these scores has their reason."""
        self.why = None


def because(scores: Scores, why: Callable[[int], str]) -> Scores:
    """The same scores with a reason: `why(row)` says in a few words why that row is chosen; asked of chosen rows only.

    Words as a person would read them beside the image, from the numbers the strategy decided by: "nothing like it
    among 40 labels". No capital letter, no full stop.
    """
    reasoned = np.asarray(scores).view(Reasoned)
    reasoned.why = why
    return reasoned


def in_order(pool: Pool, rows: ArrayLike) -> Scores:
    """Scores (len(pool),) that choose exactly these rows in this order: k, k-1, …, 1 and -inf for the rest."""
    chosen = np.asarray(rows)
    if chosen.size and (not np.issubdtype(chosen.dtype, np.integer) or chosen.min() < 0):
        found = chosen.dtype if not np.issubdtype(chosen.dtype, np.integer) else f"row {chosen.min()}"
        raise ValueError(f"in_order was given {found}; wanted whole numbers, 0 for the first image of the pool")
    chosen = chosen.astype(np.int64)
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


def describe(function: Function, *, again: bool = False) -> Strategy:
    """What the registry keeps about a function; raises BadStrategy when it is none, or its signature is wrong."""
    name = getattr(function, "__name__", None)
    if isinstance(function, type) or not isinstance(name, str):
        found = f"the class {name}" if isinstance(function, type) else f"a {type(function).__name__} without a name"
        raise BadStrategy(f"@strategy was given {found}; wanted a function: def mine(pool, n, rng)")
    return Strategy(
        name=name,
        function=function,
        what=_what(function),
        settings=_settings(function),
        origin=function.__module__,
        again=again,
    )


def check_settings(one: Strategy, given: Mapping[str, Value]) -> Mapping[str, Value]:
    """The given settings; raises BadInput for one that the strategy does not have or that is of another type."""
    for name, value in given.items():
        if name not in one.settings:
            raise BadInput(f"{one.name} has no setting {name!r}; its settings: {one.settings_in_words}")
        if not _fits(value, one.settings[name].type):
            raise BadInput(f"{one.name}: {name} must be {one.settings[name].type.__name__}, not {value!r}")
    return given


def fault(scores: object, n: int) -> str:
    """What is wrong with what a strategy returned for n images, in words; empty when nothing is."""
    if not isinstance(scores, np.ndarray):
        return f"a {type(scores).__name__}, not a numpy array"
    if isinstance(scores, np.ma.MaskedArray):
        return "a masked array (fill it, with -inf where nothing may be chosen)"
    if scores.shape != (n,):
        return f"an array of shape {scores.shape}, not ({n},)"
    if not np.issubdtype(scores.dtype, np.floating):
        return f"{scores.dtype}, not floats"
    if count := np.count_nonzero(np.isnan(scores)):
        return f"{count} NaN"
    if count := np.count_nonzero(scores == np.inf):
        return f"{count} scores of +inf"
    return ""


def said(error: BaseException) -> str:
    """An error of another's code in one line; what labelloop itself refuses is said as it is."""
    try:
        words = error.msg if isinstance(error, SyntaxError) else str(error)  # its str repeats file and line
    except Exception:  # noqa: BLE001 its __str__ is another's code too, and the kind of error is worth saying
        words = ""
    if words and isinstance(error, LabelloopError):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def where(error: BaseException, file: str) -> str:
    """'file, line k' of the deepest place in that file which led to the error."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}, line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}, line {lines[-1]}" if lines else file


def code_of(function: Function) -> CodeType | None:
    """The code behind a function, whatever is wrapped around it; None where there is none, as in a callable object."""
    inner = inspect.unwrap(function)
    while isinstance(inner, partial):
        inner = inspect.unwrap(inner.func)
    code = getattr(inner, "__code__", None)
    return code if isinstance(code, CodeType) else None


def file_of(one: Strategy) -> str:
    """The file that the function's own lines are in, else where the strategy was found."""
    code = code_of(one.function)
    return one.origin if code is None else code.co_filename


def defined(one: Strategy) -> str:
    """'file, line k' where the function begins."""
    code = code_of(one.function)
    return file_of(one) if code is None else f"{code.co_filename}, line {code.co_firstlineno}"


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
