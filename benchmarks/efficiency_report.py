"""The report of label_efficiency.py: Markdown tables, and an answer to each question that `auto` is asked.

A setting is a set, a backbone, a kind of pool and a batch size. Areas and budgets of a setting are those of `auto`.
Differences are paired by seed; intervals are 95 % bootstrap intervals over the seeds (labelloop/curves.py).
Accuracies are in %, differences in points. Left out: playing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, isnan
from pathlib import Path

import numpy as np
from common import mean_sd, table
from peers import PEERS
from real_sets import BACKBONES, KINDS, KINDS_OF

from labelloop.cli.drawing import drawing
from labelloop.curves import Curves, Interval, Saved, area_difference, collect, differences, labels_saved

AUTO, RANDOM = "auto", "random"
BELOW = 0.5  # points that `auto` may be below random, and below the best in area
WANTED = {"balanced": 40, "long_tailed": 33}  # % of random's labels at equal accuracy
TARGET = {"caltech101": 1000}  # labels of random to compare with
USUAL_TARGET = 300

SHOWN = (AUTO, "uncertainty_herding", "margin", "badge", "max_herding", "typiclust", RANDOM)
ALONE = ("eurosat", "vit_tiny", "long_tailed", 10)  # of the README
DRAWN = (
    ("eurosat", "lite0", "balanced", 10),
    ("caltech101", "vit_tiny", "balanced", 40),
    ("signdigits", "vit_tiny", "balanced", 10),
    ("eurosat", "vit_tiny", "long_tailed", 10),
    ("caltech101", "lite0", "dirty", 10),
)

Played = dict[str, dict[int, list[dict[str, float]]]]  # strategy → seed → curve


@dataclass(frozen=True)
class Setting:
    """The curves of all strategies in one setting."""

    name: str  # of the set
    backbone: str
    kind: str
    batch: int
    n: int  # images in the pool
    curves: dict[str, Curves]  # strategy → curves at `auto`'s budgets, as far as it has them
    further: Curves  # random at all its budgets
    peers: dict[str, Curves]  # other packages' own code, at `auto`'s budgets

    @property
    def words(self) -> str:
        """In a row's head."""
        return f"{self.name}, {self.backbone}, {self.kind}, {self.batch}"

    @cached_property
    def areas(self) -> dict[str, float]:
        """Mean area in % of the strategies that have every budget, best first."""
        full = len(self.curves[AUTO].labels)
        mean = {name: 100 * float(one.areas.mean()) for name, one in self.curves.items() if len(one.labels) == full}
        return dict(sorted(mean.items(), key=lambda item: -item[1]))

    @cached_property
    def gaps(self) -> dict[str, Interval]:
        """`auto` minus each other one in area, worst first."""
        gaps = {name: area_difference(self.curves[AUTO], self.curves[name]) for name in self.areas if name != AUTO}
        return dict(sorted(gaps.items(), key=lambda item: item[1].mean))

    @cached_property
    def peer_gaps(self) -> dict[str, Interval]:
        """`auto` minus each of the other packages in area."""
        return {name: area_difference(self.curves[AUTO], one) for name, one in self.peers.items()}

    @cached_property
    def over_random(self) -> dict[int, Interval]:
        """`auto` minus random at each budget."""
        return differences(self.curves[AUTO], self.curves[RANDOM])

    @cached_property
    def saved(self) -> Saved:
        """Labels with which `auto` is as accurate as random at the target, or at its last budget where it ends before.

        A long-tailed pool may hold fewer images than the target.
        """
        target = TARGET.get(self.name, USUAL_TARGET)
        at = int(self.further.labels[self.further.labels <= target][-1])
        return labels_saved(self.curves[AUTO], self.further, RANDOM, at)


