"""The strategy panel of the Progress page: which strategy chooses the next images, and what it is told.

The widgets come from the strategy's signature. Left out: finding drop-ins (strategies/folder.py) and running one
(live.py, which sees by itself what is stored here).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from labelloop.errors import BadStrategy, LabelloopError
from labelloop.live import Live
from labelloop.loop import load_strategies
from labelloop.project import Project
from labelloop.server import desk
from labelloop.strategies import Setting, Strategy, Value
from labelloop.strategies.contract import check_settings
from labelloop.types import Settings
from labelloop.ui.plain import plain, show_error

DEFAULT = Settings().strategy
LOOK_AGAIN = 0.5  # seconds, only while the next images are being chosen in another way
LIST_HEIGHT = 400  # pixels: about six strategies, so that what belongs to the selected one stays beside them
LARGEST = 2**53 - 1  # whole numbers beyond it are not whole in a browser


def panel(key: str, live: Live) -> None:
    """One quiet line with the strategy in use, to open; looks again by itself until the queue follows a change."""
    waits = _is_behind(live)

    def now() -> None:
        try:
            if waits and not _is_behind(live):
                st.rerun()  # a notice elsewhere on the page may have come or gone
            _panel(key, live)
        finally:
            desk.let_go()

    st.fragment(now, run_every=LOOK_AGAIN if waits else None)()


def _in_use(live: Live) -> tuple[str, dict[str, Any]]:
    return live.project.settings.strategy, live.project.settings.strategy_settings


def _is_behind(live: Live) -> bool:
    return live.asked != _in_use(live)


def _panel(key: str, live: Live) -> None:
    name, _ = _in_use(live)
    found = load_strategies(live.project)
    known, broken = {one.name: one for one in in_order(found.known.values(), live.project)}, found.problems
    with st.expander(f"**Strategy** · {plain(name)}", key=f"strategy panel {key}"):
        for problem in broken:
            st.markdown(f":red[{plain(str(problem))}]")
        those, selected = st.columns([3, 2], gap="large")
        with those:
            chosen = _list(key, list(known.values()), name, live.project)
        with selected:
            if chosen is not None:
                _details(key, live, known[chosen])
            elif st.button("Back to the default", key=f"default {key}"):
                _store(live, DEFAULT, {})
            st.caption(_who_chose(live, broken))


def _who_chose(live: Live, broken: Sequence[BadStrategy]) -> str:
    """Which strategy chose what comes next, and why not the one that is in use."""
    wanted = plain(live.project.settings.strategy)
    if _is_behind(live):
        return f"**{wanted}** is choosing the images that come next …"
    said = f"**{plain(live.ran)}** chose the images that come next"
    if live.ran == live.project.settings.strategy:
        return f"{said}."
    if live.notice not in (None, "\n".join(str(problem) for problem in broken)):
        return f"{said}, because {wanted} could not."
    return f"{said}: {wanted} needs a model, and the first one comes once two classes have labels."


# -- the list ----------------------------------------------------------------------------------------------------------


def in_order(known: Iterable[Strategy], project: Project) -> list[Strategy]:
    """The default, the project's own files, other files and packages, the other built-in ones."""
    return sorted(known, key=lambda one: (one.name != DEFAULT, not _is_own(one, project), _is_built_in(one), one.name))


def _is_built_in(one: Strategy) -> bool:
    return one.origin.startswith("labelloop.strategies.")


def _is_own(one: Strategy, project: Project) -> bool:
    return Path(one.origin).parent == (project.folder / "strategies").resolve()


def _is_file(one: Strategy) -> bool:
    return Path(one.origin).is_absolute()


def origin(one: Strategy, project: Project) -> str:
    """Where a strategy comes from, in words."""
    if _is_built_in(one):
        return "built-in"
    if not _is_file(one):
        return f"package {one.origin.partition(':')[0]}"
    file = Path(one.origin)
    whose = "this project" if _is_own(one, project) else "labelloop"
    return f"file strategies/{file.name} of {whose}"


