"""The paths of images, looked through for what a person typed. Left out: the one image at a path (catalog.py)."""

from __future__ import annotations

import math
import time
import unicodedata
from collections.abc import Callable

from sqlite_utils import Database

from labelloop.project.image import from_text

KEPT_SECONDS = 10.0  # a file that was renamed is found by its new name after so long; somebody who types asks often


class Paths:
    """The paths of images below their folders, kept in memory for a moment: 100,000 take long to read."""

    def __init__(self, db: Callable[[], Database]):
        self._db = db
        self._kept: tuple[float, list[tuple[int, str]]] = (-math.inf, [])

    def with_words(self, typed: str) -> set[int]:
        """Ids of images that have a path in which all of these words occur, whatever their case; all for no word.

        Of an image that is gone, the paths where it was.
        """
        found = self._read()
        for word in folded(typed).split():
            found = [(image_id, path) for image_id, path in found if word in path]
        return {image_id for image_id, _ in found}

    def _read(self) -> list[tuple[int, str]]:
        read_at, paths = self._kept
        if time.monotonic() - read_at > KEPT_SECONDS:
            sql = (
                "SELECT image_id, path FROM files WHERE image_id IS NOT NULL "
                "AND (gone = 0 OR image_id IN (SELECT id FROM images WHERE gone))"
            )
            paths = [(image_id, folded(from_text(path))) for image_id, path in self._db().conn.execute(sql)]
            self._kept = (time.monotonic(), paths)
        return paths


def folded(text: str) -> str:
    """What all spellings of a text have in common: upper or lower case, letters composed or not, / or \\ of Windows.

    Bytes that are no text are spelled out, as the page shows them.
    """
    shown = text.encode(errors="backslashreplace").decode()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", shown).casefold()).replace("\\", "/")
