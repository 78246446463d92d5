"""What is done in the background, as generators of how far it is: embedding, and fine-tuning.

What they make lies beside what is in use until it is complete; then one write puts it in charge. Stopped or killed, the
next run goes on where it was. Left out: the process they run in (worker.py), which model takes over (judging.py).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from labelloop.board import read_board
from labelloop.errors import CannotTrain
from labelloop.features import FeatureStore
from labelloop.judging import decide
from labelloop.project import Project
from labelloop.resuming import Run, resume_or_begin


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    done: int
    total: int
    message: str
    seconds_left: float | None = None
    loss: tuple[float, ...] = ()


def to_embed(project: Project, name: str) -> list[int]:
    """Ids of the images that have no features yet in a set."""
    _, gone = project.catalog.flags()
    folder = project.features_folder(name)
    if not FeatureStore.is_there(folder):
        return [int(i) for i in np.flatnonzero(~gone) + 1]
    return [int(i) for i in FeatureStore.open(folder).missing(len(gone)) if not gone[i - 1]]


def embed(
    project: Project, *, announce: Callable[[str], None] = print, stop: Callable[[], bool] = bool
) -> Iterator[Progress]:
    """Scan the folders and embed what has no features yet, a chunk of files at a time.

    So the first images are ready while the rest is still being read. Stopped or killed, it goes on where it was. Before
    weights are downloaded, `announce` is told. What cannot be read is tried once more at the end, then the next time.
    """
    from labelloop.backbone import load_backbone

    lost, missed = _go_back_if_weights_are_lost(project), dict[int, str]()
    in_charge = project.features_in_charge
    backbone = None
    embedded, seconds = 0, 0.0
    for scan in project.catalog.scan():
        if scan.is_over:
            missed.clear()  # the catalog knows by now which files are others
        waiting = [image_id for image_id in to_embed(project, in_charge["name"]) if image_id not in missed]
        left = scan.total - scan.done + len(missed)
        total = len(project.catalog) + scan.total - scan.done
        message = f"reading files: {scan.done} of {scan.total}" if scan.total else "no new files"
        yield Progress(total - left - len(waiting), total, message)
        if waiting and backbone is None:
            backbone = load_backbone(in_charge["backbone"], _weights(project, in_charge["weights"]), announce=announce)
        if waiting:
            begin, done, before = time.perf_counter(), 0, len(missed)  # the other clock of Windows stands for 16 ms
            for done, seconds_left in _embed_into(project, in_charge["name"], backbone, waiting, missed, stop):
                yield Progress(total - left - len(waiting) + done, total, "getting to know the images", seconds_left)
            embedded += done + before - len(missed)
            seconds += time.perf_counter() - begin
        if stop():
            return
    told = f"got to know {embedded:,} images, {embedded / seconds:,.1f} images/s" if embedded else ""
    if said := "; ".join(filter(None, (lost, told, _in_words(missed)))):
        yield Progress(total - len(missed), total, said)


def _go_back_if_weights_are_lost(project: Project) -> str:
    """Without the file of the fine-tuned model nothing new can be embedded: the pretrained one is in charge again then.

    Returns what to say about it.
    """
    in_charge, settings = project.features_in_charge, project.settings
    path = _weights(project, in_charge["weights"])
    if in_charge["name"] == "base" or path is None or path.is_file():
        return ""
    project.put_features_in_charge("base", settings.backbone, settings.weights)
    return f"the fine-tuned model is lost (there is no file {path}): the pretrained one is in charge again"


def _in_words(missed: dict[int, str]) -> str:
    """What to say about images that could not be embedded for now: how many, and why the first."""
    if not missed:
        return ""
    count = f"{len(missed):,} images" if len(missed) > 1 else "1 image"
    return f"{count} could not be embedded just now, to be tried again the next time: {next(iter(missed.values()))}"


def _embed_into(
    project: Project, name: str, backbone: Any, waiting: list[int], missed: dict[int, str], stop: Callable[[], bool]
) -> Iterator[tuple[int, float]]:
    """Embed images into a set of features; yields (how many so far, seconds left).

    What cannot be embedded for a reason outside of the image is added to `missed`, with the reason. A fine-tuned model
    is such a reason: an image is unusable only if the pretrained one, with which all begins, can make nothing of it.
    """
    from labelloop.embedding import embed_missing

    folder = project.features_folder(name)
    about = {"backbone": backbone.name, "weights": backbone.weights_id}
    if not FeatureStore.is_there(folder):
        FeatureStore.create(folder, backbone.dim, about)
    store = FeatureStore.open(folder, expected=about)
    store.grow(len(project.catalog))
    images = project.catalog.images(waiting)
    paths = [(image_id, images[image_id].path) for image_id in waiting]
    begin = time.monotonic()
    miss = missed.__setitem__
    for done in embed_missing(
        paths,
        store,
        backbone,
        on_problem=project.catalog.mark_unreadable if name == "base" else miss,
        on_missed=miss,
        is_right=lambda image_id: images[image_id].is_as_scanned(),
        stop=stop,
    ):
        yield done, (time.monotonic() - begin) / max(done, 1) * (len(waiting) - done)


def _weights(project: Project, path: str | None) -> Path | None:
    """Weights that labelloop trained are kept relative to the project, so that it can be moved."""
    return None if path is None else project.folder / path


def fine_tune(
    project: Project, *, announce: Callable[[str], None] = print, stop: Callable[[], bool] = bool
) -> Iterator[Progress]:
    """Fine-tune the backbone on the labels, embed the pool with it, and put it in charge if it does better.

    It starts from the pretrained weights and a head on their features. It is compared with what is in charge on
    held-out answers; before there are enough of those, on labels that it is not trained on as well (judging.py). Until
    the last write nothing changes for whoever is labeling. Stopped or killed, it goes on with the labels it began with
    (resuming.py). What learned from a file that was changed meanwhile, perhaps into a held-out image, is not used.
    """
    yield from _look_for_images(project, stop)
    if stop():
        return
    yield from _embed_labeled_into_base(project, announce, stop)
    if stop():
        return
    board = read_board(project, features="base")
    name, begin = _free_name(project), time.monotonic()
    run, note = resume_or_begin(project, board, project.folder / "models" / name)
    _say_what_it_learns_from(project, run)
    loss: tuple[float, ...] = ()
    for progress in _train(project, run, name, note, stop):
        loss = progress.loss
        yield progress
    if stop():
        return
    yield from _look_for_images(project, stop, loss)  # that took a while: an image may be another by now
    if stop():
        return
    changed = run.changed(project)
    if changed:
        verdict = f"{changed[0]} was changed while it was learned from: the old model stays in charge"
    else:
        yield from _embed_all_anew(project, name, loss, announce, stop)
        if stop():
            return
        verdict = decide(project, name, run.train, run.judge(board), time.monotonic() - begin)
    if project.features_in_charge["name"] != name:
        _throw_away(project, name)
    yield Progress(1, 1, verdict, 0.0, loss)
    for progress in embed(project, announce=announce, stop=stop):  # images that were added meanwhile
        yield replace(progress, message=verdict, loss=loss)


def _look_for_images(project: Project, stop: Callable[[], bool], loss: tuple[float, ...] = ()) -> Iterator[Progress]:
    """Files may be gone, or others in their places, which their labels are not about."""
    for scan in project.catalog.scan():
        yield Progress(scan.done, scan.total, "looking for the images", loss=loss)
        if stop():
            return


def _free_name(project: Project) -> str:
    """Of a new set of features: never the one in charge, which may have no row of models if a kill came between."""
    number = 1 + sum(model.kind == "fine-tune" for model in project.rounds.models())
    return f"fine-tune-{number + (project.features_in_charge['name'] == f'fine-tune-{number}')}"


def _say_what_it_learns_from(project: Project, run: Run) -> None:
    """The next fine-tune is due by the labels that this one began with, not by those of when its job was asked for."""
    job = project.jobs.latest("fine-tune")
    if job is not None and job.state == "running":
        project.jobs.report(job.id, event=run.event)


def _train(project: Project, run: Run, name: str, note: str, stop: Callable[[], bool]) -> Iterator[Progress]:
    """Fine-tune into models/`name`; `note` is what there is to tell at its start."""
    from labelloop.train.finetune import finetune

    settings, out = project.settings, project.folder / "models" / name
    run.save(out)
    loss: list[float] = []
    for epoch in finetune(
        [Path(file.path) for file in run.files],
        run.y,
        run.n_classes,
        backbone=settings.backbone,
        weights=_weights(project, settings.weights),
        out=out,
        seed=settings.seed,
        stop=stop,
    ):
        if epoch.loss is not None:
            loss.append(epoch.loss)
        elif epoch.epoch and not loss:  # it goes on from where an earlier job was stopped or killed
            loss = list(_last_loss(project)[: epoch.epoch])
        note = epoch.note or note  # told once, true until the end
        message = f"step 1 of 2: learning from {len(run.y)} labels, round {epoch.epoch} of {epoch.epochs}"
        said = f"{message} ({note})" if note else message
        yield Progress(epoch.step, epoch.steps, said, epoch.seconds_left, tuple(loss))


def _last_loss(project: Project) -> tuple[float, ...]:
    """Of the rounds that the last job completed which began to learn."""
    return next((job.loss for job in project.jobs.all() if job.kind == "fine-tune" and job.loss), ())


def _embed_all_anew(
    project: Project, name: str, loss: tuple[float, ...], announce: Callable[[str], None], stop: Callable[[], bool]
) -> Iterator[Progress]:
    """Embed the pool with the fine-tuned model `name`, into a set of features of that name.

    What it cannot embed has no features in that set, and nothing else changes for it. Raises CannotTrain where that is
    all there is.
    """
    from labelloop.backbone import load_backbone

    weights = project.folder / "models" / name / "model.safetensors"
    backbone = load_backbone(project.settings.backbone, weights, announce=announce)
    _forget_features_of_other_weights(project.features_folder(name), backbone.weights_id)
    waiting, missed = to_embed(project, name), dict[int, str]()
    for done, seconds_left in _embed_into(project, name, backbone, waiting, missed, stop):
        message = f"step 2 of 2: looking at all images with the new model, {done:,} of {len(waiting):,}"
        yield Progress(done, len(waiting), message, seconds_left, loss)
    if missed:
        announce(_in_words(missed))
    if missed and len(missed) == len(waiting):
        raise CannotTrain(f"the old model stays in charge: {_in_words(missed)}")


def _embed_labeled_into_base(
    project: Project, announce: Callable[[str], None], stop: Callable[[], bool]
) -> Iterator[Progress]:
    """Images that came when other features were in charge are not in the first set, and would not be learned from."""
    from labelloop.backbone import load_backbone

    settings = project.settings
    labeled = {answer.image_id for answer in project.log.answers() if answer.kind == "label"}
    waiting = [image_id for image_id in to_embed(project, "base") if image_id in labeled]
    if not waiting:
        return
    backbone = load_backbone(settings.backbone, _weights(project, settings.weights), announce=announce)
    missed: dict[int, str] = {}  # their labels are not learned from, this time
    for done, seconds_left in _embed_into(project, "base", backbone, waiting, missed, stop):
        yield Progress(done, len(waiting), "getting to know the labeled images", seconds_left)
    if missed:
        announce(_in_words(missed))


def _throw_away(project: Project, name: str) -> None:
    """A model that does not take over is never asked again, and takes tens to hundreds of megabytes."""
    for folder in (project.features_folder(name), project.folder / "models" / name):
        if folder.exists():
            shutil.rmtree(folder)


def _forget_features_of_other_weights(folder: Path, weights_id: str) -> None:
    """An earlier run of the same number may have been stopped here, with fewer labels."""
    if FeatureStore.is_there(folder) and FeatureStore.open(folder).about["weights"] != weights_id:
        shutil.rmtree(folder)
