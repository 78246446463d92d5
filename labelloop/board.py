"""The board: all that is known about every image, read once and then kept up to date by the events of the log.

Arrays go by image id - 1. Left out: models (loop.py), and what is read on demand only (late.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labelloop.features import FeatureStore
from labelloop.project import Project
from labelloop.types import Bools, Event, Floats, Ints, Names

if TYPE_CHECKING:
    from labelloop.train.neighbours import Graph

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
    times: Ints  # (n,) how often a label or "unsure" was given and not undone
    bulk: Bools  # (n,) whether the newest answer was given to many images at once
    event: Ints  # (n,) the id of the newest answer in the log, or 0
    by: Names  # (n,) who gave it, "" where that is not known
    features: Floats  # (n, d), memory-mapped
    embedded: Bools  # (n,)
    features_name: str
    last_event: int = 0
    merged: dict[int, int] = field(default_factory=dict)  # of classes: index → index of the one it is part of
    _graph: Graph | None = field(default=None, repr=False)

    def apply(self, project: Project, events: Iterable[Event]) -> None:
        """Bring the answers up to date with what was appended to the log."""
        events = list(events)
        changed = sorted({event.image_id for event in events})
        if not changed:
            return
        rows = np.array(changed) - 1
        # Requests read the old ones meanwhile.
        label, state, times, bulk = self.label.copy(), self.state.copy(), self.times.copy(), self.bulk.copy()
        event, by = self.event.copy(), self.by.copy()
        label[rows], state[rows], times[rows], bulk[rows], event[rows], by[rows] = -1, NONE, 0, False, 0, ""
        for answer in project.log.answers(image_ids=changed):
            row = answer.image_id - 1
            state[row] = STATES[answer.kind]
            label[row] = -1 if answer.class_index is None else answer.class_index
            bulk[row], event[row], by[row] = answer.source == "bulk", answer.id or 0, answer.by
        for image_id, count in project.log.times(image_ids=changed).items():
            times[image_id - 1] = count
        self.label, self.state, self.times, self.bulk = label, state, times, bulk
        self.event, self.by = event, by
        self.last_event = max(one.id or 0 for one in events)

    def newest(self, project: Project) -> Board:
        """This board, or one with the answers that were appended since; features and images are as they are here."""
        last = self.last_event  # first: what is brought up to date meanwhile is read again
        appended = [event for event in project.log.since(last) if event.image_id <= len(self.label)]
        if not appended:
            return self
        board = replace(self, classes=project.classes)  # an answer may be of one that was just added
        board.apply(project, appended)
        return board

    @property
    def counts(self) -> dict[str, int]:
        """How many labels each class has; one that was merged into another is not among them."""
        n = np.bincount(self.label[self.label >= 0], minlength=len(self.classes))
        return {name: int(n[k]) for k, name in enumerate(self.classes) if k not in self.merged}

    @property
    def to_learn_from(self) -> Ints:
        """Image ids - 1 with a label that a model may see: never the held-out ones."""
        return np.flatnonzero((self.label >= 0) & ~self.held_out & self.embedded)

    @property
    def exam(self) -> Ints:
        """Image ids - 1 of the held-out images that were answered."""
        return np.flatnonzero((self.label >= 0) & self.held_out & self.embedded)

    @property
    def graph(self) -> Graph:
        """Which images are like which, held-out ones not among them; made anew when more of them are embedded."""
        from labelloop.train.neighbours import graph

        rows = np.flatnonzero(self.embedded & ~self.held_out)
        if self._graph is None or self._graph.n != len(rows):
            self._graph = graph(self.features, rows, len(self.classes))
        return self._graph

    @property
    def again(self) -> Bools:
        """Images (n,) that a strategy may ask about once more: answered once, with a class or "unsure"."""
        is_answered = (self.state == LABEL) | (self.state == UNSURE)
        again: Bools = is_answered & (self.times == 1) & ~self.held_out & ~self.gone & self.embedded
        return again

    @property
    def is_embedding(self) -> bool:
        """Whether images that a strategy may choose have no features yet.

        They get them in the order of their ids: one that has none before another that has could not be embedded, and
        is not waited for.
        """
        first = np.flatnonzero(self.embedded).max(initial=-1) + 1
        return bool(((self.state == NONE) & ~self.held_out & ~self.gone)[first:].any())

    @property
    def exam_open(self) -> Ints:
        """Image ids - 1 of the held-out images that wait for an answer. Skipped ones come back after all others.

        Without them the exam would be of the easy images only.
        """
        may_ask = self.held_out & ~self.gone
        is_open = may_ask & (self.state == NONE)
        return np.flatnonzero(is_open if is_open.any() else may_ask & (self.state == SKIP))


def read_board(project: Project, *, features: str | None = None) -> Board:
    """Read everything once, with the set of features in charge unless another is named."""
    last_event = project.log.last_id()  # first: the images it is about are there by then
    merged = project.merged
    held_out, gone = project.catalog.flags()
    n = len(held_out)
    label, state, times, bulk = np.full(n, -1), np.full(n, NONE), np.full(n, 0), np.full(n, False)
    event, by = np.full(n, 0), np.full(n, "", object)
    for answer in project.log.answers(upto=last_event):
        row = answer.image_id - 1
        state[row] = STATES[answer.kind]
        label[row] = -1 if answer.class_index is None else answer.class_index
        bulk[row], event[row], by[row] = answer.source == "bulk", answer.id or 0, answer.by
    for image_id, count in project.log.times(upto=last_event).items():
        times[image_id - 1] = count
    name = features or project.features_in_charge["name"]
    values, embedded = read_features(project.features_folder(name), n)
    answers = (label, state, times, bulk, event, by)
    return Board(project.classes, held_out, gone, *answers, values, embedded, name, last_event, merged)


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
