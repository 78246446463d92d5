"""The one place that runs a strategy: masks what may not be chosen, breaks ties, and says what is wrong with a result.

Left out: where the pool comes from and what becomes of the choice (loop.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from labelloop.cores import BLOCK
from labelloop.errors import BadStrategy, NeedsModel
from labelloop.strategies.contract import Scores, Strategy, Value, check_settings, fault, file_of, said, where
from labelloop.strategies.distances import read_unit
from labelloop.strategies.registry import get
from labelloop.types import Ints, Pool


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Rows to show, best first, and who chose them. k rows, k <= n."""

    rows: Ints  # (k,)
    scores: Scores  # (k,)
    strategy: str  # the one that ran, which may be the cold-start one
    reasons: list[str] = field(default_factory=list)  # (k,) in the strategy's own words; "" where it gave none


def choose(
    pool: Pool,
    n: int,
    strategy: Strategy | str,
    rng: np.random.Generator,
    *,
    settings: Mapping[str, Value] | None = None,
    cold_start: str = "max_herding",
) -> Chosen:
    """At most n open rows, best first, ties broken by rng. The same rng state gives the same rows.

    `strategy` may be a name of the registry; drop-ins of one project are not there (loop.load_strategies has them).
    A strategy that asks again also gets those of `pool.again`. Before the first model a strategy that needs one is
    replaced by `cold_start` (with its own defaults). Raises BadInput for an unknown name or setting, and for chosen
    images whose features are NaN, infinite or only zeros; BadStrategy for one that fails or breaks the contract.
    """
    asked = strategy if isinstance(strategy, Strategy) else get(strategy)
    fallback = get(cold_start)
    keywords = check_settings(asked, settings or {})
    first_time = pool
    if asked.again and pool.again is not None:
        pool = replace(pool, open=pool.open | pool.again)
    if n < 1 or not len(pool.unlabeled):
        return Chosen(np.empty(0, np.int64), np.empty(0), asked.name)
    try:
        return _choose(pool, n, asked, rng, keywords)
    except NeedsModel:
        if not len(first_time.unlabeled):  # what has an answer is not for the cold start
            return Chosen(np.empty(0, np.int64), np.empty(0), fallback.name)
        return _choose(first_time, n, fallback, rng, {})


def _choose(pool: Pool, n: int, one: Strategy, rng: np.random.Generator, keywords: Mapping[str, Value]) -> Chosen:
    """By one strategy; raises NeedsModel where its scores, or the reasons for them, want a model that is not there."""
    scores = _run(one, pool, min(n, len(pool.unlabeled)), rng, keywords)
    values = np.asarray(scores)
    rows = _best(pool.unlabeled, values, n, rng)
    _refuse_unusable(pool, rows)
    return Chosen(rows, values[rows], one.name, _reasons(one, scores, rows))


def _best(rows: Ints, scores: Scores, n: int, rng: np.random.Generator) -> Ints:
    """The n rows of the largest scores, best first; fewer where the rest is -inf. Sorts only what may be among them."""
    values = scores[rows]
    enough = np.partition(values, len(values) - n)[len(values) - n] if n < len(values) else -np.inf
    rows = rows[(values >= enough) & (values > -np.inf)]
    best: Ints = rows[np.lexsort((rng.random(len(rows)), -scores[rows]))][:n]
    return best


def _refuse_unusable(pool: Pool, rows: Ints) -> None:
    """Raise BadInput for rows that no model could learn from; strategies that read probabilities alone choose such too.

    Only what was chosen is read: the features may be larger than memory.
    """
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        X = np.asarray(pool.features[some], np.float32)
        square = np.einsum("nd,nd->n", X, X)  # half the time of read_unit, which only has to say what is wrong
        usable = (square > 0) & (square < np.inf)
        if not usable.all():
            read_unit(pool, some[~usable])


def _run(one: Strategy, pool: Pool, n: int, rng: np.random.Generator, keywords: Mapping[str, Value]) -> Scores:
    with _blame(one):
        scores = one.function(pool, n, rng, **keywords)
    problem = fault(scores, len(pool))
    if problem:
        raise BadStrategy(
            f"{one.name} ({one.origin}) returned {problem}; wanted one float for each of {len(pool)} images"
        )
    return scores


def _reasons(one: Strategy, scores: Scores, rows: Ints) -> list[str]:
    why = getattr(scores, "why", None)
    if why is None:
        return [""] * len(rows)
    with _blame(one):
        return ["" if (words := why(row)) is None else str(words) for row in rows.tolist()]


@contextmanager
def _blame(one: Strategy) -> Iterator[None]:
    """Whatever the strategy's own code raises becomes a message that names it, with file and line.

    What it tells numpy to do about overflows and the like is for that code alone.
    """
    try:
        with np.errstate():
            yield
    except NeedsModel:
        raise
    except (Exception, SystemExit) as error:  # the code is the user's, and whatever it raises must be said
        raise BadStrategy(f"{one.name} failed ({where(error, file_of(one))}): {said(error)}") from error
