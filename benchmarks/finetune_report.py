"""Tables of what finetune.py kept, in Markdown. Left out: running anything."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from common import machine, mean_sd, table
from finetune_cells import BACKBONE, SETS, SIZE, TESTED, Kept

from labelloop.judging import Comparison, compare

JUDGES, DRAWS, FEWER_DRAWS = (20, 50, 100, 200), 60, 10
Said = tuple[np.ndarray, np.ndarray]  # logits of the test images (n, c) and their classes (n,)
WITH, WITHOUT = ("with guesses: head", "ours", "in charge"), ("without: head", "ours")
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
        "Percent of the test images right, mean ± sd over seeds. With guesses: the head as labelloop fits it, on "
        "frozen features (head), on the fine-tuned ones (ours), and after the rule's decision between the two on 50 "
        f"held-out answers, mean of {DRAWS} draws (in charge). Without guesses: a head on the labels alone. Seconds of "
        "CPU: ours without the frozen features of the labels, which are there already, with the new ones and the head "
        "on them; fastai's `fine_tune` alone. In brackets: of fastai's time, what ours takes to fastai's accuracy, "
        "which the frozen head has already where it says head.",
        "",
        f"The frozen head with all training images: {', '.join(full) or 'not run'}.",
        "",
        table(
            ["set, labels", "seeds", *WITH, *WITHOUT, *PEERS, "seconds: ours", *PEERS],
            rows,
        ),
    ]


def _versus_row(kept: Kept, ours: list[dict[str, Any]], found: dict[str, list[dict[str, Any]]]) -> list[str]:
    theirs = [found.get(name, []) for name in PEERS]
    in_charge = [in_charge_after(kept.said(run), 50) for run in ours]
    return [
        _mean_sd([run["old in use"] for run in ours]),
        _mean_sd([run["new in use"] for run in ours]),
        _mean_sd(in_charge),
        _mean_sd([run["before"] for run in ours]),
        _mean_sd([run["right"] for run in ours]),
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
    """What the rule does, beside simpler ones: a fine-tune after the head, and any two models of the same labels."""
    projects = _models(kept)
    if not projects:
        return []
    after_head = [(models[0], new) for models in projects for new in models[1:]]
    any_two = [pair for models in projects for pair in permutations(models, 2)]
    rows = []
    for n in JUDGES:
        found = [_comparisons(pairs, n, draws) for pairs, draws in ((after_head, DRAWS), (any_two, FEWER_DRAWS))]
        rows += [[n, name, *(rate for of in found for rate in _rates(of, says))] for name, says in RULES.items()]
    gains = [_gain(*pair) for pair in after_head]
    return [
        f"{len(after_head)} fine-tunes of {len(projects)} projects, {DRAWS} draws of judging images from each. "
        f"{sum(g < -1 for g in gains)} of the fine-tunes did more than 1 point worse than the head, "
        f"{sum(g > 3 for g in gains)} more than 3 points better. Harder: any of the models of a project, the head "
        f"included, follows any other ({len(any_two)} pairs, {FEWER_DRAWS} draws), so that as many are worse as are "
        "better. Swaps: of all decisions. Cost: of the swaps, those to a model that is more than 1 point worse on all "
        "test images. Caught: of the gains above 3 points. All in %.",
        "",
        table(["judging images", "rule", *WORDS, *(f"any two: {t}" for t in WORDS)], rows),
    ]


def _models(kept: Kept) -> list[list[Said]]:
    """Logits and classes of the test images by the head on frozen features and then each fine-tune, by project."""
    projects: dict[tuple[Any, ...], list[Said]] = {}
    for run in kept.runs:
        if "said" in run:
            said = kept.said(run)
            models = projects.setdefault((run["set"], run["labels"], run["seed"]), [(said["old"], said["y"])])
            models.append((said["new"], said["y"]))
    return list(projects.values())


def _mcnemar(found: Comparison) -> bool:
    """Exact, one-sided, at 5 %."""
    both = found.only_new + found.only_old
    p: float = sum(math.comb(both, k) for k in range(found.only_new, both + 1)) / 2**both
    return p <= 0.05


def _surer_than(level: float) -> Callable[[Comparison], bool]:
    return lambda found: found.new_right >= found.old_right and found.certainty >= level


RULES: dict[str, Callable[[Comparison], bool]] = {
    "more right": lambda found: found.new_right > found.old_right,
    "McNemar at 5 %": _mcnemar,
    **{f"ours, certainty {level:.0%}": _surer_than(level) for level in (0.6, 0.7, 0.8)},
}
WORDS = ("swaps", "cost", "caught")


def _comparisons(pairs: Sequence[tuple[Said, Said]], n: int, draws: int) -> list[tuple[float, Comparison]]:
    """Points that the second of each pair is better, and what n judging images say, for each draw of them."""
    return [
        (_gain(old, new), found)
        for seed, (old, new) in enumerate(pairs)
        for _, found in _judged(new[0], old[0], old[1], n, draws, seed)
    ]


def _rates(found: Sequence[tuple[float, Comparison]], says: Callable[[Comparison], bool]) -> tuple[str, str, str]:
    gain, swaps = np.array([gain for gain, _ in found]), np.array([says(comparison) for _, comparison in found])
    return (
        _percent(swaps.sum(), len(swaps)),
        _percent((swaps & (gain < -1)).sum(), swaps.sum()),
        _percent((swaps & (gain > 3)).sum(), (gain > 3).sum()),
    )


def in_charge_after(said: dict[str, np.ndarray], n: int) -> float:
    """Percent right of the model in charge, on the test images that did not judge, mean over draws."""
    y, new, old = said["y"], said["new in use"], said["old in use"]
    found = _judged(new, old, y, n, DRAWS, 0)
    right = [_right_of((new if comparison.takes_over else old)[rest], y[rest]) for rest, comparison in found]
    return float(np.mean(right))


def _judged(
    new: np.ndarray, old: np.ndarray, y: np.ndarray, n: int, draws: int, seed: int
) -> Iterator[tuple[np.ndarray, Comparison]]:
    """The images that did not judge, and the comparison on those that did, for each draw of n of them."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        judge, rest = np.split(rng.permutation(len(y)), [n])
        yield rest, compare(new[judge], old[judge], y[judge])


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
                    f"{np.mean([right for cell in cells for right in cell]):.1f}",
                    f"{seconds:.0f}",
                ]
            )
    seeds = len({run["seed"] for run in runs})
    return [
        f"Percent of the test images right, seeds: {seeds}. The labels are random ones, those of the "
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
    if not rows:
        return []
    return [table(["recipe", "runs", *(f"{name}: points over ours" for name in SETS), "× the time"], rows)]


def _by_name(runs: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        found[run["name"]].append(run)
    return dict(found)


def _right_of(logits: np.ndarray, y: np.ndarray) -> float:
    return 100 * float((logits.argmax(1) == y).mean())


def _gain(old: Said, new: Said) -> float:
    return _right_of(*new) - _right_of(*old)


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
