"""Rounds and their picks, and the models that were measured: what the learning curve is drawn from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlite_utils import Database

from labelloop.project.database import now, writing
from labelloop.types import Pick


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One model and how it did on the held-out answers there were at the time."""

    kind: Literal["head", "fine-tune"]
    features: str  # the set of features it works on
    labels: int
    exam_n: int
    exam_correct: int
    seconds: float
    in_charge: bool = True
    note: str = ""
    at: str = ""
    id: int | None = None


class Rounds:
    """What was chosen, when, by which strategy; and the models."""

    def __init__(self, db: Callable[[], Database]):
        self._db = db

    def start(
        self, strategy: str, settings: dict[str, Any], seed: int, labels: int, *, instead_of: int | None = None
    ) -> int:
        """Open a round, or put it in the place of one of which nobody has seen an image; returns its number."""
        with writing(self._db()):
            cursor = self._db().conn.execute(
                "INSERT OR REPLACE INTO rounds (id, at, strategy, settings, seed, labels) VALUES (?, ?, ?, ?, ?, ?)",
                (instead_of, now(), strategy, json.dumps(settings), seed, labels),
            )
            assert cursor.lastrowid is not None  # noqa: S101  an INSERT always has one
            return cursor.lastrowid

    def add_picks(self, round: int, picks: Sequence[Pick]) -> None:
        """Log the images of a round, in order, with score and reason."""
        with writing(self._db()):
            start = (
                self._db()
                .conn.execute("SELECT coalesce(max(rank) + 1, 0) FROM picks WHERE round = ?", (round,))
                .fetchone()[0]
            )
            self._db().conn.executemany(
                "INSERT INTO picks (round, rank, image_id, strategy, score, reason) VALUES (?, ?, ?, ?, ?, ?)",
                [(round, start + k, p.image_id, p.strategy, p.score, p.reason) for k, p in enumerate(picks)],
            )

    def newest_pick(self, image_id: int) -> Pick | None:
        """The last choice of an image, with its round; None if it was never chosen. The suggestion is not stored."""
        newest = (
            "SELECT round, strategy, score, reason FROM picks WHERE image_id = ? ORDER BY round DESC, rank DESC LIMIT 1"
        )
        row = self._db().conn.execute(newest, (image_id,)).fetchone()
        return None if row is None else Pick(image_id=image_id, **dict(row))

    def last(self) -> int:
        """The number of the newest round, 0 before the first."""
        return int(self._db().conn.execute("SELECT coalesce(max(id), 0) FROM rounds").fetchone()[0])

    def add_model(self, model: Measured) -> None:
        """Record a measured model."""
        values = asdict(model) | {"at": now()}
        del values["id"]
        with writing(self._db()):
            self._db().table("models").insert(values)

    def models(self) -> list[Measured]:
        """All measured models, oldest first."""
        rows = self._db().conn.execute("SELECT * FROM models ORDER BY id")
        return [Measured(**{**dict(row), "in_charge": bool(row["in_charge"])}) for row in rows]
