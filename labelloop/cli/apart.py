"""Runs the contract in a process of its own: a strategy may never end, take all memory, or end Python itself.

The process says before each step what it is at, so that what stops it is known. Left out: the contract (check.py of the
strategies).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from labelloop.errors import BadInput, BadStrategy, LabelloopError
from labelloop.strategies.check import Fault, Report, check, load
from labelloop.strategies.contract import Strategy
from labelloop.strategies.deadline import THREAD
from labelloop.strategies.folder import load_folder, load_installed
from labelloop.strategies.registry import get, names

GRACE_SECONDS = 60.0  # on top of the limit: to start Python on a busy machine, and until a stuck process says so
READING = "reading the file"
INSTALLED = "installed packages"
FILE = "a file that Python can run, with functions under @strategy"


def check_apart(
    file: Path | None, *, limit: float, known: Sequence[Path] = (), step: Callable[[str], None] = lambda words: None
) -> Iterator[Report]:
    """A report for each strategy of a file; without one, of those that are built in or installed.

    `known` are folders whose strategies have their names already. What takes longer than `limit` seconds on one pool is
    stopped: that is a fault, and the next strategy follows. Raises BadInput where there is no such file.
    """
    done: list[str] = []
    while True:
        at, words, stopped = file.name if file else INSTALLED, READING, ""
        for kind, *rest in _messages(file, limit, known, tuple(done)):
            if kind == "step":
                at, words = rest
                step(f"{at}: {words}")
            elif kind == "report":
                done.append(rest[0].name)
                yield rest[0]
            elif kind == "refused":
                raise BadInput(rest[0])
            elif kind == "stopped":
                stopped = rest[0]
            elif kind == "end":
                return
        yield Report(at, [_unfinished(stopped, file, words, limit)])
        if words == READING:
            return
        done.append(at)


def _unfinished(place: str, file: Path | None, words: str, limit: float) -> Fault:
    if place:
        todo = f"look for a loop that never ends, or wait longer: --limit {10 * limit:g}"
        return Fault(f"was still running after {limit:g} s", "an answer", todo, place, (words,))
    todo = "take out what ends or kills Python; it may also have taken all memory"
    return Fault("the process ended before it answered", "an answer", todo, str(file or INSTALLED), (words,))


def _messages(file: Path | None, limit: float, known: Sequence[Path], done: tuple[str, ...]) -> Iterator[Any]:
    """What one process says, in order; nothing more once it ended or was stopped."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, file, limit, known, done), daemon=True)
    process.start()
    theirs.close()  # or the end of the process would not be seen here
    try:
        while ours.poll(limit + GRACE_SECONDS):
            yield ours.recv()
        yield "stopped", str(file or INSTALLED)  # in compiled code, where it cannot say so itself
    except (EOFError, BrokenPipeError):  # Windows says the second where it ended before it was asked
        pass
    finally:
        process.kill()
        process.join()
        ours.close()


# -- in the process ---------------------------------------------------------------------------------------------------


def _work(out: Connection, file: Path | None, limit: float, known: Sequence[Path], done: tuple[str, ...]) -> None:
    sys.stdout = sys.stderr  # what a strategy prints is no answer of the command
    watch = _Watch(out, limit, str(file.resolve()) if file else "")
    try:
        watch.step(file.name if file else INSTALLED, READING)
        problems = load_installed()
        for folder in known:
            load_folder(folder)
        if file is None:
            found = [get(name) for name in names()]
        else:
            found, problems = load(file), []
    except BadInput as error:
        out.send(("refused", str(error)))
        return
    except BadStrategy as error:
        found, problems = [], [error]
    for problem in problems if not done else []:
        out.send(("report", broken(file.name if file else INSTALLED, problem)))
    for one in found:
        if one.name not in done:
            out.send(("report", check(one, step=_steps(watch, one))))
    watch.end()
    out.send(("end",))


def broken(name: str, problem: LabelloopError) -> Report:
    """The report of what could not even be read."""
    return Report(name, [Fault(str(problem), FILE, "repair that; strategies/_template.py is one to copy", "")])


def _steps(watch: _Watch, one: Strategy) -> Callable[[str], None]:
    return lambda words: watch.step(one.name, words)


class _Watch:
    """Ends the process when one step takes longer than the limit, and says where in the file that was."""

    def __init__(self, out: Connection, limit: float, file: str) -> None:
        self._out, self._limit, self._file = out, limit, file
        self._timer = threading.Timer(0, lambda: None)

    def step(self, name: str, words: str) -> None:
        """Something new begins."""
        self.end()
        self._out.send(("step", name, words))
        self._timer = threading.Timer(self._limit, self._stop)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """The step is over."""
        self._timer.cancel()

    def _stop(self) -> None:
        self._out.send(("stopped", self._place()))
        os._exit(1)

    def _place(self) -> str:
        """File and line of the deepest frame in the file, else of the deepest of all."""
        # The main thread does the work, or waits for the one that reads a file of a folder.
        busy = next((one for one in threading.enumerate() if one.name == THREAD), threading.main_thread())
        frame = innermost = sys._current_frames()[busy.ident or 0]
        while frame.f_back and frame.f_code.co_filename != self._file:
            frame = frame.f_back
        found = frame if frame.f_code.co_filename == self._file else innermost
        return f"{found.f_code.co_filename}, line {found.f_lineno}"
