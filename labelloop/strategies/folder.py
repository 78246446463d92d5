"""Finds drop-in strategies: the *.py files of a strategies/ folder, and the entry points of installed packages.

A drop-in file is executed when it is new or was changed. One that is broken is reported, and what it defined before
stays in use. Left out: everything about images; nothing inside an image folder is ever executed.
"""

from __future__ import annotations

import sys
from dataclasses import replace as changed
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from threading import Lock
from types import CodeType, ModuleType

from labelloop.errors import BadStrategy
from labelloop.strategies.contract import Strategy, where
from labelloop.strategies.registry import collect, replace

GROUP = "labelloop.strategies"

_lock = Lock()
_stamps: dict[Path, tuple[int, int]] = {}  # (mtime in ns, size) of each file when it was last executed
_problems: dict[Path, BadStrategy] = {}
_installed: set[str] = set()


def load_folder(folder: Path) -> list[BadStrategy]:
    """Register the strategies of all *.py files in a folder, but for those whose name starts with _.

    Cheap to call again: only files that changed are executed, and the strategies of files that are gone leave the
    registry. Returns one problem for each file that is broken at present; the others work. No folder, no strategies.
    """
    with _lock:
        home = folder.resolve()
        files = sorted(file for file in home.glob("*.py") if not file.name.startswith("_"))
        for gone in [file for file in _stamps if file.parent == home and file not in files]:
            _forget(gone)
        for file in files:
            _refresh(file)
        return [_problems[file] for file in files if file in _problems]


def load_installed() -> list[BadStrategy]:
    """Register what installed packages offer under the entry-point group labelloop.strategies, each once.

    An entry point names the module that holds the decorated functions. Returns one problem for each that fails.
    """
    with _lock:
        return [problem for point in entry_points(group=GROUP) if (problem := _load_entry(point))]


def _refresh(file: Path) -> None:
    status = file.stat()
    stamp = (status.st_mtime_ns, status.st_size)
    if _stamps.get(file) == stamp:
        return
    _stamps[file] = stamp
    _problems.pop(file, None)
    try:
        replace(str(file), execute(file))
    except BadStrategy as problem:
        _problems[file] = problem


def _forget(file: Path) -> None:
    del _stamps[file]
    _problems.pop(file, None)
    sys.modules.pop(_module_name(file), None)
    replace(str(file), {})


def execute(file: Path) -> dict[str, Strategy]:
    """The strategies that a file defines; they are not registered. Raises BadStrategy where it is broken."""
    loader = _Fresh(_module_name(file), str(file))
    module = ModuleType(loader.name)
    module.__file__ = str(file)
    sys.modules[loader.name] = module  # dataclasses look their module up there
    try:
        with collect() as found:
            loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the file is the user's: whatever it does must not take the app down
        raise BadStrategy(f"{where(error, str(file))}: {type(error).__name__}: {error}") from error
    if not found:
        raise BadStrategy(f"{file} has no function under @strategy; add one, or start the file's name with _")
    return {name: changed(one, origin=str(file)) for name, one in found.items()}


def _load_entry(point: EntryPoint) -> BadStrategy | None:
    if point.value in _installed:
        return None
    origin = f"{point.dist.name if point.dist else 'package'}: {point.value}"
    try:
        with collect() as found:
            point.load()
        replace(origin, {name: changed(one, origin=origin) for name, one in found.items()})
    except Exception as error:  # noqa: BLE001 another package's code: say what is wrong and go on without it
        return BadStrategy(f"installed strategy {point.name} ({origin}): {type(error).__name__}: {error}")
    _installed.add(point.value)
    return None


def _module_name(file: Path) -> str:
    return f"labelloop drop-in {file}"


class _Fresh(SourceFileLoader):
    """Compiles anew each time: bytecode caches go by whole seconds, so a quick second edit would not be seen."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)
