"""The code for GPUs, on ones that the CPU plays: no machine of ours has had one."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from labelloop.backbone import load_backbone, pick_device
from labelloop.images import open_upright
from labelloop.train import finetune as module
from labelloop.train.augment import Augment
from labelloop.train.finetune import finetune
from labelloop.train.on_device import OnDevice, fits
from labelloop.train.training import _augmented
from tests.played_gpu import played
from tests.test_finetune import TINY, photos, recipe, weights  # noqa: F401  fixtures

APPLE, NEW, OLD = ("mps", (0, 0)), ("cuda", (9, 0)), ("cuda", (7, 5))


def embed(backbone, paths):
    return backbone.embed([open_upright(path) for path in paths])


@pytest.mark.parametrize(("device", "capability"), [APPLE, NEW, OLD])
def test_a_network_is_fine_tuned_and_embeds_as_on_a_cpu(device, capability, photos, weights, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(module, "batch_and_epochs", lambda n, on_cpu: (8, 3))
    paths, y = photos
    with played(device, capability) as gpu:
        options = {"backbone": TINY, "weights": weights, "device": device}
        losses = [r.loss for r in finetune(paths, y, 3, out=tmp_path / "out", **options) if r.loss]
        tuned = load_backbone(TINY, tmp_path / "out" / "model.safetensors", device=device)
        features = embed(tuned, paths)
    assert losses[-1] < losses[0]
    at_home = load_backbone(TINY, tmp_path / "out" / "model.safetensors", device="cpu")
    assert features == pytest.approx(embed(at_home, paths), abs=1e-5 if device == "mps" else 1e-2)
    assert (torch.uint8, device == "cuda") in gpu.went  # bytes, in the order of numbers that suits the GPU


def test_where_a_gpu_has_no_memory_for_a_batch_it_embeds_fewer_images_at_a_time(photos, weights, monkeypatch):  # noqa: F811
    backbone = load_backbone(TINY, weights, device="cpu")
    expected, asked = embed(backbone, photos[0]), []

    class Small:
        features = backbone.stages.features

        def look(self, images):
            asked.append(len(images))
            if len(images) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return stages.look(images)

    stages, backbone.stages = backbone.stages, Small()
    assert embed(backbone, photos[0]) == pytest.approx(expected, abs=1e-6)
    assert asked == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]  # it is not tried again for the next batch
    backbone._at_once, backbone._own = 8, backbone.stages  # what is trained by, alike
    prepared = [backbone.prepare(open_upright(path)) for path in photos[0][:8]]
    assert backbone.own(prepared) == pytest.approx(expected[:8], abs=1e-6)
    monkeypatch.setattr(Small, "look", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(torch.OutOfMemoryError):
        embed(backbone, photos[0])


def test_a_gpu_that_is_too_old_for_torch_is_none_and_that_is_said(monkeypatch):
    def no_code(*_, **where):
        raise torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device")

    said = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", no_code)
    assert pick_device("auto", said.append) == "cpu"
    assert "too old for this version of torch" in said[0]
    assert pick_device("cuda") == "cuda"


def test_images_kept_on_a_gpu_leave_room_to_train_in(photos, weights):  # noqa: F811
    base, one = SimpleNamespace(device=torch.device("cuda"), config={"mean": (0.5,) * 3, "std": (1.0,) * 3}), recipe()
    for free, kind in ((2**33, OnDevice), (2**20, Augment)):
        with played("cuda", free=free):
            assert isinstance(_augmented(photos[0], base, one), kind)
    assert fits(8000, 224)
    assert not fits(8000, 224, free=4e9)


def test_what_an_apple_gpu_cannot_do_is_done_on_its_cpu():
    """Set before torch is imported, or it is not heard."""
    code = "import sys, os, labelloop.worker; print(os.environ['PYTORCH_ENABLE_MPS_FALLBACK'], 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["1", "False"]
