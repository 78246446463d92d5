"""Pretrained weights of timm models: where they are, where they come from, whether they fit.

They come from a file, from the cache of the Hugging Face hub on this machine, or, once announced, from the hub. Every
tensor must fit but those of the classifier, which is not used. Left out: what is done with the model (backbone,
train/finetune).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelloop.errors import BadInput, BadWeights

if TYPE_CHECKING:
    from torch import Tensor, nn

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when timm imports the hub's client
# Read when torch is imported: what it cannot do on Apple's GPUs is done on the CPU, with a warning, and is no error.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

Announce = Callable[[str], None]
State = dict[str, "Tensor"]

HEAD = "labelloop"  # the linear layer on the features, in files that labelloop writes
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
SECONDS_TO_ANSWER = 5.0  # after which the hub counts as out of reach
WAYS_ON = (
    "Three ways on: give a file that you have with --weights FILE; use the built-in features, --backbone embedded; "
    "or run once with a network, or copy the folder ~/.cache/huggingface from a machine that has the weights"
)


@dataclass(frozen=True)
class Loaded:
    """A timm model without classifier, on the CPU, and what its weights are."""

    model: nn.Module
    name: str
    path: Path
    sha256: str
    size: int | None  # side of the images it was fine-tuned on, when labelloop did that


def load_model(name: str, weights: Path | None, announce: Announce) -> Loaded:
    """Build model `name` with the weights in a file, the cache or the hub; only the last one needs a network.

    Raises BadInput for an unknown name, BadWeights for weights that are missing, unreachable, unreadable or do not fit.
    """
    check_name(name)
    path = weights or find_in_cache(name)
    model = _build(name, None)
    if path is None:
        path = _download(name, model, announce)
    if not path.is_file():
        raise BadWeights(f"there is no file {path}. {WAYS_ON}")
    state = read_state(path)
    size = read_about(path).get("size")
    if size and fixed_size(name):
        model = _build(name, size)
    complaint = _misfit(model, state, _head_prefixes(name))
    if complaint and weights is None:
        # Published before timm settled on these names; only timm knows how to translate them.
        model = _build(name, None, file=path)
    elif complaint:
        raise BadWeights(f"{path} holds weights of another architecture than {name}: {complaint}; {_looks_like(path)}")
    else:
        wanted = model.state_dict()
        model.load_state_dict({key: value for key, value in state.items() if key in wanted}, strict=False)
    return Loaded(model.eval(), name, path, sha256(path), size)


def check_name(name: str) -> None:
    """Raise BadInput, naming the closest ones, unless timm has a model `name` ("resnet18" or "resnet18.a1_in1k")."""
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = ["embedded", *timm.list_models()]
        close = difflib.get_close_matches(architecture, known, n=5, cutoff=0.5)
        hint = f"the closest are {', '.join(sorted(close))}" if close else "timm.list_models() lists them"
        raise BadInput(f"there is no backbone {name!r}; wanted 'embedded' or the name of a timm model: {hint}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise BadInput(f"{architecture} has no pretrained weights {tag!r}; there are: {', '.join(tags) or 'none'}")


def name_of_file(path: Path) -> str | None:
    """The timm model that a file of weights says it is for, by its metadata or its file name."""
    import timm

    written = read_about(path).get("backbone")
    candidates = [written, path.stem, path.stem.partition(".")[0]]
    return next((str(c) for c in candidates if c and timm.is_model(str(c).partition(".")[0])), None)


def read_about(path: Path) -> dict[str, Any]:
    """What finetune wrote into the header of a .safetensors file; empty for any other file."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "np") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get("labelloop", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return about


