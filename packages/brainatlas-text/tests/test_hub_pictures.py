"""What a picture of a registration shows, and that a wrong one shows."""

import base64
import io
import re
from functools import partial
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import hub_pictures
from brainatlas_text.engines.hub_pictures import POINT_MM, draw_hub, draw_scan, frame_of
from brainatlas_text.engines.pictures import AXES, WHITE
from brainatlas_text.hub import Hub, load_hub
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def prepared() -> tuple[Volume, Volume]:
    """The hub's own brain at 2 mm as a prepared scan, brighter to the left, front and top, and its mask."""
    hub = volumes.thin(load_hub().image, (2, 2, 2))
    x, y, z = np.moveaxis(spaces.apply(hub.affine, np.moveaxis(np.indices(hub.shape), 0, -1)), -1, 0)
    brain = hub.array > 0.2 * hub.array.max()
    bright = (x < 10) & (y > -24) & (z > 2)  # of each plane only that corner is bright
    image = np.where(brain, np.where(bright, WHITE, WHITE / 4), 0).astype(np.uint16)
    return Volume(image, hub.affine), Volume(brain.astype(np.uint8), hub.affine)


def pixels(svg: str, group: str | None = None) -> dict[str, np.ndarray]:
    """The grey pictures by plane, of one group by its class or id."""
    root = ElementTree.fromstring(svg)
    inside = root if group is None else next(g for g in root.iter() if group in (g.get("class"), g.get("id")))
    data = [i.get("href").removeprefix("data:image/jpeg;base64,") for i in inside.iter(f"{SVG}image")]
    opened = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in data]
    return dict(zip(AXES, opened, strict=True))


def drawn(prepared: tuple[Volume, Volume], scan_from_hub: np.ndarray, hub: Hub | None = None) -> str:
    return draw_scan(hub or load_hub(), *prepared, partial(spaces.apply, scan_from_hub))


def middle_of(part: np.ndarray) -> tuple[float, float]:
    """Row and column, from 0 to 1, of the middle of what is true."""
    rows, columns = np.nonzero(part)
    return rows.mean() / part.shape[0], columns.mean() / part.shape[1]


def test_left_is_left_front_is_up_or_right_and_up_is_up(prepared):
    shown = pixels(drawn(prepared, np.eye(4)))
    for plane, on_the_left in (("axial", True), ("coronal", True), ("sagittal", False)):
        brain, corner = middle_of(shown[plane] > 40), middle_of(shown[plane] > 180)
        assert corner[0] < brain[0] - 0.05
        assert (corner[1] < brain[1]) == on_the_left and abs(corner[1] - brain[1]) > 0.05


def edges_of(svg: str, kind: str) -> list[str]:
    """The outlines of a class by plane."""
    return [
        path.get("d") for path in ElementTree.fromstring(svg).iter(f"{SVG}path") if path.get("class") == kind
    ]


def enclosed(path: str) -> np.ndarray:
    """Upper left and lower right corner of an outline."""
    corners = np.array([tuple(map(int, pair)) for pair in re.findall(r"M(\d+) (\d+)", path)])
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def test_a_scan_that_lies_in_the_hub_shares_its_edge_and_a_shifted_one_does_not(prepared):
    hub_edges = [enclosed(path) / hub_pictures.FINER for path in edges_of(draw_hub(load_hub()), "hub-edge")]
    fitting = [enclosed(path) for path in edges_of(drawn(prepared, np.eye(4)), "scan-line")]
    np.testing.assert_allclose(fitting, hub_edges, atol=4)  # the scan's mask is a threshold at 2 mm
    shift = spaces.translation([6, 0, 0])  # shows what lies 6 mm further to the right: the scan moves left
    moved = [enclosed(path) for path in edges_of(drawn(prepared, shift), "scan-line")]
    np.testing.assert_allclose(np.array(moved)[:2, [0, 2]], np.array(fitting)[:2, [0, 2]] - 6, atol=2)
    np.testing.assert_allclose(np.array(moved)[:2, [1, 3]], np.array(fitting)[:2, [1, 3]], atol=2)


def test_every_scan_is_drawn_on_the_planes_of_the_hub(prepared):
    hub = load_hub()
    frame = frame_of(hub)
    for plane, (_, _, normal) in AXES.items():
        points = frame.points(plane)
        assert np.abs(points[..., normal] - POINT_MM[normal]).max() <= hub_pictures.GRID_MM / 2
        shape = tuple(frame.layout.shape[axis] for axis in (AXES[plane][1], AXES[plane][0]))
        assert points.shape == (*shape, 3)
        assert pixels(draw_hub(hub), "hub-image")[plane].shape == shape
        assert pixels(drawn(prepared, np.eye(4)))[plane].shape == shape
    corners = np.concatenate([frame.points(plane).reshape(-1, 3) for plane in AXES])
    brain = spaces.apply(hub.mask.affine, np.argwhere(hub.mask.array > 0))
    assert (corners.min(axis=0) < brain.min(axis=0)).all() and (corners.max(axis=0) > brain.max(axis=0)).all()


def test_a_hub_whose_brain_lies_elsewhere_is_cut_through_its_middle(prepared):
    hub, away = load_hub(), spaces.translation([500, 0, 0])
    far = Hub(
        name="far", image=Volume(hub.image.array, away @ hub.image.affine),
        mask=Volume(hub.mask.array, away @ hub.mask.affine), digest="",
    )  # fmt: skip
    frame = frame_of(far)
    middle = spaces.apply(hub.mask.affine, np.argwhere(hub.mask.array > 0).mean(axis=0)) + np.array(
        [500, 0, 0]
    )
    np.testing.assert_allclose(spaces.apply(frame.hub_from_vox, frame.center), middle, atol=1)
    shown = pixels(drawn(prepared, spaces.invert(away), far))
    assert all((picture > 40).mean() > 0.3 for picture in shown.values())


def test_a_scan_beside_the_hub_is_black_and_has_no_line(prepared):
    svg = drawn(prepared, spaces.translation([1000, 0, 0]))
    assert max(picture.max() for picture in pixels(svg).values()) == 0
    assert not edges_of(svg, "scan-line")


def test_the_same_registration_gives_the_same_bytes(prepared):
    assert drawn(prepared, np.eye(4)) == drawn(prepared, np.eye(4))
    assert draw_hub.__wrapped__(load_hub()) == draw_hub(load_hub())


def test_the_fluid_lines_lie_where_the_template_is_dark():
    svg = draw_hub(load_hub())
    lines, images = edges_of(svg, "hub-fluid"), pixels(svg, "hub-image")
    assert len(lines) == 3
    for line, picture in zip(lines, images.values(), strict=True):
        brain = picture[picture > 20]
        corners = [(int(c), int(r)) for c, r in re.findall(r"M(\d+) (\d+)", line)]
        near = [picture[r // hub_pictures.FINER, c // hub_pictures.FINER] for c, r in corners]
        assert np.median(near) < np.percentile(brain, 25)
