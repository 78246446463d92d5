"""Work on blocks of rows on all cores, with the same result on any number of them.

A product on two BLAS threads ends in other digits than on one, and a clustering or the order of near ties makes other
picks of that. So the blocks have a fixed size, and each is worked on by one thread. Left out: products that are too
small to be shared; those only need one BLAS thread (threadpoolctl).
"""

from __future__ import annotations

import os
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


def one_thread() -> AbstractContextManager[Any]:
    """BLAS with one thread. On a busy machine its threads wait for each other: 3.0 s instead of 0.06 s for a fit."""
    limits: AbstractContextManager[Any] = _blas().limit(limits=1)
    return limits


def threads(at_most: int = THREADS) -> int:
    """As many as BLAS has, or as there are cores where that is unknown."""
    return min(at_most, max((library.num_threads for library in _blas().lib_controllers), default=os.cpu_count() or 1))


@contextmanager
def workers(at_most: int = THREADS) -> Iterator[Executor]:
    """So many threads, while BLAS itself has one."""
    count = threads(at_most)
    with one_thread(), ThreadPoolExecutor(count) as executor:
        yield executor


def each(executor: Executor, n: int, work: Callable[[slice], Result], step: int = BLOCK) -> list[Result]:
    """What work makes of each block of `step` of n rows, in order."""
    return list(executor.map(work, [slice(start, min(start + step, n)) for start in range(0, n, step)]))
