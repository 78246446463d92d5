"""README.txt of a model that is taken home."""

from __future__ import annotations

from typing import Any

README = """\
{backbone}, taught {n_classes} classes with labelloop {labelloop}
{line}

Classes, in the order of the outputs: {classes}
Learned from {labels} labels. {accuracy}

    pip install torch timm
    python predict.py IMAGE_OR_FOLDER...

prints path, class and probability of each image. On {compared} images of the project the probabilities were compared
with labelloop's own when this folder was written: they differ by less than 0.0001.

model.safetensors   {weights}
config.json         all that predict.py needs to know, the accuracy and what it rests on
images.py           how images are opened: upright, transparency over white
{more}
{own_code}

It knows no other classes than these: what is on an image, it will name the most similar one. On images that were made
in another way than those it learned from, expect it to be worse than said above.
The pretrained weights that it started from have a licence of their own; look it up under the name of the backbone.
"""

NETWORK = """
In your own code, with the path of this folder:

    model = predict.Model(pathlib.Path(folder), "cpu")
    probabilities = model.network(model.prepare(image)[None]).softmax(1)  # of a PIL image in RGB

The backbone alone, with timm:

    tensors = safetensors.torch.load_file("model.safetensors")
    own = {{name: tensor for name, tensor in tensors.items() if not name.startswith("labelloop.")}}
    backbone = timm.create_model({backbone!r}, num_classes=0{model_args}).eval()
    backbone.load_state_dict(own)
"""


def readme(config: dict[str, Any], compared: int, *, onnx: bool) -> str:
    """The text."""
    is_network = config["preprocessing"] is not None
    args = "".join(f", {key}={value!r}" for key, value in config["model_args"].items())
    named = {"backbone": config["backbone"], "n_classes": len(config["classes"])}
    title = README.partition("\n")[0].format(**named, labelloop=config["made_with"]["labelloop"])
    more = []
    if is_network:
        more.append("stages.py           what the features are: what the backbone sees on the way, and where")
    else:
        more.append("embedded.py         the built-in features of labelloop, in numpy; needs embedded.safetensors")
    if onnx:
        more.append("model.onnx          the same, from prepared `images` (n, 3, side, side) to `probabilities` (n, c)")
    return README.format(
        **named,
        labelloop=config["made_with"]["labelloop"],
        line="=" * len(title),
        classes=", ".join(config["classes"]),
        labels=config["labels"],
        accuracy=_accuracy(config["accuracy"]),
        compared=compared,
        weights=("the backbone under timm's names, and " if is_network else "") + "a linear layer on the features",
        more="".join(f"{line}\n" for line in more).rstrip("\n"),
        own_code=NETWORK.format(**named, model_args=args) if is_network else "",
    ).replace("\n\n\n", "\n\n")


def _accuracy(found: dict[str, Any]) -> str:
    n = found["held_out_answers"]
    if found["value"] is None:
        return f"How good it is, is not known: only {n} held-out answers."
    interval = f"95 % interval {found['low']:.0%} to {found['high']:.0%}"
    return f"Right on {found['value']:.0%} of {n} images that it was not trained on ({interval})."
