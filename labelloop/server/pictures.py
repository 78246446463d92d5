"""Pictures for the browser, by image id: small ones kept on disk, large ones in memory for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from labelloop.errors import BadInput
from labelloop.images import thumbnail
from labelloop.project import Project

SIZES = {"thumb": 256, "view": 1280}  # longest side, pixels
VIEWS_IN_MEMORY = 96
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}

_views: OrderedDict[tuple[Path, int], tuple[bytes, str]] = OrderedDict()
_lock = threading.Lock()


def picture(project: Project, size: str, image_id: int) -> tuple[bytes, str]:
    """An image at one of SIZES: encoded bytes and media type. Raises BadInput when it is unknown or unreadable."""
    return _thumb(project, image_id) if size == "thumb" else _view(project, image_id)


def _thumb(project: Project, image_id: int) -> tuple[bytes, str]:
    folder = project.folder / "thumbs" / f"{image_id // 1000:04d}"
    for media_type, suffix in SUFFIXES.items():
        path = folder / f"{image_id}{suffix}"
        if path.exists():
            return path.read_bytes(), media_type
    data, media_type = _make(project, image_id, SIZES["thumb"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{image_id}{SUFFIXES[media_type]}"
    partial = path.with_name(f"{path.name}.{threading.get_ident()}")
    partial.write_bytes(data)
    partial.replace(path)
    return data, media_type


def _view(project: Project, image_id: int) -> tuple[bytes, str]:
    key = (project.folder, image_id)
    with _lock:
        if key in _views:
            _views.move_to_end(key)
            return _views[key]
    made = _make(project, image_id, SIZES["view"])
    with _lock:
        _views[key] = made
        while len(_views) > VIEWS_IN_MEMORY:
            _views.popitem(last=False)
    return made


def _make(project: Project, image_id: int, longest: int) -> tuple[bytes, str]:
    image = project.catalog.image(image_id)
    if image.gone:
        raise BadInput(f"{image.name} is not in its folder any more")
    return thumbnail(image.path, longest)
