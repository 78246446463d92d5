"""The pages, run by Streamlit's own AppTest: what is on them, what they refuse, what they write."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash
from streamlit.web.server.app_discovery import discover_asgi_app

from labelloop import worker
from labelloop.errors import BadInput
from labelloop.project import Measured, Project, jobs
from labelloop.server import PROJECT_VARIABLE, desk
from labelloop.train import recipe
from labelloop.types import Event, Settings
from labelloop.ui import charts, choose_folder, typed, words
from labelloop.ui import start as start_page
from labelloop.ui.plain import plain
from tests.conftest import PATIENCE, TINY, draw, embed_by_color, label_some, truth

ROOT = Path(__file__).parents[1]
MAIN = ROOT / "labelloop" / "ui" / "main.py"
HOSTILE = "**bold** <b>x</b> :smile: :red[y] $a$ [l](http://x) `c`"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No project is given, none lies around; what a test opens is closed. Jobs have no worker whose heart beats."""
    monkeypatch.delenv(PROJECT_VARIABLE, raising=False)
    monkeypatch.setattr(jobs, "DEAD_AFTER_SECONDS", PATIENCE)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    yield
    desk.close_all()


@pytest.fixture
def labeled(make_project: Callable[..., Project], photos: Path) -> Project:
    """Thirty of forty images labeled by two people, one flagged, one unsure, features there."""
    project = make_project(photos, ("red", "blue", HOSTILE), held_out=0.25)
    embed_by_color(project)
    names = truth(project)
    for image_id in range(1, 31):
        by, seconds = ("anna", 1.0) if image_id % 3 else ("ben", 3.0)
        project.log.append([Event(image_id=image_id, kind="label", class_index=project.class_index(names[image_id]),
                                  by=by, seconds=seconds)])  # fmt: skip
    project.log.append([Event(image_id=31, kind="unsure", by="anna"), Event(image_id=1, kind="flag", by="anna")])
    return project


def run(page: str, project: Project | Path | None = None, by: str = "anna") -> AppTest:
    """A page as main.py runs it, without the navigation around it."""
    script = f"from labelloop.ui import visit, {page}\nvisit.arrive()\n{page}.page()"
    app = AppTest.from_string(script, default_timeout=PATIENCE)
    if project is not None:
        app.query_params["project"] = str(project.folder if isinstance(project, Project) else project)
    app.query_params["by"] = by
    return app.run()


def texts(app: AppTest) -> str:
    """Everything said on the page, as written."""
    kinds = (app.markdown, app.caption, app.error, app.success, app.warning, app.subheader, app.metric)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


