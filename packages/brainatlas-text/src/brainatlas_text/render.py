"""Render a pair: the moving scan's anatomy in the fixed scan's pose, on the frame's grid.

Input: image, labels and agreement of the moving scan and the affines of both scans to the hub. Output: a
RenderedPair: the box of the frame that holds the moved brain. Image linear, labels and agreement nearest.
`moving_from_fixed = moving_from_hub @ hub_from_fixed`; a native is the pair of a scan with itself.

Frame `isotropic`: 256 x 256 x 256 voxels of 1 mm, axes the fixed scan's closest-RAS axes, centered on its
mask's box. Pictures: columns run along the + axis, rows along the - axis, so the subject's LEFT is on the
picture's left, front is up in axial, up is up in coronal and sagittal, front is right in sagittal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from brainatlas_text import spaces
from brainatlas_text.engines import resample
from brainatlas_text.records import Plane
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

VERSION = 1
METHODS = (
    "A slice shows the moving person's anatomy, resampled once (image linear, labels nearest) into a 1 mm "
    "frame along the axes of the fixed scan, centered on its brain."
)
SIZE = 256
"""Rows and columns of a picture, and slices of the frame along each axis."""
PREPARED_MAX = 4095
NORMAL_AXIS: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


class RenderConfig(BaseModel):
    """Which slices are rendered."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
    """Planes cut through every moved volume."""
    slice_step: int = Field(1, ge=1, le=32)
    """Every how many millimetres a slice is kept; 1 keeps all."""
    min_brain_mm2: float = Field(400.0, ge=0.0)
    """A slice with less brain than this is empty and dropped; counted in the card."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The grid pictures are cut from: voxel index -> RAS+ mm of the fixed scan."""

    affine: Affine

    @property
    def zooms_mm(self) -> NDArray[np.float64]:
        """Voxel sizes along the frame's axes, shape (3,)."""
        return spaces.zooms_of(self.affine)


@dataclass(frozen=True, slots=True, eq=False)
class MovingScan:
    """What is rendered: the moving scan's arrays on one grid (uint16 image, uint8 labels and agreement)."""

    image: NDArray[np.uint16]
    labels: NDArray[np.uint8]
    agreement: NDArray[np.uint8] | None
    affine: Affine
    brain_box: resample.Box


@dataclass(frozen=True, slots=True, eq=False)
class RenderedPair:
    """The moved brain in its box of the frame; arrays of one shape, axes right, front, up."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    agreement: NDArray[np.uint8] | None
    start: tuple[int, int, int]
    """Frame index of the box's first voxel."""
    origin_index: NDArray[np.float64]
    """Frame index, with fraction, of the point that corresponds to hub (0, 0, 0); shape (3,)."""
    zooms_mm: NDArray[np.float64]


def isotropic_frame(mask: Volume) -> Frame:
    """The 1 mm frame of a fixed scan, from its brain mask (closest RAS)."""
    (i, j, k), shape = resample.box_of(mask.array)
    middle = spaces.apply(mask.affine, np.array([i, j, k]) + (np.array(shape) - 1) / 2)
    affine = np.eye(4)
    affine[:3, :3] = mask.affine[:3, :3] / mask.zooms_mm
    affine[:3, 3] = middle - affine[:3, :3] @ np.full(3, (SIZE - 1) / 2)
    return Frame(affine=affine)


def render_pair(
    moving: MovingScan, frame: Frame, moving_from_fixed: Affine, fixed_from_hub: Affine
) -> RenderedPair:
    """Resample the moving scan into the frame, within the box that its brain fills there."""
    moving_vox_from_frame = spaces.invert(moving.affine) @ moving_from_fixed @ frame.affine
    box = _moved_box(moving.brain_box, spaces.invert(moving_vox_from_frame))
    image = resample.linear(moving.image, moving_vox_from_frame, box)
    np.multiply(image, 255.0 / PREPARED_MAX, out=image)
    agreement = None
    if moving.agreement is not None:
        agreement = resample.nearest(moving.agreement, moving_vox_from_frame, box)
    origin = spaces.apply(spaces.invert(frame.affine) @ fixed_from_hub, np.zeros(3))
    return RenderedPair(
        image=np.rint(image, out=image).astype(np.uint8),
        labels=resample.nearest(moving.labels, moving_vox_from_frame, box),
        agreement=agreement,
        start=box[0],
        origin_index=origin,
        zooms_mm=frame.zooms_mm,
    )


def kept_slices(rendered: RenderedPair, plane: Plane, config: RenderConfig) -> Iterator[tuple[int, float]]:
    """Frame index and extent fraction (0 first, 1 last slice with brain) of the slices that are kept."""
    axis = NORMAL_AXIS[plane]
    others = tuple(a for a in range(3) if a != axis)
    pixel_mm2 = float(np.prod(rendered.zooms_mm[list(others)]))
    area_mm2 = np.count_nonzero(rendered.image, axis=others) * pixel_mm2
    shown = np.flatnonzero(area_mm2 >= max(config.min_brain_mm2, pixel_mm2))
    if not shown.size:
        return
    first, last = int(shown[0]), int(shown[-1])
    for local in shown.tolist():
        index = rendered.start[axis] + local
        if index % config.slice_step == 0:
            yield index, (local - first) / max(last - first, 1)


def picture(
    array: NDArray[np.uint8], start: tuple[int, int, int], plane: Plane, index: int
) -> NDArray[np.uint8]:
    """One slice of a box as a 256 x 256 picture in the orientation stated above."""
    axis = NORMAL_AXIS[plane]
    across, upward = (a for a in range(3) if a != axis)
    cut = np.take(array, index - start[axis], axis=axis)  # (across, upward)
    page = np.zeros((SIZE, SIZE), dtype=np.uint8)
    bottom = SIZE - start[upward]
    page[bottom - cut.shape[1] : bottom, start[across] : start[across] + cut.shape[0]] = cut.T[::-1]
    return page


def _moved_box(box: resample.Box, frame_from_moving_vox: Affine) -> resample.Box:
    """The box of the frame that covers the moving brain's box, clipped to the frame."""
    start, shape = np.array(box[0]), np.array(box[1])
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    moved = spaces.apply(frame_from_moving_vox, start - 1 + corners * (shape + 1))
    low = np.clip(np.floor(moved.min(axis=0)), 0, SIZE - 1).astype(int)
    high = np.clip(np.ceil(moved.max(axis=0)) + 1, low + 1, SIZE).astype(int)
    size = high - low
    return (int(low[0]), int(low[1]), int(low[2])), (int(size[0]), int(size[1]), int(size[2]))
