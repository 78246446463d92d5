"""The model, to take home: a folder that says what is on images without labelloop.

    model.safetensors   the backbone under timm's names, and a linear layer; for the built-in features, only that
    config.json         classes in order, how images are prepared, how good the model is, and on what that rests
    predict.py          path, class and probability; needs torch and timm (predict.py here, as it is)
    images.py           opens images exactly as labelloop does, because it is the same file
    stages.py           with a network of timm: what its features are, the same file as well
    README.txt          all this in words
    model.onnx          on demand: from prepared images to probabilities (onnx.py here)
    embedded.py         only with the built-in features, and the network that belongs to them, embedded.safetensors

Before the folder gets its name, predict.py's answers are compared with labelloop's own. Left out: running the model on
a folder of images here (predicting.py), and labels (exchange.py).
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelloop import embedded, images
from labelloop.backbone import Backbone, TimmBackbone
from labelloop.errors import BadInput, LabelloopError
from labelloop.exchange import outside_images
from labelloop.formats.files import new_folder
from labelloop.metrics import Accuracy
from labelloop.predicting import InCharge, model_in_charge
from labelloop.project import Project
from labelloop.takehome.words import readme
from labelloop.types import Floats
from labelloop.weights import HEAD

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, CONFIG, ONNX = "model.safetensors", "config.json", "model.onnx"
TOLERANCE = 1e-4  # how far probabilities may be from labelloop's own
IMAGES_COMPARED = 8
# exp(-10000) is 0, as exp(-inf) is; but some runtimes and formats of half precision make NaN of an infinity.
NEVER = -1e4

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Taken:
    """What was written: how good it is, and what it was compared with."""

    backbone: str
    classes: tuple[str, ...]
    labels: int
    exam: Accuracy
    compared: int  # images on which predict.py answered as labelloop does
    difference: float  # the largest there was between two probabilities


def export_model(
    project: Project,
    out: str | Path,
    *,
    onnx: bool = False,
    progress: Progress = lambda words: None,
    announce: Callable[[str], None] = print,
) -> Taken:
    """Write the model in charge to a new folder, all of it or nothing.

    Learns from all answers first, as `labelloop train` does. Raises CannotTrain below two classes, BadInput where `out`
    is not empty or lies among the images, and LabelloopError where what was written does not answer as labelloop does.
    """
    target = outside_images(project, out)
    if onnx:
        from labelloop.takehome.onnx import check_installed

        check_installed()
    with new_folder(target) as folder:  # refuses a place that is taken before anything takes time
        progress("learning from all answers")
        # On the CPU, because that one computes with all digits.
        model = model_in_charge(project, device="cpu", announce=announce)
        if onnx and not isinstance(model.backbone, TimmBackbone):
            raise BadInput(
                "ONNX holds networks, and the features of this project are the built-in ones, which are none. Leave "
                "--onnx out, or make a project with a timm backbone: labelloop init … --backbone tf_efficientnet_lite0"
            )
        progress("writing the model")
        config = _write(folder, model)
        progress("comparing its answers with labelloop's")
        compared, difference = _compare(folder, model, _some_images(project))
        if onnx:
            from labelloop.takehome.onnx import write_onnx

            progress("translating to ONNX, which takes a while")
            write_onnx(folder, TOLERANCE)
        (folder / "README.txt").write_text(readme(config, compared, onnx=onnx), encoding="utf-8")
    return Taken(
        model.backbone.name, tuple(model.board.counts), model.learned.labels, model.learned.exam, compared, difference
    )


# -- what is written --------------------------------------------------------------------------------------------------


def _write(folder: Path, model: InCharge) -> dict[str, Any]:
    """Everything but README.txt and ONNX; the config."""
    from safetensors.torch import save_file

    backbone = model.backbone
    tensors = _linear(model)
    if isinstance(backbone, TimmBackbone):
        tensors |= _network(backbone)
        (folder / "stages.py").write_text(alone(Path(__file__).parents[1] / "stages.py"), encoding="utf-8")
    else:
        (folder / "embedded.py").write_text(alone(Path(embedded.__file__)), encoding="utf-8")
        (folder / embedded.NETWORK.name).write_bytes(embedded.NETWORK.read_bytes())
    config = _config(model, backbone)
    config_file = folder / CONFIG
    config_file.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    (folder / WEIGHTS).chmod(config_file.stat().st_mode)  # safetensors writes for the owner alone
    (folder / "predict.py").write_bytes((Path(__file__).parent / "predict.py").read_bytes())
    (folder / "images.py").write_text(alone(Path(images.__file__)), encoding="utf-8")
    return config


def _config(model: InCharge, backbone: Backbone) -> dict[str, Any]:
    network = backbone if isinstance(backbone, TimmBackbone) else None
    exam, (_, bias) = model.learned.exam, _linear_layer(model)
    classes = list(model.board.counts)
    versions = {name: importlib.metadata.version(name) for name in ("labelloop", "timm", "torch")}
    return {
        "backbone": backbone.name,
        "model_args": _model_args(network) if network else {},  # of timm.create_model, beside num_classes=0
        "stages": network.stages.channels if network else None,  # index → channels (stages.py)
        "classes": classes,
        "classes_without_labels": [name for name, b in zip(classes, bias, strict=True) if not np.isfinite(b)],
        "preprocessing": network.config if network else None,  # of timm.data.create_transform
        "open_for": backbone.size,  # pixels of a side that are looked at; a larger image is opened smaller
        "calibration": "folded into weight and bias",
        "labels": model.learned.labels,
        "accuracy": {
            "held_out_answers": exam.n,
            "right": exam.correct,
            "value": exam.value if exam.enough else None,
            "low": exam.low if exam.enough else None,
            "high": exam.high if exam.enough else None,
        },
        "made_with": versions,
    }


def _network(backbone: TimmBackbone) -> dict[str, Tensor]:
    """The tensors of the timm model. A clone each: safetensors refuses tensors that share their memory."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in backbone.model.state_dict().items()}


