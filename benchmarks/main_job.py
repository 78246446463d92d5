"""The main job on a known image folder: the real project, loop and export; the folder names play the person.

    python benchmarks/main_job.py IMAGES [--backbone NAME] [--weights FILE] [--seeds 5]

IMAGES holds train/CLASS/* and test/CLASS/*. For each seed a project is made over train/, and `next_batch` is asked for
ten images at a time, once with the project's own strategy and once with `random`; every image it shows is answered,
held-out ones among them, and all answers count as labels. The head is judged on test/, which no project ever sees.
`python benchmarks/main_job.py sample --budgets 20,40,80,160` takes the images of the demo, a random third as test/.
Prints Markdown tables; --json FILE keeps the raw figures.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from common import machine, mean_sd, table

from labelloop.backbone import load_backbone
from labelloop.board import read_board
from labelloop.demo import sample_data, sample_truth
from labelloop.embedding import embed_missing
from labelloop.exchange import export_labels
from labelloop.features import FeatureStore
from labelloop.learning import learn
from labelloop.loop import next_batch
from labelloop.project import Project
from labelloop.types import Settings
from labelloop.worker import embed

BATCH = 10


@dataclass
class Run:
    """What one project of one strategy and seed gave."""

    strategy: str
    seed: int
    accuracy: dict[int, float] = field(default_factory=dict)  # labels → test accuracy, %
    exam: dict[int, tuple[int, int]] = field(default_factory=dict)  # labels → held-out answers: n, right
    seconds: dict[str, list[float]] = field(default_factory=dict)  # stage → each time

    def time(self, stage: str, start: float) -> None:
        """Note the seconds since `start`."""
        self.seconds.setdefault(stage, []).append(time.perf_counter() - start)


def lay_out_sample(folder: Path) -> Path:
    """The demo's images as train/CLASS and test/CLASS."""
    rng = np.random.default_rng(0)
    for name, label in sample_truth().items():
        target = folder / "sample" / ("test" if rng.random() < 1 / 3 else "train") / label
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample_data() / "images" / name, target)
    return folder / "sample"


def make_project(folder: Path, images: Path, options: argparse.Namespace, run: Run) -> Project:
    """A scanned project over the training images."""
    classes = sorted(path.name for path in (images / "train").iterdir() if path.is_dir())
    settings = Settings(backbone=options.backbone, weights=options.weights, seed=run.seed, strategy=run.strategy)
    start = time.perf_counter()
    project = Project.create(folder, images / "train", classes, settings)
    for _ in project.catalog.scan():
        pass
    run.time("scan all", start)
    return project


def play(project: Project, test: tuple[np.ndarray, np.ndarray], budgets: list[int], run: Run) -> None:
    """Answer what the loop shows until the last budget is spent; judge the head at each budget."""
    names = {image.id: image.name.split("/")[0] for image in project.catalog.images().values()}
    answered = 0
    while answered < max(budgets):
        stop_at = min(b for b in budgets if b > answered)
        start = time.perf_counter()
        batch = next_batch(project, min(BATCH, stop_at - answered))
        run.time("first batch, no label yet" if not answered else "next batch: learn and choose", start)
        if not batch:
            raise SystemExit(f"{answered} images are all there are, and {max(budgets)} were asked for: --budgets")
        for pick in batch:
            start = time.perf_counter()
            project.label(pick.image_id, names[pick.image_id], by="benchmark")
            run.time("one answer, committed", start)
        answered += len(batch)
        if answered in budgets:
            learned = learn(read_board(project))
            right = learned.head.predict_proba(test[0]).argmax(1) == test[1]
            run.accuracy[answered] = 100 * float(right.mean())
            run.exam[answered] = (learned.exam.n, learned.exam.correct)


def check_export(project: Project, folder: Path, run: Run) -> int:
    """Export and compare file by file with what was answered; returns the number of labels."""
    answers = {
        project.catalog.image(a.image_id).name: project.classes[a.class_index or 0] for a in project.log.answers()
    }
    start = time.perf_counter()
    export_labels(project, folder / "labels.csv", "csv")
    run.time("export csv", start)
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        written = {row["file_name"]: row["label"] for row in csv.DictReader(file)}
    assert written == answers, "what was exported is not what was answered"
    start = time.perf_counter()
    export_labels(project, folder / "images", "imagefolder")
    run.time("export imagefolder (copies)", start)
    exported = {(p.parent.name, p.read_bytes()) for p in (folder / "images").glob("t*/*/*") if p.is_file()}
    expected = {(label, (project.catalog.folders()[1] / name).read_bytes()) for name, label in answers.items()}
    assert exported == expected, "the exported folder does not hold what was answered"
    return len(answers)


