"""The classes of a project: added, renamed, and made one when two names mean the same thing; never deleted.

A class that is merged into another keeps its index: what was said stays in the log as it was said, is read as the
other class, and comes back when the two are taken apart.
"""

from __future__ import annotations

from sqlite_utils import Database

from labelloop.errors import BadInput
from labelloop.project.database import now, writing
from labelloop.project.names import class_key, clean_names


def names_of(db: Database) -> tuple[str, ...]:
    """Class names by index."""
    return tuple(row["name"] for row in db.conn.execute("SELECT name FROM classes ORDER BY idx"))


def first_names_of(db: Database) -> tuple[str, ...]:
    """What each class was called when it was added."""
    rows = db.conn.execute("SELECT coalesce(first_name, name) AS name FROM classes ORDER BY idx")
    return tuple(row["name"] for row in rows)


def merged_of(db: Database) -> dict[int, int]:
    """Index of each class that was merged, and of the class it is part of now."""
    return dict(db.conn.execute("SELECT idx, merged_into FROM classes WHERE merged_into IS NOT NULL ORDER BY idx"))


def add(db: Database, name: str) -> int:
    """A new class; returns its index. Raises BadInput for an empty name or one that is there already."""
    (name,) = clean_names([name])
    with writing(db):
        index = len(names_of(db))
        _check_is_free(db, name, index)
        db.conn.execute("INSERT INTO classes (idx, name, at) VALUES (?, ?, ?)", (index, name, now()))
    return index


def rename(db: Database, name: str, to: str) -> int:
    """Another name for a class; returns its index. Raises BadInput for a name that is empty or another class's."""
    (to,) = clean_names([to])
    with writing(db):
        index = index_of(db, name)
        _check_is_free(db, to, index)
        db.conn.execute(
            "UPDATE classes SET name = ?, first_name = coalesce(first_name, name) WHERE idx = ?", (to, index)
        )
    return index


def merge(db: Database, name: str, into: str) -> int:
    """One class out of two, called `into`; returns its index. Raises BadInput when they are one class already."""
    with writing(db):
        index, target = index_of(db, name), index_of(db, into)
        if index == target:
            raise BadInput(f"{name!r} and {into!r} are one class; name two to merge")
        db.conn.execute("UPDATE classes SET merged_into = ? WHERE ? IN (idx, merged_into)", (target, index))
    return target


def unmerge(db: Database, name: str) -> int:
    """A class of its own again, with the answers that were given to it; returns its index. Raises BadInput."""
    with writing(db):
        index, merged = _index(names_of(db), name), merged_of(db)
        if index not in merged:
            names = [names_of(db)[k] for k in merged]
            raise BadInput(f"{name!r} was not merged into another class; these were: {', '.join(names) or 'none'}")
        db.conn.execute("UPDATE classes SET merged_into = NULL WHERE idx = ?", (index,))
    return index


def index_of(db: Database, name: str) -> int:
    """The index of a class by name (case does not matter); raises BadInput with what there is instead."""
    names, merged = names_of(db), merged_of(db)
    index = _index(names, name, *(k for k in range(len(names)) if k not in merged))
    if index in merged:
        raise BadInput(f"the class {names[index]!r} was merged into {names[merged[index]]!r}: take that one")
    return index


def _index(names: tuple[str, ...], name: str, *offered: int) -> int:
    there = ", ".join(names[k] for k in offered or range(len(names))) or "none yet"
    if not isinstance(name, str):
        raise BadInput(f"class {name!r}: wanted a name. The classes are: {there}")
    found = [index for index, other in enumerate(names) if class_key(other) == class_key(name)]
    if not found:
        raise BadInput(f"there is no class {name!r}. The classes are: {there}")
    return found[0]


def _check_is_free(db: Database, name: str, index: int) -> None:
    """Raises BadInput where another class than this one has the name."""
    names, merged = names_of(db), merged_of(db)
    for k in merged:
        if k != index and class_key(names[k]) == class_key(name):
            raise BadInput(f"the class {names[k]!r} was merged into {names[merged[k]]!r}: take that one, or unmerge it")
    clean_names([*names[:index], name, *names[index + 1 :]])
