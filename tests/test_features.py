import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from labelloop.errors import ProjectError
from labelloop.features import FeatureStore, _check
from tests.conftest import PATIENCE


@pytest.fixture
def store(tmp_path):
    made = FeatureStore.create(tmp_path / "features", 3, {"backbone": "embedded", "weights": "abc"})
    made.grow(5)
    return made


def test_rows_are_ids_minus_one_and_only_written_rows_are_done(store):
    store.write([4, 2], [[4, 4, 4], [2, 2, 2]])
    features, done = store.read()
    assert features.tolist() == [[0, 0, 0], [2, 2, 2], [0, 0, 0], [4, 4, 4], [0, 0, 0]]
    assert features.dtype == np.float32
    assert done.tolist() == [False, True, False, True, False]
    assert store.missing(6).tolist() == [1, 3, 5, 6]
    assert store.missing(3).tolist() == [1, 3]
    assert len(store) == 2


def test_neighbouring_and_scattered_rows_land_where_they_belong(store):
    ids = [1, 2, 3, 5, 4]
    store.write(ids, np.outer(ids, [1, 10, 100]))
    assert store.read()[0][:, 2].tolist() == [100, 200, 300, 400, 500]


def test_an_empty_store_can_be_read(tmp_path):
    features, done = FeatureStore.create(tmp_path / "f", 7, {}).read()
    assert features.shape == (0, 7)
    assert done.shape == (0,)


def test_features_cannot_be_written_through_the_map(store):
    with pytest.raises(ValueError, match="read-only"):
        store.read()[0][0, 0] = 1


def test_growing_keeps_rows_and_the_maps_that_others_hold(store):
    store.write([5], [[1, 2, 3]])
    old, _ = store.read()
    store.grow(100_000)
    store.write([100_000, 1], [[7, 8, 9], [5, 5, 5]])
    assert old.shape == (5, 3)
    assert old[0].tolist() == [5, 5, 5]
    features, done = FeatureStore.open(store.folder).read()
    assert features.shape == (100_000, 3)
    assert features[99_999].tolist() == [7, 8, 9]
    assert np.flatnonzero(done).tolist() == [0, 4, 99_999]
    store.grow(3)
    assert store.n == 100_000


def test_the_files_are_plain_npy(store):
    store.write([1], [[1, 2, 3]])
    assert np.load(store.folder / "features.npy").shape == (5, 3)
    assert np.load(store.folder / "done.npy").tolist() == [1, 0, 0, 0, 0]
    assert json.loads((store.folder / "about.json").read_text())["backbone"] == "embedded"


def test_a_kill_inside_grow_leaves_a_store_that_opens(store):
    store.write([1], [[1, 2, 3]])
    before = (store.folder / "done.npy").read_bytes()
    store.grow(9)
    (store.folder / "done.npy").write_bytes(before)  # features had grown, the marks had not
    again = FeatureStore.open(store.folder)
    assert again.n == 5
    again.grow(9)
    assert again.missing(9).tolist() == [2, 3, 4, 5, 6, 7, 8, 9]


def test_a_store_that_grows_while_it_is_opened_opens(store, monkeypatch):
    def then_grow(*which):
        monkeypatch.undo()
        shape = _check(*which)
        store.grow(9)
        return shape

    monkeypatch.setattr("labelloop.features._check", then_grow)
    assert FeatureStore.open(store.folder).n == 5
    assert FeatureStore.open(store.folder).n == 9


def test_open_refuses_other_weights_and_says_what_to_do(store):
    assert FeatureStore.open(store.folder, {"weights": "abc"}).dim == 3
    with pytest.raises(ProjectError, match=r"made with weights 'abc', expected 'xyz'.*may be deleted"):
        FeatureStore.open(store.folder, {"weights": "xyz"})


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda f: os.truncate(f / "features.npy", 150), "features.npy has 150 bytes, expected 188"),
        (lambda f: os.truncate(f / "features.npy", 20), "may be deleted"),
        (lambda f: (f / "done.npy").unlink(), "done.npy is missing"),
        (lambda f: (f / "about.json").unlink(), "about.json is missing"),
        (lambda f: (f / "about.json").write_text("{"), "may be deleted"),
        (lambda f: (f / "about.json").write_text("[]"), "may be deleted"),
        (lambda f: (f / "about.json").write_text('{"dim": 4}'), r"shape \(5, 3\), expected \(5, 4\)"),
        (lambda f: np.save(f / "features.npy", np.zeros((5, 3))), "float64, expected 2-dimensional float32"),
        (lambda f: np.save(f / "features.npy", np.zeros((4, 3), "f4")), r"shape \(4, 3\), expected \(5, 3\)"),
        (lambda f: np.save(f / "features.npy", np.zeros((5, 3), "f4", "F")), "Fortran"),
        (lambda f: (f / "features.npy").write_bytes(b"not an array at all"), "may be deleted"),
    ],
)
def test_open_refuses_a_damaged_store(store, damage, found):
    damage(store.folder)
    with pytest.raises(ProjectError, match=found):
        FeatureStore.open(store.folder)


def test_create_replaces_leftovers_but_never_a_finished_store(store):
    with pytest.raises(ProjectError, match="already holds features"):
        FeatureStore.create(store.folder, 3, {})
    (store.folder / "about.json").unlink()
    assert FeatureStore.create(store.folder, 4, {}).dim == 4


@pytest.mark.parametrize(
    ("ids", "features", "complaint"),
    [
        ([1], [[1, 2]], r"shape \(1, 2\), expected \(1, 3\)"),
        ([0], [[1, 2, 3]], "ids 0 to 0 do not fit"),
        ([6], [[1, 2, 3]], "do not fit a store of 5"),
        ([1], [[1, 2, np.nan]], "NaN"),
        ([1, 2], [[1, 2, 3], [0, 0, 0]], "a row of zeros"),
    ],
)
def test_write_refuses_what_does_not_fit_and_marks_nothing(store, ids, features, complaint):
    with pytest.raises(ValueError, match=complaint):
        store.write(ids, features)
    assert len(store) == 0


def test_write_nothing(store):
    store.write([], np.zeros((0, 3)))
    assert len(store) == 0


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from labelloop.errors import ProjectError
from labelloop.features import FeatureStore
store = FeatureStore.open(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))
try:
    store.write([5], [[1, 2, 3]])
except ProjectError as error:
    print(error, len(FeatureStore.open(Path(sys.argv[1]))))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on file sizes")
def test_a_disk_that_takes_no_more_is_an_error_in_words_and_marks_nothing(store):
    """A file size limit stands in for a full disk: write() fails in the same way."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, store.folder], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert "File too large. Free some disk space" in done.stdout
    assert done.stdout.endswith(" 0\n")
