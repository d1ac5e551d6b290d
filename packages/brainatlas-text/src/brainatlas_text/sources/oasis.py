"""OASIS-1 (cross-sectional): T1w of 416 people aged 18 to 96, 20 of them twice; Analyze 7.5 files.

Preference: SUBJ_111 (average of the session's repeats, own space), RAW (first repeat, or all repeats to be
averaged where asked for), T88_111 (Talairach space; whole head before masked), then the packaging of
neurite-oasis (`OASIS_OAS1_0001_MR1/orig.nii.gz`, then `norm`, `aligned_norm`: NIfTI with FreeSurfer's axes,
scaled to 0..1 by others). Analyze stores no orientation; arrays run A, S, L in RAW and SUBJ_111 and L, A, S
in T88_111. FSL_SEG and `seg35` are automatic maps and never labels here. Healthy by the source's account: a
Clinical Dementia Rating of 0, or none for the young.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from brainatlas_text.records import Facts, SourceScan
from brainatlas_text.sources import tabular
from brainatlas_text.sources.discovery import Discovery, Form, choose, list_files

YOUNG_YEARS = 60
"""Nobody in the table is without a rating from this age on; the rating was made of the older people."""
_Value = TypeVar("_Value")
_COLUMNS = {"id": "ID", "sex": "M/F|SEX|GENDER", "age": "AGE", "rating": "CDR"}
_TABLES = ("oasis_cross-sectional*.csv", "oasis_cross-sectional*.xlsx", "oasis_cross-sectional*.xls")
_SESSION = r"OAS1_(?P<id>\d{4})_MR(?P<visit>[12])"
_FILE = re.compile(rf"{_SESSION}_mpr(?P<form>.+)\.img(\.gz)?", re.I)
_NEURITE_FOLDER = re.compile(rf"OASIS_{_SESSION}", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One of the forms in which a session is distributed; the order of `_KINDS` is that of preference."""

    name: re.Pattern[str]
    """What follows `_mpr` in an Analyze file's name, or the whole name of a NIfTI file."""
    array_order: str | None
    stripped: bool = False
    repeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """What the spreadsheet says of one session."""

    facts: Facts = field(default_factory=Facts)
    notes: tuple[str, ...] = ()


def _average(ending: str, array_order: str, *, stripped: bool = False) -> tuple[Kind, ...]:
    """A form made of n repeats; of two such files the one of more repeats."""
    return tuple(
        Kind(name=re.compile(rf"_n{n}_anon_{ending}", re.I), array_order=array_order, stripped=stripped)
        for n in (4, 3, 2, 1)
    )


_KINDS = (
    *_average("sbj_111", "ASL"),
    *(Kind(name=re.compile(rf"-{n}_anon", re.I), array_order="ASL", repeat=True) for n in range(1, 5)),
    *_average("111_t88_gfc", "LAS"),
    *_average("111_t88_masked_gfc", "LAS", stripped=True),
    Kind(name=re.compile(r"orig\.nii(\.gz)?", re.I), array_order=None),
    Kind(name=re.compile(r"norm\.nii(\.gz)?", re.I), array_order=None, stripped=True),
    Kind(name=re.compile(r"aligned_norm\.nii(\.gz)?", re.I), array_order=None, stripped=True),
)


def discover(folder: Path, *, average_repeats: bool = False) -> Discovery:
    """Find the scans below the folder of this source."""
    files = list_files(folder)
    table = tabular.find_table(files, _TABLES, _COLUMNS)
    sessions = _sessions(table)
    forms = [form for path in files if (form := _form(path, sessions))]
    if average_repeats:
        forms = _with_repeats(forms)
    scans, rejections = choose(forms)
    return Discovery(scans=scans, rejections=rejections, notes=table.notes)


def _form(path: Path, sessions: Mapping[str, SourceFacts]) -> Form | None:
    """The file as a form of its session's scan; None for other files."""
    if match := _FILE.fullmatch(path.name):
        name = match["form"]
    elif match := _NEURITE_FOLDER.fullmatch(path.parent.name):
        name = path.name
    else:
        return None
    for rank, kind in enumerate(_KINDS):
        if kind.name.fullmatch(name):
            return Form(rank=rank, scan=_scan(match["id"], match["visit"], path, kind, sessions))
    return None


def _scan(person: str, visit: str, path: Path, kind: Kind, sessions: Mapping[str, SourceFacts]) -> SourceScan:
    session = f"OAS1_{person}_MR{visit}"
    stranger = SourceFacts(notes=(f"{session} is not in the spreadsheet; age, sex and health unknown",))
    stated = sessions.get(session, stranger)
    return SourceScan(
        key=f"oasis-{person}-{visit}-t1w",
        subject=f"oasis-{person}",
        source="oasis",
        sequence="T1w",
        image=path,
        stripped=kind.stripped,
        left_marker=not kind.stripped,
        array_order=kind.array_order,
        orientation_source="convention" if kind.array_order else "header",
        facts=stated.facts,
        terms="oasis",
        notes=stated.notes,
    )


def _with_repeats(forms: list[Form]) -> list[Form]:
    """The first repeat of each session with the further ones, which `prepare` averages with it."""
    repeats: dict[str, dict[int, Form]] = {}
    for form in sorted(forms, key=lambda form: (form.rank, str(form.scan.image))):
        if _KINDS[form.rank].repeat:
            repeats.setdefault(form.scan.key, {}).setdefault(form.rank, form)
    together = {}
    for first, *rest in (list(found.values()) for found in repeats.values()):
        together[first] = replace(first.scan, repeats=tuple(form.scan.image for form in rest))
    return [replace(form, scan=together.get(form, form.scan)) for form in forms]


def _sessions(table: tabular.Table) -> dict[str, SourceFacts]:
    """Facts by session; several rows (the workbook repeats sessions on its sheets) must not contradict."""
    rows: dict[str, list[tabular.Row]] = {}
    for row in table.rows:
        if name := row.get("id", "").upper():
            rows.setdefault(name, []).append(row)
    return {name: _stated(name, group) for name, group in rows.items()}


def _stated(session: str, rows: list[tabular.Row]) -> SourceFacts:
    ages = {age for row in rows if (age := tabular.age(row.get("age"))) is not None}
    sexes = {sex for row in rows if (sex := tabular.sex(row.get("sex"))) is not None}
    ratings = {value for row in rows if (value := tabular.number(row.get("rating"))) is not None}
    unclear = [name for name, found in (("age", ages), ("sex", sexes), ("CDR", ratings)) if len(found) > 1]
    only_age, rating = _only(ages), max(ratings, default=None)
    young = only_age is not None and only_age < YOUNG_YEARS and any("rating" in row for row in rows)
    healthy = (rating == 0) if rating is not None else (True if young else None)
    listed = " and ".join(unclear)
    note = f"the spreadsheet has several values of {listed} for {session}; what differs is unknown"
    return SourceFacts(
        facts=Facts(age_years=only_age, sex=_only(sexes), healthy=healthy), notes=(note,) if unclear else ()
    )


def _only(values: set[_Value]) -> _Value | None:
    return next(iter(values)) if len(values) == 1 else None
