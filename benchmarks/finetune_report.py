"""Tables of what finetune.py kept, in Markdown. Left out: running anything."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from common import machine, mean_sd, table
from finetune_cells import BACKBONE, SETS, SIZE, TESTED, Kept

from labelloop.judging import Comparison, compare

JUDGES, DRAWS = (20, 50, 100, 200), 60
PEERS = ("fastai", "fastai, as many images")


def report(kept: Kept) -> None:
    """Print every table there are runs for."""
    print(f"{BACKBONE} at {SIZE} px, one core, {TESTED} test images of each set. {machine()}")
    for title, lines in (
        ("Against the frozen head and fastai", versus(kept)),
        ("The rule that swaps models", rule(kept)),
        ("What it was trained with", by_setting(kept)),
        ("Where the next fine-tune starts", rounds(kept)),
        ("Other recipes", recipes(kept)),
    ):
        print("\n" + "\n".join([f"#### {title}", "", *lines]))


def versus(kept: Kept) -> Iterable[str]:
    """Accuracy and CPU seconds of ours and the others, by set and labels."""
    runs = [run for run in kept.runs if run["job"] == "versus"]
    full = [f"{run['set']} {run['right']:.1f} ({run['labels']})" for run in kept.runs if run["job"] == "full"]
    rows = []
    for name in SETS:
        for n in sorted({run["labels"] for run in runs if run["set"] == name}):
            found = _by_name([run for run in runs if run["set"] == name and run["labels"] == n])
            ours = found.pop("ours", [])
            if ours:
                rows.append([f"{name}, {n}", len(ours), *_versus_row(kept, ours, found)])
    return [
        "Percent of the test images right, mean ± sd over seeds. In charge: the model after the rule's decision on 50 "
        f"held-out answers, mean of {DRAWS} draws. Seconds of CPU: ours without the frozen features of the labels, "
        "which are there already, with the new ones and the head on them; fastai's `fine_tune` alone. In brackets: "
        "of fastai's time, what ours takes to fastai's accuracy, which the frozen head has already where it says head.",
        "",
        f"The frozen head with all training images: {', '.join(full) or 'not run'}.",
        "",
        table(
            ["set, labels", "seeds", "head", "ours", "in charge", *PEERS, "seconds: ours", *PEERS],
            rows,
        ),
    ]


def _versus_row(kept: Kept, ours: list[dict[str, Any]], found: dict[str, list[dict[str, Any]]]) -> list[str]:
    theirs = [found.get(name, []) for name in PEERS]
    in_charge = [in_charge_after(kept.said(run), 50) for run in ours]
    return [
        _mean_sd([run["before"] for run in ours]),
        _mean_sd([run["right"] for run in ours]),
        _mean_sd(in_charge),
        *(_right(runs) for runs in theirs),
        f"{_mean(ours, 'seconds'):.0f}",
        *(_seconds(ours, runs) for runs in theirs),
    ]


def _seconds(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    if not theirs:
        return ""
    their_right, seconds = _mean(theirs, "right"), _mean(theirs, "seconds")
    if _mean(ours, "before") >= their_right:
        share = "head"
    elif _mean(ours, "right") >= their_right:
        share = f"{_mean(ours, 'seconds') / seconds:.2f}"
    else:
        share = "never"
    return f"{seconds:.0f} [{share}]"


def rule(kept: Kept) -> Iterable[str]:
    """What the rule does with all the pairs of models there are, beside two simpler ones."""
    pairs = [kept.said(run) for run in kept.runs if "said" in run]
    rows = []
    for n in JUDGES:
        for name, takes_over in RULES.items():
            counted = [_decisions(said, n, seed, takes_over) for seed, said in enumerate(pairs)]
            swaps, harmful, gains, caught = np.sum(counted, axis=0)
            rows.append((n, name, swaps, _percent(harmful, swaps), _percent(caught, gains)))
    gains = [100 * _gain(said) for said in pairs]
    return [
        f"{len(pairs)} fine-tunes of three sets, {DRAWS} draws of judging images from each. "
        f"{sum(g < -1 for g in gains)} of the fine-tunes did more than 1 point worse than the head, "
        f"{sum(g > 3 for g in gains)} more than 3 points better.",
        "",
        table(["judging images", "rule", "swaps", "cost more than 1 point, %", "gains above 3 points caught, %"], rows),
    ]


def _mcnemar(found: Comparison) -> bool:
    """Exact, one-sided, at 5 %."""
    both = found.only_new + found.only_old
    p: float = sum(math.comb(both, k) for k in range(found.only_new, both + 1)) / 2**both
    return p <= 0.05


RULES: dict[str, Callable[[Comparison], bool]] = {
    "this rule": lambda found: found.takes_over,
    "more right": lambda found: found.new_right > found.old_right,
    "McNemar at 5 %": _mcnemar,
}


def _decisions(said: dict[str, np.ndarray], n: int, seed: int, rule: Callable[[Comparison], bool]) -> list[int]:
    """Swaps, those that cost more than 1 point, gains above 3 points, those caught."""
    gain, swaps = _gain(said), sum(rule(found) for _, found in _judged(said, n, seed))
    return [swaps, swaps * (gain < -0.01), DRAWS * (gain > 0.03), swaps * (gain > 0.03)]


def in_charge_after(said: dict[str, np.ndarray], n: int) -> float:
    """Percent right of the model in charge, on the test images that did not judge, mean over draws."""
    found = [(rest, said["new" if said_so.takes_over else "old"]) for rest, said_so in _judged(said, n, 0)]
    return 100 * float(np.mean([_right_of(logits, said["y"], rest) for rest, logits in found]))


def _judged(said: dict[str, np.ndarray], n: int, seed: int) -> Iterator[tuple[np.ndarray, Comparison]]:
    """The images that did not judge, and the comparison on those that did, for each draw of n of them."""
    rng, y = np.random.default_rng(seed), said["y"]
    for _ in range(DRAWS):
        judge, rest = np.split(rng.permutation(len(y)), [n])
        yield rest, compare(said["new"][judge], said["old"][judge], y[judge])


def by_setting(kept: Kept) -> Iterable[str]:
    """How bad the bad settings are."""
    found = _by_name(run for run in kept.runs if run["job"] == "projects")
    lines = [(name, len(runs), *_gains(runs), f"{_mean(runs, 'seconds'):.0f}") for name, runs in found.items()]
    return [table(["setting", "projects", "points over the head: mean ± sd", "worst", "best", "seconds"], lines)]


def _gains(runs: Sequence[dict[str, Any]]) -> tuple[str, str, str]:
    gains = [run["right"] - run["before"] for run in runs]
    return mean_sd(gains), f"{min(gains):.1f}", f"{max(gains):.1f}"


def rounds(kept: Kept) -> Iterable[str]:
    """Accuracy after each of the rounds, by where they start."""
    runs = [run for run in kept.runs if run["job"] == "rounds"]
    if not runs:
        return []
    first, *later = sorted({run["labels"] for run in runs})
    rows = []
    for name in SETS:
        here = _by_name(run for run in runs if run["set"] == name)
        for start, theirs in here.items():
            cells = [[run["right"] for run in theirs if run["labels"] == n] for n in later]
            seconds = _mean([run for run in theirs if run["labels"] > first], "seconds") * len(later)
            rows.append(
                [
                    name,
                    start,
                    *map(_mean_sd, cells),
                    _mean_sd([right for cell in cells for right in cell]),
                    f"{seconds:.0f}",
                ]
            )
    seeds = len({run["seed"] for run in runs})
    return [
        f"Percent of the test images right, mean ± sd over {seeds} seeds. The labels are random ones, those of the "
        f"rounds before and half as many again. The first round, {first} labels, is the same for all.",
        "",
        table(["set", "start", *(f"{n} labels" for n in later), "mean", "seconds"], rows),
    ]


def recipes(kept: Kept) -> Iterable[str]:
    """Points over the recipe as it is, cell by cell, and the time."""
    cells: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = defaultdict(dict)
    for run in kept.runs:
        if run["job"] in ("recipes", "versus") and "said" in run:
            name = "as it is" if run["name"] == "ours" else run["name"]
            cells[name][run["set"], run["labels"], run["seed"]] = run
    rows, now = [], cells.pop("as it is", {})
    for name, theirs in cells.items():
        both = [key for key in theirs if key in now]
        means = [_mean_sd([theirs[k]["right"] - now[k]["right"] for k in both if k[0] == s]) for s in SETS]
        share = sum(theirs[k]["seconds"] for k in both) / max(1e-9, sum(now[k]["seconds"] for k in both))
        rows.append([name, len(both), *means, f"{share:.2f}"])
    return [table(["recipe", "runs", *(f"{name}: points over ours" for name in SETS), "× the time"], rows)]


def _by_name(runs: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        found[run["name"]].append(run)
    return dict(found)


def _right_of(logits: np.ndarray, y: np.ndarray, rows: np.ndarray) -> float:
    return float((logits[rows].argmax(1) == y[rows]).mean())


def _gain(said: dict[str, np.ndarray]) -> float:
    every = np.arange(len(said["y"]))
    return _right_of(said["new"], said["y"], every) - _right_of(said["old"], said["y"], every)


def _mean(runs: Sequence[dict[str, Any]], key: str) -> float:
    return float(np.mean([run[key] for run in runs]))


def _right(runs: Sequence[dict[str, Any]]) -> str:
    return _mean_sd([run["right"] for run in runs])


def _mean_sd(values: Sequence[float]) -> str:
    if len(values) < 2:  # one seed has no spread
        return f"{values[0]:.1f}" if values else ""
    return mean_sd(values)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else ""
