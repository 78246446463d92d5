"""Background work as rows: whoever asks writes the row and its stop flag, the worker writes all the rest.

One writer per column, and no process ids: a worker is alive while its heartbeat is young. One that is silent is heard
once more before anybody acts on its death.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database

from labelloop.project.database import now, writing

JobKind = Literal["embed", "fine-tune"]
State = Literal["waiting", "running", "done", "failed", "stopped"]

HEARTBEAT_SECONDS = 0.5  # and so a wish to stop is heard
DEAD_AFTER_SECONDS = 50.0  # a first import of torch takes so long at the lowest priority on a machine that is busy


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of background work, as it stands."""

    id: int
    kind: JobKind
    state: State
    stop: bool
    done: int
    total: int
    seconds_left: float | None
    message: str
    loss: tuple[float, ...]
    at: str
    event: int | None  # the newest of the log when it was asked for, or its run began; None where that was not kept
    finished_at: str | None

    @property
    def is_open(self) -> bool:
        """Whether it is waiting or running."""
        return self.state in ("waiting", "running")


class Jobs:
    """Ask for background work, watch it, stop it; the worker reports through the same object."""

    def __init__(self, db: Callable[[], Database], wait: Callable[[float], None] = time.sleep):
        self._db, self._wait = db, wait

    def ask(self, kind: JobKind) -> tuple[int, bool]:
        """Ask for a job: (its id, whether it is new). One that waits or runs already is not asked for twice."""
        self._listen("kind = ?", kind)
        with writing(self._db()):
            for job in self._rows("WHERE state IN ('waiting', 'running') AND kind = ?", kind):
                if job.is_open and not job.stop:
                    return job.id, False
            cursor = self._db().conn.execute(
                "INSERT INTO jobs (kind, at, heartbeat, event) "
                "VALUES (?, ?, ?, (SELECT coalesce(max(id), 0) FROM events))",
                (kind, now(), time.time()),
            )
            assert cursor.lastrowid is not None  # noqa: S101  an INSERT always has one
            return cursor.lastrowid, True

    def stop(self, job_id: int) -> None:
        """Ask a job to stop."""
        with writing(self._db()):
            self._db().conn.execute("UPDATE jobs SET stop = 1 WHERE id = ?", (job_id,))

    def get(self, job_id: int) -> Job:
        """One job as it stands."""
        return self._rows("WHERE id = ?", job_id)[0]

    def heard(self, job_id: int) -> Job:
        """One job for whoever waits for its end: `get`, but a worker that seems dead is listened to first."""
        self._listen("id = ?", job_id)
        return self.get(job_id)

    def latest(self, kind: JobKind | None = None) -> Job | None:
        """The job that runs, else the one whose turn is next, else the newest of all; None before the first."""
        rows = self._rows("WHERE ?1 IS NULL OR kind = ?1 ORDER BY id DESC LIMIT 20", kind)
        still_open = [job for job in rows if job.is_open]
        if still_open:
            return min(still_open, key=lambda job: (job.state != "running", job.id))
        return rows[0] if rows else None

    def all(self) -> list[Job]:
        """All jobs, newest first."""
        return self._rows("ORDER BY id DESC")

    def ahead_of(self, job_id: int) -> Job | None:
        """The oldest job that is open, unless it is not older than this one: jobs run one after the other."""
        self._listen("id < ?", job_id)
        older = self._rows("WHERE state IN ('waiting', 'running') AND id < ? ORDER BY id", job_id)
        return next((job for job in older if job.is_open), None)

    # -- for the worker -------------------------------------------------------------------------------------------

    def report(self, job_id: int, **columns: Any) -> bool:
        """Write what the worker knows (state, done, total, seconds_left, message, loss); True when asked to stop."""
        columns["heartbeat"] = time.time()
        if "loss" in columns:
            columns["loss"] = json.dumps(columns["loss"])
        if columns.get("state") in ("done", "failed", "stopped"):
            columns["finished_at"] = now()
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        with writing(self._db()):
            self._db().conn.execute(f"UPDATE jobs SET {assignments} WHERE id = :id", {**columns, "id": job_id})  # noqa: S608
            row = self._db().conn.execute("SELECT stop FROM jobs WHERE id = ?", (job_id,)).fetchone()
            return bool(row["stop"])

    def _listen(self, which: str, *values: Any) -> None:
        """Give workers that seem dead the time of two heartbeats to be heard; the next look at the rows decides.

        When the computer slept or its clock was set, the heartbeats of workers that go on are as old as those of dead
        ones, and only that they beat again tells them apart.
        """
        asked = self._rows(f"WHERE state IN ('waiting', 'running') AND {which}", *values)
        if not all(job.is_open for job in asked):
            self._wait(2 * HEARTBEAT_SECONDS)

    def _rows(self, where: str, *values: Any) -> list[Job]:
        return [_job(row) for row in self._db().conn.execute(f"SELECT * FROM jobs {where}", values)]  # noqa: S608


def _job(row: Any) -> Job:
    state, message = row["state"], row["message"]
    silent = abs(time.time() - (row["heartbeat"] or 0))  # one of the future is of a clock that was set back since
    if state in ("waiting", "running") and silent > DEAD_AFTER_SECONDS:
        state = "failed"  # a process that was killed cannot say so itself
        message = f"the background process stopped answering; start it again and it goes on where it was. {message}"
    return Job(
        id=row["id"],
        kind=row["kind"],
        state=state,
        stop=bool(row["stop"]),
        done=row["done"],
        total=row["total"],
        seconds_left=row["seconds_left"],
        message=message,
        loss=tuple(json.loads(row["loss"])),
        at=row["at"],
        event=row["event"],
        finished_at=row["finished_at"],
    )
