"""What two brains have in common: whatever contrast, side and place; little between people."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import fingerprint
from brainatlas_text.hub import load_hub
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit
HUB = volumes.thin(load_hub().mask, (2, 2, 2))
GRID = fingerprint.grid_of(HUB)
MIRROR = GRID.mirror()
UNMOVED = np.eye(4)


def folds(seed: int) -> Volume:
    """A made-up brain: tissue where a smooth random field is high, as individual as folds are."""
    noise = np.random.default_rng(seed).normal(size=HUB.shape)
    field = ndimage.gaussian_filter(noise, 2.0)
    brain = HUB.array > 0
    return Volume(np.where(brain, 100.0 + 60.0 * np.tanh(60.0 * field), 0.0).astype(np.float32), HUB.affine)


def fingerprint_of(image: Volume, scan_from_hub: np.ndarray = UNMOVED) -> fingerprint.Fingerprint:
    mask = Volume((image.array > 0).astype(np.uint8), image.affine)
    return fingerprint.fingerprint(image, mask, scan_from_hub, GRID)


def likeness(one: fingerprint.Fingerprint, other: fingerprint.Fingerprint) -> float:
    return float(fingerprint.likenesses([one], [other])[0, 0])


def test_a_brain_is_like_itself_and_two_people_are_alike_by_chance():
    prints = [fingerprint_of(folds(seed)) for seed in range(4)]
    table = fingerprint.likenesses(prints, prints)
    assert np.diag(table) == pytest.approx(1.0, abs=1e-4)
    assert table == pytest.approx(table.T, abs=1e-4)
    others = table[~np.eye(4, dtype=bool)]
    assert others.min() > 0.15 and others.max() < 1 / 3  # the mean squared cosine of independent directions


def test_the_contrast_of_the_sequence_does_not_count():
    image = folds(1)
    inverted = Volume(np.where(image.array > 0, 260.0 - image.array, 0.0).astype(np.float32), image.affine)
    bright = Volume((3.0 * image.array).astype(np.float32), image.affine)
    assert likeness(fingerprint_of(image), fingerprint_of(inverted)) > 0.97
    assert likeness(fingerprint_of(image), fingerprint_of(bright)) > 0.999


@settings(max_examples=8)
@given(st.floats(-20.0, 20.0), st.tuples(*[st.floats(-30.0, 30.0)] * 3))
def test_where_the_scan_lies_does_not_count(turn_deg, shift_mm):
    """Moving the scan's affine and telling of it in the transform changes nothing."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.radians(turn_deg) * np.array([0.6, 0.0, 0.8])).as_matrix()
    motion[:3, 3] = shift_mm
    image = folds(1)
    moved = fingerprint_of(Volume(image.array, motion @ image.affine), motion)
    assert likeness(fingerprint_of(image), moved) > 0.999


def test_another_grid_and_noise_leave_a_person_like_themselves():
    image = folds(2)
    turn = Rotation.from_euler("xyz", [9, -6, 12], degrees=True).as_matrix()
    grid = np.eye(4)
    grid[:3, :3] = turn @ np.diag([2.4, 2.0, 3.0])
    grid[:3, 3] = -grid[:3, :3] @ np.array([45, 60, 40])
    shape = (90, 120, 80)
    from_grid = spaces.invert(image.affine) @ grid
    again = ndimage.affine_transform(image.array, from_grid[:3, :3], from_grid[:3, 3], shape, order=1)
    again += np.random.default_rng(0).normal(0, 8, shape) * (again > 0)
    again = Volume(again.clip(0).astype(np.float32), grid)
    assert likeness(fingerprint_of(image), fingerprint_of(again)) > 0.7
    assert likeness(fingerprint_of(folds(3)), fingerprint_of(again)) < 0.4


def test_a_mirrored_brain_is_known_by_its_mirrored_fingerprint():
    middle = spaces.apply(spaces.invert(HUB.affine), GRID.affine[:3, 3] + (np.array(GRID.points.shape) - 1))
    image = folds(4)
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    world_middle = spaces.apply(HUB.affine, middle)[0]
    flip[0, 3] = 2 * world_middle
    other = fingerprint_of(Volume(image.array, flip @ image.affine))
    assert likeness(fingerprint_of(image), other) < 0.4
    assert likeness(fingerprint_of(image), other.mirrored(MIRROR)) > 0.9


def test_mirroring_twice_gives_the_same():
    assert np.array_equal(MIRROR[MIRROR], np.arange(MIRROR.size))
    item = fingerprint_of(folds(5))
    twice = item.mirrored(MIRROR).mirrored(MIRROR)
    assert np.array_equal(twice.edges, item.edges) and np.array_equal(twice.inside, item.inside)


def test_a_file_holds_what_was_saved(tmp_path):
    item = fingerprint_of(folds(5))
    item.save(tmp_path / "item.npz")
    read = fingerprint.load(tmp_path / "item.npz")
    assert np.array_equal(read.edges, item.edges) and np.array_equal(read.inside, item.inside)


def test_people_of_one_template_are_alike_but_not_beyond_what_all_share():
    shared = folds(100).array
    people = [
        Volume((0.75 * shared + 0.5 * folds(seed).array).astype(np.float32), HUB.affine) for seed in range(6)
    ]
    prints = [fingerprint_of(person) for person in people]
    noise = np.random.default_rng(0).normal(0, 6, HUB.shape) * (shared > 0)
    again = fingerprint_of(Volume((people[0].array + noise).astype(np.float32), HUB.affine))
    pool = fingerprint.Pool(MIRROR.size)
    for item in (*prints, again):
        pool.add(item)
    mean = pool.mean([prints[0], prints[1], again])
    assert likeness(prints[0], prints[1]) > 0.56  # alike, for they share a template
    assert fingerprint.beyond(prints[0], prints[1], (mean, mean), 4) < 0.3
    mean = pool.mean([prints[0], again])
    assert fingerprint.beyond(prints[0], again, (mean, mean), 5) > 0.6


def test_beyond_one_other_person_a_mirrored_twin_stands_out_and_a_stranger_does_not():
    one, twin, stranger, other = (fingerprint_of(folds(seed)) for seed in (11, 11, 12, 13))
    pool = fingerprint.Pool(MIRROR.size)
    pool.add(other)
    mean = pool.mean([])
    turned = fingerprint.mirrored(mean, MIRROR)
    twin = twin.mirrored(MIRROR)  # the scan under another id, its header lying about sides
    assert fingerprint.beyond(one, twin.mirrored(MIRROR), (mean, turned), 1) > 0.8
    assert abs(fingerprint.beyond(one, stranger.mirrored(MIRROR), (mean, turned), 1)) < 0.15
    assert abs(fingerprint.beyond(one, stranger, (mean, mean), 1)) < 0.15


def test_without_others_nothing_is_taken_off():
    one, other = fingerprint_of(folds(6)), fingerprint_of(folds(7))
    pool = fingerprint.Pool(MIRROR.size)
    pool.add(one)
    pool.add(other)
    mean = pool.mean([one, other])
    assert not mean.any()
    assert fingerprint.beyond(one, other, (mean, mean), 0) == pytest.approx(likeness(one, other), abs=1e-3)


def test_scans_that_show_nothing_in_common_are_not_alike():
    image = folds(8)
    nothing = Volume(np.zeros_like(image.array), image.affine)
    assert likeness(fingerprint_of(image), fingerprint_of(nothing)) == 0.0
