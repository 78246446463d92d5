"""Features on disk: a memory-mapped array that grows, resumes and can be made again.

A store is a folder of three files, all derived from the images:

    features.npy   (n, d) float32, row = image id - 1: the one place where ids and rows of features cross
    done.npy       (n,) uint8, 1 where the row has been written
    about.json     what made the features (backbone, weights, ...) and their dimension; written last

One process writes (the worker), any number read. Left out: which images exist and which of them cannot be read
(project), and how features are computed (backbone).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelloop.errors import ProjectError
from labelloop.types import Bools, Floats, Ints

FEATURES, DONE, ABOUT = "features.npy", "done.npy", "about.json"
Shape = tuple[int, ...]


class FeatureStore:
    """The features of one backbone, `n` images so far and `dim` numbers each. Made by `create` or `open`."""

    def __init__(self, folder: Path, dim: int, n: int, about: dict[str, Any]) -> None:
        self.folder = folder
        self.dim = dim
        self.n = n
        self.about = about

    @classmethod
    def create(cls, folder: Path, dim: int, about: Mapping[str, Any]) -> FeatureStore:
        """An empty store. Leftovers of a creation that was cut short are replaced; a finished store is refused."""
        if cls.is_there(folder):
            raise ProjectError(f"{folder} already holds features; open them, or delete the folder to start over")
        about = {**about, "dim": dim}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, dtype, shape in ((FEATURES, np.float32, (0, dim)), (DONE, np.uint8, (0,))):
                with (folder / name).open("wb") as file:
                    _write_header(file, np.dtype(dtype), shape)
                    _sync(file)
            partial = folder / f"{ABOUT}.part"
            with partial.open("wb") as file:
                file.write(json.dumps(about, indent=1).encode())
                _sync(file)
            partial.replace(folder / ABOUT)
        except OSError as error:
            raise _cannot_write(folder, error) from error
        return cls(folder, dim, 0, about)

    @classmethod
    def open(cls, folder: Path, expected: Mapping[str, Any] | None = None) -> FeatureStore:
        """The store in `folder`, however large, in milliseconds: nothing but headers is read.

        Raises ProjectError when it is damaged, unfinished, or `expected` names another value than its about.json.
        """
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            dim = int(about["dim"])
            (n,) = _check(folder / DONE, np.dtype(np.uint8), 1)  # first: what grows meanwhile has its rows before
            rows, width = _check(folder / FEATURES, np.dtype(np.float32), 2)
        except FileNotFoundError as error:
            raise _damaged(folder, f"{Path(error.filename).name} is missing") from error
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(folder, str(error) or type(error).__name__) from error
        # A kill inside `grow` may leave more rows than marks, never fewer.
        if width != dim or rows < n:
            raise _damaged(folder, f"features have shape {(rows, width)}, expected {(n, dim)}")
        for key, value in (expected or {}).items():
            if about.get(key) != value:
                found = f"made with {key} {about.get(key)!r}, expected {value!r}"
                raise _damaged(folder, f"{found} (by another version of labelloop, or with another backbone)")
        return cls(folder, dim, n, about)

    @staticmethod
    def is_there(folder: Path) -> bool:
        """Whether a store was created in `folder`, damaged or not."""
        return (folder / ABOUT).exists()

    def grow(self, n: int) -> None:
        """Make room for images 1..n; never shrinks. Maps that other processes hold of the old rows stay valid."""
        if n <= self.n:
            return
        try:
            # Rows before marks, and within a file data before header: a kill in between leaves a valid store.
            _extend(self.folder / FEATURES, np.dtype(np.float32), (n, self.dim))
            _extend(self.folder / DONE, np.dtype(np.uint8), (n,))
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        self.n = n

    def write(self, ids: Sequence[int] | Ints, features: ArrayLike) -> None:
        """Store the features (k, d) of images `ids` and mark them done, in this order, each safely on disk.

        Written with write(), not through a map: on a full disk that is an error one can report, a map is a SIGBUS.
        """
        rows = np.asarray(ids, dtype=np.int64) - 1
        block = np.ascontiguousarray(features, dtype="<f4")
        if block.shape != (len(rows), self.dim):
            raise ValueError(f"features have shape {block.shape}, expected {(len(rows), self.dim)}")
        if len(rows) == 0:
            return
        if rows.min() < 0 or rows.max() >= self.n:
            raise ValueError(f"ids {rows.min() + 1} to {rows.max() + 1} do not fit a store of {self.n} images")
        if not np.isfinite(block).all() or not block.any(axis=1).all():
            raise ValueError("features hold NaN, infinity or a row of zeros")
        marks = np.ones((len(rows), 1), np.uint8)
        try:
            for name, values in ((FEATURES, block), (DONE, marks)):
                with (self.folder / name).open("r+b") as file:
                    start = _read_header(file)[2]
                    for first, run in _runs(rows, values):
                        file.seek(start + first * values.strides[0])
                        file.write(run.tobytes())
                    _sync(file)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def read(self) -> tuple[Floats, Bools]:
        """Features (n, d), a read-only map, and which of its rows are done (n,), a snapshot.

        Rows done at the time of the call are complete; the others are zero.
        """
        done = self.done()
        if self.n == 0:
            return np.zeros((0, self.dim), np.float32), done
        return np.load(self.folder / FEATURES, mmap_mode="r")[: self.n], done

    def done(self) -> Bools:
        """Which rows have been written (n,)."""
        marks: NDArray[np.uint8] = np.load(self.folder / DONE)
        return marks[: self.n].astype(np.bool_)

    def missing(self, n: int) -> Ints:
        """Ids in 1..n that have no features yet, ascending."""
        done = np.zeros(n, np.bool_)
        marks = self.done()[:n]
        done[: len(marks)] = marks
        return np.flatnonzero(~done).astype(np.int64) + 1

    def __len__(self) -> int:
        """How many images have features."""
        return int(self.done().sum())


def _write_header(file: BinaryIO, dtype: np.dtype[Any], shape: Shape) -> None:
    """The .npy header; numpy pads it so that the first axis can grow without moving the data."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype.newbyteorder("<").str, "fortran_order": False, "shape": shape}
    )


