import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from labelloop import embedded
from labelloop.backbone import NEEDS_GPU, SHORT_LIST, Embedded, load_backbone, resolve
from labelloop.errors import BadInput, BadWeights
from labelloop.images import open_upright

SHARED = Path(__file__).parents[2] / "shared"
TINY = "test_efficientnet"


def quiet(text):
    raise AssertionError(f"announced: {text}")


def noise(seed=0, size=(40, 30)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8))


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return timm.create_model(TINY).state_dict()


@pytest.fixture(scope="module")
def tiny(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / f"{TINY}.safetensors"
    save_file(state, path)
    return path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that does not answer, and an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    return tmp_path / "hub"


def put_in_cache(hub, name, state):
    folder = hub / f"models--timm--{name}"
    snapshot = folder / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    save_file(state, snapshot / "model.safetensors")


# -- the built-in features ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", [noise(), noise(1, (1, 300)), Image.new("RGB", (128, 128)), Image.new("L", (9, 9))])
def test_embedded_features_are_finite_and_of_unit_length(image):
    (features,) = load_backbone("embedded").embed([image])
    assert features.shape == (embedded.DIM,)
    assert features.dtype == np.float32
    assert np.linalg.norm(features) == pytest.approx(1, abs=1e-4)


def describe(image):
    return embedded.describe(embedded.sizes(image))


def test_turning_an_image_keeps_everything_but_its_edges():
    image = noise(size=(128, 128))
    image.paste("navy", (0, 0, 40, 128))
    upright, turned = describe(image), describe(image.transpose(Image.Transpose.ROTATE_90))
    same = [name for name in upright if np.allclose(upright[name], turned[name], atol=0.03)]
    assert same == ["tones", "colours", "bands", "patterns", "rings"]


def test_edges_know_place_and_direction():
    image = Image.new("RGB", (128, 128))
    image.paste("white", (0, 0, 32, 128))  # one upright line between the second and third of six columns
    edges = describe(image)["edges"].reshape(6, 6, 6)  # direction, row, column
    assert np.argmax(edges.sum(axis=(1, 2))) == 0
    assert edges.sum(axis=(0, 1)).argmax() == 1
    assert edges[:, :, 3:].sum() == 0
    assert edges.sum(axis=(0, 2)) == pytest.approx(edges.sum() / 6, rel=0.02)
    lying = describe(image.transpose(Image.Transpose.ROTATE_90))["edges"].reshape(6, 6, 6)
    assert np.argmax(lying.sum(axis=(1, 2))) == 3


def test_colours_count_pixels():
    image = Image.new("RGB", (128, 128), "red")
    image.paste("black", (0, 0, 128, 64))
    colours = describe(image)["colours"]
    assert sorted(colours**2)[-2:] == pytest.approx([0.5, 0.5])
    assert np.count_nonzero(colours) == 2


def test_patterns_of_a_flat_image_are_of_one_kind():
    patterns = describe(Image.new("RGB", (50, 50), "grey"))["patterns"].reshape(3, 10, 4)
    assert patterns[:, 0, 0].tolist() == [1, 1, 1]


def test_embedded_needs_neither_torch_nor_timm():
    code = (
        "import sys; from PIL import Image; from labelloop.backbone import load_backbone, resolve; "
        "load_backbone(resolve('embedded')[0]).embed([Image.new('RGB', (9, 9))]); "
        "print(sorted({'torch', 'timm', 'streamlit', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# -- timm models ----------------------------------------------------------------------------------------------------


def test_a_timm_backbone_gives_what_the_model_gives_in_eval_mode(tiny):
    backbone = load_backbone(TINY, tiny, device="cpu", announce=quiet)
    images = [noise(seed) for seed in range(10)]  # more than a batch
    model = timm.create_model(TINY, num_classes=0, checkpoint_path="").eval()
    model.load_state_dict({k: v for k, v in load_file(tiny).items() if not k.startswith("classifier.")})
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model(torch.stack([transform(image) for image in images]))).numpy()
    features = backbone.embed(images)
    own = features[:, :256] * 3**0.5  # its part of them; test_stages.py has the others
    assert own == pytest.approx(expected, abs=1e-3)  # Pillow resizes to levels that differ by one here and there
    prepared = [backbone.prepare(image) for image in images]
    assert all(pixels.dtype == torch.uint8 and pixels.shape == (3, 160, 160) for pixels in prepared)
    with torch.inference_mode():
        unfolded = torch.nn.functional.normalize(model(backbone.normalized(prepared))).numpy()
    assert own == pytest.approx(unfolded, abs=1e-5)
    assert (backbone.name, backbone.dim, backbone.size) == (TINY, 1408, 160)
    assert backbone.embed([]).shape == (0, 1408)


def test_weights_with_and_without_head_and_of_either_kind_of_file_are_the_same(state, tiny, tmp_path):
    bare = tmp_path / "bare.pth"
    torch.save({"state_dict": {k: v for k, v in state.items() if not k.startswith("classifier.")}}, bare)
    a, b = load_backbone(TINY, tiny, device="cpu"), load_backbone(TINY, bare, device="cpu")
    assert a.embed([noise()]).tolist() == b.embed([noise()]).tolist()
    assert a.weights_id != b.weights_id
    assert len(a.weights_id) == 64


def test_weights_of_another_architecture_are_refused_by_name(tiny, tmp_path):
    with pytest.raises(BadWeights, match=r"another architecture than test_resnet: missing \d+ of \d+ tensors such as"):
        load_backbone("test_resnet", tiny)
    with pytest.raises(BadWeights, match="by its name it is for test_efficientnet: --backbone test_efficientnet"):
        load_backbone("test_resnet", tiny)
    renamed = tmp_path / "w.safetensors"
    renamed.write_bytes(tiny.read_bytes())
    with pytest.raises(BadWeights, match="looks like an EfficientNet or MobileNet"):
        load_backbone("test_resnet", renamed)


def test_one_wrong_tensor_is_enough_to_refuse(state, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({**state, "conv_stem.weight": torch.zeros(5, 3, 3, 3)}, path)
    with pytest.raises(BadWeights, match=r"conv_stem.weight: \(5, 3, 3, 3\), expected"):
        load_backbone(TINY, path)
    save_file({key: value for key, value in state.items() if key != "conv_stem.weight"}, path)
    with pytest.raises(BadWeights, match=r"missing 1 of .* such as conv_stem.weight"):
        load_backbone(TINY, path)
    save_file({**state, "extra.weight": torch.zeros(3)}, path)
    with pytest.raises(BadWeights, match=r"1 tensors too many, such as extra.weight"):
        load_backbone(TINY, path)


class Harmful:
    def __reduce__(self):
        return print, ("code in a file of weights ran",)


def test_files_that_are_no_weights_are_refused_and_never_run(tmp_path, tiny, capsys):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny.read_bytes()[:1000])
    pickled = tmp_path / "pickled.pth"
    torch.save({"state_dict": Harmful()}, pickled)
    listed = tmp_path / "list.pt"
    torch.save([1, 2], listed)
    text = tmp_path / "text.pth"
    text.write_text("no weights")
    for path in (cut, pickled, listed, text):
        with pytest.raises(BadWeights, match="cannot be read as weights"):
            load_backbone(TINY, path)
    other = tmp_path / "weights.h5"
    other.write_bytes(b"")
    with pytest.raises(BadWeights, match="convert it first"):
        load_backbone(TINY, other)
    with pytest.raises(BadWeights, match="there is no file"):
        load_backbone(TINY, tmp_path / "none.safetensors")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tf_efficientnet_lite", "tf_efficientnet_lite0"),
        ("test_vit.nosuch", "has no pretrained weights 'nosuch'; there are: r160_in1k"),
        ("embeded", "'embedded'"),
        ("../resnet18", "there is no backbone"),
    ],
)
def test_an_unknown_name_is_refused_with_the_closest_ones(name, hint):
    with pytest.raises(BadInput, match=hint):
        load_backbone(name)