def read(raw: Path, measure: str = "accuracy", random_of: Path | None = None) -> list[Setting]:
    """The settings in which there is something to say: `auto` and random have been played.

    Random's curves are those of `random_of` where that is told.
    """
    played: dict[tuple[str, str, str, int], Played] = {}
    sizes = {}
    for file, line in _lines(raw, random_of):
        one = json.loads(line)
        *key, strategy, seed = one["cell"]
        if random_of is not None and (strategy == RANDOM) != (file == random_of):
            continue
        played.setdefault(tuple(key), defaultdict(dict))[strategy][seed] = one["curve"]
        sizes[tuple(key)] = one["n"]
    order = [*KINDS_OF, *BACKBONES, *KINDS]
    keys = sorted(played, key=lambda key: ([order.index(part) for part in key[:3]], key[3]))
    return [_setting((*key, sizes[key]), of, measure) for key in keys if {AUTO, RANDOM} <= set(of := played[key])]


def _lines(*files: Path | None) -> Iterator[tuple[Path, str]]:
    for file in files:
        if file is not None:
            yield from ((file, line) for line in file.read_text(encoding="utf-8").splitlines())


def _setting(key: tuple[str, str, str, int, int], played: Played, measure: str) -> Setting:
    curves = {strategy: collect(of_seed, measure) for strategy, of_seed in sorted(played.items())}
    budgets = curves[AUTO].labels
    cut = {strategy: one.at(np.intersect1d(one.labels, budgets)) for strategy, one in curves.items()}
    ours, peers = ({name: one for name, one in cut.items() if (name in PEERS) is is_peer} for is_peer in (False, True))
    return Setting(*key, ours, curves[RANDOM], peers)


def report(raw: Path, *, full: bool = False) -> None:
    """Print answers, then areas of all strategies in all settings; with `full` also every curve."""
    settings = read(raw)
    if not settings:
        print(f"{raw} has no setting in which both {AUTO} and {RANDOM} have been played.")
        return
    print(f"{_played(settings)}\n")
    strategies = [*_beside_peers(settings), *_overview(settings), *_areas(settings)]
    print("\n\n".join([*_answers(settings), *_macro(raw), *strategies]))
    if full:
        for setting in settings:
            print(f"\n#### {setting.words}: pool of {setting.n}\n\n{_curves(setting)}")


def report_saved(raw: Path, plain: Path) -> None:
    """Print with how many labels `auto` is as accurate as random with a plain head: with ours, and with that head."""
    whole = {one.words: one for one in read(raw, random_of=plain)}
    rows, met = [], 0
    for alone in read(plain):
        if alone.words in whole:
            ours, choosing, wanted = whole[alone.words].saved, alone.saved, WANTED.get(alone.kind)
            met += _met(ours, wanted).endswith("yes")
            rows.append(
                (alone.words, ours.labels, f"{100 * ours.accuracy:.1f}", _count(ours.needed, ours.most), _share(ours),
                 _met(ours, wanted), _share(choosing))
            )  # fmt: skip
    seeds = sorted({len(one.curves[AUTO].seeds) for one in whole.values()})
    print(f"{len(rows)} settings, {seeds[0]} to {seeds[-1]} seeds; with our head what was wanted is met in {met}.\n")
    head = ["setting", "random's labels", "its accuracy", "labels of `auto`", "% of random's", "wanted"]
    print(table([*head, "% with the plain head for both"], rows))


def draw(raw: Path, folder: Path) -> None:
    """Write an SVG for each of DRAWN into the folder, and one of `auto` and random alone."""
    settings = {(one.name, one.backbone, one.kind, one.batch): one for one in read(raw)}
    folder.mkdir(parents=True, exist_ok=True)
    files = [(f"curves-{'-'.join(map(str, key)).replace('_', '-')}.svg", key, SHOWN) for key in DRAWN]
    for file, key, names in [*files, ("auto-and-random.svg", ALONE, (AUTO, RANDOM))]:
        if key in settings:
            curves = {name: settings[key].curves[name] for name in names if name in settings[key].curves}
            title = "{}, {}, {}, batches of {}".format(*key).replace("_", " ")
            (folder / file).write_text(drawing(curves, title), encoding="utf-8")


