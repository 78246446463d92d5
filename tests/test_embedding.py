import itertools
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from labelloop.backbone import Backbone, load_backbone
from labelloop.cores import threads
from labelloop.embedding import MOST_THREADS, embed_missing
from labelloop.features import FeatureStore
from labelloop.images import open_for
from tests.conftest import PATIENCE


class RedCounter(Backbone):
    """Its one feature is the red of the first pixel; remembers what it has embedded."""

    name, dim, size, weights_id, batch = "red", 1, 64, "red", 4

    def __init__(self):
        self.seen = []

    def prepare(self, image):
        return image.getpixel((0, 0))[0]

    def forward(self, prepared):
        self.seen += prepared
        return np.array(prepared, np.float32)[:, None]


def draw(folder, n):
    """Images 1..n, image k with red k."""
    folder.mkdir()
    for k in range(1, n + 1):
        Image.new("RGB", (8, 8), (k, 0, 0)).save(folder / f"{k}.png")
    return [(k, folder / f"{k}.png") for k in range(1, n + 1)]


def unexpected(image_id, text):
    raise AssertionError(f"{image_id}: {text}")


@pytest.fixture
def store(tmp_path):
    return FeatureStore.create(tmp_path / "features", 1, {})


def test_every_image_gets_its_own_features(tmp_path, store):
    backbone = RedCounter()
    paths = draw(tmp_path / "images", 10)
    assert list(embed_missing(paths[::-1], store, backbone, on_problem=unexpected)) == [4, 8, 10]
    assert store.read()[0][:, 0].tolist() == list(range(1, 11))
    assert sorted(backbone.seen) == list(range(1, 11))


def test_after_a_stop_nothing_is_embedded_twice(tmp_path, store):
    backbone = RedCounter()
    paths = draw(tmp_path / "images", 30)
    calls = itertools.count()
    through = list(embed_missing(paths, store, backbone, on_problem=unexpected, stop=lambda: next(calls) == 2))
    done = max(through, default=0)  # what was being computed when it was stopped is kept, as far as that went
    assert done in (0, 4, 8)
    assert store.missing(30).tolist() == sorted(set(range(1, 31)) - set(backbone.seen)) == list(range(done + 1, 31))
    backbone.seen.clear()
    assert list(embed_missing(paths, store, backbone, on_problem=unexpected, batch=20))[-1] == 30
    assert sorted(backbone.seen) == list(range(done + 1, 31))
    assert list(embed_missing(paths, store, backbone, on_problem=unexpected)) == [30]
    assert list(embed_missing([], store, backbone, on_problem=unexpected)) == []


def test_an_unreadable_image_is_told_and_stepped_over(tmp_path, store):
    paths = draw(tmp_path / "images", 6)
    paths[1][1].write_bytes(b"not an image")
    paths[4][1].unlink()
    problems = {}
    assert list(embed_missing(paths, store, RedCounter(), on_problem=problems.__setitem__)) == [4, 6]
    assert sorted(problems) == [2, 5]
    assert "2.png" in problems[2]
    assert store.missing(6).tolist() == [2, 5]


def test_what_is_not_the_images_fault_is_told_apart(tmp_path, store):
    paths = draw(tmp_path / "images", 6)
    paths[0][1].write_bytes(b"not an image")
    paths[1][1].unlink()
    paths[2][1].write_bytes(b"not that image")
    problems, missed = {}, {}
    told = {"on_problem": problems.__setitem__, "on_missed": missed.__setitem__}
    through = embed_missing(paths, store, RedCounter(), is_right=lambda image_id: image_id not in (3, 4), **told)
    assert list(through) == [4, 6]
    assert (sorted(problems), sorted(missed)) == ([1], [2, 3, 4])
    assert missed[2].endswith("2.png': cannot be read: no such file or directory")
    assert missed[4].endswith("4.png': the file was changed after it was looked at")
    assert store.missing(6).tolist() == [1, 2, 3, 4]


class Blind(RedCounter):
    """Knows nothing to say about images 2, 3 and 5."""

    def forward(self, prepared):
        return np.array([{2: np.nan, 3: 0, 5: np.inf}.get(red, red) for red in prepared], np.float32)[:, None]


