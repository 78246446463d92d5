"""Labels from where images lie: an image in .../rust/ is "rust".

Left out: folders of an export, which carry more than names (exchange.py reads those).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from labelloop.errors import BadInput
from labelloop.project import Project, class_key
from labelloop.types import Event


@dataclass
class FromFolders:
    """What became of the folder names."""

    labels: int = 0
    new_classes: list[str] = field(default_factory=list)
    torn: dict[str, list[str]] = field(default_factory=dict)  # image -> the classes of the folders it lies in
    not_classes: list[str] = field(default_factory=list)  # folders that are called like no class


def labels_from_folders(project: Project, *, by: str = "") -> FromFolders:
    """Label each image without an answer by the name of the folder it lies in, held-out ones too: they are answers.

    A project without classes gets one for each folder; otherwise folders called like no class are left out. The same
    bytes in folders of two classes get no label, nobody knows which is right. Raises BadInput for a single class.
    """
    folders: dict[int, set[str]] = {}
    for image_id, path in project.catalog.files():
        folders.setdefault(image_id, set()).add(PurePosixPath(path).parent.name)
    names = {name for found in folders.values() for name in found if name}
    result = FromFolders(new_classes=[] if project.classes else _add_classes(project, names))
    known = {class_key(name): index for index, name in enumerate(project.classes)}
    index = {name: known[class_key(name)] for name in names if class_key(name) in known}
    result.not_classes = sorted(names - index.keys())
    answered = {answer.image_id for answer in project.log.answers()}
    events = []
    for image_id in sorted(folders.keys() - answered):
        found = {index[name] for name in folders[image_id] if name in index}
        if len(found) > 1:
            result.torn[project.catalog.image(image_id).name] = [project.classes[k] for k in sorted(found)]
        elif found:
            events.append(Event(image_id=image_id, kind="label", class_index=found.pop(), source="import", by=by))
    result.labels = len(project.log.append(events))
    return result


def _add_classes(project: Project, names: Iterable[str]) -> list[str]:
    different = {class_key(name): name for name in sorted(names, reverse=True) if is_text(name)}
    if len(different) < 2:
        found = f"only one folder, {next(iter(different.values()))!r}" if different else "no folders"
        raise BadInput(f"the images lie in {found}; wanted at least two, each called like its class")
    for _, name in sorted(different.items()):
        project.add_class(name)
    return list(project.classes)


def is_text(name: str) -> bool:
    """Whether the name of a file is text: bytes that are none come as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
