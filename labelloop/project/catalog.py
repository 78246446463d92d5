"""The catalog: which images there are, where their files lie, and which are kept for the exam.

Scanning reads every new or changed file once; images themselves are never written to. Paths are kept below their
folder, so that a moved folder is one row to change.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from sqlite_utils import Database

from labelloop.errors import BadInput
from labelloop.images import Checked, check, find_files
from labelloop.project.database import now, writing
from labelloop.project.image import File, Image, from_text, read_image, size_and_time, to_text
from labelloop.types import Bools, Ints

CHUNK = 256  # files per transaction
GONE = (
    "UPDATE images SET gone = NOT EXISTS "
    "(SELECT 1 FROM files WHERE files.image_id = images.id AND files.gone = 0 AND files.problem IS NULL)"
)


@dataclass(frozen=True, slots=True)
class Scan:
    """How far a scan is: files to read, and what came of those already read."""

    done: int
    total: int
    added: int = 0  # images not seen before
    unreadable: int = 0
    gone: int = 0  # images whose last file vanished; known at the end
    is_over: bool = False


def is_held_out(sha256: str, share: float) -> bool:
    """Whether an image is kept for the exam: decided by its bytes alone, so no order of adding can change it."""
    return int(sha256[:12], 16) < share * 16**12


class Catalog:
    """The images of a project and their files."""

    def __init__(self, db: Callable[[], Database], held_out: float):
        self._db = db
        self._held_out = held_out

    # -- folders and scanning ---------------------------------------------------------------------------------

    def add_folder(self, folder: Path, instead_of: Path | None = None) -> None:
        """Remember a folder to scan, or that one was moved; raises BadInput where that one is none of the project's."""
        resolved = folder.expanduser().resolve()
        with writing(self._db()):
            here = {path: number for number, path in self.folders().items()}
            if instead_of is None:
                self._db().conn.execute("INSERT OR IGNORE INTO folders (path) VALUES (?)", (to_text(str(resolved)),))
                return
            # Not resolved where it is named as it is kept: C:\photos is no path on another system, but may be meant.
            old = instead_of if instead_of in here else instead_of.expanduser().resolve()
            if old not in here:
                raise BadInput(f"{old} is no image folder of this project; it has {', '.join(map(str, here))}")
            if resolved != old and resolved in here:
                raise BadInput(f"{resolved} is a folder of this project already; it cannot be another one as well")
            values = (to_text(str(resolved)), here[old])
            self._db().conn.execute("UPDATE folders SET path = ? WHERE id = ?", values)

    def folders(self) -> dict[int, Path]:
        """The folders by their number."""
        rows = self._db().conn.execute("SELECT id, path FROM folders ORDER BY id")
        return {row["id"]: Path(from_text(row["path"])) for row in rows}

    def scan(self, *, threads: int = 2) -> Iterator[Scan]:
        """Read new and changed files of all folders, mark what is gone; yields after each chunk on disk.

        Files are read in an order that has nothing to do with their names: the first images in a project are then a
        fair draw from it, whatever the folders are called. Raises BadInput when a folder is not there (an
        unplugged disk must not mark everything as gone).
        """
        for folder in self.folders().values():
            if not folder.exists():
                raise BadInput(
                    f"the image folder {folder} is missing; nothing was read. Put it back (is a disk unplugged?), or "
                    f"say where it is now: labelloop add PROJECT NEW --instead-of {_quoted(folder)}"
                )
        listed = {number: set(find_files(folder)) for number, folder in self.folders().items()}
        todo = [(n, p) for n, paths in listed.items() for p in self._new_or_changed(n, paths)]
        todo.sort(key=lambda file: hashlib.sha256(os.fsencode(file[1])).digest())
        progress = Scan(0, len(todo))
        yield progress
        folders = self.folders()
        with ThreadPoolExecutor(threads) as pool:
            checked = _ordered_map(pool, lambda file: (file[0], check(folders[file[0]], file[1])), todo)
            while chunk := list(islice(checked, CHUNK)):
                progress = self._store(chunk, progress)
                yield progress
        gone = self._mark_gone(listed)
        yield replace(progress, gone=gone, is_over=True)

    def _new_or_changed(self, number: int, paths: set[str]) -> list[str]:
        # Files that could not be read are looked at again, as are those that earlier versions gave up on while they
        # embedded: they took a disk that was away for damage, and left the image's id on them.
        rows = self._db().conn.execute(
            "SELECT path, bytes, mtime_ns FROM files WHERE folder_id = ? AND gone = 0 "
            "AND (problem IS NULL OR image_id IS NULL AND problem NOT LIKE 'cannot be read: %')",
            (number,),
        )
        known = {from_text(row["path"]): (row["bytes"], row["mtime_ns"]) for row in rows}
        folder = self.folders()[number]
        return [path for path in paths if known.get(path) != size_and_time(folder / path)]

    def _store(self, chunk: list[tuple[int, Checked]], progress: Scan) -> Scan:
        db, added, unreadable = self._db(), 0, 0
        with writing(db):
            for number, file in chunk:
                image_id = None
                if file.problem is None:
                    image_id, is_new = self._image_of(db, file)
                    added += is_new
                else:
                    unreadable += 1
                before = self._image_at(number, file.path)
                db.conn.execute(
                    "INSERT OR REPLACE INTO files (folder_id, path, image_id, bytes, mtime_ns, problem) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (number, to_text(file.path), image_id, file.bytes, file.mtime_ns, file.problem),
                )
                if before not in (None, image_id):  # overwritten: at no time is an image without a file not gone
                    db.conn.execute(f"{GONE} WHERE id = ?", (before,))
        return replace(
            progress,
            done=progress.done + len(chunk),
            added=progress.added + added,
            unreadable=progress.unreadable + unreadable,
        )

    def _image_of(self, db: Database, file: Checked) -> tuple[int, bool]:
        row = db.conn.execute("SELECT id FROM images WHERE sha256 = ?", (file.sha256,)).fetchone()
        if row is not None:
            return row["id"], False
        assert file.sha256 is not None  # noqa: S101  there is no problem, so it was read
        next_id = db.conn.execute("SELECT coalesce(max(id), 0) + 1 FROM images").fetchone()[0]
        db.conn.execute(
            "INSERT INTO images (id, sha256, width, height, held_out, added_at) VALUES (?, ?, ?, ?, ?, ?)",
            (next_id, file.sha256, file.width, file.height, is_held_out(file.sha256, self._held_out), now()),
        )
        return next_id, True

    def _mark_gone(self, listed: dict[int, set[str]]) -> int:
        """A file that is not listed may have come meanwhile, by another scan: it is gone only if it is not there."""
        db, folders = self._db(), self.folders()
        vanished = [
            (number, row["path"])
            for number, paths in listed.items()
            for row in db.conn.execute("SELECT path FROM files WHERE folder_id = ? AND gone = 0", (number,)).fetchall()
            if (path := from_text(row["path"])) not in paths and not os.path.lexists(folders[number] / path)
        ]
        with writing(db):
            db.conn.executemany("UPDATE files SET gone = 1 WHERE folder_id = ? AND path = ?", vanished)
            db.conn.execute(GONE)
        return self.count_gone()

    # -- reading ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return int(self._db().conn.execute("SELECT coalesce(max(id), 0) FROM images").fetchone()[0])

    def count_gone(self) -> int:
        """How many images have no usable file any more."""
        return int(self._db().conn.execute("SELECT count(*) FROM images WHERE gone").fetchone()[0])

    def flags(self) -> tuple[Bools, Bools]:
        """`held_out` and `gone`, both (n_images,), by image id - 1."""
        rows = self._db().conn.execute("SELECT held_out, gone FROM images ORDER BY id").fetchall()
        table = np.array([tuple(row) for row in rows], dtype=bool).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def images(self, image_ids: Sequence[int] | Ints | None = None) -> dict[int, Image]:
        """Images by id (all when no ids are given), each with the first of its files that is still there.

        An image whose only file was overwritten, or cannot be read any more, has no name now: it is gone, its answers
        are still in the log.
        """
        where = "" if image_ids is None else f"WHERE images.id IN ({', '.join(str(int(i)) for i in image_ids)})"
        sql = f"""
            SELECT images.*, files.path, files.folder_id, files.bytes, files.mtime_ns, min(files.gone) AS nowhere
            FROM images LEFT JOIN files ON files.image_id = images.id {where}
            GROUP BY images.id ORDER BY images.id"""  # noqa: S608
        folders = self.folders()
        return {row["id"]: read_image(row, folders) for row in self._db().conn.execute(sql)}

    def image(self, image_id: int) -> Image:
        """One image; raises BadInput for an id that is not in the project."""
        found = self.images([image_id])
        if image_id not in found:
            raise BadInput(f"image {image_id} is not in this project, which has {len(self)} images")
        return found[image_id]

    def find(self, path: str | os.PathLike[str]) -> int:
        """The id of the image at a path: as it is below its folder, or absolute, or from the current directory."""
        text = os.fspath(path)
        absolute = Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100  symlinks stay as they are
        wanted = [(number, PurePath(text).as_posix()) for number in self.folders()]  # Windows types \\ for /
        for number, folder in self.folders().items():
            for candidate in (absolute, absolute.resolve()):
                if candidate.is_relative_to(folder):
                    wanted.append((number, candidate.relative_to(folder).as_posix()))
        for number, below in wanted:
            if (image_id := self._file(number, below)) is not None:
                return image_id
        raise BadInput(
            f"{text} is not an image of this project. Its folders are: "
            f"{', '.join(str(folder) for folder in self.folders().values())}. New files come in with: labelloop add"
        )

    def _file(self, number: int, path: str) -> int | None:
        row = self._row_of_file(number, path)
        if row is not None and row["image_id"] is None:
            raise BadInput(f"{path} cannot be used: {row['problem']}")
        if row is None:
            return None
        folder, scanned = self.folders()[number], (row["bytes"], row["mtime_ns"])
        is_other = size_and_time(folder / path) not in (None, scanned)
        if is_other and check(folder, path).sha256 != self.image(row["image_id"]).sha256:  # else it was only touched
            raise BadInput(f"{path} was changed since it was scanned; look at it again with: labelloop add PROJECT")
        return int(row["image_id"])

    def _image_at(self, number: int, path: str) -> int | None:
        row = self._row_of_file(number, path)
        return None if row is None else row["image_id"]

    def _row_of_file(self, number: int, path: str) -> Any:
        sql = "SELECT image_id, problem, bytes, mtime_ns FROM files WHERE folder_id = ? AND path = ?"
        return self._db().conn.execute(sql, (number, to_text(path))).fetchone()

    def files(self) -> Iterator[tuple[int, str]]:
        """(image id, path below its folder) of every usable file, duplicates included."""
        rows = self._db().conn.execute("SELECT image_id, path FROM files WHERE image_id IS NOT NULL AND gone = 0")
        for row in rows:
            yield row["image_id"], from_text(row["path"])

    def files_of(self, image_ids: Sequence[int] | Ints, *, gone: bool = False) -> set[File]:
        """The usable files of some images, and with `gone` those too that could be used once and went."""
        sql = f"""
            SELECT image_id, folder_id, path, bytes, mtime_ns FROM files
            WHERE image_id IN ({", ".join(str(int(i)) for i in image_ids)}) AND (gone = 0 AND problem IS NULL OR ?)"""  # noqa: S608
        folders = self.folders()
        rows = self._db().conn.execute(sql, (gone,))
        return {File(row[0], str(folders[row[1]] / from_text(row[2])), row[3], row[4]) for row in rows}

    def places(self) -> dict[int, tuple[int, str]]:
        """Where each image lies: the number of the folder and the path below it, of the first file still there.

        Of an image that is gone, where it was; nothing where no file is known.
        """
        there, gone = dict[int, tuple[int, str]](), dict[int, tuple[int, str]]()
        sql = "SELECT image_id, folder_id, path, gone FROM files WHERE image_id IS NOT NULL ORDER BY folder_id, path"
        for image_id, folder_id, path, is_gone in self._db().conn.execute(sql):
            (gone if is_gone else there).setdefault(image_id, (folder_id, from_text(path)))
        return gone | there

    def problems(self) -> list[tuple[str, str]]:
        """(path, reason) of every file that cannot be used."""
        rows = self._db().conn.execute(
            "SELECT path, problem FROM files WHERE problem IS NOT NULL AND gone = 0 ORDER BY path"
        )
        return [(from_text(row["path"]), row["problem"]) for row in rows]

    def mark_unreadable(self, image_id: int, problem: str) -> None:
        """Note that an image turned out to be unusable when it was decoded in full, until its file changes."""
        with writing(self._db()):
            self._db().conn.execute(
                "UPDATE files SET problem = ?, image_id = NULL WHERE image_id = ?", (problem, image_id)
            )
            self._db().conn.execute("UPDATE images SET gone = 1 WHERE id = ?", (image_id,))


def _quoted(path: Path) -> str:
    """As it is typed: no shell of Windows takes single quotes for quotes but PowerShell."""
    return f'"{path}"' if sys.platform == "win32" else shlex.quote(str(path))


def _ordered_map(
    pool: ThreadPoolExecutor, work: Callable[[Any], Any], todo: Sequence[Any], ahead: int = 64
) -> Iterator[Any]:
    """Like pool.map, but with a bounded number of results waiting."""
    waiting: deque[Future[Any]] = deque()
    for item in todo:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
