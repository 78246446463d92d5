"""Fine-tuning a project from end to end, and what bad luck does to it.

Whatever happens: the state on screen says so, the old model stays in charge, no label is touched.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from labelloop import background, judging, resuming, worker
from labelloop.board import read_board
from labelloop.errors import CannotTrain
from labelloop.features import FeatureStore
from labelloop.learning import learn
from labelloop.project import Project
from labelloop.train import finetune
from labelloop.train.training import Training
from labelloop.types import Event
from tests.conftest import TINY, draw, label_some, truth, wait_until


@pytest.fixture
def weights(tmp_path):
    """Random ones, for images of 32 pixels."""
    torch.manual_seed(1)
    path = tmp_path / "tiny.safetensors"
    save_file(timm.create_model(TINY).state_dict(), path, {"labelloop": json.dumps({"size": 32})})
    return path


@pytest.fixture
def make(make_project, weights):
    """Makes projects with a tiny network, whose images are embedded."""

    def make(images, classes=("red", "blue")):
        project = make_project(images, classes, held_out=0.25, backbone=TINY, weights=str(weights))
        for _ in background.embed(project):
            pass
        return project

    return make


@pytest.fixture
def project(make, photos):
    return make(photos)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(finetune, "batch_and_epochs", lambda n, on_cpu: (8, 3))


def fine_tune(project):
    """In this process, as one job."""
    job_id, _ = project.jobs.ask("fine-tune")
    worker.work(project, job_id)
    return project.jobs.get(job_id)


def crash(project, error):
    """As one job that ends with an error which is a bug, or bad luck."""
    job_id, _ = project.jobs.ask("fine-tune")
    with pytest.raises(error):
        worker.work(project, job_id)
    return project.jobs.get(job_id)


def log(project):
    return list(project.log.since(0))


def check_nothing_changed(project, before):
    """The old model is in charge and learns what it learned; the log has what it had."""
    with Project(project.folder) as fresh:
        assert fresh.features_in_charge["name"] == "base"
        assert log(fresh) == before
        board = read_board(fresh)
        assert [m for m in fresh.rounds.models() if m.in_charge] == []
    if len(np.unique(board.label[board.to_learn_from])) > 1:
        assert learn(board).labels == len(board.to_learn_from)


@pytest.fixture
def kept(monkeypatch):
    """What it made can be looked at, even if it does not take over."""
    monkeypatch.setattr(background, "_throw_away", lambda project, name: None)


def when(monkeypatch, said, act):
    """Let something happen while it works, as soon as it says so."""

    def with_luck(project, **how):
        waits = True
        for progress in background.fine_tune(project, **how):
            if waits and said in progress.message:
                waits = False
                act()
            yield progress

    monkeypatch.setitem(worker.WORK, "fine-tune", with_luck)


# -- as it should be --------------------------------------------------------------------------------------------------


def test_it_trains_looks_at_all_images_again_and_decides(project, kept):
    label_some(project, 24)
    before = log(project)
    job = fine_tune(project)
    assert job.state == "done"
    assert "answers right after fine-tuning" in job.message
    assert len(job.loss) == 20
    assert FeatureStore.open(project.features_folder("fine-tune-1")).read()[1].all()
    (measured,) = project.rounds.models()
    assert (measured.kind, measured.note) == ("fine-tune", job.message)
    assert log(project) == before


def test_it_says_what_it_does_and_keeps_the_error_of_each_round(project, short):
    label_some(project, 24)
    told = list(background.fine_tune(project))
    said = [progress.message for progress in told]
    assert "step 1 of 2: learning from 18 labels, round 0 of 3" in said[:3]
    assert "step 2 of 2: looking at all images with the new model, 40 of 40" in said
    lengths = [len(progress.loss) for progress in told]
    assert lengths == sorted(lengths)
    assert lengths[-1] == 3
    assert all(
        progress.seconds_left is not None for progress in told if progress.done > 0 and "step" in progress.message
    )


def test_stopped_it_leaves_everything_as_it_was_and_goes_on_later(project):
    label_some(project, 24)
    before = log(project)
    polls = iter(range(10**6))
    list(background.fine_tune(project, stop=lambda: next(polls) > 8))
    check_nothing_changed(project, before)
    assert fine_tune(project).state == "done"


def test_it_stops_before_the_next_step(project, monkeypatch):
    label_some(project, 24)
    steps, step = [], Training.step
    monkeypatch.setattr(Training, "step", lambda *args: steps.append(args) or step(*args))
    list(background.fine_tune(project, stop=lambda: len(steps) >= 3))
    assert len(steps) == 3


def test_asked_to_stop_it_ends_as_stopped(project, monkeypatch):
    label_some(project, 24)
    when(monkeypatch, "round 1 of", lambda: project.jobs.stop(project.jobs.latest().id))
    before = log(project)
    assert fine_tune(project).state == "stopped"
    check_nothing_changed(project, before)


def test_what_is_refused_leaves_nothing_broken(project, short, monkeypatch):
    monkeypatch.setattr(judging, "LEVEL", 1.1)
    label_some(project, 24)
    before, learned = log(project), learn(read_board(project))
    job = fine_tune(project)
    assert "the old model stays in charge" in job.message
    check_nothing_changed(project, before)
    assert (learn(read_board(project)).probabilities == learned.probabilities).all()
    assert "the old model stays in charge" in fine_tune(project).message
    assert [m.features for m in project.rounds.models()] == ["fine-tune-1", "fine-tune-2"]
    assert [path.name for path in (project.folder / "features").iterdir()] == ["base"]
    assert list((project.folder / "models").iterdir()) == []


def test_the_set_in_charge_is_never_written_over(project, short):
    label_some(project, 24)
    fine_tune(project)
    project.put_features_in_charge("fine-tune-2", TINY, "models/fine-tune-1/model.safetensors")  # and then: killed
    fine_tune(project)
    assert not project.features_folder("fine-tune-2").exists()
    assert project.features_folder("fine-tune-3").exists()


def test_the_built_in_features_cannot_be_fine_tuned(make_project, photos):
    project = make_project(photos, held_out=0.25)
    list(background.embed(project))
    label_some(project, 40)
    with pytest.raises(CannotTrain, match="timm"):
        list(background.fine_tune(project))


def test_labeled_images_that_came_under_other_features_are_described_by_the_first_ones_too(make_project, photos):
    project = make_project(photos, held_out=0.25)
    project.label(3, "red")
    project.label(4, "blue")
    embed = background._embed_labeled_into_base
    assert [progress.done for progress in embed(project, print, bool)] == [2]
    assert np.flatnonzero(read_board(project, features="base").embedded).tolist() == [2, 3]
    assert list(embed(project, print, bool)) == []


# -- labels there is little to learn from ------------------------------------------------------------------------------


def label_as(project, names):
    """Give images that are not held out these classes, in turn."""
    rows = np.flatnonzero(~read_board(project).held_out)
    for row, name in zip(rows, names, strict=False):
        project.label(int(row) + 1, name)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ([], "0 labels of 0 classes; fine-tuning needs at least 10"),
        (["red"] * 20, "labels of 1 classes; fine-tuning needs at least 10 labels of two classes"),
        (["red", "blue"] * 3, "labels of 2 classes; fine-tuning needs at least 10"),
    ],
)
def test_with_too_little_to_learn_from_it_says_so_and_changes_nothing(project, names, complaint):
    label_as(project, names)
    before = log(project)
    job = fine_tune(project)
    assert job.state == "failed"
    assert complaint in job.message
    check_nothing_changed(project, before)


def test_one_image_a_class_is_learned_from_and_judged(make, photos, short):
    names = [f"kind {k}" for k in range(20)]
    project = make(photos, tuple(names))
    label_as(project, names)
    before = log(project)
    job = fine_tune(project)
    assert job.state == "done", job.message
    assert "the old model stays in charge" in job.message
    check_nothing_changed(project, before)


def test_images_that_all_look_the_same_change_nothing(make, tmp_path, short):
    for k in range(40):
        (tmp_path / "same").mkdir(exist_ok=True)
        about = PngInfo()
        about.add_text("number", str(k))  # other bytes, or they would be one image
        Image.new("RGB", (24, 16), (90, 60, 30)).save(tmp_path / "same" / f"{k}.png", pnginfo=about)
    project = make(tmp_path / "same")
    label_as(project, ["red", "blue"] * 20)
    before = log(project)
    job = fine_tune(project)
    assert "the old model stays in charge" in job.message
    check_nothing_changed(project, before)


def test_a_class_that_loses_its_labels_while_it_trains(project, short, monkeypatch):
    label_some(project, 24)
    red = [answer.image_id for answer in project.log.answers() if answer.class_index == 0]
    when(monkeypatch, "round 2 of", lambda: project.log.append([Event(image_id=i, kind="undo") for i in red]))
    before = log(project)
    job = fine_tune(project)
    assert (job.state, "all of one class" in job.message) == ("failed", True)
    assert len(job.loss) == 3
    assert log(project)[: len(before)] == before
    check_nothing_changed(project, log(project))


# -- images that go or change -----------------------------------------------------------------------------------------


def test_images_that_are_gone_or_others_by_now_are_not_learned_from(project, short):
    label_some(project, 28)
    gone, changed = np.flatnonzero(read_board(project).label >= 0)[:2] + 1
    project.catalog.image(int(gone)).path.unlink()
    draw(project.catalog.image(int(changed)).path, (1, 2, 3), (31, 17))
    before = log(project)
    job = fine_tune(project)
    assert job.state == "done", job.message
    assert log(project) == before  # a label stays, whatever became of its image


def test_an_image_that_goes_while_it_trains_is_named(project, short, monkeypatch):
    label_some(project, 24)
    before = log(project)
    paths = [image.path for image in project.catalog.images().values()]
    when(monkeypatch, "round 0 of", lambda: [path.unlink() for path in paths])
    job = fine_tune(project)
    assert job.state == "failed"
    assert "img_" in job.message
    check_nothing_changed(project, before)


def test_an_image_that_changes_while_it_trains_is_not_taken_for_the_one_before(project, short, kept, monkeypatch):
    label_some(project, 24)
    before = log(project)
    _, aside = judging.split_to_judge(read_board(project), project.settings.seed)
    changed = project.catalog.image(int(aside[0]) + 1)
    when(monkeypatch, "round 3 of", lambda: draw(changed.path, (1, 2, 3), (31, 17)))
    assert fine_tune(project).state == "done"
    assert log(project) == before
    done = FeatureStore.open(project.features_folder("fine-tune-1")).read()[1]
    assert np.flatnonzero(~done.astype(bool)).tolist() == [changed.id - 1]
    assert len(done) == 41  # what is in its place is an image of its own


@pytest.mark.parametrize(("at", "is_put_back"), [("round 0 of", True), ("round 3 of", False)])
def test_what_learned_from_a_file_that_was_changed_meanwhile_is_not_used(project, short, monkeypatch, at, is_put_back):
    monkeypatch.setattr(judging, "LEVEL", 0)
    label_some(project, 24)
    before, board = log(project), read_board(project)
    train, _ = judging.split_to_judge(board, project.settings.seed)
    path = project.catalog.image(int(train[5]) + 1).path
    held_out = project.catalog.image(int(np.flatnonzero(board.held_out)[0]) + 1).path.read_bytes()

    def overwrite():
        was = path.read_bytes()
        path.write_bytes(held_out)
        if is_put_back:
            path.write_bytes(was)

    when(monkeypatch, at, overwrite)
    job = fine_tune(project)
    assert job.state == "done"
    assert job.message == f"{path} was changed while it was learned from: the old model stays in charge"
    check_nothing_changed(project, before)
    assert [folder.name for folder in (project.folder / "features").iterdir()] == ["base"]
    assert list((project.folder / "models").iterdir()) == []


def test_a_file_that_goes_when_it_was_learned_from_is_no_reason(project, short, monkeypatch):
    label_some(project, 24)
    train, _ = judging.split_to_judge(read_board(project), project.settings.seed)
    path = project.catalog.image(int(train[5]) + 1).path
    when(monkeypatch, "round 3 of", path.unlink)
    assert "answers right after fine-tuning" in fine_tune(project).message


def test_a_folder_that_goes_while_the_new_model_looks_at_it_loses_no_image(project, photos, short, monkeypatch):
    label_some(project, 24)
    before = log(project)
    when(monkeypatch, "looking at all images with the new model, 8 of 40", lambda: photos.rename(photos.with_name("x")))
    fine_tune(project)
    photos.with_name("x").rename(photos)
    assert project.catalog.count_gone() == 0
    assert log(project) == before
    list(background.embed(project))
    assert read_board(project).embedded.all()
    assert len(read_board(project).to_learn_from) == 24


def test_a_new_model_that_makes_nothing_of_any_image_is_not_used_and_blames_none(project, weights):
    label_some(project, 24)
    state = timm.create_model(TINY).state_dict()
    state |= {name: 0 * value for name, value in state.items() if "bn" in name and name.endswith(("weight", "bias"))}
    (project.folder / "models" / "fine-tune-1").mkdir(parents=True)
    save_file(state, project.folder / "models" / "fine-tune-1" / "model.safetensors")
    with pytest.raises(CannotTrain, match="the old model stays in charge: 40 images could not be embedded"):
        list(background._embed_all_anew(project, "fine-tune-1", (), print, bool))
    assert project.catalog.count_gone() == 0
    assert project.catalog.problems() == []


def test_a_folder_that_is_not_there_is_named(project, photos):
    label_some(project, 24)
    before = log(project)
    photos.rename(photos.with_name("unplugged"))
    job = fine_tune(project)
    assert job.state == "failed"
    assert str(photos) in job.message
    check_nothing_changed(project, before)


# -- weights, memory, GPU, disk, kills ---------------------------------------------------------------------------------


def test_weights_that_do_not_fit_are_named(project, weights):
    label_some(project, 24)
    before = log(project)
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    job = fine_tune(project)
    assert job.state == "failed"
    assert TINY in job.message
    weights.unlink()
    job = fine_tune(project)
    assert job.state == "failed"
    assert weights.name in job.message
    check_nothing_changed(project, before)


class Limited:
    """Logits of a network that has memory for so many images at a time."""

    def __init__(self, memory):
        self.memory, self.logits = memory, Training.logits

    def __get__(self, training, _):
        return lambda images: self.of(training, images)

    def of(self, training, images):
        if len(images) > self.memory:
            raise torch.OutOfMemoryError
        return self.logits(training, images)


def test_out_of_memory_it_goes_on_with_smaller_batches_and_says_so(project, short, monkeypatch):
    label_some(project, 24)
    monkeypatch.setattr(Training, "logits", Limited(3))
    told = [progress.message for progress in background.fine_tune(project)]
    note = " (the GPU ran out of memory: batches are computed in 2 parts from here on)"
    assert [message for message in told if message.endswith(f"round 3 of 3{note}")]
    assert "answers right after fine-tuning" in told[-1]


def test_a_gpu_that_is_too_small_for_one_image_is_an_error_in_words(project, short, monkeypatch):
    label_some(project, 24)
    before = log(project)
    monkeypatch.setattr(Training, "logits", Limited(0))
    job = fine_tune(project)
    assert job.state == "failed"
    assert job.message == "the GPU has no memory for a single image at a time; choose a smaller backbone"
    check_nothing_changed(project, before)


def test_a_gpu_that_disappears_is_an_error_in_words_and_the_next_run_goes_on(project, short, monkeypatch):
    label_some(project, 24)
    before = log(project)
    steps, backward = [], Training._backward

    def lost(training, images, labels):
        steps.append(1)
        if len(steps) == 7:
            raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronous")
        return backward(training, images, labels)

    monkeypatch.setattr(Training, "_backward", lost)
    job = crash(project, RuntimeError)
    assert job.state == "failed"
    assert job.message.startswith("the GPU stopped working (CUDA error: unspecified launch failure); start it again")
    assert len(job.loss) == 2
    check_nothing_changed(project, before)
    again = fine_tune(project)
    assert again.state == "done"
    assert again.loss[:2] == job.loss  # the curve goes on too
    assert len(again.loss) == 3
    assert len(steps) == 10  # and no finished round is trained twice


SMALL = 300_000  # bytes: less than the network, more than the database


@pytest.mark.parametrize("at", ["round 0 of 3", "round 3 of 3"])  # then it writes the checkpoint, and the result
def test_a_full_disk_is_an_error_in_words_and_the_next_run_goes_on(project, short, monkeypatch, at):
    resource = pytest.importorskip("resource", reason="needs a limit on file sizes")
    label_some(project, 24)
    before, limits = log(project), resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():  # write() fails in the same way as on a full disk
        project.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, limits[1]))

    when(monkeypatch, at, fill)
    try:
        job = crash(project, Exception)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert job.state == "failed"
    assert job.message.startswith("the disk is full (")
    check_nothing_changed(project, before)
    monkeypatch.setitem(worker.WORK, "fine-tune", background.fine_tune)
    assert fine_tune(project).state == "done"


# It comes to no end by itself: once two rounds are told, the next step never is done.
STUCK = """
import sys, threading
from labelloop.project import Project
from labelloop.train import finetune
from labelloop.train.training import Training
from labelloop.worker import main
finetune.batch_and_epochs = lambda n, on_cpu: (4, 100)
jobs, step = Project(sys.argv[1]).jobs, Training.step
Training.step = lambda *args: threading.Event().wait() if len(jobs.latest().loss) > 1 else step(*args)
main()
"""


def test_killed_while_it_trains_it_is_told_and_the_next_run_goes_on(project, monkeypatch):
    label_some(project, 24)
    before = log(project)
    job_id, _ = project.jobs.ask("fine-tune")
    process = subprocess.Popen([sys.executable, "-c", STUCK, str(project.folder), str(job_id)])
    wait_until(lambda: len(project.jobs.get(job_id).loss) > 1)
    process.kill()
    process.wait()
    with project.db.atomic():  # a minute later
        project.db.conn.execute("UPDATE jobs SET heartbeat = heartbeat - 60")
    killed = project.jobs.get(job_id)
    assert killed.state == "failed"
    assert killed.message.startswith("the background process stopped answering; start it again and it goes on")
    check_nothing_changed(project, before)
    monkeypatch.setattr(finetune, "batch_and_epochs", lambda n, on_cpu: (4, 100))
    again = next(progress for progress in background.fine_tune(project) if progress.loss)
    assert len(again.loss) >= len(killed.loss)
    assert again.loss[: len(killed.loss)] == killed.loss
    check_nothing_changed(project, before)


def kill(project, said):
    """Let it work until it says so, and no further."""
    work = background.fine_tune(project)
    next(progress for progress in work if said in progress.message)
    work.close()


def told_first(project):
    """What it says first of what it learns; it ends with the first step."""
    return next(told.message for told in background.fine_tune(project) if "step 1 of 2" in told.message)


@pytest.fixture
def steps(monkeypatch):
    """The steps that are made, one by one."""
    made, step = [], Training.step
    monkeypatch.setattr(Training, "step", lambda *args: made.append(args[-1]) or step(*args))
    return made


def test_answers_that_came_since_wait_for_the_next_run(project, short, steps, monkeypatch):
    label_some(project, 24)
    train, judge = judging.split_to_judge(read_board(project), project.settings.seed)
    kill(project, "round 1 of")
    label_some(project, 27)
    project.add_class("green")
    held_out = int(np.flatnonzero(read_board(project).held_out)[0])
    project.label(held_out + 1, "blue")
    del steps[:]
    decided, decide = [], background.decide
    monkeypatch.setattr(background, "decide", lambda *args: decided.append(args[2:4]) or decide(*args))
    said = [told.message for told in background.fine_tune(project)]
    note = "(it goes on with the labels it began with; 3 came later)"
    assert f"step 1 of 2: learning from 18 labels, round 1 of 3 {note}" in said
    assert steps == [3, 4, 5, 6, 7, 8]
    ((learned_from, judged_by),) = decided
    assert learned_from.tolist() == train.tolist()
    assert judged_by.tolist() == sorted([*judge, held_out])


def test_the_next_one_is_due_by_the_labels_that_a_resumed_one_began_with(project, short, monkeypatch):
    monkeypatch.setattr(judging, "LEVEL", 1.1)
    label_some(project, 24)
    kill(project, "round 1 of")
    label_some(project, 27)
    assert "the old model stays in charge" in fine_tune(project).message
    assert judging.due_at(project, read_board(project)) == 50  # not twice 27


def corrected(project, image_id):
    project.label(image_id, "green")


def undone(project, image_id):
    project.log.append([Event(image_id=image_id, kind="undo")])


def gone(project, image_id):
    project.catalog.image(image_id).path.unlink()


def overwritten(project, image_id):
    draw(project.catalog.image(image_id).path, (1, 2, 3), (31, 17))


def damaged(project, image_id):
    path = project.folder / "models" / "fine-tune-1" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:5000])


def unknown(project, image_id):
    (project.folder / "models" / "fine-tune-1" / resuming.RUN).write_text('{"y": ')


def overtaken(project, image_id):
    label_some(project, 21)


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (corrected, "1 of its answers changed since"),
        (undone, "1 of its answers changed since"),
        (gone, "some of its images are gone"),
        (overwritten, "img_"),
        (damaged, "what was done so far cannot be read"),
        (unknown, "it is not known what it learned from"),
        (overtaken, "it had begun with 14 labels, and there are 21 now"),
    ],
)
def test_where_it_cannot_go_on_it_starts_anew_and_says_why(project, short, happens, said):
    project.add_class("green")
    label_some(project, 14)
    train, _ = judging.split_to_judge(read_board(project), project.settings.seed)
    kill(project, "round 1 of")
    happens(project, int(train[3]) + 1)
    told = told_first(project)
    assert ", round 0 of 3 (it starts anew: " in told
    assert said in told
    kill(project, "round 2 of")
    assert "it starts anew" not in told_first(project)
    assert fine_tune(project).state == "done"


def test_what_is_complete_is_not_learned_again_whatever_was_answered_since(project, short, steps):
    label_some(project, 24)
    kill(project, "step 2 of 2")
    train, _ = judging.split_to_judge(read_board(project), project.settings.seed)
    undone(project, int(train[3]) + 1)
    label_some(project, 28)
    del steps[:]
    assert "answers right after fine-tuning" in fine_tune(project).message
    assert steps == []


def test_what_is_complete_is_learned_again_where_a_class_lost_all_its_answers(project, short):
    label_some(project, 14)
    kill(project, "step 2 of 2")
    for answer in project.log.answers():
        if answer.class_index == 0:
            undone(project, answer.image_id)
    names = truth(project)
    for row in np.flatnonzero(~read_board(project).held_out)[14:24]:
        project.label(int(row) + 1, names[int(row) + 1])
    assert "(it starts anew: all of its answers of one class were corrected)" in told_first(project)
    assert "answers right after fine-tuning" in fine_tune(project).message


def test_a_run_that_had_not_completed_a_round_begins_with_the_labels_there_are(project, short):
    label_some(project, 24)
    kill(project, "round 0 of")
    label_some(project, 28)
    assert "round 0 of 3" in told_first(project)
    assert "(" not in told_first(project)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "the GPU ran out of memory; close"),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors"), "the GPU ran out of memory; close"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "the GPU ran out of memory; close"),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), "the GPU stopped working (CUDA error: uns"),
        (MemoryError(), "this computer ran out of memory (MemoryError); close other programs"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory"), "this comp"),
        (OSError(28, "Es steht nicht genug Speicherplatz zur Verfügung"), "the disk is full"),
        (OSError(22, "Es steht nicht genug Speicherplatz zur Verfügung. (os error 112)"), "the disk is full"),
        (OSError(28, os.strerror(28)), "the disk is full ([Errno 28] No space left on device); free"),
        (RuntimeError("No CUDA GPUs are available"), "the GPU stopped working (No CUDA GPUs are available); start"),
        (ValueError("a bug"), ""),
    ],
)
def test_errors_of_the_machine_in_words(error, said):
    assert (worker.explain(error) or "").startswith(said)
