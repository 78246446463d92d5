"""One labeled image as it stands in a file, and what a format is.

The columns are the fields of Record in their order. Left out: how a row is spelled (table.py) and where the images
of an export lie (imagefolder.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from labelloop.errors import BadInput
from labelloop.types import Source

Progress = Callable[[int], None]
"""Called with the number of records done so far, after each one."""

ROUNDING = 1e-6  # what sums of float32 may be above 1

_SPLITS = ("train", "test")
_SOURCES = get_args(Source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One labeled image. An empty text in an optional field is None. Raises BadInput for what no file could hold."""

    file_name: str  # relative to the image folder, "/" between the parts; undecodable bytes as lone surrogates
    label: str
    split: str = "train"  # "train" | "test"
    source: str = "import"  # "human" | "accepted" | "bulk" | "import"
    by: str = ""
    at: str = ""  # ISO 8601, UTC
    seconds: float | None = None
    round: int | None = None
    strategy: str | None = None
    suggestion: str | None = None  # name of the class that was suggested
    probability: float | None = None
    sha256: str | None = None
    note: str | None = None  # what people wrote about the image
    path: Path | None = field(default=None, compare=False)  # where the image lies on this machine; not a column

    def __post_init__(self) -> None:
        for name in ("strategy", "suggestion", "sha256", "note"):
            if getattr(self, name) == "":
                object.__setattr__(self, name, None)
        for name in ("file_name", "label"):
            if not getattr(self, name).strip():
                raise BadInput(f"{name} is empty")
        for name, allowed in (("split", _SPLITS), ("source", _SOURCES)):
            if getattr(self, name) not in allowed:
                raise BadInput(f"{name} is {getattr(self, name)!r}, wanted {' or '.join(allowed)}")
        for name in _NUMBERS:
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise BadInput(f"{name} is {number}, wanted a number")
        if self.round is not None and not -(2**63) <= self.round < 2**63:
            raise BadInput(f"round is {self.round}, wanted a number that fits into 64 bits")
        for name in _TEXTS:
            text = getattr(self, name)
            if text and not text.isascii():
                _refuse_unwritable(name, text)


COLUMNS = tuple(f.name for f in fields(Record) if f.name != "path")
_NUMBERS = ("seconds", "round", "probability")
_TEXTS = tuple(name for name in COLUMNS if name not in _NUMBERS)


def _refuse_unwritable(name: str, text: str) -> None:
    """A file name may hold bytes that are no text, as the file system has them; nothing else may."""
    errors = "surrogateescape" if name == "file_name" else "strict"
    try:
        same = text.encode("utf-8", errors).decode("utf-8", errors) == text
    except UnicodeEncodeError:
        same = False
    if not same:
        raise BadInput(f"{name} is {text!r}, which is not valid text (UTF-8)")


def to_values(record: Record) -> dict[str, str | int | float | None]:
    """The columns in order, with plain Python numbers (numpy's would be spelled otherwise)."""
    values = {name: getattr(record, name) for name in COLUMNS}
    for name, kind in (("seconds", float), ("round", int), ("probability", float)):
        if values[name] is not None:
            values[name] = kind(values[name])
    return values


def from_values(values: Mapping[str, Any], *, path: Path | None = None) -> Record:
    """A Record of what was read: other columns are ignored, empty ones keep their default.

    Raises BadInput for a column that is missing or holds the wrong kind of thing, and for what cannot be. That is
    looked at here and not in Record: what an earlier version let into a log can still be taken out.
    """
    for name in ("file_name", "label"):
        if name not in values:
            raise BadInput(f"column {name!r} is missing; found {', '.join(map(repr, values)) or 'none'}")
        if values[name] is None:
            raise BadInput(f"{name} is empty")
    known = {name: values[name] for name in COLUMNS if name in values and values[name] not in (None, "")}
    for name, value in known.items():
        wanted = "a number" if name in _NUMBERS else "text"
        if isinstance(value, bool) or not isinstance(value, int | float if name in _NUMBERS else str):
            raise BadInput(f"{name} is {value!r}, wanted {wanted}")
    if isinstance(known.get("round"), float):  # pandas writes whole numbers beside empty cells as 3.0
        if not known["round"].is_integer():
            raise BadInput(f"round is {known['round']}, wanted a whole number")
        known["round"] = int(known["round"])
    _refuse_impossible(**{name: known[name] for name in ("seconds", "probability", "at") if name in known})
    return Record(**{"file_name": "", "label": "", **known}, path=path)


def _refuse_impossible(seconds: float = 0, probability: float = 0, at: str = "") -> None:
    if seconds < 0:
        raise BadInput(f"seconds is {seconds}, wanted 0 or more")
    if not 0 <= probability <= 1 + ROUNDING and math.isfinite(probability):
        raise BadInput(f"probability is {probability}, wanted a number from 0 to 1")
    try:
        if at:
            datetime.fromisoformat(at)
    except ValueError as error:
        raise BadInput(f"at is {at!r}, wanted a time as in 2026-11-20T10:00:00Z, or nothing") from error


@dataclass(frozen=True, slots=True)
class Format:
    """A reader and a writer of records.

    `write(records, out, *, progress=None, **options)` streams, lets `out` appear whole or not at all, and returns how
    many records it wrote. It raises BadInput for an `out` that is not empty and for records it cannot write, and
    LabelloopError where the disk refuses. `read(path)` streams the records back; it raises BadInput naming file and
    line. `options` are the choices of each option, the default first.
    """

    name: str
    what: str  # one line for the person who chooses
    write: Callable[..., int]
    read: Callable[[Path], Iterator[Record]]
    folder: bool = False  # whether it writes a folder
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
