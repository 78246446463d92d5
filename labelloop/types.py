"""The nouns that travel between the layers: frozen dataclasses, numpy at most.

A *row* is a position in one Pool; an *id* names an image in the database (1, 2, 3, … without gaps). A class is
named by its index (0, 1, 2, …) everywhere, in the database too: classes are only ever added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelloop.errors import BadInput, NeedsModel

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Names = NDArray[np.object_]  # of str
Array = TypeVar("Array", bound=NDArray[Any])

Kind = Literal["label", "unsure", "skip", "flag", "unflag", "note", "undo"]
Source = Literal["human", "accepted", "bulk", "import"]

ANSWERS: tuple[Kind, ...] = ("label", "unsure", "skip")
"""The kinds of event that answer "what is this?"; the newest one that was not undone is an image's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing a person did to one image. Events are only ever appended."""

    image_id: int
    kind: Kind
    class_index: int | None = None  # for kind "label"
    note: str | None = None  # for kind "note"
    source: Source = "human"
    by: str = ""  # who
    at: str = ""  # ISO 8601, UTC; the log fills it in
    seconds: float | None = None  # from the image on screen to the answer
    round: int | None = None  # the round that showed the image
    strategy: str | None = None  # what chose it
    suggestion: int | None = None  # class the model had suggested on screen, None when nothing was shown
    probability: float | None = None  # of the suggestion
    undoes: int | None = None  # for kind "undo": the id of the event taken back
    undoes_seq: int | None = None  # or its number, where it is the same client's; the log finds and stores the id
    client: str | None = None  # one browser tab; (client, seq) makes a resend harmless
    seq: int | None = None
    id: int | None = None  # the log's own number


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a project was set up with."""

    backbone: str = "embedded"
    weights: str | None = None  # a safetensors file, or None for the cache
    held_out: float = 0.1  # share of images kept for the exam
    strategy: str = "auto"
    strategy_settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    fine_tunes: bool = True  # by itself, whenever there are enough new labels


@dataclass(frozen=True)
class Pool:
    """All embedded images as a strategy sees them; arrays are read-only. n images, d features, c classes.

    `y` is -1 where there is no label to learn from; answers to held-out images never appear in it.
    `open` marks the rows that may be chosen: not answered, not held out, not gone, not already handed out.
    """

    ids: Ints  # (n,)
    features: Floats  # (n, d), unit length
    y: Ints  # (n,) class index, or -1
    classes: tuple[str, ...]
    open: Bools  # (n,)
    probabilities: Floats | None = None  # (n, c), None before the first model
    pending: Bools | None = None  # (n,) on somebody's screen: as good as labeled, but nobody knows as what yet
    skipped: Bools | None = None  # (n,) answered, but with no class: likely not what the task is about
    again: Bools | None = None  # (n,) answered once; only a strategy that asks again may choose these
    late: Mapping[str, Callable[[], Any]] = field(default_factory=dict)  # read on first use: paths, groups, …

    def __post_init__(self) -> None:
        n = len(self.ids)
        for name in ("ids", "features", "y", "open", "probabilities", "pending", "skipped", "again"):
            array = getattr(self, name)
            if array is None:
                continue
            if len(array) != n:
                raise ValueError(f"Pool.{name} has {len(array)} rows, expected {n}, one for each id")
            object.__setattr__(self, name, _read_only(array))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def labeled(self) -> Ints:
        """Rows with a label to learn from."""
        return _read_only(np.flatnonzero(self.y >= 0))

    @cached_property
    def unlabeled(self) -> Ints:
        """Rows a strategy may choose."""
        return _read_only(np.flatnonzero(self.open))

    @cached_property
    def covered(self) -> Ints:
        """Rows that need nothing like them any more: labeled, or on somebody's screen."""
        return _read_only(self.labeled if self.pending is None else np.flatnonzero((self.y >= 0) | self.pending))

    @property
    def proba(self) -> Floats:
        """Class probabilities (n, c) of the newest model; raises NeedsModel before the first one."""
        if self.probabilities is None:
            raise NeedsModel("this strategy needs a model, and there is none before two classes have labels")
        return self.probabilities

    @cached_property
    def paths(self) -> Sequence[str]:
        """Path of each image below the folder of images (n,), with / on every system."""
        paths: Sequence[str] = self._read_late("paths")
        return paths

    @cached_property
    def groups(self) -> Ints:
        """What each image belongs together with (n,): 0, 1, 2, … by the folder it lies in."""
        groups: Ints = self._read_late("groups")
        return groups

    @cached_property
    def seconds(self) -> Floats:
        """How long the person looked at each image before answering (n,); NaN where nobody did."""
        seconds: Floats = self._read_late("seconds")
        return seconds

    @cached_property
    def doubts(self) -> Floats:
        """How doubtful each answer is (n,): 1 for "unsure", 0 for a label that a model without it would have given too.

        Between: 1 - the probability it gives the label. NaN where there is no answer that a strategy may know of, and
        for the only label of its class, which nothing can judge.
        """
        doubts: Floats = self._read_late("doubts")
        return doubts

    def _read_late(self, name: str) -> Any:
        if name not in self.late:
            raise BadInput(f"this pool knows nothing of {name}: a project does, plain features and labels do not")
        value = self.late[name]()
        if len(value) != len(self):
            raise ValueError(f"Pool.{name} has {len(value)} rows, expected {len(self)}, one for each id")
        return _read_only(value) if isinstance(value, np.ndarray) else value


def _read_only(array: Array) -> Array:
    """The same array, in which nothing can be written."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """One image chosen to be shown, and why."""

    image_id: int
    strategy: str  # what chose it; "exam" for a held-out image
    score: float | None = None
    reason: str = ""
    suggestion: int | None = None  # class index; always None for a held-out image
    probability: float | None = None
    held_out: bool = False
    round: int | None = None  # the round that chose it, once there is one
    again: bool = False  # it has an answer, which is not shown: a second look is worth as much as it is blind
    neighbours: tuple[tuple[int, int], ...] = ()  # (image id, class index) of the nearest labeled images


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The images of one round, in the order in which to show them."""

    round: int
    strategy: str  # the strategy that ran, which may be the cold-start one
    picks: tuple[Pick, ...]

    def __iter__(self) -> Any:
        return iter(self.picks)

    def __len__(self) -> int:
        return len(self.picks)
