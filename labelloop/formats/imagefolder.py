"""The folder tree that torchvision's ImageFolder, timm, fastai and Keras train from: OUT/train/CLASS/FILE.

Beside the images lie labelloop.jsonl (every record, and where its image went), from which the reader restores the
records exactly, and classes.json (folder name of each class). Trees without the first are read as they stand. Left
out: converting images; a file is exported byte for byte.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from labelloop.errors import BadInput
from labelloop.formats.files import at_line, new_folder, readable
from labelloop.formats.record import Format, Progress, Record, from_values, to_values
from labelloop.formats.table import json_line, json_lines, write_all

RECORDS = "labelloop.jsonl"
CLASSES = "classes.json"

Link = Literal["copy", "hardlink", "symlink"]

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_SPLITS = ("train", "test")
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_LONGEST = 120  # bytes of a name: with a suffix it stays well below the 255 that file systems allow


# -------------------------------------------------------------------------------------------------------- safe names


def safe_name(name: str) -> str:
    """A name that every file system takes: no separator, no reserved name, no dot or space at its end, not too long."""
    name = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).strip(" ").rstrip(". ")
    if name.startswith("."):  # a hidden folder would be overlooked
        name = f"_{name[1:]}"
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    stem, ending = _split_ending(name)
    room = _LONGEST - len(ending.encode())
    return (stem.encode()[:room].decode(errors="ignore").rstrip(". ") or "_") + ending


def _split_ending(name: str) -> tuple[str, str]:
    """Stem and ending, as in ("photo", ".jpg"); only short ASCII endings count."""
    match = re.fullmatch(r"(.+)(\.[A-Za-z0-9]{1,8})", name, re.DOTALL)
    return (match[1], match[2]) if match else (name, "")


class Names:
    """Hands out names that differ on every file system, those that ignore case included."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, wanted: str, of: str, *, ending: bool = True) -> str:
        """`wanted` made safe; where that is taken, with a piece of the hash of `of` before its ending."""
        safe = safe_name(wanted)
        stem, tail = _split_ending(safe) if ending else (safe, "")
        digest = hashlib.sha256(of.encode("utf-8", "surrogatepass")).hexdigest()
        hashes = (f"-{digest[:8]}", f"-{digest[:16]}")
        for addition in itertools.chain(("", *hashes), (f"{hashes[1]}-{n}" for n in itertools.count(2))):
            name = f"{stem}{addition}{tail}"
            key = unicodedata.normalize("NFC", name.casefold())
            if key not in self._taken:
                break
        self._taken.add(key)
        return name


# ----------------------------------------------------------------------------------------------------------- writing


def write_imagefolder(
    records: Iterable[Record], out: Path, *, link: Link = "copy", progress: Progress | None = None
) -> int:
    """Put each image into the folder of its split and class: a copy, or a hard or symbolic link to it.

    Classes are listed in the order in which they appear. The two lists are synced to disk, the images are not: they
    can be exported again. Raises BadInput for a record whose image is not on this machine, or not the one it was.
    """
    if link not in get_args(Link):
        raise BadInput(f"link is {link!r}, wanted {' or '.join(get_args(Link))}")
    with new_folder(out) as root, (root / RECORDS).open("xb") as lines, (root / CLASSES).open("xb") as classes:
        tree = _Tree(root, link)
        done = write_all(records, lambda record: lines.write(json_line(tree.put(record))), progress)
        listed = [{"name": name, "folder": folder} for name, folder in tree.folders.items()]
        classes.write(json.dumps(listed, ensure_ascii=False, indent=1).encode() + b"\n")
        for file in (lines, classes):
            file.flush()
            os.fsync(file.fileno())
    return done


class _Tree:
    """The growing export: which names are taken, and where."""

    def __init__(self, root: Path, link: Link) -> None:
        self.root = root
        self.link = link
        self.folders: dict[str, str] = {}  # class -> folder
        self._class_names = Names()
        self._file_names: dict[str, Names] = {}  # "train/rust" -> the names in there

    def put(self, record: Record) -> dict[str, str | int | float | None]:
        """Bring one image in; its columns, and where it went."""
        if record.label not in self.folders:
            self.folders[record.label] = self._class_names.new(record.label, record.label, ending=False)
        place = f"{record.split}/{self.folders[record.label]}"
        if place not in self._file_names:
            self._file_names[place] = Names()
            (self.root / place).mkdir(parents=True)
        name = self._file_names[place].new(PurePosixPath(record.file_name).name, record.file_name)
        _place(record, self.root / place / name, self.link)
        return {**to_values(record), "exported": f"{place}/{name}"}


