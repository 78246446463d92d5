"""The event log: what people did, appended and never changed. The newest answer of an image is its label."""

from __future__ import annotations

import dataclasses
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlite_utils import Database

from labelloop.errors import BadInput
from labelloop.project.classes import merged_of
from labelloop.project.database import now, writing
from labelloop.types import ANSWERS, Event

COLUMNS = tuple(f.name for f in dataclasses.fields(Event) if f.name not in ("id", "undoes_seq"))
SQL_COLUMNS = tuple("class" if name == "class_index" else name for name in COLUMNS)

# The live answer of each image: the newest one that no undo points to. `upto` gives the state as of that event.
IS_LIVE = """
    kind IN ('label', 'unsure', 'skip') AND id <= :upto
    AND NOT EXISTS (SELECT 1 FROM events AS later WHERE later.undoes = events.id AND later.id <= :upto)
"""
LIVE = f"SELECT max(id) FROM events WHERE {IS_LIVE}"  # noqa: S608
FOREVER = 2**62


class Log:
    """Append events, read back who answered what."""

    def __init__(self, db: Callable[[], Database]):
        self._db = db

    def append(self, events: Iterable[Event]) -> list[int]:
        """Write events in one transaction; when this returns they are on disk. Returns their ids.

        An event whose (client, seq) is stored already is not stored twice: its id is returned again. An undo that names
        no answer takes back the newest live one of its image; one that a client names must be that. Raises BadInput,
        with nothing written, for an event that makes no sense, and NotSaved when the disk refuses.
        """
        db = self._db()
        with writing(db):
            return [self._append_checked(db, event) for event in events]

    def _append_checked(self, db: Database, event: Event) -> int:
        for number in (event.seconds, event.probability):
            if number is not None and not math.isfinite(number):
                raise BadInput(f"this answer was not stored, {number} is no number that a file could hold: {event}")
        if event.seconds is not None and event.seconds < 0:  # an exported file with it could not be read back
            raise BadInput(f"this answer was not stored: seconds is {event.seconds}, wanted 0 or more")
        try:
            return self._append_one(db, event)
        except (sqlite3.IntegrityError, OverflowError, UnicodeEncodeError) as error:
            raise BadInput(f"this answer was not stored, it does not fit the project: {event!a} ({error})") from error

    def _append_one(self, db: Database, event: Event) -> int:
        stored = self._stored(db, event)
        if stored is not None:
            return stored
        if event.kind == "undo" and (event.undoes is None or event.client is not None):
            event = dataclasses.replace(event, undoes=self._answer_to_undo(db, event))
        event = dataclasses.replace(event, at=event.at or now())
        values = [getattr(event, name) for name in COLUMNS]
        marks = ", ".join("?" * len(values))
        cursor = db.conn.execute(f"INSERT INTO events ({', '.join(SQL_COLUMNS)}) VALUES ({marks})", values)  # noqa: S608
        assert cursor.lastrowid is not None  # noqa: S101  an INSERT always has one
        return cursor.lastrowid

    def _stored(self, db: Database, event: Event) -> int | None:
        if event.client is None:
            return None
        row = db.conn.execute(
            "SELECT id, image_id, kind, class FROM events WHERE client = ? AND seq = ?", (event.client, event.seq)
        ).fetchone()
        if row is None:
            return None
        if (row["image_id"], row["kind"], row["class"]) != (event.image_id, event.kind, event.class_index):
            raise BadInput(f"answer {event.seq} of this browser tab is stored already, with another content")
        return int(row["id"])

    def _answer_to_undo(self, db: Database, event: Event) -> int:
        live = self.answers(image_ids=[event.image_id])
        if not live:
            raise BadInput("there is nothing to undo: this image has no answer")
        (newest,), named = live, event.undoes
        assert newest.id is not None  # noqa: S101  it was read
        if event.undoes_seq is not None:
            sql = "SELECT id FROM events WHERE client = ? AND seq = ?"
            named = next((row[0] for row in db.conn.execute(sql, (event.client, event.undoes_seq))), 0)
        if named not in (None, newest.id):
            is_newer = 0 < named < newest.id
            why = f"{newest.by or 'somebody'} has answered this image since" if is_newer else "that answer is not there"
            raise BadInput(f"nothing was undone: {why}")
        return newest.id

    def answers(self, *, upto: int | None = None, image_ids: Sequence[int] | None = None) -> list[Event]:
        """The live answer of each image (label, unsure or skip), by image; as of event `upto` when given."""
        sql, values = LIVE, {"upto": FOREVER if upto is None else upto}
        if image_ids is not None:
            sql += f" AND image_id IN ({', '.join(str(int(i)) for i in image_ids)})"
        rows = self._db().conn.execute(f"SELECT * FROM events WHERE id IN ({sql} GROUP BY image_id)", values)  # noqa: S608
        return sorted(self._events(rows), key=lambda event: event.image_id)

    def before(self, answers: Sequence[Event]) -> dict[int, Event]:
        """What the live answer of each image would be if these, the present ones, were undone, where there is one."""
        ids = ", ".join(str(answer.id) for answer in answers)
        images = ", ".join(str(answer.image_id) for answer in answers)
        newest = f"{LIVE} AND image_id IN ({images}) AND id NOT IN ({ids}) GROUP BY image_id"
        rows = self._db().conn.execute(f"SELECT * FROM events WHERE id IN ({newest})", {"upto": FOREVER})  # noqa: S608
        return {event.image_id: event for event in self._events(rows)}

    def times(self, *, upto: int | None = None, image_ids: Sequence[int] | None = None) -> dict[int, int]:
        """How often each image was given a label or "unsure" that was not undone; only images where that is so."""
        sql = f"SELECT image_id, count(*) FROM events WHERE {IS_LIVE} AND kind <> 'skip'"  # noqa: S608
        if image_ids is not None:
            sql += f" AND image_id IN ({', '.join(str(int(i)) for i in image_ids)})"
        values = {"upto": FOREVER if upto is None else upto}
        rows = self._db().conn.execute(f"{sql} GROUP BY image_id", values)
        return {image_id: count for image_id, count in rows}

    def seconds(self, *, upto: int | None = None) -> dict[int, float]:
        """Seconds before the live answer of each image that a person gave to this one image, where they are known."""
        newest = f"{LIVE} GROUP BY image_id"
        sql = (
            f"SELECT image_id, seconds FROM events WHERE id IN ({newest}) "  # noqa: S608
            "AND source IN ('human', 'accepted') AND seconds IS NOT NULL"
        )
        values = {"upto": FOREVER if upto is None else upto}
        return {image_id: seconds for image_id, seconds in self._db().conn.execute(sql, values)}

    def count_labels(self, *, upto: int | None, before: str) -> int:
        """Images, none of them held out, that had been given a label by event `upto` which was not undone.

        Where `upto` is not known, by a time (ISO 8601, UTC): imports keep the dates of their files, and so one that
        came later counts as well if its labels are of an earlier date.
        """
        sql = (
            "SELECT count(DISTINCT image_id) FROM events JOIN images ON images.id = image_id WHERE kind = 'label' "
            "AND CASE WHEN :upto IS NULL THEN at <= :before ELSE events.id <= :upto END AND NOT held_out "
            "AND events.id NOT IN (SELECT undoes FROM events WHERE undoes IS NOT NULL)"
        )
        return int(self._db().conn.execute(sql, {"upto": upto, "before": before}).fetchone()[0])

    def flagged(self) -> set[int]:
        """Ids of images whose newest flag event is a flag."""
        newest = self._newest("kind", "'flag', 'unflag'")
        return {image_id for image_id, kind in newest if kind == "flag"}

    def notes(self) -> dict[int, str]:
        """The newest note of each image that has one."""
        return {image_id: note for image_id, note in self._newest("note", "'note'") if note}

    def _newest(self, column: str, kinds: str) -> list[tuple[int, Any]]:
        # The kinds stand in the text, not in a parameter: only so does SQLite use the partial indexes.
        sql = (
            f"SELECT image_id, {column} FROM events WHERE id IN "  # noqa: S608
            f"(SELECT max(id) FROM events WHERE kind IN ({kinds}) GROUP BY image_id)"
        )
        return [tuple(row) for row in self._db().conn.execute(sql)]

    def since(self, event_id: int = 0) -> Iterator[Event]:
        """Every event after `event_id`, oldest first."""
        rows = self._db().conn.execute("SELECT * FROM events WHERE id > ? ORDER BY id", (event_id,))
        yield from self._events(rows)

    def latest(self, n: int, *, by: str | None = None, answers_only: bool = False) -> list[Event]:
        """The newest n events, newest first; only live answers when `answers_only`."""
        sql, values = "SELECT * FROM events WHERE 1", dict[str, Any](n=n)
        if answers_only:
            sql += f" AND id IN ({LIVE} GROUP BY image_id)"
            values["upto"] = FOREVER
        if by is not None:
            sql += " AND by = :by"
            values["by"] = by
        return list(self._events(self._db().conn.execute(f"{sql} ORDER BY id DESC LIMIT :n", values)))

    def _events(self, rows: Iterable[sqlite3.Row]) -> Iterator[Event]:
        """Rows as they are meant by now: what was said of a class that was merged is about the other one."""
        merged = merged_of(self._db())
        return (_event(row, merged) for row in rows)

    def last_id(self) -> int:
        """The id of the newest event, 0 before the first."""
        return int(self._db().conn.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])


def _event(row: sqlite3.Row, merged: Mapping[int, int]) -> Event:
    values = {name: row[column] for name, column in zip(COLUMNS, SQL_COLUMNS, strict=True)}
    for name in ("class_index", "suggestion"):
        values[name] = merged.get(values[name], values[name])
    return Event(id=row["id"], **values)


def is_answer(event: Event) -> bool:
    """Whether the event says what an image is (or that nobody can tell)."""
    return event.kind in ANSWERS
