"""The command simulate, on small real folders and projects; tables, plot and raw results."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from labelloop.cli import main
from labelloop.cli.comparing import points, tables
from labelloop.cli.drawing import apart, drawing
from labelloop.curves import Curves, Interval
from labelloop.types import Event
from tests.conftest import draw, embed_by_color

COLORS = {"rust": (200, 60, 20), "mildew": (20, 60, 200), "healthy": (40, 200, 40)}
SMALL = ("--batch", 5, "--budgets", "5,10,20", "--seeds", 2, "--backbone", "embedded")


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def lines(out: Path) -> list[dict]:
    return [json.loads(text) for text in (out / "curves.jsonl").read_text("utf-8").splitlines()]


def fill(folder: Path, n: int, first: int = 0) -> Path:
    """n images of each of three classes, in folders called like them."""
    for name, color in COLORS.items():
        for k in range(first, first + n):
            draw(folder / name / f"{k}.png", tuple(max(0, part - k) for part in color))
    return folder


@pytest.fixture
def flat(tmp_path) -> Path:
    return fill(tmp_path / "flat", 22)


@pytest.fixture
def split(tmp_path) -> Path:
    fill(tmp_path / "split" / "test", 7, first=30)
    return fill(tmp_path / "split" / "train", 10).parent


def test_a_folder_with_train_and_test(split, tmp_path):
    said = run("simulate", split, "--strategies", "auto,random", *SMALL, "--out", tmp_path / "out")
    assert "30 images of 3 classes to choose from; judged by 21 others." in said.stderr
    first, head, *rows = said.stdout.splitlines()
    assert first == "Accuracy in %, mean ± standard deviation over 2 seeds"
    assert head.split() == ["labels", "5", "10", "20", "area"]
    assert [row.split()[0] for row in rows[:2]] == ["auto", "random"]
    played = lines(tmp_path / "out")
    assert [(one["strategy"], one["seed"]) for one in played] == [
        *(("auto", 0), ("random", 0), ("auto", 1), ("random", 1)),
    ]
    assert (played[0]["pool"], played[0]["test"]) == (30, 21)
    assert {path.split("/")[0] for one in played for path in one["picked"]} == {"train"}
    assert [point["labels"] for point in played[0]["curve"]] == [5, 10, 20]
    assert len(played[0]["picked"]) == len(set(played[0]["picked"])) == 20
    assert ET.parse(tmp_path / "out" / "curves.svg").getroot().tag.endswith("svg")


def test_the_same_seeds_give_the_same_raw_results_and_features_are_kept(flat, tmp_path):
    for out in ("a", "b"):
        run("simulate", flat, "--strategies", "margin,random", *SMALL, "--out", tmp_path / out)
    raw = [(tmp_path / out / "curves.jsonl").read_bytes() for out in ("a", "b")]
    assert raw[0] == raw[1]
    (store,) = (tmp_path / "a").glob("features-*/features.npy")
    written = store.stat().st_mtime_ns
    run("simulate", flat, "--strategies", "margin,random", *SMALL, "--out", tmp_path / "a")
    assert store.stat().st_mtime_ns == written
    assert (tmp_path / "a" / "curves.jsonl").read_bytes() == raw[0]


def test_a_changed_image_is_embedded_again(flat, tmp_path):
    run("simulate", flat, "--strategies", "random", *SMALL, "--out", tmp_path / "out")
    draw(flat / "rust" / "0.png", (1, 2, 3), size=(30, 30))
    run("simulate", flat, "--strategies", "random", *SMALL, "--out", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("features-*"))) == 2


def test_of_a_flat_folder_a_third_is_the_test_set_another_one_for_each_seed(flat, tmp_path):
    said = run("simulate", flat, "--strategies", "random", *SMALL, "--budgets", "44", "--out", tmp_path / "out")
    assert (
        "44 images of 3 classes to choose from; judged by 22 others, a third, drawn anew for each seed." in said.stderr
    )
    pools = [set(one["picked"]) for one in lines(tmp_path / "out")]
    assert [len(pool) for pool in pools] == [44, 44]
    assert pools[0] != pools[1]


def test_as_json(flat, tmp_path):
    said = run("simulate", flat, "--strategies", "margin", *SMALL, "--out", tmp_path / "out", "--json")
    found = json.loads(said.stdout)
    assert list(found["strategies"]) == ["margin", "random"]  # random is what all are compared with
    margin = found["strategies"]["margin"]
    assert (margin["labels"], margin["seeds"], margin["saved"]["at"]) == ([5, 10, 20], [0, 1], 20)
    played = [one for one in lines(tmp_path / "out") if one["strategy"] == "margin"]
    assert margin["mean"] == [
        np.mean([one["curve"][k]["accuracy"] for one in played]) for k in range(3)
    ]  # as anyone can recompute


def test_one_seed_has_no_spread(flat, tmp_path):
    said = run("simulate", flat, "--strategies", "random", *SMALL, "--seeds", 1, "--out", tmp_path / "out", "--json")
    assert json.loads(said.stdout)["strategies"]["random"]["sd"] == [None, None, None]


def test_budgets_beyond_the_pool_end_there_and_it_is_said(split, tmp_path):
    said = run("simulate", split, *SMALL, "--budgets", "10,500", "--strategies", "auto", "--out", tmp_path / "out")
    assert "Budgets end at 30 labels, all there are to choose from." in said.stderr
    assert [[point["labels"] for point in one["curve"]] for one in lines(tmp_path / "out")] == [[10, 30]] * 4


def test_files_that_are_no_images_are_left_out_and_counted(split, tmp_path):
    (split / "train" / "rust" / "torn.png").write_bytes(b"not an image")
    (split / "README").write_text("photographs")
    said = run("simulate", split, *SMALL, "--strategies", "random", "--out", tmp_path / "out").stderr
    assert "Files in no folder of a class, left out: 1" in said
    assert "Files that cannot be used, left out: 1" in said
    assert "  train/rust/torn.png: " in said
    assert "30 images of 3 classes" in said


def test_a_project_is_played_on_its_labels_and_left_alone(tmp_path, make_project):
    fill(tmp_path / "photos", 34)
    project = make_project(tmp_path / "photos", classes=tuple(COLORS), held_out=0.25)
    embed_by_color(project)
    files = project.catalog.images().values()
    project.log.append(
        [Event(image_id=one.id, kind="label", class_index=list(COLORS).index(one.name.split("/")[0])) for one in files]
    )
    exam = int(project.catalog.flags()[0].sum())
    assert exam >= 20
    last = project.log.last_id()
    said = run("simulate", project.folder, *SMALL[:-2], "--strategies", "auto", "--out", tmp_path / "out")
    assert f"{102 - exam} images of 3 classes to choose from; judged by {exam} others." in said.stderr
    assert {path.split("/")[0] for one in lines(tmp_path / "out") for path in one["picked"]} <= set(COLORS)
    assert project.log.last_id() == last
    said = run("simulate", project.folder, "--backbone", "embedded", "--out", tmp_path / "out", code=1)
    assert "is a project and has features of its own" in said.stderr
    (project.folder / "strategies").mkdir()
    (project.folder / "strategies" / "three.py").write_text(
        "from labelloop import in_order, strategy\n\n\n@strategy\ndef three(pool, n, rng):\n    'Three.'\n"
        "    return in_order(pool, pool.unlabeled[: max(0, 3 - len(pool.labeled))])\n"
    )
    options = ("--strategies", "three", "--seeds", 1, "--out", tmp_path / "out")
    printing = project.folder / "strategies" / "prints.py"
    printing.write_text(
        "from labelloop import strategy\n\nprint('hello from the file')\n\n\n@strategy\ndef prints(pool, n, rng):\n"
        "    'Prints.'\n    print('hello from the strategy')\n    return rng.random(len(pool))\n"
    )
    out = ("--seeds", 1, "--out", tmp_path / "out", "--budgets", "5,10", "--json")
    said = run("simulate", project.folder, "--strategies", "prints", *out)
    assert sorted(json.loads(said.stdout)["strategies"]) == ["prints", "random"]
    assert "hello from the file\n" in said.stderr
    assert "hello from the strategy\n" in said.stderr
    said = run("simulate", project.folder, *options, "--budgets", "5,10", code=1)
    assert "three offered 3 images and no more, with seed 0" in said.stderr
    run("simulate", project.folder, *options, "--budgets", "2,10")
    assert [point["labels"] for point in lines(tmp_path / "out")[0]["curve"]] == [2, 3]


def test_settings_are_those_typed_and_are_written_with_the_curves(flat, tmp_path):
    those = ("--strategies", "power_margin,rare_first,random", *SMALL, "--seeds", 1, "--out", tmp_path / "out")
    run("simulate", flat, *those, "--set", "power_margin.power=2", "--set", "boost=0")
    assert [one["settings"] for one in lines(tmp_path / "out")] == [{"power": 2.0}, {"boost": 0.0}, {}]
    run("simulate", flat, *those, "--set", "power=10")
    picked = {one["strategy"]: one["picked"] for one in lines(tmp_path / "out")}
    run("simulate", flat, *those, "--set", "power=0")
    other = {one["strategy"]: one["picked"] for one in lines(tmp_path / "out")}
    assert picked["power_margin"] != other["power_margin"]
    assert picked["random"] == other["random"]
    said = run("simulate", flat, *those, "--set", "margin.power=2", code=1).stderr
    assert "margin is not among the strategies that are to run: power_margin, rare_first, random" in said


def test_a_file_of_one_s_own_is_played_as_well(flat, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from labelloop import in_order, strategy\n"
        '@strategy\ndef first_ones(pool, n, rng):\n    "First come."\n'
        "    return in_order(pool, pool.open.nonzero()[0][:n])\n"
    )
    run("simulate", flat, "--strategies", f"{file},margin", *SMALL, "--out", tmp_path / "out")
    played = lines(tmp_path / "out")
    assert sorted({one["strategy"] for one in played}) == ["first_ones", "margin", "random"]
    file.write_text(file.read_text().replace("first_ones", "margin"))
    said = run("simulate", flat, "--strategies", str(file), *SMALL, "--out", tmp_path / "out", code=1)
    assert "the name is taken by" in said.stderr


def test_a_strategy_that_fails_is_named_and_the_others_go_on(flat, tmp_path):
    those = ("--strategies", "spread_over_groups,margin,power_margin", "--set", "power=99", *SMALL)
    said = run("simulate", flat, *those, "--out", tmp_path / "out", code=1)
    assert "spread_over_groups is left out: spread_over_groups failed (" in said.stderr
    assert "this pool knows nothing of groups" in said.stderr
    assert "power_margin is left out: power_margin failed (" in said.stderr
    last = "Error: left out, for reasons said above: spread_over_groups, power_margin"
    assert said.stderr.splitlines()[-1] == last
    assert [row.split()[0] for row in said.stdout.splitlines()[2:4]] == ["margin", "random"]
    assert {one["strategy"] for one in lines(tmp_path / "out")} == {"margin", "random"}
    found = json.loads(run("simulate", flat, *those, "--out", tmp_path / "out", "--json", code=1).stdout)
    assert list(found["strategies"]) == ["margin", "random"]
    assert {name: words.split(" (")[0] for name, words in found["failed"].items()} == {
        "spread_over_groups": "spread_over_groups failed",
        "power_margin": "power_margin failed",
    }


def test_no_spread_is_explained_where_every_seed_has_the_same_images(split, flat, tmp_path):
    those = ("--strategies", "k_center,random", *SMALL, "--out", tmp_path / "out")
    said = run("simulate", split, *those).stdout
    assert said.splitlines()[4].startswith("± 0.0 of k_center: every seed has the same images")
    assert "every seed has the same" not in run("simulate", flat, *those).stdout


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--strategies", "margn"), "no strategy is called 'margn'; did you mean 'margin'?"),
        (("--strategies", " , "), "no strategy is named"),
        (
            ("--set", "power=2"),
            "there is no setting 'power'. Of settings auto has none; margin has none; random has none",
        ),
        (("--batch", "40"), "44 images of 3 classes to choose from and 22 to judge by; wanted 160 of two classes"),
    ],
)
def test_bad_options(flat, tmp_path, options, said):
    result = run("simulate", flat, *SMALL, *options, "--out", tmp_path / "out", code=1)
    assert said in result.stderr


@pytest.mark.parametrize("budgets", ["", "0,10", "ten", "10,,20", "-5"])
def test_bad_budgets(flat, budgets):
    assert "wanted numbers of labels with commas" in run("simulate", flat, f"--budgets={budgets}", code=2).stderr


def test_folders_that_cannot_be_played(tmp_path):
    out = ("--out", tmp_path / "out")
    assert "is missing: wanted a folder" in run("simulate", tmp_path / "none", *SMALL, *out, code=1).stderr
    (tmp_path / "empty").mkdir()
    assert "has no folder with images" in run("simulate", tmp_path / "empty", *SMALL, *out, code=1).stderr
    draw(tmp_path / "one" / "rust" / "1.png", (9, 9, 9))
    assert "images of one class only, 'rust'" in run("simulate", tmp_path / "one", *SMALL, *out, code=1).stderr
    fill(tmp_path / "odd" / "train", 2)
    draw(tmp_path / "odd" / "test" / "scab" / "1.png", (9, 9, 9))
    assert "without an image in" in run("simulate", tmp_path / "odd", *SMALL, *out, code=1).stderr


def test_a_folder_for_results_that_is_a_file(flat, tmp_path):
    (tmp_path / "out").write_text("")
    assert "could not be written" in run("simulate", flat, *SMALL, "--out", tmp_path / "out", code=1).stderr


def test_nothing_is_written_among_the_images(flat):
    before = sorted(flat.rglob("*"))
    assert "name another with --out" in run("simulate", flat, *SMALL, "--out", flat / "out", code=1).stderr
    assert sorted(flat.rglob("*")) == before


# -- words and drawing ------------------------------------------------------------------------------------------------


def curves(*rows: list[float], labels: tuple[int, ...] = (10, 20)) -> Curves:
    return Curves(np.array(labels), np.array(rows), tuple(range(len(rows))))


def test_the_tables_of_known_curves():
    given = {"auto": curves([0.5, 0.75], [0.5, 0.75]), "random": curves([0.25, 0.5], [0.25, 0.5])}
    assert list(tables(given, 100, {"auto": 0.25, "random": 0.125})) == [
        "Accuracy in %, mean ± standard deviation over 2 seeds",
        "labels          10          20  area",
        "auto    50.0 ± 0.0  75.0 ± 0.0  62.5",
        "random  25.0 ± 0.0  50.0 ± 0.0  37.5",
        "",
        "Difference to random in points, paired by seed, with its 95 % bootstrap interval",
        "labels                  10                  20                area",
        "auto    +25.0 [25.0, 25.0]  +25.0 [25.0, 25.0]  +25.0 [25.0, 25.0]",
        "",
        "auto reaches random's 50.0 % at 20 labels with 10 (50 %).",
        "Seconds to choose a batch: auto 0.250, random 0.125.",
        "Intervals over 2 seeds are narrower than the truth; take 10 or more to rely on them.",
    ]


def test_no_spread_is_explained_only_where_it_comes_of_the_images():
    moved = curves([0.25, 0.5], [0.25, 0.75])
    given = {"auto": curves([0.5, 0.75], [0.5, 0.75]), "random": moved}
    seconds = {"auto": 0.25, "random": 0.125}
    words = "± 0.0 of auto: every seed has the same images, so this says nothing about other ones."
    assert list(tables(given, 100, seconds, same_images=True))[4] == words
    for others, same_images in ((given, False), ({"auto": moved, "random": moved}, True)):
        assert not any("± 0.0 of" in line for line in tables(others, 100, seconds, same_images=same_images))
    one_seed = {"auto": curves([0.5, 0.75]), "random": curves([0.25, 0.5])}
    assert not any("± 0.0 of" in line for line in tables(one_seed, 100, seconds, same_images=True))


def test_a_strategy_that_offers_no_more_has_no_number():
    given = {"short": curves([0.5], labels=(10,)), "random": curves([0.25, 0.5])}
    text = list(tables(given, 30, {"short": 0, "random": 0}))
    assert [line.split() for line in text if line.startswith("short ")][:2] == [
        ["short", "50.0", "–", "50.0"],
        ["short", "+25.0", "–", "+25.0"],
    ]


def test_a_gap_in_words():
    assert points(Interval(0.0123, -0.004, 0.021, 5)) == "+1.2 [-0.4, 2.1]"
    assert points(Interval(-0.0123, np.nan, np.nan, 1)) == "-1.2"


def test_the_drawing_has_a_line_and_a_name_for_each_strategy_and_interprets_no_name():
    given = {"a<b": curves([0.5, 0.75], [0.5, 0.85]), "random": curves([0.25, 0.5], [0.35, 0.5])}
    root = ET.fromstring(drawing(given, "leaves & more"))
    tags = [child.tag.rpartition("}")[2] for child in root.iter()]
    assert (tags.count("polyline"), tags.count("polygon"), tags.count("circle")) == (2, 2, 4)
    words = [child.text for child in root.iter() if child.text and child.text.strip()]
    assert {"leaves & more", "a<b 80.0 %", "random 50.0 %", "10", "20", "labels"} <= set(words)


def test_names_lie_apart_and_near_their_lines():
    assert apart([100, 200, 300], 0, 400) == [100, 200, 300]
    assert apart([100, 100], 0, 400) == [91.5, 108.5]
    assert apart([2, 3, 4], 0, 400) == [0, 17, 34]
    assert apart([399, 400], 0, 400) == [383, 400]
