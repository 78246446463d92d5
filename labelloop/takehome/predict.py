"""Says what is on images, by the model beside this file. Needs torch and timm, and what they bring along.

python predict.py IMAGE_OR_FOLDER...        prints for each image: path, class, probability (tabs in between)
"""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.data.transforms_factory import create_transform
from torchvision.transforms import Compose, Resize, v2
from torchvision.transforms.functional import pil_to_tensor

Network = tuple[torch.nn.Module, Callable[[Any], torch.Tensor]]  # and what makes its input of an image


class Model:
    """The model in a folder."""

    def __init__(self, folder: Path, device: str):
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.classes: list[str] = self.config["classes"]
        self.images = runpy.run_path(str(folder / "images.py"))  # opens them as labelloop does
        network, self.prepare = (built_in if self.config["backbone"] == "embedded" else of_timm)(folder, self.config)
        self.device, self.network = device, network.eval().to(device)

    def probabilities(self, path: Path) -> torch.Tensor:
        """Of the classes (c,), for an image."""
        image = self.prepare(self.images["open_for"](path, self.config["open_for"]))
        with torch.inference_mode():
            return torch.softmax(self.network(image[None].to(self.device))[0].float(), 0).cpu()


def of_timm(folder: Path, config: dict[str, Any]) -> Network:
    """A network of timm with what it sees on the way, a linear layer, and the transform that it was trained with."""
    tensors = load_file(folder / "model.safetensors")
    layer = linear(tensors)
    network: Any = timm.create_model(config["backbone"], num_classes=0, **config["model_args"])
    network.load_state_dict(tensors)
    stages = {int(index): channels for index, channels in config["stages"].items()}
    *steps, _, scale = create_transform(**config["preprocessing"], is_training=False).transforms
    # On bytes, which torch resizes a little otherwise, and much faster, than Pillow.
    steps = [v2.Resize(step.size, step.interpolation) if isinstance(step, Resize) else step for step in steps]
    features = runpy.run_path(str(folder / "stages.py"))["Stages"](network, stages)
    return torch.nn.Sequential(features, layer), Compose([pil_to_tensor, *steps, lambda pixels: scale(pixels / 255)])


def built_in(folder: Path, config: dict[str, Any]) -> Network:
    """A linear layer, and the features that labelloop has built in."""
    features = runpy.run_path(str(folder / "embedded.py"))["features"]
    return linear(load_file(folder / "model.safetensors")), lambda image: torch.from_numpy(features(image))


def linear(tensors: dict[str, torch.Tensor]) -> torch.nn.Linear:
    """The layer on the features, whose tensors are taken out."""
    weight, bias = tensors.pop("labelloop.weight"), tensors.pop("labelloop.bias")
    layer = torch.nn.Linear(weight.shape[1], len(weight))
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def main(arguments: list[str]) -> int:
    """Print a line for each image; 1 where something cannot be read."""
    # A name that stdout cannot encode must not end it; with stderr Python does so by itself.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    model = Model(Path(__file__).parent, "cuda" if torch.cuda.is_available() else "cpu")
    status = 0
    for place in map(Path, arguments):
        names = model.images["find_files"](place) if place.is_dir() else [""]
        for path in [place / name for name in names if not name or name.lower().endswith(model.images["SUFFIXES"])]:
            try:
                probability, index = model.probabilities(path).max(0)
                print(path, model.classes[int(index)], f"{probability:.6f}", sep="\t")
            except model.images["BadInput"] as problem:
                print(problem, file=sys.stderr)
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else __doc__)
