"""OASIS-1 (cross-sectional): T1w of 416 people aged 18 to 96, 20 of them twice; Analyze 7.5 files.

Preference: SUBJ_111 (average of the session's repeats, own space), RAW (first repeat), T88_111 (Talairach
space; whole head before masked). Analyze stores no orientation; arrays run A, S, L in RAW and SUBJ_111 and
L, A, S in T88_111. Healthy by the source's account: a Clinical Dementia Rating of 0, or none for the young.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from brainatlas_text.records import Facts, SourceScan
from brainatlas_text.sources import tabular
from brainatlas_text.sources.discovery import Discovery, Form, choose, list_files

YOUNG_YEARS = 60
"""Nobody in the table is without a rating from this age on; the rating was made of the older people."""
_FILE = re.compile(r"OAS1_(?P<id>\d{4})_MR(?P<visit>[12])_mpr(?P<form>.+)\.img(\.gz)?", re.I)
_COLUMNS = {"id": "ID", "sex": "M/F|SEX", "age": "AGE", "rating": "CDR"}
_FORMS = (  # name after `_mpr`, array order, shows the brain alone
    (re.compile(r"_n\d_anon_sbj_111", re.I), "ASL", False),
    *((re.compile(rf"-{repeat}_anon", re.I), "ASL", False) for repeat in range(1, 5)),
    (re.compile(r"_n\d_anon_111_t88_gfc", re.I), "LAS", False),
    (re.compile(r"_n\d_anon_111_t88_masked_gfc", re.I), "LAS", True),
)


def discover(folder: Path) -> Discovery:
    """Find the scans below the folder of this source."""
    files = list_files(folder)
    table = tabular.find_table(files, "oasis_cross-sectional*.csv", _COLUMNS)
    sessions = {row["id"].upper(): _facts(row) for row in table.rows}
    forms = []
    for path in files:
        if match := _FILE.fullmatch(path.name):
            forms += [
                Form(rank=rank, scan=_scan(match["id"], match["visit"], path, order, stripped, sessions))
                for rank, (name, order, stripped) in enumerate(_FORMS)
                if name.fullmatch(match["form"])
            ]
    scans, rejections = choose(forms)
    return Discovery(scans=scans, rejections=rejections, notes=(table.note,) if table.note else ())


def _scan(
    person: str, visit: str, path: Path, order: str, stripped: bool, sessions: Mapping[str, Facts]
) -> SourceScan:
    session = f"OAS1_{person}_MR{visit}"
    return SourceScan(
        key=f"oasis-{person}-{visit}-t1w",
        subject=f"oasis-{person}",
        source="oasis",
        sequence="T1w",
        image=path,
        stripped=stripped,
        array_order=order,
        orientation_source="convention",
        facts=sessions.get(session, Facts()),
        terms="oasis",
        notes=()
        if session in sessions
        else (f"{session} is not in the spreadsheet; age, sex and health unknown",),
    )


def _facts(row: tabular.Row) -> Facts:
    age, rating = tabular.age(row.get("age")), tabular.number(row.get("rating"))
    young = age is not None and age < YOUNG_YEARS
    healthy = (rating == 0) if rating is not None else (True if young else None)
    return Facts(age_years=age, sex=tabular.sex(row.get("sex")), healthy=healthy)