def _read_header(file: BinaryIO) -> tuple[Shape, np.dtype[Any], int]:
    """Shape, dtype and the offset of the data."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{Path(file.name).name} is of another .npy version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran:
        raise ValueError(f"{Path(file.name).name} is in Fortran order")
    return shape, dtype, file.tell()


def _check(path: Path, dtype: np.dtype[Any], axes: int) -> Shape:
    """The shape that the header claims, once the file is known to hold it all."""
    with path.open("rb") as file:
        shape, found, start = _read_header(file)
        length = file.seek(0, os.SEEK_END)
    if found != dtype or len(shape) != axes:
        raise ValueError(f"{path.name} holds {len(shape)}-dimensional {found}, expected {axes}-dimensional {dtype}")
    wanted = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if length < wanted:
        raise ValueError(f"{path.name} has {length} bytes, expected {wanted}")
    return shape


def _extend(path: Path, dtype: np.dtype[Any], shape: Shape) -> None:
    with path.open("r+b") as file:
        start = _read_header(file)[2]
        file.truncate(start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        _sync(file)
        _write_header(file, dtype, shape)
        if file.tell() != start:
            raise _damaged(path.parent, f"{path.name} has no room for a longer header")
        _sync(file)


def _runs(rows: Ints, values: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Neighbouring rows together: (first row, their values)."""
    starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1)
    for start, part in zip(starts, np.split(values, starts[1:]), strict=True):
        yield int(rows[start]), part


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _damaged(folder: Path, found: str) -> ProjectError:
    return ProjectError(
        f"the features in {folder} cannot be used: {found}. They are only derived from the images: "
        "the folder may be deleted, and the features are then made again"
    )


def _cannot_write(folder: Path, error: OSError) -> ProjectError:
    return ProjectError(
        f"features could not be written to {folder}: {error.strerror or error}. "
        "Free some disk space or make the folder writable, then start again: what is done is kept"
    )
