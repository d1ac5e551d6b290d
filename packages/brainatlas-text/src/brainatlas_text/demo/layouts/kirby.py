"""Kirby21: one folder a sequence, numbered by scan; people known only through a map; axes R, P, S.

FLAIR of everybody; MPRAGE of the first two of four, T2w of the third. The first of four came twice; the
numbers of its two sessions lie apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainatlas_text.demo import files, truth
from brainatlas_text.demo.camera import Camera, Grid
from brainatlas_text.demo.contrast import Look
from brainatlas_text.demo.people import Identity, draw_identity, rng_of
from brainatlas_text.records import Sequence

SOURCE = "kirby"
_SHAPE, _ZOOMS_MM = (152, 232, 200), (1.2, 1.0, 1.0)
_NAMES: dict[Sequence, str] = {"FLAIR": "FLAIR", "T1w": "MPRAGE", "T2w": "T2w"}
_NOISE = {"FLAIR": 0.022, "T1w": 0.018, "T2w": 0.022}
_LEVELS, _STEP = 500.0, 2048.0
"""Steps for a signal of 1, and the size of a step: intensities are floats up to a million."""
_NUMBERS = ((5, 2), (7, 8), (1, 6), (4, 3))
"""KKI2009 numbers of the two visits in each group of four people, plus 8 a group."""


def identity(number: int, seed: int) -> Identity:
    """Adults from 22 to 61."""
    return draw_identity(SOURCE, number, seed, years=(22, 61))


def write_person(folder: Path, truths: Path, camera: Camera, who: Identity) -> list[truth.TruthRow]:
    """Write a person's files and truth."""
    person = camera.person(who)
    affine = np.diag([_ZOOMS_MM[0], -_ZOOMS_MM[1], _ZOOMS_MM[2], 1.0])
    affine[0, 3] = -(_SHAPE[0] - 1) * _ZOOMS_MM[0]
    grid = Grid(shape=_SHAPE, affine=affine)
    rows = []
    for session, (visit, sequence) in enumerate(_scans(who.number)):
        scan = camera.take(person, grid, Look(sequence=sequence, noise=_NOISE[sequence]), session)
        name = f"KKI2009-{kki_number(who.number, visit):02d}-{_NAMES[sequence]}"
        path = f"KKI2009-ALL-{_NAMES[sequence]}/{name}.nii.gz"
        signal = scan.counts(_LEVELS).astype(np.float32) * _STEP
        files.write_nifti(folder / path, signal, affine, np.float32, codes=(0, 2))
        truth.write_truth(truths, name, scan)
        subject, age = str(person_id(who.number)), str(int(who.age_years))
        rows.append(truth.row(scan, name=name, file=path, subject=subject, age=age, visit=str(visit)))
    return rows


def write_tables(folder: Path, people: list[Identity], seed: int) -> None:
    """Write the demographics by person, by scan, and the map between."""
    by_person = sorted((person_id(who.number), int(who.age_years), who.sex) for who in people)
    files.write_table(folder / "kirby21_demog.csv", [("Subject_ID", "Age", "Sex"), *by_person])
    visits = sorted(
        (kki_number(who.number, visit), who, visit) for who in people for visit in _visits(who.number)
    )
    by_visit = [(n, person_id(who.number), visit, f"KKI2009-{n:02d}") for n, who, visit in visits]
    columns = ("Visit_ID", "Subject_ID", "Subj_Visit", "kki_id")
    files.write_table(folder / "subject_id_to_visit_id.csv", [columns, *by_visit])
    hands = {who.number: "R" if rng_of(who, seed, 3).random() < 0.9 else "L" for who in people}
    by_scan = [(n, int(who.age_years), who.sex, hands[who.number]) for n, who, _ in visits]
    files.write_table(folder / "Kirby_info.csv", [("ID", "AGE", "GENDER", "HAND"), *by_scan])


def person_id(number: int) -> int:
    """Three digits, in no order."""
    return 100 + (31 + 137 * number) % 900


def kki_number(number: int, visit: int) -> int:
    """Number of a scan session, not paired in order."""
    return 8 * (number // 4) + _NUMBERS[number % 4][visit - 1]


def _visits(number: int) -> tuple[int, ...]:
    return (1, 2) if number % 4 == 0 else (1,)


def _scans(number: int) -> list[tuple[int, Sequence]]:
    """Visit and sequence of a person's scans."""
    scans: list[tuple[int, Sequence]] = [(visit, "FLAIR") for visit in _visits(number)]
    extra: dict[int, Sequence] = {0: "T1w", 1: "T1w", 2: "T2w"}
    if number % 4 in extra:
        scans.append((1, extra[number % 4]))
    return scans
