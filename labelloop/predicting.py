"""Classes of images that need not be in the project, and which of them a person should look at.

The threshold is chosen on held-out answers, so that of the images above it at most a stated share is wrong. It holds
for images that are like those of the project. Left out: labels (exchange.py), the model itself (takehome/).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from labelloop.backbone import Backbone, load_backbone
from labelloop.board import Board, read_board
from labelloop.embedding import embed_missing
from labelloop.errors import BadInput, BadWeights
from labelloop.features import FeatureStore
from labelloop.formats.table import csv_line
from labelloop.images import find_files
from labelloop.learning import Learned, learn
from labelloop.metrics import Z, wilson
from labelloop.project import Project
from labelloop.types import Bools, Floats

SURE, ASK = "sure", "ask a person"
COLUMNS = ("file", "class", "probability", "decision")
CHUNK = 4096  # images whose features are on disk at a time


# -- the model --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InCharge:
    """The model in charge: the network, and a head on its features that learned from all answers."""

    backbone: Backbone
    board: Board
    learned: Learned


def model_in_charge(project: Project, *, device: str = "auto", announce: Callable[[str], None] = print) -> InCharge:
    """Learn from all answers, then load the backbone. Raises CannotTrain below two classes, and as load_backbone does.

    Raises ProjectError where the weights are not those any more that the features of the project were made with.
    """
    chosen = project.features_in_charge
    weights = None if chosen["weights"] is None else project.folder / chosen["weights"]
    if chosen["name"] != "base" and weights is not None and not weights.is_file():
        raise BadWeights(
            f"the fine-tuned model is lost (there is no file {weights}). Put it back, or have the pretrained one in "
            f"charge again with: labelloop embed {project.folder}"
        )
    board = read_board(project, features=chosen["name"])
    learned = learn(board)
    backbone = load_backbone(chosen["backbone"], weights, device=device, announce=announce)
    made_by = {"backbone": backbone.name, "weights": backbone.weights_id}
    FeatureStore.open(project.features_folder(chosen["name"]), expected=made_by)
    return InCharge(backbone, board, learned)


def threshold_of(model: InCharge, error: float) -> Threshold:
    """The threshold by the held-out answers there are."""
    exam = model.board.exam
    probabilities = model.learned.probabilities[exam]
    right = probabilities.argmax(axis=1) == model.board.label[exam]
    return choose_threshold(probabilities.max(axis=1), right, error)


# -- the threshold ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which probability on an answer is taken without a person, and the held-out answers that this rests on."""

    value: float  # above 1 where no threshold keeps the promise
    error: float  # the stated rate
    n: int  # held-out answers
    above: int = 0  # of them, at least this probable
    wrong: int = 0  # of those

    @property
    def is_found(self) -> bool:
        """Whether anything can be taken without a person."""
        return self.value <= 1

    @property
    def at_most(self) -> float:
        """The upper end of the 95 % interval of the share that is wrong above the threshold."""
        return wilson(self.wrong, self.above)[1]


def choose_threshold(probability: ArrayLike, right: ArrayLike, error: float) -> Threshold:
    """The lowest threshold above which at most a share `error` is wrong, by the upper end of its Wilson interval.

    probability (n,) of the answers given and whether each is right (n,), on images that were never learned from.
    O(n log n).
    """
    p, wrong = np.asarray(probability, np.float32), ~np.asarray(right, bool)
    order = np.argsort(-p, kind="stable")
    p, wrong_so_far = p[order], wrong[order].cumsum()
    best = Threshold(np.inf, error, len(p))
    for k in np.flatnonzero(np.diff(p, append=-1)).tolist():  # the last of those that are equally probable
        found = Threshold(float(p[k]), error, len(p), k + 1, int(wrong_so_far[k]))
        if found.at_most <= error:
            best = found
    return best


def fewest(error: float) -> int:
    """Held-out answers below which no error rate so low can be promised, were all of them right."""
    # The upper end of the interval of 0 in n is z² / (n + z²).
    return max(1, ceil(Z**2 * (1 - error) / error))


# -- the images -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says about one file."""

    file: str
    class_index: int
    probability: float


