"""fastai's `fine_tune`, in a process of its own: fastai need not be installed where labelloop is.

    python benchmarks/finetune_peer.py TASK.json ANSWER.npz

The task names training images and their classes, test images, the timm backbone and its file of weights, the side of
the images in pixels, epochs and seed. The answer holds logits of the test images and the CPU seconds of the training.
Used as its documentation shows: images resized, `aug_transforms()` with its defaults, `vision_learner` with its head
and `fine_tune(epochs)`, one frozen epoch and then that many with all layers. To its advantage, no time goes into
validation, and batches are as small as ours: with its 64 a hundred labels give one step an epoch.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 16


def main(task: dict[str, Any], answer: Path) -> None:
    """Train, predict, write."""
    import torch
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        IndexSplitter,
        Resize,
        aug_transforms,
        set_seed,
        vision_learner,
    )

    torch.set_num_threads(1)
    set_seed(task["seed"])
    paths, y, n = task["train"] + task["test"], task["y"], len(task["y"])
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=sorted(set(y)))),
        get_x=lambda row: paths[row],
        get_y=lambda row: y[row],
        splitter=IndexSplitter([]),
        item_tfms=Resize(task["size"]),
        batch_tfms=aug_transforms(),
    )
    loaders = block.dataloaders(range(n), bs=min(BATCH, n), num_workers=0, device=torch.device("cpu"))
    weights = {"pretrained_cfg_overlay": {"file": task["weights"]}}
    learn = vision_learner(loaders, task["backbone"], n_out=len(loaders.vocab), **weights)
    begin = time.process_time()
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(task["epochs"])
    seconds = time.process_time() - begin
    test = loaders.test_dl(range(n, len(paths)), bs=50, num_workers=0)
    with learn.no_bar():
        logits = learn.get_preds(dl=test, act=lambda found: found)[0].numpy()
    np.savez(answer, logits=logits, classes=np.array(list(loaders.vocab)), seconds=seconds)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
