"""Spreadsheets as they come: csv in any usual encoding and separator, decimal commas, and .xls."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from brainatlas_text.records import Sex

MAX_BYTES = 8_000_000
"""Larger than any of the sources' spreadsheets by far."""
Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of a spreadsheet, column names in upper case; `note` says why there are none."""

    rows: tuple[Row, ...] = ()
    note: str | None = None


def find_table(files: Iterable[Path], pattern: str, columns: Mapping[str, str]) -> Table:
    """The first table whose file name fits the pattern (any case) and that has the columns.

    `columns` maps our names to patterns of the source's column names; rows come back under our names.
    Never raises: people in an unusable spreadsheet are kept without facts, and the note says so.
    """
    problems = []
    for path in (path for path in files if fnmatch(path.name.lower(), pattern.lower())):
        try:
            header, *lines = _read(path)
            places = {name: _place(header, wanted) for name, wanted in columns.items()}
        except Exception as error:  # readers fail in many ways on junk, and none of them may stop a build
            problems.append(f"{path}: not a usable table ({' '.join(str(error).split())[:120]})")
            continue
        rows = [{name: line[at].strip() for name, at in places.items() if at < len(line)} for line in lines]
        return Table(rows=tuple(row for row in rows if any(row.values())))
    return Table(note="; ".join(problems) or f"no spreadsheet {pattern}: age and sex stay unknown")


def number(text: str | None) -> float | None:
    """A number as written, with decimal point or comma; None for anything else."""
    try:
        value = float((text or "").strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def age(text: str | None) -> float | None:
    """An age in years between 0 and 120; None for anything else."""
    value = number(text)
    return value if value is not None and 0 < value < 120 else None


def sex(text: str | None) -> Sex | None:
    """`M`, `F` or the words; None for anything else."""
    initial = (text or "").strip()[:1].upper()
    return "F" if initial == "F" else "M" if initial == "M" else None


def _read(path: Path) -> list[list[str]]:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{size / 1e6:.0f} MB, at most {MAX_BYTES / 1e6:.0f} expected")
    lines = _read_xls(path) if path.suffix.lower() == ".xls" else _read_csv(path)
    if not lines:
        raise ValueError("empty")
    return lines


def _place(header: Sequence[str], wanted: str) -> int:
    """Index of the column whose name fits; raises ValueError with what is there."""
    for index, name in enumerate(header):
        if re.fullmatch(wanted, name.strip(), re.IGNORECASE):
            return index
    names = ", ".join(name.strip() for name in header)
    raise ValueError(f"no column {wanted.replace('|', ' or ')}, found {names}")


def _read_csv(path: Path) -> list[list[str]]:
    text = _decode(path.read_bytes())
    first_line = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first_line.count)
    return [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if line]


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\0" in data:
        raise ValueError("binary data")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _read_xls(path: Path) -> list[list[str]]:
    import xlrd

    with xlrd.open_workbook(path, logfile=io.StringIO()) as book:
        sheet = book.sheet_by_index(0)
        return [[str(value) for value in sheet.row_values(index)] for index in range(sheet.nrows)]
