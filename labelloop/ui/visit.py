"""One browser tab: which project it has open, and who sits in front of it.

Both stand in the address (?project=FOLDER&by=NAME), so that a reload, a bookmark or a restarted server comes back to
the same place. The tab's session keeps them too, because Streamlit drops the address's parameters between pages.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Any, NoReturn

import streamlit as st

from labelloop.errors import LabelloopError
from labelloop.live import Live
from labelloop.project import DATABASE
from labelloop.server import PROJECT_VARIABLE, desk
from labelloop.ui.plain import plain, show_error

PARAMETERS = ("project", "by")


def pages() -> dict[str, Any]:
    """The pages by name (`streamlit.navigation.page.Page`); before there is a project, only Start is offered."""
    from labelloop.ui import export, label, progress, review, start

    found = {"start": start, "label": label, "review": review, "progress": progress, "export": export}
    return {
        name: st.Page(
            module.page,
            title=name.capitalize(),
            url_path=name,
            default=name == "label",
            visibility="visible" if name == "start" or folder() else "hidden",
        )
        for name, module in found.items()
    }


def go(name: str) -> NoReturn:
    """Leave for another page."""
    st.switch_page(pages()[name], query_params={key: value for key in PARAMETERS if (value := _kept(key))})


def _kept(parameter: str) -> str:
    return str(st.session_state.get(f"visit_{parameter}", ""))


def keep(parameter: str, value: str) -> None:
    """Remember one of PARAMETERS in this tab and in its address; an empty value forgets it."""
    st.session_state[f"visit_{parameter}"] = value
    if value and not any("\ud800" <= letter <= "\udfff" for letter in value):  # an address holds text only
        st.query_params[parameter] = value
    else:
        st.query_params.pop(parameter, None)


def say_there(text: str) -> None:
    """Say something on the page that comes next; what a page says is gone with it."""
    st.session_state.setdefault("say_there", []).append(plain(text))


def arrive() -> None:
    """At the start of each run: the address wins over what the tab remembers, and gets back what it lost."""
    for parameter in PARAMETERS:
        value = st.query_params.get(parameter) or _kept(parameter)
        if value and (st.query_params.get(parameter) != value or _kept(parameter) != value):
            keep(parameter, value)
    for text in st.session_state.pop("say_there", ()):
        st.toast(text, duration="long")


def by() -> str:
    """Who is labeling: the name that was typed, else the one this person has on the computer."""
    if _kept("by"):
        return _kept("by")
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container can have users without a name
        return ""


def folder() -> str:
    """The project folder this tab wants, "" for none."""
    return _kept("project") or os.environ.get(PROJECT_VARIABLE, "")


def open_folder(path: str | Path) -> str:
    """Open a project here, because the person asked for it; returns its key. Raises ProjectError."""
    key = desk.open_project(path)
    keep("project", str(Path(path).expanduser().resolve()))
    return key


def project() -> tuple[str, Live]:
    """The open project and its key; without one, off to the Start page."""
    wanted = folder()
    if not wanted:
        go("start")
    if _brings_code(wanted):
        _ask_before_running(wanted)
    try:
        key = open_folder(wanted)
    except LabelloopError as error:
        show_error(error)
        if st.button("Go to Start"):
            keep("project", "")
            go("start")
        st.stop()
    return key, desk.get(key)


def _brings_code(wanted: str) -> bool:
    """Whether opening this project would run Python files that nobody here asked for: any web page can link to us."""
    own = os.environ.get(PROJECT_VARIABLE)
    if desk.is_open(wanted) or (own and Path(own) == Path(wanted)):
        return False
    path = Path(wanted).expanduser()
    return (path / DATABASE).is_file() and any((path / "strategies").glob("*.py"))


def _ask_before_running(wanted: str) -> None:
    st.warning(
        f"The project {plain(wanted)} brings Python files of its own, in its folder *strategies*. "
        "Opening it runs them. Open it only if you know where it comes from.",
        icon=":material/code:",
    )
    if not st.button("Open it", type="primary"):
        st.stop()


def show_project(live: Live) -> None:
    """A quiet line: which project this is, where it lies, who labels, what describes its images."""
    where, seen_by = live.project.folder, live.project.settings.backbone
    st.caption(
        f"**{plain(where.name)}** · {plain(str(where))} · labeling as {plain(by()) or 'nobody'} · "
        f"images described by {'the built-in features' if seen_by == 'embedded' else plain(seen_by)}"
    )
