"""When fine-tuning is due, and whether its result takes over from the model in charge, on answers neither learned from.

The judging images are the held-out answers and, while there are fewer than WANTED of those, labels that are set aside.
Counting right answers sees little on so few images; how much probability a model gives to the right class says more
than whether it is the largest one. So the new model takes over if, after both were made as sure as they may be
(train/calibration.py: fine-tuned ones are too sure),
 - it has at least as many right, and
 - its mean log-probability of the right class is higher with a certainty of LEVEL: differences of images as normally
   distributed, with a prior on their spread for when there are few.

LEVEL was chosen on fine-tunes of three sets of photographs at 50 to 200 labels with good and with deliberately bad
settings (`benchmarks/finetune.py projects`; docs/benchmarks/fine_tuning.md). Below is what came of any model of a
project following any other, so that as many are worse as are better: of the swaps, those that cost more than 1 point,
and of the gains above 3 points, those that were caught, in %

    judging images        20        50       100       200
    more right          12, 82    8, 90    6, 96     3, 99
    McNemar at 5 %       0, 34    0, 54    0, 69     0, 82
    this rule            9, 81    5, 88    3, 94     2, 97

Of the swaps to a fine-tune that followed the head on pretrained features, 0.6, 0.4, 0.1 and 0 % cost more than 1 point;
75, 85, 91 and 95 % of the gains were caught.

Left out: training it (train/finetune.py) and the process that does so (worker.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from labelloop.board import Board, read_board, read_features
from labelloop.learning import fit, learn
from labelloop.project import Measured, Project
from labelloop.train.recipe import MIN_LABELS, labels_wanted
from labelloop.types import Floats, Ints

WANTED = 50  # judging images; labels are set aside while there are fewer held-out answers
ASIDE = 0.2  # share of the labels that may be set aside
LEVEL = 0.7  # certainty from which on the new model takes over
LEAST = 0.02  # probability: one image on which a model is utterly wrong does not decide
SPREAD, SPREAD_COUNTS = 0.6, 4  # the prior: standard deviation of the differences, worth so many images


@dataclass(frozen=True, slots=True)
class Comparison:
    """A new model and an old one on the same n images."""

    n: int
    new_right: int
    old_right: int
    only_new: int  # right where the old one is wrong
    only_old: int
    certainty: float  # 0 to 1, that the new one gives the right class more probability

    @property
    def takes_over(self) -> bool:
        """Whether the new one is to be in charge."""
        return self.n > 0 and self.new_right >= self.old_right and self.certainty >= LEVEL


def due_at(project: Project, board: Board) -> int | None:
    """Labels to learn from at which fine-tuning begins by itself; None where it never does."""
    if not project.settings.fine_tunes or project.settings.backbone == "embedded":
        return None
    n_classes = len(np.unique(board.label[board.to_learn_from]))
    job = project.jobs.latest("fine-tune")
    if job is None:
        return labels_wanted(n_classes)
    models = project.rounds.models()
    did_better = any(m.kind == "fine-tune" and m.in_charge and m.at >= job.at for m in models)
    last = project.log.count_labels(upto=job.event, before=job.at)
    return labels_wanted(n_classes, last, did_better)


def split_to_judge(board: Board, seed: int) -> tuple[Ints, Ints]:
    """Rows to train on and rows to judge by; never the same, and never a held-out one to train on.

    Which labels are set aside is drawn once for each image, so that the model in charge has not learned from them
    either; the more held-out answers there are, the fewer.
    """
    rows, exam = board.to_learn_from, board.exam
    if len(exam) >= WANTED:
        return rows, exam
    draw = np.random.default_rng(seed).random(len(board.label))[rows]
    lowest = np.argsort(draw, kind="stable")
    count = min(WANTED - len(exam), int((draw < ASIDE).sum()))
    at_least = 0 if len(exam) or len(rows) < MIN_LABELS else 1
    aside = rows[lowest[: max(count, at_least)]]
    return np.setdiff1d(rows, aside), np.union1d(exam, aside)


def compare(new: Floats, old: Floats, y: Ints) -> Comparison:
    """Two models by their logits (n, c) for images of classes y (n,); the new one may know more classes."""
    if not len(y):
        return Comparison(0, 0, 0, 0, 0, 0.5)
    is_new, is_old = new.argmax(axis=1) == y, old.argmax(axis=1) == y
    gain = _log_probability(new, y) - _log_probability(old, y)
    spread = np.sqrt((((gain - gain.mean()) ** 2).sum() + SPREAD_COUNTS * SPREAD**2) / len(y))
    z = float(gain.mean() * np.sqrt(len(y)) / spread)
    return Comparison(
        n=len(y),
        new_right=int(is_new.sum()),
        old_right=int(is_old.sum()),
        only_new=int((is_new & ~is_old).sum()),
        only_old=int((is_old & ~is_new).sum()),
        certainty=(1 + math.erf(z / math.sqrt(2))) / 2,
    )


def decide(project: Project, name: str, train: Ints, judge: Ints, seconds: float) -> str:
    """Put a set of features in charge if a head on it does better than one on the set in charge (see above), both
    fitted on the same labels. Records the comparison and returns it in words.

    Labels that were taken back while it trained, and images that are gone, count on neither side. Raises CannotTrain
    where labels of fewer than two classes are left.
    """
    old = read_board(project)
    new = _with_features(old, project, name)  # of one moment: people go on labeling and adding images
    train, judge = (
        rows[(new.label[rows] >= 0) & new.embedded[rows] & old.embedded[rows] & ~new.gone[rows]]
        for rows in (train, judge)
    )
    logits = [fit(board, train).logits(np.asarray(board.features[judge])) for board in (new, old)]
    found = compare(logits[0], logits[1], new.label[judge])
    exam, verdict = learn(new).exam, in_words(found, int(new.held_out[judge].sum()))
    if found.takes_over:
        project.put_features_in_charge(name, project.settings.backbone, f"models/{name}/model.safetensors")
    project.rounds.add_model(
        Measured(
            kind="fine-tune",
            features=name,
            labels=len(new.to_learn_from),
            exam_n=exam.n,
            exam_correct=exam.correct,
            seconds=seconds,
            in_charge=found.takes_over,
            note=verdict,
        )
    )
    return verdict


def _with_features(board: Board, project: Project, name: str) -> Board:
    """All that a board knows, with another set of features."""
    features, embedded = read_features(project.features_folder(name), len(board.label))
    return replace(board, features=features, embedded=embedded, features_name=name, _graph=None)


def in_words(found: Comparison, held_out: int) -> str:
    """A comparison, of whose images so many were held out, and what follows from it."""
    if not found.n:
        return "no answers are left to judge the fine-tuned model by: the old model stays in charge"
    kinds = [(held_out, "held-out answers"), (found.n - held_out, "labels set aside")]
    images = " and ".join(f"{count} {kind}" for count, kind in kinds if count)
    outcome = "the new model is in charge" if found.takes_over else "the old model stays in charge"
    return (
        f"{found.new_right} of {found.n} answers right after fine-tuning, {found.old_right} before: {outcome} "
        f"({images}; right only after: {found.only_new}, only before: {found.only_old}; "
        f"better with a certainty of {found.certainty:.0%}, wanted {LEVEL:.0%})"
    )


def _log_probability(logits: Floats, y: Ints) -> Floats:
    """Of the right class (n,), by a model that is made as sure as it may be."""
    from labelloop.train.calibration import calibrate

    Z = logits * calibrate(logits, y).sharpness
    Z = Z - Z.max(axis=1, keepdims=True)
    own = np.exp(Z[np.arange(len(y)), y]) / np.exp(Z).sum(axis=1)
    log_probability: Floats = np.log(own + LEAST)
    return log_probability
