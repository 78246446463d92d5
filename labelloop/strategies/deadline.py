"""Waits for other people's code so long and no longer: one that never ends must not keep a person from labeling.

Left out: strategies that are built in, which end by themselves, and the contract, which runs in a process of its own.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import wraps
from typing import TypeVar

import numpy as np

from labelloop.errors import BadStrategy
from labelloop.strategies.contract import Function, Reasoned, Scores, Strategy, Value, because, file_of, said
from labelloop.types import Pool

SECONDS = 60.0  # far more than a batch is worth; what takes so long has gone wrong

THREAD = "within a deadline"  # the name of a thread that is waited for

Result = TypeVar("Result")


class StillRunning(BadStrategy):
    """It had not come to an end when its time was over."""


def within(seconds: float, work: Callable[[], Result], file: str) -> Result:
    """What `work` returns or raises; raises StillRunning when it takes longer, with the line of `file` it had got to.

    It is told to end then, which a loop in Python does at its next step and compiled code only when it is done.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 it is raised in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, name=THREAD, daemon=True)
    thread.start()
    thread.join(seconds)
    if results:
        return results[0]
    for error in errors:
        if isinstance(error, Exception):
            raise error
        # Nobody presses Ctrl-C in a thread: the code itself wants to end Python.
        raise BadStrategy(said(error)).with_traceback(error.__traceback__) from error
    line = _line(thread, file)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    raise StillRunning(f"was still running after {seconds:g} s{f', in line {line}' if line else ''}")


def _line(thread: threading.Thread, file: str) -> int | None:
    """The deepest line of a file that a thread is at."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_filename != file:
        frame = frame.f_back
    return None if frame is None else frame.f_lineno


@dataclass(frozen=True, slots=True)
class _Past:
    """What ran for too long."""

    function: Function
    settings: dict[str, Value]
    words: str


class Patience:
    """How long strategies that are not built in may take. One that took longer is not run again as it is."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._past: list[_Past] = []

    def limit(self, one: Strategy) -> Strategy:
        """The same strategy; it raises StillRunning when its time is over, and from then on until it changes."""
        if one.origin.startswith("labelloop.strategies."):
            return one

        @wraps(one.function)
        def limited(pool: Pool, n: int, rng: np.random.Generator, **settings: Value) -> Scores:
            own = deepcopy(rng)  # one that goes on after its time must not keep the lock of the other
            scores = self._run(one, settings, lambda: one.function(pool, n, own, **settings))
            rng.bit_generator.state = own.bit_generator.state
            why = scores.why if isinstance(scores, Reasoned) else None
            return scores if why is None else because(scores, lambda row: self._run(one, settings, lambda: why(row)))

        return replace(one, function=limited)

    def _run(self, one: Strategy, settings: dict[str, Value], work: Callable[[], Result]) -> Result:
        for past in self._past:
            if past.function is one.function and past.settings == settings:
                raise StillRunning(past.words)
        try:
            return within(self.seconds, work, file_of(one))
        except StillRunning as error:
            words = f"{error}; it is run again once its file or its settings change"
            self._past.append(_Past(one.function, settings, words))
            raise StillRunning(words) from error
