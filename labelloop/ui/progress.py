"""Progress: how much is labeled, how good the model is, what works in the background, which strategy chooses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

import streamlit as st

from labelloop import judging, worker
from labelloop.errors import LabelloopError
from labelloop.learning import Learned
from labelloop.live import Live
from labelloop.metrics import ENOUGH
from labelloop.project import Job, Measured, Project
from labelloop.project.jobs import JobKind
from labelloop.server import desk
from labelloop.ui import strategy, visit
from labelloop.ui.charts import class_bars, learning_curve, loss_curve, worth_drawing
from labelloop.ui.plain import plain, show_error
from labelloop.ui.words import EXAM, count, duration, local_time, right, seconds_since, share_between

LOOK_AGAIN = 2.0  # seconds, only while something works in the background
SETTLES = 5.0  # seconds after the end of a job in which its last results come in
ROWS = 200  # of measured models shown
MANY_CLASSES = 12
FINE_TUNING = (
    "Adapts the whole model to your images, in the background, while you go on labeling. "
    "The result is used only if it is right more often than what is in use now."
)
NO_FINE_TUNING = (
    "The built-in way of looking at images cannot be fine-tuned. "
    "Make a project with another one: on Start, under Advanced."
)
QUICK = "Quick models are learned in a moment, after every few labels,"
FROM_GUESSES = {
    True: "from them and from guesses about images that are like the labeled ones.",
    False: "from them alone: with guesses about images like them, fewer exam images came out right.",
}
SWITCH = "fine-tunes"
KINDS: dict[str, str] = {"embed": "Getting to know the images", "fine-tune": "Fine-tuning"}


def page() -> None:
    """The page."""
    key, live = visit.project()
    visit.show_project(live)
    _follow(live)
    strategy.panel(key, live)
    models = live.project.rounds.models()
    curve, classes = st.columns([3, 2], gap="large")
    with curve:
        _curve(models)
    with classes:
        _classes(live)
    _runs(models, live.learned)
    people, files = st.columns([3, 2], gap="large")
    with people:
        _people(live.project)
    with files:
        _unreadable(live.project)


def _follow(live: Live) -> None:
    """Figures and background work; looks again by itself while something is going on."""
    busy = _is_busy(live.project.jobs.latest())

    def now() -> None:
        try:
            _figures(live.state())
            job = live.project.jobs.latest()
            _background(live, job)
            if busy and not _is_busy(job):
                st.rerun()  # the rest of the page has something new to show
        finally:
            desk.let_go()

    st.fragment(now, run_every=LOOK_AGAIN if busy else None)()


def _is_busy(job: Job | None) -> bool:
    """Whether a job is going on, or ended so lately that the figures may still move."""
    if job is None or job.is_open:
        return job is not None
    return job.finished_at is not None and seconds_since(job.finished_at) < SETTLES


# -- figures ----------------------------------------------------------------------------------------------------------


def _figures(state: dict[str, Any]) -> None:
    labels, accuracy, images = st.columns(3)
    _figure(
        labels,
        "Labels",
        f"{state['labeled']:,}",
        f"of {count(state['images'], 'image')} · {state['unsure']:,} unsure · {state['flagged']:,} flagged",
    )
    _figure(accuracy, "The model is right", *_how_good(state["exam"]), about=EXAM)
    _figure(
        images,
        "Images ready",
        f"{state['embedded']:,}",
        f"of {state['images']:,} · {count(state['unreadable'], 'file')} cannot be read",
    )
    if state["notice"]:
        st.warning(plain(state["notice"]), icon=":material/warning:")


def _figure(column: Any, title: str, value: str, under: str, *, about: str | None = None) -> None:
    with column.container(border=True, gap="xxsmall", height="stretch"):
        st.metric(title, value, help=about)
        st.caption(under)


def _how_good(exam: dict[str, Any]) -> tuple[str, str]:
    """How often the model is right and on what that rests, or what is missing for it."""
    if exam["accuracy"] is not None:
        value = share_between(exam["accuracy"], exam["low"], exam["high"])
        return value, f"on {count(exam['n'], 'exam image')}; in brackets the 95 % interval"
    if exam["n"] >= exam["wanted"]:
        return "No model yet", f"{count(exam['n'], 'exam image')} answered, for the first model to be asked about"
    few = f"{exam['n']} of {exam['wanted']} exam images answered"
    more = f"; only {exam['held_out']} are held out, adding images gives more"
    return "Not enough yet", few if exam["held_out"] >= exam["wanted"] else few + more


# -- background work --------------------------------------------------------------------------------------------------


def _background(live: Live, job: Job | None) -> None:
    """What is going on, what the last fine-tuning came to, and how its error fell."""
    project = live.project
    tuning = project.jobs.latest("fine-tune")
    loss = tuning.loss if tuning is not None and len(tuning.loss) > 1 else ()
    with st.container(border=True):
        left, right = st.columns([3, 2], gap="large") if loss else (st.container(), None)
        with left:
            if job is None:
                _no_job(project)
            elif job.is_open:
                _open_job(project, job)
            else:
                _closed_job(project, job)
            is_going_on = tuning is not None and tuning.is_open
            if not is_going_on:
                _decision(project.rounds.models(), job)
            _by_itself(live, is_going_on=is_going_on)
        if right is not None:
            with right:
                st.caption("Error on the labels it learns from, round by round")
                st.altair_chart(loss_curve(loss), alt="error after each round of fine-tuning")


def _no_job(project: Project) -> None:
    with _line():
        st.markdown("Nothing is running in the background.")
        _offer(project, "fine-tune", "Fine-tune now")


def _open_job(project: Project, job: Job) -> None:
    left = "" if job.seconds_left is None else f" · about {duration(job.seconds_left)} left"
    with _line():
        st.markdown(f"**{KINDS[job.kind]}**{left}" + (" · stopping" if job.stop else ""))
        if st.button("Stop", icon=":material/stop:", disabled=job.stop, key="stop"):
            project.jobs.stop(job.id)
            st.rerun()
    st.progress(min(1.0, job.done / job.total) if job.total else 0.0)
    st.caption(plain(job.message) or "starting")
    for other in project.jobs.all():
        if other.is_open and other.id != job.id:
            st.caption(f"{KINDS[other.kind]} {plain(other.message) or 'comes next'}.")


def _closed_job(project: Project, job: Job) -> None:
    if job.state == "failed":
        st.error(f"**{KINDS[job.kind]} failed.** {plain(job.message)}", icon=":material/error:")
    with _line():
        st.markdown(f"**{KINDS[job.kind]}**: {job.state}, {local_time(job.finished_at or job.at)}")
        with st.container(horizontal=True, width="content"):
            if job.state in ("failed", "stopped"):
                _offer(project, job.kind, "Go on" if job.kind == "embed" else "Try again")
            if job.state == "done" or job.kind == "embed":
                _offer(project, "fine-tune", "Fine-tune now")


def _line() -> Any:
    """Text at the left, buttons at the right."""
    return st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")


def _decision(models: Sequence[Measured], job: Job | None) -> None:
    """What the last fine-tuning that was judged came to; of one that was not, that nothing changed."""
    tuned = next((model for model in reversed(models) if model.kind == "fine-tune"), None)
    tuning = job if job is not None and job.kind == "fine-tune" else None
    if tuning is not None and (tuned is None or tuned.at < tuning.at):
        st.caption("The model in use is the one from before, and no label was touched.")
    elif tuned is not None:
        said, _, numbers = tuned.note.partition(" (")
        when = "" if tuning is not None else f"Fine-tuned {local_time(tuned.at)}: "
        st.markdown(f"{when}{plain(said)}.")
        st.caption(plain(numbers.removesuffix(")")))


def _offer(project: Project, kind: JobKind, text: str) -> None:
    cannot = kind == "fine-tune" and project.settings.backbone == "embedded"
    about = None if kind == "embed" else NO_FINE_TUNING if cannot else FINE_TUNING
    if not st.button(text, key=f"start {kind}", help=about, disabled=cannot):
        return
    try:
        worker.start(project, kind)
    except LabelloopError as error:
        show_error(error)
        return
    st.rerun()


def _by_itself(live: Live, *, is_going_on: bool) -> None:
    """Whether fine-tuning begins without being asked, and when."""
    project = live.project
    if project.settings.backbone == "embedded":
        return

    def switch() -> None:
        project.change_settings(fine_tunes=st.session_state[SWITCH])
        worker.fine_tune_when_due(project, live.board)

    st.session_state[SWITCH] = project.settings.fine_tunes  # somebody else may have switched it
    st.toggle("Fine-tune by itself when there are enough new labels", key=SWITCH, on_change=switch)
    due, labels = judging.due_at(project, live.board), len(live.board.to_learn_from)
    if due is not None and labels < due and not is_going_on:
        st.caption(f"Begins at {count(due, 'label')} outside the exam; there are {labels:,}.")


# -- the rest ---------------------------------------------------------------------------------------------------------


def _curve(models: Sequence[Measured]) -> None:
    st.subheader("How often the model is right", anchor=False)
    drawn = worth_drawing(models)
    if drawn:
        st.altair_chart(learning_curve(drawn), alt="share of exam images that the model gets right, over labels")
    left_out = len(models) - len(drawn)
    if not models:
        st.caption("The curve begins with the first model, once two classes have labels.")
    elif not drawn:
        st.caption(f"The curve begins with the first model that comes after {ENOUGH} answered exam images.")
    elif left_out:
        st.caption(f"{count(left_out, 'earlier model')} not drawn: fewer than {ENOUGH} exam images were answered then.")


def _classes(live: Live) -> None:
    st.subheader("Labels of each class", anchor=False)
    counts = live.board.counts
    if not counts:
        st.caption("There are no classes yet. Add the first one on the Label page.")
        return
    many = len(counts) > MANY_CLASSES
    with st.container(height=330, border=False) if many else st.container():
        st.altair_chart(class_bars(list(counts), list(counts.values())), alt="labels of each class")
    _merged(live)


def _merged(live: Live) -> None:
    """Classes that were merged, each with a way back."""
    names = live.project.classes
    for index, target in live.project.merged.items():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(names[index])}** was merged into **{plain(names[target])}**")
            if st.button(
                "Take apart", key=f"unmerge {index}", help="Each gets back the answers that were given to it."
            ):
                live.project.unmerge_class(names[index])
                live.wake()
                st.rerun()


def _runs(models: Sequence[Measured], learned: Learned | None) -> None:
    if not models:
        return
    st.subheader("Models", anchor=False)
    rows = [
        {
            "When": local_time(model.at),
            "What": "fine-tuned" if model.kind == "fine-tune" else "quick",
            "Labels": model.labels,
            "Exam images right": right(model.exam_n, model.exam_correct),
            "Took": duration(model.seconds) if model.seconds >= 1 else "under 1 s",
            "Used": model.in_charge,
            "Note": model.note,
        }
        for model in reversed(models[-ROWS:])
    ]
    widths = {"When": 135, "What": 85, "Labels": 65, "Exam images right": 180, "Took": 80, "Used": 55, "Note": 600}
    columns = {name: st.column_config.Column(width=width) for name, width in widths.items()}
    st.dataframe(rows, hide_index=True, height=36 + 35 * min(len(rows), 6), column_config=columns)
    st.caption(f"{QUICK} {FROM_GUESSES[learned is None or learned.guesses]} Fine-tuning adapts the whole model.")
    if len(models) > ROWS:
        st.caption(f"The newest {ROWS} of {len(models):,}.")


def _people(project: Project) -> None:
    st.subheader("Who labeled", anchor=False)
    took: dict[str, list[float]] = defaultdict(list)
    labels: dict[str, int] = defaultdict(int)
    for answer in project.log.answers():
        if answer.kind == "label":
            labels[answer.by] += 1
            if answer.seconds is not None:
                took[answer.by].append(answer.seconds)
    if not labels:
        st.caption("Nobody yet.")
        return
    rows = [
        {"Who": who or "(no name)", "Labels": n, "Seconds a label": round(median(took[who]), 1) if took[who] else None}
        for who, n in sorted(labels.items(), key=lambda item: -item[1])
    ]
    st.dataframe(rows, hide_index=True)
    st.caption("Seconds a label: the median, from the image on screen to the answer.")


def _unreadable(project: Project) -> None:
    problems = project.catalog.problems()
    st.subheader("Files that cannot be read", anchor=False)
    if not problems:
        st.caption("None.")
        return
    with st.expander(count(len(problems), "file")):
        rows = [{"File": _text(path), "Why": _text(why)} for path, why in problems[:1000]]
        st.dataframe(rows, hide_index=True)


def _text(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
