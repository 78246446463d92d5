"""What many tests need: small real images, projects over them, and where the shared photographs lie."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelloop.board import read_board
from labelloop.features import FeatureStore
from labelloop.project import Job, Project
from labelloop.types import Event, Settings

TINY = "test_efficientnet"  # a network of timm that is trained in a second
PATIENCE = 300.0  # seconds; only a failure waits so long
WORKER_PATIENCE = 1200.0  # seconds; workers step back, and on a busy machine get next to no time
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    """The folder of real photographs and weights; skips where it is not there."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the real photographs and weights of ../shared are not on this machine")
    return SHARED


def draw(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (24, 16)) -> Path:
    """A plain image of one color with a mark in one corner, so that no two sizes or colors have equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, color)
    image.putpixel((0, 0), (255, 255, 255))
    image.save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty images: the even ones reddish, the odd ones bluish, in two folders named after it."""
    folder = tmp_path / "photos"
    for k in range(40):
        red = k % 2 == 0
        name = f"{'red' if red else 'blue'}/img_{k:02d}.png"
        draw(folder / name, (200 - k, 3 * k, 20) if red else (20, 3 * k, 200 - k))
    return folder


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Makes scanned projects, and closes them."""
    made: list[Project] = []

    def make(
        images: Path, classes: tuple[str, ...] = ("red", "blue"), name: str = "project", **settings: object
    ) -> Project:
        project = Project.create(tmp_path / name, images, classes, Settings(**settings))  # type: ignore[arg-type]
        for _ in project.catalog.scan():
            pass
        made.append(project)
        return project

    yield make
    for project in made:
        project.close()


@pytest.fixture
def project(make_project: Callable[..., Project], photos: Path) -> Project:
    """A scanned project of forty images, two classes and a quarter held out, without features."""
    return make_project(photos, held_out=0.25)


def embed_by_color(project: Project, name: str = "base") -> np.ndarray:
    """Features that a person can check: (n, 3) mean color, unit length. Stands in for a backbone."""
    images = project.catalog.images()
    colors = np.array([np.asarray(Image.open(image.path)).mean((0, 1)) for image in images.values()])
    features = (colors / np.linalg.norm(colors, axis=1, keepdims=True)).astype(np.float32)
    store = FeatureStore.create(project.features_folder(name), 3, {"backbone": "mean color"})
    store.grow(len(features))
    store.write(list(images), features)
    return features


def truth(project: Project) -> dict[int, str]:
    """The class of each image by the folder it lies in."""
    return {image.id: image.name.split("/")[0] for image in project.catalog.images().values()}


def label_some(project: Project, n: int) -> None:
    """Until n images are labeled that are not held out, each with the folder it lies in."""
    board, names = read_board(project), truth(project)
    rows = np.flatnonzero(~board.held_out)[:n]
    images = (rows[board.label[rows] < 0] + 1).tolist()
    project.log.append([Event(image_id=i, kind="label", class_index=project.class_index(names[i])) for i in images])


def wait_until(condition: Callable[[], object]) -> None:
    """Look every tenth of a second; fails after WORKER_PATIENCE."""
    pause = threading.Event()
    for _ in range(int(WORKER_PATIENCE * 10)):
        if condition():
            return
        pause.wait(0.1)
    raise AssertionError(f"not within {WORKER_PATIENCE} seconds")


def wait_for_end(project: Project, job_id: int) -> Job:
    """A job once it is over; fails when there is no news of it for WORKER_PATIENCE. A dead worker ends it, too."""
    job = project.jobs.get(job_id)
    while job.is_open:
        wait_until(lambda last=job: project.jobs.get(job_id) != last)
        job = project.jobs.get(job_id)
    return job