def _played(settings: list[Setting]) -> str:
    seeds = sorted({len(one.seeds) for setting in settings for one in setting.curves.values()})
    names = {name for setting in settings for name in setting.curves}
    count = sum(len(one.seeds) for setting in settings for one in setting.curves.values())
    fewest = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    return (
        f"{len(names)} strategies in {len(settings)} settings (set, backbone, kind of pool, batch size), {fewest} "
        f"seeds each: {count} curves. Square brackets: 95 % intervals of paired differences, bootstrapped over the "
        f"seeds{'; with so few they are too narrow' if seeds[0] < 10 else ''}. Area: mean height of the curve between "
        "its first and its last budget. An area within one setting only compares with others of the same setting."
    )


# -- answers ----------------------------------------------------------------------------------------------------------


def _answers(settings: list[Setting], measure: str = "") -> Iterator[str]:
    of = f", {measure}" if measure else ""
    yield f"#### Is `auto` ever below random{of}?\n\n" + _below_random(settings)
    yield f"#### How far is `auto` from the best strategy of each setting, in area{of}?\n\n" + _from_best(settings)
    yield f"#### With how many labels is `auto` as accurate as random{of}?\n\n" + _labels_saved(settings)


def _below_random(settings: list[Setting]) -> str:
    cases = [(gap, setting, budget) for setting in settings for budget, gap in setting.over_random.items()]
    cases.sort(key=lambda case: case[0].mean)
    bad = [case for case in cases if 100 * case[0].mean < -BELOW]
    worst = cases[0]
    if not bad:
        return (
            f"No: at none of {len(cases)} budgets by more than {BELOW} points. Lowest: {_points(worst[0])} at "
            f"{worst[2]} labels ({worst[1].words})."
        )
    rows = [
        (setting.words, budget, _mean_at(setting, AUTO, budget), _mean_at(setting, RANDOM, budget), _points(gap))
        for gap, setting, budget in bad
    ]
    head = ["setting", "labels", AUTO, RANDOM, "difference"]
    return f"By more than {BELOW} points at {len(bad)} of {len(cases)} budgets:\n\n{table(head, rows)}"


def _mean_at(setting: Setting, name: str, budget: int) -> str:
    return f"{100 * setting.curves[name].at([budget]).mean[0]:.1f}"


def _from_best(settings: list[Setting]) -> str:
    rows, worst = [], []
    for setting in settings:
        best, gap = next(iter(setting.gaps.items()))
        rank = 1 + sum(other.mean < 0 for other in setting.gaps.values())
        rows.append(
            (setting.words, best, f"{setting.areas[best]:.1f}", f"{setting.areas[AUTO]:.1f}", _points(gap),
             f"{rank} of {len(setting.areas)}")
        )  # fmt: skip
        worst.append((100 * gap.mean, setting.words))
    low = sum(gap < -BELOW for gap, _ in worst)
    text = (
        f"Within {BELOW} points of the best in {len(worst) - low} of {len(worst)} settings; furthest: "
        f"{min(worst)[0]:+.1f} points ({min(worst)[1]}). The best one of many is found afterwards, on the same seeds, "
        "which flatters it. Areas are means over a strategy's own seeds; differences, ranks and which one is best rest "
        "on the seeds that it shares with `auto`, so they do not follow from the areas."
    )
    head = ["setting", "best other", "its area", "`auto`'s", "`auto` minus it", "rank of `auto`"]
    return f"{text}\n\n{table(head, rows)}"


def _labels_saved(settings: list[Setting]) -> str:
    rows = []
    for setting in settings:
        saved = setting.saved
        rows.append(
            (setting.words, setting.n, saved.labels, f"{100 * saved.accuracy:.1f}", _count(saved.needed, saved.most),
             _share(saved), _met(saved, WANTED.get(setting.kind)))
        )  # fmt: skip
    head = ["setting", "pool", "random's labels", "its accuracy", "labels of `auto`", "% of random's", "wanted"]
    return table(head, rows) + "".join(f"\n\n{note}" for note in _short_of_target(settings))


