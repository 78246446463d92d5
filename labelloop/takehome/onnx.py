"""The model as ONNX: prepared images (n, 3, side, side) in, probabilities (n, c) out, any n.

Needs the extra `labelloop[onnx]`. Left out: preparing the images, which config.json describes.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from labelloop.errors import BadInput, LabelloopError

if TYPE_CHECKING:
    from torch import nn

PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # the format, what torch translates with, what runs it
BATCHES = (1, 3)  # of the comparison: that the number of images is free is part of it


def check_installed() -> None:
    """Raise BadInput where a package is missing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(
            f"--onnx needs {' and '.join(missing)}, not installed here; install with: pip install 'labelloop[onnx]'"
        )


def write_onnx(folder: Path, tolerance: float) -> float:
    """Translate the model that lies in `folder`; the largest difference between its probabilities and those of torch.

    Raises LabelloopError where that is above `tolerance`, or where torch cannot translate this architecture.
    """
    import torch

    from labelloop.takehome.predict import Model

    model = Model(folder, "cpu")
    whole = torch.nn.Sequential(model.network, torch.nn.Softmax(dim=1)).eval()
    shape = model.config["preprocessing"]["input_size"]
    try:
        torch.onnx.export(
            whole,
            (torch.zeros(2, *shape),),
            folder / "model.onnx",
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            external_data=False,  # one file
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        name, reason = model.config["backbone"], str(error).strip().partition("\n")[0]
        raise LabelloopError(
            f"torch cannot translate {name} to ONNX ({reason}). Leave --onnx out: the other files work"
        ) from error
    return _compare(folder / "model.onnx", whole, shape, tolerance)


def _compare(path: Path, whole: nn.Module, shape: list[int], tolerance: float) -> float:
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    noise, difference = torch.Generator().manual_seed(0), 0.0
    for n in BATCHES:
        images = torch.randn(n, *shape, generator=noise)
        with torch.inference_mode():
            expected = whole(images)
        (found,) = session.run(["probabilities"], {"images": images.numpy()})
        difference = max(difference, float((expected - torch.from_numpy(found)).abs().max()))
    if not difference <= tolerance:  # NaN too
        raise LabelloopError(
            f"the ONNX model answers otherwise than torch: probabilities differ by {difference:.2g}, at most "
            f"{tolerance:g} was wanted. Nothing was left behind. Leave --onnx out: the other files work"
        )
    return difference
