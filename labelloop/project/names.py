"""Names of classes: as they are stored, and which of them are the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from labelloop.errors import BadInput


def clean_name(name: str) -> str:
    """A class name as it is stored: composed Unicode, no blanks around it."""
    return unicodedata.normalize("NFC", name).strip()


def class_key(name: str) -> str:
    """What all spellings of one class name have in common."""
    return clean_name(name).casefold()


def clean_names(names: Sequence[str]) -> list[str]:
    """Class names as they are stored; raises BadInput for an empty one, or two that differ only in case.

    One text is no list of names: taken letter by letter it would be many classes that nobody meant.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise BadInput(f"classes {names!r}; wanted a list of names, such as ['rust', 'mildew']")
    cleaned = [clean_name(name) for name in names]
    if any("\ud800" <= letter <= "\udfff" for name in cleaned for letter in name):
        raise BadInput(f"a class name is not valid text (UTF-8): {cleaned!a}")
    if "" in cleaned:
        raise BadInput(f"class {cleaned.index('') + 1} of {len(cleaned)} has an empty name")
    seen: dict[str, str] = {}
    for name in cleaned:
        if name.casefold() in seen:
            raise BadInput(f"the class names {seen[name.casefold()]!r} and {name!r} are the same")
        seen[name.casefold()] = name
    return cleaned
