"""Slice measures against a plain loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from brainatlas_text.errors import LabelError
from brainatlas_text.labels import canonical_table
from brainatlas_text.measure import NORMAL_AXIS, measure_slices, measure_volume
from brainatlas_text.records import PLANES

pytestmark = pytest.mark.unit

ZOOMS = np.array([1.5, 0.9375, 1.2])
ORIGIN = np.array([4.25, 9.0, -2.5])
NUMBERS = np.array([0, 2, 3, 4, 16, 17, 30, 41, 42, 53, 62], dtype=np.uint8)


@pytest.fixture(scope="module")
def blocky() -> tuple[np.ndarray, np.ndarray]:
    """Random label blocks with runs of many lengths, and a random agreement map."""
    rng = np.random.default_rng(3)
    coarse = rng.choice(NUMBERS, size=(6, 8, 5))
    labels = np.kron(coarse, np.ones((2, 2, 4), dtype=np.uint8))[:11, :15, :19]
    speckle = rng.random(labels.shape) < 0.2
    labels = np.where(speckle, rng.choice(NUMBERS, size=labels.shape), labels).astype(np.uint8)
    return labels, rng.integers(0, 101, size=labels.shape).astype(np.uint8)


def _by_hand(labels: np.ndarray, agreement: np.ndarray, axis: int, index: int) -> dict[int, tuple]:
    """Label -> (area, centroid, agreement) of one slice, from coordinates of its pixels."""
    keep = np.zeros(labels.shape, dtype=bool)
    keep[(slice(None),) * axis + (index,)] = True
    in_plane = [a for a in range(3) if a != axis]
    found = {}
    for number in np.unique(labels[keep]):
        if number in (0, 30, 62):
            continue
        voxels = np.argwhere(keep & (labels == number))
        area = len(voxels) * ZOOMS[in_plane[0]] * ZOOMS[in_plane[1]]
        share = agreement[keep & (labels == number)].mean() / 100
        found[int(number)] = (area, (voxels.mean(axis=0) - ORIGIN) * ZOOMS, share)
    return found


@pytest.mark.parametrize("plane", PLANES)
def test_every_slice_equals_a_loop_over_its_pixels(blocky: tuple, plane: str) -> None:
    labels, agreement = blocky
    table = canonical_table()
    measures = measure_slices(labels, agreement, zooms_mm=ZOOMS, origin_index=ORIGIN, table=table)
    axis = NORMAL_AXIS[plane]
    for index in range(labels.shape[axis]):
        expected = _by_hand(labels, agreement, axis, index)
        structures = measures.slice_structures(plane, index)
        assert [s.label for s in structures] == sorted(expected, key=lambda n: (-expected[n][0], n))
        for structure in structures:
            area, centroid, share = expected[structure.label]
            assert structure.area_mm2 == pytest.approx(area, abs=1e-4)
            assert structure.centroid_mm == pytest.approx(tuple(centroid), abs=1e-3)
            assert structure.agreement == pytest.approx(share, abs=1e-4)
            assert (structure.name, structure.side) == (
                table[structure.label].name,
                table[structure.label].side,
            )
            whole = (labels == structure.label).sum() * ZOOMS.prod() / 1000
            assert structure.volume_ml == pytest.approx(whole, abs=1e-4)


def test_areas_of_all_slices_add_up_to_the_volume(blocky: tuple) -> None:
    labels, agreement = blocky
    measures = measure_slices(labels, agreement, zooms_mm=ZOOMS, origin_index=ORIGIN, table=canonical_table())
    for plane in PLANES:
        rows = measures.planes[plane]
        for number in (2, 17, 53):
            area = rows.area_mm2[rows.label == number].sum() * ZOOMS[NORMAL_AXIS[plane]]
            assert area / 1000 == pytest.approx(measures.volume_ml[number], abs=1e-3)


def test_vessels_have_a_volume_but_are_never_named(blocky: tuple) -> None:
    labels, _ = blocky
    measures = measure_slices(labels, None, zooms_mm=ZOOMS, origin_index=ORIGIN, table=canonical_table())
    assert measures.volume_ml[30] > 0
    for plane in PLANES:
        assert not np.isin([0, 30, 62], measures.planes[plane].label).any()


def test_manual_labels_have_no_agreement(blocky: tuple) -> None:
    labels, _ = blocky
    measures = measure_slices(labels, None, zooms_mm=ZOOMS, origin_index=ORIGIN, table=canonical_table())
    assert measures.planes["axial"].agreement is None
    assert {s.agreement for s in measures.slice_structures("axial", 3)} == {None}


def test_equal_areas_are_ordered_by_number() -> None:
    labels = np.zeros((4, 4, 1), dtype=np.uint8)
    labels[0], labels[3] = 53, 17
    measures = measure_slices(
        labels, None, zooms_mm=np.ones(3), origin_index=np.zeros(3), table=canonical_table()
    )
    assert [s.label for s in measures.slice_structures("axial", 0)] == [17, 53]


def test_an_empty_slice_has_no_structures() -> None:
    labels = np.zeros((3, 4, 5), dtype=np.uint8)
    labels[1, 1, 1] = 30
    measures = measure_slices(
        labels, None, zooms_mm=np.ones(3), origin_index=np.zeros(3), table=canonical_table()
    )
    assert all(measures.slice_structures(p, i) == () for p in PLANES for i in range(3))


def test_an_unknown_number_is_named_in_the_error() -> None:
    labels = np.full((2, 2, 2), 199, dtype=np.uint8)
    with pytest.raises(LabelError, match=r"number 199 \(8 voxels\) has no name"):
        measure_slices(labels, None, zooms_mm=np.ones(3), origin_index=np.zeros(3), table=canonical_table())


def test_measure_volume_counts_every_voxel(blocky: tuple) -> None:
    labels, _ = blocky
    assert np.array_equal(measure_volume(labels, 2.0), np.bincount(labels.ravel(), minlength=256) * 2.0)