def test_an_image_without_usable_features_is_told_and_stepped_over(tmp_path, store):
    paths = draw(tmp_path / "images", 6)
    problems = {}
    assert list(embed_missing(paths, store, Blind(), on_problem=problems.__setitem__)) == [4, 6]
    said = "red computes NaN, infinity or only zeros from it; replace the image, or use another backbone"
    assert problems == {k: f"image {str(paths[k - 1][1])!r}: {said}" for k in (2, 3, 5)}
    features, done = store.read()
    assert done.tolist() == [True, False, False, True, False, True]
    assert features[:, 0].tolist() == [1, 0, 0, 4, 0, 6]


def test_a_batch_without_any_usable_features_does_not_stop_the_rest(tmp_path, store):
    paths = draw(tmp_path / "images", 6)
    problems = {}
    assert list(embed_missing(paths, store, Blind(), on_problem=problems.__setitem__, batch=1)) == [1, 2, 3, 4, 5, 6]
    assert sorted(problems) == [2, 3, 5]
    assert store.missing(6).tolist() == [2, 3, 5]


KILLED = """
import sys
from pathlib import Path
import numpy as np
from labelloop.backbone import Backbone
from labelloop.embedding import embed_missing
from labelloop.features import FeatureStore

class Telling(Backbone):
    name, dim, size, weights_id, batch = "red", 1, 64, "red", 4

    def prepare(self, image):
        return image.getpixel((0, 0))[0]

    def forward(self, prepared):
        sys.stdout.write(" ".join(map(str, prepared)) + "\\n")
        sys.stdout.flush()
        return np.array(prepared, np.float32)[:, None]

folder = Path(sys.argv[1])
paths = [(k, folder / "images" / f"{k}.png") for k in range(1, 101)]
for _ in embed_missing(paths, FeatureStore.open(folder / "features"), Telling(), on_problem=print):
    pass
"""


def test_after_a_kill_at_most_two_batches_a_thread_are_embedded_twice(tmp_path, store):
    paths = draw(tmp_path / "images", 100)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # one thread, so in order
    )
    before = process.stdout.readline() + process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    before = [int(k) for k in (before + process.communicate()[0]).split()]
    assert 8 <= len(before) < 100
    store = FeatureStore.open(store.folder)
    features, done = store.read()
    assert features[done, 0].tolist() == (np.flatnonzero(done) + 1).tolist()
    assert set(before) - set((np.flatnonzero(done) + 1).tolist()) <= set(before[-8:])
    backbone = RedCounter()
    list(embed_missing(paths, store, backbone, on_problem=unexpected))
    assert sorted(backbone.seen) == [k for k in range(1, 101) if not done[k - 1 : k].any()]
    assert store.read()[0][:, 0].tolist() == list(range(1, 101))


class Together(RedCounter):
    """Goes on only when as many threads as there should be are at it."""

    def __init__(self):
        super().__init__()
        self.barrier = threading.Barrier(threads(MOST_THREADS))

    def forward(self, prepared):
        self.barrier.wait(timeout=PATIENCE)
        return super().forward(prepared)


def test_every_thread_takes_a_batch_by_itself(tmp_path, store):
    paths = draw(tmp_path / "images", 4 * threads(MOST_THREADS))
    through = list(embed_missing(paths, store, Together(), on_problem=unexpected))
    assert through == list(range(4, len(paths) + 1, 4))
    assert store.read()[0][:, 0].tolist() == list(range(1, len(paths) + 1))


def test_a_network_of_timm_gives_the_same_and_torch_has_its_threads_again(tmp_path):
    torch.manual_seed(1)
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "test_efficientnet.safetensors")
    backbone = load_backbone("test_efficientnet", tmp_path / "test_efficientnet.safetensors", device="cpu")
    paths = draw(tmp_path / "images", 20)
    store = FeatureStore.create(tmp_path / "of_timm", backbone.dim, {})
    before = torch.get_num_threads()
    assert list(embed_missing(paths, store, backbone, on_problem=unexpected)) == [8, 16, 20]
    assert torch.get_num_threads() == before
    expected = backbone.embed([open_for(path, backbone.size) for _, path in paths])
    assert store.read()[0] == pytest.approx(expected, abs=1e-6)
