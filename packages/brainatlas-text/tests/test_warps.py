"""Displacement fields and chains of maps, against ITK reading the same files."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from brainatlas_text import spaces
from brainatlas_text.engines import itk, resample, warps
from brainatlas_text.engines.warps import Field, PointMap
from brainatlas_text.errors import StageError
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit
TOL_MM = 1e-4  # float64 on both sides; ITK interpolates the float32 vectors in another order
LPS = np.array([-1.0, -1.0, 1.0])


def smooth_field(seed: int, affine: np.ndarray | None = None, shape=(14, 16, 12), size_mm=5.0) -> Field:
    """Bends by up to a few mm in the middle and by nothing at the border, as SyN's fields do."""
    rng = np.random.default_rng(seed)
    vectors = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 2.0) for _ in range(3)], axis=-1)
    window = np.multiply.outer(np.multiply.outer(*(np.hanning(n) for n in shape[:2])), np.hanning(shape[2]))
    vectors *= size_mm * window[..., None] / np.abs(vectors).max()
    grid = np.diag([4.0, 4.0, 4.0, 1.0]) if affine is None else affine
    return Field(np.rint(vectors * 256).astype(np.float32) / 256, grid)


def an_affine(seed: int) -> np.ndarray:
    """Turned, stretched, sheared and moved, by amounts that keep points near the fields."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] += rng.normal(0, 0.08, (3, 3))
    affine[:3, 3] = rng.normal(0, 3, 3)
    return affine


OBLIQUE = spaces.translation([-20.0, -30.0, 5.0]) @ np.array(
    [[3.9, 0.4, 0, 0], [-0.4, 3.9, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1.0]]
)


def itk_transform(step, path) -> sitk.Transform:
    if isinstance(step, Field):
        warps.write_field(path, step)
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    itk.write_transform(path.with_suffix(".tfm"), step)
    return sitk.ReadTransform(str(path.with_suffix(".tfm")))


@pytest.mark.parametrize("grid", [np.diag([4.0, 4.0, 4.0, 1.0]), OBLIQUE])
def test_a_chain_maps_points_as_itk_does_with_the_same_files(tmp_path, grid):
    steps = (an_affine(1), smooth_field(2, grid), smooth_field(3, grid), an_affine(4))
    composite = sitk.CompositeTransform(3)
    for place, step in reversed(list(enumerate(steps))):  # ITK applies what was added last first
        composite.AddTransform(itk_transform(step, tmp_path / f"{place}.nii.gz"))
    box = spaces.apply(grid, np.random.default_rng(0).uniform(-3, 17, (400, 3)))  # some beyond the fields
    expected = np.array([composite.TransformPoint((p * LPS).tolist()) for p in box]) * LPS
    np.testing.assert_allclose(PointMap(steps).apply(box), expected, atol=TOL_MM)


def test_a_chain_samples_as_itk_resamples(tmp_path):
    rng = np.random.default_rng(5)
    image = Volume(rng.uniform(0, 4095, (30, 34, 28)).astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    labels = Volume(rng.integers(0, 60, image.shape).astype(np.uint8), image.affine)
    target = np.diag([1.5, 2.5, 1.5, 1.0])
    steps = (an_affine(1), smooth_field(2), an_affine(4))
    box = ((1, 2, 4), (40, 28, 34))
    nearest = warps.sample_labels(PointMap(steps), target, box, labels)
    linear = warps.sample_image(PointMap(steps), target, box, image)

    composite = sitk.CompositeTransform(3)
    for place, step in reversed(list(enumerate(steps))):
        composite.AddTransform(itk_transform(step, tmp_path / f"{place}.nii.gz"))
    grid = itk.to_itk_image(Volume(np.zeros(box[1], np.uint8), target @ spaces.translation(box[0])))
    theirs = [
        itk.to_array(sitk.Resample(itk.to_itk_image(volume), grid, composite, method, 0.0))
        for volume, method in ((labels, sitk.sitkNearestNeighbor), (image, sitk.sitkLinear))
    ]
    inside = linear > 0  # ITK goes half a voxel beyond the outermost centers, we stop at them
    assert 0.3 < inside.mean() < 1
    assert (nearest == theirs[0])[inside].mean() > 0.999  # but for ties
    np.testing.assert_allclose(linear[inside], theirs[1][inside], atol=0.5)


@given(st.integers(0, 1000))
def test_affines_alone_are_one_affine(seed):
    one, other = an_affine(seed), an_affine(seed + 1)
    points = np.random.default_rng(seed).normal(0, 50, (7, 3))
    np.testing.assert_allclose(
        PointMap((one, other)).apply(points), spaces.apply(other @ one, points), atol=1e-9
    )
    np.testing.assert_allclose(PointMap((one, spaces.invert(one))).apply(points), points, atol=1e-9)


@given(st.integers(0, 1000))
def test_chains_of_chains_are_one_chain(seed):
    first, second = PointMap((an_affine(seed), smooth_field(seed))), PointMap((smooth_field(seed + 1),))
    points = np.random.default_rng(seed).uniform(0, 60, (50, 3))
    np.testing.assert_array_equal(first.then(second).apply(points), second.apply(first.apply(points)))


def test_without_fields_it_is_the_affine_resampling_of_rendering():
    rng = np.random.default_rng(0)
    image = Volume(rng.uniform(0, 4095, (20, 22, 18)).astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    labels = Volume(rng.integers(0, 9, image.shape).astype(np.uint8), image.affine)
    target, box, affine = np.diag([1.0, 2.0, 1.5, 1.0]), ((2, 0, 3), (20, 15, 12)), an_affine(1)
    vox = spaces.invert(image.affine) @ affine @ target
    nearest = warps.sample_labels(PointMap((affine,)), target, box, labels)
    linear = warps.sample_image(PointMap((affine,)), target, box, image)
    assert (nearest == resample.nearest(labels.array, vox, box)).mean() > 0.999  # but for ties
    np.testing.assert_allclose(linear, resample.linear(image.array, vox, box), atol=0.1)


def test_no_step_at_all_copies_the_voxels():
    labels = Volume(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), OBLIQUE)
    image = Volume(labels.array.astype(np.uint16), OBLIQUE)
    nearest = warps.sample_labels(PointMap(()), OBLIQUE, ((0, 0, 0), (3, 4, 5)), labels)
    linear = warps.sample_image(PointMap(()), OBLIQUE, ((0, 0, 0), (3, 4, 5)), image)
    np.testing.assert_array_equal(nearest, labels.array)
    np.testing.assert_allclose(linear[1:-1, 1:-1, 1:-1], image.array[1:-1, 1:-1, 1:-1], atol=1e-4)


def test_outside_its_grid_a_field_moves_nothing():
    field = Field(np.full((4, 4, 4, 3), 2.0, dtype=np.float32), np.eye(4))
    inside, edge, outside = [1.0, 1.0, 1.0], [-0.4, 1.0, 3.4], [-0.6, 1.0, 1.0]
    moved = PointMap((field,)).apply(np.array([inside, edge, outside]))
    np.testing.assert_array_equal(moved, [[3.0, 3.0, 3.0], [1.6, 3.0, 5.4], outside])


def test_determinants_are_itks(tmp_path):
    field = smooth_field(
        7, np.diag([-4.0, -4.0, 4.0, 1.0]), size_mm=12.0
    )  # ITK's filter forgets the grid's directions
    warps.write_field(tmp_path / "field.nii.gz", field)
    image = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    theirs = itk.to_array(sitk.DisplacementFieldJacobianDeterminant(image))
    ours = warps.determinants(field)
    np.testing.assert_allclose(ours[1:-1, 1:-1, 1:-1], theirs[1:-1, 1:-1, 1:-1], atol=1e-4)
    assert ours.min() < 0.8 and ours.max() > 1.2


@given(st.integers(0, 1000))
def test_an_affine_has_its_volume_ratio_everywhere_on_any_grid(seed):
    affine = an_affine(seed)
    points = spaces.apply(OBLIQUE, np.moveaxis(np.indices((5, 6, 7)), 0, -1))
    field = Field((spaces.apply(affine, points) - points).astype(np.float32), OBLIQUE)
    np.testing.assert_allclose(warps.determinants(field), np.linalg.det(affine[:3, :3]), rtol=1e-4)


def test_fields_come_back_as_they_were_written_and_equal_ones_are_equal_bytes(tmp_path):
    field, paths = smooth_field(1, OBLIQUE), [tmp_path / name for name in ("a.nii.gz", "b.nii.gz")]
    for path in paths:
        warps.write_field(path, field)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    back = warps.read_field(paths[0])
    np.testing.assert_array_equal(back.vectors, field.vectors)
    np.testing.assert_allclose(back.affine, field.affine, atol=1e-6)


def test_a_file_that_is_no_field_is_named(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.eye(4)), tmp_path / "image.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "image.nii.gz").read_bytes()[:60])
    for name in ("image.nii.gz", "cut.nii.gz"):
        with pytest.raises(StageError, match=name):
            warps.read_field(tmp_path / name)
