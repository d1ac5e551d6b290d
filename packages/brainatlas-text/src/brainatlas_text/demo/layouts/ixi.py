"""IXI: flat folders of NIfTI files from three hospitals, whole heads, and IXI.xls.

T2w of everybody, on the oblique L, A, S grid of the real ones; T1w, axes P, S, R, of the first two of four.
The spreadsheet repeats the row of one person of four and leaves the age of another out, as the real one does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainatlas_text import spaces
from brainatlas_text.demo import files, truth
from brainatlas_text.demo.camera import Camera, Grid
from brainatlas_text.demo.contrast import Look
from brainatlas_text.demo.people import Identity, draw_identity, rng_of
from brainatlas_text.spaces import Affine

SOURCE = "ixi"
_SITES = ("Guys", "HH", "IOP")
_T2_SHAPE, _T2_ZOOMS_MM = (200, 240, 160), (0.9375, 0.9375, 1.2)
_T1_SHAPE, _T1_ZOOMS_MM = (240, 216, 152), (0.9375, 0.9375, 1.2)
_TILT_DEGREES = (4.0, 1.0, 2.6)
"""Of the axial stack by site, about the x axis."""
_COLUMNS = (
    "IXI_ID", "SEX_ID (1=m, 2=f)", "HEIGHT", "WEIGHT", "ETHNIC_ID", "MARITAL_ID", "OCCUPATION_ID",
    "QUALIFICATION_ID", "DOB", "DATE_AVAILABLE", "STUDY_DATE", "AGE",
)  # fmt: skip


def identity(number: int, seed: int) -> Identity:
    """Adults from 20 to 86."""
    return draw_identity(SOURCE, number, seed, years=(20, 86))


def write_person(folder: Path, truths: Path, camera: Camera, who: Identity) -> list[truth.TruthRow]:
    """Write a person's files and truth."""
    person = camera.person(who)
    site = who.number % len(_SITES)
    prefix = f"IXI{ixi_id(who.number):03d}-{_SITES[site]}-{700 + 7 * who.number:04d}"
    noise = 0.018 if _SITES[site] == "HH" else 0.028
    t2w = (Look(sequence="T2w", noise=noise), Grid(shape=_T2_SHAPE, affine=_oblique(_TILT_DEGREES[site])))
    t1w = (
        Look(sequence="T1w", noise=noise),
        Grid(shape=_T1_SHAPE, affine=spaces.from_axis_codes("PSR", _T1_SHAPE, _T1_ZOOMS_MM)),
    )
    rows = []
    for session, (look, grid) in enumerate((t2w, t1w) if who.number % 4 < 2 else (t2w,)):
        scan = camera.take(person, grid, look, session)
        kind = look.sequence[:2]
        name = f"{prefix}-{kind}"
        counts = scan.counts(rng_of(who, camera.seed, 2).uniform(200, 400))
        files.write_nifti(folder / f"IXI-{kind}" / f"{name}.nii.gz", counts, grid.affine, np.int16)
        truth.write_truth(truths, name, scan)
        file = f"IXI-{kind}/{name}.nii.gz"
        age = "" if _age(who) is None else f"{_age(who):.2f}"
        rows.append(truth.row(scan, name=name, file=file, subject=f"{ixi_id(who.number):03d}", age=age))
    return rows


def write_tables(folder: Path, people: list[Identity], seed: int) -> None:
    """Write IXI.xls, rows in order of ids."""
    rows = []
    for who in people:
        row = _table_row(who, seed)
        rows += [row, row] if who.number % 4 == 1 else [row]
    files.write_xls(folder / "IXI.xls", "Table", [_COLUMNS, *rows])


def ixi_id(number: int) -> int:
    """Ids have gaps, as the real ones."""
    return 12 + 13 * number


def _age(who: Identity) -> float | None:
    return None if who.number % 4 == 3 else round(who.age_years, 2)


def _table_row(who: Identity, seed: int) -> tuple[object, ...]:
    rng = rng_of(who, seed, 3)
    male = who.sex == "M"
    height = round(float(rng.normal(177 if male else 164, 6)))
    weight = round(float(rng.normal(80 if male else 66, 9)))
    ethnicity, marital, occupation, degree = (int(n) for n in rng.integers(1, (4, 5, 9, 6)))
    study_day = 38500.0 + who.number  # days since 1900, in 2005
    age = _age(who)
    born = f"{2005 - int(who.age_years)}-{int(rng.integers(1, 13)):02d}-15"
    dates: tuple[object, ...] = (0.0, "", "") if age is None else (1.0, study_day, age)
    return (float(ixi_id(who.number)), 1.0 if male else 2.0, float(height), float(weight), float(ethnicity),
            float(marital), float(occupation), float(degree), born, *dates)  # fmt: skip


def _oblique(degrees: float) -> Affine:
    """Axes near L, A, S, turned about x, the center of the grid off the scanner's."""
    affine = spaces.from_axis_codes("LAS", _T2_SHAPE, _T2_ZOOMS_MM)
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    oblique: Affine = spaces.translation((2.0, 18.0, -9.0)) @ turn @ affine
    return oblique
