"""Finding and reading real scans, where they are at hand: nothing here is registered or propagated."""

import numpy as np
import pytest
from scipy import ndimage

from brainatlas_text import labels, spaces, volumes
from brainatlas_text.prepare import PrepareConfig, prepare
from brainatlas_text.records import PreparedScan
from brainatlas_text.sources import discover
from brainatlas_text.sources.ibsr import ANALYZE_ORDER
from brainatlas_text.workspace import Workspace

pytestmark = pytest.mark.integration
QUICK = PrepareConfig(bias_correction=False)


@pytest.fixture(scope="module")
def real(shared):
    return shared / "data" / "real-mini"


@pytest.fixture(scope="module")
def scans(real):
    found = [discover(source, real) for source in ("ibsr", "oasis", "ixi", "kirby")]
    return {scan.key: scan for one in found for scan in one.scans}


def centers(dseg):
    """World center of every structure in mm, by canonical number."""
    present = np.unique(dseg.array)[1:]
    points = ndimage.center_of_mass(np.ones(dseg.shape), dseg.array, present)
    return dict(zip(present.tolist(), spaces.apply(dseg.affine, points), strict=True))


def test_forms_of_one_scan_are_one_scan(scans):
    assert len(scans) == 15
    assert [form.image.name for form in scans["ibsr-01-t1w"].superseded] == ["IBSR_01_ana.img"]
    superseded = scans["oasis-9003-1-t1w"].superseded
    assert [form.image.name for form in superseded] == ["OAS1_9003_MR1_mpr_n4_anon_111_t88_masked_gfc.img"]


def test_the_real_matrix_of_another_grid_is_noted_and_not_used(real, tmp_path):
    (tmp_path / "ibsr").symlink_to(real / "ibsr" / "IBSR_V2.0_ANALYZE")
    (scan,) = discover("ibsr", tmp_path).scans
    assert (scan.array_order, scan.orientation_source) == ("LIA", "convention")
    assert "another grid" in scan.notes[0] and scan.facts.age_years == 37.0  # by the release's README


def test_the_real_workbooks_lookup_sheets_are_no_people(real):
    found = discover("ixi", real)
    assert found.notes == () and not any(scan.notes for scan in found.scans)


def test_both_releases_of_a_labeled_person_agree_on_every_side(real, scans):
    nifti = volumes.load_labels(scans["ibsr-01-t1w"].dseg)
    folder = real / "ibsr/IBSR_V2.0_ANALYZE/IBSR_01/segmentation/analyze"
    analyze = volumes.load_labels(folder / "IBSR_01_seg_ana.img", ANALYZE_ORDER)
    one, two = centers(nifti), centers(analyze)
    middles = [np.mean(list(found.values()), axis=0) for found in (one, two)]
    for number in (17, 53, 8, 47, 11, 50, 16):
        np.testing.assert_allclose(one[number] - middles[0], two[number] - middles[1], atol=4.0)
    for found in (one, two):
        for left, right in ((17, 53), (8, 47), (11, 50), (2, 41)):
            assert found[left][0] < found[right][0]  # +x is the right
        assert found[16][2] < found[10][2] and found[8][1] < found[11][1]  # brain stem low, cerebellum behind


def test_the_image_lies_on_its_labels_in_both_releases(real, scans):
    folder = real / "ibsr/IBSR_V2.0_ANALYZE/IBSR_01"
    pairs = (
        (scans["ibsr-01-t1w"].image, scans["ibsr-01-t1w"].dseg, None),
        (
            folder / "images/analyze/IBSR_01_ana.img",
            folder / "segmentation/analyze/IBSR_01_seg_ana.img",
            "LIA",
        ),
    )
    for image_path, dseg_path, order in pairs:
        image, dseg = volumes.load(image_path, order), volumes.load_labels(dseg_path, order)
        canonical = labels.to_canonical(dseg.array, "ibsr-cma", "test")
        white, grey, fluid = (
            image.array[np.isin(canonical, group)].mean() for group in ((2, 41), (3, 42), (4, 43))
        )
        assert white > 1.1 * grey > 1.1 * fluid


@pytest.mark.parametrize("key", ["ibsr-01-t1w", "oasis-9001-1-t1w", "oasis-9003-1-t1w", "kirby-113-2-t1w"])
def test_a_stripped_scan_is_prepared_right_way_up(scans, tmp_path, key):
    """The back of the brain reaches lower than the front (cerebellum), and its top is wider than its base."""
    out = prepare(scans[key], Workspace(tmp_path), QUICK)
    assert isinstance(out, PreparedScan), out
    mask = volumes.load_prepared(tmp_path / out.mask)
    assert spaces.axis_codes(mask.affine) == "RAS"
    assert 800 < (mask.array > 0).sum() * mask.voxel_ml < 2200  # Talairach space enlarges
    points = spaces.apply(mask.affine, np.argwhere(mask.array))
    y, z = points[:, 1], points[:, 2]
    back, front = y < np.percentile(y, 30), y > np.percentile(y, 80)
    assert np.percentile(z[back], 1) < np.percentile(z[front], 1) - 5


def test_labels_of_a_prepared_scan_keep_their_side(scans, tmp_path):
    out = prepare(scans["ibsr-01-t1w"], Workspace(tmp_path), QUICK)
    found = centers(volumes.load_prepared(tmp_path / out.dseg))
    assert found[17][0] < found[53][0] and found[2][0] < found[41][0]
    assert set(found) <= set(labels.canonical_table())


def test_a_mask_of_another_position_is_not_believed(scans, tmp_path):
    """The release's mask of this visit lies elsewhere: the image was moved onto the first visit."""
    scan = scans["kirby-113-2-t1w"]
    assert scan.mask is not None
    out = prepare(scan, Workspace(tmp_path), QUICK)
    assert out.preparation.mask_method == "stripped"


@pytest.mark.parametrize("key", ["ixi-012-t1w", "ixi-015-t1w", "ixi-476-t2w"])
def test_heads_are_stripped_to_a_brain(scans, tmp_path, key):
    out = prepare(scans[key], Workspace(tmp_path), QUICK)
    assert isinstance(out, PreparedScan), out
    assert out.preparation.mask_method == "embedded"
    mask = volumes.load_prepared(tmp_path / out.mask)
    extent_mm = np.ptp(spaces.apply(mask.affine, np.argwhere(mask.array)), axis=0)
    assert 500 < (mask.array > 0).sum() * mask.voxel_ml < 1700
    assert (extent_mm > (100, 120, 80)).all() and (extent_mm < (165, 200, 165)).all()
