"""The embedded brain mask against known truth; a head of the demo for each sequence, on a coarse grid."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from brainatlas_text import spaces, volumes
from brainatlas_text.demo.anatomy import build_anatomy
from brainatlas_text.demo.camera import Camera, Grid
from brainatlas_text.demo.contrast import Look
from brainatlas_text.demo.people import Identity
from brainatlas_text.engines import extraction, information, masks, resample
from brainatlas_text.engines.head_template import load_head_template
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.integration
SHAPE, ZOOMS_MM = (92, 116, 112), (2.0, 2.0, 2.0)


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.fixture(scope="module")
def camera():
    return Camera(anatomy=build_anatomy(), seed=3)


@pytest.fixture(scope="module")
def heads(camera):
    """By sequence: a head of one person, and the true mask."""
    person = camera.person(Identity(source="kirby", number=1, age_years=52.0, sex="F"))
    grid = Grid(shape=SHAPE, affine=spaces.from_axis_codes("RAS", SHAPE, ZOOMS_MM))
    found = {}
    for session, sequence in enumerate(("T1w", "T2w", "FLAIR")):
        scan = camera.take(person, grid, Look(sequence=sequence, noise=0.03), session)
        found[sequence] = (Volume(scan.counts(300).astype(np.float32), grid.affine), scan.mask)
    return found


@pytest.fixture(scope="module")
def t1w(heads):
    """The T1w head and the mask it gets."""
    head, _ = heads["T1w"]
    return head, extraction.extract_brain(head)


@pytest.mark.parametrize("sequence", ["T1w", "T2w", "FLAIR"])
def test_a_mask_meets_the_truth_in_every_sequence(heads, sequence):
    head, truth = heads[sequence]
    assert dice(extraction.extract_brain(head), truth) > 0.95


def test_the_stored_order_does_not_matter_and_nothing_is_left_to_chance(t1w):
    head, mask = t1w
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt("PIL")
    )
    stored = nib.Nifti1Image(head.array, head.affine).as_reoriented(turn)
    again = volumes.to_closest_ras(Volume(np.asarray(stored.dataobj), stored.affine))
    np.testing.assert_array_equal(extraction.extract_brain(again), mask)


@pytest.mark.parametrize("order", list(permutations("RAS")))
def test_each_of_the_48_orders_is_straightened_to_the_same_array(heads, order):
    head, _ = heads["T1w"]
    coarse = volumes.thin(head, (4, 4, 4))
    expected = extraction.straightened(coarse)
    for flips in product((False, True), repeat=3):
        codes = [
            {"R": "L", "A": "P", "S": "I"}[code] if flip else code
            for code, flip in zip(order, flips, strict=True)
        ]
        turn = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
        )
        stored = nib.Nifti1Image(coarse.array, coarse.affine).as_reoriented(turn)
        loaded = volumes.to_closest_ras(Volume(np.asarray(stored.dataobj), stored.affine))
        found = extraction.straightened(loaded)
        np.testing.assert_array_equal(found.array, expected.array)
        np.testing.assert_array_equal(found.affine, expected.affine)


def test_a_tilted_grid_gives_the_same_mask_in_the_world(t1w):
    """A scanner that stores oblique slices, and says so, shows the same head."""
    head, mask = t1w
    axis = np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(np.radians(15.0) * axis).as_matrix()
    shape = (130, 130, 130)
    middle = spaces.apply(head.affine, (np.array(SHAPE) - 1) / 2)
    tilted = spaces.translation(middle) @ turn @ spaces.from_axis_codes("RAS", shape, ZOOMS_MM)
    array = resample.linear(head.array, spaces.invert(head.affine) @ tilted, ((0, 0, 0), shape))
    found = extraction.extract_brain(Volume(array, tilted))
    assert spaces.obliquity_deg(tilted) > 10
    back = spaces.invert(tilted) @ head.affine
    again = resample.linear(found.astype(np.float32), back, ((0, 0, 0), SHAPE)) > 0.5
    assert dice(again, mask) > 0.97


def test_straightening_keeps_every_point_in_its_place(t1w):
    head, _ = t1w
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec([0.1, -0.2, 0.15]).as_matrix()
    straight = extraction.straightened(Volume(head.array, turn @ head.affine))
    np.testing.assert_allclose(straight.affine[:3, :3], 2 * np.eye(3), atol=1e-9)
    points = spaces.apply(head.affine, np.random.default_rng(0).integers(30, 80, (200, 3)))
    here = spaces.apply(spaces.invert(straight.affine) @ turn, points)
    there = spaces.apply(spaces.invert(head.affine), points).round().astype(int)
    near = np.rint(here).astype(int)
    values, truth = straight.array[tuple(near.T)], head.array[tuple(there.T)]
    assert np.corrcoef(values, truth)[0, 1] > 0.8


def test_blanked_air_and_face_are_not_mistaken_for_a_stripped_brain(heads):
    for head, truth in heads.values():
        middle = np.argwhere(truth).mean(axis=0)
        below = (np.indices(SHAPE) - middle[:, None, None, None])[2] < -20
        shown = masks.fill_holes(masks.close(masks.foreground(head), 4.0, head.zooms_mm)) & ~below
        blanked = Volume(np.where(shown, head.array, 0), head.affine)
        assert (shown.sum() * head.voxel_ml) < 2400  # small enough to be a brain
        assert masks.outline_of_stripped(blanked) is None
        brain = Volume(np.where(truth, np.maximum(head.array, 1), 0), head.affine)
        assert dice(masks.outline_of_stripped(brain), truth) > 0.99


def test_information_grows_with_alignment_and_its_slope_is_its_derivative():
    """Central differences in all twelve entries of the affine."""
    template = load_head_template().head
    template_vox = spaces.invert(template.affine)
    grid = np.stack(np.meshgrid(*[np.arange(-60.0, 60.0, 8.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    values = resample.linear(
        template.array, template_vox @ np.diag([2.0, 2, 2, 1]), ((-30, -30, -30), (60,) * 3)
    )
    index = (grid / 2 + 30).astype(int)
    samples = information.samples_of(grid, np.sin(4 * values[tuple(index.T)]))  # some other contrast
    nats = [
        information.information(samples, template.array, template_vox @ spaces.translation((x, 0, 0)))
        for x in (0.0, 6.0, 12.0)
    ]
    assert nats[0] > nats[1] > nats[2] > 0
    matrix = template_vox @ spaces.translation((3.1, -2.3, 1.7))
    _, slope = information.information_and_slope(samples, template.array, matrix)
    for entry in np.ndindex(3, 4):
        step = np.zeros((4, 4))
        step[entry] = 1e-6
        ends = [information.information(samples, template.array, matrix + sign * step) for sign in (1, -1)]
        assert slope[entry] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-2, abs=1e-4)
