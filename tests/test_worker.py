"""Background work: it resumes where it was, says what happened, and never puts something worse in charge."""

import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from labelloop import worker
from labelloop.backbone import load_backbone
from labelloop.board import read_board
from labelloop.errors import CannotTrain
from labelloop.features import FeatureStore
from labelloop.images import open_upright
from tests.conftest import draw, truth

PATIENCE = 120.0  # seconds; only a failure waits so long
RUN = [sys.executable, "-c", "from labelloop.worker import main; main()"]


def never():
    return False


def embed(project, stop=never):
    return list(worker.embed(project, announce=print, stop=stop))


def label_all(project):
    for image_id, name in truth(project).items():
        project.label(image_id, name)


class Counting:
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
    assert 0 < counting.asked < 40
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


def test_the_process_does_the_work_and_says_when_it_is_done(project):
    job = worker.start(project, "embed")
    assert worker.start(project, "embed").id == job.id  # asked twice, done once
    wait_until(lambda: not project.jobs.get(job.id).is_open)
    job = project.jobs.get(job.id)
    assert (job.state, job.done, job.total) == ("done", 40, 40)
    assert read_board(project).embedded.all()


def test_a_killed_process_leaves_a_project_that_goes_on(project, photos):
    for k in range(300):  # enough that it is killed at work
        draw(photos / "more" / f"{k}.png", (k % 250, 100, (k * 7) % 250), size=(30 + k % 9, 40))
    job_id, _ = project.jobs.ask("embed")
    process = subprocess.Popen([*RUN, str(project.folder), str(job_id)])
    store = project.features_folder("base")
    wait_until(lambda: (store / "about.json").exists() and len(FeatureStore.open(store)) > 0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    features, done = FeatureStore.open(store).read()
    assert done.any()
    assert (np.linalg.norm(features[done], axis=1) > 0.99).all()  # what is marked done is there
    silence(project)
    assert project.jobs.get(job_id).state == "failed"
    assert "start it again" in project.jobs.get(job_id).message
    again = worker.start(project, "embed")
    assert again.id != job_id
    wait_until(lambda: not project.jobs.get(again.id).is_open)
    assert project.jobs.get(again.id).state == "done"
    assert read_board(project).embedded.all()


def test_a_process_that_dies_at_once_is_said_at_once(project, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    job = worker.start(project, "embed")
    wait_until(lambda: not project.jobs.get(job.id).is_open)
    assert project.jobs.get(job.id).message.startswith("the background process ended with status 1; start it again")


def test_a_running_process_stops_when_told_to(project, photos):
    for k in range(400):
        draw(photos / "more" / f"{k}.png", (k % 250, 100, (k * 7) % 250), size=(200 + k % 9, 200))
    job = worker.start(project, "embed")
    wait_until(lambda: project.jobs.get(job.id).state == "running")
    project.jobs.stop(job.id)
    wait_until(lambda: not project.jobs.get(job.id).is_open)
    assert project.jobs.get(job.id).state == "stopped"


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


# -- fine-tuning: what it may see, and who is in charge afterwards ----------------------------------------------


def test_the_built_in_features_cannot_be_fine_tuned(project):
    embed(project)
    label_all(project)
    with pytest.raises(CannotTrain, match="timm"):
        list(worker.fine_tune(project, announce=print, stop=never))


def test_fine_tuning_the_built_in_features_is_refused_before_it_starts(project):
    with pytest.raises(CannotTrain, match="built-in"):
        worker.start(project, "fine-tune")
    assert project.jobs.all() == []


def test_labeled_images_that_came_under_other_features_are_described_by_the_first_ones_too(project, counting):
    project.label(3, "red")
    project.label(4, "blue")
    list(worker._embed_labeled_into_base(project, print, never))
    assert np.flatnonzero(read_board(project, features="base").embedded).tolist() == [2, 3]
    list(worker._embed_labeled_into_base(project, print, never))
    assert counting.asked == 2


# -- waiting ------------------------------------------------------------------------------------------------------


def wait_until(condition):
    """Look every tenth of a second; fails after PATIENCE."""
    pause, ticks = threading.Event(), int(PATIENCE * 10)
    for _ in range(ticks):
        if condition():
            return
        pause.wait(0.1)
    raise AssertionError(f"not within {PATIENCE} seconds")


def silence(project):
    """As if the worker had not been heard of for a while."""
    with project.db.atomic():
        project.db.conn.execute("UPDATE jobs SET heartbeat = heartbeat - 60")
