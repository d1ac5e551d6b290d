"""Repeats of one session: aligned to a fraction of a voxel, averaged, left out where they do not belong."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import repeats, resample
from brainatlas_text.hub import load_hub
from brainatlas_text.prepare import PrepareConfig, inputs_digest, prepare
from brainatlas_text.records import PreparedScan
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace

pytestmark = pytest.mark.integration
QUICK = PrepareConfig(bias_correction=False)
NOISE = 60.0
STILL = np.eye(4)
TURNED = ((4.0, 2.0, -5.0), (-3.0, 5.0, 3.0))
"""Motion between repeats: shifts in mm and turns about the axes in degrees."""


def rigid(shift_mm, turns_deg):
    x, y, z = np.radians(turns_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x
    affine[:3, 3] = shift_mm
    return affine


@pytest.fixture(scope="module")
def clean():
    """The template at 2 mm, stripped."""
    half = volumes.thin(load_hub().image, (2, 2, 2))
    return Volume(np.where(half.array > 30, half.array * 8, 0).astype(np.float32), half.affine)


def scanned(clean, seed, head_from_scan=STILL, gain=1.0):
    """One repeat: the head moved, with noise of its own within the brain."""
    vox = spaces.invert(clean.affine) @ head_from_scan @ clean.affine
    moved = resample.linear(clean.array, vox, ((0, 0, 0), clean.shape))
    noise = np.random.default_rng(seed).normal(0, NOISE, clean.shape)
    return Volume((gain * (moved + noise) * (moved > 100)).astype(np.int16), clean.affine)


def test_a_known_motion_is_found_again(clean):
    head_from_repeat = rigid(*TURNED)
    first, repeat = scanned(clean, 1), scanned(clean, 2, head_from_repeat)
    repeat_from_first, correlation = repeats.align(first, repeat)
    corners = np.array([[x, y, z] for x in (-70, 70) for y in (-100, 70) for z in (-50, 70)])
    error = spaces.apply(repeat_from_first, corners) - spaces.apply(spaces.invert(head_from_repeat), corners)
    assert np.linalg.norm(error, axis=1).max() < 0.5
    assert correlation > 0.97


def test_the_mean_of_repeats_has_less_noise(tmp_path, clean, make_scan):
    poses = [rigid(*TURNED), rigid((-2, 1, 2), (2, -1, -2)), STILL]
    files = [make_scan(scanned(clean, 1), "mpr-1.nii.gz").image]
    files += [
        make_scan(scanned(clean, 2 + n, pose, 1.2), f"mpr-{2 + n}.nii.gz").image
        for n, pose in enumerate(poses)
    ]
    image = volumes.load(files[0])
    mean = repeats.average(image, tuple(files[1:]), None, (1, 1, 1), 0.9)
    assert (mean.num_averaged, mean.notes) == (4, ())
    spread = ndimage.maximum_filter(clean.array, 3) - ndimage.minimum_filter(clean.array, 3)
    even = (clean.array > 800) & (spread < 150)  # elsewhere interpolation blurs edges
    noise = [(volume.array - clean.array)[even].std() for volume in (image, mean.volume)]
    assert noise[1] < 0.55 * noise[0]
    assert (mean.volume.array / np.maximum(clean.array, 1))[even].mean() == pytest.approx(1.0, abs=0.02)
    again = repeats.average(image, tuple(files[1:]), None, (1, 1, 1), 0.9)
    np.testing.assert_array_equal(mean.volume.array, again.volume.array)


def test_a_voxel_counts_only_the_repeats_that_reach_it(clean, make_scan):
    """A repeat of the lower half must not darken the upper half."""
    whole = scanned(clean, 1)
    half = Volume(whole.array[:, :, : whole.shape[2] // 2], whole.affine)
    path = make_scan(half, "half.nii.gz").image
    first = Volume(whole.array.astype(np.float32), whole.affine)
    mean = repeats.average(first, (path,), None, (1, 1, 1), 0.0)
    top = first.array[:, :, whole.shape[2] // 2 + 3 :]
    np.testing.assert_allclose(mean.volume.array[:, :, whole.shape[2] // 2 + 3 :], top)


def test_what_does_not_belong_is_left_out_and_noted(tmp_path, clean, make_scan):
    first = make_scan(scanned(clean, 1), stripped=True)
    upside_down = Volume(np.ascontiguousarray(scanned(clean, 2).array[:, :, ::-1]), clean.affine)
    other = make_scan(upside_down, "other.nii.gz").image
    broken = first.image.with_name("broken.nii.gz")
    broken.write_bytes(first.image.read_bytes()[:5000])
    flat = make_scan(Volume(np.zeros((90, 90, 90), np.int16), clean.affine), "flat.nii.gz").image
    good = make_scan(scanned(clean, 3, rigid(*TURNED)), "good.nii.gz").image
    scan = replace(first, repeats=(other, broken, flat, good, first.image.with_name("gone.nii.gz")))
    out = prepare(scan, Workspace(tmp_path / "out"), QUICK)
    assert isinstance(out, PreparedScan) and out.preparation.num_averaged == 2
    said = " | ".join(out.notes)
    for words in (
        "other.nii.gz correlates by",
        "broken.nii.gz: damaged",
        "flat.nii.gz: holds",
        "gone.nii.gz: no such",
    ):
        assert words in said
    assert "good" not in said
    alone = prepare(replace(first, repeats=(other,)), Workspace(tmp_path / "one"), QUICK)
    plain = prepare(first, Workspace(tmp_path / "two"), QUICK)
    assert isinstance(alone, PreparedScan) and isinstance(plain, PreparedScan)
    assert alone.digest == plain.digest and plain.preparation.num_averaged == 1


def test_the_digest_of_inputs_sees_every_repeat(clean, make_scan):
    first = make_scan(scanned(clean, 1))
    two, three = (make_scan(scanned(clean, n), f"{n}.nii.gz").image for n in (2, 3))
    seen = {
        inputs_digest(replace(first, repeats=repeats), QUICK)
        for repeats in ((), (two,), (three,), (two, three))
    }
    assert len(seen) == 4
