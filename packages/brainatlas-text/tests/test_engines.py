import io

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from scipy import ndimage

from brainatlas_text import spaces
from brainatlas_text.engines import itk, png, resample
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit


def turned(angle=0.2, shift=(1.3, -2.1, 0.7)):
    matrix = spaces.translation(shift)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


@pytest.fixture
def blob():
    rng = np.random.default_rng(3)
    return ndimage.gaussian_filter(rng.standard_normal((30, 28, 26)), 2.0).astype(np.float32)


def test_linear_resampling_agrees_with_scipy(blob):
    matrix = turned()
    ours = resample.linear(blob, matrix, ((2, 1, 3), (25, 24, 20)))
    theirs = ndimage.affine_transform(blob, matrix, order=1, output_shape=(30, 28, 26), mode="constant")
    inside = ndimage.affine_transform(np.ones_like(blob), matrix, order=1, mode="constant") > 0.999
    box = (slice(2, 27), slice(1, 25), slice(3, 23))
    assert inside[box].mean() > 0.5
    np.testing.assert_allclose(ours[inside[box]], theirs[box][inside[box]], atol=1e-5)


def test_nearest_resampling_agrees_with_scipy():
    labels = np.random.default_rng(4).integers(0, 60, (20, 22, 24)).astype(np.uint8)
    ours = resample.nearest(labels, turned(), ((0, 0, 0), labels.shape))
    theirs = ndimage.affine_transform(labels, turned(), order=0, mode="constant")
    inside = ndimage.affine_transform(np.ones(labels.shape), turned(), order=1, mode="constant") > 0.999
    np.testing.assert_array_equal(ours[inside], theirs[inside])


def test_the_box_of_a_mask_is_tight():
    mask = np.zeros((10, 11, 12), bool)
    mask[2:5, 3:9, 11] = True
    assert resample.box_of(mask) == ((2, 3, 11), (3, 6, 1))
    assert resample.box_of(np.zeros((3, 3, 3)))[1] == (0, 0, 0)


@pytest.mark.parametrize("shape", [(256, 256), (5, 3), (1, 1)])
def test_png_is_read_back_by_pillow_bit_for_bit(shape):
    image = np.random.default_rng(5).integers(0, 256, shape).astype(np.uint8)
    opened = Image.open(io.BytesIO(png.encode_grey(image)))
    opened.verify()
    opened = Image.open(io.BytesIO(png.encode_grey(image)))
    assert opened.mode == "L"
    np.testing.assert_array_equal(np.asarray(opened), image)


def test_a_transform_file_moves_points_as_itk_does(tmp_path):
    moving_from_fixed = turned(0.3, (10.0, -4.0, 2.0)) @ np.diag([1.1, 0.9, 1.0, 1.0])
    itk.write_transform(tmp_path / "x.tfm", moving_from_fixed)
    transform = sitk.ReadTransform(str(tmp_path / "x.tfm"))
    point = np.array([12.0, -30.0, 45.0])
    ours = spaces.apply(moving_from_fixed, point)
    theirs = np.array(transform.TransformPoint((point * [-1, -1, 1]).tolist())) * [-1, -1, 1]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    np.testing.assert_allclose(itk.read_transform(tmp_path / "x.tfm"), moving_from_fixed, atol=1e-12)


def test_composed_affines_resample_as_itk_does(blob):
    """moving -> hub -> fixed in one resampling, against ITK's own composite transform."""
    affine = spaces.translation((-14.0, -13.0, -12.0))
    moving_from_hub, hub_from_fixed = turned(0.15, (1.0, 0.5, -1.0)), turned(-0.1, (-0.5, 1.0, 0.5))
    vox = spaces.invert(affine) @ moving_from_hub @ hub_from_fixed @ affine
    ours = resample.linear(blob, vox, ((0, 0, 0), blob.shape))
    image = itk.to_itk_image(Volume(blob, affine))
    composite = sitk.CompositeTransform(
        [itk.to_itk_transform(m, np.zeros(3)) for m in (moving_from_hub, hub_from_fixed)]
    )
    theirs = sitk.GetArrayFromImage(sitk.Resample(image, image, composite, sitk.sitkLinear, -99.0)).transpose(
        2, 1, 0
    )
    inside = (theirs != -99.0) & (ours != 0.0)
    assert inside.mean() > 0.6
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=1e-4)


def test_a_known_affine_is_found_again():
    rng = np.random.default_rng(6)
    noise = ndimage.gaussian_filter(rng.standard_normal((60, 70, 60)), 3.0)
    grid = np.indices(noise.shape) - np.array([29.5, 34.5, 29.5])[:, None, None, None]
    ball = (np.square(grid / np.array([24.0, 29, 22])[:, None, None, None]).sum(0) < 1) * (
        noise - noise.min()
    )
    affine = spaces.translation((-59.0, -69.0, -59.0)) @ np.diag([2.0, 2.0, 2.0, 1.0])
    fixed = Volume(ball.astype(np.float32) * 1000, affine)
    truth = turned(0.1, (4.0, -3.0, 5.0)) @ np.diag([1.05, 0.97, 1.0, 1.0])
    fixed_from_moving_vox = spaces.invert(affine) @ spaces.invert(truth) @ affine
    moving = Volume(resample.linear(fixed.array, fixed_from_moving_vox, ((0, 0, 0), ball.shape)), affine)
    schedule = itk.AffineSchedule(grids_mm=(8.0, 4.0), iterations=(200, 100))
    found, information = itk.register_affine(fixed, moving, np.eye(4), schedule)
    corners = np.array([[x, y, z] for x in (-40, 40) for y in (-50, 50) for z in (-40, 40)], float)
    error_mm = np.linalg.norm(spaces.apply(found, corners) - spaces.apply(truth, corners), axis=1)
    assert error_mm.max() < 1.0
    assert information > 0.3
    again, _ = itk.register_affine(fixed, moving, np.eye(4), schedule)
    assert (found == again).all()
