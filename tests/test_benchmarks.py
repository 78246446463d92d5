"""The scripts in benchmarks/: what they print of raw files. Left out: the figures; other packages (test_peers.py)."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def fit(cell, labels, method, accuracy, calibration, **more):
    return {
        "cell": cell, "labels": labels, "method": method, "seconds": 0.02, "accuracy": accuracy,
        "calibration": calibration, **more,
    }  # fmt: skip


def by_class(method, count, seed, accuracy, calibration=0.02):
    return fit(["class", "eurosat", "lite0", str(count), method, seed], 10 * count, method, accuracy, calibration)


def by_chance(draw, labels, method, seed, accuracy, calibration):
    more = {"rest_accuracy": accuracy - 0.1, "rest_calibration": calibration / 2}
    cell = ["pool", "signdigits", "vit_tiny", "dirty", draw, seed]
    return fit(cell, labels, method, accuracy, calibration, **more)


def written(file, lines):
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


def printed(raw, lines, script="head.py", what="report", more=()):
    command = [sys.executable, str(BENCHMARKS / script), what, written(raw, lines), *more]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_the_head_is_compared_with_others_on_the_seeds_that_both_have(tmp_path):
    lines = [by_class("ours with guesses", 1, seed, accuracy) for seed, accuracy in enumerate((0.70, 0.80, 0.10))]
    lines += [by_class("ours without guesses", 10, seed, 0.81) for seed in (0, 1)]
    lines += [by_class("LogisticRegressionCV", 1, seed, accuracy) for seed, accuracy in enumerate((0.60, 0.66))]
    lines += [by_class("LogisticRegressionCV", 10, seed, 0.82, 0.08) for seed in (0, 1)]
    lines += [by_class("prototypes", 10, 0, 0.5, None)]
    found = printed(tmp_path / "raw.jsonl", lines)
    assert "| eurosat, lite0 | +12.0 [10.0, 14.0] (2) | – |" in found
    assert "| eurosat, lite0 | – | -1.0 [-1.0, -1.0] (2) |" in found
    assert (
        "**Ours without guesses**: level or above in 0 of 1 cells; lowest -1.0 (eurosat, lite0, 10 a class); "
        "on average -1.0." in found
    )
    assert "| labels a class | 1 | 10 |" in found
    assert "| Ours with guesses | 53.3 ± 37.9 | – |" in found
    assert "| LogisticRegressionCV | 63.0 ± 4.2 (2) | 82.0 ± 0.0 (2) |" in found
    assert "| Prototypes | – | 50.0 ± 0.0 (1) |" in found
    assert "| LogisticRegressionCV | 20 / 20 / – |" in found
    # prototypes do not say how sure they are; below 100 labels only ours are asked
    enough, fewer = "#### Calibration error % at 100 labels and more", "#### Calibration error % below 100 labels"
    assert [line for line in found if line in (enough, fewer) or line.startswith("| equally many")] == [
        enough,
        "| equally many a class, test set | Ours without guesses | 2.0 | 2.0 (eurosat, lite0, 100) | 1 of 1 |",
        "| equally many a class, test set | LogisticRegressionCV | 8.0 | 8.0 (eurosat, lite0, 100) | 0 of 1 |",
        fewer,
        "| equally many a class, test set | Ours with guesses | 2.0 | 2.0 (eurosat, lite0, 10) | 1 of 1 |",
    ]


def test_what_guesses_add_is_told_for_the_test_set_and_for_the_rest_of_the_pool(tmp_path):
    lines = []
    for seed in range(3):
        lines += [by_chance("random", 20, "ours without guesses", seed, 0.5, 0.3)]
        lines += [by_chance("random", 20, "ours with guesses", seed, 0.5 + 0.01 * seed, 0.3)]
        lines += [by_chance("random", 160, "ours without guesses", seed, 0.8, 0.04)]
        lines += [by_chance("random", 160, "ours with guesses", seed, 0.79, 0.04)]
        lines += [by_chance("auto", 160, "ours with guesses", seed, 0.9, 0.12)]
    found = printed(tmp_path / "raw.jsonl", lines)
    assert found[0] == "#### Random labels: points that guesses add, on the test set"
    assert "3 seeds. Worse by more than 0.5 points in 1 of 2 cells." in found
    assert found.count("| signdigits, vit_tiny, dirty | +1.0 [0.0, 2.0] | -1.0 [-1.0, -1.0] |") == 2
    assert found.count("| dirty | +1.0 | -1.0 |") == 2
    assert [line for line in found if line.startswith("| chosen by `auto`")] == [
        "| chosen by `auto`, test set | Ours with guesses | 12.0 | 12.0 (signdigits, vit_tiny, dirty, 160) | 0 of 1 |",
        "| chosen by `auto`, rest of the pool | Ours with guesses | 6.0 | 6.0 (signdigits, vit_tiny, dirty, 160) "
        "| 0 of 1 |",
    ]
    assert found[-1] == "| signdigits, vit_tiny, dirty | 4.0 / 2.0 | 12.0 / 6.0 |"


def test_an_empty_file_has_nothing_to_report(tmp_path):
    assert printed(tmp_path / "raw.jsonl", []) == [f"{tmp_path / 'raw.jsonl'} has no fits yet."]


def test_growth_is_drawn_by_what_grows_with_medians_over_repeats(tmp_path):
    def took(name, n, b, c, *seconds):
        return [{"cell": {"name": name, "n": n, "b": b, "c": c}, "result": {"seconds": one}} for one in seconds]

    lines = []
    for name, factor in (("auto", 1), ("margin", 0.1)):
        lines += took(name, 10_000, 100, 10, 0.1 * factor) + took(name, 50_000, 10, 10, 0.01 * factor)
        lines += took(name, 50_000, 100, 10, 9, factor, 0.001) + took(name, 50_000, 100, 100, 10 * factor)
    lines.append({"cell": lines[0]["cell"], "result": {"error": "out of time"}})
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, str(BENCHMARKS / "growth_drawing.py"), tmp_path / "raw.jsonl", tmp_path / "out.svg"]
    subprocess.run(command, check=True)
    svg = (tmp_path / "out.svg").read_text()
    # 0.001 to 10 s on 448 pixels: 112 a power of ten, 1 s at 168; the medians of the three repeats are 1 and 0.1
    assert svg.count('points="72.0,168.0 192.0,56.0" fill="none" stroke="#0b6bcb"') == 1  # classes
    assert svg.count('points="222.0,392.0 402.0,168.0" fill="none" stroke="#0b6bcb"') == 1  # picks
    assert svg.count('points="432.0,280.0 722.0,168.0" fill="none" stroke="#0b6bcb"') == 1  # images
    assert [name for name in ("auto", "margin") if f">{name}</text>" in svg] == ["auto", "margin"]


def test_other_packages_are_compared_with_auto_and_take_no_rank(tmp_path):
    """Areas of 0.70 (auto), 0.60 (random), 0.65 (margin), and 0.90 of a peer's own code."""
    heights = {"auto": 0.7, "random": 0.6, "margin": 0.65, "skactiveml_badge": 0.9}
    lines = [
        {
            "cell": ["eurosat", "lite0", "balanced", 10, name, seed],
            "n": 3000,
            "curve": [{"labels": k, "accuracy": height, "macro_accuracy": height} for k in (10, 20, 300)],
        }
        for name, height in heights.items()
        for seed in (0, 1)
    ]
    found = printed(tmp_path / "raw.jsonl", lines, "label_efficiency.py")
    assert "| eurosat, lite0, balanced, 10 | margin | 65.0 | 70.0 | +5.0 [5.0, 5.0] | 1 of 3 |" in found
    assert "| setting | skactiveml_badge |" in found
    assert "| eurosat, lite0, balanced, 10 | -20.0 [-20.0, -20.0] |" in found


def test_labels_saved_are_counted_against_random_with_the_plain_head(tmp_path):
    """Random of the plain head has 0.80 at 300 labels; `auto` has that with 75, and with 150 of the plain head."""

    def curve(name, **accuracies):
        points = [{"labels": int(k[1:]), "accuracy": a, "macro_accuracy": a} for k, a in accuracies.items()]
        return [{"cell": ["eurosat", "lite0", "balanced", 10, name, s], "n": 3000, "curve": points} for s in (0, 1)]

    ours = [*curve("auto", _50=0.7, _100=0.9, _300=0.9), *curve("random", _50=0.6, _100=0.7, _300=0.89)]
    plain = [*curve("auto", _50=0.6, _150=0.8, _300=0.8), *curve("random", _50=0.5, _150=0.6, _300=0.8)]
    more = [written(tmp_path / "plain.jsonl", plain)]
    found = printed(tmp_path / "raw.jsonl", ours, "label_efficiency.py", "saved", more)
    assert found[0] == "1 settings, 2 to 2 seeds; with our head what was wanted is met in 1."
    assert found[-1] == ("| eurosat, lite0, balanced, 10 | 300 | 80.0 | 75 | 25 [25, 25] | 40 %: yes | 50 [50, 50] |")
