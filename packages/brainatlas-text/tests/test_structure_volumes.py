"""Measures of whole volumes against plain NumPy over the label image."""

from __future__ import annotations

import numpy as np
import pytest

from brainatlas_text.labels import canonical_table
from brainatlas_text.measure import measure_slices
from brainatlas_text.measure_tables import StructureVolumes, structure_volumes

pytestmark = pytest.mark.unit

ZOOMS = np.array([1.5, 0.9375, 1.2])
LEFT_RIGHT = {2: 41, 3: 42, 17: 53}


def volumes_of(labels: np.ndarray, agreement: np.ndarray | None, brain_ml: float = 80.0) -> StructureVolumes:
    measures = measure_slices(
        labels, agreement, zooms_mm=ZOOMS, origin_index=np.zeros(3), table=canonical_table()
    )
    return structure_volumes(measures, brain_ml)


@pytest.fixture(scope="module")
def blocky() -> tuple[np.ndarray, np.ndarray]:
    """Random labels, vessels (30) and a structure of one side alone (49) among them, and agreement."""
    rng = np.random.default_rng(5)
    labels = rng.choice(np.array([0, 2, 3, 16, 17, 30, 41, 42, 49, 53], dtype=np.uint8), size=(9, 14, 11))
    labels[:4][labels[:4] == 53] = 17
    return labels, rng.integers(0, 101, size=labels.shape).astype(np.uint8)


def test_every_number_equals_plain_numpy(blocky) -> None:
    labels, agreement = blocky
    found = volumes_of(labels, agreement)
    assert found.label.tolist() == [2, 3, 16, 17, 41, 42, 49, 53]  # vessels are no anatomy
    voxel_ml = ZOOMS.prod() / 1000
    for row, number in enumerate(found.label.tolist()):
        here = labels == number
        assert found.volume_ml[row] == pytest.approx(here.sum() * voxel_ml, abs=1e-4)
        assert found.brain_share[row] == pytest.approx(here.sum() * voxel_ml / 80.0, abs=2e-6)
        assert found.agreement[row] == pytest.approx(agreement[here].mean() / 100, abs=1e-4)


def test_asymmetry_is_left_over_right_by_their_mean(blocky) -> None:
    labels, _ = blocky
    found = volumes_of(labels, None)
    of = dict(zip(found.label.tolist(), found.asymmetry.tolist(), strict=True))
    for left, right in LEFT_RIGHT.items():
        num_left, num_right = (labels == left).sum(), (labels == right).sum()
        expected = (num_left - num_right) / ((num_left + num_right) / 2)
        assert of[left] == of[right] == pytest.approx(expected, abs=1e-4)
    assert of[17] > 0.5  # the left hippocampus was made the larger one
    assert np.isnan(of[16]) and np.isnan(of[49])  # one in the middle; one whose other side is not there


def test_exchanged_sides_change_the_sign_and_nothing_else(blocky) -> None:
    labels, _ = blocky
    exchanged = labels.copy()
    for left, right in LEFT_RIGHT.items():
        exchanged[labels == left], exchanged[labels == right] = right, left
    one, other = volumes_of(labels, None), volumes_of(exchanged, None)
    sided = np.isin(one.label, [*LEFT_RIGHT, *LEFT_RIGHT.values()])
    assert np.array_equal(one.label, other.label)
    assert np.array_equal(one.asymmetry[sided], -other.asymmetry[sided])


def test_the_sources_own_labels_have_no_agreement(blocky) -> None:
    assert np.isnan(volumes_of(blocky[0], None).agreement).all()


def test_a_volume_without_anatomy_has_no_rows() -> None:
    labels = np.zeros((3, 4, 5), dtype=np.uint8)
    labels[1, 1, 1] = 30
    assert volumes_of(labels, None, brain_ml=0.0).label.size == 0
