"""Opening the SQLite file: pragmas, transactions, and what an SQLite error means to a person."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlite_utils import Database

from labelloop.errors import NotSaved, ProjectError

BUSY_SECONDS = 30.0  # several people and the worker write to one file; a write takes milliseconds


def connect(path: Path) -> Database:
    """A connection for one thread: WAL, and a commit means on disk (`synchronous=FULL`)."""
    try:
        # One thread uses it, but whichever collects the garbage may be the one to close it.
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA fullfsync=ON")  # a Mac's plain fsync leaves it in the disk's own memory
        connection.execute("PRAGMA foreign_keys=ON")
    except sqlite3.DatabaseError as error:
        raise ProjectError(f"{path} cannot be opened as a labelloop project ({error}). {way_on(str(error))}") from error
    connection.row_factory = sqlite3.Row
    return Database(connection)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Write ahead from now on. Two that change a file to it both find it locked, and SQLite does not wait for that."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.01)


def way_on(error: str) -> str:
    """What to do about a file that cannot be opened."""
    if "locked" in error:
        return f"Another program has held it for {BUSY_SECONDS:.0f} s: close that and try again, nothing is lost."
    if any(words in error for words in ("disk I/O error", "disk is full")):  # even to read, SQLite writes beside it
        return (
            "The disk is full or cannot be written: free some space and try again, nothing that was saved is lost. "
            "Where there is space, the disk may be failing: copy the project's folder to another."
        )
    if any(words in error for words in ("readonly", "unable to open")):
        return "Give yourself permission to read and write the project's folder and what is in it."
    return "If it is damaged, restore it from a backup, or save what is readable with: sqlite3 project.db .recover"


@contextmanager
def writing(db: Database) -> Iterator[None]:
    """One write transaction, taken at once so that two writers queue up instead of failing half way.

    Inside another one it is part of that, which alone commits. Raises NotSaved, with everything in the block rolled
    back, when SQLite cannot write.
    """
    if db.conn.in_transaction:
        yield
        return
    try:
        db.conn.execute("BEGIN IMMEDIATE")
        yield
        db.conn.execute("COMMIT")
    except sqlite3.OperationalError as error:
        db.rollback()
        raise NotSaved(f"Not saved: {explain(error)}") from error
    except BaseException:
        db.rollback()
        raise


def explain(error: sqlite3.Error) -> str:
    """What a failed write means and what to do about it."""
    text = str(error)
    if "full" in text:
        return "the disk is full. Free some space; what is waiting is sent again by itself."
    if "readonly" in text or "read-only" in text:
        return "the project's database is read-only. Give write permission to its folder and try again."
    if "locked" in text or "busy" in text:
        return f"another program has held the project's database for {BUSY_SECONDS:.0f} s. Close it and try again."
    return f"the project's database refused to write ({text})."


def now() -> str:
    """This moment, ISO 8601 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