def predict_files(
    model: InCharge,
    folder: Path,
    files: list[str],
    *,
    progress: Callable[[int], None] = lambda done: None,
    on_problem: Callable[[str], None],
) -> Iterator[Prediction]:
    """The most probable class of each file that can be read, in order; `on_problem` is told of the others in words."""
    for start in range(0, len(files), CHUNK):
        some = files[start : start + CHUNK]
        with TemporaryDirectory(prefix="labelloop-") as place:
            done, features = _embed(model.backbone, folder, some, Path(place), _shifted(progress, start), on_problem)
            probabilities = model.learned.head.predict_proba(features)
            best = probabilities.argmax(axis=1)
            for k, index, row in zip(np.flatnonzero(done), best[done], probabilities[done], strict=True):
                yield Prediction(some[k], int(index), float(row[index]))


def _shifted(progress: Callable[[int], None], start: int) -> Callable[[int], None]:
    return lambda done: progress(start + done)


def _embed(
    backbone: Backbone,
    folder: Path,
    files: list[str],
    place: Path,
    progress: Callable[[int], None],
    on_problem: Callable[[str], None],
) -> tuple[Bools, Floats]:
    """Which files could be read (k,) and features (k, d)."""
    store = FeatureStore.create(place / "features", backbone.dim, {})
    paths = [(number, folder / name) for number, name in enumerate(files, 1)]
    for done in embed_missing(paths, store, backbone, on_problem=lambda _, words: on_problem(words)):
        progress(done)
    features, is_done = store.read()
    return is_done, np.array(features)  # a copy: its file goes away


def csv_rows(predictions: Iterable[Prediction], classes: tuple[str, ...], threshold: Threshold) -> Iterator[list[str]]:
    """Rows under COLUMNS."""
    for found in predictions:
        decision = SURE if found.probability >= threshold.value else ASK
        yield [found.file, classes[found.class_index], f"{found.probability:.6f}", decision]


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answered:
    """What a table says about a folder: how many images are sure, how many ask a person, and what that rests on."""

    sure: int
    ask: int
    threshold: Threshold
    still_open: int  # held-out images that wait for an answer: where they are not enough, only more images help

    @property
    def summary(self) -> str:
        """One line for a person."""
        t, allowed, answered = self.threshold, f"{100 * self.threshold.error:.3g}%", self.threshold.n
        if t.is_found:
            return (
                f"{self.sure} of {self.sure + self.ask} images are sure (probability {t.value:.4f} or more), "
                f"{self.ask} ask a person. Of {answered} held-out answers {t.above} are so probable and {t.wrong} of "
                f"those wrong: at most {t.at_most:.1%} by the 95 % interval, and {allowed} was allowed."
            )
        few, held_out = fewest(t.error), answered + self.still_open
        because = f"it takes {few} held-out answers, were all of them right, and "
        if answered >= few:
            because = f"too many of the {answered} held-out answers are wrong, however sure the model is. Label more"
        elif held_out >= few:
            because += f"there are {answered}. Answer more of the exam"
        else:
            because += f"only {held_out} images are held out, {answered} of them answered. Adding images gives more"
        return f"All {self.ask} images ask a person: for at most {allowed} wrong {because}, or allow more of them."


def write_table(
    project: Project,
    folder: Path,
    file: BinaryIO,
    error: float,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    on_problem: Callable[[str], None] = print,
    announce: Callable[[str], None] = print,
) -> Answered:
    """Write COLUMNS for every image of a folder that can be read, as CSV. `progress` is told done and total files.

    Raises BadInput for a folder without such images, and as `model_in_charge` does.
    """
    files = find_files(folder)
    if not files:
        raise BadInput(f"there are no files in {folder}; wanted a folder of images")
    announce("learning from all answers …")
    model = model_in_charge(project, announce=announce)
    threshold = threshold_of(model, error)
    decisions: Counter[str] = Counter()
    file.write(csv_line(COLUMNS))
    found = predict_files(model, folder, files, progress=lambda done: progress(done, len(files)), on_problem=on_problem)
    for row in csv_rows(found, model.board.classes, threshold):
        file.write(csv_line(row))
        decisions[row[-1]] += 1
    if not decisions:
        raise BadInput(f"there is no image in {folder} that can be read")
    return Answered(decisions[SURE], decisions[ASK], threshold, len(model.board.exam_open))
