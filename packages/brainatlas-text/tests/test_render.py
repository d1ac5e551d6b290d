import numpy as np
import pytest

from brainatlas_text import render, spaces
from brainatlas_text.engines import resample
from brainatlas_text.render import MovingScan, RenderConfig
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit
LEFT, FRONT, TOP = 17, 3, 16


def asymmetric(zooms=(1.0, 1.5, 1.0)):
    """A bright box brain with a mark at its left, its front and its top, in RAS order."""
    shape = tuple(round(n / z) for n, z in zip((140, 170, 130), zooms, strict=True))
    affine = spaces.translation((-69.5, -84.0, -64.5)) @ np.diag([*zooms, 1.0])
    points = spaces.apply(affine, np.moveaxis(np.indices(shape), 0, -1))
    inside = (np.abs(points) < (60, 75, 55)).all(axis=-1)
    labels = np.where(inside, 2, 0).astype(np.uint8)
    labels[inside & (points[..., 0] < -50)] = LEFT
    labels[inside & (points[..., 1] > 65)] = FRONT
    labels[inside & (points[..., 2] > 45)] = TOP
    image = np.where(inside, 2000, 0).astype(np.uint16)
    return image, labels, affine


EYE = np.eye(4)


def rendered(moving_from_fixed=EYE, fixed_from_hub=EYE):
    image, labels, affine = asymmetric()
    box = resample.box_of(image)
    moving = MovingScan(image=image, labels=labels, agreement=None, affine=affine, brain_box=box)
    frame = render.frame_of(Volume((image > 0).astype(np.uint8), affine), "isotropic")
    return render.render_pair(moving, frame, moving_from_fixed, fixed_from_hub)


def where(page, label):
    rows, columns = np.nonzero(page == label)
    return rows.mean(), columns.mean()


def test_left_is_left_front_is_up_in_axial():
    pair = rendered()
    page = render.picture(pair.labels, pair, "axial", 127)
    assert page.shape == (256, 256)
    assert where(page, LEFT)[1] < 100
    assert where(page, FRONT)[0] < 80


def test_left_is_left_and_up_is_up_in_coronal():
    pair = rendered()
    page = render.picture(pair.labels, pair, "coronal", 127)
    assert where(page, LEFT)[1] < 100
    assert where(page, TOP)[0] < 90


def test_front_is_right_and_up_is_up_in_sagittal():
    pair = rendered()
    page = render.picture(pair.labels, pair, "sagittal", 127)
    assert where(page, FRONT)[1] > 180
    assert where(page, TOP)[0] < 90
    assert not (page == LEFT).any()
    assert (render.picture(pair.labels, pair, "sagittal", 72) == LEFT).any()


def test_the_brain_is_centered_and_sizes_are_kept():
    pair = rendered()
    page = render.picture(pair.image, pair, "axial", 127)
    rows, columns = np.nonzero(page)
    assert abs(rows.mean() - 127.5) < 1 and abs(columns.mean() - 127.5) < 1
    assert np.ptp(columns) + 1 == pytest.approx(120, abs=2)
    assert np.ptp(rows) + 1 == pytest.approx(150, abs=3)


def test_the_hub_origin_is_found_in_the_frame():
    pair = rendered(fixed_from_hub=spaces.translation((5.0, -8.0, 11.0)))
    centered = rendered()
    np.testing.assert_allclose(pair.origin_index - centered.origin_index, (5.0, -8.0, 11.0), atol=1e-9)


def test_a_pair_shows_the_moving_anatomy_scaled_into_the_fixed_pose():
    half = np.diag([2.0, 2.0, 2.0, 1.0])  # a fixed point maps to a moving point twice as far out
    pair = rendered(moving_from_fixed=half)
    page = render.picture(pair.image, pair, "axial", 127)
    assert np.ptp(np.nonzero(page)[1]) + 1 == pytest.approx(60, abs=2)


def test_kept_slices_span_zero_to_one_and_obey_step_and_area():
    pair = rendered()
    kept = list(render.kept_slices(pair, "axial", RenderConfig()))
    assert kept[0][1] == 0.0 and kept[-1][1] == 1.0
    assert [index for index, _ in kept] == list(range(kept[0][0], kept[-1][0] + 1))
    fourth = list(render.kept_slices(pair, "axial", RenderConfig(slice_step=4)))
    assert fourth == [item for item in kept if item[0] % 4 == 0]
    assert not list(render.kept_slices(pair, "axial", RenderConfig(min_brain_mm2=1e6)))


def own_frame(shape, box_start, box_shape, zooms=(1.0, 1.5, 1.0)):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(b, b + n) for b, n in zip(box_start, box_shape, strict=True))] = 1
    return render.frame_of(Volume(mask, np.diag([*zooms, 1.0])), "fixed")


def own_grid(image, labels, affine):
    """A native in the fixed frame."""
    moving = MovingScan(
        image=image, labels=labels, agreement=None, affine=affine, brain_box=resample.box_of(image)
    )
    frame = render.frame_of(Volume((image > 0).astype(np.uint8), affine), "fixed")
    return render.render_pair(moving, frame, EYE, EYE)