def read_state(path: Path) -> State:
    """Tensors by name from .safetensors, or from a PyTorch file, of which nothing but tensors is ever unpickled."""
    from pickle import UnpicklingError

    from safetensors import SafetensorError
    from timm.models import load_state_dict

    if path.suffix not in (".safetensors", ".pth", ".pt", ".bin", ".tar"):
        raise BadWeights(f"{path} is neither .safetensors nor a PyTorch file (.pth, .pt); convert it first")
    try:
        state: State = load_state_dict(str(path), weights_only=True)
    except (OSError, EOFError, UnpicklingError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    except (RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise _unreadable(path, error) from error  # what PyTorch and timm make of a file of something else
    if not state or not all(hasattr(value, "shape") for value in state.values()):
        raise _unreadable(path, "it holds something else than tensors by name")
    return state


def sha256(path: Path) -> str:
    """Hash of the file: what tells one set of features from another."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def classifier_names(name: str) -> tuple[str, ...]:
    """The layers that timm replaces for other classes; most models have one, such as "fc" or "head.fc"."""
    from timm import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    named = (config.classifier if config else None) or "head"
    return (named,) if isinstance(named, str) else tuple(named)


def fixed_size(name: str) -> bool:
    """Whether the model takes images of one size only, chosen when it is built."""
    from timm import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    return bool(config and config.fixed_input_size)


def find_in_cache(name: str, *, is_of_timm: bool = False) -> Path | None:
    """The weights of `name` in the hub's cache on this machine.

    Where the hub has them is asked of timm, whose import takes seconds, unless it is known that they are timm's own.
    """
    from huggingface_hub import try_to_load_from_cache

    repository, revision, files = (f"timm/{name}", None, HUB_FILES) if is_of_timm else _on_hub(name)
    if repository is None:
        return None
    for file in files:
        found = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None


def _on_hub(name: str) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Repository, revision and the files that may hold the weights."""
    from timm import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return None, None, ()
    repository, _, revision = config.hf_hub_id.partition("@")
    return repository, revision or None, (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES


def _download(name: str, model: nn.Module, announce: Announce) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    # The hub's own errors derive from those of the HTTP library it uses, which is another one in every major version.
    network_errors = tuple(base for base in HfHubHTTPError.__mro__ if issubclass(base, Exception))[1:-1]

    repository, revision, files = _on_hub(name)
    if repository is None:
        raise BadWeights(f"there are no weights of {name} on the Hugging Face hub. {WAYS_ON}")
    megabytes = max(1, round(sum(p.numel() for p in model.parameters()) * 4 / 1e6))
    announce(
        f"the weights of {name} are not on this machine: labelloop will download them once (about {megabytes} MB) "
        f"from the Hugging Face hub ({repository}); nothing else leaves this machine"
    )
    problem: object = "no such file"
    for file in files:
        try:
            # One request without the hub's many retries, so that a machine without network knows within seconds.
            get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=SECONDS_TO_ANSWER)
            return Path(hf_hub_download(repository, file, revision=revision, etag_timeout=SECONDS_TO_ANSWER))
        except EntryNotFoundError as error:
            problem = error
        except network_errors as error:
            problem = error
            break
    reason = str(problem).partition("\n")[0]
    raise BadWeights(f"the weights of {name} could not be downloaded ({reason}). {WAYS_ON}")


def _build(name: str, size: int | None, file: Path | None = None) -> nn.Module:
    import timm

    options: dict[str, Any] = {} if size is None else {"img_size": size}
    if file is not None:
        options["pretrained_cfg_overlay"] = {"file": str(file)}
    logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        model: nn.Module = timm.create_model(name, pretrained=file is not None, num_classes=0, **options)
    except (RuntimeError, ValueError, TypeError, KeyError, ImportError) as error:
        raise BadWeights(f"timm cannot build {name}: {str(error).partition(chr(10))[0]}; choose another one") from error
    return model


def _head_prefixes(name: str) -> tuple[str, ...]:
    # All of "head." for "head.fc": what lies between pooling and classifier may go with it.
    return tuple(f"{layer.partition('.')[0]}." for layer in (*classifier_names(name), HEAD))


def _misfit(model: nn.Module, state: Mapping[str, Tensor], head: tuple[str, ...]) -> str | None:
    """What keeps these tensors from being those of the model, the classifier aside; None when they fit."""
    wanted = model.state_dict()
    # How many batches normalisation has seen says nothing in a model that is only used, and some converters drop it.
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        return f"missing {len(missing)} of {len(wanted)} tensors such as {missing[0]}"
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if wrong:
        found, should = tuple(state[wrong[0]].shape), tuple(wanted[wrong[0]].shape)
        return (
            f"{len(wrong)} of {len(wanted)} tensors have another shape, such as {wrong[0]}: {found}, expected {should}"
        )
    left_over = [key for key in state if key not in wanted and not key.startswith(head)]
    if left_over:
        return f"{len(left_over)} tensors too many, such as {left_over[0]}"
    return None


def _looks_like(path: Path) -> str:
    """A guess at what a file is for, for the person who mixed up two."""
    named = name_of_file(path)
    if named:
        return f"by its name it is for {named}: --backbone {named}"
    state = read_state(path)
    if "blocks.0.attn.qkv.weight" in state:
        blocks = sum(bool(re.fullmatch(r"blocks\.\d+\.attn\.qkv\.weight", key)) for key in state)
        width = state["blocks.0.attn.qkv.weight"].shape[1]
        return f"this file looks like a vision transformer with {blocks} blocks of width {width}"
    families = {
        "conv_stem.weight": "an EfficientNet or MobileNet",
        "layer1.0.conv1.weight": "a ResNet",
        "stem.0.weight": "a ConvNeXt or another network of stages",
        "features.0.0.weight": "a model of torchvision, whose names are not timm's",
    }
    family = next((text for key, text in families.items() if key in state), None)
    return f"this file looks like {family or f'no family that labelloop knows: it begins with {next(iter(state))}'}"


def _unreadable(path: Path, error: object) -> BadWeights:
    reason = str(error).partition("\n")[0]
    return BadWeights(f"{path} cannot be read as weights ({reason}); it may be cut short: copy or download it again")
