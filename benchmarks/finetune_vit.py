"""A small vision transformer with few labels: all layers, the last blocks alone, or low-rank changes (LoRA)?

    python benchmarks/finetune_vit.py run CACHE --labels 50 100 --seeds 0
    python benchmarks/finetune_vit.py report CACHE

Each fine-tune starts from the same weights and the same head, on random labels of real photographs, on one core, and is
asked about 500 test images by a head on its features. What CACHE has is not run again. LoRA: Hu et al. (2022),
Low-rank adaptation of large language models, on the attention's layers, merged into the weights at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from common import machine, table
from finetune_cells import SETS, SHARED, TESTED, Kept, Photos, changed, features, tune
from torch import Tensor, nn
from torch.nn.utils import parametrize

from labelloop.train.recipe import RATE
from labelloop.train.training import Training

BACKBONE = "vit_tiny_patch16_224"
RANK = 8


class LowRank(nn.Module):
    """A weight (out, in) plus a product of two thin matrices, which is 0 at first."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.zeros(len(weight), RANK))
        self.down = nn.Parameter(torch.randn(RANK, weight.shape[1]) / weight.shape[1] ** 0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer uses."""
        return weight + self.up @ self.down


class LowRankTraining(Training):
    """A run that learns the head and low-rank changes of the attention, at `times` the rate; all else stays."""

    times = 1.0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.model.requires_grad_(False)
        torch.manual_seed(self.recipe.seed)
        for layer in self.layers():
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight))
        changes = [weight for weight in self.model.parameters() if weight.requires_grad]
        groups = [
            {"params": changes, "lr_scale": self.times, "weight_decay": 0.0},
            {"params": list(self.head.parameters()), "lr_scale": 1.0, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE)

    def layers(self) -> list[nn.Linear]:
        """Those of the attention."""
        return [layer for block in self.model.blocks for layer in (block.attn.qkv, block.attn.proj)]

    def write(self, out: Path, loss: float | None) -> None:
        """Merged: a file with timm's names, as of any other run."""
        for layer in self.layers():
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        super().write(out, loss)


class FastLowRankTraining(LowRankTraining):
    """What is 0 at first has far to go."""

    times = 4.0


ALL, FROZEN = "all layers (what is used)", "frozen"
RECIPES: dict[str, Mapping[str, Any]] = {
    ALL: {},
    "the last four blocks": {"FROZEN_BELOW": 0.4},
    f"LoRA, rank {RANK}": {"Training": LowRankTraining},
    f"LoRA, rank {RANK}, four times the rate": {"Training": FastLowRankTraining},
}


def run(options: argparse.Namespace) -> None:
    """Few labels first."""
    kept, weights = Kept(options.cache), SHARED / "weights" / f"{BACKBONE}.safetensors"
    sets = {name: Photos(name, options.cache, weights, BACKBONE) for name in SETS}
    for seed, n, (name, photos), recipe in product(options.seeds, options.labels, sets.items(), RECIPES):
        key = {"set": name, "labels": n, "seed": seed, "name": recipe}
        if kept.has(**key):
            continue
        rows = photos.draw(n, seed)
        old = photos.head(photos.base, rows)
        with changed(RECIPES[recipe]):
            backbone, head, seconds = tune(photos, rows, photos.y[rows], weights, options.cache / "run", seed)
        right = photos.right(head.logits(features(backbone, photos.test)))
        kept.add({**key, "right": right, "before": photos.right(old.logits(photos.frozen)), "seconds": seconds})


def report(options: argparse.Namespace) -> None:
    """Percent right of each set and number of labels, mean over seeds."""
    runs, rows = Kept(options.cache).runs, []
    cells = sorted({(run["labels"], SETS.index(run["set"])) for run in runs})
    for what, recipe in (("before", ALL), *(("right", recipe) for recipe in RECIPES)):
        of = [one for one in runs if one["name"] == recipe]
        found = [[one[what] for one in of if (one["labels"], SETS.index(one["set"])) == cell] for cell in cells]
        seconds = "" if what == "before" or not of else f"{mean(one['seconds'] for one in of):.0f}"
        means = [f"{mean(some):.1f}" if some else "" for some in found]
        rows.append([FROZEN if what == "before" else recipe, *means, seconds])
    seeds = len({one["seed"] for one in runs})
    print(f"{BACKBONE}, {TESTED} test images of each set, {seeds} seed{'s' * (seeds > 1)}, one core. {machine()}\n")
    print(table(["% right", *(f"{SETS[k]}, {n}" for n, k in cells), "CPU seconds, mean"], rows))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for work in (run, report):
        command = commands.add_parser(work.__name__)
        command.add_argument("cache", type=Path)
        command.set_defaults(work=work)
        if work is run:
            command.add_argument("--labels", type=int, nargs="+", default=[50, 100])
            command.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    options.work(options)


if __name__ == "__main__":
    main()
