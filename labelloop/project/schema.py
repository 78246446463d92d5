"""The schema of `project.db`, as a history of steps; a project is brought up to date when it is opened.

What a person made is in `settings`, `classes` and `events`; everything else can be made again from the images.
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

from labelloop.errors import ProjectError
from labelloop.project.database import way_on, writing

steps = Migrations("labelloop")


@steps()
def m001_first(db: Database) -> None:
    """Settings, classes, images and their files, the event log, rounds, models, jobs."""
    for statement in FIRST.split(";;"):
        db.conn.execute(statement)


@steps()
def m002_event_of_a_job(db: Database) -> None:
    """The newest event of the log when a job was asked for; not known of jobs from before."""
    db.conn.execute("ALTER TABLE jobs ADD COLUMN event INTEGER")


@steps()
def m003_first_name_of_a_class(db: Database) -> None:
    """What a class was called before it was renamed, NULL if it never was: its key on the page comes from it."""
    db.conn.execute("ALTER TABLE classes ADD COLUMN first_name TEXT")


@steps()
def m004_merged_classes(db: Database) -> None:
    """The class that another one is part of: what is said of the one is read as said of the other."""
    db.conn.execute("ALTER TABLE classes ADD COLUMN merged_into INTEGER REFERENCES classes(idx)")
    db.conn.execute("DROP VIEW labels")
    db.conn.execute(LABELS)


LABELS = """
CREATE VIEW labels AS
SELECT answers.image_id, classes.name AS label, source, by, answers.at, seconds, held_out
FROM answers JOIN classes AS said ON said.idx = answers.class
JOIN classes ON classes.idx = coalesce(said.merged_into, said.idx) JOIN images ON images.id = answers.image_id
"""

FIRST = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) ;;

CREATE TABLE classes (
    idx INTEGER PRIMARY KEY,               -- 0, 1, 2, … in the order in which they were added
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    at TEXT NOT NULL
) ;;

CREATE TABLE folders (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE) ;;

CREATE TABLE images (
    id INTEGER PRIMARY KEY,                -- 1, 2, 3, … without gaps: the row of its features is id - 1
    sha256 TEXT NOT NULL UNIQUE,           -- the same bytes twice are one image
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    held_out INTEGER NOT NULL,             -- 1: for the exam, never trained on, never chosen by a strategy
    gone INTEGER NOT NULL DEFAULT 0,       -- 1: no file with these bytes is there any more
    added_at TEXT NOT NULL
) ;;
CREATE INDEX images_gone ON images(id) WHERE gone ;;

CREATE TABLE files (
    folder_id INTEGER NOT NULL REFERENCES folders(id),
    path TEXT NOT NULL,                    -- below the folder; a BLOB where the name is not valid UTF-8
    image_id INTEGER REFERENCES images(id),-- NULL where there is a problem
    bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    problem TEXT,                          -- why it cannot be used
    gone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (folder_id, path)
) WITHOUT ROWID ;;
CREATE INDEX files_by_image ON files(image_id) ;;

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    image_id INTEGER NOT NULL REFERENCES images(id),
    kind TEXT NOT NULL CHECK (kind IN ('label', 'unsure', 'skip', 'flag', 'unflag', 'note', 'undo')),
    class INTEGER REFERENCES classes(idx),
    note TEXT,
    source TEXT NOT NULL CHECK (source IN ('human', 'accepted', 'bulk', 'import')),
    by TEXT NOT NULL,
    at TEXT NOT NULL,
    seconds REAL,
    round INTEGER,
    strategy TEXT,
    suggestion INTEGER REFERENCES classes(idx),
    probability REAL,
    undoes INTEGER UNIQUE REFERENCES events(id),
    client TEXT,
    seq INTEGER,
    UNIQUE (client, seq),
    CHECK ((kind = 'label') = (class IS NOT NULL)),
    CHECK ((kind = 'undo') = (undoes IS NOT NULL))
) ;;
CREATE INDEX events_by_image ON events(image_id, id) ;;
CREATE INDEX events_flags ON events(image_id, id) WHERE kind IN ('flag', 'unflag') ;;
CREATE INDEX events_notes ON events(image_id, id) WHERE kind IN ('note') ;;

CREATE TRIGGER events_never_change BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the log is append-only: add an event instead'); END ;;
CREATE TRIGGER events_never_go BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the log is append-only: add an undo event instead'); END ;;
CREATE TRIGGER images_never_go BEFORE DELETE ON images
BEGIN SELECT RAISE(ABORT, 'images are never deleted: mark them as gone'); END ;;
CREATE TRIGGER classes_never_go BEFORE DELETE ON classes
BEGIN SELECT RAISE(ABORT, 'classes are never deleted: events point to them'); END ;;

CREATE VIEW answers AS                     -- the newest answer of each image that was not undone
SELECT * FROM events WHERE id IN (
    SELECT max(id) FROM events
    WHERE kind IN ('label', 'unsure', 'skip')
      AND id NOT IN (SELECT undoes FROM events WHERE undoes IS NOT NULL)
    GROUP BY image_id) ;;

CREATE VIEW labels AS
SELECT answers.image_id, classes.name AS label, source, by, answers.at, seconds, held_out
FROM answers JOIN classes ON classes.idx = answers.class JOIN images ON images.id = answers.image_id ;;

CREATE TABLE rounds (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    strategy TEXT NOT NULL,                -- the one that ran, which may be the cold-start one
    settings TEXT NOT NULL,
    seed INTEGER NOT NULL,
    labels INTEGER NOT NULL                -- how many labels the choice was based on
) ;;

CREATE TABLE picks (
    round INTEGER NOT NULL REFERENCES rounds(id),
    rank INTEGER NOT NULL,
    image_id INTEGER NOT NULL REFERENCES images(id),
    strategy TEXT NOT NULL,                -- 'exam' for a held-out image
    score REAL,
    reason TEXT NOT NULL,
    PRIMARY KEY (round, rank)
) WITHOUT ROWID ;;

CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('head', 'fine-tune')),
    features TEXT NOT NULL,                -- the set of features it works on
    labels INTEGER NOT NULL,               -- how many it learned from
    exam_n INTEGER NOT NULL,               -- held-out answers it was asked
    exam_correct INTEGER NOT NULL,
    seconds REAL NOT NULL,
    in_charge INTEGER NOT NULL,            -- 0: was measured and not taken
    note TEXT NOT NULL DEFAULT ''
) ;;

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('embed', 'fine-tune')),
    at TEXT NOT NULL,                      -- this and `stop` are written by whoever asks, the rest by the worker
    stop INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'waiting',
    heartbeat REAL,                        -- seconds since 1970
    done INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,
    seconds_left REAL,
    message TEXT NOT NULL DEFAULT '',
    loss TEXT NOT NULL DEFAULT '[]',       -- JSON list, one number an epoch
    finished_at TEXT
)
"""


def bring_up_to_date(db: Database, path: str) -> None:
    """Run the steps a project has not seen yet; refuse one that has seen steps this version does not know."""
    try:
        applied = [step.name for step in steps.applied(db)]
        unknown = sorted(set(applied) - {step.name for step in steps._migrations})
        if unknown:
            raise ProjectError(
                f"{path} was written by a newer labelloop (it has the schema step {unknown[0]!r}, which this version "
                f"does not know). Upgrade with: pip install -U labelloop"
            )
        if not applied and db.table_names():
            raise ProjectError(f"{path} is an SQLite file, but not of a labelloop project (no schema history in it).")
        if steps.pending(db):
            with writing(db):  # of two processes that open it now, the second one finds nothing left to do
                steps.apply(db)
    except sqlite3.DatabaseError as error:
        raise ProjectError(f"{path} cannot be read as a labelloop project ({error}). {way_on(str(error))}") from error
