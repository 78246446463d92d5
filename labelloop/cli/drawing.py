"""Learning curves as SVG: a file that any browser shows, without a network or a package that draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from labelloop.curves import Curves

WIDTH, HEIGHT = 890, 480
LEFT, RIGHT, TOP, BOTTOM = 64, 240, 56, 60
LINE = 17  # pixels between two names
COLORS = ("#0b6bcb", "#d9480f", "#2b8a3e", "#862e9c", "#c2255c", "#0c8599", "#7f5f00", "#495057")
QUIET, GRID = "#868e96", "#e9ecef"


@dataclass(frozen=True)
class Frame:
    """Where label counts and shares lie on the drawing, in pixels."""

    labels: tuple[int, ...]  # growing
    low: float  # shares
    high: float
    height: float

    @classmethod
    def around(cls, curves: Mapping[str, Curves]) -> Frame:
        """Whole tenths around all bands, high enough for all names."""
        low = min(float((one.mean - np.nan_to_num(one.sd)).min()) for one in curves.values())
        high = max(float((one.mean + np.nan_to_num(one.sd)).max()) for one in curves.values())
        floor = max(0.0, math.floor(10 * low) / 10)
        ceiling = max(min(1.0, math.ceil(10 * high) / 10), floor + 0.1)
        labels = sorted({int(count) for one in curves.values() for count in one.labels})
        return cls(tuple(labels), floor, ceiling, max(HEIGHT, TOP + BOTTOM + LINE * len(curves)))

    def x(self, labels: float) -> float:
        """From a label count."""
        return LEFT + (WIDTH - LEFT - RIGHT) * labels / self.labels[-1]

    def y(self, share: float) -> float:
        """From a share, cut off at the edges."""
        place = min(max((share - self.low) / (self.high - self.low), 0), 1)
        return self.height - BOTTOM - (self.height - TOP - BOTTOM) * place


def drawing(curves: Mapping[str, Curves], title: str, *, quiet: str = "random") -> str:
    """Accuracy over labels: mean lines with bands of one standard deviation, names at their ends; `quiet` is dashed."""
    frame = Frame.around(curves)
    loud = [name for name in curves if name != quiet]
    color = {name: COLORS[k % len(COLORS)] for k, name in enumerate(loud)} | {quiet: QUIET}
    spread = ", mean ± standard deviation" if any(len(one.seeds) > 1 for one in curves.values()) else ""
    parts = [*_axes(frame, title, f"accuracy on the test images{spread}")]
    parts += [_band(one, frame, color[name]) for name, one in curves.items() if len(one.seeds) > 1]
    parts += [_line(one, frame, color[name], dashed=name == quiet) for name, one in curves.items()]
    parts += _names(curves, frame, color)
    return document(WIDTH, frame.height, parts)


def document(width: float, height: float, parts: Iterable[str]) -> str:
    """An SVG of so many pixels, on white, that text is written on like the app's."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" width="{width}" '
        f'height="{height:.0f}" font-family="system-ui, sans-serif" font-size="13" fill="#212529">\n'
        f'<rect width="{width}" height="{height:.0f}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _axes(frame: Frame, title: str, what: str) -> Iterator[str]:
    yield f'<text x="{LEFT}" y="26" font-size="15" font-weight="600">{escape(title)}</text>'
    yield f'<text x="{LEFT}" y="46" fill="{QUIET}">{what}</text>'
    for tenth in range(round(10 * frame.low), round(10 * frame.high) + 1):
        y = frame.y(tenth / 10)
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{QUIET}">{10 * tenth} %</text>'
    bottom, last = frame.height - BOTTOM + 20, math.inf
    for labels in reversed(frame.labels):
        if last - frame.x(labels) >= 34:  # nearer, two numbers would touch
            last = frame.x(labels)
            yield f'<text x="{last:.1f}" y="{bottom:.0f}" text-anchor="middle" fill="{QUIET}">{labels}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle:.0f}" y="{frame.height - 14:.0f}" text-anchor="middle">labels</text>'


def _band(one: Curves, frame: Frame, color: str) -> str:
    high = _places(one.labels.tolist(), one.mean + one.sd, frame)
    low = _places(one.labels.tolist(), one.mean - one.sd, frame)
    return f'<polygon points="{" ".join([*high, *reversed(low)])}" fill="{color}" opacity="0.13"/>'


def _line(one: Curves, frame: Frame, color: str, *, dashed: bool) -> str:
    places = _places(one.labels.tolist(), one.mean, frame)
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="3" fill="{color}"/>' for x, y in (place.split(",") for place in places)
    )
    return f'<polyline points="{" ".join(places)}" fill="none" stroke="{color}" stroke-width="2"{dash}/>{dots}'


def _places(labels: Sequence[int], shares: np.ndarray, frame: Frame) -> list[str]:
    return [f"{frame.x(n):.1f},{frame.y(share):.1f}" for n, share in zip(labels, shares.tolist(), strict=True)]


def _names(curves: Mapping[str, Curves], frame: Frame, color: Mapping[str, str]) -> Iterator[str]:
    """A name beside the end of each line, best on top, with a thin line to it where it had to move."""
    names = sorted(curves, key=lambda name: -float(curves[name].mean[-1]))
    ends = [frame.y(float(curves[name].mean[-1])) for name in names]
    for name, end, place in zip(names, ends, apart(ends, TOP, frame.height - BOTTOM), strict=True):
        one = curves[name]
        x, text = frame.x(int(one.labels[-1])), WIDTH - RIGHT + 26
        ends_at = f'x1="{x + 5:.1f}" y1="{end:.1f}" x2="{text - 4}" y2="{place:.1f}"'
        yield f'<line {ends_at} stroke="{color[name]}" opacity="0.4"/>'
        yield (
            f'<text x="{text}" y="{place + 4:.1f}" fill="{color[name]}" font-weight="600">'
            f"{escape(name)} {100 * one.mean[-1]:.1f} %</text>"
        )


def apart(places: Sequence[float], top: float, bottom: float) -> list[float]:
    """Growing places moved as little as they must be to lie LINE apart between top and bottom, which has the room."""
    groups: list[tuple[float, int]] = []  # where the first of it wants to lie, and how many lie below each other
    for wanted in places:
        first, count = min(max(wanted, top), bottom), 1
        while groups and groups[-1][0] + LINE * groups[-1][1] > first:
            before, more = groups.pop()
            first = (before * more + (first - LINE * more) * count) / (more + count)
            count += more
            first = min(max(first, top), bottom - LINE * (count - 1))
        groups.append((first, count))
    return [first + LINE * k for first, count in groups for k in range(count)]
