import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from brainatlas_text import volumes
from brainatlas_text.engines.pictures import OUTLINE, _edges, draw_planes
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit
SVG = "{http://www.w3.org/2000/svg}"
PLANES = ("axial", "coronal", "sagittal")
ZOOMS = (1.0, 2.0, 1.5)


def corner(value: float) -> Volume:
    """Noise all over the grid, and a bright corner at the left, the front and the top."""
    array = np.random.default_rng(0).uniform(0, 200, (60, 40, 50)).astype(np.float32)
    array[:20, 24:, 30:] = value
    return Volume(array, np.diag([*ZOOMS, 1.0]))


def pixels(svg: str) -> dict[str, np.ndarray]:
    """The grey pictures in an SVG, by plane."""
    found = [image.get("href") for image in ElementTree.fromstring(svg).iter(f"{SVG}image")]
    data = [base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")) for uri in found]
    return {p: np.asarray(Image.open(io.BytesIO(d))) for p, d in zip(PLANES, data, strict=True)}


def bright(picture: np.ndarray) -> tuple[float, float]:
    """Row and column, from 0 to 1, of the middle of what is bright."""
    rows, columns = np.nonzero(picture > 180)
    return rows.mean() / picture.shape[0], columns.mean() / picture.shape[1]


def test_left_is_left_front_is_up_or_right_and_up_is_up():
    volume = corner(1000.0)
    mask = volume.array > 900  # planes go through the bright corner
    shown = pixels(draw_planes(volume, mask))
    row, column = bright(shown["axial"])
    assert row < 0.4 and column < 0.4  # front is up, left is left
    row, column = bright(shown["coronal"])
    assert row < 0.4 and column < 0.4  # top is up, left is left
    row, column = bright(shown["sagittal"])
    assert row < 0.4 and column > 0.6  # top is up, front is right


def test_the_letters_stand_on_the_sides_they_name():
    texts = list(ElementTree.fromstring(draw_planes(corner(1000.0))).iter(f"{SVG}text"))
    assert [text.text for text in texts] == ["L", "R", "L", "R", "P", "A"]
    for left, right in (texts[0:2], texts[2:4], texts[4:6]):
        assert float(left.get("x")) < 5 and float(right.get("x")) > 40


def test_voxels_are_stretched_to_their_size_and_not_resampled():
    volume = corner(210.0)
    svg = draw_planes(volume)
    assert [pixels(svg)[plane].shape for plane in PLANES] == [(40, 60), (50, 60), (50, 40)]
    scales = re.findall(r"scale\(([\d.]+) ([\d.]+)\)", svg)
    assert [tuple(map(float, pair)) for pair in scales] == [(1.0, 2.0), (1.0, 1.5), (2.0, 1.5)]
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
    assert (width, height) == (60 + 60 + 80 + 2 * 4, 80)


def test_the_outline_lies_on_the_mask_of_the_plane_shown():
    volume = corner(1000.0)
    mask = np.zeros(volume.shape, dtype=bool)
    mask[10:30, 12:22, 5:45] = True
    paths = [p.get("d") for p in ElementTree.fromstring(draw_planes(volume, mask)).iter(f"{SVG}path")]
    assert inside(paths[0], (40, 60)).sum() == 20 * 10
    assert inside(paths[1], (50, 60)).sum() == 20 * 40
    found = inside(paths[2], (50, 40))
    assert found.sum() == 10 * 40 and found[5:45, 12:22].all()  # rows run down from the top


def inside(path: str, shape: tuple[int, int]) -> np.ndarray:
    """What an outline encloses, by crossing its upright edges from the left."""
    crossings = np.zeros((shape[0], shape[1] + 1), dtype=int)
    for column, row, length in re.findall(r"M(\d+) (\d+)v(\d+)", path):
        crossings[int(row) : int(row) + int(length), int(column)] += 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans()))
def test_an_outline_tells_its_mask(mask):
    path = _edges(mask)
    np.testing.assert_array_equal(inside(path, mask.shape), mask)
    flat = sum(int(n) for n in re.findall(r"h(\d+)", path))
    assert flat == np.abs(np.diff(np.pad(mask, ((1, 1), (0, 0))).astype(int), axis=0)).sum()


def test_air_is_cropped_away_but_never_a_part_of_the_mask():
    array = np.zeros((80, 80, 80), dtype=np.float32)
    array[30:50, 30:50, 30:50] = 100
    mask = array > 0
    mask[10, 40, 40] = True  # lies in the air
    shown = pixels(draw_planes(Volume(array, np.eye(4)), mask))
    assert shown["axial"].shape == (20 + 12, 40 + 12)


@pytest.mark.parametrize("value", [0.0, -3.0, 7.0])
@pytest.mark.parametrize("masked", [True, False])
def test_a_constant_image_has_a_picture_too(value, masked):
    volume = Volume(np.full((20, 20, 20), value, dtype=np.float32), np.eye(4))
    svg = draw_planes(volume, np.zeros(volume.shape, dtype=bool) if masked else None)
    assert set(pixels(svg)) == set(PLANES) and OUTLINE not in svg


def test_the_same_scan_gives_the_same_bytes():
    volume = corner(500.0)
    assert draw_planes(volume, volume.array > 300) == draw_planes(volume, volume.array > 300)


def test_the_left_half_of_a_real_brain_lies_on_the_left(shared):
    folder = shared / "data" / "real-mini" / "ibsr" / "IBSR_nifti_stripped" / "IBSR_01"
    image = volumes.load(folder / "IBSR_01_ana_strip.nii.gz")
    labels = volumes.load_labels(folder / "IBSR_01_seg_ana.nii.gz")
    svg = draw_planes(image, np.isin(labels.array, (2, 3, 10, 11, 12, 17)))
    paths = [path.get("d") for path in ElementTree.fromstring(svg).iter(f"{SVG}path")]
    for path, plane in zip(paths[:2], PLANES[:2], strict=True):
        shape = pixels(svg)[plane].shape
        _, columns = np.nonzero(inside(path, shape))
        assert columns.mean() < 0.4 * shape[1] and (columns < 0.55 * shape[1]).all()
