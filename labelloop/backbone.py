"""A backbone turns images into features: a name and `embed(images) -> (n, d)`, unit length.

"embedded" is built in (embedded.py), every other name is a timm model whose weights come from a file, the cache of
this machine or the Hugging Face hub (weights.py). labelloop never downloads unasked: naming a timm model is the
permission. Left out: files and stores (embedding.py), training.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import numpy as np

from labelloop import embedded, weights
from labelloop.errors import BadInput, BadWeights, is_out_of_memory
from labelloop.folding import folded
from labelloop.types import Floats

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

    from labelloop.stages import Stages

NEEDS_GPU = "vit_small_patch14_reg4_dinov2.lvd142m"
SHORT_LIST = {
    NEEDS_GPU: "a GPU is there: a network that needs few labels (DINOv2)",
    "tf_efficientnet_lite0.in1k": "quick without a GPU, and among the most accurate of the small networks compared",
    "mobilenetv2_100.ra_in1k": "quick without a GPU, and level with the best of the small networks",
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": "a small network",
}
"""What "auto" chooses from and why, best first: docs/benchmarks/backbones.md; weights that timm publishes itself. No
computer's own speed would change the order: on a CPU the two most accurate ones are also the fastest, and the one that
needs a GPU is far too slow."""
SUGGESTED = "tf_efficientnet_lite0"


class Backbone(ABC):
    """What turns images into features of `dim` numbers; `weights_id` changes when the features of an image would.

    `prepare` is what can be done to one image alone; `forward` is the rest, for a batch. Both may run in many threads.
    """

    name: str
    dim: int
    size: int  # pixels of a side that it looks at
    weights_id: str
    batch: int = 16

    def prepare(self, image: Image) -> Any:
        """From an RGB image to whatever `forward` takes."""
        return image

    def shared_by(self, threads: int) -> AbstractContextManager[None]:
        """Inside, up to so many threads embed at once, and none computes on more than its share of the cores."""
        return nullcontext()

    @abstractmethod
    def forward(self, prepared: Sequence[Any]) -> Floats:
        """Features (n, dim), unit length, of n prepared images."""

    def embed(self, images: Sequence[Image]) -> Floats:
        """Features (n, dim), unit length, of n RGB images."""
        batches = [images[start : start + self.batch] for start in range(0, len(images), self.batch)]
        features = [self.forward([self.prepare(image) for image in batch]) for batch in batches]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *features])


class Embedded(Backbone):
    """The built-in features, of which a small network is a part: nothing to download, no torch."""

    name = "embedded"
    dim = embedded.DIM
    size = embedded.SIDE
    weights_id = embedded.VERSION

    def prepare(self, image: Image) -> Floats:
        """The features themselves: they need no batch."""
        return embedded.features(image)

    def forward(self, prepared: Sequence[Floats]) -> Floats:
        """The features as one array (n, dim)."""
        return np.stack(prepared)


class TimmBackbone(Backbone):
    """A timm model without its classifier, in eval mode, with the preprocessing that it was trained with.

    `model` is the network as it was loaded, to train or to export. What embeds is `stages` (stages.py), around a copy
    with its batch norms folded.
    """

    def __init__(self, loaded: weights.Loaded, device: str) -> None:
        import torch
        from timm.data.config import resolve_model_data_config

        from labelloop.stages import VERSION, Stages, find_stages

        options = {} if loaded.size is None else {"img_size": loaded.size}
        self.config: dict[str, Any] = resolve_model_data_config(loaded.model, args=options)  # type: ignore[no-untyped-call]
        self.name = loaded.name
        self.weights_id = hashlib.sha256(f"{loaded.sha256} {VERSION}".encode()).hexdigest()
        self.size = int(self.config["input_size"][1])
        self.device = torch.device(device)
        self.batch = 8 if device == "cpu" else 64  # larger ones are no faster on a CPU: activations leave the cache
        self._at_once = sys.maxsize  # how many images the GPU has memory for, as far as is known
        self._steps, self._mean, self._std = _on_bytes(self.config, self.device)
        # On a GPU, one batch is copied while another one is computed. Apple's has to be used by one thread at a time.
        turns: dict[str, AbstractContextManager[Any]] = {"cpu": nullcontext(), "cuda": Semaphore(2)}
        self._turn = turns.get(self.device.type, Semaphore(1))
        _keep_memory()
        plain = torch.zeros(1, *self.config["input_size"])
        with torch.inference_mode():
            own = loaded.model(plain)
        if own.ndim != 2:
            raise BadInput(f"{self.name} gives {tuple(own.shape)[1:]} numbers instead of one row; choose another model")
        if not own.isfinite().all():  # or every image would be refused, one by one
            raise BadWeights(
                f"{self.name} computes NaN or infinity from a plain image: its weights are broken; get others"
            )
        self.layout = layout(self.device)
        noise = torch.rand(plain.shape, generator=torch.Generator().manual_seed(0))
        stages = Stages(loaded.model, find_stages(loaded.model, noise)).eval()
        fast: Any = folded(stages, self.config["input_size"])
        self.model = loaded.model.to(memory_format=self.layout).to(self.device)
        self.stages: Stages = fast.to(memory_format=self.layout).to(self.device)
        self._own = Stages(self.stages.network, {}).eval()
        self.own_dim = int(own.shape[1])
        with torch.inference_mode():
            self.dim = int(self.stages(plain.to(self.device)).shape[1])

    @contextmanager
    def shared_by(self, threads: int) -> Iterator[None]:
        """Holds for threads that are new to torch. Those that share a batch wait for each other, most on busy cores."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(max(1, before // threads))
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def prepare(self, image: Image) -> Tensor:
        """Resized and cropped (3, size, size), uint8."""
        from torchvision.transforms.functional import pil_to_tensor

        pixels: Tensor = pil_to_tensor(image)
        for step in self._steps:
            pixels = step(pixels)
        return pixels

    def normalized(self, prepared: Sequence[Tensor]) -> Tensor:
        """Prepared images as the network takes them, (n, 3, size, size), on its device."""
        import torch

        pixels = torch.stack(list(prepared)).contiguous(memory_format=self.layout)
        on_cuda = self.device.type == "cuda"
        if on_cuda:
            pixels = pixels.pin_memory()  # so that the copy need not be waited for
        batch = pixels.to(self.device, non_blocking=on_cuda).float()
        return batch.sub_(self._mean).div_(self._std)

    def forward(self, prepared: Sequence[Tensor]) -> Floats:
        """Features (n, dim), unit length; a few images at a time where a GPU has no memory for all of them."""
        return self._by(self.stages, prepared)

    def own(self, prepared: Sequence[Tensor]) -> Floats:
        """The network's own features alone (n, own_dim), unit length, which it is trained by."""
        return self._by(self._own, prepared)

    def _by(self, stages: Stages, prepared: Sequence[Tensor]) -> Floats:
        at_once = min(self._at_once, len(prepared))
        starts = range(0, len(prepared), at_once)
        try:
            return np.concatenate([self._features(stages, prepared[start : start + at_once]) for start in starts])
        except RuntimeError as error:
            if at_once == 1 or not is_out_of_memory(error):
                raise
        self._at_once = min(self._at_once, at_once // 2)  # not while the error is there: it holds what was computed
        return self._by(stages, prepared)

    def _features(self, stages: Stages, prepared: Sequence[Tensor]) -> Floats:
        """All at once; on a GPU computed in half precision where they stay finite."""
        import torch

        on_cuda = self.device.type == "cuda"
        with torch.inference_mode(), self._turn:
            batch = self.normalized(prepared)
            with torch.autocast("cuda", torch.float16) if on_cuda else nullcontext():
                own, maps = stages.look(batch)
            features = stages.features(own, maps)
            if on_cuda and not features.isfinite().all():  # a few networks need the range of full precision
                features = stages(batch)
            rows: Floats = features.cpu().numpy()
        return rows


def _on_bytes(config: dict[str, Any], device: torch.device) -> tuple[list[Callable[[Tensor], Tensor]], Tensor, Tensor]:
    """timm's preprocessing for uint8 images (3, h, w): what resizes and crops, then mean and deviation (3, 1, 1).

    Torch resizes bytes three times as fast as Pillow, to levels that differ by one in a pixel of two hundred.
    takehome/predict.py does the same.
    """
    from timm.data.transforms_factory import create_transform
    from torchvision.transforms import Resize, v2

    *steps, _, scale = create_transform(**config, is_training=False).transforms
    steps = [v2.Resize(s.size, s.interpolation) if isinstance(s, Resize) else s for s in steps]
    mean, std = (255 * values.float().view(3, 1, 1).to(device) for values in (scale.mean, scale.std))
    return steps, mean, std


def layout(device: torch.device) -> torch.memory_format:
    """In which order a device has the numbers of images: colours next to each other is faster.

    Not on Apple's GPUs: there batch norms of images in that order had wrong gradients, or none but an error, in every
    version of torch until the summer of 2026 (pytorch issues 134580 and 175189).
    """
    import torch

    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def _keep_memory() -> None:
    """Tell glibc to keep freed memory: it hands large activations back after every batch and asks for them again.

    On a CPU that took up to 40 % of the time. All threads share one arena: in those of their own, glibc would not keep
    as much. Other C libraries are left as they are.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library, which has no such setting
        return
    trim_threshold, mmap_threshold, most_arenas = -1, -3, -8  # M_… of malloc.h
    mallopt(mmap_threshold, 2**30)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(most_arenas, 1)


def resolve(name: str | None = None, file: Path | None = None, *, device: str = "auto") -> tuple[str, str]:
    """Which backbone a choice means, and why, in words for the person. Downloads nothing, needs no network.

    No name or "auto": the best of SHORT_LIST for this machine whose weights are here already, else "embedded". With a
    file alone, the model that the file is for. Raises BadInput for an unknown name, or for a file that does not tell
    its model.
    """
    if name is None or name in ("", "auto"):
        return _resolve_file(file) if file is not None else _resolve_auto(device)
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


def _resolve_auto(device: str) -> tuple[str, str]:
    for name, why in SHORT_LIST.items():
        # Whether there is a GPU takes seconds to find out.
        if weights.find_in_cache(name, is_of_timm=True) and (name != NEEDS_GPU or pick_device(device) != "cpu"):
            return name, f"{why}; its weights are on this machine already"
    return "embedded", (
        "built-in features, because no weights of a pretrained network are on this machine and nothing is downloaded "
        f"unasked. On photographs a pretrained one needs far fewer labels: --backbone {SUGGESTED}"
    )


def pick_device(device: str = "auto", announce: weights.Announce = lambda _: None) -> str:
    """ "cuda", "mps" or "cpu"; a device that is named is taken as it is.

    A GPU that torch finds but has no code for, being too old for this torch, is none; `announce` is told.
    """
    import torch

    if device != "auto":
        return device
    if torch.cuda.is_available():
        try:
            torch.ones(1, device="cuda")
        except RuntimeError as error:
            if "no kernel image" not in str(error):
                raise
            announce("the GPU is too old for this version of torch, so the processor does its work; an older torch may")
            return "cpu"
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
    return TimmBackbone(weights.load_model(name, file, announce), pick_device(device, announce))
