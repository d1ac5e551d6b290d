"""Affine registrations of a made-up person (the template with noise) and of what must be refused."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy import ndimage
from scipy.spatial.transform import Rotation

from brainatlas_text import register, spaces, volumes
from brainatlas_text.engines import pose, similarity
from brainatlas_text.errors import RecipeError
from brainatlas_text.hub import EMBEDDED, load_hub
from brainatlas_text.register_config import RegisterConfig
from brainatlas_text.registrations import (
    HubTransform,
    PairTransform,
    TransformQuality,
    TransformRejection,
)
from brainatlas_text.transform_limits import check_transform
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace, write_volume

pytestmark = pytest.mark.unit
COARSE = RegisterConfig(finest_mm=8.0)


@dataclass(frozen=True)
class StandIn:
    """What registration reads of a PreparedScan."""

    key: str
    image: Path
    mask: Path
    digest: str = "0"


@pytest.fixture(scope="module")
def person() -> tuple[Volume, Volume]:
    """Image and mask at 3 mm: the template turned by a few degrees, shifted and shrunken a little."""
    template = load_hub().image
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", (9, -4, 5), degrees=True).as_matrix() * 1.1
    hub_from_scan = spaces.translation((4.0, -6.0, 3.0)) @ turn
    affine = spaces.from_axis_codes("RAS", (66, 78, 66), (3.0, 3.0, 3.0))
    vox = spaces.invert(template.affine) @ hub_from_scan @ affine
    smooth = ndimage.gaussian_filter(template.array, 1.0)
    array = ndimage.affine_transform(smooth, vox[:3, :3], vox[:3, 3], (66, 78, 66), order=1)
    mask = array > 0.2 * array.max()
    noise = np.random.default_rng(0).normal(0, 60, array.shape)
    image = np.where(mask, (array / array.max() * 3000 + noise).clip(1, 4095), 0)
    return Volume(image.astype(np.uint16), affine), Volume(mask.astype(np.uint8), affine)


def put(folder: Path, key: str, image: Volume, mask: Volume) -> StandIn:
    write_volume(folder / f"{key}.nii.gz", image, np.uint16)
    write_volume(folder / f"{key}_mask.nii.gz", mask, np.uint8)
    return StandIn(key, Path(f"{key}.nii.gz"), Path(f"{key}_mask.nii.gz"))


@pytest.fixture(scope="module")
def coarse_hub(tmp_path_factory) -> Path:
    """The template at 2 mm: an eighth of the voxels."""
    return write_hub(tmp_path_factory.mktemp("hub") / "hub.nii.gz", scale=2)


@pytest.fixture
def registered(coarse_hub, tmp_path):
    """Register a volume and its mask to a hub."""

    def run(image, mask, hub=None):
        scan = put(tmp_path, "ixi-001-t1w", image, mask)
        return register.register_to_hub(scan, hub or load_hub(str(coarse_hub)), Workspace(tmp_path), COARSE)

    return run


def test_the_affine_comes_back_with_its_figures(person, registered):
    found = registered(*person)
    assert isinstance(found, HubTransform)
    turn = Rotation.from_euler("xyz", (9, -4, 5), degrees=True).as_matrix() * 1.1
    points = np.array([[0.0, 0, 0], [40, 0, 0], [0, 50, 20], [-30, -50, 30]])
    truth = points @ turn.T + (4.0, -6.0, 3.0)
    assert np.abs(spaces.apply(found.matrix, points) - truth).max() < 3.0
    quality = found.quality
    assert quality.overlap > 0.9 and quality.similarity > 0.05
    assert quality.determinant == pytest.approx(np.linalg.det(found.matrix[:3, :3]))
    assert np.prod(quality.scales) == pytest.approx(quality.determinant)
    assert registered(*person) == found


def lying(image: Volume, mask: Volume, turn: np.ndarray) -> tuple[Volume, Volume]:
    """The same voxels under a header that names other axes, in closest-RAS order as preparation leaves it."""
    wrong = np.eye(4)
    wrong[:3, :3] = turn
    return tuple(volumes.to_closest_ras(Volume(v.array, wrong @ v.affine)) for v in (image, mask))


AP, SI = np.diag([1.0, -1, 1]), np.diag([1.0, 1, -1])


@pytest.mark.parametrize("turn", [*pose.right_angle_turns()[1::5], AP, SI])
def test_a_header_that_lies_is_found_out(person, registered, tmp_path, turn):
    """By right angles and half turns, also mirrored from front to back or from top to bottom."""
    found = registered(*lying(*person, turn))
    assert isinstance(found, TransformRejection)
    assert (found.stage, found.reason) == ("register", "wrong_orientation")
    assert "register.min_orientation" in found.detail and (tmp_path / found.look).is_file()


def test_a_tilted_head_is_no_lie(person, registered):
    tilt = Rotation.from_euler("x", 40, degrees=True).as_matrix()
    image, mask = lying(*person, tilt)
    assert isinstance(registered(image, mask), HubTransform)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("upper", [False, True])
def test_half_a_brain_is_refused(person, registered, axis, upper):
    image, mask = person
    middle = int(np.argwhere(mask.array)[:, axis].mean())
    lost = [slice(None)] * 3
    lost[axis] = slice(None, middle) if upper else slice(middle, None)
    arrays = image.array.copy(), mask.array.copy()
    for array in arrays:
        array[tuple(lost)] = 0
    found = registered(Volume(arrays[0], image.affine), Volume(arrays[1], mask.affine))
    assert isinstance(found, TransformRejection) and found.reason == "low_overlap"


@pytest.mark.parametrize("kind", ["shuffled", "smooth"])
def test_noise_in_the_shape_of_a_brain_is_refused(person, registered, kind):
    """Voxels of the brain in another order, at random or as smooth as tissue: outline and histogram stay."""
    image, mask = person
    inside, rng = mask.array > 0, np.random.default_rng(1)
    noise = rng.normal(size=image.shape)
    if kind == "smooth":
        noise = ndimage.gaussian_filter(noise, 2.0)
    array = np.zeros_like(image.array)
    array[inside] = np.sort(image.array[inside])[np.argsort(np.argsort(noise[inside]))]
    found = registered(Volume(array, image.affine), mask)
    assert isinstance(found, TransformRejection) and found.reason == "low_similarity"
    assert found.quality is not None and found.quality.overlap > 0.9


@pytest.mark.parametrize(("what", "reason"), [("mask", "low_overlap"), ("image", "low_similarity")])
def test_an_empty_mask_and_a_constant_image_are_refused(person, registered, tmp_path, what, reason):
    image, mask = person
    if what == "mask":
        mask = Volume(np.zeros_like(mask.array), mask.affine)
    else:
        image = Volume(np.full_like(image.array, 7), image.affine)
    found = registered(image, mask)
    assert isinstance(found, TransformRejection) and found.reason == reason
    good = put(tmp_path, "a-1-t1w", *person)
    pair = register.register_pair(good, put(tmp_path, "b-1-t1w", image, mask), Workspace(tmp_path), COARSE)
    assert isinstance(pair, TransformRejection) and pair.reason == reason


GOOD = TransformQuality(similarity=0.04, overlap=0.95, determinant=1.3, scales=(1.0, 1.1, 1.2), shear_deg=3.0)


@pytest.mark.parametrize(
    ("figures", "reason", "key"),
    [
        ({"scales": (1.0, 1.1, 2.1)}, "implausible_scale", "max_scale"),
        ({"scales": (0.4, 0.5, 0.5)}, "implausible_scale", "max_scale"),
        ({"determinant": 5.5}, "implausible_volume", "max_determinant"),
        ({"determinant": 0.15}, "implausible_volume", "max_determinant"),
        ({"scales": (0.9, 1.1, 1.6)}, "implausible_shape", "max_anisotropy"),
        ({"shear_deg": 26.0}, "implausible_shear", "max_shear_deg"),
        ({"similarity": 0.003}, "low_similarity", "min_similarity"),
        ({"overlap": 0.8}, "low_overlap", "min_overlap"),
    ],
)
def test_every_limit_refuses_and_names_its_key(figures, reason, key):
    assert check_transform(GOOD, "the hub", RegisterConfig()) is None
    refused = check_transform(replace(GOOD, **figures), "the hub", RegisterConfig())
    assert refused is not None and refused.reason == reason and f"register.{key}" in refused.detail
    mirrored = check_transform(replace(GOOD, determinant=-1.3), "the hub", RegisterConfig())
    assert mirrored is not None and mirrored.reason == "mirrored"


def test_memory_stays_flat_and_no_temporary_file_is_left(person, registered, tmp_path, monkeypatch):
    """Some of the hundred of `benchmarks/registration_memory.py`, within the same tenth."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("TMPDIR", str(scratch))
    resident = []
    for _ in range(5):
        assert isinstance(registered(*person), HubTransform)
        resident.append(psutil.Process().memory_info().rss)
    assert max(resident[2:]) < 1.1 * resident[1]
    assert list(scratch.iterdir()) == []


