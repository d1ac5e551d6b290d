import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from brainatlas_text.engines import masks
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit


def ball(shape, center, radius_mm, zooms=(1.0, 1.0, 1.0)):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return (((index - center) * zooms) ** 2).sum(axis=-1) <= radius_mm**2


def stripped(background=0.0):
    """A brain-sized ball (about 1400 ml) of noise on an exactly constant background, a hole inside."""
    zooms = (3.0, 2.0, 3.0)
    inside = ball((72, 108, 72), (36, 54, 36), 70.0, zooms)
    noise = np.random.default_rng(0).normal(500, 40, inside.shape)
    hole = ball(inside.shape, (36, 54, 36), 12.0, zooms)
    array = np.where(inside & ~hole, noise, background).astype(np.float32)
    return Volume(array, np.diag([*zooms, 1.0])), inside


@pytest.mark.parametrize("background", [0.0, -5.0, 32.0])
def test_a_stripped_image_is_known_by_its_constant_background(background):
    image, inside = stripped(background)
    outline = masks.outline_of_stripped(image)
    np.testing.assert_array_equal(outline & inside, inside)  # the hole is filled
    assert outline.sum() == inside.sum()


def test_specks_far_off_are_not_the_brain():
    image, _ = stripped()
    image.array[1, 1, 1] = 400
    assert not masks.outline_of_stripped(image)[:5, :5, :5].any()


def test_a_head_in_air_is_not_stripped():
    image, inside = stripped()
    air = np.random.default_rng(1).normal(10, 3, inside.shape)
    assert (
        masks.outline_of_stripped(Volume(np.where(inside, 500, air).astype(np.float32), image.affine)) is None
    )


def test_a_head_on_exact_zeros_is_too_large_to_be_a_brain():
    head = ball((90, 90, 90), (45, 45, 45), 100.0, (2.8, 2.8, 2.8))
    image = Volume((head * 300.0).astype(np.float32), np.diag([2.8, 2.8, 2.8, 1.0]))
    assert masks.outline_of_stripped(image) is None


@pytest.mark.parametrize("zooms", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.5)])
def test_growing_and_shrinking_count_in_millimetres(zooms):
    shape = tuple(int(60 / zoom) for zoom in zooms)
    center = (np.array(shape) - 1) / 2
    voxel = np.prod(zooms)
    for change, radius in ((masks.dilate, 18.0), (masks.erode, 12.0)):
        changed = change(ball(shape, center, 15.0, zooms), 3.0, np.array(zooms)).sum() * voxel
        assert changed == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.12)


def test_closing_bridges_gaps_and_does_not_grow_at_the_border():
    mask = np.zeros((30, 20, 20), dtype=bool)
    mask[:14], mask[17:] = True, True
    zooms = np.ones(3)
    assert masks.close(mask, 3.0, zooms)[:, 4:-4, 4:-4].all()
    alone = np.zeros((20, 20, 20), dtype=bool)
    alone[:8] = True
    np.testing.assert_array_equal(masks.close(alone, 3.0, zooms), alone)


def test_the_foreground_is_the_head_whatever_the_scale():
    head = ball((60, 60, 60), (30, 30, 30), 40.0, (2.0, 2.0, 2.0))
    rng = np.random.default_rng(2)
    for scale in (0.01, 1.0, 1e5):
        array = (np.where(head, rng.normal(300, 60, head.shape), rng.rayleigh(10, head.shape)) * scale).clip(
            0
        )
        found = masks.foreground(Volume(array.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])))
        assert (found ^ head).sum() < 0.02 * head.sum()


def test_operations_in_a_box_equal_those_on_the_whole_grid():
    zooms = np.array([1.0, 2.0, 1.5])
    rng = np.random.default_rng(3)
    for low in ([0, 0, 0], [9, 4, 6], [20, 12, 16]):  # at the border, within, at the other border
        mask = np.zeros((28, 18, 22), dtype=bool)
        mask[low[0] : low[0] + 8, low[1] : low[1] + 6, low[2] : low[2] + 6] = rng.random((8, 6, 6)) < 0.8
        outward = ndimage.distance_transform_edt(~mask, sampling=zooms)
        inward = ndimage.distance_transform_edt(mask, sampling=zooms)
        np.testing.assert_array_equal(masks.dilate(mask, 3.0, zooms), outward <= 3.0)
        np.testing.assert_array_equal(masks.erode(mask, 1.2, zooms), inward > 1.2)
        np.testing.assert_array_equal(masks.fill_holes(mask), ndimage.binary_fill_holes(mask))


def test_growing_nothing_gives_nothing():
    nothing = np.zeros((4, 5, 6), dtype=bool)
    assert (
        not masks.dilate(nothing, 3.0, np.ones(3)).any() and not masks.erode(nothing, 3.0, np.ones(3)).any()
    )


def test_the_largest_part_of_nothing_is_nothing():
    assert not masks.largest_component(np.zeros((4, 4, 4), dtype=bool)).any()


def test_otsu_parts_two_groups_as_itk_does_and_gives_a_lone_value_back():
    rng = np.random.default_rng(0)
    both = np.concatenate([rng.normal(100, 10, 3000), rng.normal(400, 30, 5000)]).astype(np.float32)
    filter_ = sitk.OtsuThresholdImageFilter()
    filter_.SetNumberOfHistogramBins(256)
    filter_.Execute(sitk.GetImageFromArray(both.reshape(20, 20, 20)))
    assert masks.otsu(both) == pytest.approx(filter_.GetThreshold(), abs=2 * float(np.ptp(both)) / 256)
    assert masks.otsu(np.full(5, 7.0, np.float32)) == 7.0
