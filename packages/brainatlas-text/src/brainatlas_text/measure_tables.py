"""The tables of measures: a row a structure of each slice, and a row a structure of each volume.

Input: the measured pairs of a block. Output: `slices/<block>.parquet` and `volumes/<block>.parquet`, with the
same as CSV beside each where the recipe says so. The table of slices is the paper's. Only slices that are
samples have rows, and only named anatomy; every number is the one that the sample states. Columns are made of
the arrays that `measure` gives, and the same measures give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from brainatlas_text import render
from brainatlas_text.labels import Structure, canonical_table
from brainatlas_text.measure import VolumeMeasures
from brainatlas_text.records import Plane
from brainatlas_text.samples import MeasuredPair, sample_key
from brainatlas_text.workspace import atomic_path

VERSION = 1
FOLDERS = ("slices", "volumes")
"""Folders of the two tables below the data set folder."""
SUFFIXES = (".parquet", ".csv")


class MeasureConfig(BaseModel):
    """How measures are written."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    csv: bool = True
    """Write both tables of measures as CSV too, beside the Parquet files."""


@dataclass(frozen=True, slots=True, eq=False)
class StructureVolumes:
    """The named structures of one rendered volume as columns of length N, by label number."""

    label: NDArray[np.int64]
    """(N,) canonical number."""
    volume_ml: NDArray[np.float64]
    """(N,) in the frame."""
    brain_share: NDArray[np.float64]
    """(N,) of the moved brain's volume, 0 to 1; NaN where none of the brain is shown."""
    asymmetry: NDArray[np.float64]
    """(N,) (left - right) / mean of both, the same on both sides; NaN where only one of them is there."""
    agreement: NDArray[np.float64]
    """(N,) mean share of voters over the voxels, 0 to 1; NaN for the source's own labels."""


@dataclass(frozen=True, slots=True, eq=False)
class PairTables:
    """The rows of one pair in both tables."""

    slices: pa.Table
    volumes: pa.Table


def structure_volumes(measures: VolumeMeasures, brain_ml: float) -> StructureVolumes:
    """Measures of a volume whose brain holds `brain_ml`; rounded to 1e-4, `brain_share` to 1e-6."""
    named = [n for n in np.flatnonzero(measures.num_voxels).tolist() if n and measures.table[n].named]
    label = np.array(named, dtype=np.int64)
    voxels = measures.num_voxels.astype(np.float64)
    left, right = (numbers[label] for numbers in _sides())
    both = (voxels[left] > 0) & (voxels[right] > 0) & (left != right)
    asymmetry = np.full(len(label), np.nan)
    asymmetry[both] = 2.0 * ((voxels[left] - voxels[right]) / (voxels[left] + voxels[right]))[both]
    volume_ml = measures.volume_ml[label]
    return StructureVolumes(
        label=label,
        volume_ml=volume_ml,
        brain_share=np.round(volume_ml / (brain_ml or np.nan), 6),
        asymmetry=np.round(asymmetry, 4),
        agreement=np.full(len(label), np.nan) if measures.agreement is None else measures.agreement[label],
    )


def tables_of(measured: MeasuredPair) -> PairTables:
    """The rows of a pair."""
    planes = [_slice_rows(measured, plane) for plane in measured.kept]
    return PairTables(slices=pa.concat_tables(planes), volumes=_volume_rows(measured))


def write_tables(root: Path, block: str, pairs: Sequence[PairTables], config: MeasureConfig) -> list[Path]:
    """Write a block's part of both tables, and give the files."""
    written: list[Path] = []
    for folder in FOLDERS:
        table = pa.concat_tables([getattr(pair, folder) for pair in pairs])
        path = root / folder / f"{block}.parquet"
        with atomic_path(path) as part:
            pq.write_table(table, part, compression="zstd")
        written.append(path)
        if config.csv:
            written.append(path.with_suffix(".csv"))
            with atomic_path(written[-1]) as part:
                _write_csv(table, part)
    return written


def _slice_rows(measured: MeasuredPair, plane: Plane) -> pa.Table:
    """The slices of one plane, ascending, structures of each by area."""
    rows, start = measured.measures.planes[plane], measured.rendered.start[render.NORMAL_AXIS[plane]]
    kept = np.zeros(len(rows.first_row) - 1, dtype=bool)
    kept[[index - start for index in measured.kept[plane]]] = True
    use = kept[rows.index]
    slices, key = np.unique(rows.index[use], return_inverse=True)
    pair = measured.pair.pair
    keys = pa.array([sample_key(pair, plane, start + index) for index in slices.tolist()], pa.string())
    label, centroid_mm = rows.label[use], rows.centroid_mm[use]
    return pa.table(
        {
            "key": keys.take(pa.array(key)),
            "pair": _repeated(pair, len(label)),
            "plane": _repeated(plane, len(label)),
            "index": (rows.index[use] + start).astype(np.int16),
            **_structure_columns(label),
            "num_pixels": rows.num_pixels[use].astype(np.int32),
            "area_mm2": rows.area_mm2[use],
            **{name: centroid_mm[:, axis] for axis, name in enumerate(("x_mm", "y_mm", "z_mm"))},
            "agreement": _nullable(
                np.full(len(label), np.nan) if rows.agreement is None else rows.agreement[use]
            ),
        }
    )


def _volume_rows(measured: MeasuredPair) -> pa.Table:
    pair, prepared = measured.pair, measured.moving.prepared
    found = structure_volumes(measured.measures, measured.brain_ml)
    size = len(found.label)
    said = {
        "pair": pair.pair,
        "moving": pair.moving,
        "fixed": pair.fixed,
        "subject": pair.moving_subject,
        "source": pair.source,
        "sequence": prepared.sequence,
    }
    return pa.table(
        {
            **{name: _repeated(value, size) for name, value in said.items()},
            "native": pa.array(np.full(size, pair.moving == pair.fixed)),
            **_structure_columns(found.label),
            "volume_ml": found.volume_ml,
            "brain_ml": np.full(size, round(measured.brain_ml, 4)),
            "brain_share": _nullable(found.brain_share),
            "asymmetry": _nullable(found.asymmetry),
            "agreement": _nullable(found.agreement),
        }
    )


def _structure_columns(label: NDArray[np.int64]) -> dict[str, Any]:
    names, sides = _words()
    numbers = pa.array(label)
    return {"label": label.astype(np.int16), "name": names.take(numbers), "side": sides.take(numbers)}


def _repeated(value: str, size: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), size)


def _nullable(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)  # NaN is null


def _write_csv(table: pa.Table, path: Path) -> None:
    """Decimal points and no quotes: no name of ours holds a comma, and pyarrow refuses one that would."""
    with path.open("wb") as file:
        file.write((",".join(table.column_names) + "\n").encode())
        plain = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
        pyarrow.csv.write_csv(table, file, plain)


@cache
def _words() -> tuple[pa.Array, pa.Array]:
    """Name and side of each canonical number, null for all others."""
    table = [canonical_table().get(number) for number in range(256)]
    names, sides = ([found and getattr(found, what) for found in table] for what in ("name", "side"))
    return pa.array(names, pa.string()), pa.array(sides, pa.string())


@cache
def _sides() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Left and right number of each canonical number's name; the number itself for what has no sides."""
    table = canonical_table()
    by_name: Mapping[tuple[str, str], Structure] = {(s.name, s.side): s for s in table.values()}
    left, right = np.arange(256), np.arange(256)
    for number, structure in table.items():
        for side, numbers in (("left", left), ("right", right)):
            found = by_name.get((structure.name, side))
            numbers[number] = found.number if found else number
    return left, right
