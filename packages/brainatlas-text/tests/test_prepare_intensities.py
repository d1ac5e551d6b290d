"""Intensities after preparation: comparable between scans, and not squeezed by a few extreme voxels."""

import numpy as np
import pytest

from brainatlas_text import volumes
from brainatlas_text.engines import intensities
from brainatlas_text.engines.intensities import MAX_INTENSITY
from brainatlas_text.prepare import PrepareConfig, prepare
from brainatlas_text.records import PreparedScan
from brainatlas_text.sources import discover
from brainatlas_text.workspace import Workspace

pytestmark = pytest.mark.integration
PEOPLE = ("ibsr-03-t1w", "ibsr-11-t1w")
"""A child and an older woman, whose scanners' units differ by a factor of six."""


def scaled(values):
    image = values.reshape(-1, 1, 1)
    inside = np.ones(image.shape, dtype=bool)
    inside[-1] = False
    result = intensities.scale(image, image, inside, (0.5, 99.5))
    assert result.array[-1] == 0 and sum(result.histogram_after) == inside.sum()
    return result.array.ravel()[:-1]


@pytest.mark.parametrize("outlier", [1e5, -1e5, 3e4])
def test_a_few_extreme_voxels_do_not_move_the_rest(outlier):
    values = np.random.default_rng(0).normal(500, 80, 100_000).astype(np.float32)
    plain = scaled(values)
    values[::300] = outlier
    rest = np.arange(len(values) - 1) % 300 != 0
    assert np.abs(scaled(values)[rest].astype(int) - plain[rest]).mean() < 0.05 * MAX_INTENSITY
    assert plain.min() == 1 and plain.max() == MAX_INTENSITY


def test_scaling_ignores_the_scanners_units():
    values = np.random.default_rng(0).gamma(5, 100, 50_000).astype(np.float32)
    for factor, offset in ((0.001, 0.0), (1e4, 0.0), (1.0, -500.0)):
        other = values * np.float32(factor) + np.float32(offset)
        assert np.abs(scaled(other).astype(int) - scaled(values)).max() <= 1


def test_a_constant_brain_is_no_division_by_zero():
    assert set(scaled(np.full(100, 7.0, np.float32))) == {1}


def test_white_matter_of_real_people_comes_to_lie_at_one_place(shared, tmp_path):
    """By the manual tissue maps: 3 is white matter, 2 grey, 1 fluid."""
    scans = {scan.key: scan for scan in discover("ibsr", shared / "data" / "real-mini").scans}
    medians = []
    for key in PEOPLE:
        out = prepare(scans[key], Workspace(tmp_path), PrepareConfig(bias_correction=False))
        assert isinstance(out, PreparedScan)
        image = volumes.load_prepared(tmp_path / out.image).array
        path = next(scans[key].image.parent.glob("*_segTRI_fill_ana.nii.gz"))
        tissue = volumes.load_labels(path).array
        medians.append(
            [np.median(image[(tissue == number) & (image > 0)]) / MAX_INTENSITY for number in (1, 2, 3)]
        )
    fluid, grey, white = np.array(medians).T
    assert white.min() > 0.75 and white.max() < 0.95 and np.ptp(white) < 0.08
    assert (fluid < grey).all() and (grey < white - 0.1).all()
