"""Measure every structure in every slice of a rendered label volume, three planes in one pass.

Input: labels (and the voters' agreement) of one rendered box, axes right, front, up. Output: for each slice
of each plane the structures that captions may name, with area, centroid and agreement, exact to the pixel,
and each structure's volume. Lengths are those of the rendered frame.

The pass walks runs of equal labels along the last axis. A run adds its closed-form sums to the sagittal and
coronal slice it lies in at once; for the axial slices it crosses, it marks only where it begins and ends, and
a cumulative sum at the end fills in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from brainatlas_text.errors import LabelError
from brainatlas_text.labels import Structure
from brainatlas_text.records import PLANES, Plane, StructureMeasure

VERSION = 1
NORMAL_AXIS: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
_NUM_LABELS = 256
_IN_PLANE = np.array([[1, 2], [0, 2], [0, 1]])
"""The two array axes within a slice, by the axis of its normal."""


@dataclass(frozen=True, slots=True, eq=False)
class PlaneMeasures:
    """All slices of one plane as columns of length N, one row per (slice, label).

    Rows are ordered by slice, then by area (largest first), then by label number. Named anatomy only.
    """

    index: NDArray[np.int64]
    """(N,) slice number within the measured box."""
    label: NDArray[np.int64]
    """(N,) canonical number."""
    num_pixels: NDArray[np.int64]
    """(N,) pixels of the label in the slice."""
    area_mm2: NDArray[np.float64]
    """(N,) num_pixels times the pixel's area."""
    centroid_mm: NDArray[np.float64]
    """(N, 3) from the origin, along the box's axes."""
    agreement: NDArray[np.float64] | None
    """(N,) mean share of voters behind the label, 0 to 1; None without an agreement map."""
    first_row: NDArray[np.int64]
    """(slices + 1,) rows of slice i are first_row[i] to first_row[i + 1]."""


@dataclass(frozen=True, slots=True, eq=False)
class VolumeMeasures:
    """Measures of one rendered volume."""

    planes: Mapping[Plane, PlaneMeasures]
    num_voxels: NDArray[np.int64]
    """(256,) voxels in the box by label number, unnamed labels included."""
    volume_ml: NDArray[np.float64]
    """(256,) their volume."""
    agreement: NDArray[np.float64] | None
    """(256,) mean share of voters behind each named label over its voxels, 0 to 1, NaN for all others; None
    without an agreement map."""
    table: Mapping[int, Structure]

    def slice_structures(self, plane: Plane, index: int) -> tuple[StructureMeasure, ...]:
        """Structures of one slice (`index` within the box), largest area first."""
        rows = self.planes[plane]
        cut = slice(int(rows.first_row[index]), int(rows.first_row[index + 1]))
        labels = rows.label[cut].tolist()
        shares = [None] * len(labels) if rows.agreement is None else rows.agreement[cut].tolist()
        volumes = self.volume_ml[rows.label[cut]].tolist()
        return tuple(
            StructureMeasure(
                label=label,
                name=self.table[label].name,
                side=self.table[label].side,
                area_mm2=area,
                volume_ml=volume,
                centroid_mm=(x, y, z),
                agreement=share,
            )
            for label, area, volume, (x, y, z), share in zip(
                labels,
                rows.area_mm2[cut].tolist(),
                volumes,
                rows.centroid_mm[cut].tolist(),
                shares,
                strict=True,
            )
        )


def measure_slices(
    labels: NDArray[np.uint8],
    agreement: NDArray[np.uint8] | None,
    *,
    zooms_mm: NDArray[np.float64],
    origin_index: NDArray[np.float64],
    table: Mapping[int, Structure],
) -> VolumeMeasures:
    """Measure all slices of the three planes.

    `labels` (I, J, K) holds canonical numbers, `agreement` (I, J, K) per cent of voters; `zooms_mm` (3,) is
    the voxel size, `origin_index` (3,) the index, with fraction, of the point corresponding to hub (0, 0, 0).
    Areas are rounded to 1e-4 mm2, volumes to 1e-4 ml, agreement to 1e-4, centroids to 1e-3 mm.
    Raise LabelError for a number that `table` does not hold.
    """
    num_voxels = _num_voxels(labels)
    slot_of_label, label_of_slot = _named_slots(num_voxels, table)
    shape = np.array(labels.shape)
    count, moment, votes = _slice_sums(
        np.ascontiguousarray(labels),
        np.ascontiguousarray(labels if agreement is None else agreement),
        agreement is not None,
        slot_of_label,
        len(label_of_slot),
    )
    planes: dict[Plane, PlaneMeasures] = {}
    for plane in PLANES:
        axis = NORMAL_AXIS[plane]
        stop = shape[axis]
        planes[plane] = _plane_measures(
            axis,
            count[axis, :stop],
            moment[axis, :stop],
            votes[axis, :stop] if agreement is not None else None,
            label_of_slot,
            np.asarray(zooms_mm, dtype=np.float64),
            np.asarray(origin_index, dtype=np.float64),
        )
    volume_ml = np.round(num_voxels * (float(np.prod(zooms_mm)) / 1000.0), 4)
    shares = None
    if agreement is not None:
        shares = np.full(_NUM_LABELS, np.nan)
        shares[label_of_slot] = votes[0].sum(axis=0) / num_voxels[label_of_slot] / 100.0
    return VolumeMeasures(
        planes=planes,
        num_voxels=num_voxels,
        volume_ml=volume_ml,
        agreement=None if shares is None else np.round(shares, 4),
        table=table,
    )


