"""What a person typed on the Start page, understood: image folders, class names, a place for the project.

Only looks; nothing is written or opened. Whatever is wrong is told where the project is made.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from labelloop.errors import BadInput
from labelloop.formats.files import is_inside
from labelloop.images import SUFFIXES
from labelloop.project import DATABASE

LOOK_SECONDS = 0.5  # a folder that somebody is still typing may be the whole disk


@dataclass(frozen=True)
class Seen:
    """A first look into an image folder."""

    images: int  # files that are called like images
    classes: tuple[str, ...]  # names of the folders in which they lie
    complete: bool  # False when there was more than could be looked at in a moment


def look_into(folder: Path, seconds: float = LOOK_SECONDS) -> Seen:
    """Count the images below a folder, for at most some seconds. Raises BadInput when it is not a folder."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is {'a file, not a folder' if folder.exists() else 'not there'}")
    images, found, until = 0, set[str](), time.monotonic() + seconds
    for here, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        n = sum(name.lower().endswith(SUFFIXES) and not name.startswith(".") for name in names)
        images += n
        if n and Path(here) != folder:
            found.add(Path(here).name)
        if time.monotonic() > until:
            return Seen(images, tuple(sorted(found)), complete=False)
    return Seen(images, tuple(sorted(found)), complete=True)


def path_in(text: str) -> str:
    """A path without the quotation marks in which file managers copy it."""
    path = text.strip()
    return path[1:-1].strip() if len(path) > 1 and path[0] == path[-1] and path[0] in "\"'" else path


def class_names(text: str) -> list[str]:
    """Names typed one a line or between commas."""
    return [name for part in re.split(r"[,\n]", text) if (name := part.strip())]


def place_for(images: Path) -> Path:
    """Where a project for these images could lie: beside them, under a name that is free."""
    images = images.expanduser().absolute()
    wanted, number = images.with_name(f"{images.name or 'images'}-labels"), 1
    place = wanted
    while place.exists():
        number += 1
        place = wanted.with_name(f"{wanted.name}-{number}")
    return place


def check_place(place: Path, images: Path) -> None:
    """Raises BadInput for a project folder among the images, which are never written to."""
    if is_inside(place, images):
        raise BadInput(f"{place} lies inside the image folder; labelloop never writes there. Choose another place.")


def projects_near(*folders: Path) -> list[Path]:
    """Projects in these folders, or just below them; those used last come first."""
    found = {}
    for folder in folders:
        for candidate in (folder, *(folder.iterdir() if os.access(folder, os.R_OK) and folder.is_dir() else ())):
            if (candidate / DATABASE).is_file():
                found[candidate.resolve()] = max(file.stat().st_mtime for file in candidate.glob(f"{DATABASE}*"))
    return sorted(found, key=lambda path: (-found[path], path.name))
