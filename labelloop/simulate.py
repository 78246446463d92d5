"""Plays a strategy against known labels: what accuracy would it have reached with how many answers?

The same core as the loop (strategies.choose, fit_spread), and no database. Left out: comparing many curves (curves.py)
and making features (backbone.py).
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from labelloop import strategies
from labelloop.errors import BadInput
from labelloop.strategies import Strategy, Value
from labelloop.strategies.distances import some_of
from labelloop.train.head import Head, fit_head
from labelloop.train.neighbours import Graph, graph
from labelloop.train.spreading import fit_spread
from labelloop.types import Floats, Ints, Pool

MOST_CLASSES = 100_000  # more, and labels are likely numbers of another kind, such as dates or ids


def simulate(
    features: ArrayLike,
    y: ArrayLike,
    strategy: Strategy | str = "auto",
    *,
    budgets: Sequence[int] | Ints,
    test_features: ArrayLike,
    test_y: ArrayLike,
    batch: int = 10,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    settings: Mapping[str, Value] | None = None,
    late: Mapping[str, Callable[[], Any]] | None = None,
    guesses: bool = True,
) -> list[dict[str, Any]]:
    """The learning curve of one strategy: a dict for each budget that can be reached, in order.

    The last one may be of fewer labels, where no more images are left or the strategy offers no more.

    features (n, d) and test_features (t, d) are scaled to unit length; y (n,) and test_y (t,) are class indices. A row
    of class -1 has none: it is answered "skip", which costs a label and teaches no class. `late` is what
    the pool knows besides (see Pool). Without `guesses` the head learns from the labels alone: plain logistic
    regression, such as strategies elsewhere are compared with. Each dict has

    - labels: answers given, among them those that were skipped;
    - accuracy, macro_accuracy: shares (0 to 1) of test images that the head gets right, and the mean of these shares
      over the classes of test_y;
    - select_seconds, fit_seconds: spent on choosing and on fitting since the last budget;
    - picked: rows in the order in which they were chosen since the start.

    Raises BadInput for lengths that do not fit, features with NaN, infinity or only zeros, labels that are no class
    indices, and budgets that do not grow.
    """
    person, exam = Answers(features, y), Answers(test_features, test_y)
    names = _classes(person, exam, classes)
    run = Run(person, names, np.random.default_rng(_whole("seed", seed, 0)), late or {}, guesses)
    batch = _whole("batch", batch, 1)
    curve: list[dict[str, Any]] = []
    for budget in _growing(budgets):
        select_seconds = fit_seconds = 0.0
        for step in run.until(budget, batch, strategy, settings or {}):
            select_seconds, fit_seconds = select_seconds + step[0], fit_seconds + step[1]
        if len(run.picked) == (curve[-1]["labels"] if curve else 0):
            break  # the pool is used up, or the strategy offers no more
        right = run.predict(exam.features) == exam.y
        curve.append(
            {
                "labels": len(run.picked),
                "accuracy": float(right.mean()),
                "macro_accuracy": float(np.mean([right[exam.y == k].mean() for k in np.unique(exam.y)])),
                "select_seconds": select_seconds,
                "fit_seconds": fit_seconds,
                "picked": list(run.picked),
            }
        )
    return curve


class Answers:
    """Features of unit length (n, d) and the class that a person would give each (n,), -1 for none."""

    def __init__(self, features: ArrayLike, y: ArrayLike):
        self.features = unit(features)
        given = np.asarray(y)
        if given.shape != (len(self.features),):
            raise BadInput(f"{len(self.features)} rows of features and labels of shape {given.shape}: one label a row")
        if len(given) and given.dtype.kind not in "biu":
            raise BadInput(
                f"labels of type {given.dtype}, such as {given[0]!r}; wanted whole numbers: class indices 0, 1, 2, …, "
                "or -1 for none. Names become indices with: classes, y = numpy.unique(names, return_inverse=True)"
            )
        if len(given) and given.min() < -1:
            raise BadInput(f"label {given.min()}; wanted class indices 0, 1, 2, …, or -1 for none")
        self.y: Ints = given.astype(np.int64)


def unit(features: ArrayLike) -> Floats:
    """Features (n, d) scaled to unit length; raises BadInput naming the rows that cannot be."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite, and is refused below
            X = np.asarray(features, np.float32)
            length = np.linalg.norm(X, axis=-1, keepdims=True)
    except (TypeError, ValueError) as error:
        raise BadInput(f"features that are no numbers, or not as many for each image: {error}") from error
    if X.ndim != 2:
        raise BadInput(f"features of shape {X.shape}; wanted (images, features)")
    bad = np.flatnonzero(~np.isfinite(length[:, 0]) | (length[:, 0] == 0))
    if len(bad):
        raise BadInput(f"rows {some_of(bad)} have NaN, infinity or only zeros as float32 features; leave them out")
    return X if np.allclose(length, 1, atol=1e-3) else X / length


