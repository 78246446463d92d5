"""Where a project may lie: in a folder of its own, beside the images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelloop.errors import BadInput
from labelloop.formats.files import is_inside


def check_image_folder(images: Path, project: Path) -> None:
    """Raises BadInput when `images` is not a folder, or holds the project, whose own pictures would become images."""
    if not os.path.isdir(images.expanduser()):  # noqa: PTH112  False where it may not be looked at, too
        found = "a file" if os.path.isfile(images.expanduser()) else "nothing there"  # noqa: PTH113
        raise BadInput(f"{images} should be a folder of images, but there is {found}")
    if is_inside(project, images):
        raise BadInput(f"the project {project} would lie inside the image folder {images}. Put it beside the images.")


def is_in_use(folder: Path) -> bool:
    """Whether there is something where a project is to be made; raises BadInput where nobody may look."""
    try:
        return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise BadInput(f"the project folder {folder} cannot be used ({error.strerror}). Choose another.") from error


@contextmanager
def nothing_left_on_error(folder: Path) -> Iterator[None]:
    """Whatever goes wrong while a project is made, no half of it stays. Removes only what was made here."""
    is_used, was_there = is_in_use(folder), folder.exists()
    try:
        yield
    except BaseException:
        if not is_used and folder.is_dir():
            for file in folder.glob("project.db*"):
                file.unlink()
            if not was_there:
                folder.rmdir()
        raise
