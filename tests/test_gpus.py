"""The code for GPUs, on ones that the CPU plays: no machine of ours has had one."""

import pytest
import torch

from labelloop.backbone import load_backbone
from labelloop.train import finetune as module
from labelloop.train.finetune import finetune
from tests.played_gpu import played
from tests.test_finetune import TINY, embed, photos, weights  # noqa: F401  fixtures

APPLE, NEW, OLD = ("mps", (0, 0)), ("cuda", (9, 0)), ("cuda", (7, 5))


@pytest.mark.parametrize(("device", "capability"), [APPLE, NEW, OLD])
def test_a_network_is_fine_tuned_and_embeds_as_on_a_cpu(device, capability, photos, weights, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(module, "batch_and_epochs", lambda n, on_cpu: (8, 3))
    paths, y = photos
    with played(device, capability) as gpu:
        options = {"backbone": TINY, "weights": weights, "head": None, "device": device}
        losses = [r.loss for r in finetune(paths, y, 3, out=tmp_path / "out", **options) if r.loss]
        tuned = load_backbone(TINY, tmp_path / "out" / "model.safetensors", device=device)
        features = embed(tuned, paths)
    assert losses[-1] < losses[0]
    at_home = load_backbone(TINY, tmp_path / "out" / "model.safetensors", device="cpu")
    assert features == pytest.approx(embed(at_home, paths), abs=1e-5 if device == "mps" else 1e-2)
    assert (torch.uint8, device == "cuda") in gpu.went  # bytes, in the order of numbers that suits the GPU
