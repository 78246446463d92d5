import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from labelloop.backbone import load_backbone
from labelloop.errors import CannotTrain
from labelloop.images import open_upright
from labelloop.train import augment, on_device
from labelloop.train import finetune as module
from labelloop.train.augment import Augment, crop
from labelloop.train.finetune import finetune
from labelloop.train.head import Head, fit_head
from labelloop.train.on_device import OnDevice, fits, side
from labelloop.train.recipe import RATE, Recipe, batch_and_epochs
from labelloop.train.training import Training, _optimizer

SHARED = Path(__file__).parents[2] / "shared"
TINY = "test_efficientnet"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random ones, for images of 64 pixels."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(timm.create_model(TINY).state_dict(), path, {"labelloop": json.dumps({"size": 64})})
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """16 images of noise, finer in class 0 than in class 2; there is no image of class 1."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    y = np.array([0, 2] * 8)
    paths = [folder / f"{k}.png" for k in range(16)]
    for path, label in zip(paths, y, strict=True):
        side = 64 if label == 0 else 8
        image = Image.fromarray(rng.integers(0, 255, (side, side, 3), np.uint8))
        image.resize((64, 64), Image.Resampling.NEAREST).save(path)
    return paths, y


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(module, "batch_and_epochs", lambda n, on_cpu: (8, 3))


@pytest.fixture
def run(photos, weights, tmp_path, short):
    def start(out="out", **changes):
        paths, y = photos
        options = {"backbone": TINY, "weights": weights, "device": "cpu", **changes}
        return finetune(paths, y, 3, out=tmp_path / out, **options)

    return start


def own(backbone, paths):
    """What it is trained by."""
    return backbone.own([backbone.prepare(open_upright(path)) for path in paths])


def recipe(**changes):
    values = {"backbone": TINY, "weights": "", "labels": "", "n": 16, "n_classes": 3, "size": 64, "seed": 0}
    return Recipe(**{**values, "size_at_first": 48, "batch": 8, "epochs": 3, **changes})


def test_it_learns_reports_and_leaves_a_model_that_loads_as_a_backbone(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "batch_and_epochs", lambda n, on_cpu: (8, 10))
    knows_nothing = Head(np.zeros((3, 256), np.float32), np.array([0, -np.inf, 0], np.float32))
    monkeypatch.setattr(module, "_fit_on", lambda *about: knows_nothing)
    reports = list(run())
    losses = [report.loss for report in reports if report.loss is not None]
    assert len(losses) == 10
    assert losses[-1] < losses[0]
    assert [(r.epoch, r.step) for r in reports if r.loss is not None] == [(k, 2 * k) for k in range(1, 11)]
    assert (reports[0].step, reports[0].steps) == (0, 20)
    assert {report.size for report in reports} == {64}
    assert reports[-1].seconds_left == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.json", "model.safetensors"]
    assert json.loads((tmp_path / "out" / "model.json").read_text())["loss"] == losses[-1]

    tuned = load_backbone(TINY, tmp_path / "out" / "model.safetensors", device="cpu")
    state = load_file(tmp_path / "out" / "model.safetensors")
    head = Head(state["labelloop.weight"].numpy(), state["labelloop.bias"].numpy())
    proba = head.predict_proba(own(tuned, photos[0]))
    assert tuned.size == 64
    assert proba.argmax(axis=1).tolist() == photos[1].tolist()
    assert proba[:, 1].tolist() == [0] * 16


def test_before_the_first_step_the_predictions_are_those_of_the_head(photos, weights):
    paths, y = photos
    backbone = load_backbone(TINY, weights, device="cpu")
    head = fit_head(own(backbone, paths), y, 3)
    training = Training(recipe(), backbone, head)
    training._train_mode()
    batch = backbone.normalized([backbone.prepare(open_upright(path)) for path in paths])
    proba = torch.softmax(training.logits(batch), dim=1).detach().numpy()
    assert proba == pytest.approx(head.predict_proba(own(backbone, paths))[:, [0, 2]], abs=1e-4)


def test_batch_norm_statistics_stay_while_labels_are_few_and_all_other_layers_learn(run, weights, tmp_path):
    list(run())
    before, after = load_file(weights), load_file(tmp_path / "out" / "model.safetensors")
    same = {key for key in before if key in after and torch.equal(before[key], after[key])}
    assert same == {key for key in before if "running_" in key or "num_batches" in key}


def test_a_run_that_was_cut_short_goes_on_as_if_nothing_had_happened(run, tmp_path, monkeypatch):
    unbroken = list(run("unbroken"))
    broken = run("broken")
    while next(broken).epoch < 1:
        pass
    broken.close()
    assert not (tmp_path / "broken" / "model.json").exists()
    monkeypatch.setattr(module, "_fit_on", None)  # its head is in the checkpoint
    resumed = list(run("broken"))
    assert (resumed[0].epoch, resumed[0].step) == (1, 2)
    assert [r.loss for r in resumed if r.loss] == pytest.approx([r.loss for r in unbroken if r.loss][1:], abs=1e-4)
    a, b = (load_file(tmp_path / out / "model.safetensors") for out in ("unbroken", "broken"))
    assert max(float((a[key] - b[key]).abs().max()) for key in a if key != "labelloop.bias") < 1e-4


def test_a_finished_run_is_not_repeated_unless_the_labels_changed(run, photos, weights, tmp_path):
    list(run())
    (again,) = run()
    assert again.note == "it was complete already"
    assert again.epoch == 3
    paths, y = photos
    other = finetune(paths, 2 - y, 3, backbone=TINY, weights=weights, out=tmp_path / "out", device="cpu")
    assert next(other).epoch == 0
    assert not (tmp_path / "out" / "model.json").exists()


def test_a_checkpoint_of_other_labels_or_an_unwanted_one_is_not_used(run, tmp_path):
    first = run()
    while next(first).epoch < 1:
        pass
    first.close()
    assert next(run(seed=1)).epoch == 0
    assert next(run(resume=False)).epoch == 0
    assert next(run()).epoch == 1


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: bytes(len(b)), lambda b: b[: len(b) // 2]])
def test_a_damaged_checkpoint_or_result_counts_as_none_and_is_told(run, tmp_path, damage):
    first = run()
    while next(first).epoch < 1:
        pass
    first.close()
    path = tmp_path / "out" / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    again = next(run())
    assert (again.epoch, again.note) == (0, "the checkpoint could not be read: it starts anew")
    assert list(run())[-1].epoch == 3
    path = tmp_path / "out" / "model.json"
    path.write_bytes(damage(path.read_bytes()))
    assert next(run()).epoch == 0


def test_a_checkpoint_of_another_network_counts_as_none(run, tmp_path):
    first = run()
    while next(first).epoch < 1:
        pass
    first.close()
    path = tmp_path / "out" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    state["model"]["conv_stem.weight"] = state["model"]["conv_stem.weight"][:, :2]  # as an update of timm may do
    torch.save(state, path)
    again = next(run())
    assert again.epoch == 0
    assert again.note == "the checkpoint is of other labels, weights or another machine: it starts anew"


def test_what_is_complete_is_on_disk_before_it_gets_its_name(run, tmp_path, monkeypatch):
    synced, sync = set(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synced.add(os.fstat(file).st_ino) or sync(file))
    for report in run():
        if report.epoch == 1:
            assert (tmp_path / "out" / "checkpoint.pt").stat().st_ino in synced
    assert {path.stat().st_ino for path in (tmp_path / "out").iterdir()} <= synced


def test_stop_ends_it_between_two_batches(run, tmp_path):
    calls = itertools.count()
    reports = list(run(stop=lambda: next(calls) >= 5))  # 2 while the head is fitted, 3 batches
    assert reports[-1].epoch == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint.pt"]


class Small(torch.nn.Module):
    """A network that has memory for three images at a time."""

    def __init__(self, network, error):
        super().__init__()
        self.network, self.error = network, error

    def forward(self, images):
        if len(images) > 3:
            raise self.error
        return self.network(images)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), RuntimeError("MPS backend out of memory (MPS allocated")])
def test_out_of_memory_the_step_is_the_same_in_smaller_parts(photos, weights, error):
    paths, y = photos
    results = []
    for limited in (False, True):
        backbone = load_backbone(TINY, weights, device="cpu")
        training = Training(recipe(), backbone, fit_head(own(backbone, paths), y, 3))
        if limited:
            training.model = Small(training.model, error)
        batch = backbone.normalized([backbone.prepare(open_upright(path)) for path in paths[:8]])
        loss = training.step(batch, np.array([0, 1] * 4), 1)
        results.append((loss, training.head.weight.detach(), training.parts, training.take_note()))
    (loss, weight, *_), (loss_in_parts, weight_in_parts, parts, note) = results
    assert loss_in_parts == pytest.approx(loss, abs=1e-5)
    assert weight_in_parts.numpy() == pytest.approx(weight.numpy(), abs=1e-5)
    assert parts == 4
    assert "in 4 parts" in note


@pytest.mark.parametrize(
    ("n", "y", "backbone", "complaint"),
    [
        (16, [0, 1] * 8, "embedded", "nothing to fine-tune; choose a timm backbone"),
        (16, [1] * 16, TINY, "16 labels of 1 classes"),
        (4, [0, 1] * 2, TINY, "4 labels of 2 classes; fine-tuning needs at least 10"),
        (0, [], TINY, "0 labels"),
    ],
)
def test_where_there_is_nothing_to_learn_it_says_so(n, y, backbone, complaint, tmp_path):
    with pytest.raises(CannotTrain, match=complaint):
        next(finetune([Path("a.png")] * n, y, 3, backbone=backbone, weights=None, out=tmp_path))


def test_the_rate_goes_up_and_down_once():
    one = recipe(n=160, epochs=5)  # 100 steps
    rates = [one.rate(step) for step in range(one.steps)]
    assert rates.index(max(rates)) in (14, 15)
    assert max(rates) == RATE
    assert rates[:15] == sorted(rates[:15])
    assert rates[15:] == sorted(rates[15:], reverse=True)
    assert rates[-1] < RATE / 1000


def test_images_are_smaller_in_the_first_half_of_the_epochs_and_never_in_the_last():
    assert [recipe(epochs=5).size_in(epoch) for epoch in range(5)] == [48, 48, 64, 64, 64]
    assert recipe(epochs=1).size_in(0) == 64


def test_layers_near_the_image_that_would_hardly_learn_stay_as_they_are():
    network = timm.create_model("mobilenetv2_100", num_classes=0)
    optimizer = _optimizer(network, torch.nn.Linear(1280, 3))
    learns = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert "conv_head.weight" in learns
    assert "blocks.6.0.conv_pw.weight" in learns
    assert "conv_stem.weight" not in learns
    assert min(group["lr_scale"] for group in optimizer.param_groups) >= 0.1
    given = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    assert {id(weight) for name, weight in network.named_parameters() if name in learns} < given


def test_the_length_follows_from_the_number_of_labels():
    assert [batch_and_epochs(n, True) for n in (10, 200, 5000)] == [(16, 20), (16, 12), (16, 3)]
    assert [batch_and_epochs(n, False) for n in (10, 1000, 50_000)] == [(32, 30), (32, 20), (32, 8)]


def test_training_images_are_all_there_and_the_same_for_the_same_seed(photos):
    paths, _ = photos
    config = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    with ThreadPoolExecutor(2) as threads:
        first = list(Augment(paths, config, 32, seed=0).batches(0, 3, threads))
        again = list(Augment(paths, config, 32, seed=0).batches(0, 3, threads))
    assert [len(rows) for _, rows in first] == [6, 5, 5]
    assert sorted(np.concatenate([rows for _, rows in first]).tolist()) == list(range(16))
    assert first[0][0].shape == (6, 3, 32, 32)
    assert -1 <= first[0][0].min() < first[0][0].max() <= 1
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))
    assert Augment(paths, config, 32, seed=0).image(0, 0, 16).shape == (3, 16, 16)
    other = Augment(paths, config, 32, seed=0).image(1, 0)
    assert not torch.equal(other, Augment(paths, config, 32, seed=0).image(0, 0))


@pytest.mark.parametrize("flipped", [0.0, 1.0])
def test_images_kept_on_the_device_are_changed_as_pillow_changes_them(tmp_path, monkeypatch, flipped):
    for page in (augment, on_device):
        monkeypatch.setattr(page, "FLIPPED", flipped)
    config, size = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}, 48
    across, down = np.meshgrid(np.linspace(0, 1, 150), np.linspace(0, 1, 100))
    paths = []
    for k in range(6):  # smooth, so that how they are resampled makes no difference
        waves = [np.sin(7 * across + k), np.cos(9 * down * across), np.sin(5 * down - k)]
        pixels = np.stack([127 + 120 * wave for wave in waves], axis=2).astype(np.uint8)
        paths.append(tmp_path / f"{k}.png")
        Image.fromarray(pixels).save(paths[-1])
    kept = OnDevice(paths, config, size, 3, torch.device("cpu"))
    pillow = Augment(paths, config, size, 3)
    with ThreadPoolExecutor(2) as threads:
        for epoch in (0, 1):
            for images, rows in kept.batches(epoch, 2, threads):
                expected = torch.stack([pillow.image(epoch, int(row)) for row in rows])
                assert images.shape == (3, 3, size, size)
                assert (images - expected).abs().mean() < 0.03  # a hundredth of what there is from black to white
            assert (images - torch.stack([pillow.image(epoch + 1, int(row)) for row in rows])).abs().mean() > 0.1
            for path in paths:  # in the second epoch nothing is opened
                path.unlink(missing_ok=True)


def test_images_are_kept_on_a_device_where_they_fit():
    assert side(224) == 290
    assert fits(8000, 224)
    assert not fits(9000, 224)


def test_a_crop_lies_inside_and_keeps_most_of_the_image():
    rng = np.random.default_rng(0)
    for _ in range(500):
        left, top, right, bottom = crop(300, 20, rng)
        assert 0 <= left < right <= 300
        assert 0 <= top < bottom <= 20
        assert (right - left) * (bottom - top) >= 0.5 * 6000


@pytest.mark.real
def test_published_weights_are_trained_at_a_smaller_size_on_a_cpu(photos, tmp_path, monkeypatch):
    path = SHARED / "weights" / "tf_efficientnet_lite0.safetensors"
    if not path.exists():
        pytest.skip("tf_efficientnet_lite0.safetensors is not in ../shared/weights")
    monkeypatch.setattr(module, "batch_and_epochs", lambda n, on_cpu: (8, 1))
    name = "tf_efficientnet_lite0"
    *_, last = finetune(*photos, 3, backbone=name, weights=path, out=tmp_path, device="cpu")
    assert last.size == 160
    assert load_backbone(name, tmp_path / "model.safetensors", device="cpu").size == 160
