"""Labels out of a project and into it: what is written, what is taken, and what is refused.

The formats know nothing of projects; this page turns the log into their records and back.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, cast

from labelloop import formats
from labelloop.errors import BadInput
from labelloop.formats import Record
from labelloop.formats.files import is_inside
from labelloop.project import Image, Project, class_key
from labelloop.project.database import writing
from labelloop.types import Event, Source

FILES_NAMED = 5  # how many unknown files an error names
OTHER_BYTES = "a file of this name is there, but its bytes are others"


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
    renamed: dict[str, str] = field(default_factory=dict)  # the file's name of a class: the one it is by now
    not_held_out: int = 0  # the file calls them test, here they are learned from


def records(project: Project, wanted: Filter = Filter()) -> Iterator[Record]:
    """One record for each labeled image that passes the filter and is still there, by image."""
    answers = project.log.answers()  # first: the images and classes they are about are there then
    classes, flagged, notes = project.classes, project.log.flagged(), project.log.notes()
    images = project.catalog.images()
    for answer in answers:
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
    answers = project.log.answers()  # before the images, as above
    images = project.catalog.images()
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
        if is_inside(target, folder):
            raise BadInput(
                f"{out} lies inside the image folder {folder}; labelloop never writes there. Choose another."
            )
    return target


def import_labels(project: Project, path: str | Path, format_name: str, *, by: str = "") -> Taken:
    """Take labels from a file or folder into the log: all of them or, on any error, none.

    Images are found by the hash of their bytes; by name only where the file holds none. Who, when and how are kept as
    the file says; classes that are new are added, and one that was renamed or merged here is known by its first name.
    A label that differs from the one there is becomes the newest event; the old one stays in the log; so with notes.
    Raises BadInput naming files that are not in the project.
    """
    found = list(formats.get(format_name).read(Path(path).expanduser()))
    if not found:
        raise BadInput(f"{path} holds no labels")
    image_ids = _match(project, found, path)
    held_out, _ = project.catalog.flags()
    taken = Taken(
        not_held_out=sum(
            record.split == "test" and not held_out[image_id - 1]
            for image_id, record in zip(image_ids, found, strict=True)
        )
    )
    with writing(project.db):  # no new class without its labels
        index = _class_indices(project, found, taken)
        events = _news(project, found, image_ids, index, taken, by)
        project.log.append(events)
    return taken


def _news(
    project: Project, found: list[Record], image_ids: list[int], index: dict[str, int], taken: Taken, by: str
) -> list[Event]:
    """What the log does not say yet; counted in `taken`."""
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
        taken.labels += 1
        now[image_id] = event.class_index
        events.append(event)
    return events


def _match(project: Project, found: list[Record], path: str | Path) -> list[int]:
    images = project.catalog.images()
    by_sha = {image.sha256: image.id for image in images.values()}
    files = list(project.catalog.files())
    if any(PurePath(record.file_name).is_absolute() for record in found):
        files += [(file.image_id, file.path) for file in project.catalog.files_of(list(images))]
    names = _Names(files)
    matched: list[int] = []
    unknown: list[str] = []
    for record in found:
        meant, doubt = _meant(record, images, by_sha, names)
        if len(meant) == 1 and not doubt:
            matched.extend(meant)
        else:
            unknown.append(record.file_name + doubt)
    if unknown:
        raise BadInput(_who_is_missing(unknown, len(found), path))
    return matched


def _meant(record: Record, images: dict[int, Image], by_sha: dict[str, int], names: _Names) -> tuple[set[int], str]:
    """The images that a record can mean, and what to say if that is not exactly one or may be another by now."""
    sha256 = record.sha256 and record.sha256.strip().lower()
    if sha256 in by_sha:
        return {by_sha[sha256]}, ""
    named = names.find(record.file_name)
    if sha256:  # another picture: cameras give the same names again and again
        return set(), f" ({OTHER_BYTES})" if named else ""
    if len(named) > 1:
        return named, f" ({len(named)} images have this name)"
    changed = any(images[k].path.exists() and not images[k].is_as_scanned() for k in named)
    return named, " (it was changed since it was scanned)" if changed else ""


def _who_is_missing(unknown: list[str], n_found: int, path: str | Path) -> str:
    some = ", ".join(unknown[:FILES_NAMED]) + (", …" if len(unknown) > FILES_NAMED else "")
    by_name = any(OTHER_BYTES in name for name in unknown)
    return (
        f"{len(unknown)} of the {n_found} files in {path} are not in this project: {some}. "
        "Nothing was imported. Add their folder first with: labelloop add PROJECT FOLDER"
        + (". To go by the names all the same, import a table without the column sha256" if by_name else "")
    )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _name_alone(path: str) -> str:
    return PurePath(path).name


def _name_alone_composed(path: str) -> str:
    return _composed(_name_alone(path))


_WAYS_TO_KNOW: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
    (str, str),
    (_name_alone, str),
    (_composed, _composed),
    (_name_alone_composed, _composed),
)
"""How the files of the project are known, and how a name is spelled to be found among them; the first that finds."""


class _Names:
    """Finds images by the names of their files.

    The whole path goes before the name alone, and the very letters go before another Unicode spelling of them: a Mac
    takes letters and their accents apart.
    """

    def __init__(self, files: Iterable[tuple[int, str]]):
        self._files = list(files)
        self._tables: dict[Callable[[str], str], dict[str, set[int]]] = {}

    def find(self, file_name: str) -> set[int]:
        """All images that the name can mean; written as in Windows or a terminal, too."""
        slashes = file_name.replace("\\", "/")
        spellings = (file_name, posixpath.normpath(file_name), posixpath.normpath(slashes))
        for known_as, spell in _WAYS_TO_KNOW:
            if known_as not in self._tables:
                self._tables[known_as] = self._table(known_as)
            for spelling in spellings:
                if found := self._tables[known_as].get(spell(spelling)):
                    return found
        return set()

    def _table(self, known_as: Callable[[str], str]) -> dict[str, set[int]]:
        table: dict[str, set[int]] = {}
        for image_id, name in self._files:
            table.setdefault(known_as(name), set()).add(image_id)
        return table


def _class_indices(project: Project, found: list[Record], taken: Taken) -> dict[str, int]:
    """The index of every class by its key; new ones are added.

    One that was renamed is known by its first name, one that was merged by both, as the class it is part of.
    """
    names, merged = project.classes, project.merged
    present = {class_key(name): k for k, name in enumerate(names) if k not in merged}
    first = [class_key(name) for name in project.first_names]
    former = {key: merged.get(k, k) for k, key in enumerate(first) if first.count(key) == 1}
    former |= {class_key(names[k]): target for k, target in merged.items()}
    for record in found:
        for name in (record.label, record.suggestion):
            if name is None or class_key(name) in present:
                continue
            if class_key(name) in former:
                taken.renamed[name] = names[former[class_key(name)]]
            else:
                present[class_key(name)] = project.add_class(name)
                taken.new_classes.append(name)
    return former | present


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
