"""Embedding in the background, and the process that does such work: it resumes where it was and says what happened."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from labelloop import background, judging, worker
from labelloop.backbone import Backbone, load_backbone
from labelloop.board import read_board
from labelloop.errors import CannotTrain, NotSaved, ProjectError
from labelloop.features import FeatureStore
from labelloop.images import open_upright
from labelloop.project import Measured, Project
from labelloop.train import recipe
from labelloop.types import Event
from tests.conftest import PATIENCE, TINY, draw, embed_by_color, label_some, wait_for_end, wait_until

LONG_AGO = "2026-01-01T00:00:00.000Z"


def never():
    return False


def embed(project, stop=never):
    return list(worker.embed(project, announce=print, stop=stop))


class Counting(Backbone):
    """A backbone that counts how often it was asked about an image: features are its mean color."""

    name, dim, weights_id, batch, size = "counting", 3, "0", 4, 8

    def __init__(self):
        self.asked = 0

    def prepare(self, image):
        return np.asarray(image, np.float32).mean((0, 1))

    def forward(self, prepared):
        self.asked += len(prepared)
        colors = np.stack(prepared)
        return colors / np.linalg.norm(colors, axis=1, keepdims=True)


@pytest.fixture
def counting(monkeypatch):
    backbone = Counting()
    monkeypatch.setattr("labelloop.backbone.load_backbone", lambda *_, **__: backbone)
    return backbone


def test_every_image_gets_the_features_of_its_backbone(project):
    last = embed(project)[-1]
    assert (last.done, last.total) == (40, 40)
    features, done = FeatureStore.open(project.features_folder("base")).read()
    assert done.all()
    images = [open_upright(image.path) for image in project.catalog.images().values()]
    np.testing.assert_allclose(features, load_backbone("embedded").embed(images), atol=1e-6)


def test_stopped_and_started_again_nothing_is_embedded_twice(project, counting):
    polls = iter(range(10**6))
    embed(project, stop=lambda: next(polls) > 4)
    assert counting.asked < 40
    embed(project)
    assert counting.asked == 40
    embed(project)
    assert counting.asked == 40


def test_new_files_are_found_and_embedded(project, counting, photos):
    embed(project)
    draw(photos / "new.png", (90, 90, 90))
    embed(project)
    assert counting.asked == 41
    assert read_board(project).embedded.tolist() == [True] * 41


def test_a_file_that_breaks_after_the_scan_is_stepped_over_and_listed(project, counting):
    broken = project.catalog.image(7)
    broken.path.write_bytes(broken.path.read_bytes()[:60])
    os.utime(broken.path, ns=(0, next(f["mtime_ns"] for f in project.db.query("SELECT mtime_ns FROM files"))))
    embed(project)
    board = read_board(project)
    assert not board.embedded[6]
    assert board.embedded.sum() == 39
    assert [name for name, _ in project.catalog.problems()] == [broken.name]


def test_while_a_disk_is_away_no_image_is_lost_and_none_is_tried_without_end(project, counting, photos):
    away, told = photos.with_name("unplugged"), []
    for progress in worker.embed(project, announce=print):
        if not told:
            photos.rename(away)  # it has been listed
        told.append(progress)
    assert told[-1].message.startswith("40 images could not be embedded just now, to be tried again the next time: ")
    assert told[-1].message.endswith("cannot be read: no such file or directory")
    assert (told[-1].done, told[-1].total) == (0, 40)
    assert all(0 <= progress.done <= progress.total for progress in told)
    assert project.catalog.count_gone() == 0
    away.rename(photos)
    assert embed(project)[-1].message.startswith("got to know 40 images, ")
    assert read_board(project).embedded.all()


def test_a_file_that_another_image_is_written_over_gives_no_features_to_the_one_before(project):
    """Here the held-out one is written over it, which must never be learned from."""
    exam, learned = (int(np.flatnonzero(read_board(project).held_out == held_out)[0]) + 1 for held_out in (True, False))
    path, before = project.catalog.image(learned).path, project.catalog.image(learned).path.read_bytes()
    project.label(learned, "red")
    for k, _ in enumerate(worker.embed(project, announce=print)):
        if not k:
            path.write_bytes(project.catalog.image(exam).path.read_bytes())
    board = read_board(project)
    assert np.flatnonzero(~board.embedded).tolist() == [learned - 1]
    assert board.to_learn_from.tolist() == []
    embed(project)
    assert np.flatnonzero(read_board(project).gone).tolist() == [learned - 1]
    path.write_bytes(before)
    embed(project)
    board = read_board(project)
    assert board.to_learn_from.tolist() == [learned - 1]
    assert not np.array_equal(board.features[learned - 1], board.features[exam - 1])


def test_files_with_another_time_are_embedded_at_once(project, photos):
    """As in a project that was copied without its features."""
    for path in photos.rglob("*.png"):
        os.utime(path)
    last = embed(project)[-1]
    assert last.message.startswith("got to know 40 images, ")
    assert (last.done, last.total) == (40, 40)


class Blind(Counting):
    """Computes nothing from reddish images."""

    def forward(self, prepared):
        features = super().forward(prepared)
        return np.where(features[:, :1] > 0.7, 0, features)


@pytest.mark.parametrize("name", ["base", "fine-tune-1"])
def test_an_image_is_unusable_only_if_the_pretrained_network_says_so(project, monkeypatch, name):
    monkeypatch.setattr("labelloop.backbone.load_backbone", lambda *_, **__: Blind())
    weights = project.folder / "weights.safetensors"
    weights.touch()
    project.put_features_in_charge(name, "counting", weights.name)
    message = embed(project)[-1].message
    board = read_board(project)
    blind = int((~board.embedded).sum())
    assert 0 < blind < 40
    assert board.gone.sum() == len(project.catalog.problems()) == (blind if name == "base" else 0)
    assert (f"{blind} images could not be embedded just now" in message) == (name != "base")


def test_what_was_tried_in_vain_is_not_waited_for(project):
    board = read_board(project)
    assert board.is_embedding
    rows = np.flatnonzero(~board.held_out)
    board.embedded[:] = True
    board.embedded[rows[[0, 5]]] = False
    assert not board.is_embedding
    board.embedded[rows[-1] :] = False
    assert board.is_embedding


def test_without_the_file_of_the_fine_tuned_model_the_pretrained_one_is_in_charge_again(project):
    embed_by_color(project, "fine-tune-1")
    project.put_features_in_charge("fine-tune-1", "resnet18", "models/fine-tune-1/model.safetensors")
    lost = project.folder / "models" / "fine-tune-1" / "model.safetensors"
    message = embed(project)[-1].message
    assert message.startswith(
        f"the fine-tuned model is lost (there is no file {lost}): the pretrained one is in charge again; got to know "
    )
    assert project.features_in_charge == {"name": "base", "backbone": "embedded", "weights": None}
    assert read_board(project).embedded.all()


def test_the_process_does_the_work_and_says_when_it_is_done(project):
    job = worker.start(project, "embed")
    assert worker.start(project, "embed").id == job.id  # asked twice, done once
    job = wait_for_end(project, job.id)
    assert (job.state, job.done, job.total) == ("done", 40, 40)
    assert read_board(project).embedded.all()


# It comes to no end by itself: the features of the second batch are written, and their marks never are.
STUCK = """
import itertools, sys, threading
from pathlib import Path
from labelloop import backbone, features, worker
writes, runs = itertools.count(1), features._runs
def until_killed(*what):
    if next(writes) == 4:
        Path(sys.argv[1], "stuck").touch()
        threading.Event().wait()
    return runs(*what)
