"""Labels as a table: CSV, and JSON lines.

Both hold every text exactly; CSV spells a missing value as an empty cell, JSON lines as null. Left out: anything that
makes a spreadsheet happy at the price of changing a name.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from labelloop.errors import BadInput
from labelloop.formats.files import at_line, new_file, readable
from labelloop.formats.record import COLUMNS, Format, Progress, Record, from_values, to_values

# ---------------------------------------------------------------------------------------------------------------- CSV


_NEEDS_QUOTES = re.compile(r'[",\r\n]')


def write_csv(records: Iterable[Record], out: Path, *, progress: Progress | None = None) -> int:
    """A header line and one line a record, UTF-8; undecodable bytes of file names are written as they are."""
    with new_file(out) as file:
        file.write(csv_line(COLUMNS))
        return write_all(records, lambda record: file.write(csv_line(to_values(record).values())), progress)


def csv_line(values: Iterable[str | int | float | None]) -> bytes:
    r"""One line of a table.

    Not csv.writer: ending lines with \n it leaves a \r in a name unquoted, where its own reader splits the line.
    """
    cells = ("" if value is None else str(value) for value in values)  # str() of a float is its shortest exact spelling
    quoted = ('"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell for cell in cells)
    return ",".join(quoted).encode("utf-8", "surrogateescape") + b"\n"


def read_csv(path: Path) -> Iterator[Record]:
    """Needs the columns file_name and label, in any order; columns it does not know are ignored."""
    with (
        readable(path),
        path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
    ):
        rows = csv.reader(file, strict=True)
        with at_line(path, 1):
            columns = next(rows, [])
            _check_header(columns)
        while True:
            with at_line(path, rows.line_num + 1):
                row = next(rows, None)
                if row is None:
                    return
                if not row:  # a blank line
                    continue
                if len(row) != len(columns):
                    raise BadInput(f"{len(row)} cells, wanted {len(columns)} as in the header")
                record = from_values({name: _cell(name, text) for name, text in zip(columns, row, strict=True)})
            yield record  # outside: what the caller raises is not about this line


def _check_header(columns: list[str]) -> None:
    if any("\udc80" <= letter <= "\udcff" or letter == "\0" for name in columns for letter in name):
        raise BadInput("the text is not UTF-8; save the table as CSV UTF-8")
    twice = {name for name in columns if name in COLUMNS and columns.count(name) > 1}
    if twice:
        raise BadInput(f"column {min(twice)!r} is there twice")
    missing = [name for name in ("file_name", "label") if name not in columns]
    if missing:
        found = ", ".join(map(repr, columns)) or "nothing"
        raise BadInput(f"column {missing[0]!r} is missing; the first line names the columns, and it holds {found}")


def _cell(name: str, text: str) -> str | float | int:
    if name not in ("seconds", "round", "probability") or not text:
        return text
    try:
        return int(text) if name == "round" and text.lstrip("-").isdecimal() else float(text)
    except ValueError as error:
        raise BadInput(f"{name} is {text!r}, wanted a number") from error


# --------------------------------------------------------------------------------------------------------- JSON lines


def write_jsonl(records: Iterable[Record], out: Path, *, progress: Progress | None = None) -> int:
    """One JSON object a line, UTF-8; an undecodable byte of a file name is a lone surrogate, as in Python: \\udce9."""
    with new_file(out) as file:
        return write_all(records, lambda record: file.write(json_line(to_values(record))), progress)


def json_line(values: dict[str, Any]) -> bytes:
    r"""One line. Python's "backslashreplace" spells a lone surrogate \udce9, which is just what JSON wants."""
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def read_jsonl(path: Path) -> Iterator[Record]:
    """Each line needs file_name and label; keys it does not know are ignored."""
    for number, values in json_lines(path):
        with at_line(path, number):
            record = from_values(values)
        yield record


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of each line (from 1) and the object in it; blank lines are skipped."""
    with readable(path), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            with at_line(path, number):
                values = _json_object(line)
            if values is not None:
                yield number, values


def _json_object(line: bytes) -> dict[str, Any] | None:
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise BadInput("the text is not UTF-8; save the file as UTF-8") from error
    if not text:
        return None
    try:
        values = json.loads(text, object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"broken JSON: {error}") from error
    if not isinstance(values, dict):
        raise BadInput(f"a JSON {type(values).__name__}, wanted an object {{…}}")
    return values


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise BadInput(f"key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return values


# --------------------------------------------------------------------------------------------------------------- both


def write_all(records: Iterable[Record], write: Callable[[Record], object], progress: Progress | None) -> int:
    """Write one after the other and count; raises BadInput where there is none."""
    done = 0
    for done, record in enumerate(records, 1):
        write(record)
        if progress is not None:
            progress(done)
    if not done:
        raise BadInput("nothing to export: there are no labels yet")
    return done


CSV = Format("csv", "a table for spreadsheets and pandas, one line an image", write_csv, read_csv)
JSONL = Format("jsonl", "JSON lines, one object an image", write_jsonl, read_jsonl)
