"""IXI: nearly 600 healthy people, T1w and T2w used here; flat NIfTI files and IXI.xls.

The spreadsheet has double rows. Doubles that agree are one; where they contradict each other, the fact in
question stays unknown and the scan carries a note.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from brainatlas_text.records import Facts, Sex, SourceScan
from brainatlas_text.records import Sequence as MriSequence
from brainatlas_text.sources import tabular
from brainatlas_text.sources.discovery import Discovery, Form, choose, list_files

SCANNERS = {"HH": "Philips 3 T", "GUYS": "Philips 1.5 T", "IOP": "GE 1.5 T"}
"""By the site in the file name: Hammersmith, Guy's, Institute of Psychiatry."""
_SEQUENCES: dict[str, MriSequence] = {"T1": "T1w", "T2": "T2w"}
_SEXES: dict[float, Sex] = {1.0: "M", 2.0: "F"}
_COLUMNS = {"id": "(IXI_)?ID", "sex": r"SEX.*|GENDER", "age": "AGE"}
_FILE = re.compile(
    r"IXI(?P<id>\d{3})-(?P<site>Guys|HH|IOP)-(?P<session>\d{4})-(?P<sequence>[A-Z0-9]+)(-\d+)?\.nii(?P<gz>\.gz)?",
    re.I,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What the spreadsheet says of one person."""

    facts: Facts
    notes: tuple[str, ...]


def discover(folder: Path) -> Discovery:
    """Find the scans below the folder of this source."""
    files = list_files(folder)
    table = tabular.find_table(files, ("ixi*.xls", "ixi*.xlsx", "ixi*.csv"), _COLUMNS)
    people = _people(table)
    forms, unused = [], Counter[str]()
    for path in files:
        if not (match := _FILE.fullmatch(path.name)):
            continue
        if (name := match["sequence"].upper()) in _SEQUENCES:
            forms.append(Form(rank=0 if match["gz"] else 1, scan=_scan(match, path, people)))
        else:
            unused[name] += 1
    scans, rejections = choose(forms)
    notes = list(table.notes)
    if unused:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(unused.items()))
        notes.append(f"files of sequences that are not used: {counts}")
    return Discovery(scans=scans, rejections=rejections, notes=tuple(notes))


def _scan(match: re.Match[str], path: Path, people: dict[int, Person]) -> SourceScan:
    number, sequence = match["id"], _SEQUENCES[match["sequence"].upper()]
    stranger = Person(facts=Facts(), notes=(f"IXI{number} is not in the spreadsheet; age and sex unknown",))
    person = people.get(int(number), stranger)
    return SourceScan(
        key=f"ixi-{number}-{sequence.lower()}",
        subject=f"ixi-{number}",
        source="ixi",
        sequence=sequence,
        image=path,
        facts=replace(person.facts, healthy=True, scanner=SCANNERS[match["site"].upper()]),
        terms="ixi",
        notes=person.notes,
    )


def _people(table: tabular.Table) -> dict[int, Person]:
    """Facts by IXI number, rows of one person joined."""
    rows: dict[int, list[tabular.Row]] = {}
    for row in table.rows:
        if (number := tabular.whole(row.get("id"))) is not None:
            rows.setdefault(number, []).append(row)
    return {number: _joined(number, group) for number, group in rows.items()}


def _joined(number: int, rows: list[tabular.Row]) -> Person:
    ages = sorted({value for row in rows if (value := tabular.age(row.get("age"))) is not None})
    sexes = sorted({sex for row in rows if (sex := _sex(row.get("sex"))) is not None})
    notes = []
    if len(ages) > 1:
        notes.append(f"the spreadsheet has several ages for IXI{number:03d} ({_listed(ages)}); age unknown")
    if len(sexes) > 1:
        notes.append(f"the spreadsheet has several sexes for IXI{number:03d} ({_listed(sexes)}); sex unknown")
    facts = Facts(age_years=ages[0] if len(ages) == 1 else None, sex=sexes[0] if len(sexes) == 1 else None)
    return Person(facts=facts, notes=tuple(notes))


def _sex(text: str | None) -> Sex | None:
    code = tabular.number(text)
    return _SEXES.get(code) if code is not None else tabular.sex(text)


def _listed(values: Iterable[float | str]) -> str:
    return ", ".join(f"{value:.2f}" if isinstance(value, float) else value for value in values)
