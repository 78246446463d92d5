"""One image and its file as the project knows them, without opening it. Left out: which there are (catalog.py)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its first file that is still there, and what is known without opening it."""

    id: int
    path: Path
    name: str  # below its folder
    width: int
    height: int
    held_out: bool
    gone: bool
    sha256: str
    bytes: int
    mtime_ns: int

    def is_as_scanned(self) -> bool:
        """Whether its file is the one that was scanned, by size and time; if not, it may show something else by now."""
        return size_and_time(self.path) == (self.bytes, self.mtime_ns)


class File(NamedTuple):
    """A file of an image as it was when it was read last."""

    image_id: int
    path: str
    bytes: int
    mtime_ns: int


def to_text(path: str) -> str | bytes:
    """A path as SQLite can hold it: text, or bytes where the name is not valid UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def from_text(stored: str | bytes) -> str:
    """The inverse of to_text."""
    return os.fsdecode(stored) if isinstance(stored, bytes) else stored


def read_image(row: Any, folders: dict[int, Path]) -> Image:
    """An image from its row, joined with that of its file; `folders` by number."""
    if row["path"] is None:
        name = f"image {row['id']} (none of its files can be read)"
        path = Path(name)
    else:
        name = from_text(row["path"])
        path = folders[row["folder_id"]] / name
    return Image(
        id=row["id"],
        path=path,
        name=name,
        width=row["width"],
        height=row["height"],
        held_out=bool(row["held_out"]),
        gone=bool(row["gone"]),
        sha256=row["sha256"],
        bytes=row["bytes"] or 0,
        mtime_ns=row["mtime_ns"] or 0,
    )


def size_and_time(path: Path) -> tuple[int, int] | None:
    """Bytes and nanoseconds of a file as it is now; None where it cannot be asked."""
    try:
        stat = path.stat()
    except OSError:  # vanished or unreadable: check() will say which
        return None
    return stat.st_size, stat.st_mtime_ns
