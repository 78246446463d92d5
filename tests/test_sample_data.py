"""The images that everybody sees first: complete, small, marked as synthetic, and still what draw.py draws."""

import csv
import importlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "sample_data"
FILES = sorted((FOLDER / "images").iterdir())


@pytest.fixture
def rows():
    with (FOLDER / "truth.csv").open(newline="", encoding="utf-8") as file:
        return [(row["file_name"], row["label"]) for row in csv.DictReader(file)]


@pytest.fixture
def draw(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("draw")


def test_truth_names_every_file_once(rows):
    assert [name for name, _ in rows] == [path.name for path in FILES]


def test_counts_per_class(rows):
    assert Counter(label for _, label in rows) == {
        "red cell": 140,
        "neutrophil": 84,
        "lymphocyte": 60,
        "platelets": 40,
        "monocyte": 24,
        "artefact": 24,
        "eosinophil": 16,
        "malaria parasite": 12,
    }


def test_two_kinds_are_rare(rows):
    counts = Counter(label for _, label in rows)
    rare = {label for label, count in counts.items() if count <= 0.04 * len(rows)}
    assert rare == {"eosinophil", "malaria parasite"}


def test_all_files_together_are_small():
    assert sum(path.stat().st_size for path in FILES) < 5_000_000


def test_every_image_opens_and_says_that_it_is_synthetic():
    for path in FILES:
        with Image.open(path) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (224, 224)), path.name
            assert image.info["comment"] == b"synthetic, drawn by labelloop", path.name
            assert image.getexif()[0x010E] == "synthetic, drawn by labelloop", path.name


def test_names_and_order_tell_nothing_about_the_class(rows):
    labels = np.array([label for _, label in rows])
    assert [name for name, _ in rows] == [f"smear_{place:04d}.jpg" for place in range(1, 401)]
    for label in set(labels):
        places = np.flatnonzero(labels == label)
        spread = len(labels) / (12 * len(places)) ** 0.5  # standard error of a mean of uniform places
        assert abs(places.mean() - (len(labels) - 1) / 2) < 3 * spread, label
    same_as_the_one_before = (labels[1:] == labels[:-1]).sum()
    assert 60 < same_as_the_one_before < 120  # by chance about 89


def test_truth_is_the_plan(rows, draw):
    assert draw.plan() == rows


@pytest.mark.parametrize("number", [0, 263, 390])
def test_the_same_seed_draws_the_same_pixels_as_the_file(number, rows, draw):
    name, label = rows[number]
    first, second = np.asarray(draw.draw(number, label)), np.asarray(draw.draw(number, label))
    assert np.array_equal(first, second)
    with Image.open(FOLDER / "images" / name) as file:
        difference = np.abs(first.astype(int) - np.asarray(file))
    assert difference.mean() < 2.5  # what JPEG loses, mostly noise
