import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes

from brainatlas_text import spaces
from brainatlas_text.errors import GeometryError

pytestmark = pytest.mark.unit
CODES = [
    "".join(pair[flip] for pair, flip in zip(axes, flips, strict=True))
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for flips in itertools.product((0, 1), repeat=3)
]


@pytest.mark.parametrize("codes", CODES)
def test_axis_codes_agree_with_nibabel_in_all_48_orders(codes):
    affine = spaces.from_axis_codes(codes, (10, 20, 30), (1.0, 1.5, 2.0))
    assert spaces.axis_codes(affine) == codes == "".join(aff2axcodes(affine))
    np.testing.assert_allclose(spaces.zooms_of(affine), (1.0, 1.5, 2.0))


def test_a_convention_puts_the_grid_center_at_zero():
    affine = spaces.from_axis_codes("ASL", (11, 21, 31), (1.0, 1.0, 1.25))
    np.testing.assert_allclose(spaces.apply(affine, [5, 10, 15]), 0.0, atol=1e-12)


@given(
    st.lists(st.floats(-200, 200), min_size=3, max_size=3),
    st.lists(st.floats(-0.3, 0.3), min_size=9, max_size=9),
)
def test_an_affine_and_its_inverse_cancel(offset, skew):
    affine = spaces.translation(offset)
    affine[:3, :3] += np.reshape(skew, (3, 3)) + np.eye(3)
    points = np.array([[0.0, 0.0, 0.0], [80.0, -110.0, 60.0]])
    back = spaces.apply(spaces.invert(affine), spaces.apply(affine, points))
    np.testing.assert_allclose(back, points, atol=1e-6)


def test_itk_form_is_its_own_inverse_and_keeps_z():
    affine = spaces.translation((1.0, 2.0, 3.0))
    np.testing.assert_array_equal(spaces.itk_from_ras(affine)[:3, 3], (-1.0, -2.0, 3.0))
    np.testing.assert_array_equal(spaces.itk_from_ras(spaces.itk_from_ras(affine)), affine)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a * np.nan, "finite"),
        (lambda a: a @ np.diag([0.0, 1, 1, 1]), "voxel sizes"),
        (lambda a: a @ np.diag([90.0, 1, 1, 1]), "voxel sizes"),
        (lambda a: a + np.eye(4, k=1) * 0.2, "orthogonal"),
    ],
)
def test_impossible_affines_are_refused_with_the_file_and_the_value(change, words):
    with pytest.raises(GeometryError, match=rf"sub-01\.nii: .*{words}"):
        spaces.check_affine(change(np.eye(4)), "sub-01.nii")