def _met(saved: Saved, wanted: int | None) -> str:
    """Whether the share that the table shows is what was wanted, where `auto` was played so far."""
    if wanted is None:
        return ""
    if not isfinite(saved.needed) and 100 * saved.most / saved.labels < wanted:
        return f"{wanted} %: not known"
    return f"{wanted} %: {'yes' if isfinite(saved.needed) and round(100 * saved.share) <= wanted else 'no'}"


def _short_of_target(settings: list[Setting]) -> Iterator[str]:
    short = {(one.name, one.kind): one for one in settings if one.saved.labels != TARGET.get(one.name, USUAL_TARGET)}
    for one in short.values():
        yield (
            f"{one.name}, {one.kind}: random was played up to {one.saved.labels} labels, its last budget before the "
            f"{one.n} images of the pool are used up, so it is compared there."
        )


def _count(labels: float, most: int) -> str:
    return f"{labels:.0f}" if isfinite(labels) else f"more than {most}"


def _share(saved: Saved) -> str:
    if not isfinite(saved.needed):
        return f"more than {100 * saved.most / saved.labels:.0f}"
    low, high = 100 * saved.low / saved.labels, 100 * saved.high / saved.labels
    if isnan(low):  # one seed, which has no interval
        return f"{100 * saved.share:.0f}"
    return f"{100 * saved.share:.0f} [{low:.0f}, {f'{high:.0f}' if isfinite(high) else '∞'}]"


def _points(gap: Interval) -> str:
    """'+1.2 [0.4, 2.1]', in points."""
    if gap.n < 2:
        return f"{100 * gap.mean:+.1f}"
    return f"{100 * gap.mean:+.1f} [{100 * gap.low:.1f}, {100 * gap.high:.1f}]"


def _macro(raw: Path) -> Iterator[str]:
    """Macro accuracy where it says something else: where the test set has classes of unlike size."""
    other = read(raw, "macro_accuracy")
    unlike: dict[str, float] = defaultdict(float)
    for one, macro in zip(read(raw), other, strict=True):
        for name, curves in one.curves.items():
            unlike[one.name] = max(unlike[one.name], 100 * float(np.abs(curves.mean - macro.curves[name].mean).max()))
    near = [name for name, gap in unlike.items() if gap <= BELOW]
    if near:
        most = max(unlike[name] for name in near)
        yield (
            f"Test sets of {' and '.join(near)} have classes of nearly one size: macro accuracy differs from accuracy "
            f"by at most {most:.2f} points, and is not shown."
        )
    shown = [one for one in other if one.name not in near and one.kind == "long_tailed"]
    if shown:
        names = " and ".join(sorted({one.name for one in shown}))
        yield f"The test set of {names} has classes of unlike size. Its long-tailed pools by macro accuracy:"
        yield from _answers(shown, "macro accuracy")


# -- other packages ---------------------------------------------------------------------------------------------------


def _beside_peers(settings: list[Setting]) -> Iterator[str]:
    """Of their own code, with the same head on the same pools."""
    settings = [setting for setting in settings if setting.peers]
    names = sorted({name for setting in settings for name in setting.peers})
    if not names:
        return
    gaps = [(gap, name, setting) for setting in settings for name, gap in setting.peer_gaps.items()]
    low = min(gaps, key=lambda case: case[0].mean)
    behind = sum(100 * gap.mean < -BELOW for gap, _, _ in gaps)
    seeds = sorted({gap.n for gap, _, _ in gaps})
    rows = [
        (setting.words, *(_points(setting.peer_gaps[name]) if name in setting.peers else "–" for name in names))
        for setting in settings
    ]
    yield "#### How far is `auto` from other packages' own code, in area?"
    yield (
        "The same pools and the same head; their code chooses, with the settings it comes with. Points that `auto` is "
        f"ahead, {' to '.join(map(str, seeds))} seeds. More than {BELOW} behind in {behind} of {len(gaps)} cases; "
        f"furthest: {_points(low[0])} ({low[1]}, {low[2].words})."
    )
    yield table(["setting", *names], rows)


