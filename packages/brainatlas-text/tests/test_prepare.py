import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.engines.bias import COARSE, correct_bias
from brainatlas_text.engines.intensities import MAX_INTENSITY
from brainatlas_text.hub import load_hub
from brainatlas_text.prepare import PrepareConfig, inputs_digest, prepare
from brainatlas_text.records import Facts, PreparedScan, Rejection, SourceScan
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace

pytestmark = pytest.mark.unit
QUICK = PrepareConfig(bias_correction=False)
LEFT_X_MM = -60.0


@pytest.fixture(scope="module")
def brain():
    """The template at 3 mm in RAS, stripped, with a bright mark at the far left and labels 2, 41 by side."""
    template = volumes.thin(load_hub().image, (3, 3, 3))
    array = np.where(template.array > 30, template.array * 8, 0).astype(np.int16)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in array.shape], indexing="ij"), axis=-1)
    points = spaces.apply(template.affine, index)
    array[(array > 0) & (points[..., 0] < LEFT_X_MM)] = 4000
    labels = np.where(array > 0, np.where(points[..., 0] < 0, 2, 41), 0).astype(np.int16)
    return Volume(array, template.affine), Volume(labels, template.affine)


def write(path, volume, codes="RAS"):
    image = nib.Nifti1Image(volume.array, volume.affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(image.as_reoriented(turn), path)
    return path


def scan_of(path, **changes):
    scan = SourceScan(
        key="ibsr-01-t1w", subject="ibsr-01", source="ibsr", sequence="T1w", image=path, stripped=True,
        facts=Facts(age_years=37.0, sex="M"), terms="ibsr",
    )  # fmt: skip
    return replace(scan, **changes)


def prepared(scan, folder, config=QUICK):
    result = prepare(scan, Workspace(folder), config)
    assert isinstance(result, PreparedScan), result
    return result


def refused(scan, folder, config=QUICK):
    result = prepare(scan, Workspace(folder), config)
    assert isinstance(result, Rejection), result
    assert "\n" not in result.detail and str(scan.image) in result.detail
    left = [path.relative_to(folder) for path in folder.rglob("prepared/*")]
    assert left == (
        [result.look] if result.look else []
    )  # a picture of what was refused, nothing half-written
    return result.reason


def test_a_prepared_scan_is_brain_alone_on_its_own_grid(tmp_path, brain):
    image, labels = brain
    path = write(tmp_path / "a.nii.gz", image)
    scan = scan_of(path, dseg=write(tmp_path / "d.nii.gz", labels), label_scheme="ibsr-cma")
    out = prepared(scan, tmp_path / "out")
    done, mask, dseg = (
        volumes.load_prepared(tmp_path / "out" / name) for name in (out.image, out.mask, out.dseg)
    )
    assert (done.array.dtype, mask.array.dtype, dseg.array.dtype) == (np.uint16, np.uint8, np.uint8)
    assert done.shape == mask.shape == dseg.shape == image.shape
    np.testing.assert_allclose(done.affine, image.affine, atol=1e-4)
    assert not done.array[mask.array == 0].any() and (done.array[mask.array > 0] > 0).all()
    assert (done.array.min(), done.array.max()) == (0, MAX_INTENSITY)
    np.testing.assert_array_equal(dseg.array, labels.array)
    assert (out.preparation.mask_method, out.orientation_source) == ("stripped", "header")
    assert 'class="outline"' in (tmp_path / "out" / out.look).read_text()
    assert out.facts == scan.facts and out.source_zooms_mm == pytest.approx((3.0, 3.0, 3.0))


@pytest.mark.parametrize("codes", ["LAS", "PSR", "RPS", "LIA", "ASL", "SPR", "IRP"])
def test_any_stored_order_gives_the_same_prepared_brain(tmp_path, brain, codes):
    image, _ = brain
    straight = prepared(scan_of(write(tmp_path / "a.nii.gz", image)), tmp_path / "one")
    turned = prepared(scan_of(write(tmp_path / "b.nii.gz", image, codes)), tmp_path / "two")
    assert straight.digest == turned.digest


def test_an_order_that_the_header_does_not_store_is_taken_from_the_convention(tmp_path, brain):
    image, labels = brain
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt("LIA")
    )
    for name, volume in (("image", image), ("labels", labels)):
        stored = nib.orientations.apply_orientation(volume.array, turn)
        nib.save(nib.AnalyzeImage(stored, np.diag([3.0, 3.0, 3.0, 1.0])), tmp_path / f"{name}.img")
    scan = scan_of(
        tmp_path / "image.img", array_order="LIA", orientation_source="convention",
        dseg=tmp_path / "labels.img", label_scheme="ibsr-cma",
    )  # fmt: skip
    out = prepared(scan, tmp_path / "out")
    done, dseg = (volumes.load_prepared(tmp_path / "out" / name) for name in (out.image, out.dseg))
    bright = spaces.apply(done.affine, np.argwhere(done.array == MAX_INTENSITY)).mean(axis=0)
    left = spaces.apply(dseg.affine, np.argwhere(dseg.array == 2)).mean(axis=0)
    assert bright[0] < -50 and left[0] < 0
    assert out.orientation_source == "convention"


