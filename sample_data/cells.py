"""The things on a stained blood smear, each drawn by one function (run draw.py to get the pictures).

Light that passes a smear is dimmed by dye, so that is what is drawn: every cell adds optical density to a sheet,
`View.density`, one plane for each of red, green and blue. Lengths are micrometres, and each cell is drawn around the
origin of its own shifted and turned view of the sheet.

Left out: anything medical. The shapes are right enough to be told apart by eye, and not meant to teach a diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from PIL import Image

Array = np.ndarray  # pictures and fields are (n, n) or (n, n, 3) float32


def dye(red: int, green: int, blue: int) -> Array:
    """Density (3,) of a layer that turns white light into this colour."""
    return np.asarray(-np.log(np.array([red, green, blue], np.float32) / 255))


HAEMOGLOBIN = dye(224, 158, 152)
CHROMATIN = dye(116, 68, 152)
LOOSE_CHROMATIN = dye(138, 98, 170)
LILAC = dye(230, 207, 222)
SKY_BLUE = dye(168, 186, 228)
GREY_BLUE = dye(186, 186, 208)
FINE_GRANULE = dye(212, 166, 192)
ORANGE_GRANULE = dye(226, 118, 84)
AZURE_GRANULE = dye(158, 96, 176)
PLATELET = dye(206, 180, 218)
PARASITE_BLUE = dye(150, 132, 186)
PARASITE_RED = dye(178, 58, 118)
PIGMENT = dye(120, 90, 50)
PRECIPITATE = dye(84, 48, 112)
FIBRE = dye(150, 140, 130)


@dataclass
class View:
    """The sheet being drawn on, seen from one cell: `x`, `y` (n, n) are micrometres from that cell's middle."""

    x: Array
    y: Array
    density: Array  # (n, n, 3), shared by all views of one image
    rng: np.random.Generator
    scale: float  # pixels of the sheet in a micrometre
    pallor: float  # how pale the middle of this slide's red cells is

    def moved(self, dx: float, dy: float) -> View:
        """The same sheet seen from (dx, dy), turned at random."""
        x, y = self.x - np.float32(dx), self.y - np.float32(dy)
        turn = self.rng.uniform(0, 2 * np.pi)
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        return replace(self, x=cos * x + sin * y, y=cos * y - sin * x)

    def shaken(self, spread: float = 0.0) -> View:
        """The same sheet seen from a random place, `spread` micrometres away or so, turned at random."""
        return self.moved(self.rng.normal(0, spread), self.rng.normal(0, spread))

    def add(self, cover: Array, colour: Array) -> None:
        """Lay dye of this colour on the sheet, `cover` (n, n) layers thick."""
        self.density += cover[..., None] * colour

    def bleach(self, cover: Array) -> None:
        """Take away what was drawn where `cover` (n, n) is 1."""
        self.density *= 1 - np.clip(cover, 0, 1)[..., None]

    def noise(self, grain: float) -> Array:
        """Smooth random field (n, n), about unit variance, with bumps `grain` micrometres wide."""
        n = len(self.x)
        field = np.zeros((n, n), np.float32)
        for width in (grain, 1.43 * grain):  # two lattices that never line up: one alone shows its squares
            cells = max(3, round(n / self.scale / width) + 2)
            coarse = Image.fromarray(self.rng.standard_normal((cells, cells), np.float32))
            field += np.asarray(coarse.resize((n, n), Image.Resampling.BICUBIC))
        return field


# ---- shapes: distance to an edge in micrometres, negative inside ----------------------------------------------------


def inside(distance: Array, soft: float = 0.14) -> Array:
    """1 inside, 0 outside, smooth over `soft` micrometres on both sides of the edge."""
    t = np.clip(0.5 - distance / (2 * soft), 0, 1)
    return t * t * (3 - 2 * t)


def ridge(distance: Array, width: float) -> Array:
    """1 on the line where `distance` is zero, falling off over `width` micrometres."""
    return np.asarray(np.exp(-((distance / width) ** 2)))


def blob(view: View, radius: float, wobble: float = 0.04, stretch: float = 1.05) -> Array:
    """A roundish outline around the origin."""
    x, y = view.x / np.float32(stretch**0.5), view.y * np.float32(stretch**0.5)
    theta = np.arctan2(y, x)
    bulge = np.zeros_like(theta)
    for k in range(2, 7):
        bulge += view.rng.normal(0, wobble / k**0.5) * np.cos(k * theta + view.rng.uniform(0, 2 * np.pi))
    return np.asarray(np.hypot(x, y) - radius * (1 + bulge))


