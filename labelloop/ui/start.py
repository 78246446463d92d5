"""Start: make a project, open one, or give it more images."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from labelloop import worker
from labelloop.backbone import resolve
from labelloop.demo import sample_classes, sample_data
from labelloop.errors import BadInput, LabelloopError
from labelloop.folders import FromFolders, labels_from_folders
from labelloop.project import Project, nothing_left_on_error
from labelloop.server import desk
from labelloop.types import Settings
from labelloop.ui import visit
from labelloop.ui.choose_folder import folder_field
from labelloop.ui.plain import plain, show_error, show_path
from labelloop.ui.typed import Seen, check_place, class_names, look_into, path_in, place_for, projects_near
from labelloop.ui.words import EXAM, count

ECHO_SECONDS = 30  # for which a browser may still say of a field what stood there a few letters ago
TYPED, FOLDERS = "I type them", "From the folder names"
BACKBONES = {
    "auto": "The best one that is on this computer",
    "embedded": "The built-in one: quick, nothing to download",
}


@dataclass(frozen=True)
class Wish:
    """What a person asked for."""

    images: str
    classes: list[str]
    folder: str
    backbone: str
    weights: str
    held_out: float
    take_labels: bool  # the folder names are labels already


def page() -> None:
    """The page."""
    st.header("Label images with single keys", anchor=False)
    st.caption("A model learns from every answer, and shows you next the image that helps it most.")
    make, rest = st.columns([3, 2], gap="large")
    with make:
        st.subheader("New project", anchor=False)
        _make()
    with rest:
        st.subheader("You", anchor=False)
        _who()
        st.subheader("Open a project", anchor=False)
        _open()
        _more()


def _who() -> None:
    st.text_input(
        "Your name",
        value=visit.by(),
        key="who",
        on_change=lambda: visit.keep("by", st.session_state["who"].strip()),
        help="It is kept with every label you give.",
        max_chars=100,
    )


# -- a new project ----------------------------------------------------------------------------------------------------


def _make() -> None:
    images = folder_field("Folder with your images", "new_images", "/home/anna/leaves", icon=":material/folder:")
    seen = _look(images)
    classes, take_labels = _classes(seen)
    folder = _place(images)
    backbone, weights, held_out = _advanced()
    wish = Wish(images, classes, folder, backbone, weights, held_out, take_labels)
    above = st.container()  # what is wrong is said where the eyes are, not below the edge of the window
    with st.container(horizontal=True, vertical_alignment="center"):
        start = st.button("Start labeling", key="new_start", type="primary", icon=":material/play_arrow:")
        st.button("Try it with the sample images", type="tertiary", on_click=_fill_in_sample)
    if start:
        try:
            with above:
                _create(wish)
        except LabelloopError as error:
            with above:
                show_error(error)
            return
        visit.go("label")


def _look(images: str) -> Seen | None:
    if not images:
        st.caption("JPEG, PNG, WebP, TIFF, GIF and BMP, subfolders included. Your images are only read.")
        return None
    try:
        seen = look_into(Path(images).expanduser())
    except (BadInput, OSError) as error:
        st.caption(f":orange[:material/search_off:] {plain(str(error))}")
        return None
    if not seen.images:
        st.caption(":orange[:material/search_off:] There are no images in this folder.")
    else:
        more = "" if seen.complete else "more than "
        st.caption(f":green[:material/check:] {more}{count(seen.images, 'image')} found")
    return seen


def _classes(seen: Seen | None) -> tuple[list[str], bool]:
    how = TYPED
    if seen is not None and len(seen.classes) > 1:
        how = st.segmented_control("Classes", [TYPED, FOLDERS], default=TYPED, key="new_how", required=True) or TYPED
    if how == TYPED:
        names = class_names(
            st.text_area(
                "What can an image show?", key="new_classes", height=88, placeholder="rust, mildew, healthy",
                help="One name a line, or with commas between them. You can add more while labeling.",
            )
        )  # fmt: skip
        if names:
            st.caption(f"{len(names)} classes: {plain(', '.join(names))}")
        return names, False
    assert seen is not None  # noqa: S101  only then folder names can be chosen
    st.caption(f"{len(seen.classes)} classes: {plain(', '.join(seen.classes))}")
    take = st.checkbox("The images are sorted already: take the folder names as labels", key="new_take")
    return list(seen.classes), take


def _place(images: str) -> str:
    """The project folder: follows the image folder until the person types one."""
    offered = str(place_for(Path(images))) if images else ""
    there, now = st.session_state.get("new_folder", ""), time.monotonic()
    offers: dict[str, float] = st.session_state.get("new_offered", {})  # when each was there, the newest last
    recent = {place for place, at in offers.items() if now - at < ECHO_SECONDS} | {*list(offers)[-1:], offered, ""}
    older = {place: at for place, at in offers.items() if place in recent - {offered}}
    if there not in recent:
        st.session_state["new_offered"] = older | {offered: now}
    else:  # first what was offered, then the field: Streamlit ends a run between any two lines when more was typed
        st.session_state["new_offered"] = older | {there: now, offered: now}
        st.session_state["new_folder"] = offered
    about = "A new folder for the project: your labels and what was computed. Back it up, and you have everything."
    icon = ":material/inventory_2:"
    return path_in(st.text_input("Where to keep the labels", key="new_folder", icon=icon, help=about))


def _advanced() -> tuple[str, str, float]:
    """Backbone, weights file, held-out share."""
    with st.expander("Advanced"):
        backbone = st.selectbox(
            "What looks at the images",
            list(BACKBONES),
            format_func=lambda name: BACKBONES.get(name, name),
            accept_new_options=True,
            key="new_backbone",
            help="Or type the name of any image model of timm, such as resnet50. Its weights are downloaded only when "
            "they are not on this computer.",
        )
        weights = path_in(
            st.text_input("Weights file", key="new_weights", placeholder="none", help="A .safetensors file.")
        )
        share = st.slider("Images kept for the exam", 5, 50, 10, format="%d %%", key="new_share", help=EXAM)
    return backbone or "auto", weights, share / 100


def _fill_in_sample() -> None:
    try:
        st.session_state["new_images"] = str(sample_data() / "images")
        st.session_state["new_classes"] = ", ".join(sample_classes())
        st.session_state["new_folder"] = str(place_for(Path.cwd() / "sample"))
    except LabelloopError as error:
        show_error(error)


def _create(wish: Wish) -> None:
    if not wish.images:
        raise BadInput("which folder are your images in? Type its path in the first line.")
    seen = look_into(Path(wish.images).expanduser())
    if seen.complete and not seen.images:
        raise BadInput(f"there are no images in {wish.images}")
    check_place(Path(wish.folder), Path(wish.images))
    settings = _settings(wish)
    folder = Path(wish.folder).expanduser()
    with nothing_left_on_error(folder), Project.create(folder, wish.images, wish.classes, settings) as project:
        if wish.take_labels:
            _say_what_was_taken(_take_labels(project))
    key = visit.open_folder(wish.folder)
    worker.start(desk.get(key).project, "embed")


def _settings(wish: Wish) -> Settings:
    """What to set the project up with; Progress says which backbone it is."""
    weights = Path(wish.weights).expanduser().resolve() if wish.weights else None
    name, _ = resolve(wish.backbone, weights)
    return Settings(backbone=name, weights=None if weights is None else str(weights), held_out=wish.held_out)


def _take_labels(project: Project) -> FromFolders:
    """Read all files now: a label needs its image."""
    bar = st.progress(0.0, "Reading your images")
    for scan in project.catalog.scan():
        if scan.total:
            bar.progress(scan.done / scan.total, f"Reading your images: {scan.done:,} of {scan.total:,}")
    return labels_from_folders(project, by=visit.by())


def _say_what_was_taken(taken: FromFolders) -> None:
    torn = f" {count(len(taken.torn), 'image')} in folders of two classes got none." if taken.torn else ""
    visit.say_there(f"{count(taken.labels, 'label')} taken from the folder names.{torn}")


# -- an old project ---------------------------------------------------------------------------------------------------


def _open() -> None:
    current = visit.folder()
    beside = [Path(current).parent] if current else []
    for path in projects_near(Path.cwd(), *beside)[:8]:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            with st.container(gap=None):
                st.markdown(f"**{plain(path.name)}**")
                show_path("", path.parent)
            if st.button("Go on" if str(path) == current else "Open", key=f"open {path}"):
                _enter(str(path))
    typed = folder_field("Project folder", "open_folder", "/home/anna/leaves-labels")
    if st.button("Open", key="open typed", disabled=not typed):
        _enter(typed)


def _enter(path: str) -> None:
    try:
        visit.open_folder(path)
    except LabelloopError as error:
        show_error(error)
        return
    visit.go("label")


# -- more images ------------------------------------------------------------------------------------------------------


def _more() -> None:
    """For the project that is open: another folder, or what is new in those that it has."""
    if not visit.folder() or not desk.is_open(visit.folder()):
        return
    project = desk.get(desk.open_project(visit.folder())).project
    st.subheader(f"More images for {plain(project.folder.name)}", anchor=False)
    with st.container(gap=None):
        for path in project.catalog.folders().values():
            show_path("", path)
    typed = folder_field("Another folder", "more", "/home/anna/more-leaves")
    if typed:
        _look(typed)
    if st.button("Look for new images", icon=":material/search:", help="In the folders above, and in this one."):
        try:
            _take_in(project, typed)
        except LabelloopError as error:
            show_error(error)
            return
        visit.say_there("New images come in while you label.")
        visit.go("label")


def _take_in(project: Project, folder: str) -> None:
    if folder:
        project.add_folder(folder)
        job = project.jobs.latest("embed")
        if job is not None and job.is_open:
            project.jobs.stop(job.id)  # it has listed its folders already; another one goes on where it was
    worker.start(project, "embed")