def measure_volume(labels: NDArray[np.uint8], voxel_ml: float) -> NDArray[np.float64]:
    """Volume in ml of each label number, shape (256,)."""
    return _num_voxels(labels).astype(np.float64) * voxel_ml


def _num_voxels(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = _histogram(np.ascontiguousarray(labels).reshape(-1))
    return counts


def _named_slots(
    num_voxels: NDArray[np.int64], table: Mapping[int, Structure]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the named labels that occur 0, 1, ...; -1 for all others."""
    present = np.flatnonzero(num_voxels).tolist()
    unknown = [number for number in present if number != 0 and number not in table]
    if unknown:
        raise LabelError(
            f"label image: number {unknown[0]} ({num_voxels[unknown[0]]} voxels) has no name in the label"
            " table; map it to a canonical number or to 0"
        )
    named = [number for number in present if number != 0 and table[number].named]
    slot_of_label = np.full(_NUM_LABELS, -1, dtype=np.int64)
    slot_of_label[named] = np.arange(len(named))
    return slot_of_label, np.array(named, dtype=np.int64)


def _plane_measures(
    axis: int,
    count: NDArray[np.int64],
    moment: NDArray[np.int64],
    votes: NDArray[np.int64] | None,
    label_of_slot: NDArray[np.int64],
    zooms_mm: NDArray[np.float64],
    origin_index: NDArray[np.float64],
) -> PlaneMeasures:
    """Sums over pixels, (slices, slots) and (slices, slots, 2), to one row per (slice, label)."""
    index, slot = np.nonzero(count)
    pixels = count[index, slot]
    order = np.lexsort((slot, -pixels, index))
    index, slot, pixels = index[order], slot[order], pixels[order]
    center = np.empty((len(index), 3))
    center[:, axis] = index
    center[:, _IN_PLANE[axis]] = moment[index, slot] / pixels[:, None]
    pixel_mm2 = float(np.prod(zooms_mm[_IN_PLANE[axis]]))
    return PlaneMeasures(
        index=index,
        label=label_of_slot[slot],
        num_pixels=pixels,
        area_mm2=np.round(pixels * pixel_mm2, 4),
        centroid_mm=np.round((center - origin_index) * zooms_mm, 3),
        agreement=None if votes is None else np.round(votes[index, slot] / pixels / 100.0, 4),
        first_row=np.searchsorted(index, np.arange(len(count) + 1)),
    )


@njit(cache=True)
def _histogram(flat: NDArray[np.uint8]) -> Any:  # pragma: no cover - compiled
    """Voxels of each number; four tables, since equal neighbors in one would wait for each other."""
    tables = np.zeros((4, 256), dtype=np.int64)
    whole = flat.size - flat.size % 4
    for at in range(0, whole, 4):
        tables[0, flat[at]] += 1
        tables[1, flat[at + 1]] += 1
        tables[2, flat[at + 2]] += 1
        tables[3, flat[at + 3]] += 1
    for at in range(whole, flat.size):
        tables[0, flat[at]] += 1
    return tables.sum(axis=0)


@njit(cache=True)
def _slice_sums(
    labels: NDArray[np.uint8],
    agreement: NDArray[np.uint8],
    has_agreement: bool,
    slot_of_label: NDArray[np.int64],
    num_slots: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:  # pragma: no cover - compiled
    """Count, first moments (within the slice) and votes, by normal axis, slice and slot.

    Shapes (3, max(I, J, K) + 1, slots), the same with a last axis of 2, and the same as the first.
    """
    num_i, num_j, num_k = labels.shape
    longest = max(num_i, num_j, num_k) + 1
    count = np.zeros((3, longest, num_slots), dtype=np.int64)
    moment = np.zeros((3, longest, num_slots, 2), dtype=np.int64)
    votes = np.zeros((3, longest, num_slots), dtype=np.int64)
    for i in range(num_i):
        for j in range(num_j):
            k = 0
            while k < num_k:
                label = labels[i, j, k]
                begin = k
                k += 1
                while k < num_k and labels[i, j, k] == label:
                    k += 1
                slot = slot_of_label[label]
                if slot < 0:
                    continue
                length = k - begin
                sum_k = (begin + k - 1) * length // 2
                count[0, i, slot] += length
                moment[0, i, slot, 0] += length * j
                moment[0, i, slot, 1] += sum_k
                count[1, j, slot] += length
                moment[1, j, slot, 0] += length * i
                moment[1, j, slot, 1] += sum_k
                count[2, begin, slot] += 1
                count[2, k, slot] -= 1
                moment[2, begin, slot, 0] += i
                moment[2, k, slot, 0] -= i
                moment[2, begin, slot, 1] += j
                moment[2, k, slot, 1] -= j
                if has_agreement:
                    run_votes = np.int64(0)
                    for at in range(begin, k):
                        vote = np.int64(agreement[i, j, at])
                        run_votes += vote
                        votes[2, at, slot] += vote
                    votes[0, i, slot] += run_votes
                    votes[1, j, slot] += run_votes
    for at in range(1, longest):
        count[2, at] += count[2, at - 1]
        moment[2, at] += moment[2, at - 1]
    return count, moment, votes