# -- texts are shown as they are ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rust", "rust"),
        ("**a**", r"\*\*a\*\*"),
        ("<b>", r"\<b\>"),
        (":smile:", ":\u2060smile:\u2060"),
        ("two\nlines", "two  \nlines"),
        ("caf\udce9.jpg", r"caf\\udce9\.jpg"),
    ],
)
def test_markdown_finds_nothing_to_do(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_the_two_config_files_are_one() -> None:
    assert (ROOT / ".streamlit" / "config.toml").read_text() == (MAIN.parent / ".streamlit" / "config.toml").read_text()


def test_streamlit_run_sees_that_app_py_is_an_app() -> None:
    assert discover_asgi_app(ROOT / "app.py").import_string == "app:app"


def test_figures_in_words() -> None:
    assert words.count(1, "label") == "1 label"
    assert words.count(1204, "label") == "1,204 labels"
    assert words.right(6, 5) == "5 of 6, too few to judge"
    assert words.right(60, 55) == "55 of 60: 92 % (82–96 %)"
    assert [words.duration(s) for s in (40, 300, 7200)] == ["40 s", "5 min", "2.0 h"]
    assert words.local_time("") == ""
    assert words.seconds_since(datetime.now(UTC).isoformat()) < PATIENCE  # in another time zone it is more


# -- start -------------------------------------------------------------------------------------------------------------


def test_class_names_come_in_lines_or_with_commas() -> None:
    assert typed.class_names("rust, mildew\n healthy \n,\n") == ["rust", "mildew", "healthy"]


def test_a_look_into_the_image_folder(photos: Path) -> None:
    (photos / "notes.txt").touch()
    draw(photos / ".hidden" / "x.png", (1, 2, 3))
    draw(photos / "plain.JPG", (1, 2, 3))
    assert typed.look_into(photos) == typed.Seen(41, ("blue", "red"), complete=True)
    assert not typed.look_into(photos, seconds=-1.0).complete


def test_a_place_for_the_project_is_beside_the_images_and_free(photos: Path) -> None:
    assert typed.place_for(photos) == photos.with_name("photos-labels")
    photos.with_name("photos-labels").mkdir()
    assert typed.place_for(photos) == photos.with_name("photos-labels-2")


def test_projects_nearby_are_found(project: Project, tmp_path: Path) -> None:
    assert typed.projects_near(tmp_path) == [project.folder]
    assert typed.projects_near(project.folder) == [project.folder]
    assert typed.projects_near(tmp_path / "cwd") == []


def test_without_a_project_the_app_begins_at_start() -> None:
    app = AppTest.from_file(str(MAIN), default_timeout=PATIENCE).run()
    assert not app.exception
    assert "New project" in texts(app)


def fill(app: AppTest, images: Path | str, classes: str = "red, blue", folder: Path | str | None = None) -> AppTest:
    app.text_input(key="new_images").set_value(str(images))
    if classes:
        app.text_area(key="new_classes").set_value(classes)
    app.run()
    if folder is not None:
        app.text_input(key="new_folder").set_value(str(folder)).run()
    return app


def start(app: AppTest) -> AppTest:
    app.selectbox(key="new_backbone").set_value("embedded")  # whatever else this machine has
    next(button for button in app.button if button.label == "Start labeling").click()
    return app.run()


class Hasty(dict[str, Any]):
    """A session whose run ends at the turn told: Streamlit looks whether more was typed at each use of the state."""

    turns = 1000

    def _turn(self) -> None:
        self.turns -= 1
        if not self.turns:
            raise InterruptedError

    def get(self, key: str, default: Any = None) -> Any:
        self._turn()
        return super().get(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        self._turn()
        super().__setitem__(key, value)


class PlaceField:
    """The field on Start for where to keep the labels, and what the page offers there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state, self.seconds = Hasty(), 0.0
        monkeypatch.setattr(start_page.st, "session_state", self.state)
        monkeypatch.setattr(start_page.st, "text_input", lambda *_, key, **__: dict.get(self.state, key))
        monkeypatch.setattr(start_page.time, "monotonic", lambda: self.seconds)

    def run(self, images: str, says: str | None = None, turns: int = 1000) -> str:
        """Where the labels go, after the browser said what stands in the field."""
        if says is not None:
            dict.__setitem__(self.state, "new_folder", says)
        self.state.turns = turns
        return start_page._place(images)


@pytest.mark.parametrize("turn", range(1, 6))
def test_the_place_for_the_labels_follows_what_is_typed_wherever_a_run_ends(turn: int, monkeypatch) -> None:
    field = PlaceField(monkeypatch)
    assert field.run("/data") == "/data-labels"
    field.seconds += 600
    with suppress(InterruptedError):
        field.run("/data/leaves", turns=turn)
    assert field.run("/data/leaves/2026") == "/data/leaves/2026-labels"


def test_the_place_for_the_labels_follows_though_the_browser_still_says_an_older_one(monkeypatch) -> None:
    field = PlaceField(monkeypatch)
    for images in ("/data", "/data/leaves"):
        field.run(images)
    assert field.run("/data/leaves/2026", says="/data-labels") == "/data/leaves/2026-labels"


def test_a_place_that_was_typed_stays_though_it_was_offered_once(monkeypatch) -> None:
    field = PlaceField(monkeypatch)
    for images in ("/data", "/data/leaves"):
        field.run(images)
    field.seconds += 60
    for images in ("/data/leaves", "/data/leaves/2026"):
        assert field.run(images, says="/data-labels") == "/data-labels"
    assert field.run("/data/leaves/2026", says="") == "/data/leaves/2026-labels"


def test_the_image_folder_is_looked_at_as_it_is_typed(photos: Path) -> None:
    app = fill(run("start"), photos)
    assert "40 images found" in texts(app)
    assert app.text_input(key="new_folder").value == f"{photos}-labels"
    fill(app, photos / "red")
    assert app.text_input(key="new_folder").value == f"{photos / 'red'}-labels"
    fill(app, photos / "green")
    assert "is not there" in texts(app)


def test_folders_are_listed_by_name_without_hidden_ones(tmp_path: Path) -> None:
    tmp_path /= "photos"
    for name in ("b", "A", ".hidden", "ä"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "to nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "to A").symlink_to(tmp_path / "A")
    assert [folder.name for folder in choose_folder.folders_in(tmp_path)] == ["A", "b", "to A", "ä"]
    for wrong in ("file", "gone"):
        with pytest.raises(BadInput, match=f"{wrong} cannot be looked into .*. Choose another"):
            choose_folder.folders_in(tmp_path / wrong)


def test_looking_begins_where_the_typed_path_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "Pictures").mkdir()
    assert choose_folder.nearest_folder(str(tmp_path / "Pictures")) == tmp_path / "Pictures"
    assert choose_folder.nearest_folder("~/Pictures/leaves/2026") == tmp_path / "Pictures"
    assert choose_folder.nearest_folder("") == tmp_path
    assert list(choose_folder.places().items())[:2] == [("Home", tmp_path), ("Pictures", tmp_path / "Pictures")]


def test_a_path_is_taken_in_the_quotation_marks_in_which_it_was_copied(photos: Path, at_once: None) -> None:
    app = fill(run("start"), f'"{photos}"', folder=f"'{photos.with_name('mine')}' ")
    assert "40 images found" in texts(app)
    start(app)
    assert app.query_params["project"] == str(photos.with_name("mine"))
    app = run("start")
    app.text_input(key="open_folder").set_value(f'"{photos.with_name("mine")}"').run()
    app.button(key="open typed").click().run()
    assert not app.error
    assert [typed.path_in(path) for path in ('"', "''", "a 'b'", ' "a b" ')] == ['"', "", "a 'b'", "a b"]


@pytest.mark.parametrize(
    ("classes", "folder", "said"),
    [
        ("red", None, "there is only one class, 'red'; a model needs at least two to tell apart"),
        ("red, RED", None, "the class names 'red' and 'RED' are the same"),
        ("red, blue", "inside", "inside lies inside the image folder; labelloop never writes there"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_typed_is_lost(
    photos: Path, classes: str, folder: str | None, said: str
) -> None:
    place = photos / folder if folder else folder
    app = start(fill(run("start"), photos, classes, place))
    assert plain(said) in app.error[0].value
    assert app.text_area(key="new_classes").value == classes
    assert app.text_input(key="new_images").value == str(photos)
    assert not any(photos.parent.rglob("project.db"))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does its work before it returns, with features by color."""

    def work(project: Project, kind: str) -> None:
        for _ in project.catalog.scan():
            pass
        embed_by_color(project)

    monkeypatch.setattr(worker, "start", work)
    monkeypatch.setattr(worker, "resume", lambda project: None)


def test_a_project_is_made_and_opened(photos: Path, at_once: None) -> None:
    app = fill(run("start"), photos, f"red, blue, {HOSTILE}")
    start(app)
    place = photos.with_name("photos-labels")
    assert app.query_params["project"] == str(place)
    with Project(place) as project:
        assert project.classes == ("red", "blue", HOSTILE)
        assert len(project.catalog) == 40
        assert (project.settings.backbone, project.settings.held_out) == ("embedded", 0.1)


def test_folder_names_can_be_the_labels(photos: Path, at_once: None) -> None:
    app = fill(run("start"), photos, "")
    app.segmented_control(key="new_how").set_value("From the folder names").run()
    app.checkbox(key="new_take").check()
    start(app)
    with Project(photos.with_name("photos-labels")) as project:
        labels = {answer.image_id: project.classes[answer.class_index or 0] for answer in project.log.answers()}
        assert labels == truth(project)
        assert {answer.by for answer in project.log.answers()} == {"anna"}


def test_a_folder_that_is_no_project_is_refused_in_words(tmp_path: Path) -> None:
    app = run("start")
    app.text_input(key="open_folder").set_value(str(tmp_path)).run()
    app.button(key="open typed").click().run()
    assert "is not a labelloop project" in app.error[0].value


def test_code_of_a_project_runs_only_after_a_question(labeled: Project) -> None:
    mine = labeled.folder / "strategies" / "mine.py"
    mine.parent.mkdir()
    mine.write_text(f"open({str(labeled.folder / 'ran')!r}, 'w').close()")
    app = run("progress", labeled)
    assert "brings Python files of its own" in texts(app)
    assert not desk.is_open(labeled.folder)
    assert not (labeled.folder / "ran").exists()
    app.button[0].click().run()
    assert desk.is_open(labeled.folder)


# -- label and review --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["label", "review"])
def test_the_component_gets_its_project_and_its_person(labeled: Project, page: str) -> None:
    app = run(page, labeled, by="Zoë *x*")
    assert not app.exception
    data = json.loads(app.get("bidi_component")[0].proto.json)
    assert data["base"] == f"/ll/{desk.open_project(labeled.folder)}"
    assert (data["by"], data["mode"]) == ("Zoë *x*", page)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files the way Linux shows them")
def test_runs_of_a_page_leave_no_connection_behind(labeled: Project) -> None:
    app = AppTest.from_file(str(MAIN), default_timeout=PATIENCE)
    app.query_params["project"] = str(labeled.folder)
    app._page_hash = calc_hash("export")  # AppTest itself can only switch to pages that are files
    app.run()
    before = open_databases()
    for _ in range(10):
        app.run()
    assert open_databases() < before + 10  # other threads open and close theirs, but not one for each run stays


def open_databases() -> int:
    return sum("project.db" in os.path.realpath(file) for file in Path("/proc/self/fd").iterdir())


def test_a_missing_project_is_told_with_a_way_out(tmp_path: Path) -> None:
    app = run("label", tmp_path / "gone")
    assert "is not a labelloop project" in app.error[0].value
    assert app.button[0].label == "Go to Start"


# -- progress ----------------------------------------------------------------------------------------------------------


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_progress_before_enough_held_out_answers(labeled: Project) -> None:
    app = run("progress", labeled)
    assert not app.exception
    held_out, _ = labeled.catalog.flags()
    assert metrics(app)["Labels"] == "30"
    assert metrics(app)["The model is right"] == "Not enough yet"
    said = f"{held_out[:30].sum()} of 20 exam images answered; only {held_out.sum()} are held out, adding images gives"
    assert said in texts(app)


def test_progress_with_held_out_answers_only(make_project: Callable[..., Project], photos: Path) -> None:
    project = make_project(photos, held_out=0.8)
    embed_by_color(project)
    held_out, _ = project.catalog.flags()
    for row in np.flatnonzero(held_out).tolist():
        project.label(row + 1, "red")
    app = run("progress", project)
    assert held_out.sum() >= 20
    assert metrics(app)["The model is right"] == "No model yet"
    assert f"{held_out.sum()} exam images answered, for the first model" in texts(app)


def test_who_labeled_how_much_and_how_fast(labeled: Project) -> None:
    app = run("progress", labeled)
    table = app.dataframe[-1].value
    assert table["Who"].tolist() == ["anna", "ben"]
    assert table["Labels"].tolist() == [20, 10]
    assert table["Seconds a label"].tolist() == [1.0, 3.0]


def test_models_are_told_with_the_images_they_rest_on(labeled: Project) -> None:
    for kind, exam_n, correct, note in (("head", 6, 5, ""), ("head", 60, 55, ""), ("fine-tune", 60, 50, "stays")):
        labeled.rounds.add_model(
            Measured(kind=kind, features="base", labels=30, exam_n=exam_n, exam_correct=correct, seconds=2.0,
                     in_charge=note == "", note=note)
        )  # fmt: skip
    app = run("progress", labeled)
    assert not app.exception
    table = next(element.value for element in app.dataframe if "Note" in element.value)
    newest = table[table["What"] == "fine-tuned"].iloc[0]
    assert newest["Exam images right"] == "50 of 60: 83 % (72–91 %)"
    assert (newest["Used"], newest["Note"]) == (False, "stays")
    assert "5 of 6, too few to judge" in table["Exam images right"].tolist()
    assert "not drawn: fewer than 20 exam images" in texts(app)


def test_a_dead_worker_is_shown_as_failed_with_a_way_on(labeled: Project) -> None:
    job, _ = labeled.jobs.ask("embed")
    labeled.jobs.report(job, state="running", done=3, total=40, message=HOSTILE)
    with labeled.db.conn:
        labeled.db.conn.execute("UPDATE jobs SET heartbeat = heartbeat - ?", [2 * PATIENCE])
    app = run("progress", labeled)
    assert "**Getting to know the images failed.**" in app.error[0].value
    assert plain(HOSTILE) in app.error[0].value
    assert "Go on" in [button.label for button in app.button]


def test_stopping_a_job(labeled: Project) -> None:
    job, _ = labeled.jobs.ask("fine-tune")
    labeled.jobs.report(job, state="running", done=1, total=4, message="round 1 of 4", loss=[2.0, 1.0])
    app = run("progress", labeled)
    app.button(key="stop").click().run()
    assert labeled.jobs.get(job).stop


def test_the_job_that_runs_is_shown_and_stopped_not_the_one_that_waits_for_it(labeled: Project) -> None:
    job, _ = labeled.jobs.ask("fine-tune")
    labeled.jobs.report(job, state="running", done=1, total=4, message="round 1 of 4")
    waiting, _ = labeled.jobs.ask("embed")
    labeled.jobs.report(waiting, message="waits for fine-tuning to end")
    app = run("progress", labeled)
    captions = texts(app)
    assert "round 1 of 4" in captions
    assert f"Getting to know the images {plain('waits for fine-tuning to end')}." in captions
    app.button(key="stop").click().run()
    assert (labeled.jobs.get(job).stop, labeled.jobs.get(waiting).stop) == (True, False)


@pytest.mark.parametrize(("backbone", "offered"), [("embedded", False), ("resnet10t", True)])
def test_fine_tuning_is_offered_where_it_can_work(
    make_project: Callable[..., Project], photos: Path, backbone: str, offered: bool
) -> None:
    project = make_project(photos, backbone=backbone)
    embed_by_color(project)
    assert run("progress", project).button(key="start fine-tune").disabled is not offered


# -- progress: fine-tuning ---------------------------------------------------------------------------------------------

NOTE = (
    "50 of 60 answers right after fine-tuning, 55 before: the old model stays in charge (60 held-out answers; so sure)"
)


@pytest.fixture
def tunable(make_project: Callable[..., Project], photos: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose backbone can be fine-tuned, from 12 labels on; starting a job starts no process."""
    project = make_project(photos, held_out=0.25, backbone=TINY)
    embed_by_color(project)
    monkeypatch.setattr(recipe, "FIRST_LABELS", 12)
    monkeypatch.setattr(worker, "start", lambda project, kind: project.jobs.get(project.jobs.ask(kind)[0]))
    return project


def tuned(project: Project, state: str = "done", loss: tuple[float, ...] = (2.0, 1.5, 1.0)) -> None:
    """A fine-tuning that ended, judged if it is done."""
    job, _ = project.jobs.ask("fine-tune")
    if state == "done":
        project.rounds.add_model(
            Measured(kind="fine-tune", features="f", labels=30, exam_n=60, exam_correct=50, seconds=2.0,
                     in_charge=False, note=NOTE)
        )  # fmt: skip
    project.jobs.report(job, state=state, message="message", loss=loss)


def curves(app: AppTest) -> list[Any]:
    """The drawings of the error."""
    return [chart for chart in app.get("vega_lite_chart") if '"field": "round"' in chart.proto.spec]


def test_a_running_fine_tuning_shows_what_it_does_how_long_it_takes_and_its_error(tunable: Project) -> None:
    job, _ = tunable.jobs.ask("fine-tune")
    told = {"state": "running", "done": 3, "total": 10, "seconds_left": 41.0, "message": "round 3 of 10"}
    tunable.jobs.report(job, **told, loss=[2.0])
    assert curves(run("progress", tunable)) == []  # one point is no curve
    tunable.jobs.report(job, **told, loss=[2.0, 1.5, 1.0])
    app = run("progress", tunable)
    assert not app.exception
    assert "**Fine-tuning** · about 41 s left" in texts(app)
    assert "round 3 of 10" in texts(app)
    assert len(curves(app)) == 1


def test_the_decision_is_told_with_its_numbers_and_stays_while_other_work_goes_on(tunable: Project) -> None:
    tuned(tunable)
    app = run("progress", tunable)
    said, _, numbers = NOTE.removesuffix(")").partition(" (")
    assert f"\n{plain(said)}.\n" in texts(app)
    assert f"\n{plain(numbers)}\n" in texts(app)
    assert len(curves(app)) == 1
    tunable.jobs.ask("embed")
    app = run("progress", tunable)
    assert "**Getting to know the images**" in texts(app)
    assert f": {plain(said)}.\n" in texts(app)
    assert len(curves(app)) == 1


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_what_came_to_nothing_says_what_is_in_use(tunable: Project, state: str) -> None:
    tuned(tunable)
    tuned(tunable, state)
    said = texts(run("progress", tunable))
    assert "The model in use is the one from before, and no label was touched." in said
    assert "right after" not in said


def switch(app: AppTest) -> Any:
    return app.toggle(key="fine-tunes")


def test_fine_tuning_by_itself_is_switched_off_and_on(tunable: Project) -> None:
    app = run("progress", tunable)
    assert switch(app).value
    assert "Begins at 12 labels outside the exam; there are 0." in texts(app)
    switch(app).set_value(False).run()
    assert not fresh_settings(tunable).fine_tunes
    assert "Begins at" not in texts(app)
    switch(app).set_value(True).run()
    assert fresh_settings(tunable).fine_tunes
    assert not run("progress", tunable).exception


def test_the_switch_follows_what_somebody_else_chose(tunable: Project) -> None:
    app = run("progress", tunable)
    desk.get(desk.open_project(tunable.folder)).project.change_settings(fine_tunes=False)  # in another tab
    app.run()
    assert not switch(app).value
    assert not fresh_settings(tunable).fine_tunes


def test_switched_on_it_begins_at_once_where_it_is_due(tunable: Project) -> None:
    tunable.change_settings(fine_tunes=False)
    label_some(tunable, 20)
    app = run("progress", tunable)
    assert tunable.jobs.latest("fine-tune") is None
    switch(app).set_value(True).run()
    assert tunable.jobs.latest("fine-tune") is not None


def test_where_nothing_can_be_fine_tuned_there_is_no_switch(labeled: Project) -> None:
    assert run("progress", labeled).toggle.len == 0


def fresh_settings(project: Project) -> Settings:
    with Project(project.folder) as fresh:
        return fresh.settings


@pytest.mark.parametrize("guesses", [True, False])
def test_whether_it_learns_from_guesses_is_said(labeled: Project, guesses: bool) -> None:
    key = desk.open_project(labeled.folder)
    settled(run("progress", labeled), labeled)
    live = desk.get(key)
    assert live.learned is not None
    live.learned = replace(live.learned, guesses=guesses)
    said = texts(run("progress", labeled))
    assert ("and from guesses about images" in said) is guesses
    assert ("fewer exam images came out right" in said) is not guesses


def test_the_curve_of_the_error_begins_with_round_one() -> None:
    chart = charts.loss_curve([2.0, 1.5, 1.0]).to_dict()
    (rows,) = chart["datasets"].values()
    assert rows == [{"round": 1, "error": 2.0}, {"round": 2, "error": 1.5}, {"round": 3, "error": 1.0}]
    assert chart["encoding"]["x"]["scale"]["domain"] == [1, 3]


def test_files_that_cannot_be_read_are_listed(make_project: Callable[..., Project], photos: Path) -> None:
    (photos / "**broken**.jpg").write_bytes(b"\xff\xd8\xff")
    project = make_project(photos)
    embed_by_color(project)
    table = run("progress", project).dataframe[-1].value
    assert table["File"].tolist() == ["**broken**.jpg"]


def test_merged_classes_are_taken_apart(labeled: Project) -> None:
    labeled.add_class("rde")
    labeled.merge_class("rde", "red")
    app = run("progress", labeled)
    assert "**rde** was merged into **red**" in [text.value for text in app.markdown]
    app.button(key="unmerge 3").click().run()
    assert not app.exception
    assert labeled.merged == {}
    assert "unmerge 3" not in [button.key for button in app.button]


# -- progress: the strategy panel --------------------------------------------------------------------------------------

MINE = """
from labelloop import strategy

@strategy
def of_the_panel(pool, n, rng, *, how_much: float = 0.5, most: int = 3, only_far: bool = False, word: str = "",
                 reach: float = float("inf")):
    'Highest *number* first.'
    return pool.ids * how_much
"""


@pytest.fixture
def paneled(labeled: Project) -> Iterator[Project]:
    """A project with a strategy of its own, which has settings of all types, and with a broken one."""
    folder = labeled.folder / "strategies"
    folder.mkdir()
    (folder / "mine.py").write_text(MINE)
    (folder / "torn.py").write_text("import numpy\nnumpy.no_such_thing\n")
    yield labeled
    desk.close_all()


def opened(project: Project) -> AppTest:
    """The Progress page, after the question whether the project's files may run."""
    desk.open_project(project.folder)
    return settled(run("progress", project), project)


def of_panel(app: AppTest, text: str) -> Any:
    """The only field or button whose label begins so."""
    kinds = (app.number_input, app.text_input, app.toggle, app.button)
    (found,) = [element for kind in kinds for element in kind if element.label.startswith(text)]
    return found


def stored(project: Project) -> tuple[str, dict[str, Any]]:
    with Project(project.folder) as fresh:
        return fresh.settings.strategy, fresh.settings.strategy_settings


def use(app: AppTest, name: str) -> AppTest:
    app.radio[0].set_value(name).run()
    return of_panel(app, "Use it").click().run()


def settled(app: AppTest, project: Project) -> AppTest:
    """Once the queue is chosen as the project asks for now."""
    live, until = desk.get(desk.open_project(project.folder)), time.monotonic() + PATIENCE
    while live.asked != stored(project):
        assert time.monotonic() < until, (live.asked, live.notice)
        live.wake()
        live.wait_for(live.dealer.seen_event + 1, 0.05)
    return app.run()


def test_the_strategies_are_listed_with_what_they_do_and_where_they_come_from(paneled: Project) -> None:
    app = opened(paneled)
    assert not app.exception
    names = [option.split(" ")[0] for option in app.radio[0].options]
    assert names[:2] == ["auto", plain("of_the_panel")]
    assert "the default" in app.radio[0].options[0]
    assert app.radio[0].value == "auto"
    said = dict(zip(names, app.radio[0].proto.captions, strict=True))
    assert said[plain("of_the_panel")] == plain("Highest *number* first.") + " · " + plain(
        "file strategies/mine.py of this project"
    )
    assert said["margin"].endswith(plain("built-in"))
    assert said[plain("rare_first")].endswith(plain("file strategies/rare_first.py of labelloop"))
    assert of_panel(app, "In use").disabled


def test_the_fields_of_a_strategy_come_from_its_signature(paneled: Project) -> None:
    app = opened(paneled)
    app.radio[0].set_value("of_the_panel").run()
    much, most, far, word = (of_panel(app, text) for text in ("How much", "Most", "Only far", "Word"))
    assert (much.type, much.value, much.step) == ("number_input", 0.5, 0.01)
    assert (most.type, most.value, most.step) == ("number_input", 3, 1)
    assert isinstance(most.value, int)
    assert (far.type, far.value) == ("toggle", False)
    assert (word.type, word.value) == ("text_input", "")
    assert [field.label for field in (much, most, far, word)] == [
        "How much (default 0.5)",
        "Most (default 3)",
        "Only far (default off)",
        "Word (default empty)",
    ]


def test_settings_are_stored_shown_again_and_used(paneled: Project) -> None:
    app = opened(paneled)
    app.radio[0].set_value("of_the_panel").run()
    of_panel(app, "How much").set_value(-0.125)
    of_panel(app, "Most").set_value(7)
    of_panel(app, "Only far").set_value(True)
    of_panel(app, "Word").set_value("**rust**")
    of_panel(app, "Reach").set_value("2.5")
    of_panel(app, "Use it").click().run()
    values = {"how_much": -0.125, "most": 7, "only_far": True, "word": "**rust**", "reach": 2.5}
    assert stored(paneled) == ("of_the_panel", values)
    assert "**of\\_the\\_panel** chose the images that come next." in texts(settled(app, paneled))
    assert desk.get(desk.open_project(paneled.folder)).ran == "of_the_panel"

    again = opened(paneled)
    assert again.radio[0].value == "of_the_panel"
    shown = [of_panel(again, text).value for text in ("How much", "Most", "Only far", "Word", "Reach")]
    assert shown == [-0.125, 7, True, "**rust**", "2.5"]
    of_panel(again, "Back to the default").click().run()
    assert stored(paneled) == ("auto", {})
    assert again.radio[0].value == "auto"
    assert "Back to the default" not in [button.label for button in again.button]


def test_a_value_of_another_type_is_not_stored(paneled: Project) -> None:
    app = opened(paneled)
    app.radio[0].set_value("of_the_panel").run()
    of_panel(app, "Reach").set_value("far")
    of_panel(app, "Use it").click().run()
    assert app.error[0].value == plain("of_the_panel: reach must be float, not 'far'")
    assert stored(paneled) == ("auto", {})


def test_a_stored_value_that_fits_no_more_gives_way_to_the_default(paneled: Project) -> None:
    paneled.change_settings(strategy="of_the_panel", strategy_settings={"most": "many", "only_far": 1, "how_much": 2})
    app = opened(paneled)
    assert not app.exception
    assert [of_panel(app, text).value for text in ("How much", "Most", "Only far")] == [2.0, 3, False]


def test_a_broken_file_is_red_and_the_rest_works(paneled: Project) -> None:
    app = opened(paneled)
    torn = paneled.folder / "strategies" / "torn.py"
    red = f"{torn}, line 2: AttributeError: module 'numpy' has no attribute 'no_such_thing'"
    assert f":red[{plain(red)}]" in [element.value for element in app.markdown]
    use(app, "margin")
    assert "**margin** chose the images that come next." in texts(settled(app, paneled))


def test_before_the_first_model_it_is_said_who_stands_in(make_project: Callable[..., Project], photos: Path) -> None:
    project = make_project(photos)
    embed_by_color(project)
    app = settled(use(opened(project), "margin"), project)
    assert f"**{plain('max_herding')}** chose the images that come next: margin needs a model" in texts(app)


def test_a_strategy_that_is_gone_or_fails_is_replaced_and_that_is_said(paneled: Project) -> None:
    paneled.change_settings(strategy="gone")
    app = settled(opened(paneled), paneled)
    assert app.radio[0].value is None
    assert "**auto** chose the images that come next, because gone could not." in texts(app)
    of_panel(app, "Back to the default").click().run()
    assert stored(paneled) == ("auto", {})

    (paneled.folder / "strategies" / "torn.py").write_text(
        MINE.replace("of_the_panel", "shaky").replace("pool.ids", "x")
    )
    app = settled(use(opened(paneled), "shaky"), paneled)
    assert "**auto** chose the images that come next, because shaky could not." in texts(app)
    assert plain("NameError: name 'x' is not defined. Going on with 'auto'.") in app.warning[0].value


def test_files_of_another_project_are_not_offered(
    paneled: Project, make_project: Callable[..., Project], photos: Path
) -> None:
    opened(paneled)
    assert plain("of_the_panel") not in opened(make_project(photos, name="other")).radio[0].options


# -- export ------------------------------------------------------------------------------------------------------------


def write(app: AppTest) -> AppTest:
    next(button for button in app.button if button.label == "Write").click()
    return app.run()


def test_what_will_be_written_is_said_before_and_after(labeled: Project) -> None:
    app = run("export", labeled)
    held_out, _ = labeled.catalog.flags()
    kept = int(held_out[:30].sum())
    assert "30 images will be written" in texts(app)
    assert f"{30 - kept} to learn from (train) · {kept} exam (test)" in texts(app)
    assert "Left out: 1 unsure or skipped" in texts(app)
    write(app)
    out = labeled.folder.with_name("project-export.csv")
    assert out.read_text().count("\n") == 31
    assert app.success[0].value == f"30 labels written to {plain(str(out))}"
    assert app.text_input(key="out csv").value.endswith("project-export-2.csv")


def test_filters_narrow_what_is_written(labeled: Project) -> None:
    app = run("export", labeled)
    app.checkbox(key="no_flagged").check()
    app.multiselect(key="classes").set_value(["red"]).run()
    held_out, _ = labeled.catalog.flags()
    red = [i for i, name in truth(labeled).items() if name == "red" and 1 < i <= 30]
    assert f"{len(red)} images will be written" in texts(app)
    app.segmented_control(key="split").set_value("Exam").run()
    assert f"{sum(held_out[i - 1] for i in red)} images will be written" in texts(app)


def test_an_export_is_never_written_among_the_images_or_over_something(labeled: Project, photos: Path) -> None:
    app = run("export", labeled)
    app.text_input(key="out csv").set_value(str(photos / "out.csv"))
    assert "lies inside the image folder" in write(app).error[0].value
    taken = photos.parent / "taken.csv"
    taken.write_text("mine")
    app.text_input(key="out csv").set_value(str(taken))
    assert "the file is there already" in plain_again(write(app).error[0].value)
    assert taken.read_text() == "mine"


def test_a_short_place_means_beside_the_project_and_none_writes_nothing(labeled: Project) -> None:
    app = run("export", labeled)
    app.text_input(key="out csv").set_value("short.csv")
    out = labeled.folder.with_name("short.csv")
    assert write(app).success[0].value == f"30 labels written to {plain(str(out))}"
    assert out.exists()
    app.text_input(key="out csv").set_value(f'"{out.with_name("copied.csv")}"')
    write(app)
    assert out.with_name("copied.csv").exists()
    app.text_input(key="out csv").set_value(" ").run()
    assert next(button for button in app.button if button.label == "Write").disabled


def write_model(app: AppTest) -> AppTest:
    next(button for button in app.button if button.label == "Write the model").click()
    return app.run()


def test_the_model_can_be_taken_from_the_page(make_project: Callable[..., Project], photos: Path) -> None:
    project = make_project(photos, backbone="embedded")
    for _ in worker.embed(project):
        pass
    for image_id, name in truth(project).items():
        project.label(image_id, name)
    app = write_model(run("export", project))
    out = project.folder.with_name("project-model")
    assert app.success[0].value.startswith(f"The model is in {plain(str(out))}. Its probabilities are those of")
    assert (out / "predict.py").exists()
    assert app.text_input(key="out model").value.endswith("project-model-2")


def answer_others(app: AppTest, folder: Path | str, share: float | None = None) -> AppTest:
    app.text_input(key="others").set_value(str(folder)).run()
    if share is not None:
        next(one for one in app.button_group if one.key == "others error").set_value(share).run()
    next(button for button in app.button if button.label == "Let the model answer").click()
    return app.run()


def test_the_model_says_what_is_on_other_images(
    make_project: Callable[..., Project], photos: Path, tmp_path: Path
) -> None:
    project = make_project(photos, backbone="embedded")
    for _ in worker.embed(project):
        pass
    for image_id, name in truth(project).items():
        project.label(image_id, name)
    for name, color in (("a", (250, 3, 4)), ("b", (3, 4, 250))):
        draw(tmp_path / "others" / f"{name}.png", color)
    (tmp_path / "others" / "c.jpg").write_bytes(b"no image")
    app = answer_others(run("export", project), tmp_path / "others")
    assert not app.exception
    out = project.folder.with_name("project-answers.csv")
    rows = [line.split(",") for line in out.read_text("utf-8").splitlines()]
    assert rows[0] == ["file", "class", "probability", "decision"]
    assert [row[:2] + row[3:] for row in rows[1:]] == [
        ["a.png", "red", "ask a person"],
        ["b.png", "blue", "ask a person"],
    ]
    (said,) = (one.value for one in app.success)
    assert said.startswith(plain(f"The table is in {out}. All 2 images ask a person: for at most 5% wrong it takes 73"))
    assert plain("1 file could not be used: ") in said
    assert plain("c.jpg") in said
    assert app.text_input(key="out others").value.endswith("project-answers-2.csv")


def test_a_table_of_answers_that_cannot_be_written_leaves_nothing(
    labeled: Project, photos: Path, tmp_path: Path
) -> None:
    app = answer_others(run("export", labeled), tmp_path / "nowhere")
    assert "nowhere" in app.error[0].value
    app.text_input(key="out others").set_value(str(photos / "answers.csv"))
    app = answer_others(app, photos)
    assert plain("labelloop never writes there") in app.error[0].value
    assert not list(labeled.folder.parent.glob("*answers*"))
    assert not list(photos.glob("*.csv"))


def test_a_model_that_cannot_be_taken_is_told_in_words(labeled: Project) -> None:
    app = write_model(run("export", labeled))
    assert "made with backbone 'mean color', expected 'embedded'" in plain_again(app.error[0].value)
    assert not labeled.folder.with_name("project-model").exists()


def plain_again(text: str) -> str:
    return text.replace("\\", "")


# -- more images ------------------------------------------------------------------------------------------------------


def more(project: Project, folder: str) -> AppTest:
    """Start with the project open, after a folder was typed and looked into."""
    desk.open_project(project.folder)
    app = run("start", project)
    app.text_input(key="more").set_value(folder).run()
    next(button for button in app.button if button.label == "Look for new images").click()
    return app.run()


def test_another_folder_belongs_to_the_project_and_its_images_come_in(
    labeled: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, str]] = []
    monkeypatch.setattr(worker, "start", lambda project, kind: asked.append((project.folder, kind)))
    monkeypatch.setattr("labelloop.ui.visit.go", lambda name: asked.append((labeled.folder, name)))
    before, running = labeled.jobs.ask("embed")[0], labeled.catalog.folders()
    draw(tmp_path / "later" / "new.png", (1, 2, 3))
    app = more(labeled, f'"{tmp_path / "later"}"')
    assert not app.exception
    assert [*labeled.catalog.folders().values()] == [*running.values(), tmp_path / "later"]
    assert labeled.jobs.get(before).stop  # it had listed the folders before
    assert asked == [(labeled.folder, "embed"), (labeled.folder, "label")]


def test_without_another_folder_those_that_are_there_are_looked_through(
    labeled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(worker, "start", lambda project, kind: asked.append(kind))
    monkeypatch.setattr("labelloop.ui.visit.go", asked.append)
    app = more(labeled, "")
    assert plain(str(*labeled.catalog.folders().values())) in texts(app)
    assert asked == ["embed", "label"]


def test_a_folder_that_is_not_there_is_refused_and_nothing_is_added(labeled: Project, tmp_path: Path) -> None:
    app = more(labeled, str(tmp_path / "nowhere"))
    assert "should be a folder of images, but there is nothing there" in texts(app)
    assert len(labeled.catalog.folders()) == 1
    assert labeled.jobs.latest("embed") is None


def test_before_a_project_is_open_there_is_nothing_to_add_to() -> None:
    assert "More images" not in texts(run("start"))
