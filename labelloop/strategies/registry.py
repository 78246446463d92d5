"""The strategies for all projects, by name. Adding one = writing one function under `@strategy`.

In the page of its family, in the repository's `strategies/` folder, or in an installed package (folder.py finds those).
Left out: drop-ins of one project, which nobody else sees; they are in what that project is Offered.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import overload

from labelloop.errors import BadInput, BadStrategy
from labelloop.strategies.contract import Function, Strategy, describe

_registry: dict[str, Strategy] = {}
_collecting: ContextVar[dict[str, Strategy]] = ContextVar("collecting", default=_registry)
_lock = Lock()


@dataclass(frozen=True, slots=True)
class Offered:
    """The strategies that one project can use, by name, sorted; and what is wrong with files that should define some.

    Those for all projects, and drop-ins of its own.
    """

    known: Mapping[str, Strategy]
    problems: Sequence[BadStrategy] = ()

    def get(self, name: str) -> Strategy:
        """The strategy of that name; else raises the problem that speaks of it, where there is one.

        Else raises BadInput with the names there are, the closest one, and the files that are broken: it may be in one.
        """
        try:
            return _find(name, self.known)
        except BadInput as error:
            for problem in self.problems:
                if re.search(rf"\b{re.escape(name)}\b", str(problem)):
                    raise problem from error
            if not self.problems:
                raise
            raise BadInput(f"{error}. Broken, so that it may be there: {'; '.join(map(str, self.problems))}") from error


@overload
def strategy(function: Function) -> Function: ...
@overload
def strategy(*, again: bool = False) -> Callable[[Function], Function]: ...
def strategy(function: Function | None = None, *, again: bool = False) -> Function | Callable[[Function], Function]:
    """Register a function as a strategy under its own name and return it unchanged.

    `@strategy(again=True)` may also choose images that have an answer, to ask about them once more. Raises BadStrategy
    when the signature breaks the contract or another module already has that name.
    """

    def register(one: Function) -> Function:
        found, known = describe(one, again=again), _collecting.get()
        refuse_taken(found, known)
        known[found.name] = found
        return one

    return register if function is None else register(function)


def get(name: str) -> Strategy:
    """The strategy of that name; raises BadInput with the names there are and the closest one."""
    return _find(name, _registry)


def _find(name: str, known: Mapping[str, Strategy]) -> Strategy:
    if callable(name):
        own = getattr(name, "__name__", "mine")
        todo = f"say its name, {own!r}" if own in known else f"write @strategy above it, then say its name, {own!r}"
        raise BadInput(f"wanted a name of a strategy, not the function {own}; {todo}")
    if not isinstance(name, str):
        raise BadInput(f"no strategy is called {name!r}; wanted a name such as 'auto', or what get('auto') returns")
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise BadInput(f"no strategy is called {name!r}{hint} There are: {', '.join(sorted(known))}")


def names() -> list[str]:
    """All names there are, sorted."""
    return sorted(_registry)


def everything() -> dict[str, Strategy]:
    """All strategies for all projects at this moment, by name."""
    return _registry.copy()


@contextmanager
def collect() -> Iterator[dict[str, Strategy]]:
    """Within it, @strategy adds to the yielded dict, not to the registry: a file that breaks halfway leaves nothing."""
    found: dict[str, Strategy] = {}
    token = _collecting.set(found)
    try:
        yield found
    finally:
        _collecting.reset(token)


def replace(origins: str | Collection[str], found: Mapping[str, Strategy]) -> None:
    """Swap all strategies of these origins for the found ones, or none of them when a name is taken elsewhere."""
    old = {origins} if isinstance(origins, str) else set(origins)
    with _lock:
        others = {name: one for name, one in _registry.items() if one.origin not in old}
        for one in found.values():
            refuse_taken(one, others)
        _registry.update(found)  # first: another thread never misses one that stays
        for name in _registry.keys() - others.keys() - found.keys():
            del _registry[name]


def refuse_taken(new: Strategy, known: Mapping[str, Strategy]) -> None:
    """Raise BadStrategy when the name belongs to another origin: nothing is ever silently replaced."""
    old = known.get(new.name)
    if old is not None and old.origin != new.origin:
        raise BadStrategy(f"{new.name} ({new.origin}): the name is taken by {old.origin}; give it another one")
