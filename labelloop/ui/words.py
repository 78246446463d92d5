"""Figures and times as people say them."""

from __future__ import annotations

from datetime import UTC, datetime

from labelloop.metrics import ENOUGH, wilson

EXAM = "Images drawn at random to test the model honestly: it never learns from them and suggests nothing there."


def count(n: int, noun: str) -> str:
    """`1 label`, `1,204 labels`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def percent(share: float) -> str:
    """`91 %`."""
    return f"{100 * share:.0f} %"


def share_between(share: float, low: float, high: float) -> str:
    """`91 % (84–95 %)`: a share and its interval."""
    return f"{percent(share)} ({100 * low:.0f}–{percent(high)})"


def right(n: int, correct: int) -> str:
    """How often a model was right on n images of the exam; below ENOUGH of them no share is named."""
    if n < ENOUGH:
        return f"{correct} of {n}, too few to judge"
    low, high = wilson(correct, n)
    return f"{correct} of {n}: {share_between(correct / n, low, high)}"


def duration(seconds: float) -> str:
    """`40 s`, `2 min`, `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def local_time(iso: str) -> str:
    """An ISO 8601 time in UTC as the wall clock of this machine shows it; empty for an empty one."""
    if not iso:
        return ""
    return _time(iso).astimezone().strftime("%Y-%m-%d %H:%M")


def seconds_since(iso: str) -> float:
    """How long ago an ISO 8601 time in UTC was."""
    return (datetime.now(UTC) - _time(iso)).total_seconds()


def _time(iso: str) -> datetime:
    when = datetime.fromisoformat(iso)
    return when if when.tzinfo else when.replace(tzinfo=UTC)
