"""Fills a feature store from image files, on all cores, and goes on where it was stopped or killed.

Left out: how one batch becomes features (backbone.py), the store itself (features.py), jobs (worker.py).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from labelloop.backbone import Backbone
from labelloop.errors import BadInput
from labelloop.features import FeatureStore
from labelloop.images import open_upright


def embed_missing(
    paths: Iterable[tuple[int, Path]],
    store: FeatureStore,
    backbone: Backbone,
    *,
    on_problem: Callable[[int, str], None],
    stop: Callable[[], bool] = lambda: False,
    batch: int | None = None,
) -> Iterator[int]:
    """Embed the images (id, path) that have no features yet, in the order given; yields how many it is through with.

    Images that are done already count at once. One that cannot be read, or from which the backbone computes
    NaN, infinity or only zeros, goes to `on_problem` and keeps no features.
    Every yield is on disk: after a stop or a kill, at most one batch is embedded again.
    """
    waiting, through = _not_done(paths, store)
    if through:
        yield through
    size = batch or backbone.batch
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), "decode") as threads:
        try:
            for chunk in _batches(_ahead(threads, waiting, backbone, 3 * size), size):
                if stop():
                    return
                _embed_batch(chunk, store, backbone, on_problem)
                through += len(chunk)
                yield through
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


_NO_FEATURES = "image {!r}: {} computes NaN, infinity or only zeros from it; replace the image, or use another backbone"

Prepared = tuple[int, Path, "Future[Any]"]


def _not_done(paths: Iterable[tuple[int, Path]], store: FeatureStore) -> tuple[list[tuple[int, Path]], int]:
    paths = list(paths)
    store.grow(max((image_id for image_id, _ in paths), default=0))
    missing = set(store.missing(store.n).tolist())
    waiting = [(image_id, path) for image_id, path in paths if image_id in missing]
    return waiting, len(paths) - len(waiting)


def _ahead(
    threads: ThreadPoolExecutor, paths: Iterable[tuple[int, Path]], backbone: Backbone, ahead: int
) -> Iterator[Prepared]:
    """Images being decoded, at most `ahead` of them before they are asked for."""

    def open_and_prepare(path: Path) -> Any:
        # Twice the side that is looked at: crops and long images stay sharp, a large JPEG opens several times faster.
        return backbone.prepare(open_upright(path, 2 * backbone.size))

    queue: deque[Prepared] = deque()
    for image_id, path in paths:
        queue.append((image_id, path, threads.submit(open_and_prepare, path)))
        if len(queue) >= ahead:
            yield queue.popleft()
    yield from queue


def _batches(items: Iterator[Prepared], size: int) -> Iterator[list[Prepared]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _embed_batch(
    chunk: Sequence[Prepared], store: FeatureStore, backbone: Backbone, on_problem: Callable[[int, str], None]
) -> None:
    files, prepared = {}, []
    for image_id, path, future in chunk:
        try:
            prepared.append(future.result())
            files[image_id] = path
        except BadInput as error:
            on_problem(image_id, str(error))
    if not files:
        return
    ids, features = np.array(list(files)), backbone.forward(prepared)
    bad = ~np.isfinite(features).all(axis=1) | ~features.any(axis=1)
    store.write(ids[~bad], features[~bad])
    for image_id in ids[bad].tolist():
        on_problem(image_id, _NO_FEATURES.format(str(files[image_id]), backbone.name))