def _linear(model: InCharge) -> dict[str, Tensor]:
    """The head, by the names that predict.py knows."""
    import torch

    weight, bias = _finite(*_linear_layer(model))
    return {f"{HEAD}.weight": torch.from_numpy(weight), f"{HEAD}.bias": torch.from_numpy(bias)}


def _linear_layer(model: InCharge) -> tuple[Floats, Floats]:
    """Weight (c, d) and bias (c,) of the head, without classes that were merged into others."""
    kept = _kept(model)
    return model.learned.head.weight[kept], model.learned.head.bias[kept]


def _kept(model: InCharge) -> list[int]:
    return [index for index in range(len(model.board.classes)) if index not in model.board.merged]


def _finite(weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    return np.ascontiguousarray(weight, np.float32), np.where(np.isfinite(bias), bias, NEVER).astype(np.float32)


def _model_args(backbone: TimmBackbone) -> dict[str, Any]:
    """What timm.create_model must be told: the size, where it is part of the architecture and was changed."""
    from timm import get_pretrained_cfg

    config = get_pretrained_cfg(backbone.name)
    if config is None or not config.fixed_input_size or config.input_size[1] == backbone.size:
        return {}
    return {"img_size": backbone.size}


def alone(path: Path) -> str:
    """A module of labelloop as one that needs no labelloop."""
    text = path.read_text(encoding="utf-8")
    for line, instead in {
        "from labelloop.errors import BadInput\n": "class BadInput(Exception):\n"
        '    """An image or a folder that cannot be used; says which, and why."""\n',
        "from labelloop.types import Floats\n": "Floats = NDArray[np.float32]\n",
    }.items():
        text = text.replace(line, instead)
    if re.search(r"^\s*(from|import) labelloop\b", text, re.M):
        raise AssertionError(f"{path.name} needs more of labelloop than can be taken home")
    return f"# Copied from labelloop {importlib.metadata.version('labelloop')} (Apache-2.0).\n{text}"


# -- whether it answers as labelloop does -----------------------------------------------------------------------------


def _some_images(project: Project) -> list[Path]:
    """Paths of a few images that can be opened, the first by id, which are a fair draw."""
    found: list[Path] = []
    for image in project.catalog.images().values():
        if len(found) == IMAGES_COMPARED:
            break
        if not image.gone and image.path.is_file():
            found.append(image.path)
    return found


def _compare(folder: Path, model: InCharge, paths: list[Path]) -> tuple[int, float]:
    """On how many images predict.py was asked, and how far it was from labelloop; raises where that is too far."""
    from labelloop.takehome import predict

    at_home = predict.Model(folder, "cpu")
    compared, difference, kept = 0, 0.0, _kept(model)
    for path in paths:
        try:
            image = images.open_for(path, model.backbone.size)
        except BadInput:
            continue  # it is not about this image
        expected = model.learned.head.predict_proba(model.backbone.embed([image]))[0, kept]
        compared += 1
        difference = max(difference, float(np.abs(expected - at_home.probabilities(path).numpy()).max()))
    if not compared:
        raise BadInput(
            "no image of this project can be read, so the model cannot be compared with labelloop's answers; nothing "
            "was written. Put the images back where they were, or say where their folder is now: labelloop add PROJECT "
            "NEW --instead-of OLD"
        )
    if not difference <= TOLERANCE:  # NaN too
        raise LabelloopError(
            f"the model that was written answers otherwise than labelloop: probabilities differ by {difference:.2g} on "
            f"{compared} images, at most {TOLERANCE:g} was wanted. Nothing was left behind. {model.backbone.name} "
            "sees images otherwise there; take another backbone"
        )
    return compared, difference