def lobes(view: View, centres: Array, radii: Array, neck: float, wobble: float = 0.12) -> Array:
    """Balls in a row, joined by necks of radius `neck`, melted together: the nuclei that are not round."""
    parts: list[Array] = [np.hypot(view.x - cx, view.y - cy) - r for (cx, cy), r in zip(centres, radii, strict=True)]
    for (ax, ay), (bx, by) in pairwise(centres):
        along = (view.x - ax) * (bx - ax) + (view.y - ay) * (by - ay)
        t = np.clip(along / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        parts.append(np.hypot(view.x - ax - t * (bx - ax), view.y - ay - t * (by - ay)) - neck)
    melt = 0.22
    total = np.sum([np.exp(-np.clip(part, -6, 12) / melt) for part in parts], axis=0)
    return np.asarray(-melt * np.log(total) + wobble * view.noise(1.6), np.float32)


def arc(radius: float, sweep: float, count: int) -> Array:
    """`count` points (count, 2) along a bow of `sweep` radians, centred on their mean."""
    angle = np.linspace(-sweep / 2, sweep / 2, count)
    points = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.asarray(points - points.mean(axis=0))


def dots(view: View, where: Array, count: int, radius: float) -> Array:
    """Cover (n, n) of small domes scattered over the pixels where `where` is true."""
    layer = np.zeros(view.x.shape, np.float32)
    spots = np.argwhere(where)
    for row, column in spots[view.rng.integers(len(spots), size=count)]:
        r = max(1.2, radius * view.scale * view.rng.uniform(0.75, 1.25))
        top, left, reach = max(0, row - int(r) - 1), max(0, column - int(r) - 1), 2 * int(r) + 3
        patch = layer[top : top + reach, left : left + reach]
        i, j = np.ogrid[top : top + patch.shape[0], left : left + patch.shape[1]]
        np.maximum(patch, np.clip(1 - ((i - row) ** 2 + (j - column) ** 2) / r**2, 0, 1), out=patch)
    return layer


def add_nucleus(view: View, edge: Array, colour: Array, clumps: float) -> None:
    """Chromatin inside `edge`: clumped, a little darker along the membrane."""
    body = inside(edge, 0.16)
    lumps = np.tanh(view.noise(1.1)) + 0.5 * view.noise(0.5)
    view.bleach(0.45 * body)
    view.add(body * np.clip(1 + clumps * lumps + 0.18 * ridge(edge, 0.35), 0.3, 2), colour)


# ---- the cells: each draws itself around the origin and returns its outline -----------------------------------------


def red_cell(view: View, shape: str = "round") -> Array:
    """A disc, thinner in the middle; `shape` may also be "oval", "target", "drop" or "dense" (no pale middle)."""
    rng, view = view.rng, view.shaken()
    radius = 3.7 * rng.normal(1, 0.05)
    edge = blob(view, radius, 0.016, 1.35 if shape == "oval" else rng.uniform(1.0, 1.1))
    if shape == "drop":
        tail = np.array([[0.0, 0.0], [3.4, 0.0], [5.0, 0.3]])
        edge = lobes(view, tail, np.array([3.2, 1.1, 0.35]), 0.4, 0.03)
    height = np.clip(1 + edge / radius, 0, 1.2)
    pallor = 0.08 if shape == "dense" else view.pallor * rng.uniform(0.75, 1.1)
    thickness = 1 - pallor * np.exp(-((height / rng.uniform(0.46, 0.56)) ** 3)) + 0.10 * ridge(edge + 0.25, 0.22)
    if shape == "target":
        thickness += 0.55 * ridge(height, 0.24)
    view.add(inside(edge, 0.2) * (thickness + 0.02 * view.noise(1.5)) * rng.uniform(0.85, 1.1), HAEMOGLOBIN)
    return edge


def any_red_cell(view: View) -> Array:
    """Mostly round ones."""
    return red_cell(view, view.rng.choice(["round", "round", "round", "oval", "target", "drop", "dense"]))


def neutrophil(view: View) -> Array:
    """Three to five lobes on a string in a pale, finely grained body; one in eight is a young form, a plain bow."""
    rng = view.rng
    edge = blob(view, rng.uniform(6.0, 7.0), 0.025, rng.uniform(1.0, 1.12))
    view.add(inside(edge) * (1 + 0.10 * view.noise(1.2)), LILAC)
    view.add(dots(view, edge < -0.2, 800, 0.2) * rng.uniform(0.25, 0.6), FINE_GRANULE)
    core = view.shaken(0.4)
    if rng.random() < 0.12:
        nucleus = lobes(core, arc(3.2, rng.uniform(2.6, 3.6), 7), rng.uniform(1.15, 1.4, 7), 1.1)
    else:
        count = int(rng.choice([3, 3, 4, 4, 5]))
        centres = arc(rng.uniform(2.5, 3.0), rng.uniform(3.0, 4.4), count) + rng.normal(0, 0.4, (count, 2))
        nucleus = lobes(core, centres, rng.uniform(1.25, 1.75, count) * (1.08 if count == 3 else 0.95), 0.28)
    add_nucleus(view, nucleus, CHROMATIN, 0.17)
    return edge


def lymphocyte(view: View) -> Array:
    """A dense round nucleus that almost fills a thin blue rim; one in six is large and loose, nearly a monocyte."""
    rng = view.rng
    large = rng.random() < 0.17
    radius, share = (rng.uniform(6.0, 7.2), 0.68) if large else (rng.uniform(4.3, 5.3), 0.84)
    edge = blob(view, radius, 0.06 if large else 0.025, rng.uniform(1.0, 1.12))
    view.add(inside(edge) * (0.85 + 0.45 * ridge(edge, 0.7) + 0.07 * view.noise(1.0)), SKY_BLUE)
    core = view.shaken(0.07 * radius)
    nucleus = blob(core, radius * (share + rng.uniform(-0.05, 0.05)), 0.05 if large else 0.03, 1.08)
    if rng.random() < 0.4:  # a shallow notch
        nucleus = np.maximum(nucleus, 0.3 * radius - np.hypot(core.x - radius, core.y))
    view.add(0.3 * ridge(nucleus - 0.3, 0.3) * inside(edge + 0.3, 0.3), -SKY_BLUE)  # a pale ring around the nucleus
    add_nucleus(view, nucleus, LOOSE_CHROMATIN if large else CHROMATIN, 0.14)
    return edge


def monocyte(view: View) -> Array:
    """The largest: grey-blue with vacuoles and a folded, loose nucleus; one in five is small, nearly a lymphocyte."""
    rng = view.rng
    small = rng.random() < 0.2
    edge = blob(view, rng.uniform(6.2, 6.9) if small else rng.uniform(7.0, 8.3), 0.06, rng.uniform(1.0, 1.18))
    view.add(inside(edge, 0.22) * (1 + 0.12 * view.noise(0.5) + 0.14 * view.noise(2.0)), GREY_BLUE)
    view.add(0.25 * dots(view, edge < -0.3, 160, 0.16), AZURE_GRANULE)
    view.bleach(0.7 * dots(view, edge < -0.8, int(rng.integers(2, 16)), 0.5))
    radii = rng.uniform(2.2, 2.8) * np.array([1.15, 1.05, 0.9, 0.9, 1.05, 1.15]) * rng.uniform(0.95, 1.05, 6)
    bow = arc(2.2 if small else rng.uniform(2.6, 3.4), rng.uniform(1.7, 2.9), 6)
    add_nucleus(view, lobes(view.shaken(0.6), bow, radii, 2.0, 0.22), LOOSE_CHROMATIN, 0.22)
    return edge


def eosinophil(view: View) -> Array:
    """Two lobes among coarse orange-red granules; one in five is poorly stained, nearly a neutrophil."""
    rng = view.rng
    edge = blob(view, rng.uniform(6.3, 7.2), 0.03, rng.uniform(1.0, 1.12))
    view.add(inside(edge) * 0.9, LILAC)
    half = rng.uniform(2.0, 2.5)
    centres = np.array([[0.3, -half], [-rng.uniform(0.2, 1.0), half]])
    nucleus = lobes(view.shaken(0.6), centres, rng.uniform(1.75, 2.2, 2), 0.35)
    add_nucleus(view, nucleus, CHROMATIN, 0.15)
    strength = 0.55 if rng.random() < 0.2 else rng.uniform(0.9, 1.1)
    granules = dots(view, (edge < -0.45) & (nucleus > 0.1), 480, 0.52)
    view.add(strength * granules * (1 + 0.12 * view.noise(0.6)), ORANGE_GRANULE)
    return edge


def platelet(view: View, radius: float) -> Array:
    """One platelet: a frayed lilac scrap with a purple, grained middle."""
    edge = blob(view, radius, 0.09, view.rng.uniform(1.05, 1.4)) + 0.12 * view.noise(0.7)
    view.add(inside(edge, 0.3), PLATELET)
    grain = np.clip(0.8 + 0.4 * view.noise(0.5), 0, 1.8)
    view.add(0.8 * grain * inside(edge + 0.33 * radius, 0.3 * radius), AZURE_GRANULE)
    return edge


def platelets(view: View) -> Array:
    """A small clump, or a single one: sometimes a giant, sometimes lying on a red cell, nearly a parasite."""
    rng = view.rng
    if rng.random() < 0.12:
        below = red_cell(view.shaken(1.2))
        return np.asarray(np.minimum(below, platelet(view, rng.uniform(1.1, 1.6))))
    if rng.random() < 0.10:
        return platelet(view, rng.uniform(2.4, 3.1))
    count = int(rng.choice([1, 2, 3, 4, 6, 8]))
    spread = 0.62 * count**0.5 if count > 1 else 0.0
    return np.asarray(np.min([platelet(view.shaken(spread), rng.uniform(1.0, 1.6)) for _ in range(count)], axis=0))


def malaria_parasite(view: View) -> Array:
    """A red cell with one or two rings, each with a red dot; or with a ragged, grown parasite; or full of young."""
    rng = view.rng
    edge = red_cell(view)
    stage = rng.choice(["rings", "rings", "grown", "full"])
    if stage == "rings":
        for _ in range(int(rng.choice([1, 1, 2]))):
            parasite(view.shaken(0.9), rng.uniform(0.95, 1.4), 0.3)
    elif stage == "grown":
        parasite(view.shaken(0.6), rng.uniform(1.6, 2.1), 0.65)
        view.add(dots(view, edge < -0.4, 60, 0.2), FINE_GRANULE)
        view.add(dots(view, edge < -1.8, 7, 0.22), PIGMENT)
    else:
        view.add(0.8 * inside(edge + 0.9, 0.5), PARASITE_BLUE)
        view.add(dots(view, edge < -1.0, 18, 0.6), PARASITE_RED)
        view.add(dots(view, np.hypot(view.x, view.y) < 0.6, 6, 0.35), PIGMENT)
    return edge


def parasite(view: View, radius: float, thick: float) -> None:
    """One ring of `thick` blue with one or two red dots on it."""
    rng = view.rng
    ring = blob(view, radius, 0.06, rng.uniform(1.0, 1.3)) + 0.2 * thick * view.noise(0.9)
    view.add(1.1 * ridge(ring, thick), PARASITE_BLUE)
    for angle in rng.uniform(-0.9, 0.9, int(rng.choice([1, 1, 2]))):
        dot = view.moved(radius * np.cos(angle), radius * np.sin(angle))
        view.add(1.1 * inside(blob(dot, rng.uniform(0.45, 0.62), 0.08), 0.18), PARASITE_RED)


def artefact(view: View) -> Array:
    """Not a cell: stain debris, a smudged nucleus, or a fibre. (The fourth kind, out of focus, is up to the lens.)"""
    return (precipitate, smudge, fibre)[view.rng.integers(3)](view)


def precipitate(view: View) -> Array:
    """Grains of dried stain."""
    rng = view.rng
    edge = blob(view, rng.uniform(3, 5), 0.1, 1.3)
    cloud = edge + 1.6 * view.noise(2.5) < 0.5
    view.add(dots(view, cloud, int(rng.integers(30, 90)), 0.22), PRECIPITATE)
    view.add(dots(view, cloud, int(rng.integers(2, 12)), 0.5), PRECIPITATE)
    return edge


def smudge(view: View) -> Array:
    """A nucleus that burst and was smeared out."""
    edge = blob(view, view.rng.uniform(4.2, 5.6), 0.12, view.rng.uniform(1.2, 1.9)) + 0.6 * view.noise(2.0)
    view.add(
        inside(edge, 1.3) * np.clip(0.75 + 0.2 * view.noise(2.2) + 0.1 * view.noise(0.7), 0.2, 1.4), LOOSE_CHROMATIN
    )
    return edge


def fibre(view: View) -> Array:
    """A hair of dust across the view."""
    rng = view.rng
    bow = view.y - 0.03 * rng.normal() * view.x**2 - 0.4 * np.sin(view.x / 2.5)
    edge = np.abs(bow) - rng.uniform(0.25, 0.6)
    view.add(inside(edge, 0.35) * (0.8 + 1.2 * ridge(edge, 0.2) + 0.2 * view.noise(1)), FIBRE)
    return blob(view, 3.5)  # cells may lie under its ends