def _list(key: str, known: Sequence[Strategy], name: str, project: Project) -> str | None:
    """All of them, with the one in use selected; None where that one is not there any more."""
    names = [one.name for one in known]
    with st.container(height=LIST_HEIGHT):
        return st.radio(
            "Strategies",
            names,
            index=names.index(name) if name in names else None,
            format_func=lambda one: plain(one) + (" :gray[· the default, nothing to think about]" * (one == DEFAULT)),
            captions=[f"{plain(one.what)} · {plain(origin(one, project))}" for one in known],
            key=f"strategies {key} {name}",
            label_visibility="collapsed",
        )


# -- the selected one --------------------------------------------------------------------------------------------------


def _details(key: str, live: Live, one: Strategy) -> None:
    in_use, stored = _in_use(live)
    is_it, is_default = in_use == one.name, (in_use, stored) == (DEFAULT, {})
    st.markdown(f"**{plain(one.name)}**")
    if not one.settings:
        st.caption("There is nothing to set.")
    # In a form, what was typed last is sent with the click.
    with st.form(f"settings {key} {one.name}", border=False):
        preset = stored if is_it else {}
        values = {name: _widget(f"{key} {one.name}", name, one.settings[name], preset) for name in one.settings}
        with st.container(horizontal=True, vertical_alignment="center"):
            nothing = is_it and not one.settings and not stored
            pressed = f"pressed {key}"
            _button("In use" if nothing else "Use it", pressed, "use", type="primary", disabled=nothing)
            if not is_default:
                _button("Back to the default", pressed, "back", type="tertiary")
    asked = st.session_state.pop(pressed, None)
    try:
        if asked == "use":
            _store(live, one.name, dict(check_settings(one, values)))
        elif asked == "back":
            _store(live, DEFAULT, {})
    except LabelloopError as error:
        show_error(error)


def _button(text: str, pressed: str, what: str, **look: Any) -> None:
    """A button of a form; leaves `what` in the session, as the refresh of the page may cut short the run of a press."""

    def press() -> None:
        st.session_state[pressed] = what

    st.form_submit_button(text, on_click=press, **look)


def _widget(key: str, name: str, setting: Setting, stored: dict[str, Any]) -> Any:
    """A field for one setting. What it holds may be no value of its type, and is refused when it is to be stored."""
    value, default = stored.get(name, setting.default), setting.default
    if isinstance(value, bool) is not (setting.type is bool) or not isinstance(value, (setting.type, int)):
        value = setting.default  # the file has changed since it was stored
    words = name.replace("_", " ").strip()
    label = f"{words[:1].upper()}{words[1:]} (default {_shown(default)})"
    key = f"{key} {name} {value!r}"  # another stored value is another field, or it would go on showing what was typed
    if isinstance(value, bool):
        return st.toggle(label, value, key=key)
    if isinstance(value, str):
        return st.text_input(label, value, key=key)
    if not (_is_for_browsers(value) and _is_for_browsers(default)):
        return _number(st.text_input(label, str(value), key=key), setting.type)
    if setting.type is int:
        return st.number_input(label, value=value, step=1, key=key)
    return st.number_input(label, value=float(value), step=_step(default), format="%g", key=key)


def _shown(default: Value) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, str):
        return plain(default) or "empty"
    return str(default)  # screen readers would read plain's backslashes


def _is_for_browsers(number: Any) -> bool:
    return bool(abs(number) <= LARGEST)  # inf and nan are not


def _number(text: str, kind: type[Value]) -> Value:
    try:
        return kind(text)
    except ValueError:
        return text


def _step(default: Any) -> float:
    """A tenth of the default's order of magnitude: 0.1 for 1 to 9, 0.01 for 0.5."""
    return 0.1 if default == 0 else 10.0 ** (math.floor(math.log10(abs(default))) - 1)


def _store(live: Live, name: str, settings: dict[str, Any]) -> None:
    """Put a strategy in use; the queue follows by itself."""
    live.project.change_settings(strategy=name, strategy_settings=settings)
    live.wake()
    st.rerun()
