"""A project: a folder whose `project.db` holds all that a person made. The only package with SQL in it.

    settings    what the project was set up with        schema.py    tables, step by step
    classes     names; none ever goes                   classes.py, names.py
    catalog     images and files                        catalog.py, image.py
    paths       images by what is typed                 paths.py
    log         who answered what                       log.py
    rounds      what was chosen, what was measured      rounds.py
    jobs        background work                         jobs.py
    drop_ins    strategies of its own, gone with it     loop.load_strategies reads them
    folder      beside the images, never among them     place.py
    db          connections, transactions               database.py

`features/` and `thumbs/` beside the database can be deleted: they are made again. `models/` holds the weights of the
fine-tuned model in charge: without them the next embedding says so and puts the pretrained backbone in charge again.
"""

from __future__ import annotations

import json
import operator
import os
import secrets
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, SupportsIndex

from sqlite_utils import Database

from labelloop.errors import BadInput, ProjectError
from labelloop.project import classes
from labelloop.project.catalog import Catalog, Scan
from labelloop.project.database import connect, writing
from labelloop.project.image import Image
from labelloop.project.jobs import Job, Jobs
from labelloop.project.log import Log
from labelloop.project.names import class_key, clean_names
from labelloop.project.paths import Paths
from labelloop.project.place import check_image_folder, is_in_use, nothing_left_on_error
from labelloop.project.rounds import Measured, Rounds
from labelloop.project.schema import bring_up_to_date
from labelloop.strategies.folder import DropIns
from labelloop.types import Event, Kind, Pick, Settings, Source

__all__ = [
    "Catalog",
    "Image",
    "Job",
    "Jobs",
    "Log",
    "Measured",
    "Project",
    "Rounds",
    "Scan",
    "class_key",
    "nothing_left_on_error",
]

DATABASE = "project.db"
SHOWN = ("round", "strategy", "suggestion", "probability")  # what an answer says of the pick that was shown
Which = Pick | SupportsIndex | str | os.PathLike[str]  # an image: by pick, id or path


class _Connection:
    """The connection of one thread; it ends with the thread, for a server's threads come and go by the thousand."""

    def __init__(self, db: Database):
        self.db = db

    def __del__(self) -> None:
        self.db.close()


