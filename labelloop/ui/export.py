"""Export: take the labels out as a file or a folder, after seeing what will be written; the model; and its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import streamlit as st

from labelloop import formats
from labelloop.errors import LabelloopError
from labelloop.exchange import Filter, Plan, export_labels, plan, records
from labelloop.formats import Format, Record
from labelloop.live import Live
from labelloop.project import Project
from labelloop.takehome import export_model
from labelloop.ui import other_images, visit
from labelloop.ui.plain import plain, show_error
from labelloop.ui.typed import path_in
from labelloop.ui.words import EXAM, count

SPLITS = {"All": None, "To learn from": "train", "Exam": "test"}
SPLIT_WORDS = {"train": "to learn from (train)", "test": "exam (test)"}
SOURCES = {"human": "typed", "accepted": "suggestion accepted", "bulk": "set on many at once", "import": "imported"}
OPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "link": ("The images are", {"copy": "copied", "hardlink": "hard links", "symlink": "symbolic links"}),
}
PREVIEW = 5
LABELS_KEY, MODEL_KEY, OTHERS_KEY = "out labels", "out model", "out others"


def page() -> None:
    """The page."""
    _, live = visit.project()
    visit.show_project(live)
    choose, see = st.columns(2, gap="large")
    with choose:
        st.subheader("Export", anchor=False)
        chosen, options = _format()
        wanted = _filter(live)
        out = _place(live.project, chosen)
        planned = plan(live.project, wanted)
        write = st.button("Write", type="primary", icon=":material/download:", disabled=not (planned.images and out))
        st.subheader("Model", anchor=False)
        model_out = _model_place(live.project)
        if st.button("Write the model", icon=":material/model_training:", disabled=not model_out):
            _write_model(live.project, model_out)
        _say_written(MODEL_KEY)
        st.subheader("Other images", anchor=False)
        if others := _others(live.project):
            _write_others(live.project, others)
        _say_written(OTHERS_KEY)
    with see:
        if write:
            _write(live.project, chosen, wanted, planned.images, out=out, options=options)
        _say_written(LABELS_KEY)
        _show(live.project, planned, wanted)


def _keep_written(key: str, words: str) -> NoReturn:
    """Say it where the button was pressed, once the page shows what there is by now."""
    st.session_state[f"{key} written"] = words
    st.rerun()


def _say_written(key: str) -> None:
    if words := st.session_state.pop(f"{key} written", ""):
        st.success(words, icon=":material/check:")


# -- choices ----------------------------------------------------------------------------------------------------------


def _format() -> tuple[Format, dict[str, str]]:
    """The chosen format, and what was picked of its options."""
    left, right = st.columns(2)
    chosen = formats.get(left.selectbox("Format", formats.names(), key="format"))
    picked: dict[str, str] = {}
    for name, choices in chosen.options.items():
        title, words = OPTIONS.get(name, (name, dict(zip(choices, choices, strict=True))))
        key = f"{chosen.name} {name}"
        picked[name] = right.selectbox(title, list(choices), format_func=words.__getitem__, key=key)
    st.caption(plain(chosen.what))
    return chosen, picked


def _filter(live: Live) -> Filter:
    split = st.segmented_control("Which images", list(SPLITS), default="All", required=True, key="split", help=EXAM)
    left, right = st.columns(2)
    sources = left.multiselect(
        "Labels that were",
        list(SOURCES),
        format_func=SOURCES.__getitem__,
        key="sources",
        placeholder="given in any way",
    )
    classes = right.multiselect("Classes", list(live.board.counts), key="classes", placeholder="all classes")
    no_flagged = st.checkbox("Leave flagged images out", key="no_flagged")
    return Filter(
        split=SPLITS[split or "All"],
        sources=tuple(sources) or None,
        classes=tuple(classes) or None,
        flagged=not no_flagged,
    )


def _place(project: Project, chosen: Format) -> str:
    offered = free_place(project.folder, "export", "" if chosen.folder else f".{chosen.name}")
    icon = ":material/folder:" if chosen.folder else ":material/draft:"
    return _typed_place(project, "Write to", f"out {chosen.name}", offered, icon)


def _typed_place(project: Project, title: str, key: str, offered: Path, icon: str) -> str:
    if key not in st.session_state:
        st.session_state[key] = str(offered)
    typed = path_in(st.text_input(title, key=key, icon=icon))
    return str(project.folder.parent / Path(typed).expanduser()) if typed else ""  # beside the project, as offered


def free_place(project: Path, what: str, ending: str) -> Path:
    """A name beside the project that is free."""
    place, number = project.with_name(f"{project.name}-{what}{ending}"), 1
    while place.exists():
        number += 1
        place = project.with_name(f"{project.name}-{what}-{number}{ending}")
    return place


# -- what will be written ---------------------------------------------------------------------------------------------


def _show(project: Project, planned: Plan, wanted: Filter) -> None:
    splits = [
        f"{planned.per_split[name]:,} {words}" for name, words in SPLIT_WORDS.items() if name in planned.per_split
    ]
    st.subheader(f"{count(planned.images, 'image')} will be written", anchor=False)
    st.caption(" · ".join(splits) if planned.images else "No label passes. Label some images first, or choose more.")
    left_out = [
        f"{planned.skipped:,} unsure or skipped" if planned.skipped else "",
        f"{planned.gone:,} whose file is gone" if planned.gone else "",
    ]
    if any(left_out):
        st.caption("Left out: " + ", ".join(text for text in left_out if text))
    if planned.images:
        _tables(project, wanted)


def _tables(project: Project, wanted: Filter) -> None:
    """Images of each class and split, and the first few as they will be written."""
    counts, first = Counter[tuple[str, str]](), list[Record]()
    for record in records(project, wanted):
        counts[record.label, record.split] += 1
        if len(first) < PREVIEW:
            first.append(record)
    found = {label for label, _ in counts}
    rows = [
        {"Class": name} | {words.capitalize(): counts[name, split] for split, words in SPLIT_WORDS.items()}
        for name in project.classes
        if name in found
    ]
    st.dataframe(rows, hide_index=True, height=36 + 35 * min(len(rows), 5))
    st.caption("The first of them:")
    st.dataframe([_row(record) for record in first], hide_index=True)


def _row(record: Record) -> dict[str, Any]:
    return {
        "File": record.file_name.encode(errors="backslashreplace").decode(),
        "Class": record.label,
        "Split": record.split,
        "Label": SOURCES[record.source],
        "By": record.by,
    }


def _write(
    project: Project, chosen: Format, wanted: Filter, total: int, *, out: str, options: Mapping[str, str]
) -> None:
    bar = st.progress(0.0, "Writing")

    def show(done: int) -> None:
        if done % max(1, total // 100) == 0:  # each step travels to the browser
            bar.progress(min(1.0, done / total), f"Writing: {done:,} of {total:,}")

    try:
        written = export_labels(project, out, chosen.name, wanted, progress=show, **options)
    except LabelloopError as error:
        bar.empty()
        show_error(error)
        return
    del st.session_state[f"out {chosen.name}"]  # next time, another new place
    _keep_written(LABELS_KEY, f"{count(written, 'label')} written to {plain(out)}")


# -- the model --------------------------------------------------------------------------------------------------------


def _model_place(project: Project) -> str:
    st.caption(
        "A folder with the weights, how good the model is, and a predict.py that names what is on images. It needs "
        "torch and timm, but not labelloop."
    )
    offered = free_place(project.folder, "model", "")
    return _typed_place(project, "New folder", MODEL_KEY, offered, ":material/folder:")


def _write_model(project: Project, out: str) -> None:
    with st.spinner("Writing the model"):
        step = st.empty()

        def say(words: str) -> None:
            step.caption(plain(words))

        try:
            taken = export_model(project, out, progress=say, announce=say)
        except LabelloopError as error:
            step.empty()
            show_error(error)
            return
    del st.session_state[MODEL_KEY]  # next time, another new place
    equal = f"Its probabilities are those of labelloop on {count(taken.compared, 'image')}."
    _keep_written(MODEL_KEY, f"The model is in {plain(out)}. {equal}")


# -- what it says about other images ----------------------------------------------------------------------------------


def _others(project: Project) -> other_images.Wish | None:
    st.caption("A table of what the model says about images that are not in this project, and which ones to look at.")
    offered = free_place(project.folder, "answers", ".csv")
    return other_images.ask(lambda: _typed_place(project, "New table", OTHERS_KEY, offered, ":material/draft:"))


def _write_others(project: Project, wish: other_images.Wish) -> None:
    said = other_images.write(project, wish)
    if said is not None:
        del st.session_state[OTHERS_KEY]  # next time, another new place
        _keep_written(OTHERS_KEY, plain(said))
