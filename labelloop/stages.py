"""What a network of timm sees on the way: its features, and what its last two stages see in each ninth of the image.

The last numbers of a pretrained network are about what it was trained to name, averaged over the image. With few labels
what it saw before helps as well, most where images are unlike those that it was trained on (Evci et al., 2022,
Head2Toe: Utilizing intermediate representations for better transfer learning); and where in the image it saw that.
docs/benchmarks/backbones.md has what it is worth (benchmarks/backbones.py).

Goes along with a model that is taken home, as it is, so it needs nothing of labelloop.
Left out: opening images, half precision, and batches (backbone.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

VERSION = "stages-1"  # other numbers for the same image need another one
PARTS = 3  # of each side of an image
KEPT = 64  # numbers of each part and stage, however many channels it has
OF_BLOCKS = 0.75  # which block of a transformer counts as the last stage but one


class Stages(nn.Module):
    """A timm model without classifier, and the stages that are looked at: index → how many channels (find_stages).

    Images (n, 3, side, side) → features (n, dim) of length 1. The network's own and those of each stage weigh the same.
    """

    def __init__(self, network: nn.Module, channels: Mapping[int, int]):
        super().__init__()
        self.network = network
        self.channels = dict(channels)
        for index, c in self.channels.items():
            self.register_buffer(f"signs_{index}", _signs(index, c), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Features of images."""
        return self.features(*self.look(images))

    def look(self, images: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """What the network makes of images (n, d), and what its stages see (n, channels, height, width)."""
        if not self.channels:
            return self.network(images), ()
        last, maps = self.network.forward_intermediates(images, indices=list(self.channels))  # type: ignore[operator]
        return self.network.forward_head(last), maps  # type: ignore[operator]

    def features(self, own: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Of what `look` saw, in full precision."""
        blocks = [normalize(own.float(), dim=1)]
        for index, seen in zip(self.channels, maps, strict=True):
            parts = torch.einsum("ncx,xck->nxk", _parts(seen.float()), getattr(self, f"signs_{index}"))
            blocks.append(normalize(parts.flatten(1), dim=1))
        joined: Tensor = torch.cat(blocks, 1) / len(blocks) ** 0.5
        return joined


def find_stages(network: nn.Module, image: Tensor) -> dict[int, int]:
    """The stages of a network to look at: index → channels. Empty where timm cannot tell what it sees on the way.

    Of the blocks of a transformer, which all see the image in as many patches, the last one and one at three quarters.
    """
    if not hasattr(network, "forward_intermediates"):
        return {}
    with torch.inference_mode():
        own = network(image)
        try:
            last, maps = network.forward_intermediates(image)  # type: ignore[operator]
            again = network.forward_head(last)  # type: ignore[operator]
            is_same = own.shape == again.shape and torch.allclose(own, again, rtol=1e-3, atol=1e-4)
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            return {}  # a few of timm's models only look as if they could
    n = len(maps)
    if not is_same or n < 2 or any(getattr(seen, "ndim", 0) != 4 for seen in maps):
        return {}
    are_blocks = n > 2 and len({seen.shape for seen in maps}) == 1
    before = min(round(OF_BLOCKS * n), n - 1) if are_blocks else n - 1
    return {index: int(maps[index].shape[1]) for index in (before - 1, n - 1)}


def _parts(seen: Tensor) -> Tensor:
    """Means over each of the parts of an image (n, c, PARTS²). As products: on every device, and to ONNX, the same."""
    down, across = (_means(side).to(seen) for side in seen.shape[2:])
    return (down @ seen @ across.T).flatten(2)


def _means(side: int) -> Tensor:
    """From a side to its parts (PARTS, side); where they do not fit into it, neighbours share a row."""
    means = torch.zeros(PARTS, side)
    for part in range(PARTS):
        first, end = part * side // PARTS, -(-(part + 1) * side // PARTS)
        means[part, first:end] = 1 / (end - first)
    return means


def _signs(index: int, channels: int) -> Tensor:
    """Which channels are added up, and which are taken off, for each of the numbers kept (PARTS², channels, KEPT).

    Random ones keep distances, others for each part (Achlioptas, 2003, Database-friendly random projections). Of
    numpy's old generator, which promises the same ones for ever.
    """
    signs = np.random.RandomState(index).randint(0, 2, (PARTS**2, channels, KEPT))
    return torch.from_numpy((2 * signs - 1).astype(np.float32))