# -- all strategies ---------------------------------------------------------------------------------------------------


def _overview(settings: list[Setting]) -> Iterator[str]:
    """One line a strategy: area and rank over the settings that all were played in, and its worst cases there."""
    names = {name for setting in settings for name in setting.areas}
    settings = [setting for setting in settings if names <= setting.areas.keys()]
    if not settings:
        return
    rows = sorted((_over_all(name, settings) for name in names), key=lambda row: -row[1])
    head = [
        "strategy",
        "mean area",
        "mean rank",
        "worst rank",
        "worst gap to the best",
        "lowest over random",
    ]
    shown = [
        (name, f"{area:.1f}", f"{rank:.1f}", last, f"{gap:+.1f}", f"{low:+.1f}")
        for name, area, rank, last, gap, low in rows
    ]
    yield f"#### All strategies over the {len(settings)} settings that all were played in\n\n{table(head, shown)}"


def _over_all(name: str, settings: list[Setting]) -> tuple[str, float, float, int, float, float]:
    """Its mean area and rank, worst rank, area below the best at worst, and points over random at the worst budget."""
    ranks = [1 + list(setting.areas).index(name) for setting in settings]
    gaps = [setting.areas[name] - next(iter(setting.areas.values())) for setting in settings]
    over = [
        gap.mean for setting in settings for gap in differences(
            setting.curves[name], setting.curves[RANDOM], resamples=1
        ).values()
    ]  # fmt: skip
    area = float(np.mean([setting.areas[name] for setting in settings]))
    return name, area, float(np.mean(ranks)), max(ranks), min(gaps), 100 * min(over)


def _areas(settings: list[Setting]) -> Iterator[str]:
    """For each backbone and batch size: rows are strategies, best first, columns sets and kinds."""
    groups: dict[tuple[str, int], list[Setting]] = defaultdict(list)
    for setting in settings:
        groups[setting.backbone, setting.batch].append(setting)
    for (backbone, batch), group in sorted(groups.items()):
        names = {name for setting in group for name in setting.areas}
        rows = [(name, [setting.areas.get(name) for setting in group]) for name in names]
        rows.sort(key=lambda row: -float(np.mean([area for area in row[1] if area is not None])))
        best = [max(setting.areas.values()) for setting in group]
        shown = [(name, *(_area(a, b) for a, b in zip(areas, best, strict=True))) for name, areas in rows]
        head = ["area", *(f"{setting.name} {setting.kind}" for setting in group)]
        yield f"#### Area under the curve: {backbone}, batches of {batch}\n\n{table(head, shown)}"


def _area(area: float | None, best: float) -> str:
    if area is None:
        return "–"
    return f"**{area:.1f}**" if area == best else f"{area:.1f}"


def _curves(setting: Setting) -> str:
    """Every strategy at every budget; those without some of the budgets below the others, without an area."""
    labels = setting.curves[AUTO].labels.tolist()
    names = [*setting.areas, *(name for name in setting.curves if name not in setting.areas)]
    rows = []
    for rank, name in enumerate(names, 1):
        one = setting.curves[name]
        at = {count: 100 * one.values[:, k] for k, count in enumerate(one.labels.tolist())}
        area = f"{setting.areas[name]:.1f}" if name in setting.areas else "–"
        cells = (mean_sd(at[count].tolist()) if count in at else "–" for count in labels)
        rows.append((rank if name in setting.areas else "–", name, area, *cells, len(one.seeds)))
    return table(["rank", "strategy", "area", *map(str, labels), "seeds"], rows)
