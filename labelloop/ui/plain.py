"""Texts that people or their files named, shown as they are: Streamlit reads most texts as Markdown."""

from __future__ import annotations

import re

import streamlit as st

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$^&=@/\"'])")
_AFTER_COLON = "\u2060"  # a word joiner, seen by nobody: it keeps ":smile:" and ":red[…]" from being read as commands


def plain(text: str) -> str:
    """A text in which Markdown finds nothing to do. Bytes of file names that are no text are spelled \\udcff."""
    shown = text.encode(errors="backslashreplace").decode()
    escaped = _MARKDOWN.sub(r"\\\1", shown).replace(":", f":{_AFTER_COLON}")
    return escaped.replace("\n", "  \n")


def show_error(error: Exception | str) -> None:
    """An error in its own words."""
    st.error(plain(str(error)), icon=":material/error:")


def show_path(before: str, path: object) -> None:
    """A quiet line that ends in a path."""
    st.caption(f"{before} {plain(str(path))}")
