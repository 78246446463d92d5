"""The model that is taken home answers as labelloop does, on images of every kind, and needs no labelloop."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from labelloop import embedded
from labelloop.backbone import load_backbone
from labelloop.cli import main
from labelloop.errors import BadInput, CannotTrain, LabelloopError
from labelloop.images import open_for
from labelloop.learning import learn
from labelloop.predicting import model_in_charge
from labelloop.project import Project
from labelloop.takehome import NEVER, TOLERANCE, _compare, alone, export_model, predict
from labelloop.types import Settings
from labelloop.worker import embed
from tests.conftest import SHARED, draw, truth

TINY = "test_efficientnet"
CLASSES = ("red", "blue", "never")


def silent(text: str) -> None:
    pass


def random_weights(name: str, path: Path, seed: int = 1, about: dict[str, object] | None = None, **options) -> Path:
    torch.manual_seed(seed)
    model = timm.create_model(name, **options)
    for module in model.modules():  # as they are after training: batch normalisation does something
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), path, {"labelloop": json.dumps(about or {})})
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return random_weights(TINY, tmp_path_factory.mktemp("weights") / f"{TINY}.safetensors")


def draw_all_kinds(folder: Path) -> Path:
    """Twenty photos of two colors, and what cameras, scanners and browsers make beside plain RGB."""
    for k in range(10):
        draw(folder / "red" / f"{k}.png", (200 - k, 3 * k, 20))
        draw(folder / "blue" / f"{k}.png", (20, 3 * k, 200 - k))
    colors = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    image = Image.fromarray(colors).resize((900, 700), Image.Resampling.BICUBIC)
    for orientation in (3, 6, 7):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(folder / f"turned_{orientation}.jpg", exif=exif)
    image.convert("CMYK").save(folder / "print.jpg")
    see_through = image.resize((90, 70)).convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize((90, 70)))
    see_through.save(folder / "see_through.png")
    image.convert("P").save(folder / "palette.gif")
    Image.fromarray((colors[:, :, 0].astype(np.uint16) << 4) + 300).save(folder / "sixteen_bits.png")
    image.save(folder / "wide.webp", lossless=True)
    return folder


@pytest.fixture
def all_kinds(tmp_path: Path) -> Path:
    return draw_all_kinds(tmp_path / "photos")


def taught(project: Project) -> Project:
    """Embedded, and all but the odd kinds answered by their folder."""
    for _ in embed(project, announce=silent):
        pass
    for image_id, name in truth(project).items():
        if name in project.classes:
            project.label(image_id, name)
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny: Path) -> Iterator[Project]:
    """For all tests that only look at it."""
    place = tmp_path_factory.mktemp("taught")
    settings = Settings(backbone=TINY, weights=str(tiny), held_out=0.4)
    with Project.create(place / "project", draw_all_kinds(place / "photos"), CLASSES, settings) as made:
        yield taught(made)


@pytest.fixture(scope="module")
def out(project: Project, tmp_path_factory) -> Path:
    """Where its model was written to."""
    folder = tmp_path_factory.mktemp("home") / "out"
    taken = export_model(project, folder, announce=silent)
    assert (taken.backbone, taken.classes, taken.compared) == (TINY, CLASSES, 8)
    assert taken.difference < TOLERANCE
    return folder


def of_labelloop(project: Project) -> dict[Path, np.ndarray]:
    """Probabilities of every image as labelloop itself has them."""
    model = model_in_charge(project, device="cpu", announce=silent)
    paths = [image.path for image in project.catalog.images().values()]
    features = model.backbone.embed([open_for(path, model.backbone.size) for path in paths])
    return dict(zip(paths, model.learned.head.predict_proba(features), strict=True))


def assert_same_answers(project: Project, out: Path) -> None:
    at_home = predict.Model(out, "cpu")
    assert tuple(at_home.classes) == project.classes
    expected = of_labelloop(project)
    assert len(expected) >= 16
    assert np.ptp([proba[0] for proba in expected.values()]) > 0.1  # it does tell images apart
    for path, proba in expected.items():
        assert at_home.probabilities(path).numpy() == pytest.approx(proba, abs=TOLERANCE), path.name


# -- what is written --------------------------------------------------------------------------------------------------


def test_probabilities_equal_those_of_labelloop_on_images_of_every_kind(project, out):
    assert_same_answers(project, out)
    names = {path.name for path in out.iterdir()}
    assert names == {"README.txt", "config.json", "images.py", "model.safetensors", "predict.py", "stages.py"}
    assert len({path.stat().st_mode for path in out.iterdir()}) == 1


def test_the_weights_are_those_of_the_backbone_under_the_names_of_timm(out, tiny):
    state, before = load_file(out / "model.safetensors"), load_file(tiny)
    assert state.pop("labelloop.weight").shape == (3, 1408)
    assert state.pop("labelloop.bias").shape == (3,)
    timm.create_model(TINY, num_classes=0).load_state_dict(state)  # strict
    assert all(torch.equal(state[key], before[key]) for key in state)


def test_a_class_without_labels_never_comes_out_and_leaves_no_infinity(project, out):
    assert load_file(out / "model.safetensors")["labelloop.bias"][2] == NEVER
    at_home = predict.Model(out, "cpu")
    assert at_home.probabilities(next(iter(of_labelloop(project))))[2] == 0
    assert json.loads((out / "config.json").read_text())["classes_without_labels"] == ["never"]


def test_a_class_that_was_merged_is_no_class_of_the_model(make_project, photos, tiny, tmp_path):
    project = make_project(photos, classes=("rde", "red", "blue"), backbone=TINY, weights=str(tiny), held_out=0.4)
    taught(project)
    project.label(1, "rde")
    project.merge_class("rde", "red")
    taken = export_model(project, tmp_path / "out", announce=silent)
    assert (taken.classes, taken.compared) == (("red", "blue"), 8)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["classes"], config["classes_without_labels"]) == (["red", "blue"], [])
    at_home = predict.Model(tmp_path / "out", "cpu")
    for path, proba in of_labelloop(project).items():
        assert at_home.probabilities(path).numpy() == pytest.approx(proba[1:], abs=TOLERANCE), path.name


def test_the_config_says_how_good_it_is_and_on_what_that_rests(make_project, photos, tiny, tmp_path):
    for k in range(40):
        draw(photos / "red" / f"more_{k}.png", (200 - k, 7, k))
    project = taught(make_project(photos, backbone=TINY, weights=str(tiny), held_out=0.5))
    export_model(project, tmp_path / "out", announce=silent)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    measured = model_in_charge(project, announce=silent).learned
    assert config["accuracy"] == {
        "held_out_answers": measured.exam.n,
        "right": measured.exam.correct,
        "value": measured.exam.value,
        "low": measured.exam.low,
        "high": measured.exam.high,
    }
    assert measured.exam.n + config["labels"] == 80
    assert config["backbone"] == TINY
    assert config["stages"] == {"3": 48, "4": 64}
    assert f"of {measured.exam.n} images that it was not trained on" in (tmp_path / "out" / "README.txt").read_text()


def test_too_few_held_out_answers_make_no_accuracy(make_project, photos, tiny, tmp_path):
    project = taught(make_project(photos, backbone=TINY, weights=str(tiny), held_out=0.1))
    export_model(project, tmp_path / "out", announce=silent)
    accuracy = json.loads((tmp_path / "out" / "config.json").read_text())["accuracy"]
    assert 0 < accuracy["held_out_answers"] < 20
    assert accuracy["value"] is None
    assert "How good it is, is not known" in (tmp_path / "out" / "README.txt").read_text()


def test_the_built_in_features_can_be_taken_home_too(make_project, all_kinds, tmp_path):
    project = taught(make_project(all_kinds, CLASSES, backbone="embedded"))
    export_model(project, tmp_path / "out", announce=silent)
    network = (tmp_path / "out" / "embedded.safetensors").read_bytes()
    assert network == embedded.NETWORK.read_bytes()
    assert_same_answers(project, tmp_path / "out")
    with pytest.raises(BadInput, match="ONNX holds networks, and the features of this project are the built-in ones"):
        pytest.importorskip("onnxruntime", reason="--onnx needs labelloop[onnx]")
        export_model(project, tmp_path / "other", onnx=True, announce=silent)


@pytest.mark.parametrize(("name", "options"), [(TINY, {}), ("test_vit", {"img_size": 96})])
def test_a_fine_tuned_model_in_charge_goes_with_its_own_weights_and_size(
    make_project, all_kinds, tmp_path, name, options
):
    first = random_weights(name, tmp_path / "first.safetensors")
    project = taught(make_project(all_kinds, CLASSES, backbone=name, weights=str(first)))
    trained = project.folder / "models" / "fine-tune-1" / "model.safetensors"
    random_weights(name, trained, 2, {"size": 96, "backbone": name}, **options)
    project.put_features_in_charge("fine-tune-1", name, "models/fine-tune-1/model.safetensors")
    for _ in embed(project, announce=silent):
        pass
    export_model(project, tmp_path / "out", announce=silent)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["preprocessing"]["input_size"] == [3, 96, 96]
    assert config["model_args"] == options
    state, wanted = load_file(tmp_path / "out" / "model.safetensors"), load_file(trained)
    kept = [key for key in state if not key.startswith("labelloop.")]
    assert all(torch.equal(state[key], wanted[key]) for key in kept)
    assert_same_answers(project, tmp_path / "out")


# -- the script -------------------------------------------------------------------------------------------------------


def test_the_script_prints_path_class_and_probability_without_labelloop(project, out, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    (photos,) = project.catalog.folders().values()
    without = (
        "import runpy, sys; sys.modules['labelloop'] = None; sys.argv = sys.argv[1:];"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    one = photos / "turned_6.jpg"
    arguments = [sys.executable, "-I", "-c", without, str(out / "predict.py"), str(photos), str(broken), str(one)]
    ran = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd="/")
    assert ran.returncode == 1  # for the one that is broken
    assert ran.stderr == f"image '{broken}': not an image (JPEG, PNG, WebP, BMP, GIF or TIFF)\n"
    lines = [line.split("\t") for line in ran.stdout.splitlines()]
    assert lines[-1][0] == str(one)
    expected = of_labelloop(project)
    assert {Path(path) for path, *_ in lines} == set(expected)
    for path, name, probability in lines:
        proba = expected[Path(path)]
        assert float(probability) == pytest.approx(proba.max(), abs=TOLERANCE)
        assert name == CLASSES[proba.argmax()]


@pytest.mark.parametrize(
    ("encoding", "name", "shown"),
    [("utf-8:strict", "caf\udce9.jpg", r"caf\udce9.jpg"), ("cp1252", "\u65e5.jpg", r"\u65e5.jpg")],
)
def test_the_script_goes_on_where_a_name_cannot_be_printed(project, out, tmp_path, encoding, name, shown):
    (photos,) = project.catalog.folders().values()
    for k in ("a", "z"):
        shutil.copy(photos / "turned_6.jpg", tmp_path / f"{k}.jpg")
    shutil.copy(photos / "turned_6.jpg", tmp_path / name)
    ran = subprocess.run(
        [sys.executable, str(out / "predict.py"), str(tmp_path)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    printed = [line.split("\t")[0] for line in ran.stdout.decode("ascii").splitlines()]
    assert sorted(printed) == sorted(str(tmp_path / each) for each in ("a.jpg", "z.jpg", shown))


def test_the_script_imports_only_what_torch_and_timm_bring():
    source = Path(predict.__file__).read_text()
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"timm", "torch", "torchvision", "safetensors"}


def test_a_module_that_needs_more_of_labelloop_cannot_be_taken_home(tmp_path):
    (tmp_path / "m.py").write_text("from labelloop.errors import BadInput\nfrom labelloop.types import Ints\n")
    with pytest.raises(AssertionError, match=r"m\.py needs more of labelloop"):
        alone(tmp_path / "m.py")


# -- what is refused --------------------------------------------------------------------------------------------------


def test_other_weights_in_the_folder_are_noticed(project, out, tmp_path):
    changed = shutil.copytree(out, tmp_path / "changed")
    state = load_file(out / "model.safetensors")
    state["labelloop.bias"][0] += 1
    save_file(state, changed / "model.safetensors")
    model = model_in_charge(project, announce=silent)
    paths = [image.path for image in project.catalog.images().values()][:2]
    with pytest.raises(LabelloopError, match="answers otherwise than labelloop: probabilities differ by"):
        _compare(changed, model, paths)


def test_weights_that_changed_since_are_refused(make_project, photos, tmp_path):
    weights = random_weights(TINY, tmp_path / "w" / f"{TINY}.safetensors")
    project = taught(make_project(photos, backbone=TINY, weights=str(weights)))
    random_weights(TINY, weights, seed=2)
    with pytest.raises(LabelloopError, match="cannot be used: made with weights"):
        export_model(project, tmp_path / "out", announce=silent)
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_taken_or_among_the_images_is_refused(project, tmp_path):
    (photos,) = project.catalog.folders().values()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    for place, why in ((tmp_path / "mine", "the folder is not empty"), (photos / "out", "inside the image folder")):
        with pytest.raises(BadInput, match=why):
            export_model(project, place, announce=silent)
    assert not (photos / "out").exists()


def test_without_labels_or_without_any_image_nothing_is_left_behind(make_project, photos, tiny, tmp_path):
    project = make_project(photos, backbone=TINY, weights=str(tiny))
    with pytest.raises(CannotTrain, match="no labels to learn from"):
        export_model(project, tmp_path / "out", announce=silent)
    taught(project)
    for path in photos.rglob("*.png"):
        path.unlink()
    with pytest.raises(BadInput, match="no image of this project can be read"):
        export_model(project, tmp_path / "out", announce=silent)
    assert [path.name for path in tmp_path.glob("out*")] == []


def test_a_backbone_without_a_plain_classifier_can_be_taken_home_as_well(make_project, photos, tmp_path):
    name = "efficientformerv2_s0"  # two classifiers, whose answers are averaged
    weights = random_weights(name, tmp_path / f"{name}.safetensors")
    project = taught(make_project(photos, CLASSES, backbone=name, weights=str(weights)))
    export_model(project, tmp_path / "out", announce=silent)
    assert_same_answers(project, tmp_path / "out")


def test_what_was_taken_home_can_be_the_weights_of_another_project(out, tiny):
    image = Image.new("RGB", (200, 200), (180, 60, 20))
    again, first = (load_backbone(TINY, path, device="cpu") for path in (out / "model.safetensors", tiny))
    assert again.embed([image]) == pytest.approx(first.embed([image]), abs=1e-6)


# -- ONNX -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [TINY, "test_vit"])
def test_onnx_gives_the_same_probabilities_for_any_number_of_images(make_project, photos, tmp_path, name):
    onnxruntime = pytest.importorskip("onnxruntime", reason="--onnx needs labelloop[onnx]")
    pytest.importorskip("onnxscript", reason="--onnx needs labelloop[onnx]")
    weights = random_weights(name, tmp_path / f"{name}.safetensors")
    project = taught(make_project(photos, CLASSES, backbone=name, weights=str(weights)))
    export_model(project, tmp_path / "out", onnx=True, announce=silent)
    at_home = predict.Model(tmp_path / "out", "cpu")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    expected = of_labelloop(project)
    for n in (1, 5):
        paths = list(expected)[:n]
        images = [open_for(path, at_home.config["open_for"]) for path in paths]
        prepared = np.stack([at_home.prepare(image).numpy() for image in images])
        (found,) = session.run(["probabilities"], {"images": prepared})
        assert found == pytest.approx(np.array([expected[path] for path in paths]), abs=TOLERANCE)


def test_onnx_without_its_packages_says_what_to_install(project, tmp_path, monkeypatch):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadInput, match=r"needs onnx and onnxscript and onnxruntime.*pip install 'labelloop\[onnx\]'"):
        export_model(project, tmp_path / "out", onnx=True, announce=silent)
    assert not (tmp_path / "out").exists()


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_says_how_good_the_model_is_and_that_it_was_compared(project, tmp_path):
    out = tmp_path / "out"
    ran = CliRunner().invoke(main, ["export", str(project.folder), str(out), "--model"], catch_exceptions=False)
    assert ran.exit_code == 0
    labels = learn(model_in_charge(project, announce=silent).board).labels
    first, second = ran.stdout.splitlines()
    assert first == f"The model ({TINY}, 3 classes, {labels} labels) is in {out}"
    assert second.startswith("Accuracy on held-out images: ")
    assert "equal labelloop's on 8 images" in ran.stderr


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "what is to be taken? Labels: --format csv or"),
        (["--onnx"], "--onnx is about the model"),
        (["--model", "--format", "csv"], "--format is about labels"),
        (["--model", "--class", "red"], "--class is about labels"),
        (["--model", "--no-flagged"], "--no-flagged is about labels"),
    ],
)
def test_the_command_refuses_what_does_not_go_together(make_project, photos, tmp_path, options, why):
    project = make_project(photos)
    ran = CliRunner().invoke(main, ["export", str(project.folder), str(tmp_path / "out"), *options])
    assert ran.exit_code == 1
    assert why in ran.stderr
    assert not (tmp_path / "out").exists()


# -- real weights -----------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "vit_tiny_patch16_224", "mobilenetv2_100"])
def test_published_weights_answer_alike_at_home(make_project, tmp_path, name):
    weights = SHARED / "weights" / f"{name}.safetensors"
    if not weights.exists():
        pytest.skip(f"{weights.name} is not in ../shared/weights")
    for path in sorted((Path(__file__).parents[1] / "sample_data" / "images").iterdir())[:16]:
        place = tmp_path / "cells" / ("red" if int(path.stat().st_size) % 2 else "blue") / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    project = taught(make_project(tmp_path / "cells", backbone=name, weights=str(weights)))
    export_model(project, tmp_path / "out", announce=silent)
    assert_same_answers(project, tmp_path / "out")
