"""One round of the loop: read the state, call the core, write the state.

    read_board  →  learn  →  pool_of  →  choose  →  explain  →  a Batch, logged

The only place where image ids and pool rows cross: arrays on the Board go by image id - 1, arrays in a Pool by row.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelloop import strategies
from labelloop.errors import BadStrategy, CannotTrain
from labelloop.features import FeatureStore
from labelloop.metrics import Accuracy, accuracy
from labelloop.project import Measured, Project
from labelloop.strategies.folder import load_folder, load_installed
from labelloop.types import Batch, Bools, Event, Floats, Ints, Pick, Pool

if TYPE_CHECKING:
    from labelloop.train.head import Head

EXAM = "exam"
EXAM_REASON = "for the exam: drawn at random, so no suggestion is shown"
OWN_STRATEGIES = Path(__file__).parent.parent / "strategies"  # of a source checkout; not there in a plain install
NONE, LABEL, UNSURE, SKIP = range(4)  # the state of an image
STATES = {"label": LABEL, "unsure": UNSURE, "skip": SKIP}


@dataclass
class Board:
    """All that is known about every image, by image id - 1; kept up to date by `apply`. n images, d features."""

    classes: tuple[str, ...]
    held_out: Bools  # (n,)
    gone: Bools  # (n,)
    label: Ints  # (n,) class index of the newest answer, or -1
    state: Ints  # (n,) NONE, LABEL, UNSURE or SKIP
    features: Floats  # (n, d), memory-mapped
    embedded: Bools  # (n,)
    features_name: str
    last_event: int = 0

    def apply(self, project: Project, events: Iterable[Event]) -> None:
        """Bring the answers up to date with what was appended to the log."""
        events = list(events)
        changed = sorted({event.image_id for event in events})
        if not changed:
            return
        rows = np.array(changed) - 1
        label, state = self.label.copy(), self.state.copy()  # requests read the old ones meanwhile
        label[rows], state[rows] = -1, NONE
        for answer in project.log.answers(image_ids=changed):
            row = answer.image_id - 1
            state[row] = STATES[answer.kind]
            label[row] = -1 if answer.class_index is None else answer.class_index
        self.label, self.state = label, state
        self.last_event = max(event.id or 0 for event in events)

    @property
    def to_learn_from(self) -> Ints:
        """Image ids - 1 with a label that a model may see: never the held-out ones."""
        return np.flatnonzero((self.label >= 0) & ~self.held_out & self.embedded)

    @property
    def exam(self) -> Ints:
        """Image ids - 1 of the held-out images that were answered."""
        return np.flatnonzero((self.label >= 0) & self.held_out & self.embedded)

    @property
    def is_embedding(self) -> bool:
        """Whether images that a strategy may choose have no features yet."""
        return bool(((self.state == NONE) & ~self.held_out & ~self.gone & ~self.embedded).any())

    @property
    def exam_open(self) -> Ints:
        """Image ids - 1 of the held-out images that wait for an answer."""
        return np.flatnonzero((self.state == NONE) & self.held_out & ~self.gone)


@dataclass(frozen=True)
class Learned:
    """A head, what it says about every image, and how it did on the exam."""

    head: Head
    labels: int
    seconds: float
    probabilities: Floats  # (n, c), by image id - 1; zeros where an image is not embedded
    exam: Accuracy


@dataclass(frozen=True)
class Reasons:
    """Why images are shown, with their nearest labeled images: a list of (image id, class index) each."""

    words: list[str]
    neighbours: list[list[tuple[int, int]]] = field(default_factory=list)


def read_board(project: Project, *, features: str | None = None) -> Board:
    """Read everything once, with the set of features in charge unless another is named."""
    last_event = project.log.last_id()  # first: the images it is about are there by then
    held_out, gone = project.catalog.flags()
    n = len(held_out)
    label, state = np.full(n, -1), np.full(n, NONE)
    for answer in project.log.answers(upto=last_event):
        state[answer.image_id - 1] = STATES[answer.kind]
        label[answer.image_id - 1] = -1 if answer.class_index is None else answer.class_index
    name = features or project.features_in_charge["name"]
    values, embedded = read_features(project.features_folder(name), n)
    return Board(project.classes, held_out, gone, label, state, values, embedded, name, last_event)


def read_features(folder: Path, n: int) -> tuple[Floats, Bools]:
    """Features (n, d) and which rows are there; no rows at all before the first image is embedded."""
    if not FeatureStore.is_there(folder):
        return np.zeros((n, 0), np.float32), np.zeros(n, bool)
    features, done = FeatureStore.open(folder).read()
    if len(features) >= n:
        return features[:n], done[:n].astype(bool)
    missing = n - len(features)  # images that were added since
    padded = np.concatenate([features, np.zeros((missing, features.shape[1]), np.float32)])
    return padded, np.concatenate([done.astype(bool), np.zeros(missing, bool)])


def pool_of(board: Board, learned: Learned | None, *, taken: Iterable[int] = ()) -> tuple[Pool, Ints]:
    """The pool a strategy sees, and for each of its rows the image id - 1.

    Skipped images come back when nothing else is open. `taken` are ids that are on somebody's screen.
    """
    is_open = (board.state == NONE) & ~board.held_out & ~board.gone & board.embedded
    if not is_open.any():
        is_open = (board.state == SKIP) & ~board.held_out & ~board.gone & board.embedded
    pending = np.zeros(len(is_open), bool)
    pending[np.array(list(taken), dtype=int) - 1] = True
    is_open &= ~pending
    rows = np.flatnonzero(board.embedded)
    # Images are embedded in the order of their ids, so these rows are nearly always the first k: no copy.
    everything = len(rows) > 0 and rows[-1] == len(rows) - 1
    cut: Any = slice(0, len(rows)) if everything else rows
    may_learn = np.where(board.held_out, -1, board.label)
    pool = Pool(
        ids=rows + 1,
        features=board.features[cut],
        y=may_learn[cut],
        classes=board.classes,
        open=is_open[cut],
        probabilities=None if learned is None else learned.probabilities[cut],
        pending=(pending & ~board.held_out)[cut],
    )
    return pool, rows


def learn(board: Board) -> Learned:
    """Fit a head on all labels it may see and ask it about every image; raises CannotTrain below two classes."""
    start = time.perf_counter()
    rows = board.to_learn_from
    head = fit(board, rows)
    probabilities = head.predict_proba(board.features)
    seconds = time.perf_counter() - start
    probabilities[~board.embedded] = 0
    exam = accuracy(board.label[board.exam], probabilities[board.exam].argmax(1))
    return Learned(head, len(rows), seconds, probabilities, exam)


def fit(board: Board, rows: Ints) -> Head:
    """A head on the labels of some images; raises CannotTrain below two classes."""
    from labelloop.train.head import fit_head

    if len(np.unique(board.label[rows])) < 2:
        raise CannotTrain(
            f"there are {len(rows)} labels to learn from, all of one class; a model needs two to tell apart"
            if len(rows)
            else "there are no labels to learn from yet"
        )
    return fit_head(np.asarray(board.features[rows]), board.label[rows], len(board.classes))


def record(project: Project, board: Board, learned: Learned) -> Measured:
    """Put a head on the learning curve."""
    measured = Measured(
        kind="head",
        features=board.features_name,
        labels=learned.labels,
        exam_n=learned.exam.n,
        exam_correct=learned.exam.correct,
        seconds=learned.seconds,
    )
    project.rounds.add_model(measured)
    return measured


@dataclass(frozen=True)
class Choice:
    """Images in the order in which to show them, and the strategy that ran; no held-out ones among them."""

    strategy: str
    picks: list[Pick]


def load_strategies(project: Project) -> list[BadStrategy]:
    """Register installed and drop-in strategies, the project's own last; returns a problem for each broken file."""
    folders = (OWN_STRATEGIES, project.folder / "strategies")
    return [*load_installed(), *(problem for folder in folders for problem in load_folder(folder))]


