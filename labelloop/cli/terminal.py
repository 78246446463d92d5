"""What the terminal shows: words, JSON, and one line that is rewritten while something takes a while.

Left out: the work itself, which is done by the worker or by the core.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from types import TracebackType
from typing import Any

import click

from labelloop import worker
from labelloop.errors import LabelloopError
from labelloop.project import Job, Project, Scan
from labelloop.project.jobs import JobKind

BLOCKS = 24  # width of the bar
LOOK_AGAIN_SECONDS = 0.2


def say(text: str) -> None:
    """Something for whoever waits, not for a pipe."""
    click.echo(text, err=True)


def print_json(values: Any) -> None:
    """ASCII, so that every name arrives as it is."""
    click.echo(json.dumps(values, indent=1))


class Bar:
    """A progress line; nothing at all where stderr is no terminal."""

    def __init__(self, unit: str = "images") -> None:
        self._unit = unit
        self._shown = sys.stderr.isatty()
        self._start: tuple[float, int] | None = None  # when, and how much was done by then

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._clear()

    def say(self, text: str) -> None:
        """Something for whoever waits, in place of the line, which `show` writes again below."""
        self._clear()
        say(text)

    def _clear(self) -> None:
        if self._shown and self._start is not None:
            self._write("")

    def show(self, done: int, total: int, message: str = "", seconds_left: float | None = None) -> None:
        """Rewrite the line; without `seconds_left` it is worked out from the speed since something was done."""
        now = time.monotonic()
        if self._start is None or done == self._start[1]:
            self._start = now, done  # until something is done: imports take seconds, and are not what goes slowly
        if not self._shown:
            return
        seconds, fresh = now - self._start[0], done - self._start[1]
        speed = fresh / seconds if fresh > 0 and seconds > 0.5 else None
        if seconds_left is None and speed:
            seconds_left = (total - done) / speed
        line = progress_line(done, total, self._unit, speed, seconds_left, message)
        self._write(line)

    def _write(self, line: str) -> None:
        """In place of what is there. One that wraps could not be rewritten; blanks, as not all windows take codes."""
        columns = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r{line[:columns]:{columns}}\r{line[:columns]}")
        sys.stderr.flush()


def progress_line(
    done: int, total: int, unit: str, speed: float | None, seconds_left: float | None, message: str
) -> str:
    """'[#####...] 120 of 400 images  35/s  8 s left  message'; what is not known is left out."""
    if not total:
        return message or "starting …"
    full = BLOCKS * done // total
    parts = [f"[{'#' * full}{'.' * (BLOCKS - full)}] {done} of {total} {unit}"]
    if speed:
        parts.append(f"{speed:.0f}/s" if speed >= 10 else f"{speed:.1f}/s")
    if seconds_left is not None and done < total:
        parts.append(f"{duration(seconds_left)} left")
    return "  ".join([*parts, message]).rstrip()


def duration(seconds: float) -> str:
    """'8 s', '3 min', '2 h 5 min'."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def scan(project: Project) -> Scan:
    """Read new and changed files, and show how far that is."""
    seen = Scan(0, 0)
    with Bar("files") as bar:
        for seen in project.catalog.scan():
            bar.show(seen.done, seen.total, "reading files")
    return seen


def have_done(project: Project, kind: JobKind) -> Job:
    """Have the worker do a job, or join one that it is at, and show how far it is until it ends.

    It is the same process and the same row that the app uses, so both can run at once. Ctrl-C asks it to stop and
    waits until it has. Raises LabelloopError when it fails.
    """
    job = worker.start(project, kind)
    with Bar() as bar:
        try:
            job = _follow(project, job, bar)
        except KeyboardInterrupt:
            project.jobs.stop(job.id)
            job = _follow(project, job, bar)
    if job.state == "failed":
        raise LabelloopError(job.message)
    return job


def _follow(project: Project, job: Job, bar: Bar) -> Job:
    while job.is_open:
        bar.show(job.done, job.total, "stopping …" if job.stop else job.message, job.seconds_left)
        time.sleep(LOOK_AGAIN_SECONDS)
        job = project.jobs.heard(job.id)
    return job