# -- where weights come from ----------------------------------------------------------------------------------------


def test_cached_weights_are_used_without_a_word(hub, state, tiny):
    put_in_cache(hub, f"{TINY}.r160_in1k", state)
    cached = load_backbone(TINY, device="cpu", announce=quiet)
    assert cached.embed([noise()]).tolist() == load_backbone(TINY, tiny, device="cpu").embed([noise()]).tolist()


def test_a_download_is_announced_first_and_failing_names_the_ways_on(hub):
    said = []
    with pytest.raises(BadWeights, match=r"could not be downloaded.*--weights FILE.*--backbone embedded.*copy the"):
        load_backbone(TINY, announce=said.append)
    assert said == [
        "the weights of test_efficientnet are not on this machine: labelloop will download them once (about 1 MB) from "
        "the Hugging Face hub (timm/test_efficientnet.r160_in1k); nothing else leaves this machine"
    ]


def test_a_model_without_published_weights_says_so(hub):
    with pytest.raises(BadWeights, match="no weights of test_coatnet on the Hugging Face hub"):
        load_backbone("test_coatnet", announce=quiet)


def test_an_omitted_choice_is_embedded_until_the_cache_has_a_better_one(hub, state):
    name, why = resolve()
    assert name == "embedded"
    assert "nothing is downloaded unasked" in why
    assert "--backbone tf_efficientnet_lite0" in why


