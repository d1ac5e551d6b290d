"""Spreadsheets as they come: csv in any usual encoding and separator, decimal commas, .xls and .xlsx."""

from __future__ import annotations

import csv
import io
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from brainatlas_text.records import Sex

MAX_BYTES = 8_000_000
"""Larger than any of the sources' spreadsheets by far."""
Row = Mapping[str, str]
Lines = list[list[str]]
_SEXES: Mapping[str, Sex] = {
    "m": "M", "male": "M", "man": "M", "boy": "M", "f": "F", "female": "F", "woman": "F", "girl": "F",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of a spreadsheet under our names; `notes` say what is missing, and why there are no rows."""

    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()


def find_table(
    files: Iterable[Path],
    patterns: Sequence[str],
    columns: Mapping[str, str],
    required: Sequence[str] = ("id",),
    optional: Sequence[str] = (),
) -> Table:
    """The first table whose file name fits a pattern (any case, in their order) and that has the columns.

    `columns` maps our names to patterns of the source's column names; rows come back under our names, without
    those that the table does not have: `required` ones must be there, `optional` ones are not missed. Of a
    workbook all sheets with the required ones are joined. Never raises: people in an unusable spreadsheet are
    kept without facts, and the notes say so.
    """
    files, problems = list(files), []
    for path in (p for pattern in patterns for p in files if fnmatch(p.name.lower(), pattern.lower())):
        try:
            return _joined(path, columns, required, optional)
        except Exception as error:  # readers fail in many ways on junk, and none of them may stop a build
            problems.append(f"{path}: not a usable table ({' '.join(str(error).split())[:160]})")
    return Table(notes=tuple(problems) or (f"no spreadsheet {patterns[0]}: what it says stays unknown",))


def _joined(
    path: Path, columns: Mapping[str, str], required: Sequence[str], optional: Sequence[str]
) -> Table:
    """Rows of the sheets that have most of the columns; raises ValueError where none has `required`."""
    sheets = []
    problem = "empty"
    for header, *lines in (sheet for sheet in _read(path) if sheet):
        places = {name: _place(header, wanted) for name, wanted in columns.items()}
        found = {name: at for name, at in places.items() if at is not None}
        if missing := [name for name in required if name not in found]:
            names = ", ".join(name.strip() for name in header)
            problem = f"no column {_listed(missing, columns)}, found {names}"
        else:
            sheets.append((found, lines))
    most = max((len(found) for found, _ in sheets), default=0)
    rows: list[Row] = []
    for found, lines in sheets:
        if len(found) == most:  # lookup tables on other sheets have an ID as well
            cut = ({name: line[at].strip() for name, at in found.items() if at < len(line)} for line in lines)
            rows += [row for row in cut if any(row.values())]
    if not rows:
        raise ValueError(problem)
    there = next(found for found, _ in sheets if len(found) == most)
    absent = [name for name in columns if name not in there and name not in optional]
    return Table(rows=tuple(rows), notes=(f"{path}: no column {_listed(absent, columns)}",) if absent else ())


def _listed(names: Iterable[str], columns: Mapping[str, str]) -> str:
    return ", ".join(columns[name].replace("|", " or ") for name in names)


def number(text: str | None) -> float | None:
    """A number as written, with decimal point or comma; None for anything else."""
    try:
        value = float((text or "").strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole(text: str | None) -> int | None:
    """A whole number as spreadsheets write it (`12`, `12.0`); None for anything else."""
    value = number(text)
    return int(value) if value is not None and value == int(value) else None


def age(text: str | None) -> float | None:
    """An age in years between 0 and 120; None for anything else."""
    value = number(text)
    return value if value is not None and 0 < value < 120 else None


def sex(text: str | None) -> Sex | None:
    """`M`, `F` or the words; None for anything else."""
    return _SEXES.get((text or "").strip().lower())


def _read(path: Path) -> list[Lines]:
    """Sheets of a file, each a list of lines."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{size / 1e6:.0f} MB, at most {MAX_BYTES / 1e6:.0f} expected")
    readers: Mapping[str, Callable[[Path], list[Lines]]] = {".xls": _read_xls, ".xlsx": _read_xlsx}
    return readers.get(path.suffix.lower(), _read_csv)(path)


def _place(header: Sequence[str], wanted: str) -> int | None:
    """Index of the column whose name fits."""
    for index, name in enumerate(header):
        if re.fullmatch(wanted, name.strip(), re.IGNORECASE):
            return index
    return None


def _read_csv(path: Path) -> list[Lines]:
    text = _decode(path.read_bytes())
    first_line = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t|", key=first_line.count)
    return [[line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if line]]


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\0" in data:  # UTF-16 that does not say so: every other byte of plain letters is zero
        for encoding, zeros in (("utf-16-le", data[1:64:2]), ("utf-16-be", data[0:64:2])):
            if zeros and not any(zeros):
                return data.decode(encoding)
        raise ValueError("binary data")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _read_xls(path: Path) -> list[Lines]:
    import xlrd

    with xlrd.open_workbook(path, logfile=io.StringIO()) as book:
        return [
            [[str(value) for value in sheet.row_values(index)] for index in range(sheet.nrows)]
            for sheet in book.sheets()
        ]


def _read_xlsx(path: Path) -> list[Lines]:
    import openpyxl

    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > 20 * MAX_BYTES:
            raise ValueError("far larger unpacked than a table of people")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # styles and extensions that it does not know are of no interest
        book = openpyxl.load_workbook(io.BytesIO(path.read_bytes()), read_only=True, data_only=True)
        return [
            [["" if value is None else str(value) for value in line] for line in sheet.values]
            for sheet in book.worksheets
        ]
