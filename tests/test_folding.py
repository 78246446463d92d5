"""Folding keeps the features of every kind of network. Left out: how much faster it is (benchmarks/embedding.py)."""

from __future__ import annotations

import pytest
import timm
import torch

from labelloop.folding import folded

SIZE = (3, 64, 64)


def network(name: str) -> torch.nn.Module:
    """A network without classifier whose batch norms have something to do."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval()
    for norm in norms(model):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.1)
    return model


def norms(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("test_efficientnet", 0),
        ("tf_efficientnet_lite0", 0),  # pads as TensorFlow does
        ("test_resnet", 0),
        ("densenet121", 62),  # norms before their convolutions, which cannot be folded
        ("repvgg_a0", 17),  # norms of what skips a convolution
    ],
)
def test_features_stay_the_same(name, left):
    model = network(name)
    before = len(norms(model))
    fast = folded(model, SIZE)
    assert (len(norms(fast)), len(norms(model))) == (left, before)
    with torch.inference_mode():
        image = torch.randn(2, *SIZE)
        expected, found = (torch.nn.functional.normalize(each(image), dim=1) for each in (model, fast))
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_network_without_batch_norms_is_returned_as_it_is():
    model = timm.create_model("test_vit", num_classes=0).eval()
    assert folded(model, (3, 160, 160)) is model


class Fork(torch.nn.Module):
    """What the convolution gives goes past the norm, too."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(0.5)

    def forward(self, image):
        given = self.conv(image)
        return torch.cat([given, self.norm(given)], dim=1).mean((2, 3))


class Twice(Fork):
    """One norm after two convolutions."""

    def __init__(self):
        super().__init__()
        self.other = torch.nn.Conv2d(3, 4, 3)

    def forward(self, image):
        return (self.norm(self.conv(image)) + self.norm(self.other(image))).mean((2, 3))


@pytest.mark.parametrize("kind", [Fork, Twice])
def test_what_cannot_be_folded_is_returned_as_it_is(kind):
    torch.manual_seed(0)
    model = kind().eval()
    assert folded(model, SIZE) is model
