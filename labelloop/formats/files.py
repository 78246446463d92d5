"""What every format does with files: they appear whole or not at all, and what is wrong in them is told by line."""

from __future__ import annotations

import csv
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from labelloop.errors import BadInput, LabelloopError


@contextmanager
def new_file(out: Path) -> Iterator[BinaryIO]:
    """Write to it; when the block ends well it is on disk as `out`, else nothing of it is left.

    Raises BadInput where `out` holds something or has no folder to lie in, LabelloopError where the disk refuses.
    """
    with _told(out):
        _refuse_taken(out)
    partial = _beside(out)
    try:
        with _told(out):
            with partial.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(out)
            _sync(out.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Fill the folder it gives; when the block ends well it is `out`, else nothing of it is left. Raises like new_file.

    Who fills it decides which of its files are worth an fsync.
    """
    with _told(out):
        _refuse_taken(out)
    partial = _beside(out)
    try:
        with _told(out):
            partial.mkdir()
            yield partial
            if out.exists():
                out.rmdir()  # empty: Windows renames onto nothing at all
            partial.rename(out)
            _sync(out.parent)
    finally:
        if partial.exists():
            shutil.rmtree(partial)


def _refuse_taken(out: Path) -> None:
    if not out.parent.is_dir():
        raise BadInput(f"cannot write {str(out)!r}: there is no folder {str(out.parent)!r}; make it first")
    if out.is_dir() and any(out.iterdir()):
        raise BadInput(f"cannot write {str(out)!r}: the folder is not empty; name another one or empty it")
    if out.exists() and not (out.is_dir() or out.is_file()):  # /dev/stdout: the new file would take its place
        raise BadInput(f"cannot write {str(out)!r}: it is neither a file nor a folder; name a new one")
    if out.is_file() and out.stat().st_size:
        raise BadInput(f"cannot write {str(out)!r}: the file is there already; name another one or delete it")


def _beside(out: Path) -> Path:
    """Not a name from tempfile: its files are private, and an export is for others to read."""
    return out.with_name(f"{out.name[:80]}.partial-{secrets.token_hex(4)}")


@contextmanager
def _told(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise LabelloopError(f"cannot write {str(out)!r}: {reason}; nothing was left behind") from error


def _sync(folder: Path) -> None:
    """The new name itself is data of its folder. Only POSIX lets folders be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, where there is something or not, is a folder or lies below it, however the two are spelled.

    Capital letters make no difference on Windows and most Macs, nor on a Mac whether an é is one letter or two.
    """
    place, home = path.expanduser().resolve(), folder.expanduser().resolve()
    return place.is_relative_to(home) or any(_is_same(one, home) for one in (place, *place.parents))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_ino != 0 and one.samefile(other)  # 0 where a drive numbers nothing
    except OSError:
        return False


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Inside, what the disk refuses becomes BadInput naming `path`."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {(error.strerror or str(error)).lower()}") from error


@contextmanager
def at_line(path: Path, number: int) -> Iterator[None]:
    """Inside, BadInput is given the file and the line, from 1, that it is about."""
    try:
        yield
    except (BadInput, csv.Error) as error:
        raise BadInput(f"{str(path)!r}, line {number}: {error}") from error
