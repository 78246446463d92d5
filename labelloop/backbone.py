"""A backbone turns images into features: a name and `embed(images) -> (n, d)`, unit length.

"embedded" is built in (embedded.py), every other name is a timm model whose weights come from a file, the cache of
this machine or the Hugging Face hub (weights.py). labelloop never downloads unasked: naming a timm model is the
permission. Left out: files and stores (embedding.py), training.
"""

from __future__ import annotations

import ctypes
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelloop import embedded, weights
from labelloop.errors import BadInput, BadWeights
from labelloop.types import Floats

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

AUTO_CPU, AUTO_GPU = weights.KNOWN


class Backbone(ABC):
    """What turns images into features of `dim` numbers; `weights_id` changes when the features of an image would.

    `prepare` is what can be done to one image alone, in any thread; `forward` is the rest, for a batch.
    """

    name: str
    dim: int
    size: int  # pixels of a side that it looks at
    weights_id: str
    batch: int = 16

    def prepare(self, image: Image) -> Any:
        """From an RGB image to whatever `forward` takes."""
        return image

    @abstractmethod
    def forward(self, prepared: Sequence[Any]) -> Floats:
        """Features (n, dim), unit length, of n prepared images."""

    def embed(self, images: Sequence[Image]) -> Floats:
        """Features (n, dim), unit length, of n RGB images."""
        batches = [images[start : start + self.batch] for start in range(0, len(images), self.batch)]
        features = [self.forward([self.prepare(image) for image in batch]) for batch in batches]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *features])


class Embedded(Backbone):
    """The built-in features: nothing to download, no torch."""

    name = "embedded"
    dim = embedded.DIM
    size = embedded.SIDE
    weights_id = embedded.VERSION
    batch = 64

    def prepare(self, image: Image) -> Floats:
        """The features themselves: they need no batch."""
        return embedded.features(image)

    def forward(self, prepared: Sequence[Floats]) -> Floats:
        """The features as one array (n, dim)."""
        return np.stack(prepared)


class TimmBackbone(Backbone):
    """A timm model without its classifier, in eval mode, with the preprocessing that it was trained with."""

    def __init__(self, loaded: weights.Loaded, device: str) -> None:
        import torch
        from timm.data.config import resolve_model_data_config
        from timm.data.transforms_factory import create_transform

        options = {} if loaded.size is None else {"img_size": loaded.size}
        self.config: dict[str, Any] = resolve_model_data_config(loaded.model, args=options)  # type: ignore[no-untyped-call]
        self.name = loaded.name
        self.weights_id = loaded.sha256
        self.size = int(self.config["input_size"][1])
        self.device = torch.device(device)
        self.batch = 8 if device == "cpu" else 64  # larger ones are slower on a CPU: activations leave the cache
        self._transform = create_transform(**self.config, is_training=False)
        _keep_memory()
        self.model = loaded.model.to(memory_format=torch.channels_last).to(self.device)
        with torch.inference_mode():
            features = self.model(torch.zeros(1, *self.config["input_size"], device=self.device))
        if features.ndim != 2:
            found = tuple(features.shape)[1:]
            raise BadInput(f"{self.name} gives {found} numbers instead of one row; choose another model")
        if not features.isfinite().all():  # or every image would be refused, one by one
            raise BadWeights(
                f"{self.name} computes NaN or infinity from a plain image: its weights are broken; get others"
            )
        self.dim = int(features.shape[1])

    def prepare(self, image: Image) -> Tensor:
        """Resized, cropped and normalised (3, size, size)."""
        prepared: Tensor = self._transform(image)
        return prepared

    def forward(self, prepared: Sequence[Tensor]) -> Floats:
        """Features (n, dim), unit length."""
        import torch
        from torch.nn.functional import normalize

        batch = torch.stack(list(prepared)).to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            features: Floats = normalize(self.model(batch).float(), dim=1).cpu().numpy()
        return features


def _keep_memory() -> None:
    """Tell glibc to keep freed memory: it hands large activations back after every batch and asks for them again.

    On a CPU that took up to 40 % of the time. Other C libraries are left as they are.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library, which has no such setting
        return
    trim_threshold, mmap_threshold = -1, -3  # M_… of malloc.h
    mallopt(mmap_threshold, 2**30)
    mallopt(trim_threshold, 2**31 - 1)


def resolve(name: str | None = None, file: Path | None = None) -> tuple[str, str]:
    """Which backbone a choice means, and why, in words for the person. Downloads nothing, needs no network.

    No name or "auto": what fits this machine if its weights are here already, else "embedded". With a file alone, the
    model that the file is for. Raises BadInput for an unknown name, or for a file that does not tell its model.
    """
    if name is None or name in ("", "auto"):
        return _resolve_file(file) if file is not None else _resolve_auto()
    if name == "embedded":
        if file is not None:
            raise BadInput(f"the built-in features take no weights, found {file}; name its model with --backbone NAME")
        return name, "the built-in features were chosen"
    weights.check_name(name)
    return name, f"{name} was chosen"


def _resolve_file(file: Path) -> tuple[str, str]:
    name = weights.name_of_file(file) if file.is_file() else None
    if name is None:
        what = "does not tell which model it is for" if file.is_file() else "is missing"
        raise BadInput(f"the file of weights {file} {what}; wanted one, with the name of its model in --backbone NAME")
    return name, f"{file.name} holds weights of {name}"


def _resolve_auto() -> tuple[str, str]:
    cached = {name for name in weights.KNOWN if weights.find_in_cache(name)}
    name, why = auto_backbone() if cached else (AUTO_CPU, "")  # whether there is a GPU takes seconds to find out
    for candidate in (name, AUTO_CPU):
        if candidate in cached:
            return candidate, f"{why}; its weights are on this machine already"
    return "embedded", (
        "built-in features, because no weights of a pretrained network are on this machine and nothing is downloaded "
        f"unasked. On photographs a pretrained one needs far fewer labels: --backbone {name.partition('.')[0]}"
    )


def auto_backbone(device: str = "auto") -> tuple[str, str]:
    """The timm model that suits this machine, and why, whether or not its weights are here."""
    if pick_device(device) == "cpu":
        return AUTO_CPU, "a small network, quick on a processor without GPU"
    return AUTO_GPU, "a GPU is there: a network that needs few labels, trained without any (DINOv2)"


def pick_device(device: str = "auto") -> str:
    """ "cuda", "mps" or "cpu"; a device that is named is taken as it is."""
    import torch

    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_backbone(
    name: str, file: Path | None = None, *, device: str = "auto", announce: weights.Announce = print
) -> Backbone:
    """The backbone `name`: "embedded", or a timm model, downloaded after an announcement when it is nowhere here.

    Raises BadInput for an unknown name and BadWeights when weights are missing, unreachable or do not fit.
    """
    if name == "embedded":
        return Embedded()
    return TimmBackbone(weights.load_model(name, file, announce), pick_device(device))
