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
    frame = render.isotropic_frame(Volume((image > 0).astype(np.uint8), affine))
    return render.render_pair(moving, frame, moving_from_fixed, fixed_from_hub)


def where(page, label):
    rows, columns = np.nonzero(page == label)
    return rows.mean(), columns.mean()


def test_left_is_left_front_is_up_in_axial():
    pair = rendered()
    page = render.picture(pair.labels, pair.start, "axial", 127)
    assert page.shape == (256, 256)
    assert where(page, LEFT)[1] < 100
    assert where(page, FRONT)[0] < 80


def test_left_is_left_and_up_is_up_in_coronal():
    pair = rendered()
    page = render.picture(pair.labels, pair.start, "coronal", 127)
    assert where(page, LEFT)[1] < 100
    assert where(page, TOP)[0] < 90


def test_front_is_right_and_up_is_up_in_sagittal():
    pair = rendered()
    page = render.picture(pair.labels, pair.start, "sagittal", 127)
    assert where(page, FRONT)[1] > 180
    assert where(page, TOP)[0] < 90
    assert not (page == LEFT).any()
    assert (render.picture(pair.labels, pair.start, "sagittal", 72) == LEFT).any()


def test_the_brain_is_centered_and_sizes_are_kept():
    pair = rendered()
    page = render.picture(pair.image, pair.start, "axial", 127)
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
    page = render.picture(pair.image, pair.start, "axial", 127)
    assert np.ptp(np.nonzero(page)[1]) + 1 == pytest.approx(60, abs=2)


def test_kept_slices_span_zero_to_one_and_obey_step_and_area():
    pair = rendered()
    kept = list(render.kept_slices(pair, "axial", RenderConfig()))
    assert kept[0][1] == 0.0 and kept[-1][1] == 1.0
    assert [index for index, _ in kept] == list(range(kept[0][0], kept[-1][0] + 1))
    fourth = list(render.kept_slices(pair, "axial", RenderConfig(slice_step=4)))
    assert fourth == [item for item in kept if item[0] % 4 == 0]
    assert not list(render.kept_slices(pair, "axial", RenderConfig(min_brain_mm2=1e6)))
