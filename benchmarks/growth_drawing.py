"""How the cost of the strategies grows with classes, picks and images, drawn against one pass over the features.

    python benchmarks/strategy_speed.py growth --only-built-in --json GROWTH.json
    python benchmarks/growth_drawing.py GROWTH.json growth.svg

Three panels share an axis of seconds; both axes are logarithmic, so a straight line of the slope of the floor costs a
fixed number of passes. Left out: measuring (strategy_speed.py).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from strategy_speed import FLOOR, GROWTH_N

from labelloop.cli.drawing import COLORS, GRID, LINE, QUIET, apart, document

WIDTH, HEIGHT, TOP, BOTTOM, LEFT, GAP = 980, 560, 56, 56, 72, 30
N, B, C = GROWTH_N, 100, 10  # what stays the same while another grows
LOUD = {"auto": COLORS[0], FLOOR: "#212529"}
PANELS = (("c", "classes", 120), ("b", "images chosen", 180), ("n", "images", 290))  # key, title, pixels wide
Point = tuple[int, float]  # size, seconds


def curves(raw: Path) -> dict[str, dict[str, list[Point]]]:
    """By panel and name: medians over repeats."""
    found: dict[tuple[str, int, int, int], list[float]] = defaultdict(list)
    for line in raw.open():
        one = json.loads(line)
        if "seconds" in one["result"]:
            cell = one["cell"]
            found[cell["name"], cell["n"], cell["b"], cell["c"]].append(one["result"]["seconds"])
    drawn: dict[str, dict[str, list[Point]]] = {key: defaultdict(list) for key, *_ in PANELS}
    for (name, n, b, c), seconds in sorted(found.items()):
        for key, size, is_there in (("n", n, (b, c) == (B, C)), ("b", b, (n, c) == (N, C)), ("c", c, (n, b) == (N, B))):
            if is_there:
                drawn[key][name].append((size, statistics.median(seconds)))
    return drawn


def drawing(panels: dict[str, dict[str, list[Point]]]) -> str:
    """The SVG."""
    axis = Seconds.around(panels)
    parts = [
        f'<text x="{LEFT}" y="26" font-size="15" font-weight="600">Seconds to choose images</text>',
        f'<text x="{LEFT}" y="44" fill="{QUIET}">unless it grows: {N:,} images, {B} chosen, {C} classes; '
        "both axes logarithmic</text>",
    ]
    for tick in axis.ticks:
        parts.append(text(LEFT - 8, axis.y(tick) + 4, f"{tick:g} s", "end", QUIET))
    left = float(LEFT)
    for key, title, width in PANELS:
        parts += panel(panels[key], title, left, width, axis)
        left += width + GAP
    parts += names({name: axis.y(line[-1][1]) for name, line in panels["n"].items()}, left - GAP)
    return document(WIDTH, HEIGHT, parts)


@dataclass(frozen=True)
class Seconds:
    """The axis of seconds: whole powers of ten around all of them."""

    low: int
    high: int

    @classmethod
    def around(cls, panels: dict[str, dict[str, list[Point]]]) -> Seconds:
        """All points of all panels."""
        times = [seconds for panel in panels.values() for line in panel.values() for _, seconds in line]
        return cls(math.floor(math.log10(min(times))), math.ceil(math.log10(max(times))))

    @property
    def ticks(self) -> list[float]:
        """Of the grid."""
        return [10.0**power for power in range(self.low, self.high + 1)]

    def y(self, seconds: float) -> float:
        """In pixels."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(seconds) - self.low) / (self.high - self.low)


def panel(lines: dict[str, list[Point]], title: str, left: float, width: float, axis: Seconds) -> Iterator[str]:
    """Grid, sizes and lines of one panel; what is loud is drawn last, over the others."""
    sizes = sorted({size for line in lines.values() for size, _ in line})
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])
    x = {size: left + width * (math.log10(size) - first) / (last - first) for size in sizes}
    for y in map(axis.y, axis.ticks):
        yield f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
    for size in sizes:
        yield text(x[size], HEIGHT - BOTTOM + 18, short(size), "middle", QUIET)
    yield text(left + width / 2, HEIGHT - 14, title, "middle", "#212529")
    for name in sorted(lines, key=LOUD.__contains__):
        points = " ".join(f"{x[size]:.1f},{axis.y(seconds):.1f}" for size, seconds in lines[name])
        style = f'stroke="{LOUD.get(name, QUIET)}" stroke-width="{2.5 if name in LOUD else 1}"'
        dash = ' stroke-dasharray="6 4"' if name == FLOOR else ""
        yield f'<polyline points="{points}" fill="none" {style}{dash}/>'


def text(x: float, y: float, words: str, anchor: str, color: str) -> str:
    """One line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{words}</text>'


def names(ends: dict[str, float], x: float) -> Iterator[str]:
    """A name beside the end of each line, the costliest on top."""
    order = sorted(ends, key=ends.__getitem__)
    for name, place in zip(order, apart([ends[one] for one in order], TOP, HEIGHT - BOTTOM + LINE), strict=True):
        color = LOUD.get(name, QUIET)
        weight = ' font-weight="600"' if name in LOUD else ""
        yield f'<line x1="{x}" x2="{x + 22}" y1="{ends[name]:.1f}" y2="{place:.1f}" stroke="{color}" opacity="0.4"/>'
        yield f'<text x="{x + 26}" y="{place + 4:.1f}" fill="{color}"{weight}>{name}</text>'


def short(size: int) -> str:
    """'50k'."""
    return next((f"{size // unit}{letter}" for unit, letter in ((10**6, "M"), (1000, "k")) if size >= unit), str(size))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.write_text(drawing(curves(options.raw)), encoding="utf-8")
