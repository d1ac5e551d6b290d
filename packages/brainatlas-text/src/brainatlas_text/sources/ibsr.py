"""IBSR v2: 18 people, T1w, manual labels of the CMA; NIfTI (stripped) and ANALYZE releases.

Preference: a form with manual labels before one without, then NIfTI stripped image, NIfTI whole head with its
brain mask, the re-packaged `IBSR_01.nii.gz` (the stripped image under another name; `IBSR_01_seg.nii.gz`
beside it is a tissue map), ANALYZE. The ANALYZE release stores no orientation in its headers: its arrays run
L, I, A, as comparison with the NIfTI release shows (readers that flip the first axis put left on the right).
SPM's `.mat` says the same; where it describes the very grid it counts as a check. `segTRI` and `parc` files
are other maps and never labels here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainatlas_text import spaces, volumes
from brainatlas_text.records import Facts, OrientationSource, SourceScan
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
_WITHOUT_LABELS = 10
"""Added to the rank of a form without manual labels."""
_README_ROW = re.compile(r"^\s*(\d{1,2})\s+([MF])\s+(JUV|\d{1,2})\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """How the axes of a file are known."""

    array_order: str | None
    source: OrientationSource
    notes: tuple[str, ...] = ()


def discover(folder: Path) -> Discovery:
    """Find the scans below the folder of this source."""
    files = list_files(folder)
    found: dict[tuple[str, str, str], list[Path]] = {}
    for path in files:
        if match := _FILE.fullmatch(path.name):
            parts = (match["id"], match["ext"].lower(), match["kind"].lower())
            found.setdefault(parts, []).append(path)
    people, notes = _people(files)
    forms = []
    for (person, ext, kind), paths in found.items():
        for path in paths if (ext, kind) in _RANKS else ():
            scan = _scan(person, ext, kind, path, found, people)
            forms.append(Form(rank=_RANKS[ext, kind] + (0 if scan.dseg else _WITHOUT_LABELS), scan=scan))
    scans, rejections = choose(forms)
    return Discovery(scans=scans, rejections=rejections, notes=notes)


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
    orientation = _orientation(path) if ext == "img" else Orientation(array_order=None, source="header")
    stranger = () if known else ("not in the source's table of people; age and sex unknown",)
    return SourceScan(
        key=f"ibsr-{person}-t1w",
        subject=f"ibsr-{person}",
        source="ibsr",
        sequence="T1w",
        image=path,
        dseg=dseg,
        label_scheme="ibsr-cma" if dseg else None,
        mask=_beside(path, found.get((person, ext, "_ana_brainmask"), [])),
        stripped=kind in ("_ana_strip", ""),
        array_order=orientation.array_order,
        orientation_source=orientation.source,
        facts=people.get(int(person), Facts()),
        terms="ibsr",
        notes=(*stranger, *orientation.notes),
    )


def _orientation(image: Path) -> Orientation:
    """The convention for ANALYZE, checked against the `.mat` beside the image where that fits its grid."""
    convention = Orientation(array_order=ANALYZE_ORDER, source="convention")
    matrix_file = image.with_name(image.name.split(".")[0] + ".mat")
    if not matrix_file.is_file():
        return convention
    try:
        codes = _codes_of(matrix_file, _header_zooms_mm(image))
    except Exception as error:  # a file that is no header or no matrix fails in many ways
        problem = f"{matrix_file.name} is not used: {' '.join(str(error).split())[:120]}"
        return Orientation(array_order=ANALYZE_ORDER, source="convention", notes=(problem,))
    if codes == ANALYZE_ORDER:
        return Orientation(array_order=ANALYZE_ORDER, source="checked")
    problem = (
        f"{matrix_file.name} says axes {codes} where the release has {ANALYZE_ORDER}; the release's are used"
    )
    return Orientation(array_order=ANALYZE_ORDER, source="convention", notes=(problem,))


def _header_zooms_mm(image: Path) -> Any:
    """Voxel sizes by the header alone: nibabel's reader of images would ask the `.mat` for them."""
    import nibabel as nib

    header = next(path for path in volumes.companions(image) if ".hdr" in path.name.lower())
    with nib.openers.ImageOpener(str(header)) as file:
        zooms = nib.AnalyzeHeader.from_fileobj(file).get_zooms()
    return np.asarray(zooms[:3], dtype=np.float64)


def _codes_of(matrix_file: Path, zooms_mm: Any) -> str:
    """Axis codes of SPM's matrix; raises ValueError where it describes another grid than the header."""
    from scipy.io import loadmat

    matrix = np.asarray(loadmat(matrix_file)["M"], dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError("it holds no 4 x 4 matrix")
    found = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.allclose(found, zooms_mm, rtol=0.01):
        sizes = " and ".join(" x ".join(f"{size:.4g}" for size in three) for three in (found, zooms_mm))
        raise ValueError(f"it describes another grid than the header (voxels of {sizes} mm)")
    return spaces.axis_codes(matrix)


def _beside(image: Path, candidates: list[Path]) -> Path | None:
    """The candidate that shares most of its folders with the image."""
    return max(candidates, key=lambda path: _shared_parts(image, path), default=None)


def _shared_parts(one: Path, other: Path) -> int:
    pairs = zip(one.parts, other.parts, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), 0)


def _people(files: list[Path]) -> tuple[dict[int, Facts], tuple[str, ...]]:
    """Facts by IBSR number from IBSR_info.csv, else from the release's README."""
    columns = {"id": "ID", "sex": "GENDER|SEX", "age": "AGE"}
    table = tabular.find_table(files, ("ibsr_info*.csv", "ibsr_info*.xls*"), columns)
    people = {
        number: _facts(row.get("sex"), row.get("age"))
        for row in table.rows
        if (number := tabular.whole(row.get("id"))) is not None
    }
    from_readme = {} if people else _readme_people(files)
    return people or from_readme, () if from_readme else table.notes


def _readme_people(files: list[Path]) -> dict[int, Facts]:
    people: dict[int, Facts] = {}
    for path in files:
        if not path.name.lower().startswith("readme"):
            continue
        try:
            text = path.read_text(encoding="latin-1") if path.stat().st_size < tabular.MAX_BYTES else ""
        except OSError:
            continue
        matches = [match for line in text.splitlines() if (match := _README_ROW.match(line))]
        people |= {int(match[1]): _facts(match[2], match[3]) for match in matches}
    return people


def _facts(sex: str | None, age: str | None) -> Facts:
    juvenile = (age or "").strip().upper() == "JUV"
    return Facts(age_years=None if juvenile else tabular.age(age), juvenile=juvenile, sex=tabular.sex(sex))
