"""The built-in network learns from a teacher: what it is, and one training. For benchmarks/embedded_backbone.py.

The student sees views at 64 pixels a side and has to say what the teacher says, as principal components of the
teacher's features. Half of the batches are pairs of views laid over each other, with the answers mixed likewise
(function matching: Beyer et al., Knowledge distillation: a good teacher is patient and consistent, 2022). What made it
possible on a CPU: an optimiser that turns the steps of whole matrices (Muon: Jordan et al., 2024, of timm), half
precision, and the convolutions of small maps as matrix products. Left out: views, and what the result is worth.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, mse_loss, pad

from labelloop import embedded

CHANNELS = (64, 128, 256, 256)  # half the weights of timm's, whose last stage has 512
TARGETS = 256  # principal components of the teacher's features
CENTRED = 0.7  # of the mean of each set is taken out: what tells sets apart tells little about images in one
RATE, WEIGHT_DECAY, WARM_UP = 2e-2, 0.05, 0.05
BATCH, STEPS = 128, 2400
MIXED = 0.5  # share of the batches
SMALL = 144  # pixels of a map whose convolutions are matrix products
HELD_BACK = 1000  # views whose answers tell how far it is

Arrays = dict[str, np.ndarray]


class Products(torch.autograd.Function):
    """A 3 x 3 convolution as a matrix product: torch's own are slow on a CPU where maps are small."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, weight: Tensor, stride: int) -> Tensor:
        """Of (n, h + 2, w + 2, c) with a weight (o, 9 c)."""
        n, high, wide, c = padded.shape
        rows, columns = (high - 3) // stride + 1, (wide - 3) // stride + 1
        patches = padded.new_empty(n, rows, columns, 9, c)
        for k in range(9):
            patches[:, :, :, k] = _shifted(padded, k, rows, columns, stride)
        patches = patches.view(n * rows * columns, 9 * c)
        ctx.save_for_backward(patches, weight)
        ctx.shape = (n, high, wide, c, rows, columns, stride)
        return (patches @ weight.t()).view(n, rows, columns, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of the padded maps and of the weight."""
        patches, weight = ctx.saved_tensors
        n, high, wide, c, rows, columns, stride = ctx.shape
        gradient = gradients[0].reshape(n * rows * columns, -1)
        of_patches = (gradient @ weight).view(n, rows, columns, 9, c)
        of_maps = of_patches.new_zeros(n, high, wide, c)
        for k in range(9):
            _shifted(of_maps, k, rows, columns, stride).add_(of_patches[:, :, :, k])
        return of_maps, gradient.t() @ patches, None


def _shifted(maps: Tensor, k: int, rows: int, columns: int, stride: int) -> Tensor:
    """What the k-th of nine weights sees."""
    top, left = divmod(k, 3)
    return maps[:, top : top + stride * (rows - 1) + 1 : stride, left : left + stride * (columns - 1) + 1 : stride]


class Convolution(nn.Conv2d):
    """A convolution without bias that computes small maps in half precision by itself."""

    def forward(self, maps: Tensor) -> Tensor:
        """Of maps (n, c, h, w)."""
        if maps.shape[2] * maps.shape[3] > SMALL or not torch.is_autocast_enabled("cpu"):
            return super().forward(maps)
        padded = pad(maps.to(torch.bfloat16).permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        weight = self.weight.to(torch.bfloat16).permute(0, 2, 3, 1).reshape(self.out_channels, -1)
        out: Tensor = Products.apply(padded, weight, self.stride[0])  # type: ignore[no-untyped-call]
        return out.permute(0, 3, 1, 2)


def student(outputs: int) -> nn.Module:
    """The network that learns: the built-in one with a fourth stage, and so many outputs."""
    network: nn.Module = timm.create_model("resnet10t", num_classes=outputs, channels=CHANNELS)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.in_channels >= 64:
            module.__class__ = Convolution
    return network.to(memory_format=torch.channels_last)


def cut(state: dict[str, Tensor], pictures: Iterable[Image.Image]) -> Arrays:
    """The built-in network out of a student: without the fourth stage, with the main directions of what it sees.

    The first stages see what is in any image, the last one what was in these (docs/embedded.md).
    """
    names = {"stem.0": ("conv1.0", "conv1.1"), "stem.1": ("conv1.3", "conv1.4"), "stem.2": ("conv1.6", "bn1")}
    for stage in range(1, embedded.STAGES + 1):
        block = f"layer{stage}.0"
        names |= {f"{stage}.{k}": (f"{block}.conv{k + 1}", f"{block}.bn{k + 1}") for k in (0, 1)}
        if stage > 1:
            names[f"{stage}.across"] = (f"{block}.downsample.1", f"{block}.downsample.2")
    net: Arrays = {}
    for name, (convolution, norm) in names.items():
        factor = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-5).sqrt()
        weight = (state[f"{convolution}.weight"] * factor[:, None, None, None]).permute(2, 3, 1, 0)
        net[name] = weight.reshape(-1, weight.shape[-1]).numpy()
        net[f"{name}.offset"] = (state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * factor).numpy()
    net["directions"] = np.eye(10 * CHANNELS[embedded.STAGES - 1], dtype=np.float32)
    with in_use(net):
        found = np.stack([embedded.seen(picture) for picture in pictures])
    net["directions"] = np.linalg.eigh(found.T @ found)[1][:, ::-1][:, : embedded.SEEN]
    return {name: np.ascontiguousarray(array, np.float16) for name, array in net.items()}


@contextmanager
def in_use(net: Arrays) -> Iterator[None]:
    """Inside, this is the network of the built-in features."""
    built_in = embedded.network
    as_used = {name: array.astype(np.float32) for name, array in net.items()}
    embedded.network = lambda: as_used  # type: ignore[assignment]
    try:
        yield
    finally:
        embedded.network = built_in


def targets_of(teacher: list[np.ndarray]) -> Tensor:
    """Principal components (n, TARGETS) of the teacher's features of each set, not whitened: most are noise."""
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x.astype(np.float32) for x in teacher)]
    rows = np.concatenate([one - CENTRED * one.mean(axis=0) for one in unit])
    rows -= rows.mean(axis=0)
    vectors = np.linalg.eigh(rows.T @ rows / len(rows))[1][:, ::-1][:, :TARGETS]
    components = rows @ vectors
    return torch.from_numpy((components / components.std()).astype(np.float32))