class Project:
    """An open project. Safe to share between threads: each gets a connection of its own."""

    def __init__(self, folder: str | Path):
        """Open the project in `folder`; raises ProjectError when there is none, or it is damaged or newer."""
        self.folder = Path(folder).expanduser().resolve()
        self._local = threading.local()
        self._file: tuple[int, int] | None = None
        if not os.path.isfile(self.folder / DATABASE):  # noqa: PTH113  False where it may not be looked at, too
            raise ProjectError(
                f"{folder} is not a labelloop project (there is no {DATABASE} in it). "
                f"Make one with: labelloop init {folder} IMAGES --classes a,b,c"
            )
        if not (self.folder / DATABASE).stat().st_size:  # SQLite would make a new and empty project of it
            raise ProjectError(f"{self.folder / DATABASE} is damaged (it is empty). Restore it from a backup.")
        bring_up_to_date(self.db, str(self.folder / DATABASE))
        self._file = _identity(self.folder / DATABASE)
        self.settings = self._read_settings()
        self.token: str = self._values().get("token", "")  # tells it from others that were in this folder before
        self.catalog = Catalog(lambda: self.db, self.settings.held_out)
        self.paths = Paths(lambda: self.db)
        self.log = Log(lambda: self.db)
        self.rounds = Rounds(lambda: self.db)
        self.jobs = Jobs(lambda: self.db)
        self.drop_ins = DropIns(self.folder / "strategies")

    @classmethod
    def create(
        cls,
        folder: str | Path,
        images: str | Path | Sequence[str | Path] = (),
        classes: Sequence[str] = (),
        settings: Settings | None = None,
    ) -> Project:
        """Make a project in a new or empty folder and remember its image folders; nothing is scanned yet.

        Raises BadInput for a folder that is in use, a missing image folder, or class names that are empty or equal.
        """
        folder = Path(folder).expanduser()
        settings = settings or Settings()
        check_settings(settings)
        if settings.weights is not None:  # as it was meant: from here, wherever the worker runs
            settings = replace(settings, weights=str(Path(settings.weights).expanduser().resolve()))
        names = clean_names(classes)
        if len(names) == 1:
            raise BadInput(f"there is only one class, {names[0]!r}; a model needs at least two to tell apart")
        image_folders = [Path(images)] if isinstance(images, str | Path) else [Path(path) for path in images]
        for path in image_folders:
            check_image_folder(path, folder)
        if is_in_use(folder):
            raise BadInput(f"{folder} is already there and not empty. Choose another folder for the project.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"the project folder {folder} cannot be made ({error.strerror}). Choose another.") from error
        db = connect(folder / DATABASE)
        bring_up_to_date(db, str(folder / DATABASE))
        values = {**asdict(settings), "token": secrets.token_hex(8)}
        with writing(db):
            db.table("settings").insert_all({"key": k, "value": json.dumps(v)} for k, v in values.items())
        db.close()
        project = cls(folder)
        for path in image_folders:
            project.add_folder(path)
        for name in names:
            project.add_class(name)
        return project

    # -- the database ---------------------------------------------------------------------------------------------

    @property
    def db(self) -> Database:
        """This thread's connection. Raises ProjectError when the file is not the one that was opened any more."""
        if not self.is_there:
            raise ProjectError(
                f"the project in {self.folder} was deleted, moved or replaced while it was open, so nothing is saved "
                "in it any more. Put it back, or open the project that is meant."
            )
        if not hasattr(self._local, "connection"):
            self._local.connection = _Connection(connect(self.folder / DATABASE))
        db: Database = self._local.connection.db
        return db

    @property
    def is_there(self) -> bool:
        """Whether its file is where it was opened: SQLite would go on writing into one that is deleted."""
        return self._file is None or self._file == _identity(self.folder / DATABASE)

    def close(self) -> None:
        """Close the calling thread's connection."""
        if hasattr(self._local, "connection"):
            self._local.connection.db.close()
            del self._local.connection

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- settings ---------------------------------------------------------------------------------------------------

    def _values(self) -> dict[str, Any]:
        try:
            rows = self.db.conn.execute("SELECT key, value FROM settings").fetchall()
            return {row["key"]: json.loads(row["value"]) for row in rows}
        except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
            raise ProjectError(
                f"{self.folder / DATABASE} is damaged ({error}). Restore it from a backup, or save what is readable "
                f"with: sqlite3 {DATABASE} .recover"
            ) from error

    def _read_settings(self) -> Settings:
        values = self._values()
        return Settings(**{f.name: values[f.name] for f in fields(Settings) if f.name in values})

    def change_settings(self, **values: Any) -> None:
        """Change settings; `held_out` cannot change, the images already drawn for the exam would."""
        if "held_out" in values:
            raise BadInput("the held-out share is fixed when a project is made")
        changed = Settings(**{**asdict(self.settings), **values})
        check_settings(changed)
        self._put(values)
        self.settings = changed

    def _put(self, values: dict[str, Any]) -> None:
        with writing(self.db):
            for key, value in values.items():
                self.db.conn.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, json.dumps(value)))

    @property
    def features_in_charge(self) -> dict[str, Any]:
        """The set of features in use: {"name", "backbone", "weights"}. Changing it is one write: the swap."""
        found: dict[str, Any] | None = self._values().get("features_in_charge")
        return found or {"name": "base", "backbone": self.settings.backbone, "weights": self.settings.weights}

    def put_features_in_charge(self, name: str, backbone: str, weights: str | None) -> None:
        """Swap to another set of features, atomically."""
        self._put({"features_in_charge": {"name": name, "backbone": backbone, "weights": weights}})

    def features_folder(self, name: str) -> Path:
        """Where a set of features lies."""
        return self.folder / "features" / name

    def add_folder(self, folder: str | Path, *, instead_of: str | Path | None = None) -> None:
        """Remember a folder to scan, or where one is that was moved, `instead_of` its old place.

        Raises BadInput when it is missing, not a folder, or holds this project, or the old one is none of its folders.
        """
        check_image_folder(Path(folder), self.folder)
        self.catalog.add_folder(Path(folder), None if instead_of is None else Path(instead_of))

    # -- classes -----------------------------------------------------------------------------------------------------

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index. One that was merged into another keeps its place, and has no answers meanwhile."""
        return classes.names_of(self.db)

    @property
    def first_names(self) -> tuple[str, ...]:
        """What each class was called when it was added; its key on the page comes from it."""
        return classes.first_names_of(self.db)

    @property
    def merged(self) -> dict[int, int]:
        """Index of each class that was merged, and of the class that it is part of now."""
        return classes.merged_of(self.db)

    def add_class(self, name: str) -> int:
        """Add a class; returns its index. Raises BadInput for an empty name or one that is there already."""
        return classes.add(self.db, name)

    def rename_class(self, name: str, to: str) -> int:
        """Give a class another name; its answers, those in the log too, go by the new one. Returns its index.

        Raises BadInput when there is no such class, and for a new name that is empty or another class's.
        """
        return classes.rename(self.db, name, to)

    def merge_class(self, name: str, into: str) -> int:
        """Make two classes one, called `into`: all answers of the first, later ones too, are read as answers of it.

        Nothing in the log changes, so `unmerge_class` brings the first one back. Returns the index of `into`. Raises
        BadInput when there is no such class, or they are one already.
        """
        return classes.merge(self.db, name, into)

    def unmerge_class(self, name: str) -> int:
        """Take a class that was merged apart again, with the answers given to it. Returns its index; raises BadInput.

        Answers that were given to the other class since stay there.
        """
        return classes.unmerge(self.db, name)

    def class_index(self, name: str) -> int:
        """The index of a class by name (case does not matter); raises BadInput listing the names."""
        return classes.index_of(self.db, name)

    # -- answers -----------------------------------------------------------------------------------------------------

    def label(
        self, image: Which, label: str, *, by: str = "", source: Source = "human", seconds: float | None = None
    ) -> int:
        """Answer one image with a class name; on disk when this returns. Returns the event's id.

        Named by a pick, the log also says which round and strategy chose the image and what the model suggested.
        Raises BadInput, with nothing written, for an image or a class that is not there, and for what is neither.
        """
        index = self.class_index(label)
        return self._say(image, "label", class_index=index, by=by, source=source, seconds=seconds)

    def unsure(self, image: Which, *, by: str = "", seconds: float | None = None) -> int:
        """Answer that nobody can tell which class it is. As `label`."""
        return self._say(image, "unsure", by=by, seconds=seconds)

    def skip(self, image: Which, *, by: str = "", seconds: float | None = None) -> int:
        """Answer nothing for now: the image comes back when no other one is left. As `label`."""
        return self._say(image, "skip", by=by, seconds=seconds)

    def undo(self, image: Which, *, by: str = "") -> int:
        """Take back the answer to an image: the one before counts again, if there is one. Returns the event's id.

        Raises BadInput where there is no answer to take back.
        """
        return self._say(image, "undo", by=by)

    def _say(self, image: Which, kind: Kind, **values: Any) -> int:
        image_id = self.catalog.find(image) if isinstance(image, str | os.PathLike) else _image_id(image)
        self.catalog.image(image_id)
        shown = {name: getattr(image, name) for name in SHOWN} if isinstance(image, Pick) and kind != "undo" else {}
        return self.log.append([Event(image_id=image_id, kind=kind, **shown, **values)])[0]


def _image_id(image: Pick | SupportsIndex) -> int:
    """The number of an image as a plain int: ids that come out of an array are numpy's own. Raises BadInput."""
    if isinstance(image, Pick):
        return image.image_id
    try:
        return operator.index(image)
    except TypeError:
        raise BadInput(f"image {image!r}: wanted a pick, or its id, or its path") from None


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a file from another in its place; None where there is none."""
    try:
        status = os.stat(file)  # noqa: PTH116  asked for each query: Path.stat takes twice as long
    except OSError:
        return None
    return status.st_dev, status.st_ino


def check_settings(settings: Settings) -> None:
    """Raises BadInput for settings that cannot work."""
    if not isinstance(settings, Settings):
        raise BadInput(f"settings {settings!r}; wanted labelloop.Settings, such as Settings(held_out=0.2)")
    if not isinstance(settings.held_out, int | float) or not 0 < settings.held_out < 0.9:
        raise BadInput(f"the held-out share is {settings.held_out!r}, it should be above 0 and below 0.9")
    if not isinstance(settings.seed, int) or settings.seed < 0:
        raise BadInput(f"the seed is {settings.seed!r}, it should be a whole number of at least 0")
