"""Which answers are sure: the threshold by its definition, and the command from files to decisions."""

from __future__ import annotations

import csv
import io
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from labelloop import predicting
from labelloop.cli import main
from labelloop.metrics import wilson
from labelloop.predicting import ASK, SURE, Answered, Threshold, choose_threshold, csv_rows, fewest, predict_files
from labelloop.project import Project
from labelloop.worker import embed
from tests.conftest import draw, truth

# -- the threshold ----------------------------------------------------------------------------------------------------


def test_how_many_answers_a_promise_takes():
    assert (fewest(0.1), fewest(0.05), fewest(0.01)) == (35, 73, 381)
    assert wilson(0, 73)[1] <= 0.05 < wilson(0, 72)[1]
    assert fewest(1e-9) == 3_841_599_997
    for error in np.concatenate([np.linspace(0.001, 0.999, 999), np.geomspace(1e-3, 0.9, 100)]).tolist():
        assert fewest(error) == next(n for n in count(1) if wilson(0, n)[1] <= error), error


def test_all_right_and_enough_of_them_makes_every_answer_sure():
    found = choose_threshold(np.linspace(0.4, 0.9, 73), np.ones(73, bool), 0.05)
    assert (found.value, found.n, found.above, found.wrong) == (np.float32(0.4), 73, 73, 0)
    assert found.at_most <= 0.05


def test_one_answer_too_few_makes_none_sure():
    found = choose_threshold(np.linspace(0.4, 0.9, 72), np.ones(72, bool), 0.05)
    assert not found.is_found
    assert found.n == 72


def test_the_wrong_ones_below_are_left_below():
    probability = np.concatenate([np.full(100, 0.9), np.full(30, 0.6)])
    right = np.concatenate([np.ones(100, bool), np.zeros(30, bool)])
    found = choose_threshold(probability, right, 0.05)
    assert (found.value, found.above, found.wrong) == (np.float32(0.9), 100, 0)


def test_answers_that_are_equally_probable_stay_together():
    right = np.ones(100, bool)
    right[80:] = False  # all have 0.9: none of the right ones can be told from these
    assert not choose_threshold(np.full(100, 0.9), right, 0.05).is_found


def test_no_answers_and_only_wrong_ones():
    assert choose_threshold([], [], 0.05) == Threshold(np.inf, 0.05, 0)
    assert not choose_threshold(np.ones(500), np.zeros(500, bool), 0.2).is_found


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=60), st.sampled_from([0.1, 0.3, 0.5]))
def test_it_is_the_lowest_that_keeps_the_promise(answers, error):
    probability = np.array([step for step, _ in answers], np.float32) / 8
    right = np.array([is_right for _, is_right in answers], bool)
    keeping = [
        value
        for value in np.unique(probability)
        if wilson(int((~right[probability >= value]).sum()), int((probability >= value).sum()))[1] <= error
    ]
    assert choose_threshold(probability, right, error).value == min(keeping, default=np.inf)


def test_the_promise_is_kept_on_images_that_were_not_judged_by():
    """A model as sure as it says, 200 times: the true error among the sure ones is above the rate in few of them."""
    rng = np.random.default_rng(0)
    everything = rng.beta(8, 1, 100_000).astype(np.float32)
    broken = 0
    for _ in range(200):
        p = rng.beta(8, 1, 300).astype(np.float32)
        found = choose_threshold(p, rng.random(300) < p, 0.05)
        if found.is_found:
            broken += (1 - everything[everything >= found.value]).mean() > 0.05
    assert broken <= 10


def test_the_one_line_says_what_it_rests_on():
    found = Threshold(0.9, 0.05, 140, 97, 0)
    assert Answered(30, 10, found, 0).summary == (
        "30 of 40 images are sure (probability 0.9000 or more), 10 ask a person. Of 140 held-out answers 97 are so "
        "probable and 0 of those wrong: at most 3.8% by the 95 % interval, and 5% was allowed."
    )
    few, bad = Threshold(np.inf, 0.05, 40), Threshold(np.inf, 0.05, 100)
    assert Answered(0, 7, few, 33).summary == (
        "All 7 images ask a person: for at most 5% wrong it takes 73 held-out answers, were all of them right, and "
        "there are 40. Answer more of the exam, or allow more of them."
    )
    assert "too many of the 100 held-out answers are wrong" in Answered(0, 7, bad, 5).summary


def test_where_too_few_images_are_held_out_it_does_not_ask_for_more_answers():
    few = Threshold(np.inf, 0.05, 40)
    because = "only 72 images are held out, 40 of them answered. Adding images gives more, or allow more of them."
    assert Answered(0, 7, few, 32).summary.endswith(because)
    assert "only 40 images are held out, 40 of them answered" in Answered(0, 7, few, 0).summary


# -- the images -------------------------------------------------------------------------------------------------------


@pytest.fixture
def taught(make_project, photos) -> Project:
    """Eighty more photos; the exam is half of all and everything is answered. The built-in features."""
    for k in range(80):
        for name, color in (("red", (200 - k, 7, k)), ("blue", (k, 7, 200 - k))):
            draw(photos / name / f"more_{k}.png", color)
    project = make_project(photos, held_out=0.5, backbone="embedded")
    for _ in embed(project):
        pass
    for image_id, name in truth(project).items():
        project.label(image_id, name)
    return project


@pytest.fixture
def strangers(tmp_path) -> Path:
    """Five images of each color that are in no project, one in a folder, and a file that is no image."""
    for k in range(5):
        draw(tmp_path / "new" / f"r{k}.png", (190, 2 * k, 30 + k))
        draw(tmp_path / "new" / "deeper, still" / f"b{k}.png", (30 + k, 2 * k, 190))
    (tmp_path / "new" / "note.txt").write_text("not a picture")
    return tmp_path / "new"


