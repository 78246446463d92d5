"""Every command, and every error in words. A dozen small pictures of two colours, the built-in features."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import labelloop
from labelloop import worker
from labelloop.cli import Commands, main, terminal
from labelloop.cli.making import nothing_left_on_error
from labelloop.cli.options import user
from labelloop.cli.terminal import Bar, duration, have_done, progress_line
from labelloop.project import Measured, Project
from labelloop.project.jobs import Jobs
from labelloop.types import Event

RED, GREEN = (200, 40, 40), (40, 160, 60)


def run(*arguments: object, ok: bool = True) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == (0 if ok else 1), result.output
    return result


def error(*arguments: object) -> str:
    result = run(*arguments, ok=False)
    assert result.stdout == ""
    return result.stderr


def as_json(*arguments: object) -> object:
    return json.loads(run(*arguments, "--json").stdout)


def draw(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    noise = np.random.default_rng(seed).integers(-30, 30, (24, 32, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """red/0.png … red/5.png and green/6.png … green/11.png; the worker finds this very package."""
    monkeypatch.setenv("PYTHONPATH", str(Path(labelloop.__file__).parent.parent))
    folder = tmp_path / "photos"
    for seed in range(12):
        name, colour = (("red", RED), ("green", GREEN))[seed // 6]
        draw(folder / name / f"{seed}.png", colour, seed)
    return folder


@pytest.fixture
def project(photos, tmp_path) -> Path:
    folder = tmp_path / "project"
    run("init", folder, photos, "--classes", "red,green", "--backbone", "embedded")
    return folder


@pytest.fixture
def with_an_exam(photos, tmp_path) -> Path:
    """A project with more than twenty held-out answers, embedded, without a model."""
    for seed in range(100, 180):
        name, colour = (("red", RED), ("green", GREEN))[seed % 2]
        draw(photos / name / f"{seed}.png", colour, seed)
    options = ("--labels-from-folders", "--held-out", "0.5", "--backbone", "embedded")
    run("init", tmp_path / "p", photos, *options)
    embed_here(tmp_path / "p")
    return tmp_path / "p"


def label_all(project: Path, photos: Path) -> None:
    with Project(project) as opened:
        for path in sorted(photos.rglob("*.png")):
            opened.label(path, path.parent.name, by="anna")


def embed_here(project: Path) -> None:
    """What the command embed does, without a process of its own."""
    with Project(project) as opened:
        list(worker.embed(opened, announce=print, stop=lambda: False))


# -- classes -----------------------------------------------------------------------------------------------------------


def test_classes_are_listed_added_and_renamed(photos, tmp_path):
    run("init", tmp_path / "p", photos, "--classes", "red,bleu", "--backbone", "embedded")
    run("label", tmp_path / "p", sorted(photos.rglob("*.png"))[0], "bleu")
    assert run("classes", tmp_path / "p").stdout == "     0  red\n     1  bleu\n"
    changed = run("classes", tmp_path / "p", "--rename", "bleu", "blue", "--add", "green", "--json")
    assert json.loads(changed.stdout) == {"red": 0, "blue": 1, "green": 0}
    assert "there is no class 'bleu'. The classes are: red, blue, green" in error(
        "classes", tmp_path / "p", "--rename", "bleu", "x"
    )


# -- init and add ------------------------------------------------------------------------------------------------------


def test_init_says_what_it_found_and_with_what_it_works(photos, tmp_path):
    (photos / "notes.txt").write_text("hello")
    result = run("init", tmp_path / "p", photos, "--classes", "red, green", "--backbone", "embedded")
    assert "Images: 12, new: 12\n" in result.stderr
    assert "Files that cannot be used: 1\n  notes.txt: " in result.stderr
    assert "Classes: red, green\n" in result.stderr
    assert "Backbone: embedded (" in result.stderr
    assert result.stdout == f"{tmp_path / 'p'} is ready. Label with: labelloop app {tmp_path / 'p'}\n"
    assert as_json("status", tmp_path / "p")["labels"] == {"red": 0, "green": 0}


@pytest.mark.parametrize(("option", "wanted"), [("--no-fine-tunes", False), ("--fine-tunes", True), (None, True)])
def test_init_can_switch_off_that_fine_tuning_begins_by_itself(photos, tmp_path, option, wanted):
    run(
        "init", tmp_path / "p", photos, "--classes", "red,blue", "--backbone", "embedded", *([option] if option else [])
    )
    with Project(tmp_path / "p") as made:
        assert made.settings.fine_tunes is wanted


def test_init_lists_ten_problems_or_all(photos, tmp_path):
    for number in range(13):
        (photos / f"{number:02}.txt").write_text("no image")
    arguments = ("--classes", "a,b", "--backbone", "embedded")
    short = run("init", tmp_path / "p", photos, *arguments).stderr
    assert "  09.txt: " in short
    assert "  10.txt: " not in short
    assert "… and 3 others; --verbose lists all" in short
    everything = run("init", tmp_path / "q", photos, *arguments, "--verbose").stderr
    assert "  12.txt: " in everything
    assert "others" not in everything


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--classes", "red"], "only one class, 'red'"),
        (["--classes", "red,Red"], "'red' and 'Red' are the same"),
        (["--classes", "red,,green"], "class 2 of 3 has an empty name"),
        ([], "which classes are there?"),
        (["--classes", "a,b", "--held-out", "0.95"], "held-out share is 0.95"),
        (["--classes", "a,b", "--weights", "w.safetensors"], "the built-in features take no weights"),
    ],
)
def test_init_refuses_in_words_and_leaves_nothing(photos, tmp_path, options, words):
    said = error("init", tmp_path / "p", photos, "--backbone", "embedded", *options)
    assert said.startswith("Error: ")
    assert words in said
    assert not (tmp_path / "p").exists()


def test_init_without_a_readable_image_leaves_nothing(tmp_path):
    arguments = ("--classes", "a,b", "--backbone", "embedded")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there is no image in" in error("init", tmp_path / "p", empty, *arguments)
    (empty / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    said = error("init", tmp_path / "p", empty, *arguments)
    assert "broken.jpg: " in said
    assert "the project was not made" in said
    assert "there is nothing there" in error("init", tmp_path / "p", tmp_path / "nowhere", *arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_init_keeps_its_hands_off_a_folder_in_use(photos, tmp_path):
    used = tmp_path / "used"
    used.mkdir()
    (used / "project.db").write_text("mine")
    assert "not empty" in error("init", used, photos, "--classes", "a,b", "--backbone", "embedded")
    assert (used / "project.db").read_text() == "mine"


def test_init_in_an_empty_folder_leaves_it_empty_on_error(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "photos").mkdir()
    error("init", tmp_path / "p", tmp_path / "photos", "--classes", "a,b", "--backbone", "embedded")
    assert list((tmp_path / "p").iterdir()) == []


def test_ctrl_c_leaves_no_half_made_project(photos, tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        nothing_left_on_error(tmp_path / "p"),
        Project.create(tmp_path / "p", photos, ["a", "b"]) as made,
    ):
        next(made.catalog.scan())
        raise KeyboardInterrupt
    assert not (tmp_path / "p").exists()


def test_labels_from_folders(photos, tmp_path):
    draw(photos / "loose.png", RED, 99)
    torn = (photos / "red" / "0.png").read_bytes()
    (photos / "green" / "copy.png").write_bytes(torn)
    said = run("init", tmp_path / "p", photos, "--labels-from-folders", "--backbone", "embedded", "--by", "anna").stderr
    assert "Labels from folder names: 11" in said
    assert "lies in folders of several classes (green, red) and got no label" in said
    assert as_json("status", tmp_path / "p")["labels"] == {"green": 6, "red": 5}
    assert {(event["by"], event["source"]) for event in as_json("log", tmp_path / "p")} == {("anna", "import")}


def test_labels_from_folders_with_given_classes(photos, tmp_path):
    said = run(
        "init", tmp_path / "p", photos, "--labels-from-folders", "--classes", "Red,blue", "--backbone", "embedded"
    ).stderr
    assert "called like no class and gave no labels: green" in said
    assert as_json("status", tmp_path / "p")["labels"] == {"Red": 6, "blue": 0}


def test_labels_from_a_single_folder_are_refused(photos, tmp_path):
    said = error("init", tmp_path / "p", photos / "red", "--labels-from-folders", "--backbone", "embedded")
    assert "the images lie in no folders; wanted at least two" in said
    assert not (tmp_path / "p").exists()


def test_add_rescans_and_takes_another_folder(project, photos, tmp_path):
    draw(photos / "red" / "new.png", RED, 50)
    (photos / "red" / "1.png").unlink()
    assert "Images: 13, new: 1; gone: 1\n" in run("add", project).stderr
    draw(tmp_path / "more" / "x.png", GREEN, 51)
    assert "Images: 14, new: 1; gone: 1\n" in run("add", project, tmp_path / "more").stderr
    assert "should be a folder of images" in error("add", project, tmp_path / "nowhere")
    assert "is not a labelloop project" in error("add", tmp_path)


# -- the loop on the command line --------------------------------------------------------------------------------------


def test_the_whole_loop(project, photos, tmp_path):
    embedded = run("embed", project)
    assert embedded.stdout == "12 of 12 images are embedded.\n"
    assert re.search(r"^got to know 12 images, [\d,]+\.\d images/s$", embedded.stderr, re.M)
    batch = as_json("next", project, "-n", 4)
    assert len(batch) == 4
    assert set(batch[0]) == {
        *("id", "file", "strategy", "score", "reason", "suggestion", "probability", "held_out", "round")
    }
    for path in sorted(photos.rglob("*.png")):
        run("label", project, path, path.parent.name, "--by", "anna")
    train = run("train", project).stdout
    assert "Accuracy on held-out images: not enough yet (" in train
    found = as_json("status", project)
    assert (found["images"], found["embedded"], found["labeled"], found["round"]) == (12, 12, 12, 1)
    assert found["labels"] == {"red": 6, "green": 6}
    assert found["model"]["labels"] == 12 - found["held_out_images"]
    assert found["model"]["kind"] == "head"
    assert found["worker"]["state"] == "done"

    first, again = tmp_path / "labels.csv", tmp_path / "again.csv"
    exported = run("export", project, first, "--format", "csv")
    assert exported.stdout == f"12 labels written to {first}\n"
    assert "12 labels: green 6, red 6" in exported.stderr
    run("init", tmp_path / "second", photos, "--classes", "green,red", "--backbone", "embedded")
    assert (
        "12 labels imported, 0 of them in place of another; 0 known"
        in run("import", tmp_path / "second", first, "--format", "csv").stdout
    )
    run("export", tmp_path / "second", again, "--format", "csv")
    assert sorted(again.read_bytes().splitlines()) == sorted(first.read_bytes().splitlines())


def test_next_before_embedding_says_what_to_do(project):
    assert f"no image is embedded yet. Do it with: labelloop embed {project}" in error("next", project)


def test_next_says_when_nothing_is_left(project):
    embed_here(project)
    with Project(project) as opened:
        for image in opened.catalog.images():
            opened.unsure(image)
    assert run("next", project).stderr == "Nothing to label: all is answered, or the strategy offers none.\n"


def test_next_in_words_and_with_a_strategy(project):
    embed_here(project)
    lines = run("next", project, "-n", 3, "--strategy", "random").stdout.splitlines()
    assert len(lines) == 3
    assert all(Path(line.split("\t")[0]).is_file() and line.split("\t")[1] for line in lines)
    assert "did you mean 'margin'?" in error("next", project, "--strategy", "margni")


def test_next_says_that_a_strategy_of_its_own_has_a_name_that_is_taken(project):
    embed_here(project)
    with Project(project) as opened:
        own = opened.folder / "strategies"
    own.mkdir(exist_ok=True)
    (own / "mine.py").write_text(
        "from labelloop import strategy\n\n\n@strategy\ndef margin(pool, n, rng):\n    raise RuntimeError\n"
    )
    done = run("next", project, "-n", 5, "--strategy", "margin")
    assert len(done.stdout.splitlines()) == 5
    assert "mine.py" in done.stderr


def test_next_with_settings_of_its_strategy(project, photos):
    embed_here(project)
    label_all(project, photos)
    for _ in range(3):
        run("undo", project)

    def settings_logged(*options):
        run("next", project, *options)
        with contextlib.closing(sqlite3.connect(project / "project.db")) as database:
            return json.loads(database.execute("SELECT settings FROM rounds ORDER BY id DESC").fetchone()[0])

    assert settings_logged("--strategy", "power_margin", "--set", "power=2") == {"power": 2.0}
    assert settings_logged("--strategy", "power_margin") == {}
    with Project(project) as opened:
        opened.change_settings(strategy="spread_over_groups", strategy_settings={"pattern": "red|green"})
    assert settings_logged() == {"pattern": "red|green"}
    assert settings_logged("--set", "pattern=png") == {"pattern": "png"}
    said = error("next", project, "--strategy", "margin", "--set", "power=2")
    assert "--set power=2: there is no setting 'power'. Of settings margin has none" in said


def test_next_says_when_fewer_are_left_than_asked_for(project):
    embed_here(project)
    said = run("next", project, "-n", 20)
    assert said.stderr == "12 of the 20 images asked for are left.\n"
    assert said.stdout.count("\n") == 12
    said = run("next", project, "-n", 20, "--json")
    assert said.stderr == "12 of the 20 images asked for are left.\n"
    assert len(json.loads(said.stdout)) == 12
    assert run("next", project, "-n", 12).stderr == ""


def test_embedding_twice_goes_on_where_it_was(project, photos):
    embed_here(project)
    draw(photos / "red" / "new.png", RED, 50)
    assert run("embed", project).stdout == "13 of 13 images are embedded.\n"


def test_label_says_what_it_did(project, photos):
    file = photos / "red" / "0.png"
    assert run("label", project, file, "green").stdout == "1: red/0.png is green (was: not labeled)\n"
    assert run("label", project, "red/0.png", "RED").stdout == "2: red/0.png is red (was: green)\n"
    assert "there is no class 'blue'. The classes are: red, green" in error("label", project, file, "blue")
    assert "is not an image of this project" in error("label", project, photos / "no.png", "red")


def test_after_two_files_were_swapped_neither_answers_nor_exports_go_to_the_wrong_one(project, photos, tmp_path):
    red, green = photos / "red" / "0.png", photos / "green" / "6.png"
    run("label", project, red, "red")
    red.rename(tmp_path / "0.png"), green.rename(red), (tmp_path / "0.png").rename(green)
    assert "red/0.png was changed since it was scanned; look at it again" in error("label", project, red, "green")
    assert "changed since it was labeled" in error("export", project, tmp_path / "out", "--format", "imagefolder")
    assert not (tmp_path / "out").exists()
    run("add", project)
    run("label", project, red, "green")
    run("export", project, tmp_path / "out", "--format", "imagefolder")
    pictures = {path.parent.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    assert pictures == {"red": green.read_bytes(), "green": red.read_bytes()}


def test_a_command_goes_on_waiting_for_a_worker_that_slept_with_the_computer(project, monkeypatch):
    with Project(project) as opened:
        job_id, _ = opened.jobs.ask("embed")
        opened.jobs.report(job_id, state="running", done=3, total=12)

        def a_minute(_: float) -> None:
            with opened.db.atomic():
                opened.db.conn.execute("UPDATE jobs SET heartbeat = heartbeat - 60")

        monkeypatch.setattr(terminal.time, "sleep", a_minute)
        opened.jobs = Jobs(lambda: opened.db, lambda _: opened.jobs.report(job_id, state="done", done=12))
        job = have_done(opened, "embed")
    assert (job.id, job.state, job.done) == (job_id, "done", 12)


def test_train_without_labels_is_an_error_in_words(project, photos):
    embed_here(project)
    assert "there are no labels to learn from yet" in error("train", project)


def test_enough_held_out_answers_give_an_accuracy_with_its_interval(with_an_exam):
    said = run("train", with_an_exam).stdout
    assert "Accuracy on held-out images: 100% (95 % interval " in said
    exam = as_json("status", with_an_exam)["held_out"]
    assert exam["enough"]
    assert exam["accuracy"] == 1.0
    assert exam["n"] >= 20
    assert exam["low"] < 0.95 < exam["high"]


# -- looking at it -----------------------------------------------------------------------------------------------------


def test_status_of_a_new_project(project):
    found = as_json("status", project)
    held_out = found.pop("held_out_images")
    assert 0 <= held_out < 12
    assert found == {
        "images": 12,
        "unreadable": 0,
        "gone": 0,
        "embedded": 0,
        "labels": {"red": 0, "green": 0},
        "labeled": 0,
        "unsure": 0,
        "skipped": 0,
        "held_out": {"n": 0, "answered": 0, "accuracy": None, "low": None, "high": None, "enough": False},
        "model": None,
        "worker": None,
        "backbone": "embedded",
        "strategy": "auto",
        "round": 0,
    }
    words = run("status", project).stdout
    assert "labels      0: red 0, green 0\n" in words
    assert f"not enough yet (0 of 20 are answered); only {held_out} images are held out, adding images gives" in words
    assert "model       none yet\n" in words


def accuracy_shown(project: Path) -> str:
    lines = run("status", project).stdout.splitlines()
    return next(line.removeprefix("accuracy").strip() for line in lines if line.startswith("accuracy"))


def test_status_counts_held_out_answers_that_no_model_was_asked_about(with_an_exam):
    exam = as_json("status", with_an_exam)["held_out"]
    assert (exam["n"], exam["accuracy"], exam["enough"]) == (0, None, False)
    said = f"{exam['answered']} are answered; `labelloop train PROJECT` says how good the model is"
    assert exam["answered"] >= 20
    assert accuracy_shown(with_an_exam).startswith(said)


def test_status_says_of_when_an_accuracy_is_once_held_out_answers_are_others(with_an_exam):
    run("train", with_an_exam)
    before = as_json("status", with_an_exam)
    n = before["held_out"]["n"]
    assert before["held_out"]["answered"] == n
    assert f"n = {n}); {n} images are held out" in accuracy_shown(with_an_exam)
    with Project(with_an_exam) as opened:
        held_out, _ = opened.catalog.flags()
        exam = [answer for answer in opened.log.answers() if held_out[answer.image_id - 1]]
        opened.log.append([Event(image_id=answer.image_id, kind="undo", undoes=answer.id) for answer in exam])
    after = as_json("status", with_an_exam)["held_out"]
    assert (after["n"], after["answered"]) == (n, 0)
    said = f"n = {n}) as of {before['model']['at']}: {n} answers then, 0 now; "
    assert said in accuracy_shown(with_an_exam)


def test_status_shows_nothing_of_a_model_whose_features_are_not_in_charge(with_an_exam):
    run("train", with_an_exam)
    own = as_json("status", with_an_exam)
    with Project(with_an_exam) as opened:
        lost = Measured(kind="fine-tune", features="fine-tune-1", labels=40, exam_n=30, exam_correct=15, seconds=1)
        opened.rounds.add_model(lost)
    assert as_json("status", with_an_exam) == own


def test_status_where_there_is_no_project(tmp_path):
    assert error("status", tmp_path / "nothing").startswith("Error: ")


def test_the_log_newest_first_and_of_one_image(project, photos):
    one, two = photos / "red" / "0.png", photos / "red" / "1.png"
    for file, name in ((one, "red"), (two, "green"), (one, "green")):
        run("label", project, file, name, "--by", "anna")
    rows = as_json("log", project, "-n", 2)
    assert [(row["id"], row["file"], row["class"], row["by"]) for row in rows] == [
        (3, str(one), "green", "anna"),
        (2, str(two), "green", "anna"),
    ]
    assert [row["id"] for row in as_json("log", project, one)] == [3, 1]
    assert [row["id"] for row in as_json("log", project, one, "-n", 1)] == [3]
    line = run("log", project, "-n", 1).stdout
    assert line.split() == ["3", rows[0]["at"], "anna", str(one), "green", "human"]


def test_undo_takes_back_the_newest_answer(project, photos):
    file = photos / "red" / "0.png"
    run("label", project, file, "red", "--by", "anna")
    run("label", project, file, "green", "--by", "ben")
    assert run("undo", project).stdout == "Took back 2: red/0.png was green, now it is red\n"
    assert run("undo", project).stdout == "Took back 1: red/0.png was red, now it is not labeled\n"
    assert "there is nothing to undo: no answers yet" in error("undo", project)
    assert "undo of 1" in run("log", project).stdout


def test_undo_of_one_person_or_one_event(project, photos):
    for number, by in enumerate(("anna", "ben", "anna")):
        run("label", project, photos / "red" / f"{number}.png", "red", "--by", by)
    assert run("undo", project, "--by", "ben").stdout.startswith("Took back 2: red/1.png")
    assert "no answers by 'ben'" in error("undo", project, "--by", "ben")
    assert run("undo", project, 1).stdout.startswith("Took back 1: red/0.png")
    assert "event 1 was taken back already" in error("undo", project, 1)
    assert "event 4 is no answer but 'undo'" in error("undo", project, 4)
    assert "the log has no event 99" in error("undo", project, 99)


# -- out and in --------------------------------------------------------------------------------------------------------


def test_export_filters_and_says_what_is_left_out(project, photos, tmp_path):
    label_all(project, photos)
    with Project(project) as opened:
        opened.log.append([Event(image_id=1, kind="skip"), Event(image_id=2, kind="flag")])
        opened.label(3, "red", source="import")
    out = tmp_path / "out.jsonl"
    result = run("export", project, out, "--format", "jsonl", "--no-flagged", "--source", "human")
    assert "Left out: 1 answered with skip or unsure" in result.stderr
    assert result.stdout == f"9 labels written to {out}\n"
    run("export", project, tmp_path / "red.csv", "--format", "csv", "--class", "RED")
    labels = {line.split(",")[1] for line in (tmp_path / "red.csv").read_text().splitlines()[1:]}
    assert labels == {"red"}


def test_export_of_folders_by_link(project, photos, tmp_path):
    label_all(project, photos)
    run("export", project, tmp_path / "out", "--format", "imagefolder", "--link", "symlink")
    linked = [path for path in (tmp_path / "out").rglob("*.png") if path.is_symlink()]
    assert len(linked) == 12
    assert "is for imagefolder" in error("export", project, tmp_path / "o.csv", "--format", "csv", "--link", "copy")


def test_export_refuses_in_words(project, photos, tmp_path):
    assert "nothing to export" in error("export", project, tmp_path / "a.csv", "--format", "csv")
    label_all(project, photos)
    assert "lies inside the image folder" in error("export", project, photos / "a.csv", "--format", "csv")
    assert "there is no class 'blue'" in error(
        "export", project, tmp_path / "a.csv", "--format", "csv", "--class", "blue"
    )
    assert not (tmp_path / "a.csv").exists()


def test_classes_are_merged_and_taken_apart(photos, tmp_path):
    project = tmp_path / "p"
    run("init", project, photos, "--classes", "red,blue,bleu", "--backbone", "embedded")
    first, second = sorted(photos.rglob("*.png"))[:2]
    run("label", project, first, "bleu")
    merged = run("classes", project, "--merge", "bleu", "blue").stdout
    assert merged == "     0  red\n     1  blue\n        bleu was merged into blue\n"
    assert as_json("status", project)["labels"] == {"red": 0, "blue": 1}
    assert "'bleu' was merged into 'blue': take that one" in error("label", project, second, "bleu")
    assert as_json("classes", project, "--unmerge", "bleu") == {"red": 0, "blue": 0, "bleu": 1}


def test_an_answer_says_which_round_chose_its_image(project, photos):
    embed_here(project)
    run("next", project, "-n", 1, "--strategy", "random")
    chosen = as_json("next", project, "-n", 4, "--strategy", "k_center")
    for row in chosen:
        run("label", project, row["file"], "red")
    names = {row["file"] for row in chosen}
    other = next(path for path in sorted(photos.rglob("*.png")) if str(path) not in names)
    with Project(project) as opened:
        assert [(e.round, e.strategy) for e in opened.log.since()] == [(r["round"], r["strategy"]) for r in chosen]
        assert {e.round for e in opened.log.since()} == {2}
        opened.db.execute("DELETE FROM picks WHERE image_id = ?", [opened.catalog.find(other)])
        last = opened.log.last_id()
        run("label", project, other, "red")
        assert [(e.round, e.strategy) for e in opened.log.since(last)] == [(None, None)]


def test_import_adds_classes_and_names_strangers(project, tmp_path):
    table = tmp_path / "in.csv"
    table.write_text("file_name,label\nred/0.png,blue\nred/1.png,red\n")
    said = run("import", project, table, "--format", "csv", "--by", "ben").stdout
    assert "2 labels imported" in said
    assert "New classes: blue" in said
    assert {row["by"] for row in as_json("log", project)} == {"ben"}
    run("classes", project, "--rename", "red", "scarlet")
    table.write_text("file_name,label,split\nred/2.png,red,test\nred/3.png,red,test\n")
    with Project(project) as opened:
        learned = sum(not opened.catalog.image(opened.catalog.find(f"red/{k}.png")).held_out for k in (2, 3))
    said = run("import", project, table, "--format", "csv").stdout
    assert "red is scarlet here: the class was renamed or merged\n" in said
    assert f"{learned} images that the file calls test are not held out here: " in said
    table.write_text("file_name,label\nstranger.png,red\n")
    assert "stranger.png" in error("import", project, table, "--format", "csv")


# -- the rest ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(main.commands))
def test_every_command_has_help_and_an_example(name):
    said = run(name, "--help").stdout
    assert main.commands[name].get_short_help_str(80).endswith(".")
    assert f"  labelloop {name}" in said


def test_what_is_meant_for_the_person_is_shown_and_a_bug_keeps_its_traceback():
    group = Commands("group")
    group.command("wrong")(lambda: Project("nowhere"))
    group.command("broken")(lambda: 1 / 0)
    shown = CliRunner().invoke(group, ["wrong"])
    assert shown.exit_code == 1
    assert shown.stderr.startswith("Error: nowhere is not a labelloop project")
    assert isinstance(CliRunner().invoke(group, ["broken"]).exception, ZeroDivisionError)


def test_nobody_where_the_system_knows_no_name(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    if hasattr(os, "getuid"):
        monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    assert user() == ""


def test_progress_in_one_line():
    assert progress_line(6, 12, "images", 23.4, 8.2, "") == "[############............] 6 of 12 images  23/s  8 s left"
    assert progress_line(0, 0, "files", None, None, "reading files") == "reading files"
    assert progress_line(12, 12, "images", 0.5, 0.0, "") == f"[{'#' * 24}] 12 of 12 images  0.5/s"
    assert [duration(s) for s in (8.2, 99, 100, 3599, 7500)] == ["8 s", "99 s", "2 min", "1 h 0 min", "2 h 5 min"]


def shown(written: str) -> list[str]:
    """The lines that a terminal shows after all that was written to it."""
    lines = []
    for line in written.split("\n"):
        seen = ""
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        lines.append(seen.rstrip())
    return lines


def test_what_is_said_while_a_line_of_progress_is_there_stands_alone(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    with Bar("curves") as bar:
        bar.show(1, 2)
        bar.say("a word")
    assert "\x1b" not in terminal.getvalue()  # older windows of Windows show such codes as they are
    assert shown(terminal.getvalue()) == ["a word", ""]
    assert "\r[############............] 1 of 2 curves\r" in terminal.getvalue()


@pytest.mark.parametrize("command", [("undo", 10**30), ("undo", 0), ("log", "-n", 10**30)])
def test_a_number_that_no_log_can_have_is_a_wrong_argument(command):
    result = CliRunner().invoke(main, [command[0], "leaves", *map(str, command[1:])])
    assert (result.exit_code, "is not in the range" in result.stderr) == (2, True)


def test_a_home_directory_that_is_nobodys_is_a_wrong_argument():
    result = CliRunner().invoke(main, ["status", "~nobody-is-called-so/leaves"])
    assert (result.exit_code, "there is no such home directory" in result.stderr) == (2, True)


def test_a_project_that_may_not_be_looked_at_is_refused_in_words(photos, tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.mkdir()
    really = Path.iterdir

    def refuse(self):  # the tests may run as root, who may look everywhere
        if self == secret:
            raise PermissionError(13, "Permission denied", str(self))
        return really(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "cannot be used (Permission denied). Choose another." in error("init", secret, photos, "--classes", "a,b")
