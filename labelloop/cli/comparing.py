"""Strategies compared in words and in JSON: tables with intervals, and labels saved.

Left out: the numbers themselves (curves.py) and the drawing (drawing.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from labelloop.curves import Curves, Interval, Saved, area_difference, differences, labels_saved

OTHER = "random"  # what all are compared with
ByName = Mapping[str, Curves]


def saved_by(curves: ByName, name: str, chosen_from: int) -> Saved | None:
    """Labels saved at the largest count up to half of the pool, None where there is no such count.

    Later there is little left to choose, and all strategies are nearly equal.
    """
    counts = curves[OTHER].labels
    early = counts[counts <= chosen_from / 2]
    if name == OTHER or not len(early):
        return None
    return labels_saved(curves[name], curves[OTHER], OTHER, int(early[-1]))


# -- words ------------------------------------------------------------------------------------------------------------


def tables(
    curves: ByName, chosen_from: int, seconds: Mapping[str, float], *, same_images: bool = False
) -> Iterator[str]:
    """Accuracies, differences and labels saved, line by line; `seconds` it took each strategy to choose a batch.

    `same_images`: every seed had the same ones to choose from and to be judged by.
    """
    budgets = sorted({int(count) for one in curves.values() for count in one.labels})
    n = max(len(one.seeds) for one in curves.values())
    yield f"Accuracy in %, mean{' ± standard deviation' if n > 1 else ''} over {n} {'seeds' if n > 1 else 'seed'}"
    rows = [[name, *(_cell(one, b) for b in budgets), f"{100 * one.areas.mean():.1f}"] for name, one in curves.items()]
    yield from _aligned([["labels", *map(str, budgets), "area"], *rows])
    alike = [name for name, one in curves.items() if n > 1 and (one.values == one.values[0]).all()]
    if same_images and alike:
        yield f"± 0.0 of {', '.join(alike)}: every seed has the same images, so this says nothing about other ones."
    others = [name for name in curves if name != OTHER]
    if others:
        yield ""
        yield f"Difference to {OTHER} in points{', paired by seed, with its 95 % bootstrap interval' if n > 1 else ''}"
        yield from _aligned(
            [["labels", *map(str, budgets), "area"], *(_gaps(curves, name, budgets) for name in others)]
        )
        yield ""
    for name in others:
        saved = saved_by(curves, name, chosen_from)
        if saved is not None:
            yield f"{name} {saved}."
    yield "Seconds to choose a batch: " + ", ".join(f"{name} {value:.3f}" for name, value in seconds.items()) + "."
    if 1 < n < 10:
        yield f"Intervals over {n} seeds are narrower than the truth; take 10 or more to rely on them."


def _cell(one: Curves, budget: int) -> str:
    k = np.flatnonzero(one.labels == budget)
    if not len(k):
        return "–"  # it offered no more images
    spread = f" ± {100 * one.sd[k[0]]:.1f}" if len(one.seeds) > 1 else ""
    return f"{100 * one.mean[k[0]]:.1f}{spread}"


def _gaps(curves: ByName, name: str, budgets: Sequence[int]) -> list[str]:
    gaps = differences(curves[name], curves[OTHER])
    area = area_difference(curves[name], curves[OTHER])
    return [name, *(points(gaps[budget]) if budget in gaps else "–" for budget in budgets), points(area)]


def points(gap: Interval) -> str:
    """'+1.2 [0.4, 2.1]'."""
    interval = f" [{100 * gap.low:.1f}, {100 * gap.high:.1f}]" if gap.n > 1 else ""
    return f"{100 * gap.mean:+.1f}{interval}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first column to the left, the others to the right."""
    width = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        yield "  ".join([row[0].ljust(width[0]), *(cell.rjust(w) for cell, w in zip(row[1:], width[1:], strict=True))])


# -- JSON -------------------------------------------------------------------------------------------------------------


def summary(curves: ByName, chosen_from: int, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What the tables say, as shares; null where one seed has no spread, or an accuracy was never reached."""
    return {name: _one(curves, name, chosen_from) | {"seconds": seconds[name]} for name in curves}


def _one(curves: ByName, name: str, chosen_from: int) -> dict[str, Any]:
    one, saved = curves[name], saved_by(curves, name, chosen_from)
    found: dict[str, Any] = {
        "seeds": list(one.seeds),
        "labels": one.labels.tolist(),
        "mean": one.mean.tolist(),
        "sd": [_number(value) for value in one.sd],
        "area": float(one.areas.mean()),
    }
    if name != OTHER:
        gaps = differences(one, curves[OTHER])
        found[f"minus_{OTHER}"] = {str(labels): _interval(gap) for labels, gap in gaps.items()}
        found[f"area_minus_{OTHER}"] = _interval(area_difference(one, curves[OTHER]))
    if saved is not None:
        found["saved"] = {
            "at": saved.labels, "accuracy": saved.accuracy, "needed": _number(saved.needed),
            "low": _number(saved.low), "high": _number(saved.high),
        }  # fmt: skip
    return found


def _interval(gap: Interval) -> dict[str, float | None]:
    return {"mean": gap.mean, "low": _number(gap.low), "high": _number(gap.high)}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
