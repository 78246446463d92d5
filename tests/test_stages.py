"""What a network sees on the way: against pooling by torch, for every kind of network. Left out: what it is worth."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch.nn.functional import adaptive_avg_pool2d, normalize

from labelloop.stages import KEPT, Stages, _means, _signs, find_stages

SIZE = (3, 64, 64)


def network(name: str, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0, **options).eval()


def images(n: int = 2, size: tuple[int, int, int] = SIZE) -> torch.Tensor:
    return torch.rand(n, *size, generator=torch.Generator().manual_seed(1))


def test_features_are_the_networks_own_and_signed_sums_of_what_its_stages_see_in_each_ninth():
    model = network("test_efficientnet")
    stages = Stages(model, find_stages(model, images()))
    with torch.inference_mode():
        own = model(images())
        maps = model.forward_intermediates(images(), intermediates_only=True)
        found = stages(images()).numpy()
    expected = [normalize(own).numpy()]
    for index in (3, 4):
        parts = adaptive_avg_pool2d(maps[index], 3).flatten(2).numpy()  # (n, channels, 9)
        sums = np.stack([parts[:, :, ninth] @ _signs(index, parts.shape[1])[ninth].numpy() for ninth in range(9)], 1)
        flat = sums.reshape(2, -1)
        expected.append(flat / np.linalg.norm(flat, axis=1, keepdims=True))
    assert found == pytest.approx(np.concatenate(expected, 1) / 3**0.5, abs=1e-5)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_the_signs_are_the_same_for_ever():
    assert _signs(3, 112)[0, 0, :8].tolist() == [-1, -1, 1, 1, -1, -1, -1, 1]
    assert _signs(3, 112).shape == (9, 112, KEPT)
    assert _signs(3, 112).mean().abs() < 0.01
    assert not torch.equal(_signs(3, 112), _signs(4, 112))


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 14])
def test_parts_are_those_of_torch(side):
    seen = torch.rand(2, 5, side, side)
    ours = _means(side) @ seen @ _means(side).T
    assert ours.numpy() == pytest.approx(adaptive_avg_pool2d(seen, 3).numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("tf_efficientnet_lite0", {3: 112, 4: 320}),
        ("mobilenetv2_100", {3: 96, 4: 320}),
        ("resnet18", {3: 256, 4: 512}),
        ("convnext_atto", {2: 160, 3: 320}),
        ("test_vit", {3: 64, 5: 64}),  # of six blocks
        ("mixer_s32_224", {5: 512, 7: 512}),
    ],
)
def test_stages_are_the_last_two_or_blocks_at_three_quarters_and_the_end(name, stages):
    model = network(name)
    size = model.pretrained_cfg["input_size"]
    assert find_stages(model, images(1, size)) == stages


class Plain(torch.nn.Module):
    """A network that timm cannot look into."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


class Other(Plain):
    """One whose way by stages ends in something else."""

    def forward_intermediates(self, images, indices=None):
        return images, [images, images]

    def forward_head(self, seen):
        return 2 * seen.mean((2, 3))


class Liar(Plain):
    """One that only looks as if it could, as a few of timm's."""

    def forward_intermediates(self, images, indices=None):
        raise NotImplementedError


@pytest.mark.parametrize("model", [Plain(), Other(), Liar()])
def test_a_network_that_cannot_be_looked_into_has_its_own_features_only(model):
    assert find_stages(model, images()) == {}
    assert torch.equal(Stages(model, {})(images()), normalize(model(images())))


def test_black_images_and_halves_give_numbers(tmp_path):
    model = network("test_resnet")
    stages = Stages(model, find_stages(model, images()))
    with torch.inference_mode():
        own, maps = stages.look(torch.zeros(1, *SIZE))
        assert stages.features(own.half(), [seen.half() for seen in maps]).isfinite().all()
        assert stages.features(0 * own, [0 * seen for seen in maps]).norm() == 0
