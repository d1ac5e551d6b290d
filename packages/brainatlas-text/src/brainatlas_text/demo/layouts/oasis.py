"""OASIS-1: Analyze 7.5, big endian, no orientation stored; a marker on the left of unstripped heads.

T88_111 for everybody; of four people the first has SUBJ_111 as well, the second RAW, so that each array
order is the best form of somebody. The last session, beyond the people asked for, fails the source's
health criterion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from brainatlas_text import spaces
from brainatlas_text.demo import files, truth
from brainatlas_text.demo.camera import Camera, Grid, Scan
from brainatlas_text.demo.contrast import Look
from brainatlas_text.demo.materials import tissues
from brainatlas_text.demo.people import Identity, Person, draw_identity, rng_of

SOURCE = "oasis"
_COLUMNS = ("ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR", "eTIV", "nWBV", "ASF", "Delay")
_RATED_FROM_YEARS = 60
UNHEALTHY = 98
"""Number of the person with a Clinical Dementia Rating of 0.5, id 0099."""
_SCALE = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """One of the forms in which a session is distributed."""

    folder: str
    ending: str
    axis_codes: str
    shape: tuple[int, int, int]
    zooms_mm: tuple[float, float, float]
    look: Look
    session: int

    @property
    def grid(self) -> Grid:
        return Grid(
            shape=self.shape, affine=spaces.from_axis_codes(self.axis_codes, self.shape, self.zooms_mm)
        )


_MARKED = Look(sequence="T1w", marker=True)
_T88 = _Form(
    folder="PROCESSED/MPRAGE/T88_111", ending="_mpr_{n}_anon_111_t88_gfc", axis_codes="LAS",
    shape=(176, 208, 176), zooms_mm=(1.0, 1.0, 1.0), session=0,
    look=replace(_MARKED, shading=0.05, noise=0.014, blur_voxels=0.6),
)  # fmt: skip
_SUBJ = _Form(
    folder="PROCESSED/MPRAGE/SUBJ_111", ending="_mpr_{n}_anon_sbj_111", axis_codes="ASL",
    shape=(256, 256, 160), zooms_mm=(1.0, 1.0, 1.0), session=1,
    look=replace(_MARKED, noise=0.016, blur_voxels=0.55),
)  # fmt: skip
_RAW = _Form(
    folder="RAW", ending="_mpr-1_anon", axis_codes="ASL",
    shape=(256, 256, 128), zooms_mm=(1.0, 1.0, 1.25), session=1, look=replace(_MARKED, noise=0.03),
)  # fmt: skip


def identity(number: int, seed: int) -> Identity:
    """Adults from 18 to 90; the person with a rating of 0.5 is old."""
    return draw_identity(SOURCE, number, seed, years=(72, 88) if number == UNHEALTHY else (18, 90))


def write_person(folder: Path, truths: Path, camera: Camera, who: Identity) -> list[truth.TruthRow]:
    """Write a session's files and truth."""
    person = camera.person(who)
    forms = [_T88]
    if who.number % 4 in (0, 1) and who.number != UNHEALTHY:
        forms.append((_SUBJ, _RAW)[who.number % 4])
    return [row for form in forms for row in _write_form(folder, truths, camera, person, form)]


def write_tables(folder: Path, people: list[Identity], seed: int) -> None:
    """Write oasis_cross-sectional.csv."""
    rows = [_table_row(who, seed) for who in people]
    files.write_table(folder / "oasis_cross-sectional.csv", [_COLUMNS, *rows])


def _write_form(
    folder: Path, truths: Path, camera: Camera, person: Person, form: _Form
) -> list[truth.TruthRow]:
    who = person.identity
    scan = camera.take(person, form.grid, form.look, form.session, talairach=form is _T88)
    name = f"{session_id(who.number)}{form.ending.format(n='n3' if who.number % 4 == 3 else 'n4')}"
    base = f"disc{1 + who.number // 40}/{session_id(who.number)}"
    truth.write_truth(truths, name, scan)
    files.write_analyze(folder / base / form.folder / name, scan.counts(_SCALE), form.zooms_mm, np.int16)
    rows = [_row(scan, name, f"{base}/{form.folder}/{name}.img", stripped=False)]
    if form is _T88:
        masked = name.replace("_gfc", "_masked_gfc")
        stripped = scan.counts(_SCALE, stripped=True)
        files.write_analyze(folder / base / form.folder / masked, stripped, form.zooms_mm, np.int16)
        segmented = tissues(scan.materials, filled=True)
        files.write_analyze(folder / base / "FSL_SEG" / f"{masked}_fseg", segmented, form.zooms_mm, np.uint8)
        rows.append(_row(scan, name, f"{base}/{form.folder}/{masked}.img", stripped=True))
    return rows


def session_id(number: int) -> str:
    """Such as `OAS1_0001_MR1`."""
    return f"OAS1_{number + 1:04d}_MR1"


def _row(scan: Scan, name: str, file: str, *, stripped: bool) -> truth.TruthRow:
    who = scan.identity
    subject, age = f"{who.number + 1:04d}", str(int(who.age_years))
    return truth.row(scan, name=name, file=file, subject=subject, age=age, stripped=stripped, visit="1")


def _table_row(who: Identity, seed: int) -> tuple[object, ...]:
    rng = rng_of(who, seed, 3)
    rated = who.age_years >= _RATED_FROM_YEARS
    rating = "" if not rated else "0.5" if who.number == UNHEALTHY else "0"
    volume = round(float(rng.normal(1550 if who.sex == "M" else 1400, 90)))
    brain = round(0.87 - 0.0022 * max(who.age_years - 20, 0) + float(rng.normal(0, 0.01)), 3)
    education, status, mental = int(rng.integers(2, 6)), int(rng.integers(1, 5)), int(rng.integers(27, 31))
    of_the_rated = (education, status, 25 if rating == "0.5" else mental) if rated else ("", "", "")
    factor = round(1755 / volume, 3)
    return (session_id(who.number), who.sex, "R", int(who.age_years), *of_the_rated, rating,
            volume, brain, factor, "N/A")  # fmt: skip
