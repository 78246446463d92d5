"""Labels out of a project and into it: what is written, what is taken, and what is refused.

The formats know nothing of projects; this page turns the log into their records and back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, cast

from labelloop import formats
from labelloop.errors import BadInput
from labelloop.formats import Record
from labelloop.project import Image, Project, class_key
from labelloop.types import Event, Source

FILES_NAMED = 5  # how many unknown files an error names


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which labels to export; None means all of that kind."""

    split: str | None = None  # "train" or "test"
    sources: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    flagged: bool = True  # False leaves flagged images out


@dataclass(frozen=True, slots=True)
class Plan:
    """What an export will write."""

    images: int
    per_class: dict[str, int]
    per_split: dict[str, int]
    gone: int  # labeled, but left out because the file is not there any more
    skipped: int  # answered "skip" or "unsure": no label to export


@dataclass
class Taken:
    """What an import did."""

    labels: int = 0
    unchanged: int = 0  # had this label already
    changed: int = 0  # had another label, which stays in the log
    new_classes: list[str] = field(default_factory=list)


def records(project: Project, wanted: Filter = Filter()) -> Iterator[Record]:
    """One record for each labeled image that passes the filter and is still there, by image."""
    classes, flagged, notes = project.classes, project.log.flagged(), project.log.notes()
    images = project.catalog.images()
    for answer in project.log.answers():
        if answer.kind == "label" and not images[answer.image_id].gone:
            record = _record(answer, images[answer.image_id], classes, notes.get(answer.image_id))
            if _passes(record, wanted) and (wanted.flagged or answer.image_id not in flagged):
                yield record


def _record(answer: Event, image: Image, classes: tuple[str, ...], note: str | None) -> Record:
    assert answer.class_index is not None  # noqa: S101  it is a label
    return Record(
        file_name=image.name,
        label=classes[answer.class_index],
        split="test" if image.held_out else "train",
        source=answer.source,
        by=answer.by,
        at=answer.at,
        seconds=answer.seconds,
        round=answer.round,
        strategy=answer.strategy,
        suggestion=None if answer.suggestion is None else classes[answer.suggestion],
        probability=answer.probability,
        sha256=image.sha256,
        note=note,
        path=image.path,
    )


def _passes(record: Record, wanted: Filter) -> bool:
    return (
        (wanted.split is None or record.split == wanted.split)
        and (wanted.sources is None or record.source in wanted.sources)
        and (wanted.classes is None or record.label in wanted.classes)
    )


def plan(project: Project, wanted: Filter = Filter()) -> Plan:
    """What an export with this filter will write."""
    found = list(records(project, wanted))
    images = project.catalog.images()
    answers = project.log.answers()
    return Plan(
        images=len(found),
        per_class=dict(Counter(record.label for record in found)),
        per_split=dict(Counter(record.split for record in found)),
        gone=sum(answer.kind == "label" and images[answer.image_id].gone for answer in answers),
        skipped=sum(answer.kind != "label" for answer in answers),
    )


def export_labels(
    project: Project,
    out: str | Path,
    format_name: str,
    wanted: Filter = Filter(),
    *,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> int:
    """Write the labels to a new file or folder, all of it or nothing; returns how many.

    Raises BadInput when there is nothing to write, or `out` is not empty or lies among the images.
    """
    target = outside_images(project, out)
    return formats.get(format_name).write(records(project, wanted), target, progress=progress, **options)


def outside_images(project: Project, out: str | Path) -> Path:
    """A place to write to; raises BadInput where it lies among the images of the project."""
    target = Path(out).expanduser()
    for folder in project.catalog.folders().values():
        if target.resolve().is_relative_to(folder):
            raise BadInput(
                f"{out} lies inside the image folder {folder}; labelloop never writes there. Choose another."
            )
    return target


def import_labels(project: Project, path: str | Path, format_name: str, *, by: str = "") -> Taken:
    """Take labels from a file or folder into the log: all of them or, on any error, none.

    Images are found by the hash of their bytes, else by name. Who, when and how are kept as the file says; classes
    that are new are added. A label that differs from the one there is becomes the newest event; the old one stays in
    the log; so with notes. Raises BadInput naming files that are not in the project.
    """
    found = list(formats.get(format_name).read(Path(path).expanduser()))
    if not found:
        raise BadInput(f"{path} holds no labels")
    image_ids = _match(project, found, path)
    taken = Taken(new_classes=_new_classes(project, found))
    for name in taken.new_classes:
        project.add_class(name)
    index = {class_key(name): k for k, name in enumerate(project.classes)}
    now = {answer.image_id: answer.class_index for answer in project.log.answers()}
    notes = project.log.notes()
    events = []
    for image_id, record in zip(image_ids, found, strict=True):
        if record.note not in (None, notes.get(image_id)):
            notes[image_id] = record.note
            events.append(Event(image_id=image_id, kind="note", note=record.note, source="import", by=record.by or by))
        event = _event(record, image_id, index, by)
        if now.get(image_id) == event.class_index:
            taken.unchanged += 1
            continue
        taken.changed += now.get(image_id) is not None
        now[image_id] = event.class_index
        events.append(event)
    project.log.append(events)
    taken.labels = sum(event.kind == "label" for event in events)
    return taken


def _match(project: Project, found: list[Record], path: str | Path) -> list[int]:
    by_sha = {image.sha256: image.id for image in project.catalog.images().values()}
    by_name: dict[str, set[int]] = {}
    for image_id, name in project.catalog.files():
        for known_as in (name, PurePath(name).name):
            by_name.setdefault(known_as, set()).add(image_id)
    matched: list[int] = []
    unknown: list[str] = []
    for record in found:
        candidates = {by_sha[record.sha256]} if record.sha256 in by_sha else by_name.get(record.file_name, set())
        if len(candidates) == 1:
            matched.extend(candidates)
        else:
            unknown.append(
                f"{record.file_name}" + (f" ({len(candidates)} images have this name)" if candidates else "")
            )
    if unknown:
        some = ", ".join(unknown[:FILES_NAMED]) + (", …" if len(unknown) > FILES_NAMED else "")
        raise BadInput(
            f"{len(unknown)} of the {len(found)} files in {path} are not in this project: {some}. "
            "Nothing was imported. Add their folder first with: labelloop add PROJECT FOLDER"
        )
    return matched


def _new_classes(project: Project, found: list[Record]) -> list[str]:
    known = {class_key(name) for name in project.classes}
    new: dict[str, str] = {}
    for record in found:
        for name in (record.label, record.suggestion):
            if name and class_key(name) not in known:
                new.setdefault(class_key(name), name)
    return list(new.values())


def _event(record: Record, image_id: int, index: dict[str, int], by: str) -> Event:
    return Event(
        image_id=image_id,
        kind="label",
        class_index=index[class_key(record.label)],
        source=cast(Source, record.source),  # the log refuses any other
        by=record.by or by,
        at=record.at,
        seconds=record.seconds,
        round=record.round,
        strategy=record.strategy,
        suggestion=None if record.suggestion is None else index[class_key(record.suggestion)],
        probability=record.probability,
    )
