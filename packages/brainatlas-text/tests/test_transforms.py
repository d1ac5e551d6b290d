"""Transforms of points in RAS+ mm against ITK itself: composed, inverted, stored, and used to resample."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from brainatlas_text import spaces
from brainatlas_text.engines import itk, resample
from brainatlas_text.registrations import HubTransform, PairAffines, PairTransform, TransformQuality
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit
QUALITY = TransformQuality(
    similarity=0.1, overlap=0.9, determinant=1.0, scales=(1.0, 1.0, 1.0), shear_deg=0.0
)
seeds = st.integers(0, 2**32 - 1)


def random_affine(rng: np.random.Generator) -> np.ndarray:
    """Turns, stretches, shears and shifts as between two heads, and more."""
    affine = np.eye(4)
    shear = np.eye(3) + np.triu(rng.uniform(-0.2, 0.2, (3, 3)), 1)
    affine[:3, :3] = Rotation.from_rotvec(rng.normal(0, 0.5, 3)).as_matrix() @ shear
    affine[:3, :3] *= rng.uniform(0.6, 1.6, 3)
    affine[:3, 3] = rng.uniform(-80, 80, 3)
    return affine


def through_itk(transform: sitk.Transform, points_ras: np.ndarray) -> np.ndarray:
    """Where ITK, which speaks LPS, takes RAS points."""
    flip = np.array([-1.0, -1.0, 1.0])
    return np.array([transform.TransformPoint((flip * point).tolist()) for point in points_ras]) * flip


def rows(affine: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in affine)


def to_hub(**hub_from_scan: np.ndarray) -> dict[str, HubTransform]:
    return {
        key: HubTransform(
            key=key, hub_from_scan=rows(matrix), quality=QUALITY, look=Path("look.svg"), digest=key
        )
        for key, matrix in hub_from_scan.items()
    }


@settings(max_examples=30)
@given(seeds)
def test_pairs_compose_as_itk_composes_the_stored_files(tmp_path_factory, seed):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("tfm")
    scans = {key: random_affine(rng) for key in ("a", "b")}
    for key, matrix in scans.items():
        itk.write_transform(folder / f"{key}.tfm", matrix)
    read = {key: sitk.ReadTransform(str(folder / f"{key}.tfm")) for key in scans}
    composite = sitk.CompositeTransform(3)  # what is added last is applied first
    composite.AddTransform(read["a"].GetInverse())
    composite.AddTransform(read["b"])
    points = rng.uniform(-100, 100, (20, 3))
    affines = PairAffines(to_hub=to_hub(**scans))
    found = affines.moving_from_fixed("a", "b")
    assert np.abs(spaces.apply(found, points) - through_itk(composite, points)).max() < 1e-6
    back = affines.moving_from_fixed("b", "a")
    assert np.abs(spaces.apply(back, spaces.apply(found, points)) - points).max() < 1e-8
    assert (affines.moving_from_fixed("a", "a") == np.eye(4)).all()


@settings(max_examples=30)
@given(seeds)
def test_a_direct_affine_serves_both_directions_as_itks_inverse_does(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    path, matrix = tmp_path_factory.mktemp("tfm") / "a_to-b.tfm", random_affine(rng)
    itk.write_transform(path, matrix)
    pair = PairTransform(moving="a", fixed="b", moving_from_fixed=rows(matrix), quality=QUALITY, digest="1")
    hub = to_hub(a=random_affine(rng), b=random_affine(rng), c=np.eye(4))
    affines = PairAffines(to_hub=hub, direct={("a", "b"): pair})
    points, stored = rng.uniform(-100, 100, (20, 3)), sitk.ReadTransform(str(path))
    forth, back = affines.moving_from_fixed("a", "b"), affines.moving_from_fixed("b", "a")
    assert np.abs(spaces.apply(forth, points) - through_itk(stored, points)).max() < 1e-6
    assert np.abs(spaces.apply(back, points) - through_itk(stored.GetInverse(), points)).max() < 1e-6
    assert np.abs(itk.read_transform(path) - matrix).max() < 1e-9


@settings(max_examples=12)
@given(
    seeds,
    st.sampled_from(["RAS", "LPS", "LAS", "PIR"]),
    st.sampled_from(["RAS", "LPS", "ASL"]),
    st.booleans(),
)
def test_resampling_through_a_pair_is_itks(seed, moving_codes, fixed_codes, oblique):
    """The same voxels from ITK with its own transform, whatever the grids' axes."""
    rng = np.random.default_rng(seed)
    tilt = np.eye(4)
    if oblique:
        tilt[:3, :3] = Rotation.from_rotvec(rng.normal(0, 0.3, 3)).as_matrix()
    moving_from_fixed = random_affine(rng)
    moving_from_fixed[:3, 3] /= 10
    shape = (14, 13, 12)
    moving = Volume(
        rng.uniform(0, 100, shape).astype(np.float32),
        tilt @ spaces.from_axis_codes(moving_codes, shape, (2.0, 1.5, 3.0)),
    )
    fixed = Volume(
        np.zeros(shape, np.float32), tilt @ spaces.from_axis_codes(fixed_codes, shape, (1.0, 2.0, 1.2))
    )
    vox = spaces.invert(moving.affine) @ moving_from_fixed @ fixed.affine
    ours = resample.linear(moving.array, vox, ((0, 0, 0), shape))
    transform = itk.to_itk_transform(moving_from_fixed, np.zeros(3))
    images = (itk.to_itk_image(moving), itk.to_itk_image(fixed))
    theirs = itk.to_array(sitk.Resample(*images, transform, sitk.sitkLinear, -1.0))
    place = spaces.apply(vox, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1))
    inside = ((place > 0.01) & (place < np.array(shape) - 1.01)).all(axis=-1)
    assert np.abs(ours - theirs)[inside].max(initial=0.0) < 1e-2


def test_a_task_carries_only_its_pairs_and_unknown_pairs_are_said():
    hub = to_hub(a=np.eye(4), b=np.eye(4), c=np.eye(4))
    pair = PairTransform(
        moving="a", fixed="b", moving_from_fixed=rows(np.eye(4)), quality=QUALITY, digest="ab"
    )
    affines = PairAffines(to_hub=hub, direct={("a", "b"): pair})
    assert affines.knows("a", "b") and affines.knows("b", "a") and affines.knows("c", "c")
    assert not affines.knows("a", "c") and not PairAffines(to_hub=hub).knows("a", "d")
    few = affines.of([("b", "a"), ("a", "a")])
    assert set(few.to_hub) == {"a", "b"} and few.direct == {("a", "b"): pair}
    assert few.digest_of("b", "a") == ["ab"] and PairAffines(to_hub=hub).digest_of("b", "c") == ["b", "c"]
    assert PairAffines(to_hub=hub).of([("a", "c")]) == PairAffines(to_hub={"a": hub["a"], "c": hub["c"]})
