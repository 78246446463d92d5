"""Work on blocks of rows on all cores, with the same result on any number of them.

A product on two BLAS threads ends in other digits than on one, and a clustering or the order of near ties makes other
picks of that. So the blocks have a fixed size, and each is worked on by one thread. How many threads BLAS has is a
setting of the process, so that whoever limits it, limits it here: two that each put back what they found would put back
the limit of the other. Left out: products that are too small to be shared; those only need one BLAS thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, TypeVar

BLOCK = 4096  # rows worked on at a time
THREADS = 8  # at most: more of them than that wait for memory

Result = TypeVar("Result")


@cache
def _blas() -> Any:
    # Looking for libraries reads the memory map of the process: 8 ms, ten times a fit. Those of numpy and scipy are
    # loaded by now; nothing else here multiplies matrices.
    import scipy.linalg  # noqa: F401  it brings a BLAS of its own
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


_lock = threading.Lock()
_had: list[tuple[Any, int]] = []  # each library, and how many threads it had before the first of the limits that hold
_alone: list[int] = []  # a 1 for each `one_thread` that holds
_shares: list[int] = []  # the number of each `share` that holds


class _Here(threading.local):
    """Of the thread that asks."""

    has_one = False  # whether it is inside `one_thread`, or one of `workers`
    executor: Executor | None = None  # of the `workers` that it is inside of


_here = _Here()


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS with one thread. On a busy machine its threads wait for each other: 3.0 s instead of 0.06 s for a fit."""
    before, _here.has_one = _here.has_one, True
    try:
        with _limit(_alone, 1):
            yield
    finally:
        _here.has_one = before


def share(count: int) -> AbstractContextManager[None]:
    """BLAS, and `workers`, with at most so many threads."""
    return _limit(_shares, count)


@contextmanager
def _limit(kind: list[int], count: int) -> Iterator[None]:
    """Of all limits that hold the lowest counts; the last one to end puts back what was there before the first."""
    with _lock:
        if not _had:
            _had.extend((library, library.num_threads) for library in _blas().lib_controllers)
        kind.append(count)
        _apply()
    try:
        yield
    finally:
        with _lock:
            kind.remove(count)
            _apply()
            if not _alone and not _shares:
                _had.clear()


def _apply() -> None:
    for library, had in _had:
        # Newer versions of threadpoolctl listen to one thread, until that lets go, and silently not to any other.
        let_go = getattr(library, "clear_controlling_thread", lambda force: None)
        let_go(force=True)
        library.set_num_threads(min([had, *_shares, *_alone]))
        let_go(force=True)


def threads(at_most: int = THREADS) -> int:
    """As many as BLAS has when no other thread keeps it to one, or as there are cores where that is unknown."""
    if _here.has_one:
        return 1
    with _lock:
        libraries = _had or [(library, library.num_threads) for library in _blas().lib_controllers]
        return min([at_most, max((count for _, count in libraries), default=os.cpu_count() or 1), *_shares])


@contextmanager
def workers(at_most: int = THREADS) -> Iterator[Executor]:
    """So many threads, while BLAS itself has one. Within others, those: to start and end threads takes half a ms."""
    if _here.executor is not None:
        yield _here.executor
        return
    count = threads(at_most)
    with one_thread(), ThreadPoolExecutor(count, initializer=_work) as executor:
        _here.executor = executor
        try:
            yield executor
        finally:
            _here.executor = None


def _work() -> None:
    _here.has_one = True


def each(executor: Executor, n: int, work: Callable[[slice], Result], step: int = BLOCK) -> list[Result]:
    """What work makes of each block of `step` of n rows, in order."""
    return list(executor.map(work, [slice(start, min(start + step, n)) for start in range(0, n, step)]))