def test_the_outline_of_the_data_goes_before_a_mask_that_lies(tmp_path, brain):
    image, _ = brain
    elsewhere = Volume(np.roll(image.array > 0, 8, axis=2).astype(np.uint8), image.affine)
    scan = scan_of(write(tmp_path / "a.nii.gz", image), mask=write(tmp_path / "m.nii.gz", elsewhere))
    assert prepared(scan, tmp_path / "out").preparation.mask_method == "stripped"


def with_air(image):
    """The same brain in noisy air, so that only a mask tells it from the rest."""
    noise = np.random.default_rng(0).integers(1, 30, image.shape)
    return Volume(np.where(image.array > 0, image.array, noise).astype(np.int16), image.affine)


def test_a_provided_mask_is_used_also_on_another_grid_of_the_same_box(tmp_path, brain):
    image, _ = brain
    fine = np.repeat(np.repeat(np.repeat(image.array > 0, 2, 0), 2, 1), 2, 2).astype(np.uint8)
    half = np.diag([0.5, 0.5, 0.5, 1.0])
    half[:3, 3] = -0.25
    mask = write(tmp_path / "m.nii.gz", Volume(fine, image.affine @ half), "LIP")
    scan = scan_of(write(tmp_path / "a.nii.gz", with_air(image)), mask=mask, stripped=False)
    out = prepared(scan, tmp_path / "out")
    assert out.preparation.mask_method == "provided"
    mask_volume = volumes.load_prepared(tmp_path / "out" / out.mask)
    assert ((mask_volume.array > 0) ^ (image.array > 0)).mean() < 0.01


def test_very_fine_grids_are_thinned_and_the_original_size_is_kept(tmp_path, brain):
    image, _ = brain
    factor = (1, 1, 6)
    fine = np.repeat(image.array, 6, axis=2)
    step = np.diag([1.0, 1.0, 1 / 6, 1.0])
    step[2, 3] = -2.5 / 6
    out = prepared(scan_of(write(tmp_path / "a.nii.gz", Volume(fine, image.affine @ step))), tmp_path / "out")
    done = volumes.load_prepared(tmp_path / "out" / out.image)
    assert out.source_zooms_mm == pytest.approx((3.0, 3.0, 0.5))
    assert done.zooms_mm == pytest.approx((3.0, 3.0, 1.0)) and done.shape[2] == fine.shape[2] // 2
    assert factor[2] * image.shape[2] == fine.shape[2]
    volume_ml = (done.array > 0).sum() * done.voxel_ml
    assert volume_ml == pytest.approx((image.array > 0).sum() * image.voxel_ml, rel=0.03)


def test_negative_and_huge_values_do_not_matter(tmp_path, brain):
    image, _ = brain
    rough = image.array.astype(np.float32) * 1e4
    rough[tuple(np.argwhere(rough > 0)[::997].T)] *= -0.01
    out = prepared(scan_of(write(tmp_path / "a.nii.gz", Volume(rough, image.affine))), tmp_path / "out")
    assert volumes.load_prepared(tmp_path / "out" / out.image).array.max() == MAX_INTENSITY


def corrupt(tmp_path, brain, how):
    image, _ = brain
    array = image.array.astype(np.float32)
    path = tmp_path / "a.nii.gz"
    if how == "nan":
        array[30, 30, 30] = np.nan
    elif how == "zero":
        array[:] = 0
    elif how == "slab":
        array = array[:, :, 20:35]
    elif how == "speck":
        array[ndimage.distance_transform_edt(array > 0) < 12] = 0
    write(path, Volume(array, image.affine))
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:20_000])
    elif how == "flipped":
        data = bytearray(gzip.decompress(path.read_bytes()))
        data[344:348] = b"what"
        path.write_bytes(gzip.compress(bytes(data)))
    elif how == "text":
        path.write_text("no image")
    elif how == "gone":
        path.unlink()
    elif how == "several":
        nib.save(nib.Nifti1Image(np.stack([array, array], -1), image.affine), path)
    elif how == "sheared":
        affine = image.affine.copy()
        affine[0, 1] = 1.5
        nib.save(nib.Nifti1Image(array, affine), path)
    return scan_of(path)


