"""Fills a feature store from image files, on all cores, and goes on where it was stopped or killed.

Each thread takes a batch of files from the disk to features by itself, so that no core waits for another one, and a
GPU, which they share, has the next batch ready. Threads are enough: Pillow, torch and numpy let others compute while
they do. Left out: how an image becomes features (backbone.py), the store itself (features.py), jobs (worker.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelloop.backbone import Backbone
from labelloop.cores import threads, workers
from labelloop.errors import BadInput
from labelloop.features import FeatureStore
from labelloop.images import NotReadNow, open_for
from labelloop.types import Floats

MOST_THREADS = 16
Files = Sequence[tuple[int, Path]]  # (id, path)


def embed_missing(
    paths: Iterable[tuple[int, Path]],
    store: FeatureStore,
    backbone: Backbone,
    *,
    on_problem: Callable[[int, str], None],
    on_missed: Callable[[int, str], None] | None = None,
    is_right: Callable[[int], bool] = lambda _: True,
    stop: Callable[[], bool] = lambda: False,
    batch: int | None = None,
) -> Iterator[int]:
    """Embed the images (id, path) that have no features yet, in the order given; yields how many it is through with.

    Images that are done already count at once. One that cannot be read, or from which the backbone computes
    NaN, infinity or only zeros, goes to `on_problem` and keeps no features. `on_missed`, where it is given, is told
    instead where the reason is not in the image: a disk that is away, too little memory, or a file of which `is_right`,
    asked after it was read, says that it is not that image's any more.
    Every yield is on disk. A stop waits for the batches being computed and keeps them; after a kill, at most two a
    thread are embedded again.
    """
    waiting, through = _not_done(paths, store)
    if through:
        yield through
    size = batch or backbone.batch
    chunks = (waiting[start : start + size] for start in range(0, len(waiting), size))
    count = threads(MOST_THREADS)
    with backbone.shared_by(count), workers(MOST_THREADS) as executor:
        try:
            for chunk in _in_order(executor, 2 * count, chunks, lambda files: _embed(files, backbone, is_right), stop):
                store.write(chunk.ids, chunk.features)
                for image_id, problem in chunk.problems.items():
                    on_problem(image_id, problem)
                for image_id, problem in chunk.missed.items():
                    (on_missed or on_problem)(image_id, problem)
                through += len(chunk.ids) + len(chunk.problems) + len(chunk.missed)
                yield through
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _not_done(paths: Iterable[tuple[int, Path]], store: FeatureStore) -> tuple[Files, int]:
    paths = list(paths)
    store.grow(max((image_id for image_id, _ in paths), default=0))
    missing = set(store.missing(store.n).tolist())
    waiting = [(image_id, path) for image_id, path in paths if image_id in missing]
    return waiting, len(paths) - len(waiting)


def _in_order(
    executor: Executor, ahead: int, chunks: Iterable[Files], work: Callable[[Files], Outcome], stop: Callable[[], bool]
) -> Iterator[Outcome]:
    """What becomes of each chunk, in order; at most `ahead` are begun before one is asked for, none after a stop."""
    queue: deque[Future[Outcome]] = deque()
    for chunk in chunks:
        if stop():
            queue = deque(future for future in queue if not future.cancel())
            break
        queue.append(executor.submit(work, chunk))
        if len(queue) >= ahead:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()


@dataclass(frozen=True)
class Outcome:
    """What became of some files: features (k, d) of images `ids` (k), and why others have none, by id."""

    ids: list[int]
    features: Floats
    problems: dict[int, str]  # for a reason in the image
    missed: dict[int, str]  # for another one


_NO_FEATURES = "image {!r}: {} computes NaN, infinity or only zeros from it; replace the image, or use another backbone"
_CHANGED = "image {!r}: the file was changed after it was looked at"


def _embed(files: Files, backbone: Backbone, is_right: Callable[[int], bool]) -> Outcome:
    """From the disk to features, in the thread that calls it."""
    prepared: dict[int, Any] = {}
    problems: dict[int, str] = {}
    missed: dict[int, str] = {}
    for image_id, path in files:
        try:
            prepared[image_id] = backbone.prepare(open_for(path, backbone.size))
        except NotReadNow as error:
            missed[image_id] = str(error)
        except BadInput as error:
            problems[image_id] = str(error)
    names = dict(files)
    for image_id in [i for i in (*prepared, *problems) if not is_right(i)]:  # what was read is not about this image
        missed[image_id] = _CHANGED.format(str(names[image_id]))
        for found in (prepared, problems):
            found.pop(image_id, None)
    if not prepared:
        return Outcome([], np.zeros((0, backbone.dim), np.float32), problems, missed)
    ids, features = np.array(list(prepared)), backbone.forward(list(prepared.values()))
    usable = np.isfinite(features).all(axis=1) & features.any(axis=1)
    problems |= {i: _NO_FEATURES.format(str(names[i]), backbone.name) for i in ids[~usable].tolist()}
    return Outcome(ids[usable].tolist(), features[usable], problems, missed)
