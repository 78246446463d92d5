"""Chooses with the strategy that a person wants, and with one that works for as long as that one fails."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelloop.board import Board
from labelloop.errors import BadInput, BadStrategy
from labelloop.learning import Learned
from labelloop.loop import Choice, choose, load_strategies
from labelloop.project import Project
from labelloop.strategies import Strategy
from labelloop.strategies.deadline import Patience
from labelloop.strategies.registry import Offered

Wanted = tuple[str, dict[str, Any]]
"""Name and settings of a strategy."""


class Chooser:
    """The strategies that one project can choose with, and which of them it does."""

    def __init__(self, project: Project):
        self.project = project
        self.wanted: Wanted = ("auto", {})
        self.patience = Patience()
        self.strategy: Strategy | None = None  # the one that is wanted; None where its file is broken or gone
        self.offered = Offered({})
        self._broken: tuple[str, ...] = ()
        self._works = "auto"

    def follow(self) -> bool:
        """Take in drop-ins that were written or mended, and another choice of strategy; True when one matters."""
        before = (self.wanted, self.strategy, self._broken)
        self.offered = load_strategies(self.project)
        stored = self.project.settings  # looked at once: a request may change both
        self.wanted = (stored.strategy, stored.strategy_settings)
        self.strategy = self.offered.known.get(stored.strategy)
        self._broken = tuple(str(problem) for problem in self.offered.problems)
        return (self.wanted, self.strategy, self._broken) != before

    @property
    def asks_again(self) -> bool:
        """Whether the strategy may choose images that have an answer."""
        return self.strategy is not None and self.strategy.again

    def choose(
        self, board: Board, learned: Learned | None, n: int, rng: np.random.Generator, taken: set[int]
    ) -> tuple[Choice, str | None]:
        """Choose n images, and what the person should know about how.

        By the strategy that is wanted; else by the one that worked before, else by auto, with their defaults.
        """
        wanted, settings = self.wanted

        def choose_by(name: str, settings: dict[str, Any]) -> Choice:
            one = self.patience.limit(self.offered.get(name))
            return choose(self.project, board, learned, n, rng, strategy=one, settings=settings, taken=taken)

        try:
            choice = choose_by(wanted, settings)
        except (BadStrategy, BadInput) as error:  # it fails, or its file is broken and so its name is unknown
            said = "\n".join([*(text for text in self._broken if text not in str(error)), str(error)])
        else:
            self._works = wanted
            return choice, "\n".join(self._broken) or None
        works = "auto" if self._works == wanted else self._works
        try:
            choice = choose_by(works, {})
        except (BadStrategy, BadInput):  # it is gone, or fails by now
            works, choice = "auto", choose_by("auto", {})
        return choice, f"{said.rstrip('.')}. Going on with {works!r}{' and its defaults' if works == wanted else ''}."
