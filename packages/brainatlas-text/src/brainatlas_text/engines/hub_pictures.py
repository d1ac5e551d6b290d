"""A look at a registration: a scan where it lies in the hub, on three planes that all scans share.

What is drawn of the hub itself (`draw_hub`) is the same for all scans, so a page holds it once, and the
picture of a scan (`draw_scan`) refers to it: the hub's image under `#hub-image`, the edges of its brain
and of the fluid within under `#hub-lines`. Both lie in one frame, the hub's axes at 1 mm around its brain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import spaces
from brainatlas_text.engines import pictures, resample
from brainatlas_text.engines.masks import otsu
from brainatlas_text.engines.pictures import AXES, Layout
from brainatlas_text.hub import Hub
from brainatlas_text.records import Plane
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

VERSION = 1
POINT_MM = (4.0, -18.0, 8.0)
"""Hub point of the planes: beside the middle; ventricles, thalami, hippocampi and brain stem show."""
GRID_MM, MARGIN_MM, FINER = 1.0, 8.0, 2
"""Voxels of the frame, what it shows around the brain, and how much finer the hub's lines are drawn."""
QUALITY = 80
"""Of the JPEGs, which are looked at small."""
SCAN_LINE, HUB_LINE, FLUID_LINE = "#35d0ff", pictures.OUTLINE, "#ffd23f"
_SMOOTH_MM, _INNER_MM = 1.0, 6.0
"""Blur of the hub before its fluid is outlined, and how far inside: ventricles and cisterns, no sulci."""

Points = NDArray[np.float64]
PointMap = Callable[[Points], Points]
"""Maps points of shape (..., 3), RAS+ mm."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The grid of the pictures: hub points of its voxels, how many there are, where the planes cut."""

    hub_from_vox: Affine
    layout: Layout
    center: tuple[int, int, int]

    def points(self, plane: Plane) -> Points:
        """Hub points of a plane's voxels, shape (rows, columns, 3), rows from the top."""
        columns, rows, normal = AXES[plane]
        num_columns, num_rows = self.layout.shape[columns], self.layout.shape[rows]
        index = np.empty((num_rows, num_columns, 3))
        index[..., columns] = np.arange(num_columns)
        index[..., rows] = np.arange(num_rows)[::-1, None]
        index[..., normal] = self.center[normal]
        return spaces.apply(self.hub_from_vox, index)


def draw_scan(hub: Hub, image: Volume, mask: Volume, scan_from_hub: PointMap) -> str:
    """The SVG of a prepared scan (0 to 4095) in the hub, with the edge of its mask (class `scan-line`)."""
    frame = frame_of(hub)
    moved, edges = "", ""
    for plane in AXES:
        points = scan_from_hub(frame.points(plane))
        grey = sample(image, points, order=1) / pictures.WHITE * 255
        moved += frame.layout.panel(plane, pictures.grey_image(_bytes(grey), QUALITY))
        line = pictures.outline(sample(mask, points, order=0) > 0, "scan-line", SCAN_LINE)
        edges += frame.layout.panel(plane, line, lettered=True)
    hub_image, hub_lines = (f'<use class="{name}" href="#{name}"/>' for name in ("hub-image", "hub-lines"))
    return frame.layout.svg(f'<g class="scan-image">{moved}</g>{hub_image}{hub_lines}{edges}')


@cache
def draw_hub(hub: Hub) -> str:
    """The groups that pictures of scans refer to, in an SVG that shows nothing by itself."""
    frame, fine = frame_of(hub), frame_of(hub, GRID_MM / FINER)
    blurred = ndimage.gaussian_filter(hub.image.array, _SMOOTH_MM / hub.image.zooms_mm)
    smooth = Volume(blurred, hub.image.affine)
    white = float(np.percentile(hub.image.array[hub.mask.array > 0], 99.8))
    dark = _dark(blurred[hub.mask.array > 0])
    images, lines = "", ""
    for plane in AXES:
        grey = sample(hub.image, frame.points(plane), order=1) / white * 255
        images += frame.layout.panel(plane, pictures.grey_image(_bytes(grey), QUALITY))
        values = sample(smooth, fine.points(plane), order=1)
        brain = sample(hub.mask, fine.points(plane), order=1) > 0.5
        inner = ndimage.binary_erosion(brain, iterations=round(_INNER_MM * FINER / GRID_MM))
        fluid = ndimage.binary_opening(inner & (values < dark), iterations=FINER)
        drawn = pictures.outline(fluid, "hub-fluid", FLUID_LINE) + pictures.outline(
            brain, "hub-edge", HUB_LINE
        )
        lines += fine.layout.panel(plane, drawn)
    defs = f'<defs><g id="hub-image">{images}</g><g id="hub-lines">{lines}</g></defs>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="0" height="0" aria-hidden="true">{defs}</svg>\n'


@cache
def frame_of(hub: Hub, grid_mm: float = GRID_MM) -> Frame:
    """The frame around a hub's brain, closest RAS as the hub is."""
    mask = hub.mask
    start, shape = resample.box_of(mask.array)
    margin = MARGIN_MM / mask.zooms_mm
    corner = spaces.apply(mask.affine, np.array(start) - 0.5 - margin)
    sizes_mm = (np.array(shape) + 2 * margin) * mask.zooms_mm
    i, j, k = (int(n) for n in np.ceil(sizes_mm / grid_mm - 1e-6))
    hub_from_vox = np.eye(4)
    hub_from_vox[:3, :3] = mask.affine[:3, :3] / mask.zooms_mm * grid_mm
    hub_from_vox[:3, 3] = corner + hub_from_vox[:3, :3] @ np.full(3, 0.5)
    point = np.array(POINT_MM)
    if not sample(mask, point[None], order=0)[0]:  # not in MNI's place
        point = spaces.apply(mask.affine, np.argwhere(mask.array > 0).mean(axis=0))
    a, b, c = (int(n) for n in np.rint(spaces.apply(spaces.invert(hub_from_vox), point)))
    layout = Layout(shape=(i, j, k), zooms_mm=(grid_mm, grid_mm, grid_mm))
    return Frame(hub_from_vox=hub_from_vox, layout=layout, center=(a, b, c))


def sample(volume: Volume, points_mm: Points, *, order: int) -> NDArray[Any]:
    """What lies at points of shape (..., 3): nearest (order 0) or linear (1); 0 outside the grid."""
    index = np.moveaxis(spaces.apply(spaces.invert(volume.affine), points_mm), -1, 0)
    kind = np.float32 if order else volume.array.dtype
    found: NDArray[Any] = ndimage.map_coordinates(volume.array, index, order=order, output=kind)
    return found


def _dark(values: NDArray[np.float32]) -> float:
    """Intensity below which a brain's darker part is darkest: fluid in a T1w template."""
    return otsu(values[values < otsu(values)])


def _bytes(grey: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(grey, 0, 255).astype(np.uint8)