@pytest.mark.parametrize(
    ("cached", "device", "chosen"),
    [
        (("vit_tiny_patch16_224.augreg_in21k_ft_in1k",), "cpu", "vit_tiny_patch16_224"),
        (("vit_tiny_patch16_224.augreg_in21k_ft_in1k", "mobilenetv2_100.ra_in1k"), "cpu", "mobilenetv2_100"),
        (("mobilenetv2_100.ra_in1k", "tf_efficientnet_lite0.in1k"), "cpu", "tf_efficientnet_lite0"),
        (("tf_efficientnet_lite0.in1k",), "cuda", "tf_efficientnet_lite0"),
        (("tf_efficientnet_lite0.in1k", NEEDS_GPU), "cpu", "tf_efficientnet_lite0"),
        (("tf_efficientnet_lite0.in1k", NEEDS_GPU), "cuda", "vit_small_patch14_reg4_dinov2"),
        ((NEEDS_GPU,), "cpu", "embedded"),
    ],
)
def test_auto_takes_the_best_of_its_short_list_that_is_cached(hub, state, cached, device, chosen):
    for name in cached:
        put_in_cache(hub, name, state)
    name, why = resolve("auto", device=device)
    assert name.partition(".")[0] == chosen
    assert ("on this machine already" in why) == (chosen != "embedded")
    assert ("a GPU is there" in why) == (chosen == "vit_small_patch14_reg4_dinov2")


def test_timm_publishes_the_weights_of_the_short_list_itself():
    """So they are found in the cache without asking timm, whose import takes seconds."""
    assert [timm.get_pretrained_cfg(name).hf_hub_id for name in SHORT_LIST] == [f"timm/{name}" for name in SHORT_LIST]


def test_a_choice_is_kept_and_a_file_may_name_its_model(tiny, tmp_path):
    assert resolve("embedded")[0] == "embedded"
    assert resolve("resnet18")[0] == "resnet18"
    assert resolve(None, tiny) == (TINY, f"{TINY}.safetensors holds weights of {TINY}")
    nameless = tmp_path / "model.safetensors"
    nameless.write_bytes(tiny.read_bytes())
    with pytest.raises(BadInput, match="does not tell which model it is for"):
        resolve("auto", nameless)
    with pytest.raises(BadInput, match="is missing"):
        resolve("auto", tmp_path / "none.safetensors")
    with pytest.raises(BadInput, match="take no weights"):
        resolve("embedded", tiny)
    with pytest.raises(BadInput, match="there is no backbone"):
        resolve("resnet-18")


def test_weights_that_give_nan_for_any_image_are_refused_at_once(tmp_path, state):
    name = next(name for name, tensor in state.items() if name.endswith("weight") and tensor.ndim == 4)
    save_file({**state, name: torch.full_like(state[name], float("nan"))}, tmp_path / "torn.safetensors")
    with pytest.raises(BadWeights, match="NaN or infinity from a plain image: its weights are broken"):
        load_backbone(TINY, tmp_path / "torn.safetensors", device="cpu", announce=quiet)


# -- real weights ---------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "dim"), [("tf_efficientnet_lite0", 2432), ("vit_tiny_patch16_224", 1344), ("mobilenetv2_100", 2432)]
)
def test_published_weights_load_with_or_without_head(name, dim):
    path = SHARED / "weights" / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"{name}.safetensors is not in ../shared/weights")
    backbone = load_backbone(name, path, device="cpu", announce=quiet)
    assert (backbone.dim, backbone.size) == (dim, 224)
    features = backbone.embed([noise(), noise(1)])
    assert np.linalg.norm(features, axis=1) == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.real
def test_published_weights_of_another_model_are_refused():
    path = SHARED / "weights" / "mobilenetv2_100.safetensors"
    if not path.exists():
        pytest.skip("mobilenetv2_100.safetensors is not in ../shared/weights")
    with pytest.raises(BadWeights, match=r"missing .* of .* tensors such as"):
        load_backbone("tf_efficientnet_lite0", path)


def test_the_samples_can_be_told_apart_with_the_built_in_features():
    import csv

    from labelloop.train.head import fit_head

    folder = Path(__file__).parents[1] / "sample_data"
    with (folder / "truth.csv").open(newline="") as file:
        rows = [tuple(row.values())[:2] for row in csv.DictReader(file)]
    names = sorted({label for _, label in rows})
    y = np.array([names.index(label) for _, label in rows])
    order = np.random.default_rng(0).permutation(len(y))[:200]
    features = np.zeros((len(y), embedded.DIM), np.float32)
    features[order] = Embedded().embed([open_upright(folder / "images" / rows[i][0], 256) for i in order])
    head = fit_head(features[order[:100]], y[order[:100]], len(names))
    assert (head.predict_proba(features[order[100:]]).argmax(axis=1) == y[order[100:]]).mean() > 0.8
