"""Readers and writers of label files, over one record type.

A format is a Format object; the registry below is all there is to adding one. The contract stands with Format, and
tests/test_formats.py holds every entry to it: what is read is what was written.
"""

from __future__ import annotations

from labelloop.errors import BadInput
from labelloop.formats.imagefolder import IMAGEFOLDER
from labelloop.formats.record import COLUMNS, Format, Record
from labelloop.formats.table import CSV, JSONL

__all__ = ["COLUMNS", "Format", "Record", "get", "names"]

_FORMATS = {format.name: format for format in (CSV, JSONL, IMAGEFOLDER)}


def names() -> tuple[str, ...]:
    """The names of all formats."""
    return tuple(_FORMATS)


def get(name: str) -> Format:
    """The format of this name; raises BadInput listing the names."""
    if name not in _FORMATS:
        raise BadInput(f"there is no format {name!r}; wanted {', '.join(_FORMATS)}")
    return _FORMATS[name]
