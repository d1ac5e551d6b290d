"""IBSR v2: NIfTI release of stripped T1w with labels; ANALYZE release with axes L, I, A and SPM's `.mat`.

The first person of four lies there in both forms, the fourth as ANALYZE alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainatlas_text import spaces
from brainatlas_text.demo import files, truth
from brainatlas_text.demo.camera import Camera, Grid, Scan
from brainatlas_text.demo.contrast import Look
from brainatlas_text.demo.materials import tissues
from brainatlas_text.demo.people import Identity, draw_identity, rng_of

SOURCE = "ibsr"
_SHAPE = (200, 144, 216)
_ZOOMS_MM = ((0.9375, 1.5, 0.9375), (1.0, 1.5, 1.0), (0.9375, 1.5, 0.9375), (0.8375, 1.5, 0.8375))


def identity(number: int, seed: int) -> Identity:
    """Mostly adults; the third of four is a child, whose age the source gives as `JUV`."""
    return draw_identity(SOURCE, number, seed, years=(5, 13) if _is_juvenile(number) else (19, 74))


def write_person(folder: Path, truths: Path, camera: Camera, who: Identity) -> list[truth.TruthRow]:
    """Write a person's files and truth."""
    grid = _grid(who.number)
    scan = camera.take(camera.person(who), grid, Look(sequence="T1w", noise=0.025), session=0)
    scale = rng_of(who, camera.seed, 2).uniform(150, 700)  # maxima differ widely between people
    maps = {
        "ana": scan.counts(scale),
        "ana_strip": scan.counts(scale, stripped=True),
        "ana_brainmask": scan.mask,
        "seg_ana": scan.dseg,
        "segTRI_ana": tissues(scan.materials, filled=False),
        "segTRI_fill_ana": tissues(scan.materials, filled=True),
    }
    rows = []
    if who.number % 4 != 3:
        rows += _write_nifti(folder, truths, scan, maps)
    if who.number % 4 in (0, 3):
        rows += _write_analyze(folder, truths, scan, maps)
    return rows


def write_tables(folder: Path, people: list[Identity], seed: int) -> None:
    """Write IBSR_info.csv."""
    rows = [(who.number + 1, who.sex, _age(who)) for who in people]
    files.write_table(folder / "IBSR_info.csv", [("ID", "GENDER", "AGE"), *rows])


def _write_nifti(
    folder: Path, truths: Path, scan: Scan, maps: dict[str, NDArray[Any]]
) -> list[truth.TruthRow]:
    name = f"IBSR_{scan.identity.number + 1:02d}"
    for kind, array in maps.items():
        path = folder / "IBSR_nifti_stripped" / name / f"{name}_{kind}.nii.gz"
        files.write_ibsr_nifti(path, array, scan.grid.affine)
    truth.write_truth(truths, name, scan)
    return [
        _row(scan, name, f"IBSR_nifti_stripped/{name}/{name}_{kind}.nii.gz", stripped=kind == "ana_strip")
        for kind in ("ana", "ana_strip")
    ]


def _write_analyze(
    folder: Path, truths: Path, scan: Scan, maps: dict[str, NDArray[Any]]
) -> list[truth.TruthRow]:
    """From axes R, A, S to L, I, A."""
    name = f"IBSR_{scan.identity.number + 1:02d}"
    base = folder / "IBSR_V2.0_ANALYZE" / name
    x, y, z = (float(zoom) for zoom in _ZOOMS_MM[scan.identity.number % 4])
    for part, kind in (("images", "ana"), ("segmentation", "seg_ana"), ("segmentation", "segTRI_ana")):
        files.write_spm_analyze(base / part / "analyze" / f"{name}_{kind}", as_lia(maps[kind]), (x, z, y))
    stored = as_lia_scan(scan)
    truth.write_truth(truths, f"{name}_analyze", stored)
    image = f"IBSR_V2.0_ANALYZE/{name}/images/analyze/{name}_ana.img"
    return [_row(stored, f"{name}_analyze", image, stripped=False)]


def as_lia(array: NDArray[Any]) -> NDArray[Any]:
    """Reorder an array from axes R, A, S to L, I, A."""
    return array[::-1, :, ::-1].transpose(0, 2, 1)


def as_lia_scan(scan: Scan) -> Scan:
    """The same scan stored with axes L, I, A, in the frame that convention gives such an array."""
    x, y, z = scan.grid.shape
    zooms = spaces.zooms_of(scan.grid.affine)
    grid = Grid(shape=(x, z, y), affine=spaces.from_axis_codes("LIA", (x, z, y), zooms[[0, 2, 1]]))
    return Scan(
        identity=scan.identity, grid=grid, look=scan.look, signal=as_lia(scan.signal),
        materials=as_lia(scan.materials), marker_mm=None,
    )  # fmt: skip


def _grid(number: int) -> Grid:
    """RAS with the origin in a corner: x up to 0, y and z from 0."""
    zooms = _ZOOMS_MM[number % 4]
    affine = np.diag([*zooms, 1.0])
    affine[0, 3] = -(_SHAPE[0] - 1) * zooms[0]
    return Grid(shape=_SHAPE, affine=affine)


def _row(scan: Scan, name: str, file: str, *, stripped: bool) -> truth.TruthRow:
    number = scan.identity.number
    return truth.row(
        scan,
        name=name,
        file=file,
        subject=f"{number + 1:02d}",
        age="" if _is_juvenile(number) else _age(scan.identity),
        juvenile=_is_juvenile(number),
        stripped=stripped,
    )


def _is_juvenile(number: int) -> bool:
    return number % 4 == 2


def _age(who: Identity) -> str:
    return "JUV" if _is_juvenile(who.number) else str(int(who.age_years))