def choose(
    project: Project,
    board: Board,
    learned: Learned | None,
    n: int,
    rng: np.random.Generator,
    *,
    strategy: str | None = None,
    taken: Iterable[int] = (),
) -> Choice:
    """Let a strategy choose n images; `taken` are ids that are on somebody's screen."""
    name = strategy or project.settings.strategy
    settings = project.settings.strategy_settings if name == project.settings.strategy else {}
    pool, rows = pool_of(board, learned, taken=taken)
    picks: list[Pick] = []
    ran = name
    if len(pool.unlabeled):
        chosen = strategies.choose(pool, n, name, rng, settings=settings)
        ran = chosen.strategy
        picks = [
            Pick(image_id=int(rows[row]) + 1, strategy=ran, score=float(score), reason=why, **suggestion_for(pool, row))
            for row, score, why in zip(chosen.rows, chosen.scores, chosen.reasons, strict=True)
        ]
    general = explain(board, learned, [pick.image_id for pick in picks], rng)
    explained = zip(picks, general.words, general.neighbours, strict=True)
    return Choice(
        ran, [replace(pick, reason=pick.reason or words, neighbours=tuple(near)) for pick, words, near in explained]
    )


def suggestion_for(pool: Pool, row: int) -> dict[str, Any]:
    """The class the model would answer, with its probability; nothing before the first model."""
    if pool.probabilities is None:
        return {}
    best = int(pool.probabilities[row].argmax())
    return {"suggestion": best, "probability": float(pool.probabilities[row, best])}