def test_a_pair_is_registered_without_the_hub(person, tmp_path):
    image, mask = person
    moving = put(tmp_path, "a-1-t1w", image, mask)
    shift = spaces.translation((7.0, -5.0, 2.0))
    fixed = put(
        tmp_path,
        "b-1-t1w",
        replace(image, affine=shift @ image.affine),
        mask=replace(mask, affine=shift @ mask.affine),
    )
    found = register.register_pair(moving, fixed, Workspace(tmp_path), COARSE)
    assert isinstance(found, PairTransform) and (found.moving, found.fixed) == ("a-1-t1w", "b-1-t1w")
    assert np.abs(found.matrix @ shift - np.eye(4)).max() < 0.3
    strict = COARSE.model_copy(update={"min_overlap": 1.0})
    refused = register.register_pair(moving, fixed, Workspace(tmp_path), strict)
    assert isinstance(refused, TransformRejection)
    assert (refused.kind, refused.key, refused.reason) == ("pair", "a-1-t1w_b-1-t1w", "low_overlap")


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), num=st.integers(5000, 8000))
def test_similarity_is_symmetric_and_blind_to_contrast(seed, num):
    rng = np.random.default_rng(seed)
    one = rng.normal(size=num).astype(np.float32)
    other = (one + rng.normal(size=num)).astype(np.float32)
    value = similarity.of_values(one, other)
    assert value == pytest.approx(similarity.of_values(other, one))
    assert value == pytest.approx(similarity.of_values(5 - 3 * one, other), abs=0.01)
    assert similarity.of_values(one, one) > 0.95 > 0.3 > value > 0.02
    assert similarity.of_values(one, rng.normal(size=num).astype(np.float32)) < 0.02


