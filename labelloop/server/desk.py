"""The desk: the projects that are open in this app, each under a key that is safe in an address."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from labelloop.errors import BadInput
from labelloop.live import Live
from labelloop.project import Project

_open: dict[str, Live] = {}
_lock = threading.Lock()


def open_project(folder: str | Path) -> str:
    """Open a project, or find it open; returns its key. Raises ProjectError when it cannot be opened."""
    with _lock:
        key = _find(folder)
        if key is not None and not _open[key].project.is_there:  # deleted, and perhaps made anew in the same place
            _open.pop(key).close()
            key = None
        if key is None:
            live = Live(Project(folder))
            live.start()
            key = _key(live.project)
            _open[key] = live
    return key


def is_open(folder: str | Path) -> bool:
    """Whether this app has the project open."""
    live = _open.get(_find(folder) or "")  # another request may have closed it since it was found
    return live is not None and live.project.is_there


def _find(folder: str | Path) -> str | None:
    path = Path(folder).expanduser().resolve()
    return next((key for key, live in list(_open.items()) if live.project.folder == path), None)


def _key(project: Project) -> str:
    """Another one for a project made anew in the same folder: browsers keep pictures, and answers that wait."""
    named = f"{project.token} {project.folder}"
    return hashlib.sha256(named.encode(errors="surrogateescape")).hexdigest()[:12]


def get(key: str) -> Live:
    """An open project by its key; raises BadInput for a key that is not open."""
    try:
        return _open[key]
    except KeyError:
        raise BadInput("this project is not open in the app any more. Open it again on the Start page.") from None


def let_go() -> None:
    """Close the calling thread's connections to all projects. Streamlit runs a page each time in another thread."""
    for live in list(_open.values()):
        live.project.close()


def close_all() -> None:
    """Close every project, at the end of the process."""
    with _lock:
        for live in _open.values():
            live.close()
            live.project.close()
        _open.clear()
