"""A process for work in the background, at low priority; a row of the jobs table is the channel.

    labelloop.worker.start(project, "embed")       →  a process that runs main()

The app only reads. A process that dies is seen by its silent heartbeat, and the next start goes on where it was.
Left out: the work itself (background.py).
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from labelloop.background import Progress, embed, fine_tune, to_embed
from labelloop.board import Board
from labelloop.errors import CannotTrain, LabelloopError, NotSaved, ProjectError, is_out_of_memory
from labelloop.judging import due_at
from labelloop.project import Job, Project
from labelloop.project.jobs import HEARTBEAT_SECONDS, JobKind

LOG = "worker.log"
DISK_FULL = (
    "No space left",
    "Disk quota exceeded",
    "File too large",
    "file write failed",
    "unexpected pos",
    "error 112",
)
NO_MEMORY = ("DefaultCPUAllocator", "Unable to allocate", "WinError 1455")  # Linux kills instead; 1455: no paging file
GPU_LOST = ("CUDA error", "CUDA driver error", "No CUDA GPUs are available", "cuDNN error", "MPS backend")


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
                **_apart(),
            )
        threading.Thread(target=_watch, args=(process, project, job_id), daemon=True).start()
    return project.jobs.get(job_id)


def _apart() -> dict[str, Any]:
    """Arguments of Popen with which neither closing the app's terminal nor Ctrl-C in it ends the process."""
    if sys.platform == "win32":  # it has no sessions, and no os.nice for step_back
        hidden = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        return {"creationflags": hidden | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
    return {"start_new_session": True}


def _watch(process: subprocess.Popen[bytes], project: Project, job_id: int) -> None:
    """Wait for a worker, so that it is no zombie; one that ended without a word has failed, and the log says why."""
    status = process.wait()
    with suppress(ProjectError, FileNotFoundError):  # somebody deleted the project meanwhile, or made another there
        if project.jobs.get(job_id).is_open:
            project.jobs.report(job_id, state="failed", message=f"the background process {_end(project, status)}")
    project.close()


def _end(project: Project, status: int) -> str:
    """What became of a process that did not say so itself, and what to do."""
    way_on = "start it again and it goes on where it was."
    if status < 0:
        often = ", often because memory ran out" if -status == getattr(signal, "SIGKILL", None) else ""
        return f"was killed (signal {-status}{often}); {way_on}"
    last_words = (project.folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
    return f"ended with status {status}; {way_on} {' '.join(last_words)}"


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


def describe(job: Job | None) -> dict[str, Any] | None:
    """A job for JSON."""
    if job is None:
        return None
    shown = asdict(job)
    return {key: shown[key] for key in ("id", "kind", "state", "done", "total", "message", "seconds_left", "loss")}


# -- the process ----------------------------------------------------------------------------------------------------

WORK = {"embed": embed, "fine-tune": fine_tune}
NAMES = {"embed": "getting to know the images", "fine-tune": "fine-tuning"}


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
            try:
                if self._project.jobs.report(self._job_id):
                    self.stop.set()
            except NotSaved as error:  # for this once; without a heartbeat, a second worker could be started
                _say(str(error))
            except ProjectError:  # it was deleted, or is another by now: nobody waits for this any more
                self.stop.set()
                break
        self._project.close()


def work(project: Project, job_id: int) -> None:
    """Do one job, once the ones before it are over, from its first report to its last."""
    job = project.jobs.get(job_id)
    last = Progress(job.done, job.total, job.message)
    told = 0.0
    with Pulse(project, job_id) as pulse:
        try:
            _wait_for_its_turn(project, job_id, pulse)
            todo = () if pulse.stop.is_set() else WORK[job.kind](project, announce=_say, stop=pulse.stop.is_set)
            for last in todo:
                if time.monotonic() - told > 0.3:  # each report is a write to disk
                    told = time.monotonic()
                    if project.jobs.report(job_id, **asdict(last)):
                        pulse.stop.set()
            state = "stopped" if pulse.stop.is_set() else "done"
            project.jobs.report(job_id, **{**asdict(last), "state": state, "seconds_left": None})
        except LabelloopError as error:
            project.jobs.report(job_id, **{**asdict(last), "state": "failed", "message": str(error)})
        except Exception as error:
            # Whatever happened, the row must say so before the process ends; the traceback goes to worker.log.
            traceback.print_exc()
            said = explain(error) or f"{type(error).__name__}: {error}"
            project.jobs.report(job_id, **{**asdict(last), "state": "failed", "message": f"{said} (see {LOG})"})
            raise


def _wait_for_its_turn(project: Project, job_id: int, pulse: Pulse) -> None:
    """Until no older job is open (one writer of features at a time) or somebody asks to stop; from then on it runs."""
    report = project.jobs.report
    while (other := project.jobs.ahead_of(job_id)) is not None and not pulse.stop.is_set():
        if report(job_id, message=f"waits for {NAMES[other.kind]} to end"):
            pulse.stop.set()
        pulse.stop.wait(HEARTBEAT_SECONDS)
    if not pulse.stop.is_set() and report(job_id, state="running", message=""):
        pulse.stop.set()  # it was asked to before there was anybody to hear it


def explain(error: Exception) -> str | None:
    """What an error of torch or safetensors means to a person, where a person can do something; they have no types."""
    text = str(error).strip().partition("\n")[0]
    if is_out_of_memory(error):
        return "the GPU ran out of memory; close what else uses it, or choose a smaller backbone, and start it again"
    if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
        return f"this computer ran out of memory ({text or 'MemoryError'}); close other programs and start it again"
    if any(words in text for words in DISK_FULL) or getattr(error, "errno", None) == errno.ENOSPC:
        return f"the disk is full ({text}); free some space and start it again: it goes on where it was"
    if any(words in text for words in GPU_LOST):
        return f"the GPU stopped working ({text}); start it again, and without a GPU it runs on the processor"
    return None


def _say(text: str) -> None:
    logging.getLogger(__name__).info(text)


def main() -> None:
    """The process: its arguments are PROJECT and JOB."""
    folder, job_id = sys.argv[1], int(sys.argv[2])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with Project(folder) as project:
        if project.jobs.get(job_id).kind == "fine-tune":
            # Before torch is imported. It takes minutes: one core stays for whoever is labeling.
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) - 1)))
        if project.settings.backbone != "embedded":
            # Before it steps back: with the lowest priority on a busy machine this takes a minute without a heartbeat.
            with Pulse(project, job_id):
                importlib.import_module("timm")
        step_back()
        work(project, job_id)


def step_back() -> None:
    """Give this process the lowest priority: whoever is labeling comes first. On Windows it was started with less."""
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