features._runs = until_killed
backbone.Embedded.batch = 8
worker.main()
"""


def test_a_killed_process_leaves_a_project_that_goes_on(project):
    job_id, _ = project.jobs.ask("embed")
    process = subprocess.Popen([sys.executable, "-c", STUCK, str(project.folder), str(job_id)])
    wait_until((project.folder / "stuck").exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    features, done = FeatureStore.open(project.features_folder("base")).read()
    assert done.sum() == 8
    assert (np.linalg.norm(features[done], axis=1) > 0.99).all()  # what is marked done is there
    silence(project)
    assert project.jobs.get(job_id).state == "failed"
    assert "start it again" in project.jobs.get(job_id).message
    again = worker.start(project, "embed")
    assert again.id != job_id
    assert wait_for_end(project, again.id).state == "done"
    assert read_board(project).embedded.all()


def test_a_process_that_dies_at_once_is_said_at_once(project, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    job = worker.start(project, "embed")
    job = wait_for_end(project, job.id)
    assert job.message.startswith("the background process ended with status 1; start it again")


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_process_of_a_project_that_was_deleted_ends_without_a_word(project, is_made_anew):
    class Deleting:
        def wait(self):
            shutil.rmtree(project.folder)
            if is_made_anew:
                Project.create(project.folder).close()
            return 1

    job_id, _ = project.jobs.ask("embed")
    worker._watch(Deleting(), project, job_id)
    if is_made_anew:
        with Project(project.folder) as other:
            assert other.jobs.all() == []


def test_a_running_process_stops_when_told_to(project, photos):
    for k in range(400):
        draw(photos / "more" / f"{k}.png", (k % 250, 100, (k * 7) % 250), size=(200 + k % 9, 200))
    job = worker.start(project, "embed")
    wait_until(lambda: project.jobs.get(job.id).state == "running")
    project.jobs.stop(job.id)
    assert wait_for_end(project, job.id).state == "stopped"


@pytest.fixture
def done(monkeypatch):
    """The kinds of jobs that did their work, which is nothing here."""
    kinds = []
    for kind in worker.WORK:
        monkeypatch.setitem(worker.WORK, kind, lambda *_, kind=kind, **__: iter(kinds.append(kind) or ()))
    monkeypatch.setattr(worker, "HEARTBEAT_SECONDS", 0.01)
    return kinds


@pytest.fixture
def waiting(project, done):
    """(The job that runs, the one that waits for it, the thread that is to do it.)"""
    first, _ = project.jobs.ask("fine-tune")
    project.jobs.report(first, state="running", message="round 1 of 4")
    second, _ = project.jobs.ask("embed")
    thread = threading.Thread(target=worker.work, args=(project, second))
    thread.start()
    yield first, second, thread
    project.jobs.report(first, state="done")
    thread.join()


def test_a_job_that_waits_says_for_what_and_works_when_it_is_over(project, waiting, done):
    first, second, thread = waiting
    wait_until(lambda: project.jobs.get(second).message)
    job = project.jobs.get(second)
    assert (job.state, job.message) == ("waiting", "waits for fine-tuning to end")
    assert done == []
    project.jobs.report(first, state="done")
    thread.join()
    assert (project.jobs.get(second).state, project.jobs.get(second).message, done) == ("done", "", ["embed"])


def test_a_job_that_is_stopped_while_it_waits_does_nothing(project, waiting, done):
    first, second, thread = waiting
    project.jobs.stop(second)
    thread.join()
    assert (project.jobs.get(second).state, done) == ("stopped", [])
    assert project.jobs.get(first).state == "running"


def test_a_job_that_was_stopped_before_it_began_does_nothing(project, done):
    job_id, _ = project.jobs.ask("embed")
    project.jobs.stop(job_id)
    worker.work(project, job_id)
    assert (project.jobs.get(job_id).state, done) == ("stopped", [])


def test_a_job_that_cannot_work_says_why(make_project, photos):
    project = make_project(photos, backbone="resnet18", weights="/nowhere/weights.safetensors")
    job_id, _ = project.jobs.ask("embed")
    worker.work(project, job_id)
    job = project.jobs.get(job_id)
    assert job.state == "failed"
    assert "/nowhere/weights.safetensors" in job.message


def test_a_bug_in_a_job_is_a_failed_job_and_keeps_its_traceback(project, monkeypatch, capsys):
    def broken(*_, **__):
        raise ZeroDivisionError("a bug")
        yield

    monkeypatch.setitem(worker.WORK, "embed", broken)
    job_id, _ = project.jobs.ask("embed")
    with pytest.raises(ZeroDivisionError):
        worker.work(project, job_id)
    assert project.jobs.get(job_id).message == "ZeroDivisionError: a bug (see worker.log)"
    assert "Traceback" in capsys.readouterr().err


def test_fine_tuning_the_built_in_features_is_refused_before_it_starts(project):
    with pytest.raises(CannotTrain, match="built-in"):
        worker.start(project, "fine-tune")
    assert project.jobs.all() == []


# -- fine-tuning by itself ----------------------------------------------------------------------------------------


@pytest.fixture
def tunable(make_project, photos, monkeypatch):
    """A project whose backbone can be fine-tuned, with all images embedded; starting a job starts no process."""
    project = make_project(photos, held_out=0.25, backbone=TINY)
    embed_by_color(project)
    monkeypatch.setattr(recipe, "FIRST_LABELS", 12)
    monkeypatch.setattr(worker, "start", lambda project, kind: project.jobs.get(project.jobs.ask(kind)[0]))
    return project


def is_due(project):
    return worker.fine_tune_when_due(project, read_board(project))


def end(project, took_over=False, state="done"):
    """As a worker ends its job."""
    job = project.jobs.latest("fine-tune")
    if state == "done":
        numbers = {"labels": 12, "exam_n": 0, "exam_correct": 0, "seconds": 1.0}
        project.rounds.add_model(Measured(kind="fine-tune", features="f", in_charge=took_over, **numbers))
    project.jobs.report(job.id, state=state)


def test_how_many_labels_it_takes():
    wanted = recipe.labels_wanted
    assert [wanted(c) for c in (2, 10, 11, 100)] == [50, 50, 55, 500]
    assert [wanted(2, last, True) for last in (10, 50, 75, 101)] == [50, 75, 113, 152]
    assert [wanted(2, last, False) for last in (10, 50, 75)] == [50, 100, 150]


def test_it_begins_once_there_are_enough_labels(tunable):
    label_some(tunable, 11)
    assert not is_due(tunable)
    label_some(tunable, 12)
    assert is_due(tunable)
    assert tunable.jobs.latest("fine-tune").state == "waiting"
    assert not is_due(tunable)  # one at a time
    assert len(tunable.jobs.all()) == 1


@pytest.mark.parametrize(("took_over", "state", "at"), [(True, "done", 18), (False, "done", 24), (False, "failed", 24)])
def test_the_next_one_takes_half_as_many_labels_more_and_after_one_in_vain_twice_as_many(tunable, took_over, state, at):
    label_some(tunable, 12)
    assert is_due(tunable)
    end(tunable, took_over, state)
    assert judging.due_at(tunable, read_board(tunable)) == at
    label_some(tunable, at - 1)
    assert not is_due(tunable)
    label_some(tunable, at)
    assert is_due(tunable)


def test_imported_labels_of_an_earlier_date_do_not_put_it_off(tunable):
    label_some(tunable, 12)
    assert is_due(tunable)
    end(tunable)
    rows = np.flatnonzero(~read_board(tunable).held_out)[12:16]
    given = [Event(image_id=int(row) + 1, kind="label", class_index=0, source="import", at=LONG_AGO) for row in rows]
    tunable.log.append(given)
    assert judging.due_at(tunable, read_board(tunable)) == 24


def test_of_a_job_from_before_events_were_noted_the_date_decides(tunable):
    label_some(tunable, 12)
    assert is_due(tunable)
    end(tunable)
    with tunable.db.atomic():
        tunable.db.conn.execute("UPDATE jobs SET event = NULL")
    label_some(tunable, 16)
    assert judging.due_at(tunable, read_board(tunable)) == 24


def test_labels_of_the_exam_do_not_count(tunable):
    label_some(tunable, 11)
    for row in np.flatnonzero(read_board(tunable).held_out):
        tunable.label(int(row) + 1, "red")
    assert not is_due(tunable)


def test_it_never_begins_while_images_are_embedded_or_after_it_was_switched_off(tunable, photos):
    label_some(tunable, 20)
    embedding, _ = tunable.jobs.ask("embed")
    assert not is_due(tunable)
    tunable.jobs.report(embedding, state="done")
    for k in range(20):  # of which some are not held out
        draw(photos / f"new_{k}.png", (90, 90, 5 * k))
    list(tunable.catalog.scan())
    assert not is_due(tunable)
    for path in photos.glob("new_*.png"):
        path.unlink()
    list(tunable.catalog.scan())
    tunable.change_settings(fine_tunes=False)
    assert not is_due(tunable)
    assert judging.due_at(tunable, read_board(tunable)) is None
    tunable.change_settings(fine_tunes=True)
    assert is_due(tunable)


def test_the_built_in_features_are_never_fine_tuned_by_itself(project, monkeypatch):
    embed(project)
    monkeypatch.setattr(recipe, "FIRST_LABELS", 12)
    label_some(project, 30)
    assert not is_due(project)
    assert project.jobs.latest("fine-tune") is None


def test_a_stop_is_heard_while_fine_tuning_looks_for_images(tunable, photos):
    label_some(tunable, 20)
    for k in range(20):
        draw(photos / f"new_{k}.png", (90, 90, 5 * k))
    list(background.fine_tune(tunable, stop=lambda: True))
    assert len(tunable.catalog) == 40  # it has not read on


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this system does not weigh sessions")
def test_a_worker_has_the_lowest_priority_and_so_has_its_session_but_no_other():
    code = "from labelloop.worker import step_back; step_back(); import os; print(os.nice(0))"
    show = f"{code}; print(open('/proc/self/autogroup').read())"
    before = Path("/proc/self/autogroup").read_text()
    run = {"capture_output": True, "text": True, "check": True}
    assert subprocess.run([sys.executable, "-c", code], **run).stdout == "19\n"
    assert Path("/proc/self/autogroup").read_text() == before
    assert (
        subprocess.run([sys.executable, "-c", show], start_new_session=True, **run).stdout.strip().endswith("nice 19")
    )


class Refusing:
    """Jobs whose first report is refused; by the second one they ask to stop."""

    def __init__(self, error):
        self.jobs, self.error, self.reports = self, error, 0

    def report(self, job_id):
        self.reports += 1
        if self.reports == 1:
            raise self.error
        return True

    def close(self):
        pass


@pytest.mark.parametrize(("error", "reports"), [(NotSaved("the database is locked"), 2), (ProjectError("deleted"), 1)])
def test_the_heartbeat_outlives_a_locked_database_and_ends_with_the_project(monkeypatch, error, reports):
    monkeypatch.setattr(worker, "HEARTBEAT_SECONDS", 0.001)
    project = Refusing(error)
    with worker.Pulse(project, 1) as pulse:
        assert pulse.stop.wait(PATIENCE)
    assert min(project.reports, 2) == reports


# -- as if time had passed ---------------------------------------------------------------------------------------


def silence(project):
    """As if the worker had not been heard of for a while."""
    with project.db.atomic():
        project.db.conn.execute("UPDATE jobs SET heartbeat = heartbeat - 60")
