"""What is true of the synthetic scans, so that tests and benchmarks can judge what was made of them.

Label map and brain mask lie on the scan's stored grid with the right affine, beside a table. The folder is no
source and no stage of the build reads it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from brainatlas_text import spaces
from brainatlas_text.demo import files
from brainatlas_text.demo.camera import Scan


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthRow:
    """One image file; empty where the source states nothing or the scan has no such thing."""

    source: str
    file: str
    """Relative to the folder of all sources, with forward slashes."""
    subject: str
    visit: str = ""
    sequence: str
    stripped: bool
    axis_codes: str
    """Of the stored array."""
    age_years: str
    juvenile: bool
    sex: str
    marker_x_mm: str
    marker_y_mm: str
    marker_z_mm: str
    dseg: str
    """Relative to the folder of the truth."""
    mask: str


def write_truth(folder: Path, name: str, scan: Scan) -> None:
    """Write `<name>_dseg.nii.gz` and `<name>_mask.nii.gz` on the scan's grid."""
    files.write_nifti(folder / f"{name}_dseg.nii.gz", scan.dseg, scan.grid.affine, "u1")
    files.write_nifti(folder / f"{name}_mask.nii.gz", scan.mask, scan.grid.affine, "u1")


def row(
    scan: Scan,
    *,
    name: str,
    file: str,
    subject: str,
    age: str,
    stripped: bool = False,
    juvenile: bool = False,
    visit: str = "",
) -> TruthRow:
    """The row of an image file whose truth was written as `name`."""
    source = scan.identity.source
    x, y, z = (f"{value:.2f}" for value in scan.marker_mm) if scan.marker_mm and not stripped else ("",) * 3
    return TruthRow(
        source=source,
        file=f"{source}/{file}",
        subject=f"{source}-{subject}",
        visit=visit,
        sequence=scan.look.sequence,
        stripped=stripped,
        axis_codes=spaces.axis_codes(scan.grid.affine),
        age_years=age,
        juvenile=juvenile,
        sex=scan.identity.sex,
        marker_x_mm=x,
        marker_y_mm=y,
        marker_z_mm=z,
        dseg=f"{source}/{name}_dseg.nii.gz",
        mask=f"{source}/{name}_mask.nii.gz",
    )


def write_rows(path: Path, rows: Sequence[TruthRow]) -> None:
    """Write the table, sorted by file."""
    ordered = sorted(rows, key=lambda one: one.file)
    names = [field.name for field in fields(TruthRow)]
    files.write_table(path, [names, *(list(asdict(one).values()) for one in ordered)], delimiter="\t")


def read_rows(path: Path) -> list[TruthRow]:
    """Read a table that `write_rows` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return [_row_of(record) for record in csv.DictReader(file, delimiter="\t")]


def _row_of(record: dict[str, Any]) -> TruthRow:
    flags = {name: record[name] == "True" for name in ("stripped", "juvenile")}
    return TruthRow(**(record | flags))
