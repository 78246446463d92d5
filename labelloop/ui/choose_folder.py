"""A folder of this computer, typed or found by looking: not everybody knows what a path is.

The browser's own dialog would not do: it uploads files and keeps their place to itself, and images are read where they
lie. Only looks; nothing is written or opened.
"""

from __future__ import annotations

import os
import string
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from labelloop.errors import BadInput
from labelloop.folders import is_text
from labelloop.project import DATABASE
from labelloop.ui.plain import plain
from labelloop.ui.typed import Seen, look_into, path_in
from labelloop.ui.words import count

MOST = 300  # folders that are listed
LOOK_SECONDS = 0.2  # for counting images, at each step
USUAL = ("Pictures", "Desktop", "Documents", "Downloads")
DISKS = ("/media/{user}", "/run/media/{user}", "/mnt", "/Volumes")  # where cards and drives appear, Linux and macOS


def folder_field(label: str, key: str, placeholder: str, *, icon: str | None = None) -> str:
    """A field for the path of a folder, and a button that finds one by looking. The path as it is in the field."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        typed = path_in(st.text_input(label, key=key, live=True, placeholder=placeholder, icon=icon))
        if st.button("Browse", key=f"browse {key}", icon=":material/folder_open:"):
            st.session_state[_at(key)] = str(nearest_folder(typed))
            _look_around(key)
    return typed


def nearest_folder(typed: str) -> Path:
    """The folder that is typed, or the nearest one above it that is there; the home folder where nothing is."""
    if not typed:
        return Path.home()
    path = Path(typed).expanduser().absolute()
    return next((one for one in (path, *path.parents) if _safely(one.is_dir)), Path.home())


def folders_in(folder: Path) -> list[Path]:
    """The folders in one, by name. Raises BadInput where it cannot be looked into.

    Left out: hidden ones, and those whose names are no text, which no field could hold.
    """
    try:
        with os.scandir(folder) as found:
            shown = [one for one in found if not one.name.startswith(".") and is_text(one.name)]
            names = [one.name for one in shown if _safely(one.is_dir)]
    except OSError as error:
        raise BadInput(f"{folder} cannot be looked into ({error.strerror}). Choose another.") from error
    return [folder / name for name in sorted(names, key=lambda name: (name.casefold(), name))]


def places() -> dict[str, Path]:
    """Where to begin looking, by what to call it: home, the usual folders in it, cards and drives."""
    home = Path.home()
    found = {"Home": home} | {name: home / name for name in USUAL if _safely((home / name).is_dir)}
    for disks in (Path(place.format(user=home.name)) for place in DISKS):
        for disk in folders_in(disks) if _safely(disks.is_dir) and os.access(disks, os.R_OK | os.X_OK) else ():
            found[disk.name] = disk
    if os.name == "nt":
        found |= {f"{c}:": Path(f"{c}:\\") for c in string.ascii_uppercase if _safely(Path(f"{c}:\\").is_dir)}
    return found


def _safely(is_dir: Callable[[], bool]) -> bool:
    """Whether it is a folder; one that may not be looked at, or a share that is away, is none."""
    try:
        return is_dir()
    except OSError:
        return False


def _at(key: str) -> str:
    return f"{key} at"


def _go(key: str, folder: Path) -> None:
    st.session_state[_at(key)] = str(folder)


def _take(key: str, folder: Path) -> None:
    st.session_state[key] = str(folder)


@st.dialog("Choose a folder", width="medium")
def _look_around(key: str) -> None:
    here = Path(st.session_state[_at(key)])
    with st.container(horizontal=True, gap="xsmall"):
        for name, place in places().items():
            st.button(plain(name), key=f"place {key} {place}", on_click=_go, args=(key, place), type="tertiary")
    with st.container(horizontal=True, vertical_alignment="center"):
        is_top = here.parent == here
        above = (key, here.parent)
        st.button("Up", key=f"up {key}", icon=":material/arrow_upward:", on_click=_go, args=above, disabled=is_top)
        st.markdown(f"**{plain(str(here))}**")
    try:
        below = folders_in(here)
        seen = look_into(here, LOOK_SECONDS)
    except BadInput as error:
        st.caption(f":orange[:material/search_off:] {plain(str(error))}")
        return
    with st.container(height=300, gap=None):
        for folder in below[:MOST]:
            name, into = plain(folder.name), f"into {key} {folder}"
            st.button(name, into, icon=":material/folder:", on_click=_go, args=(key, folder), type="tertiary")
        if not below:
            st.caption("No folders in here.")
        elif len(below) > MOST:
            st.caption(f"The first {MOST} of {len(below):,}. Type the path of another.")
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Take this folder", key=f"take {key}", type="primary", on_click=_take, args=(key, here)):
            st.rerun()
        st.caption(_what_is_in(here, seen))


def _what_is_in(folder: Path, seen: Seen) -> str:
    if (folder / DATABASE).is_file():
        return "a labelloop project"
    more = "" if seen.complete else "more than "
    return f"{more}{count(seen.images, 'image')} in it" if seen.images else "no images in it"