@dataclass
class Run:
    """One project in memory: what was asked so far, and the head that learned from it."""

    person: Answers
    classes: Sequence[str]
    rng: np.random.Generator
    late: Mapping[str, Callable[[], Any]]
    guesses: bool
    picked: list[int] = field(default_factory=list)
    head: Head | None = None

    def until(
        self, budget: int, batch: int, strategy: Strategy | str, settings: Mapping[str, Value]
    ) -> Iterator[tuple[float, float]]:
        """Ask batches until the budget is spent or nothing is open; yields seconds of choosing and of fitting."""
        n = len(self.person.y)
        while len(self.picked) < min(budget, n):
            start = time.perf_counter()
            pool = self.pool()
            wanted = min(batch, budget - len(self.picked))
            chosen = strategies.choose(pool, wanted, strategy, self.rng, settings=settings)
            chose = time.perf_counter()
            if not len(chosen.rows):
                return
            self.picked += chosen.rows.tolist()
            self.learn()
            yield chose - start, time.perf_counter() - chose

    def pool(self) -> Pool:
        """What a strategy sees now."""
        n = len(self.person.y)
        asked = np.zeros(n, bool)
        asked[self.picked] = True
        return Pool(
            ids=np.arange(n),
            features=self.person.features,
            y=np.where(asked, self.person.y, -1),
            classes=tuple(self.classes),
            open=~asked,
            probabilities=None if self.head is None else self.head.predict_proba(self.person.features),
            skipped=asked & (self.person.y < 0),
            late=self.late,
        )

    def learn(self) -> None:
        """Fit the head anew; there is none before labels of two classes."""
        known = np.full(len(self.person.y), -1)
        known[self.picked] = self.person.y[self.picked]
        rows = np.flatnonzero(known >= 0)
        if len(np.unique(known[rows])) < 2:
            return
        if self.guesses:
            skipped = np.array([row for row in self.picked if known[row] < 0], np.int64)
            self.head = fit_spread(self.graph, self.person.features, known, len(self.classes), skipped)
        else:
            self.head = fit_head(self.person.features[rows], known[rows], len(self.classes))

    @cached_property
    def graph(self) -> Graph:
        """Which images of the pool are like which."""
        return graph(self.person.features, np.arange(len(self.person.y)), len(self.classes))

    def predict(self, features: Floats) -> Ints:
        """Class indices; before the first head the only class that is known, or the first."""
        if self.head is not None:
            best: Ints = self.head.predict_proba(features).argmax(1)
            return best
        known = max((int(self.person.y[row]) for row in self.picked), default=0)
        return np.full(len(features), max(known, 0))


def _classes(person: Answers, exam: Answers, classes: Sequence[str] | None) -> Sequence[str]:
    """One name a class index; raises BadInput when an index has none or the parts do not fit each other."""
    if not len(person.y):
        raise BadInput("no images to choose from: features has no rows")
    if person.features.shape[1] != exam.features.shape[1]:
        raise BadInput(
            f"{person.features.shape[1]} features an image in the pool, {exam.features.shape[1]} in the test set"
        )
    if not len(exam.y) or exam.y.min() < 0:
        without = int((exam.y < 0).sum())
        raise BadInput(f"{len(exam.y)} test images, {without} of them without a class; wanted some, each with one")
    highest = int(max(person.y.max(initial=-1), exam.y.max()))
    if classes is None and highest >= MOST_CLASSES:
        raise BadInput(
            f"class index {highest}: there would be as many classes; wanted indices 0, 1, 2, … Other numbers become "
            "indices with: classes, y = numpy.unique(numbers, return_inverse=True)"
        )
    if classes is None:
        return [str(k) for k in range(highest + 1)]
    if isinstance(classes, int | str):
        raise BadInput(f"classes {classes!r}; wanted a name for each class, such as ['rust', 'mildew'], or None")
    if highest >= len(classes):
        raise BadInput(f"class index {highest}, but there are {len(classes)} classes")
    return classes


def _growing(budgets: Sequence[int] | Ints) -> list[int]:
    """The budgets; raises BadInput for what are no growing numbers of labels."""
    try:
        counts = [operator.index(budget) for budget in budgets]
    except TypeError:
        counts = []
    if not counts or counts[0] < 1 or counts != sorted(set(counts)):
        raise BadInput(f"budgets {budgets!r}: wanted label counts that grow, such as [10, 20, 50]")
    return counts


def _whole(name: str, value: int, least: int) -> int:
    try:
        found = operator.index(value)
    except TypeError:
        found = least - 1
    if found < least:
        raise BadInput(f"{name} {value!r}: wanted a whole number of at least {least}")
    return found