def learn(views: Tensor, targets: Tensor, steps: int = STEPS, seed: int = 0) -> nn.Module:
    """A student of views (n, 128, 128, 3), bytes, and what is to be said of them (n, t)."""
    torch.manual_seed(seed)
    drawn = torch.randperm(len(views))
    held_back, rest = drawn[:HELD_BACK], drawn[HELD_BACK:]
    network = student(targets.shape[1])
    optimizer = create_optimizer_v2(network, "muon", lr=RATE, weight_decay=WEIGHT_DECAY)
    begin = time.process_time()
    for step, rows in enumerate(islice(_batches(rest), steps), 1):
        for group in optimizer.param_groups:
            group["lr"] = _rate(step / steps) * group.get("lr_scale", 1)
        images, wanted = _mixed(_mirrored(prepared(views[rows])), targets[rows])
        loss = mse_loss(_said(network, images), wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % (steps // 10) == 0:
            left, seconds = _not_learned(network, views[held_back], targets[held_back]), time.process_time() - begin
            print(f"  {step * BATCH:,} views, {seconds:.0f} s: {left:.1%} of the variance not learned", flush=True)
    return network.eval()


def _batches(rows: Tensor) -> Iterator[Tensor]:
    while True:
        shuffled = rows[torch.randperm(len(rows))]
        yield from (batch for batch in shuffled.split(BATCH) if len(batch) == BATCH)


def _rate(done: float) -> float:
    """Up in a line, down along a cosine."""
    if done < WARM_UP:
        return RATE * done / WARM_UP
    return RATE * float(1 + np.cos(np.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def prepared(views: Tensor) -> Tensor:
    """Views at half their size, as the network takes them (n, 3, 64, 64)."""
    mean, deviation = (255 * torch.tensor(x) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return avg_pool2d(((views.float() - mean) / deviation).permute(0, 3, 1, 2), 2)


def _mirrored(images: Tensor) -> Tensor:
    """Half of them."""
    mirror = torch.rand(len(images)) < 0.5
    return torch.where(mirror[:, None, None, None], images.flip(3), images)


def _mixed(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """As they are, or each laid over another one."""
    if torch.rand(()) < MIXED:
        share, other = torch.rand(()), torch.randperm(len(images))
        images, targets = (share * x + (1 - share) * x[other] for x in (images, targets))
    return images.contiguous(memory_format=torch.channels_last), targets


def _said(network: nn.Module, images: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        said: Tensor = network(images)
    return said.float()


def _not_learned(network: nn.Module, views: Tensor, targets: Tensor) -> float:
    """Share of the variance of what is to be said that the network does not say."""
    network.eval()
    with torch.inference_mode():
        said = torch.cat([_said(network, prepared(some)) for some in views.split(100)])
    network.train()
    return float(mse_loss(said, targets) / targets.var(0).mean())
