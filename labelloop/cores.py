"""Work on blocks of rows on all cores, with the same result on any number of them.

A product on two BLAS threads ends in other digits than on one, and a clustering or the order of near ties makes other
picks of that. So the blocks have a fixed size, and each is worked on by one thread. Left out: products that are too
small to be shared; those only need one BLAS thread (threadpoolctl).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

BLOCK = 4096  # rows worked on at a time
THREADS = 8  # at most: more of them than that wait for memory

Result = TypeVar("Result")


@contextmanager
def workers() -> Iterator[Executor]:
    """As many threads as BLAS had (all cores where that is unknown), while BLAS itself has one."""
    from threadpoolctl import ThreadpoolController

    blas = ThreadpoolController().select(user_api="blas")
    threads = max((library.num_threads for library in blas.lib_controllers), default=os.cpu_count() or 1)
    with blas.limit(limits=1), ThreadPoolExecutor(min(threads, THREADS)) as executor:
        yield executor


def each(executor: Executor, n: int, work: Callable[[slice], Result], step: int = BLOCK) -> list[Result]:
    """What work makes of each block of `step` of n rows, in order."""
    return list(executor.map(work, [slice(start, min(start + step, n)) for start in range(0, n, step)]))
