"""Draw the sample images: single cells of a stained blood smear, all synthetic.

    python sample_data/draw.py            # writes images/*.jpg and truth.csv beside this file

cells.py lays dye on a sheet; here the light of one of six slides goes through it and into a camera:
light * exp(-density). Same SEED, same pixels; each image is seeded by its number, so that one can be drawn alone.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cells
import numpy as np
from cells import Array, View
from PIL import Image

HERE = Path(__file__).parent
SEED = 2026
SIZE = 224  # pixels of a side, as written
SUPER = 2  # drawn this many times larger; every edge is a smooth function, so that is enough
FIELD = 24.0  # micrometres that an image shows at zoom 1
COMMENT = "synthetic, drawn by labelloop"

KINDS = {  # label: (how many images, what draws it)
    "red cell": (140, cells.any_red_cell),
    "neutrophil": (84, cells.neutrophil),
    "lymphocyte": (60, cells.lymphocyte),
    "platelets": (40, cells.platelets),
    "monocyte": (24, cells.monocyte),
    "artefact": (24, cells.artefact),
    "eosinophil": (16, cells.eosinophil),
    "malaria parasite": (12, cells.malaria_parasite),
}


@dataclass(frozen=True)
class Slide:
    """One glass slide: how it was smeared, stained and lit."""

    light: tuple[float, float, float]  # colour of the empty background
    cast: tuple[float, float, float]  # how dense its dyes are in red, green and blue light
    crowding: int  # neighbours tried
    pallor: float  # how pale the middle of a red cell is
    focus: float  # blur of the lens, pixels


SLIDES = (
    Slide((0.945, 0.905, 0.915), (1.00, 1.00, 1.00), 16, 0.72, 0.60),
    Slide((0.955, 0.930, 0.905), (1.05, 0.92, 1.02), 12, 0.64, 0.80),
    Slide((0.905, 0.895, 0.935), (1.15, 1.05, 0.85), 20, 0.74, 0.65),
    Slide((0.960, 0.900, 0.920), (0.85, 1.10, 0.95), 14, 0.58, 0.90),
    Slide((0.925, 0.925, 0.920), (0.95, 0.85, 0.88), 10, 0.80, 0.60),
    Slide((0.940, 0.890, 0.900), (1.20, 1.18, 1.10), 24, 0.66, 0.70),
)


def plan() -> list[tuple[str, str]]:
    """(file name, label) of every image, shuffled so that the order tells nothing."""
    labels = [label for label, (count, _) in KINDS.items() for _ in range(count)]
    order = np.random.default_rng(SEED).permutation(len(labels))
    return [(f"smear_{place + 1:04d}.jpg", labels[index]) for place, index in enumerate(order)]


def draw(number: int, label: str) -> Image.Image:
    """Image `number` (it seeds everything) with a cell of kind `label` in the middle."""
    rng = np.random.default_rng([SEED, number])
    slide = SLIDES[rng.integers(len(SLIDES))]
    view = empty_sheet(rng, slide)
    # What is under the lens out of focus is nobody's cell, whatever it would have been.
    lost_focus = label == "artefact" and rng.random() < 0.3
    kind = rng.choice(["red cell", "neutrophil", "lymphocyte"]) if lost_focus else label
    middle = KINDS[kind][1](view.shaken(0.5))
    add_neighbours(view, middle, slide.crowding)
    return photograph(view, slide, rng.uniform(6, 8) if lost_focus else slide.focus * rng.uniform(0.8, 1.9))


def empty_sheet(rng: np.random.Generator, slide: Slide) -> View:
    """Nothing but a film of dried plasma."""
    n, field = SIZE * SUPER, FIELD / rng.uniform(0.9, 1.12)
    axis = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5) * np.float32(field)
    x, y = np.meshgrid(axis, axis)
    view = View(x, y, np.zeros((n, n, 3), np.float32), rng, n / field, slide.pallor)
    view.add(0.05 + 0.02 * view.noise(5), cells.LILAC)
    return view


def add_neighbours(view: View, middle: Array, tries: int) -> None:
    """Red cells, and a few platelets, that keep clear of the cell in the `middle` and mostly of each other."""
    rng = view.rng
    taken: list[tuple[float, float]] = []
    for _ in range(tries):
        x, y = rng.uniform(-15.5, 15.5, 2)
        nearest = np.argmin(np.hypot(view.x - x, view.y - y))
        if middle.flat[nearest] < 3.3 or any(np.hypot(x - a, y - b) < 6.3 for a, b in taken):
            continue
        taken.append((x, y))
        if rng.random() < 0.08:
            cells.platelet(view.moved(x, y), rng.uniform(1.0, 1.5))
        else:
            cells.red_cell(view.moved(x, y))


def photograph(view: View, slide: Slide, defocus: float) -> Image.Image:
    """Light through the sheet, lens, camera."""
    rng = view.rng
    off_x, off_y, tilt_x, tilt_y = rng.normal(0, 1, 4)
    light = 1 - 0.00042 * ((view.x - off_x) ** 2 + (view.y - off_y) ** 2)  # darker towards the corners
    light += 0.0022 * (tilt_x * view.x + tilt_y * view.y) + 0.005 * view.noise(6)
    through = np.exp(-view.density * np.array(slide.cast)) * light[..., None] * np.array(slide.light)
    picture = blur(through.reshape(SIZE, SUPER, SIZE, SUPER, 3).mean(axis=(1, 3)), defocus)
    picture += 0.35 * (picture - blur(picture, 2.5))  # the camera sharpens: a pale halo round dark things
    picture += 0.007 * rng.standard_normal(picture.shape) * np.sqrt(picture.clip(0))
    return Image.fromarray((255 * picture.clip(0, 1) + 0.5).astype(np.uint8))


def blur(picture: Array, sigma: float) -> Array:
    """Gaussian blur of (n, n, 3)."""
    reach = int(3 * sigma) + 1
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padded = np.pad(picture, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="reflect")
        shifts = np.lib.stride_tricks.sliding_window_view(padded, len(weights), axis=axis)  # (n, n, 3, 2 * reach + 1)
        picture = shifts @ weights
    return picture


def save(image: Image.Image, path: Path) -> None:
    """Write a JPEG that says what it is, in its comment and in its EXIF description."""
    exif = Image.Exif()
    exif[0x010E] = COMMENT  # ImageDescription
    image.save(path, "JPEG", quality=90, optimize=True, comment=COMMENT, exif=exif)


def main() -> None:
    """Write every image, and truth.csv."""
    (HERE / "images").mkdir(exist_ok=True)
    rows = plan()
    for number, (name, label) in enumerate(rows):
        save(draw(number, label), HERE / "images" / name)
    with (HERE / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("file_name", "label"), *rows])


if __name__ == "__main__":
    main()
