"""What a run of fine-tuning learns from, kept beside its checkpoint: a run that is resumed learns from just that.

People label on while it trains, so the labels are others by the time it is started again; it goes on with those that it
began with, and what was set aside to judge stays set aside. It starts anew, and says why, where that would be wrong
(an answer was corrected, a file is another now) or a waste (so many answers came that the next run would be due).
Left out: the checkpoint and what is in it (train/training.py).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from labelloop.board import Board
from labelloop.judging import split_to_judge
from labelloop.project import Project
from labelloop.project.image import File
from labelloop.train.finetune import can_go_on, read_result
from labelloop.train.recipe import GROWTH
from labelloop.train.training import ABOUT, CHECKPOINT, put
from labelloop.types import Ints

RUN = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The images that a run learns from, their classes at its start, and the ids of those set aside to judge by."""

    event: int  # the newest one of the log at its start
    n_classes: int
    files: tuple[File, ...]
    y: tuple[int, ...]
    aside: tuple[int, ...]

    @property
    def train(self) -> Ints:
        """Rows of the board to learn from."""
        return np.array([file.image_id for file in self.files], np.int64) - 1

    @property
    def labels(self) -> Ints:
        """Rows of the board that had labels to learn from, those set aside among them."""
        return np.union1d(self.train, np.array(self.aside, np.int64) - 1)

    def judge(self, board: Board) -> Ints:
        """Rows to judge by: the held-out answers there are now, and what was set aside."""
        return np.union1d(board.exam, np.array(self.aside, np.int64) - 1)

    def changed(self, project: Project) -> list[str]:
        """Paths that have held something else since the run began, as of the last scan; one that is gone has not."""
        now = project.catalog.files_of(self.train + 1, gone=True)
        return [file.path for file in self.files if file not in now]

    def save(self, folder: Path) -> None:
        """Write it into the folder of the run."""
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{RUN}.part"
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        put(partial, folder / RUN)


def load(folder: Path) -> Run | None:
    """The run that was begun there; None where nothing is known of it."""
    try:
        found = json.loads((folder / RUN).read_text(encoding="utf-8"))
        files = tuple(File(*file) for file in found["files"])
        return Run(**{**found, "files": files, "y": tuple(found["y"]), "aside": tuple(found["aside"])})
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def begin(project: Project, board: Board) -> Run:
    """A run on all labels there are, but those set aside and those of images that are gone."""
    train, judge = split_to_judge(board, project.settings.seed)
    files = {file.image_id: file for file in sorted(project.catalog.files_of(train + 1), reverse=True)}
    ids = sorted(files)
    return Run(
        event=board.last_event,
        n_classes=len(board.classes),
        files=tuple(files[i] for i in ids),
        y=tuple(board.label[np.array(ids, np.int64) - 1].tolist()),
        aside=tuple((judge[~board.held_out[judge]] + 1).tolist()),
    )


def resume_or_begin(project: Project, board: Board, folder: Path) -> tuple[Run, str]:
    """The run that was begun in a folder, or where it cannot go on a new one; and what there is to tell about that."""
    if not folder.exists():
        return begin(project, board), ""
    run = load(folder)
    why_not = "it is not known what it learned from" if run is None else _why_not(project, board, run, folder)
    if run is not None and not why_not:
        later = len(np.setdiff1d(board.to_learn_from, run.labels))
        return run, f"it goes on with the labels it began with; {later} came later" if later else ""
    has_begun = any((folder / name).exists() for name in (CHECKPOINT, ABOUT))
    shutil.rmtree(folder)
    return begin(project, board), f"it starts anew: {why_not}" if has_begun else ""


def _why_not(project: Project, board: Board, run: Run, folder: Path) -> str:
    """Why a run does not go on; nothing where it does. One that is complete has learned what it learned."""
    if not can_go_on(folder):
        return "what was done so far cannot be read"
    if len(board.to_learn_from) >= GROWTH * len(run.labels):
        return f"it had begun with {len(run.labels)} labels, and there are {len(board.to_learn_from)} now"
    changed = run.changed(project)
    if changed:
        return f"{changed[0]} is not what it was"
    if not board.embedded[run.train].all():
        return "the features of some of its images are gone"
    if read_result(folder) is not None:
        has_all = set(run.y) <= set(board.label[run.train].tolist())
        return "" if has_all else "all of its answers of one class were corrected"  # nothing to judge it with
    if not set(run.files) <= project.catalog.files_of(run.train + 1):
        return "some of its images are gone"
    corrected = int((board.label[run.train] != np.array(run.y)).sum())
    return f"{corrected} of its answers changed since" if corrected else ""
