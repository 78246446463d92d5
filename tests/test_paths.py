"""Images found by parts of their paths, however these are spelled."""

import os
import sys

import pytest

from labelloop.project import paths
from labelloop.project.paths import folded
from tests.conftest import draw

NAMES = {
    "Wiese Süd/IMG_0001.JPG": (1, 0, 0),
    "Wiese Su\u0308d/img_0002.jpg": (2, 0, 0),  # the same letters as macOS has them
    "Straße/Weiß 100%.png": (3, 0, 0),
    "wald/a b.png": (4, 0, 0),
    "wald/a.b.png": (5, 0, 0),
}


@pytest.fixture
def meadow(make_project, tmp_path):
    """A project of the images of NAMES; `meadow.names(typed)` are those that are found, sorted."""
    for name, color in NAMES.items():
        draw(tmp_path / "meadow" / name, color)
    project = make_project(tmp_path / "meadow")
    images = {image.id: image.name for image in project.catalog.images().values()}
    project.names = lambda typed: sorted(images[image_id] for image_id in project.paths.with_words(typed))
    return project


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("IMG_0001", ["Wiese Süd/IMG_0001.JPG"]),
        ("img_000", ["Wiese Su\u0308d/img_0002.jpg", "Wiese Süd/IMG_0001.JPG"]),
        ("SÜD 2", ["Wiese Su\u0308d/img_0002.jpg"]),
        ("2 su\u0308d", ["Wiese Su\u0308d/img_0002.jpg"]),
        ("süd/img_0001", ["Wiese Süd/IMG_0001.JPG"]),
        ("  süd\\img_0001\t", ["Wiese Süd/IMG_0001.JPG"]),
        ("STRASSE", ["Straße/Weiß 100%.png"]),
        ("weiß 100%", ["Straße/Weiß 100%.png"]),
        ("%", ["Straße/Weiß 100%.png"]),
        ("a.b", ["wald/a.b.png"]),
        ("a b", ["wald/a b.png", "wald/a.b.png"]),
        ("süd wald", []),
        ("wald img", []),
        ("meadow", []),  # the image folder itself
        (" ", sorted(NAMES)),
    ],
)
def test_all_words_occur_in_the_path_below_the_image_folder(meadow, typed, found):
    assert meadow.names(typed) == sorted(found)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows names that are not UTF-8")
def test_a_name_that_is_no_text_is_found_as_it_is_shown(make_project, tmp_path):
    odd = os.fsdecode(b"caf\xe9 1.png")
    draw(tmp_path / "photos" / odd, (9, 9, 9))
    project = make_project(tmp_path / "photos")
    assert project.paths.with_words("CAF 1") == project.paths.with_words("caf\\udce9") == {1}
    assert project.paths.with_words("café") == set()


def test_the_same_bytes_are_found_by_either_path_and_what_is_gone_where_it_was(meadow, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "KEPT_SECONDS", -1)
    folder = tmp_path / "meadow"
    (twice,) = meadow.paths.with_words("0001")
    (folder / "copy.jpg").write_bytes((folder / "Wiese Süd/IMG_0001.JPG").read_bytes())
    list(meadow.catalog.scan())
    assert meadow.paths.with_words("copy") == meadow.paths.with_words("0001") == {twice}
    (folder / "Wiese Süd/IMG_0001.JPG").unlink()
    list(meadow.catalog.scan())
    assert (meadow.paths.with_words("copy"), meadow.paths.with_words("0001")) == ({twice}, set())
    (folder / "copy.jpg").unlink()
    list(meadow.catalog.scan())
    assert meadow.paths.with_words("copy") == meadow.paths.with_words("0001") == {twice}


def test_who_types_does_not_have_all_paths_read_for_each_letter(meadow, tmp_path, monkeypatch):
    statements = []
    meadow.db.conn.set_trace_callback(statements.append)
    for typed in ("i", "im", "img", "img 1"):
        meadow.paths.with_words(typed)
    assert sum("FROM files" in one for one in statements) == 1
    draw(tmp_path / "meadow" / "new.png", (6, 0, 0))
    list(meadow.catalog.scan())
    assert meadow.names("img 1") == ["Wiese Süd/IMG_0001.JPG"]
    later = paths.time.monotonic() + paths.KEPT_SECONDS + 1
    monkeypatch.setattr(paths.time, "monotonic", lambda: later)
    assert meadow.paths.with_words("new") == {6}


@pytest.mark.parametrize(("one", "other"), [("\u212bngström", "ångstro\u0308m"), ("ﬁnch", "FINCH"), ("ΐ", "Ϊ\u0301")])
def test_spellings_of_one_text_are_the_same(one, other):
    assert folded(one) == folded(other)
