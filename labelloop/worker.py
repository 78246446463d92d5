"""Embedding and fine-tuning in a process of their own, at low priority; a row of the jobs table is the channel.

    labelloop.worker.start(project, "embed")       →  a process that runs main()

The app only reads. What the worker makes lies beside the database until it is complete; then one write puts it in
charge. A process that dies is seen by its silent heartbeat, and the next start goes on where it was.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from labelloop.board import Board, read_board
from labelloop.errors import CannotTrain, LabelloopError
from labelloop.features import FeatureStore
from labelloop.judging import decide, due_at, split_to_judge
from labelloop.learning import fit
from labelloop.project import Job, Project
from labelloop.project.jobs import HEARTBEAT_SECONDS, JobKind

LOG = "worker.log"


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    done: int
    total: int
    message: str
    seconds_left: float | None = None
    loss: tuple[float, ...] = ()


# -- asking for work ------------------------------------------------------------------------------------------------


def start(project: Project, kind: JobKind) -> Job:
    """Ask for a job and start its process; one that is open already is returned as it is.

    Raises CannotTrain, and starts nothing, where there is nothing to fine-tune.
    """
    if kind == "fine-tune" and project.settings.backbone == "embedded":
        raise CannotTrain(
            "the built-in features have nothing to fine-tune; make a project with a timm backbone to have it fine-tuned"
        )
    job_id, is_new = project.jobs.ask(kind)
    if is_new:
        with (project.folder / LOG).open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  our own module, no shell
                # not -m: the package imports this module, which then would be there twice
                [sys.executable, "-c", "from labelloop.worker import main; main()", str(project.folder), str(job_id)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # closing the app's terminal does not end it
            )
        threading.Thread(target=_watch, args=(process, project, job_id), daemon=True).start()
    return project.jobs.get(job_id)


def _watch(process: subprocess.Popen[bytes], project: Project, job_id: int) -> None:
    """Wait for a worker, so that it is no zombie; one that ended without a word has failed, and the log says why."""
    status = process.wait()
    if not project.folder.exists():
        return  # somebody deleted the project meanwhile
    if project.jobs.get(job_id).is_open:
        last_words = (project.folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        end = f"was killed (signal {-status})" if status < 0 else f"ended with status {status}"
        message = f"the background process {end}; start it again and it goes on where it was. {' '.join(last_words)}"
        project.jobs.report(job_id, state="failed", message=message)
    project.close()


def fine_tune_when_due(project: Project, board: Board) -> bool:
    """Start fine-tuning if there are enough new labels, the project wants it, and nothing else is going on."""
    due = due_at(project, board)
    if due is None or len(board.to_learn_from) < due or board.is_embedding:
        return False
    latest = project.jobs.latest()
    if latest is not None and latest.is_open:
        return False
    start(project, "fine-tune")
    return True


def resume(project: Project) -> None:
    """Start embedding again where images have no features yet."""
    if len(to_embed(project, project.features_in_charge["name"])):
        start(project, "embed")


def to_embed(project: Project, name: str) -> list[int]:
    """Ids of the images that have no features yet in a set."""
    _, gone = project.catalog.flags()
    folder = project.features_folder(name)
    if not FeatureStore.is_there(folder):
        return [int(i) for i in np.flatnonzero(~gone) + 1]
    return [int(i) for i in FeatureStore.open(folder).missing(len(gone)) if not gone[i - 1]]


def describe(job: Job | None) -> dict[str, Any] | None:
    """A job for JSON."""
    if job is None:
        return None
    shown = asdict(job)
    return {key: shown[key] for key in ("id", "kind", "state", "done", "total", "message", "seconds_left", "loss")}


# -- the work -------------------------------------------------------------------------------------------------------


def embed(
    project: Project, *, announce: Callable[[str], None] = print, stop: Callable[[], bool] = bool
) -> Iterator[Progress]:
    """Scan the folders and embed what has no features yet, a chunk of files at a time.

    So the first images are ready while the rest is still being read. Stopped or killed, it goes on where it was. Before
    weights are downloaded, `announce` is told.
    """
    from labelloop.backbone import load_backbone

    in_charge = project.features_in_charge
    backbone = None
    for scan in project.catalog.scan():
        waiting = to_embed(project, in_charge["name"])
        left = scan.total - scan.done
        total = len(project.catalog) + left
        message = f"reading files: {scan.done} of {scan.total}" if scan.total else "no new files"
        yield Progress(total - left - len(waiting), total, message)
        if waiting and backbone is None:
            backbone = load_backbone(in_charge["backbone"], _weights(project, in_charge["weights"]), announce=announce)
        if waiting:
            for done, seconds_left in _embed_into(project, in_charge["name"], backbone, waiting, stop):
                yield Progress(total - left - len(waiting) + done, total, "getting to know the images", seconds_left)
        if stop():
            return


def _embed_into(
    project: Project, name: str, backbone: Any, waiting: list[int], stop: Callable[[], bool]
) -> Iterator[tuple[int, float]]:
    """Embed images into a set of features; yields (how many so far, seconds left)."""
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
    for done in embed_missing(paths, store, backbone, on_problem=project.catalog.mark_unreadable, stop=stop):
        yield done, (time.monotonic() - begin) / max(done, 1) * (len(waiting) - done)


def _weights(project: Project, path: str | None) -> Path | None:
    """Weights that labelloop trained are kept relative to the project, so that it can be moved."""
    return None if path is None else project.folder / path


def fine_tune(
    project: Project, *, announce: Callable[[str], None] = print, stop: Callable[[], bool] = bool
) -> Iterator[Progress]:
    """Fine-tune the backbone on the labels, embed the pool with it, and put it in charge if it does better.

    It starts from the pretrained weights and the head on their features. It is compared with what is in charge on
    held-out answers; before there are enough of those, on labels that it is not trained on as well (judging.py). Until
    the last write nothing changes for whoever is labeling.
    """
    from labelloop.backbone import load_backbone
    from labelloop.train.finetune import finetune

    settings = project.settings
    for scan in project.catalog.scan():  # files may be gone, or others in their places
        yield Progress(scan.done, scan.total, "looking for the images")
    yield from _embed_labeled_into_base(project, announce, stop)
    if stop():
        return
    board = read_board(project, features="base")
    train, judge = split_to_judge(board, settings.seed)
    train = train[~board.gone[train]]
    name = f"fine-tune-{1 + sum(m.kind == 'fine-tune' for m in project.rounds.models())}"
    out = project.folder / "models" / name
    images = project.catalog.images((train + 1).tolist())
    begin = time.monotonic()
    loss: list[float] = []
    for epoch in finetune(
        [images[int(row) + 1].path for row in train],
        board.label[train],
        len(board.classes),
        backbone=settings.backbone,
        weights=_weights(project, settings.weights),
        head=fit(board, train),
        out=out,
        seed=settings.seed,
        stop=stop,
    ):
        if epoch.loss is not None:
            loss.append(epoch.loss)
        message = f"learning from {len(train)} labels, round {epoch.epoch} of {epoch.epochs}"
        yield Progress(epoch.step, epoch.steps, message, epoch.seconds_left, tuple(loss))
    if stop():
        return
    weights = out / "model.safetensors"
    backbone = load_backbone(settings.backbone, weights, announce=announce)
    _forget_features_of_other_weights(project.features_folder(name), backbone.weights_id)
    waiting = to_embed(project, name)
    message = "looking at all images again with the new model"
    for done, seconds_left in _embed_into(project, name, backbone, waiting, stop):
        yield Progress(done, len(waiting), message, seconds_left, tuple(loss))
    if stop():
        return
    verdict = decide(project, name, train, judge, time.monotonic() - begin)
    yield Progress(1, 1, verdict, 0.0, tuple(loss))
    for progress in embed(project, announce=announce, stop=stop):  # images that were added meanwhile
        yield replace(progress, message=verdict, loss=tuple(loss))


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
    for done, seconds_left in _embed_into(project, "base", backbone, waiting, stop):
        yield Progress(done, len(waiting), "getting to know the labeled images", seconds_left)


def _forget_features_of_other_weights(folder: Path, weights_id: str) -> None:
    """An earlier run of the same number may have been stopped here, with fewer labels."""
    if FeatureStore.is_there(folder) and FeatureStore.open(folder).about["weights"] != weights_id:
        shutil.rmtree(folder)


# -- the process ----------------------------------------------------------------------------------------------------

WORK = {"embed": embed, "fine-tune": fine_tune}


class Pulse:
    """A thread that keeps the heartbeat of a job, whatever its work is busy with, and hears the wish to stop."""

    def __init__(self, project: Project, job_id: int):
        self.stop = threading.Event()
        self._over = threading.Event()
        self._project, self._job_id = project, job_id
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT_SECONDS):
            if self._project.jobs.report(self._job_id):
                self.stop.set()
        self._project.close()


def work(project: Project, job_id: int) -> None:
    """Do one job, once the ones before it are over, from its first report to its last."""
    job = project.jobs.get(job_id)
    last = Progress(job.done, job.total, job.message)
    told = 0.0
    with Pulse(project, job_id) as pulse:
        try:
            while not project.jobs.is_next(job_id) and not pulse.stop.wait(HEARTBEAT_SECONDS / 2):
                pass  # one writer of features at a time
            project.jobs.report(job_id, state="running")
            for last in WORK[job.kind](project, announce=_say, stop=pulse.stop.is_set):
                if time.monotonic() - told > 0.3:  # each report is a write to disk
                    told = time.monotonic()
                    project.jobs.report(job_id, **asdict(last))
            state = "stopped" if pulse.stop.is_set() else "done"
            project.jobs.report(job_id, **{**asdict(last), "state": state, "seconds_left": None})
        except LabelloopError as error:
            project.jobs.report(job_id, state="failed", message=str(error))
        except Exception as error:
            # Whatever happened, the row must say so before the process ends; the traceback goes to worker.log.
            traceback.print_exc()
            project.jobs.report(job_id, state="failed", message=f"{type(error).__name__}: {error} (see {LOG})")
            raise


def _say(text: str) -> None:
    logging.getLogger(__name__).info(text)


def main() -> None:
    """The process: its arguments are PROJECT and JOB."""
    folder, job_id = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    step_back()
    with Project(folder) as project:
        if project.jobs.get(int(job_id)).kind == "fine-tune":
            # Before torch is imported. It takes minutes: one core stays for whoever is labeling.
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) - 1)))
        work(project, int(job_id))


def step_back() -> None:
    """Give this process the lowest priority: whoever is labeling comes first."""
    if hasattr(os, "nice"):
        os.nice(19)
    group = Path("/proc/self/autogroup")  # where there is one, Linux weighs whole sessions first
    if not group.exists() or os.getsid(0) != os.getpid():  # the session is another's: a terminal's, a test's
        return
    try:
        group.write_text("19", encoding="utf-8")
    except OSError as error:
        _say(f"no lower priority for the session ({error}); the process has the lowest anyway")


if __name__ == "__main__":
    main()
