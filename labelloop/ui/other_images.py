"""On Export: what the model says about images that are not in the project, as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from labelloop.errors import LabelloopError
from labelloop.exchange import outside_images
from labelloop.formats.files import new_file
from labelloop.predicting import write_table
from labelloop.project import Project
from labelloop.ui.choose_folder import folder_field
from labelloop.ui.plain import plain, show_error
from labelloop.ui.words import count

ERRORS, USUAL = (0.01, 0.02, 0.05, 0.1), 0.05  # shares of the sure ones that may be wrong
PROBLEMS_SHOWN = 3


@dataclass(frozen=True)
class Wish:
    """What a person asked for."""

    folder: Path
    out: str
    error: float


def ask(place: Callable[[], str]) -> Wish | None:
    """The fields; what was asked for when the button is pressed. `place` draws the one of where the table goes."""
    folder = folder_field("Folder with them", "others", "/home/anna/new-leaves", icon=":material/folder:")
    error = st.segmented_control(
        "How many of the sure ones may be wrong",
        ERRORS,
        format_func=lambda share: f"{100 * share:.0f} %",
        default=USUAL,
        required=True,
        key="others error",
        help='The other images are marked "ask a person". Answers to images of the exam decide.',
    )
    out = place()
    pressed = st.button("Let the model answer", icon=":material/table:", disabled=not (folder and out))
    return Wish(Path(folder).expanduser(), out, error or USUAL) if pressed else None


def write(project: Project, wish: Wish) -> str | None:
    """Write the table; what it says in words, or None after an error is shown."""
    bar, problems = st.progress(0.0, "Learning from all answers"), list[str]()

    def show(done: int, total: int) -> None:
        bar.progress(done / total, f"Looking at images: {done:,} of {total:,}")

    def say(words: str) -> None:
        bar.progress(0.0, plain(words))

    try:
        with new_file(outside_images(project, wish.out)) as file:
            answered = write_table(
                project, wish.folder, file, wish.error, progress=show, on_problem=problems.append, announce=say
            )
    except LabelloopError as error:
        bar.empty()
        show_error(error)
        return None
    files = f" {count(len(problems), 'file')} could not be used: " + "; ".join(problems[:PROBLEMS_SHOWN])
    return f"The table is in {wish.out}. {answered.summary}{files if problems else ''}"
