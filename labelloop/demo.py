"""The sample images that come with labelloop, and the project that `labelloop demo` makes of them."""

from __future__ import annotations

import csv
from pathlib import Path

from labelloop.errors import BadInput
from labelloop.project import Project
from labelloop.types import Settings

HERE = Path(__file__).parent
PLACES = (HERE / "sample_data", HERE.parent / "sample_data")  # in an installed wheel; in a checkout


def sample_data() -> Path:
    """The folder with images/ and truth.csv; raises BadInput where neither a wheel nor a checkout has it."""
    for place in PLACES:
        if (place / "truth.csv").is_file():
            return place
    raise BadInput(f"the sample images are missing; looked for truth.csv in {PLACES[0]} and {PLACES[1]}")


def sample_truth() -> dict[str, str]:
    """The class of each sample image, by file name."""
    with (sample_data() / "truth.csv").open(encoding="utf-8", newline="") as file:
        return {row["file_name"]: row["label"] for row in csv.DictReader(file)}


def sample_classes() -> list[str]:
    """The classes of the sample images, by name."""
    return sorted(set(sample_truth().values()))


def create_demo(folder: Path) -> Project:
    """A project of the sample images, without any label; with the built-in features, so nothing is downloaded."""
    return Project.create(folder, sample_data() / "images", sample_classes(), Settings(backbone="embedded"))