@pytest.mark.parametrize(
    ("size", "start", "length", "expected"),
    [
        (128, 10, 100, (128, -64, 1.5)),  # padded evenly
        (256, 0, 256, (256, 0, 1.5)),
        (288, 100, 180, (288, 32, 1.5)),  # cropped, to the end of the grid at most
        (288, 40, 180, (288, 2, 1.5)),
        (288, 0, 180, (288, 0, 1.5)),
        (576, 60, 440, (288, 12, 3.0)),  # the brain alone is larger than a picture: half resolution
        (1200, 50, 1100, (150, -53, 12.0)),
    ],
)
def test_an_axis_of_the_fixed_frame_is_padded_cropped_or_halved(size, start, length, expected):
    frame = own_frame((60, size, 61), (0, start, 0), (60, length, 61))
    assert (frame.shape[1], frame.page_start[1], frame.zooms_mm[1]) == expected
    assert (frame.shape[0], frame.page_start[0], frame.zooms_mm[0]) == (60, -98, 1.0)
    first, number = frame.shown[0][1], frame.shown[1][1]
    step = round(frame.zooms_mm[1] / 1.5)
    assert first * step <= start and (first + number) * step >= min(start + length, size // step * step)


def test_a_native_in_the_fixed_frame_is_its_own_grid_voxel_by_voxel():
    image, labels, affine = asymmetric(zooms=(0.9375, 1.5, 1.2))
    pair = own_grid(image, labels, affine)
    assert pair.frame.shape == image.shape and pair.share_cropped == 0.0
    inside = tuple(slice(b, b + n) for b, n in zip(pair.start, pair.labels.shape, strict=True))
    np.testing.assert_array_equal(pair.labels, labels[inside])
    np.testing.assert_array_equal(pair.image, np.rint(image[inside] * (255 / 4095)))
    assert np.count_nonzero(pair.labels) == np.count_nonzero(labels)


def test_pictures_of_an_anisotropic_grid_are_padded_and_the_right_way_up():
    image, labels, affine = asymmetric(zooms=(1.0, 1.5, 1.0))
    pair = own_grid(image, labels, affine)
    num_i, num_j, num_k = image.shape
    axial = render.picture(pair.labels, pair, "axial", num_k // 2)
    left, below = (256 - num_i) // 2, (256 - num_j + 1) // 2
    page = np.zeros((256, 256), np.uint8)
    page[256 - below - num_j : 256 - below, left : left + num_i] = labels[:, :, num_k // 2].T[::-1]
    np.testing.assert_array_equal(axial, page)
    assert where(axial, LEFT)[1] < 100 and where(axial, FRONT)[0] < where(axial, 2)[0]
    coronal = render.picture(pair.labels, pair, "coronal", num_j // 2)
    assert where(coronal, LEFT)[1] < 100 and where(coronal, TOP)[0] < where(coronal, 2)[0]
    sagittal = render.picture(pair.labels, pair, "sagittal", num_i // 2)
    assert where(sagittal, FRONT)[1] > where(sagittal, 2)[1] and where(sagittal, TOP)[0] < 100


def test_empty_slices_are_judged_in_mm2_whatever_the_voxels():
    """120 mm x 110 mm of brain in every coronal slice, 150 mm x 110 mm in every sagittal one."""
    image, labels, affine = asymmetric(zooms=(1.0, 1.5, 1.0))
    pair = own_grid(image, labels, affine)
    for plane, area in (("coronal", 120 * 110), ("sagittal", 150 * 110), ("axial", 120 * 150)):
        for factor, number in ((0.97, True), (1.03, False)):
            config = RenderConfig(frame="fixed", min_brain_mm2=area * factor)
            assert bool(list(render.kept_slices(pair, plane, config))) == number
        assert pair.frame.num_slices(plane, 1) == image.shape[render.NORMAL_AXIS[plane]]


def test_half_resolution_keeps_places_and_averages():
    image = np.random.default_rng(0).integers(1, 4096, (12, 440, 14)).astype(np.uint16)
    affine = np.diag([15.0, 0.4, 12.0, 1.0])
    pair = own_grid(image, np.full(image.shape, 2, np.uint8), affine)
    assert pair.frame.shape == (12, 220, 14)
    np.testing.assert_allclose(spaces.apply(pair.frame.affine, (0, 0, 0)), (0, 0.2, 0))
    means = image.reshape(12, 220, 2, 14).mean(axis=2)
    np.testing.assert_allclose(pair.image, means * (255 / 4095), atol=0.51)


def test_a_brain_that_leaves_the_frame_is_measured_not_lost_silently():
    image, labels, affine = asymmetric()
    moving = MovingScan(
        image=image, labels=labels, agreement=None, affine=affine, brain_box=resample.box_of(image)
    )
    small = render.frame_of(Volume((image > 0).astype(np.uint8)[:, :, :60], affine), "fixed")
    cut = render.render_pair(moving, small, EYE, EYE)
    shown = np.count_nonzero(image[:, :, :60]) / np.count_nonzero(image)
    assert cut.share_cropped == pytest.approx(1 - shown)
    assert np.count_nonzero(cut.labels) == np.count_nonzero(labels[:, :, :60])
    away = render.render_pair(moving, small, spaces.translation((0, 0, 500.0)), EYE)
    assert away.share_cropped == 1.0 and not away.image.any()
    assert not list(render.kept_slices(away, "axial", RenderConfig(frame="fixed")))


def test_the_share_outside_is_that_of_voxels_mapped_one_by_one():
    rng = np.random.default_rng(3)
    source = rng.integers(0, 2, (13, 17, 11)).astype(np.uint16)
    matrix = np.eye(4)
    matrix[:3] += rng.normal(0, 0.2, (3, 4))
    low, shape = (2, 3, 1), (7, 8, 6)
    at = np.floor(spaces.apply(matrix, np.argwhere(source)) + 0.5)
    inside = ((at >= low) & (at < np.add(low, shape))).all(axis=1).mean()
    assert 0.1 < inside < 0.9
    assert resample.share_outside(source, matrix, (low, shape)) == pytest.approx(1 - inside)
    assert resample.share_outside(np.zeros_like(source), matrix, (low, shape)) == 0.0