REASONS = {
    "truncated": "unreadable", "flipped": "unreadable", "text": "unreadable", "gone": "unreadable",
    "several": "unreadable", "sheared": "bad_geometry", "nan": "not_finite", "zero": "empty_image",
    "slab": "partial_coverage", "speck": "implausible_brain",
}  # fmt: skip


SHOWN = {"partial_coverage", "implausible_brain"}


@pytest.mark.parametrize("how", REASONS)
def test_what_cannot_be_used_is_refused_with_a_reason(tmp_path, brain, how):
    scan = corrupt(tmp_path, brain, how)
    assert refused(scan, tmp_path / "out") == REASONS[how]
    assert bool(list(tmp_path.rglob("*_look.svg"))) == (REASONS[how] in SHOWN)
    inputs_digest(scan, QUICK)  # never fails: `prepare` is the one to say what is wrong


def test_labels_must_be_known_and_lie_on_the_image(tmp_path, brain):
    image, labels = brain
    path = write(tmp_path / "a.nii.gz", image)
    odd = Volume(np.where(labels.array == 2, 999, labels.array), labels.affine)
    shifted = Volume(labels.array, spaces.translation([0, 30, 0]) @ labels.affine)
    for name, volume, reason in (("odd", odd, "unknown_label"), ("shifted", shifted, "labels_off_grid")):
        dseg = write(tmp_path / f"{name}.nii.gz", volume)
        result = prepare(
            scan_of(path, dseg=dseg, label_scheme="ibsr-cma"), Workspace(tmp_path / "out"), QUICK
        )
        assert isinstance(result, Rejection) and result.reason == reason
        assert str(dseg) in result.detail


def test_the_digest_of_inputs_changes_with_file_facts_and_settings_only(tmp_path, brain):
    image, _ = brain
    scan = scan_of(write(tmp_path / "a.nii.gz", image))
    first = inputs_digest(scan, QUICK)
    moved = replace(scan, image=Path(write(tmp_path / "b.nii.gz", image)))
    assert inputs_digest(moved, QUICK) == first
    assert inputs_digest(replace(scan, facts=Facts(age_years=38.0)), QUICK) != first
    assert inputs_digest(scan, PrepareConfig(bias_correction=False, high_percentile=99.0)) != first
    image.array[30, 30, 30] += 1
    try:
        assert inputs_digest(replace(scan, image=write(tmp_path / "c.nii.gz", image)), QUICK) != first
    finally:
        image.array[30, 30, 30] -= 1


def test_the_header_of_a_pair_counts_as_well(tmp_path, brain):
    image, _ = brain
    nib.save(nib.AnalyzeImage(image.array, np.diag([3.0, 3.0, 3.0, 1.0])), tmp_path / "a.img")
    scan = scan_of(tmp_path / "a.img", array_order="RAS")
    first = inputs_digest(scan, QUICK)
    header = bytearray((tmp_path / "a.hdr").read_bytes())
    header[80] ^= 1  # a voxel size
    (tmp_path / "a.hdr").write_bytes(bytes(header))
    assert inputs_digest(scan, QUICK) != first


def test_a_prepared_scan_survives_its_record(tmp_path, brain):
    out = prepared(scan_of(write(tmp_path / "a.nii.gz", brain[0])), tmp_path / "out")
    record = TypeAdapter(PreparedScan).dump_python(out, mode="json")
    assert TypeAdapter(PreparedScan).validate_python(record) == out
    assert not out.image.is_absolute()


def test_the_bias_field_is_taken_out(brain):
    image, _ = brain
    inside = image.array > 0
    truth = np.where(inside, 900.0, 0.0)  # one tissue: all variation is bias or noise
    rows = np.linspace(-1, 1, image.shape[1])[None, :, None]
    noise = np.random.default_rng(0).normal(1, 0.02, image.shape)
    uneven = (truth * np.exp(0.35 * rows) * noise).astype(np.float32)
    even = correct_bias(Volume(uneven, image.affine), inside, COARSE)
    assert even[inside].std() / even[inside].mean() < 0.04
    assert uneven[inside].std() / uneven[inside].mean() > 0.12
    again = correct_bias(Volume(uneven, image.affine), inside, COARSE)
    np.testing.assert_array_equal(even, again)