def run(*arguments: object, code: int = 0):
    ran = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert ran.exit_code == code, ran.output
    return ran


def test_classes_of_images_that_are_in_no_project(taught, strangers, tmp_path):
    ran = run("predict", taught.folder, strangers, "--out", tmp_path / "new.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "new.csv").read_text(encoding="utf-8"))))
    assert list(rows[0]) == ["file", "class", "probability", "decision"]
    assert [row["file"] for row in rows] == [f"deeper, still/b{k}.png" for k in range(5)] + [
        f"r{k}.png" for k in range(5)
    ]
    assert [row["class"] for row in rows] == ["blue"] * 5 + ["red"] * 5
    assert {row["decision"] for row in rows} == {SURE}
    assert ran.stdout.startswith("10 of 10 images are sure (probability 0.")
    assert ran.stdout.count("\n") == 1
    assert "Files that cannot be used: 1\n" in ran.stderr
    assert "note.txt': not an image" in ran.stderr


def test_without_out_the_table_goes_to_stdout_and_the_words_do_not(taught, strangers):
    ran = run("predict", taught.folder, strangers)
    rows = list(csv.reader(io.StringIO(ran.stdout)))
    assert rows[0] == ["file", "class", "probability", "decision"]
    assert len(rows) == 11
    assert "10 of 10 images are sure" in ran.stderr


def test_too_few_held_out_answers_leave_all_to_a_person(taught, strangers):
    ran = run("predict", taught.folder, strangers, "--error", "0.001")
    decisions = [row["decision"] for row in csv.DictReader(io.StringIO(ran.stdout))]
    assert decisions == [ASK] * 10
    assert "All 10 images ask a person: for at most 0.1% wrong it takes 3838 held-out answers" in ran.stderr
    assert "Adding images gives more" in ran.stderr  # the exam is answered to the end


def test_probabilities_are_those_of_the_model_whatever_the_chunk(taught, strangers, monkeypatch):
    model = predicting.model_in_charge(taught)
    files = [path.name for path in sorted(strangers.glob("*.*"))]
    problems: list[str] = []
    progress: list[int] = []
    whole = list(predict_files(model, strangers, files, on_problem=problems.append))
    monkeypatch.setattr(predicting, "CHUNK", 2)
    parts = list(predict_files(model, strangers, files, on_problem=problems.append, progress=progress.append))
    assert parts == whole
    assert len(problems) == 2
    assert (progress[-1], len(files)) == (6, 6)
    exam = model.board.exam
    rows = list(csv_rows(whole, ("one", "two"), Threshold(np.inf, 0.05, len(exam))))
    assert {row[3] for row in rows} == {ASK}
    assert rows[0][1] == ("one", "two")[whole[0].class_index]


def test_a_probability_exactly_at_the_threshold_is_sure():
    found = [predicting.Prediction("a", 0, 0.75), predicting.Prediction("b", 0, 0.749)]
    assert [row[3] for row in csv_rows(found, ("x",), Threshold(0.75, 0.05, 100))] == [SURE, ASK]


def test_what_cannot_be_predicted_is_an_error_in_words_and_leaves_nothing(taught, strangers, tmp_path, make_project):
    out = tmp_path / "new.csv"
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    photos = next(iter(taught.catalog.folders().values()))
    for folder, place, why in (
        (tmp_path / "missing", out, "is missing: wanted a folder"),
        (tmp_path / "empty", out, "there are no files in"),
        (tmp_path / "texts", out, "there is no image in"),
        (strangers, photos / "new.csv", "lies inside the image folder"),
    ):
        ran = run("predict", taught.folder, folder, "--out", place, code=1)
        assert why in ran.stderr
        assert not place.exists()
    other = make_project(photos, name="other", backbone="embedded")
    assert "no labels to learn from" in run("predict", other.folder, strangers, "--out", out, code=1).stderr
    assert [path.name for path in tmp_path.glob("new.csv*")] == []
    run("predict", taught.folder, strangers, "--error", "0", code=2)


def test_where_no_image_can_be_read_it_is_said_why(taught, tmp_path):
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "leaf.jpg").write_bytes(b"no image")
    ran = CliRunner().invoke(main, ["predict", str(taught.folder), str(tmp_path / "others")])
    assert ran.exit_code == 1
    assert "Files that cannot be used: 1" in ran.stderr
    assert "leaf.jpg" in ran.stderr
    assert f"there is no image in {tmp_path / 'others'} that can be read" in ran.stderr


def test_without_the_file_of_the_fine_tuned_model_it_says_how_to_go_on(taught, strangers):
    taught.put_features_in_charge("fine-tune-1", "resnet18", "models/fine-tune-1/model.safetensors")
    said = run("predict", taught.folder, strangers, code=1).stderr
    assert f"again with: labelloop embed {taught.folder}" in said
    list(embed(taught))
    run("predict", taught.folder, strangers)


def test_a_stop_leaves_no_half_table_and_no_features(taught, strangers, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("labelloop.cli.taking.Bar.show", interrupted)
    ran = CliRunner().invoke(main, ["predict", str(taught.folder), str(strangers), "--out", str(tmp_path / "new.csv")])
    assert ran.exit_code == 1
    assert "Aborted!" in ran.stderr
    assert [path.name for path in tmp_path.glob("new.csv*")] == []
    assert list((tmp_path / "temporary").iterdir()) == []
