"""What a picture of a label map shows: the right plane, the right side, left and right apart."""

import base64
import colorsys
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from brainatlas_text.engines.label_pictures import colors, draw_labels
from brainatlas_text.engines.pictures import AXES, WHITE
from brainatlas_text.labels import canonical_table
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit
SVG = "{http://www.w3.org/2000/svg}"
AFFINE = np.array([[1.0, 0, 0, -30], [0, 2, 0, -40], [0, 0, 1.5, -30], [0, 0, 0, 1]])


@pytest.fixture
def scan() -> tuple[Volume, np.ndarray]:
    """A block of brain; cortex to the left, to the right and in the middle the brain stem; all within."""
    image = np.zeros((60, 40, 40), dtype=np.uint16)
    image[5:55, 5:35, 5:35] = WHITE / 2
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[10:25, 10:30, 20:30], labels[35:50, 10:30, 20:30] = 3, 42
    labels[25:35, 10:20, 10:20] = 16
    return Volume(image, AFFINE), labels


def overlays(svg: str) -> dict[str, np.ndarray]:
    """The colored pictures by plane as RGBA."""
    groups = [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if g.get("class") == "labels"]
    data = [g.find(f"{SVG}image").get("href").removeprefix("data:image/png;base64,") for g in groups]
    opened = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA")) for text in data]
    return dict(zip(AXES, opened, strict=True))


def place(overlay: np.ndarray, number: int) -> tuple[float, float, int]:
    """Mean row and column, from 0 to 1, and number of the pixels in a structure's color."""
    hit = (overlay[..., :3] == colors()[number]).all(axis=-1) & (overlay[..., 3] == 255)
    rows, columns = np.nonzero(hit)
    return rows.mean() / hit.shape[0], columns.mean() / hit.shape[1], int(hit.sum())


def test_labels_lie_where_they_are_and_nothing_covers_the_rest(scan):
    shown = overlays(draw_labels(*scan, np.array([0.0, -5.0, 7.0])))  # voxel 30, 18, 25
    assert place(shown["axial"], 3)[1] < 0.4 and place(shown["axial"], 42)[1] > 0.6
    assert place(shown["axial"], 3)[2] == place(shown["axial"], 42)[2] == 15 * 20
    row, column, count = place(shown["coronal"], 16)
    assert row > 0.6 and 0.45 < column < 0.55 and count == 10 * 10
    row, column, count = place(shown["sagittal"], 16)
    assert row > 0.6 and column < 0.4 and count == 10 * 10
    corner = shown["coronal"][0, 0]
    assert corner[3] == 0


def test_a_point_beside_the_scan_shows_its_middle(scan):
    away = draw_labels(*scan, np.array([500.0, 0.0, 0.0]))
    assert place(overlays(away)["axial"], 3)[2] == 15 * 20


def test_a_map_without_labels_and_a_scan_without_brain_have_pictures_too(scan):
    image, labels = scan
    blank = overlays(draw_labels(image, np.zeros_like(labels), np.zeros(3)))
    assert all((overlay[..., 3] == 0).all() for overlay in blank.values())
    draw_labels(Volume(np.zeros_like(image.array), AFFINE), labels, np.zeros(3))


def test_left_is_warm_right_is_cold_and_no_two_structures_look_alike():
    table = canonical_table()
    assert colors().keys() == table.keys()
    assert len(set(colors().values())) == len(table)
    for number, structure in table.items():
        hue = colorsys.rgb_to_hls(*(part / 255 for part in colors()[number]))[0]
        side = "left" if hue > 0.95 or hue < 0.18 else "right" if 0.35 < hue < 0.77 else "midline"
        assert side == structure.side, structure


def test_the_same_labels_give_the_same_bytes(scan):
    assert draw_labels(*scan, np.zeros(3)) == draw_labels(*scan, np.zeros(3))
