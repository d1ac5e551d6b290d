"""IBSR v2: 18 people, T1w, manual labels of the CMA; NIfTI (stripped) and ANALYZE releases.

Preference: NIfTI stripped image, NIfTI whole head with its brain mask, ANALYZE. The ANALYZE release stores no
orientation: its arrays run L, I, A, as comparison with the NIfTI release shows (readers that trust the
`.mat` beside it and flip the first axis put left on the right). `segTRI` and `parc` files are other maps
and never labels here.
"""

from __future__ import annotations

import re
from pathlib import Path

from brainatlas_text.records import Facts, SourceScan
from brainatlas_text.sources import tabular
from brainatlas_text.sources.discovery import Discovery, Form, choose, list_files

ANALYZE_ORDER = "LIA"
_FILE = re.compile(
    r"IBSR_(?P<id>\d\d)(?P<kind>|_ana|_ana_strip|_ana_brainmask|_seg_ana)\.(?P<ext>nii|img)(\.gz)?", re.I
)
_RANKS = {
    ("nii", "_ana_strip"): 0,
    ("nii", "_ana"): 1,
    ("nii", ""): 2,
    ("img", "_ana_strip"): 3,
    ("img", "_ana"): 4,
}
_README_ROW = re.compile(r"^\s*(\d{1,2})\s+([MF])\s+(JUV|\d{1,2})\s*$")


def discover(folder: Path) -> Discovery:
    """Find the scans below the folder of this source."""
    files = list_files(folder)
    found: dict[tuple[str, str, str], list[Path]] = {}
    for path in files:
        if match := _FILE.fullmatch(path.name):
            parts = (match["id"], match["ext"].lower(), match["kind"].lower())
            found.setdefault(parts, []).append(path)
    people, note = _people(files)
    forms = [
        Form(rank=_RANKS[ext, kind], scan=_scan(person, ext, kind, path, found, people))
        for (person, ext, kind), paths in found.items()
        if (ext, kind) in _RANKS
        for path in paths
    ]
    scans, rejections = choose(forms)
    return Discovery(scans=scans, rejections=rejections, notes=(note,) if note else ())


def _scan(
    person: str,
    ext: str,
    kind: str,
    path: Path,
    found: dict[tuple[str, str, str], list[Path]],
    people: dict[int, Facts],
) -> SourceScan:
    dseg = _beside(path, found.get((person, ext, "_seg_ana"), []))
    known = int(person) in people
    return SourceScan(
        key=f"ibsr-{person}-t1w",
        subject=f"ibsr-{person}",
        source="ibsr",
        sequence="T1w",
        image=path,
        dseg=dseg,
        label_scheme="ibsr-cma" if dseg else None,
        mask=_beside(path, found.get((person, ext, "_ana_brainmask"), [])),
        stripped=kind == "_ana_strip",
        array_order=ANALYZE_ORDER if ext == "img" else None,
        orientation_source="convention" if ext == "img" else "header",
        facts=people.get(int(person), Facts()),
        terms="ibsr",
        notes=() if known else ("not in the source's table of people; age and sex unknown",),
    )


def _beside(image: Path, candidates: list[Path]) -> Path | None:
    """The candidate that shares most of its folders with the image."""
    return max(candidates, key=lambda path: _shared_parts(image, path), default=None)


def _shared_parts(one: Path, other: Path) -> int:
    pairs = zip(one.parts, other.parts, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), 0)


def _people(files: list[Path]) -> tuple[dict[int, Facts], str | None]:
    """Facts by IBSR number from IBSR_info.csv, else from the release's README."""
    table = tabular.find_table(files, "ibsr_info*.csv", {"id": "ID", "sex": "GENDER|SEX", "age": "AGE"})
    people = {
        int(number): _facts(row.get("sex"), row.get("age"))
        for row in table.rows
        if (number := tabular.number(row.get("id"))) is not None
    }
    for path in files if not people else []:
        if path.name.lower().startswith("readme") and path.stat().st_size < tabular.MAX_BYTES:
            lines = path.read_text(encoding="latin-1").splitlines()
            matches = [match for line in lines if (match := _README_ROW.match(line))]
            people |= {int(match[1]): _facts(match[2], match[3]) for match in matches}
    return people, None if people else table.note


def _facts(sex: str | None, age: str | None) -> Facts:
    juvenile = (age or "").strip().upper() == "JUV"
    return Facts(age_years=None if juvenile else tabular.age(age), juvenile=juvenile, sex=tabular.sex(sex))
