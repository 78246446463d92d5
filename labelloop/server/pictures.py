"""Pictures for the browser, by image id: small ones kept on disk, large ones in memory for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import PIL.Image

from labelloop.errors import BadInput
from labelloop.images import thumbnail
from labelloop.project import Image, Project

SIZES = {"thumb": 256, "view": 1280, "full": 6000}  # longest side, pixels
VIEWS_IN_MEMORY = 96
LARGEST_ORIGINAL = {"view": 500_000, "full": 50_000_000}  # bytes
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}

_views: OrderedDict[tuple[Path, str, int], tuple[bytes, str]] = OrderedDict()
_lock = threading.Lock()


def picture(project: Project, size: str, image_id: int) -> tuple[bytes, str]:
    """An image at one of SIZES: encoded bytes and media type. Raises BadInput when it is unknown or unreadable."""
    make = {"thumb": _thumb, "view": _view, "full": _full}[size]
    return make(project, image_id)


def _thumb(project: Project, image_id: int) -> tuple[bytes, str]:
    folder = project.folder / "thumbs" / f"{image_id // 1000:04d}"
    for media_type, suffix in SUFFIXES.items():
        path = folder / f"{image_id}{suffix}"
        if path.exists():
            return path.read_bytes(), media_type
    data, media_type = thumbnail(_image(project, image_id).path, SIZES["thumb"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{image_id}{SUFFIXES[media_type]}"
    partial = path.with_name(f"{path.name}.{threading.get_ident()}")
    partial.write_bytes(data)
    try:
        partial.replace(path)
    except PermissionError:  # Windows, while another request reads the one that is there by now
        partial.unlink()
    return data, media_type


def _view(project: Project, image_id: int) -> tuple[bytes, str]:
    key = (project.folder, project.token, image_id)
    with _lock:
        if key in _views:
            _views.move_to_end(key)
            return _views[key]
    image = _image(project, image_id)
    if _is_fine(image, "view"):
        return image.path.read_bytes(), "image/jpeg"
    made = thumbnail(image.path, SIZES["view"])
    with _lock:
        _views[key] = made
        while len(_views) > VIEWS_IN_MEMORY:
            _views.popitem(last=False)
    return made


def _full(project: Project, image_id: int) -> tuple[bytes, str]:
    """For a closer look: asked for now and then, so it is made each time."""
    image = _image(project, image_id)
    if _is_fine(image, "full"):
        return image.path.read_bytes(), "image/jpeg"
    return thumbnail(image.path, SIZES["full"])


def _is_fine(image: Image, size: str) -> bool:
    """Whether a browser can show the file as it is, and no time is spent on it."""
    return max(image.width, image.height) <= SIZES[size] and is_plain_jpeg(image.path, LARGEST_ORIGINAL[size])


def is_plain_jpeg(path: Path, largest: int) -> bool:
    """Whether a file of at most so many bytes is a JPEG in grey or RGB, which browsers show as labelloop would."""
    try:
        if path.stat().st_size > largest:
            return False
        with PIL.Image.open(path, formats=["JPEG"]) as image:  # reads the header only
            return image.mode in ("L", "RGB")
    except (OSError, PIL.UnidentifiedImageError):
        return False


def _image(project: Project, image_id: int) -> Image:
    image = project.catalog.image(image_id)
    if image.gone:
        raise BadInput(f"{image.name} is not in its folder any more")
    return image