def _place(record: Record, target: Path, link: Link) -> None:
    source = record.path
    if source is None or not source.is_file() or not os.access(source, os.R_OK):
        where = "it has no image file" if source is None else f"no file that can be read at {str(source)!r}"
        raise BadInput(f"cannot export {record.file_name!r}: {where}; bring it back or leave it out")
    if link == "copy":
        shutil.copyfile(source, target)
    else:
        _link(source.resolve(), target, link)
    if record.sha256 is not None and _sha256(target) != record.sha256:
        raise BadInput(
            f"cannot export {record.file_name!r}: {str(source)!r} was changed since it was labeled, it may show "
            "something else by now. Run labelloop add PROJECT, which looks at the files again, then export"
        )


def _link(source: Path, target: Path, link: Link) -> None:
    try:
        if link == "hardlink":
            os.link(source, target)
        else:
            target.symlink_to(source)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        reason = (error.strerror or str(error)).lower()
        raise BadInput(f"cannot {link} {str(source)!r} into the export: {reason}; choose link copy") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


# ----------------------------------------------------------------------------------------------------------- reading


def read_imagefolder(path: Path) -> Iterator[Record]:
    """The records of an export; of any other tree one record an image, with its hash: PATH/CLASS or PATH/SPLIT/CLASS.

    `path` of each record is where its image lies, or lay when it was exported. Raises BadInput, in the end, where files
    of an export are not in their place any more: what the folders say is not what its list says.
    """
    with readable(path):
        if not path.is_dir():
            raise BadInput(
                f"cannot read {str(path)!r}: {'not a folder' if path.exists() else 'there is no such folder'}"
            )
        yield from _restored(path) if (path / RECORDS).is_file() else _as_it_stands(path)


def _restored(root: Path) -> Iterator[Record]:
    moved: list[str] = []
    for number, values in json_lines(root / RECORDS):
        with at_line(root / RECORDS, number):
            exported = values.pop("exported", None)
            if not isinstance(exported, str):
                raise BadInput(f"exported is {exported!r}, wanted the path of the image in this folder")
            parts = exported.replace("\\", "/").split("/")
            if ".." in parts or PurePosixPath(exported).is_absolute() or Path(exported).is_absolute():
                raise BadInput(f"exported is {exported!r}, which leads out of this folder")
            record = from_values(values, path=root / exported)
        if not os.path.lexists(root / exported):  # lexists: a link whose photo is elsewhere by now is in its place
            moved.append(exported)
        yield record
    if moved:
        raise BadInput(
            f"{len(moved)} files are not where {str(root / RECORDS)!r} says (first {moved[0]!r}): were they moved to "
            "correct their labels? Delete labelloop.jsonl to read the folders as they stand, or read it alone, as jsonl"
        )


def _as_it_stands(root: Path) -> Iterator[Record]:
    names = _names_of_folders(root)
    for split, folder in _class_folders(root):
        for file in _images(folder):
            name = file.relative_to(root).as_posix()
            label = names.get(folder.name, folder.name)
            try:
                record = Record(file_name=name, label=label, split=split, sha256=_sha256(file), path=file)
            except BadInput as error:
                raise BadInput(f"folder {str(folder)!r}: {error}; rename it") from error
            yield record


def _names_of_folders(root: Path) -> dict[str, str]:
    """What the classes of an export are called, which may be nothing that a folder can be called."""
    try:
        listed = json.loads((root / CLASSES).read_bytes()) if (root / CLASSES).is_file() else []
        return {str(entry["folder"]): str(entry["name"]) for entry in listed}
    except (ValueError, TypeError, KeyError):  # another program's classes.json says nothing about folders
        return {}


def _class_folders(root: Path) -> list[tuple[str, Path]]:
    tops = _folders(root)
    if not tops:
        raise BadInput(
            f"{str(root)!r} holds no folders: wanted one for each class, or train and test with those inside"
        )
    if not any(_folders(top) for top in tops if top.name in _SPLITS):
        return [("train", top) for top in tops]
    for top in tops:
        if top.name not in _SPLITS:
            raise BadInput(f"{str(root)!r} holds {top.name!r} beside train and test: move or rename it")
    return [(top.name, folder) for top in tops for folder in _folders(top)]


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> Iterator[Path]:
    """Everything below that is named like an image, in order; other files are notes and litter."""

    def refuse(error: OSError) -> None:  # os.walk would pass over a folder that it cannot read
        raise error

    for here, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                yield Path(here, name)


IMAGEFOLDER = Format(
    "imagefolder",
    "folders train/CLASS and test/CLASS with the images, as torchvision, timm, fastai and Keras read them",
    write_imagefolder,
    read_imagefolder,
    folder=True,
    options={"link": get_args(Link)},
)
