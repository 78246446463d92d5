"""Finds drop-in strategies: the *.py files of a strategies/ folder, and the entry points of installed packages.

A drop-in file is executed when it is new or was changed. One that is broken is reported, and what it defined before
stays in use. What lies in a project's folder is known to that project alone (DropIns); all else goes to the registry.
Left out: everything about images; nothing inside an image folder is ever executed.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from threading import Lock
from types import CodeType, ModuleType
from weakref import finalize

import numpy as np

from labelloop.errors import BadStrategy
from labelloop.strategies.contract import Strategy, said, where
from labelloop.strategies.deadline import SECONDS, StillRunning, within
from labelloop.strategies.registry import collect, everything, refuse_taken, replace

GROUP = "labelloop.strategies"

Stamp = tuple[int, int]


@dataclass
class _Read:
    """What is known of one file."""

    stamp: Stamp  # (mtime in ns, size) when it was last executed
    found: dict[str, Strategy]  # defined by the newest version that worked
    problem: BadStrategy | None


class DropIns:
    """The strategies of all *.py files in a folder, but for those whose name starts with _ or a dot.

    Safe to share by threads. They are nobody's but the owner's, and gone with this object. No folder, no strategies.
    """

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        self._folder, self._seconds = folder, seconds
        self._files: dict[Path, _Read] = {}  # in the order in which they were found: names are for who came first
        self._modules: dict[str, ModuleType | None] = {}
        self._lock = Lock()
        finalize(self, _forget, self._modules).atexit = False

    def load(self, taken: Mapping[str, Strategy]) -> tuple[dict[str, Strategy], list[BadStrategy]]:
        """What they are at present, and a problem for each file that is broken or wants a name that is taken.

        Cheap to call again: only files that changed are executed.
        """
        with self._lock:
            self._follow()
            return self._usable(taken)

    def _follow(self) -> None:
        stamps = _stamps(self._folder.resolve())
        for gone in self._files.keys() - stamps.keys():
            del self._files[gone]
            _forget({_module_name(gone): self._modules.pop(_module_name(gone))})
        for file, stamp in stamps.items():
            old = self._files.get(file)
            if old is None or old.stamp != stamp:
                self._files[file] = self._read(file, stamp, {} if old is None else old.found)

    def _read(self, file: Path, stamp: Stamp, before: dict[str, Strategy]) -> _Read:
        try:
            return _Read(stamp, within(self._seconds, lambda: execute(file), str(file)), None)
        except StillRunning as error:
            return _Read(stamp, before, BadStrategy(f"{file} {error}; it is read again once it changes"))
        except BadStrategy as problem:
            return _Read(stamp, before, problem)
        finally:
            self._modules[_module_name(file)] = sys.modules.get(_module_name(file))

    def _usable(self, taken: Mapping[str, Strategy]) -> tuple[dict[str, Strategy], list[BadStrategy]]:
        own: dict[str, Strategy] = {}
        problems: dict[Path, BadStrategy] = {}
        for file, read in self._files.items():
            for name, one in read.found.items():
                try:
                    refuse_taken(one, {**taken, **own})
                    own[name] = one
                except BadStrategy as problem:
                    problems.setdefault(file, problem)
            if read.problem is not None:
                problems[file] = read.problem
        return own, [problems[file] for file in sorted(problems)]


_lock = Lock()
_folders: dict[Path, DropIns] = {}
_installed: dict[str, BadStrategy | None] = {}  # what was read, and what is wrong with it


def load_folder(folder: Path) -> list[BadStrategy]:
    """Register the drop-ins of a folder for all projects; those of files that are gone leave the registry.

    Cheap to call again. Returns one problem for each file that is broken at present; the others work.
    """
    home = folder.resolve()
    with _lock:
        known = everything()
        before = {name: one for name, one in known.items() if Path(one.origin).parent == home}
        others = {name: one for name, one in known.items() if name not in before}
        found, problems = _folders.setdefault(home, DropIns(home)).load(others)
        if found != before:
            replace({one.origin for one in before.values()}, found)
        return problems


def load_installed() -> list[BadStrategy]:
    """Register what installed packages offer under the entry-point group labelloop.strategies, each once.

    An entry point names the module that holds the decorated functions. Returns one problem for each that fails or
    offers nothing; Python keeps modules, so one that is mended is seen after a restart.
    """
    with _lock:
        points = entry_points(group=GROUP)
        for point in points:
            if point.value not in _installed:
                _installed[point.value] = _load_entry(point)
        return [problem for point in points if (problem := _installed[point.value])]


def execute(file: Path) -> dict[str, Strategy]:
    """The strategies that a file defines; they are not registered. Raises BadStrategy where it is broken."""
    in_words = str(file).encode("utf-8", "backslashreplace").decode()
    if in_words != str(file):  # what is said of it could not be sent to a browser
        raise BadStrategy(f"{in_words}: the name is not in UTF-8; rename the file")
    loader = _Fresh(_module_name(file), str(file))
    module = ModuleType(loader.name)
    module.__file__ = str(file)
    sys.modules[loader.name] = module  # dataclasses look their module up there
    try:
        with collect() as found, np.errstate():  # what it tells numpy about overflows is not for everybody
            loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the file is the user's: whatever it does must not take the app down
        raise BadStrategy(f"{where(error, str(file))}: {said(error)}") from error
    if not found:
        raise BadStrategy(f"{file} has no function under @strategy; add one, or start the file's name with _")
    return {name: changed(one, origin=str(file)) for name, one in found.items()}


def _load_entry(point: EntryPoint) -> BadStrategy | None:
    origin = f"{point.dist.name if point.dist else 'package'}: {point.value}"
    try:
        with collect() as found, np.errstate():
            point.load()
        replace(origin, {name: changed(one, origin=origin) for name, one in found.items()})
    except (Exception, SystemExit) as error:  # noqa: BLE001 another package's code: say what is wrong and go on without it
        return BadStrategy(f"installed strategy {point.name} ({origin}): {said(error)}")
    package = point.module.partition(".")[0]
    # Modules run once: what was imported before, or by another entry point, has registered what it has.
    if any(one.function.__module__.partition(".")[0] == package for one in everything().values()):
        return None
    return BadStrategy(f"installed strategy {point.name} ({origin}): no function under @strategy; add one there")


def drop_in_files(home: Path) -> list[Path]:
    """The files of a folder that are read as drop-ins, sorted."""
    return list(_stamps(home))


def is_left_alone(file: Path) -> bool:
    """Whether its name keeps it from being read: _ starts drafts, and . what editors and macOS put beside a file."""
    return file.name.startswith(("_", "."))


def _stamps(home: Path) -> dict[Path, Stamp]:
    stamps = {}
    for file in sorted(home.glob("*.py")):
        if is_left_alone(file):
            continue
        try:
            status = file.stat()
        except FileNotFoundError:  # it went a moment ago
            continue
        except OSError:  # a link to itself, a folder that may not be looked into: reading it says what is wrong
            stamps[file] = (0, 0)
            continue
        if stat.S_ISREG(status.st_mode):  # a pipe would be waited for for ever
            stamps[file] = (status.st_mtime_ns, status.st_size)
    return stamps


def _forget(modules: Mapping[str, ModuleType | None]) -> None:
    """Take modules out of Python's list, but for those of the same file that another owner has executed since."""
    for name, module in modules.items():
        if sys.modules.get(name) is module:
            sys.modules.pop(name, None)


def _module_name(file: Path) -> str:
    # A dot would mean a package above it, which pickle and importlib look for; no path has // in it.
    return f"labelloop drop-in {str(file).replace('.', '//')}"


class _Fresh(SourceFileLoader):
    """Compiles anew each time: bytecode caches go by whole seconds, so a quick second edit would not be seen."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)