def test_turns_by_right_angles_are_the_24_rotations():
    turns = pose.right_angle_turns()
    assert len({turn.tobytes() for turn in turns}) == 24 and (turns[0] == np.eye(3)).all()
    assert all(np.linalg.det(turn) == pytest.approx(1) for turn in turns)


def write_hub(path: Path, codes: str = "RAS", scale: int = 4, **changes) -> Path:
    """The template at some mm in any order of axes."""
    hub = volumes.thin(load_hub().image, (scale,) * 3)
    image = nib.Nifti1Image(changes.get("array", hub.array), hub.affine)
    image = image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(codes)))
    nib.save(image, path)
    return path


@pytest.mark.parametrize("codes", ["LPS", "PIR"])
def test_a_hub_is_the_same_in_any_order_of_axes(person, registered, tmp_path, codes):
    plain, other = (load_hub(str(write_hub(tmp_path / f"{c}.nii.gz", c))) for c in ("RAS", codes))
    assert other.digest == plain.digest != load_hub().digest and other.name == f"{codes}.nii.gz"
    if codes == "PIR":
        one, two = (registered(*person, hub) for hub in (plain, other))
        assert one == two and isinstance(one, HubTransform)


def test_a_hub_may_come_with_a_mask(tmp_path):
    head = volumes.thin(load_hub().image, (4, 4, 4))
    inside = head.array > 5
    path = write_hub(tmp_path / "head.nii.gz", array=head.array + 7)  # no voxel is 0, as around a head
    nib.save(nib.Nifti1Image(inside.astype(np.uint8), head.affine), tmp_path / "mask.nii.gz")
    hub = load_hub(str(path), str(tmp_path / "mask.nii.gz"))
    assert ((hub.mask.array > 0) == inside).all() and (hub.image.array[~inside] == 0).all()


def damaged(folder: Path, kind: str) -> dict[str, str]:
    hub = volumes.thin(load_hub().image, (4, 4, 4))
    path = folder / "hub.nii.gz"
    arrays = {
        "head": hub.array + np.random.default_rng(0).uniform(1, 2, hub.shape),
        "mask": (hub.array > 0).astype(np.float32),
        "small": np.where(np.arange(hub.shape[0])[:, None, None] == 20, hub.array, 0),
        "4d": np.stack([hub.array, hub.array], axis=-1),
        "nan": np.where(hub.array > hub.array.max() * 0.9, np.nan, hub.array),
        "mask on another grid": hub.array,
    }
    if kind in arrays:
        nib.save(nib.Nifti1Image(arrays[kind].astype(np.float32), hub.affine), path)
    elif kind == "broken":
        path.write_bytes(b"no image")
    if kind != "mask on another grid":
        return {"path": str(path)}
    nib.save(nib.Nifti1Image((hub.array > 0).astype(np.uint8)[1:], hub.affine), folder / "mask.nii.gz")
    return {"path": str(path), "mask": str(folder / "mask.nii.gz")}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "no such file"),
        ("broken", "hub.nii.gz"),
        ("4d", "one 3-D volume"),
        ("head", "register.hub_mask"),
        ("mask", "one value"),
        ("small", "expected a brain"),
        ("nan", "NaN"),
        ("mask on another grid", "another grid"),
    ],
)
def test_a_bad_hub_is_one_clear_line(tmp_path, kind, said):
    with pytest.raises(RecipeError, match=said) as caught:
        load_hub(**damaged(tmp_path, kind))
    assert "\n" not in str(caught.value) and str(caught.value).startswith("register.hub")


def test_the_embedded_hub_is_named():
    assert load_hub().name == EMBEDDED and EMBEDDED not in register.methods(COARSE, load_hub())