def embed_test(
    images: Path, classes: tuple[str, ...], options: argparse.Namespace, work: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Features and class indices of the test images."""
    paths = sorted(path for path in (images / "test").rglob("*") if path.is_file())
    backbone = load_backbone(options.backbone, options.weights and Path(options.weights))
    store = FeatureStore.create(work / "test-features", backbone.dim, {})
    store.grow(len(paths))
    unreadable: list[tuple[int, str]] = []
    for _ in embed_missing(
        list(enumerate(paths, 1)), store, backbone, on_problem=lambda *problem: unreadable.append(problem), stop=bool
    ):
        pass
    assert not unreadable, unreadable
    return np.asarray(store.read()[0]), np.array([classes.index(path.parent.name) for path in paths])


def run_all(images: Path, options: argparse.Namespace, work: Path) -> tuple[list[Run], float, int]:
    """Every strategy and seed; the features are made once, by the first project, and timed."""
    first = Run("auto", 0)
    project = make_project(work / "first", images, options, first)
    start = time.perf_counter()
    for _ in embed(project, announce=print, stop=bool):
        pass
    embed_seconds = time.perf_counter() - start
    test = embed_test(images, project.classes, options, work)
    runs = []
    for seed in range(options.seeds):
        for strategy in ("auto", "random"):
            run = Run(strategy, seed)
            one = make_project(work / f"{strategy}-{seed}", images, options, run)
            shutil.copytree(project.folder / "features", one.folder / "features", copy_function=_link)
            play(one, test, options.budgets, run)
            check_export(one, one.folder, run)
            one.close()
            shutil.rmtree(one.folder)
            runs.append(run)
            print(f"  {strategy:7} seed {seed}: {run.accuracy}", flush=True)
    n = len(project.catalog)
    project.close()
    return runs, embed_seconds, n


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)  # features are only read from here on


def report(images: Path, options: argparse.Namespace, runs: list[Run], embed_seconds: float, n: int) -> None:
    """Print the tables."""
    print(f"\n### {images.name}: {n} images, {options.backbone}, {options.seeds} seeds\n\n{machine()}\n")
    head = ["test accuracy %, labels:", *map(str, options.budgets)]
    rows = [
        [name, *(mean_sd([run.accuracy[b] for run in runs if run.strategy == name]) for b in options.budgets)]
        for name in ("auto", "random")
    ]
    pairs = [(a, b) for a in runs for b in runs if a.seed == b.seed and (a.strategy, b.strategy) == ("auto", "random")]
    rows.append(
        ["difference, paired", *(mean_sd([a.accuracy[k] - b.accuracy[k] for a, b in pairs]) for k in options.budgets)]
    )
    print(table(head, rows), "\n")
    stages = [("embed all", [embed_seconds])]
    for stage in ("scan all", "first batch, no label yet", "next batch: learn and choose", "one answer, committed",
                  "export csv", "export imagefolder (copies)"):  # fmt: skip
        stages.append((stage, [s for run in runs if run.strategy == "auto" for s in run.seconds[stage]]))
    print(table(["stage", "seconds, median", "max", "n"], [
        [stage, f"{statistics.median(s):.4f}", f"{max(s):.4f}", len(s)] for stage, s in stages
    ]))  # fmt: skip
    print(f"\nEmbedding: {n / embed_seconds:.0f} images/s. Every export was compared with what was answered: equal.")


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--weights", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budgets", type=lambda text: [int(b) for b in text.split(",")], default=[50, 100, 200, 400])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        images = lay_out_sample(Path(work)) if str(options.images) == "sample" else options.images
        runs, embed_seconds, n = run_all(images, options, Path(work))
    report(images, options, runs, embed_seconds, n)
    if options.json:
        options.json.write_text(json.dumps([vars(run) for run in runs], indent=1))


if __name__ == "__main__":
    main()
