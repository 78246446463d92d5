"""The strategies there are, by name. Adding one = writing one function under `@strategy`.

Here in the page of its family, in a project's `strategies/` folder (folder.py finds those), or in an installed package.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import overload

from labelloop.errors import BadInput, BadStrategy
from labelloop.strategies.contract import Function, Strategy, describe

_registry: dict[str, Strategy] = {}
_collecting: ContextVar[dict[str, Strategy]] = ContextVar("collecting", default=_registry)


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