def mix_exam(
    picks: Sequence[Pick], exam: Sequence[Pick], n: int, share: float, rng: np.random.Generator, *, rest: bool
) -> list[Pick]:
    """Put held-out images between the picks: each place is one with probability `share`; at most n images in all.

    With `rest`, what is left of them follows after the last pick: there is nothing else to show.
    """
    chosen, waiting = list(picks), list(exam)
    mixed: list[Pick] = []
    while len(mixed) < n and (chosen or (waiting and rest)):
        take_exam = waiting and (not chosen or rng.random() < share)
        mixed.append((waiting if take_exam else chosen).pop(0))
    return mixed


def exam_picks(image_ids: Iterable[int]) -> list[Pick]:
    """Held-out images as they are shown: without a suggestion."""
    return [Pick(image_id=int(i), strategy=EXAM, reason=EXAM_REASON, held_out=True) for i in image_ids]


def explain(board: Board, learned: Learned | None, image_ids: Sequence[int], rng: np.random.Generator) -> Reasons:
    """A line for each image that says why it is worth a look, and its three nearest labeled images."""
    rows = np.array(image_ids, dtype=int) - 1
    if not len(board.to_learn_from):
        return Reasons(["typical of many images here, and none like it is labeled yet"] * len(rows), [[] for _ in rows])
    near = nearest_labeled(board, rows)
    # "nothing like it" means: further from every label than four fifths of what is still open
    still_open = np.flatnonzero((board.state == NONE) & board.embedded)
    some = rng.choice(still_open, min(256, len(still_open)), replace=False)
    usual = [similarity for _, similarity in nearest_labeled(board, some)]
    far = np.quantile(usual, 0.2) if usual else -np.inf
    words = []
    for row, (_, similarity) in zip(rows, near, strict=True):
        doubt = "" if learned is None else doubt_about(learned.probabilities[row], board.classes)
        alone = "nothing like it is labeled yet" if similarity <= far else ""
        words.append("; ".join(part for part in (doubt, alone) if part) or "stands for other images like it")
    return Reasons(words, [neighbours for neighbours, _ in near])


def doubt_about(probabilities: Floats, classes: Sequence[str]) -> str:
    """What the model cannot decide about one image, in words."""
    order = np.argsort(-probabilities)
    (first, p), (second, q) = ((classes[k], float(probabilities[k])) for k in order[:2])
    if p - q < 0.2:
        return f"torn between {first} ({100 * p:.0f} %) and {second} ({100 * q:.0f} %)"
    return f"probably {first} ({100 * p:.0f} %)" if p < 0.9 else ""


def nearest_labeled(board: Board, rows: Ints, k: int = 3) -> list[tuple[list[tuple[int, int]], float]]:
    """For each image: its k nearest other labeled images as (image id, class index), and the similarity of the nearest.

    Reads the features of every label: with thousands of them too slow for a request that somebody waits for.
    """
    labeled = board.to_learn_from
    known = board.embedded[rows]
    result: list[tuple[list[tuple[int, int]], float]] = [([], -np.inf) for _ in rows]
    if not len(labeled) or not known.any():
        return result
    similarity = np.asarray(board.features[rows[known]]) @ np.asarray(board.features[labeled]).T
    similarity[rows[known][:, None] == labeled] = -np.inf  # itself
    for place, line in zip(np.flatnonzero(known), similarity, strict=True):
        few = np.argpartition(-line, min(k, len(line)) - 1)[:k]
        order = few[np.argsort(-line[few], kind="stable")]
        near = [(int(labeled[j]) + 1, int(board.label[labeled[j]])) for j in order if line[j] > -np.inf]
        result[place] = (near, float(line[order[0]]))
    return result


def next_batch(project: Project, n: int = 20, *, strategy: str | None = None) -> Batch:
    """One round: learn from every answer so far, choose the n images to ask about next, and log them."""
    broken = load_strategies(project)
    if broken and (strategy or project.settings.strategy) not in strategies.names():
        raise broken[0]
    board = read_board(project)
    try:
        learned = learn(board)
    except CannotTrain:
        learned = None  # the cold-start strategy runs, and the batch says so
    seed = project.settings.seed
    rng = np.random.default_rng([seed, project.rounds.last() + 1])
    choice = choose(project, board, learned, n, rng, strategy=strategy)
    share = project.settings.held_out
    exam = exam_picks(rng.permutation(board.exam_open + 1))
    picks = mix_exam(choice.picks, exam, n, share, rng, rest=not board.is_embedding)
    number = project.rounds.start(
        choice.strategy, project.settings.strategy_settings, seed, 0 if learned is None else learned.labels
    )
    project.rounds.add_picks(number, picks)
    return Batch(round=number, strategy=choice.strategy, picks=tuple(picks))
