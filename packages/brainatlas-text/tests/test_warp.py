"""Bending a scan into the hub, by the real ANTs on coarse grids."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from brainatlas_text import recipe, register, spaces, warp
from brainatlas_text.engines import syn
from brainatlas_text.errors import RecipeError
from brainatlas_text.hub import load_hub
from brainatlas_text.records import Facts, Preparation, PreparedScan, Rejection
from brainatlas_text.registrations import HubTransform, HubWarp, TransformQuality
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace, write_volume

pytestmark = pytest.mark.integration
COARSE = warp.WarpConfig(grid_mm=4.0, iterations=(20, 10))
HUB_FROM_SCAN = spaces.translation([12.0, -7.0, 3.0]) @ np.diag([1.1, 0.95, 1.05, 1.0])


def a_bend(points: np.ndarray) -> np.ndarray:
    """Hub points to points of the bent scan: waves of 5 mm with known derivatives, smooth and invertible."""
    return points + 5.0 * np.sin(points[..., [1, 2, 0]] / 25.0)


@pytest.fixture(scope="module")
def bent_scan(tmp_path_factory) -> tuple[Path, PreparedScan, HubTransform]:
    """The template at 2 mm, bent by `a_bend` and moved by an affine; as preparation would leave it."""
    root = tmp_path_factory.mktemp("warp")
    (root / "work").mkdir()
    hub = load_hub()
    affine = spaces.translation([-100.0, -130.0, -80.0]) @ np.diag([2.0, 2.0, 2.0, 1.0])
    bent = spaces.apply(HUB_FROM_SCAN @ affine, np.moveaxis(np.indices((100, 118, 96)), 0, -1))
    points = bent
    for _ in range(30):  # the inverse of the bend, by iteration
        points = bent - (a_bend(points) - points)
    nearest = np.rint(spaces.apply(spaces.invert(hub.image.affine), points)).astype(int)
    inside = ((nearest >= 0) & (nearest < hub.image.shape)).all(axis=-1)
    values = hub.image.array[tuple(np.where(inside, n, 0) for n in np.moveaxis(nearest, -1, 0))] * inside
    brain = values > 0
    image = np.clip(values / values.max() * 4095, 1, 4095) * brain
    write_volume(root / "image.nii.gz", Volume(image, affine), "uint16")
    write_volume(root / "mask.nii.gz", Volume(brain, affine), "uint8")
    return root, prepared(), transform(HUB_FROM_SCAN)


def prepared() -> PreparedScan:
    made = Preparation(
        stored_codes="RAS", stored_shape=(1, 1, 1), stored_zooms_mm=(2, 2, 2), oblique_deg=0.0,
        mask_method="stripped", mask_detail="", brain_ml=1.0, bias_correction=None, intensity_range=(0, 1),
        histogram_before=(), histogram_after=(),
    )  # fmt: skip
    return PreparedScan(
        key="ibsr-01-t1w", subject="ibsr-01", source="ibsr", sequence="T1w", image=Path("image.nii.gz"),
        mask=Path("mask.nii.gz"), dseg=None, look=Path("look.svg"), facts=Facts(), terms="ibsr",
        source_zooms_mm=(2, 2, 2), orientation_source="header", preparation=made, digest="0",
    )  # fmt: skip


def transform(hub_from_scan: np.ndarray) -> HubTransform:
    rows = tuple(tuple(float(value) for value in row) for row in hub_from_scan)
    quality = register.quality_of(hub_from_scan, 0.0, 0.0)
    return HubTransform(
        key="ibsr-01-t1w", hub_from_scan=rows, quality=quality, look=Path("look.svg"), digest="1"
    )


@pytest.fixture(scope="module")
def warped(bent_scan) -> HubWarp:
    root, scan, affine = bent_scan
    result = warp.warp_to_hub(scan, affine, load_hub(), Workspace(root), COARSE)
    assert isinstance(result, HubWarp)
    return result


def test_a_known_bend_is_found_again(bent_scan, warped):
    root, _, affine = bent_scan
    hub = load_hub()
    rng = np.random.default_rng(0)
    deep = np.argwhere(hub.mask.array > 0)[rng.integers(0, int(hub.mask.array.sum()), 3000)]
    points = spaces.apply(hub.mask.affine, deep)
    truth = spaces.apply(spaces.invert(HUB_FROM_SCAN), a_bend(points))
    found = warp.scan_from_hub(affine, warped, root).apply(points)
    without = warp.scan_from_hub(affine, None, root).apply(points)
    error, before = (np.linalg.norm(p - truth, axis=1).mean() for p in (found, without))
    assert before > 4.0
    assert error < 0.35 * before


def test_both_directions_undo_each_other(bent_scan, warped):
    root, _, affine = bent_scan
    hub = load_hub()
    points = spaces.apply(hub.mask.affine, np.argwhere(hub.mask.array > 0)[::997])
    there = warp.scan_from_hub(affine, warped, root)
    back = there.then(warp.hub_from_scan(affine, warped, root)).apply(points)
    assert np.linalg.norm(back - points, axis=1).max() < 0.3


def test_its_quality_is_better_than_without(bent_scan, warped):
    smallest, largest = warped.quality.jacobian
    assert 0.2 < smallest < 1 < largest < 5
    assert warped.quality.overlap > 0.96
    assert warped.quality.scales == pytest.approx((0.95, 1.05, 1.1))


def test_the_same_bits_again_and_nothing_left_behind(bent_scan, warped):
    root, scan, affine = bent_scan
    before = (root / warped.bent_from_hub).read_bytes(), (root / warped.hub_from_bent).read_bytes()
    again = warp.warp_to_hub(scan, affine, load_hub(), Workspace(root), COARSE)
    assert again == warped
    assert before == ((root / again.bent_from_hub).read_bytes(), (root / again.hub_from_bent).read_bytes())
    assert sorted(path.name for path in (root / "work").iterdir()) == ["registered", "warps"]
    assert [root / again.look] == list((root / "work" / "registered").iterdir())
    assert len(list((root / "work" / "warps").iterdir())) == 2


@pytest.mark.parametrize(
    ("limits", "says"),
    [({"min_jacobian": 0.99}, "bent too far"), ({"max_jacobian": 1.01}, "warp.max_jacobian 1.01")],
)
def test_a_warp_beyond_the_limits_is_refused(bent_scan, warped, limits, says):
    refused = warp.check("ibsr-01-t1w", warped.quality, warp.WarpConfig(**limits))
    assert isinstance(refused, Rejection)
    assert (refused.stage, refused.reason) == ("warp", "implausible_warp")
    assert says in refused.detail


def test_a_fold_is_named_as_one():
    quality = TransformQuality(
        similarity=1.1,
        overlap=0.9,
        determinant=1.0,
        scales=(1.0, 1.0, 1.0),
        shear_deg=0.0,
        jacobian=(-0.2, 3.0),
    )
    assert "folds" in warp.check("k", quality, warp.WarpConfig()).detail


def test_what_ants_says_when_it_fails_is_passed_on(tmp_path):
    image = Volume(np.zeros((2, 2, 2), np.float32), np.eye(4))
    with pytest.raises(RuntimeError, match="antspyx ended with status"):
        syn.register_syn(image, image, image, syn.SynSettings(metric="nonsense"), tmp_path)
    assert not list(tmp_path.iterdir())


ENDLESS = """
import signal
import sys
from pathlib import Path
import numpy as np
from brainatlas_text.engines import syn
from brainatlas_text.volumes import Volume
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs inherit an ignored one
image = Volume(np.random.default_rng(0).random((90, 90, 90), np.float32), np.eye(4))
where = Volume(np.ones(image.shape, np.uint8), image.affine)
syn.register_syn(image, image, where, syn.SynSettings(iterations=(1, 1000)), Path(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_registration_that_is_interrupted_ends_with_its_child(tmp_path, number):
    parent = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path)], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        child = wait_for(lambda: Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split())[
            0
        ]
        wait_for(lambda: "/ants/" in Path(f"/proc/{child}/maps").read_text())  # it has begun
        parent.send_signal(number)
        assert parent.wait(30) != 0
        wait_for(lambda: gone(child))
    finally:
        parent.kill()
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == (1 if number == signal.SIGKILL else 0)
    assert Workspace(tmp_path).remove_leftovers() >= len(left)
    assert not list(tmp_path.iterdir())


def wait_for(condition, seconds=120.0):
    """The first true answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def gone(pid: str) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_without_antspyx_the_message_says_how_to_get_or_avoid_it(monkeypatch):
    monkeypatch.setattr(syn, "is_installed", lambda: False)
    warp.check_available(warp.WarpConfig(method="none"))
    with pytest.raises(RecipeError, match=r"pip install 'brainatlas-text\[ants\]'.*warp.method=none"):
        warp.check_available(warp.WarpConfig())
    assert recipe.load_recipe("default").warp.method == "syn"


def test_the_hubs_grid_holds_its_brain_and_a_margin():
    hub = load_hub()
    grid = warp.hub_grid(hub, 3.0)
    corners = spaces.apply(grid.affine, np.array([[0, 0, 0], np.array(grid.shape) - 1]))
    brain = spaces.apply(hub.mask.affine, np.argwhere(hub.mask.array > 0))
    assert (brain.min(axis=0) - corners[0] > 14.9).all() and (corners[1] - brain.max(axis=0) > 14.9).all()
    assert (corners[1] - brain.max(axis=0) < 18.1).all()
    np.testing.assert_allclose(grid.zooms_mm, 3.0)
    assert spaces.axis_codes(grid.affine) == "RAS"
