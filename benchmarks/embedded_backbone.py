"""Trains the built-in network (labelloop/embedded.safetensors) and measures what it is worth.

    python benchmarks/embedded_backbone.py views FOLDER             views of all training images; what the teacher says
    python benchmarks/embedded_backbone.py train FOLDER [SET...]    trains on all sets but these: a network in FOLDER
    python benchmarks/embedded_backbone.py measure FOLDER           each set with the network that never saw it
    python benchmarks/embedded_backbone.py write FOLDER             the network of all sets becomes that of the package

It is distilled from a pretrained network (embedded_student.py) on views of images (embedded_views.py), without their
labels. Only train/ folders are learned from. docs/embedded.md has what else was tried.
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import machine, mean_sd, table
from embedded_student import TARGETS, cut, in_use, learn, student, targets_of
from embedded_views import MADE, Teacher, made, views_of
from PIL import Image
from safetensors.numpy import save_file

from labelloop import embedded
from labelloop.train.head import fit_head

SHARED = Path(__file__).parent.parent.parent / "shared"
SETS = ("signdigits", "eurosat", "caltech101")
TURNS = {"signdigits": 3, "eurosat": 2, "caltech101": 3, "made": 2}
LABELS, DRAWS = (1, 5, 10, 50), 10
SOME = 1500  # views of each set by which main directions are found

Arrays = dict[str, np.ndarray]


# -- views ------------------------------------------------------------------------------------------------------------


def files_of(folder: Path, name: str, split: str) -> list[Path]:
    """Images of a set, which is unpacked on the way."""
    if not (folder / name).exists():
        with tarfile.open(SHARED / "data" / f"{name}.tar") as archive:
            archive.extractall(folder, filter="data")
    return sorted((folder / name / split).glob("*/*.jpg"))


def make_views(folder: Path) -> None:
    """Save views and teacher's features; goes on where it was stopped."""
    teacher = Teacher(SHARED / "weights")
    for name, turns in TURNS.items():
        images = [made(np.random.default_rng([7, k])) for k in range(MADE)] if name == "made" else None
        for turn in range(turns):
            file = folder / f"{name}-{turn}.npy"
            if file.exists():
                continue
            images = images or opened(files_of(folder, name, "train"))
            rng = np.random.default_rng([turn, sum(name.encode())])
            views = np.stack(list(views_of(images, turn, rng)))
            said = [teacher(views[start : start + 8]) for start in range(0, len(views), 8)]
            np.save(folder / f"{name}-{turn}-teacher.npy", np.concatenate(said))
            np.save(file, views)  # last: when it is there, the other one is
            print(f"{name}: turn {turn} of {len(views)} views", flush=True)


def opened(files: list[Path]) -> list[Image.Image]:
    """All images in memory."""
    return [Image.open(file).convert("RGB") for file in files]


# -- training ---------------------------------------------------------------------------------------------------------


def train(folder: Path, without: Sequence[str] = ()) -> None:
    """Save a network that learned from all sets but those."""
    names = [name for name in TURNS if name not in without]
    views = [np.load(folder / f"{name}-{turn}.npy") for name in names for turn in range(TURNS[name])]
    said = [[np.load(folder / f"{name}-{turn}-teacher.npy") for turn in range(TURNS[name])] for name in names]
    print(f"{machine()}; learning from {', '.join(names)}", flush=True)
    network = learn(torch.from_numpy(np.concatenate(views)), targets_of([np.concatenate(one) for one in said]))
    torch.save(network.state_dict(), file_of(folder, without))


def file_of(folder: Path, without: Sequence[str] = ()) -> Path:
    """Where a network that has learned is saved."""
    return folder / f"{'-'.join(['network', *(f'without-{name}' for name in without)])}.pt"


def built_in(folder: Path, state: dict[str, torch.Tensor], without: Sequence[str] = ()) -> Arrays:
    """The network for the package out of one that has learned from all sets but those."""
    views = [np.load(folder / f"{name}-1.npy", "r")[:SOME] for name in TURNS if name not in without]
    return cut(state, (Image.fromarray(view) for some in views for view in some))


def write(folder: Path) -> None:
    """The file of the package, in half precision."""
    save_file(built_in(folder, torch.load(file_of(folder))), embedded.NETWORK, {"version": embedded.VERSION})
    embedded.NETWORK.chmod(0o644)
    print(f"{embedded.NETWORK.name}: {embedded.NETWORK.stat().st_size / 1e6:.1f} MB")


# -- measuring --------------------------------------------------------------------------------------------------------


def measure(folder: Path) -> None:
    """Print, for each set, the test accuracy of a head on features of a network that never saw this set."""
    print(machine())
    rows = []
    for name in SETS:
        nets = networks(folder, name)
        sides = [seen_by(nets, files_of(folder, name, split)) for split in ("train", "test")]
        y = [labels_of(folder, name, split) for split in ("train", "test")]
        for n in LABELS:
            found = {kind: [100 * accuracy(sides, y, kind, n, draw) for draw in range(DRAWS)] for kind in sides[0]}
            gain = np.array(found["both"]) - np.array(found["by hand"])
            rows.append([name, n, *(mean_sd(found[kind]) for kind in found), mean_sd(gain.tolist())])
        print(f"{name} done", flush=True)
    print(table(["set left out", "labels a class", *sides[0], "both − by hand, paired"], rows))


def networks(folder: Path, name: str) -> dict[str, Arrays]:
    """One that learned nothing, and the one that never saw this set."""
    torch.manual_seed(0)
    states = {"random network": student(TARGETS).state_dict(), "network": torch.load(file_of(folder, [name]))}
    return {kind: built_in(folder, state, [name]) for kind, state in states.items()}


def seen_by(nets: dict[str, Arrays], files: list[Path]) -> Arrays:
    """Features made by hand, by the networks, and by hand and by the one that learned, which is what is built in."""
    images = [Image.open(file) for file in files]
    found = {"by hand": np.stack([embedded.by_hand(embedded.sizes(image)) for image in images])}
    for kind, net in nets.items():
        with in_use(net):
            found[kind] = np.stack([embedded.seen(image) for image in images])
    found["both"] = np.hstack([found["by hand"], found["network"]]) / np.float32(2**0.5)
    return found


def labels_of(folder: Path, name: str, split: str) -> np.ndarray:
    """Class indices; train and test have the same classes."""
    names = [file.parent.name for file in files_of(folder, name, split)]
    return np.unique(names, return_inverse=True)[1]


def accuracy(sides: list[Arrays], y: list[np.ndarray], kind: str, n: int, draw: int) -> float:
    """Of a head learned from n labels a class (fewer where a class has fewer), drawn at random."""
    rng = np.random.default_rng(draw)
    classes = int(y[0].max()) + 1
    drawn = np.concatenate([rng.permutation(np.flatnonzero(y[0] == k))[:n] for k in range(classes)])
    head = fit_head(sides[0][kind][drawn], y[0][drawn], classes)
    return float((head.logits(sides[1][kind]).argmax(axis=1) == y[1]).mean())


def main() -> None:
    """See above."""
    steps = {"views": make_views, "measure": measure, "write": write}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=[*steps, "train"])
    parser.add_argument("folder", type=Path, help="for images and views, about 2.5 GB")
    parser.add_argument("without", nargs="*", choices=[*SETS, []], help="sets to leave out of the training")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if arguments.step == "train":
        train(arguments.folder, arguments.without)
    else:
        steps[arguments.step](arguments.folder)


if __name__ == "__main__":
    main()
