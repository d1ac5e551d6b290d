"""Render a pair: the moving scan's anatomy in the fixed scan's pose, on the frame's grid.

Input: image, labels and agreement of the moving scan and the affines of both scans to the hub. Output: a
RenderedPair: the box of the frame that holds the moved brain. Image linear, labels and agreement nearest.
`moving_from_fixed = moving_from_hub @ hub_from_fixed`; a native is the pair of a scan with itself.

Frame `isotropic`: 256 x 256 x 256 voxels of 1 mm, axes the fixed scan's closest-RAS axes, centered on its
mask's box. Frame `fixed`, the paper's: the grid of the prepared fixed scan itself, whatever its voxels, on
planes padded or cropped to 256 x 256; an axis along which the brain needs more is taken at half resolution.

Pictures: columns run along the + axis, rows along the - axis, so the subject's LEFT is on the picture's left,
front is up in axial, up is up in coronal and sagittal, front is right in sagittal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from brainatlas_text import spaces
from brainatlas_text.engines import resample
from brainatlas_text.records import Plane
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

VERSION = 1
SIZE = 256
"""Rows and columns of a picture."""
PREPARED_MAX = 4095
FrameKind = Literal["isotropic", "fixed"]
NORMAL_AXIS: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


class RenderConfig(BaseModel):
    """Which slices are rendered."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    frame: FrameKind = "isotropic"
    """The grid that pictures are cut from: `isotropic`, 256 x 256 x 256 voxels of 1 mm around the brain of
    the fixed scan, or `fixed`, the paper's: that scan's own voxels, planes padded or cropped to 256 x 256."""
    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
    """Planes cut through every moved volume."""
    slice_step: int = Field(1, ge=1, le=32)
    """Of every how many slices of the frame (1 mm apart in `isotropic`) one is kept; 1 keeps all."""
    min_brain_mm2: float = Field(400.0, ge=0.0)
    """A slice with less brain than this is empty and dropped; counted in the card."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The grid that pictures are cut from, axes right, front, up, and where pictures lie on it."""

    affine: Affine
    """Voxel index -> RAS+ mm of the fixed scan."""
    shape: tuple[int, int, int]
    """Slices along each axis."""
    page_start: tuple[int, int, int]
    """Frame index of a picture's first column or last row, by axis: below 0 where a picture is padded, above
    where it is cropped."""

    @property
    def zooms_mm(self) -> NDArray[np.float64]:
        """Voxel sizes along the frame's axes, shape (3,).

        To 1e-6, as samples state them: headers hold 32 bits, and sizes must follow from pixels and spacing.
        """
        zooms: NDArray[np.float64] = np.round(spaces.zooms_of(self.affine), 6)
        return zooms

    @property
    def shown(self) -> resample.Box:
        """The part of the grid that pictures show."""
        ends = [
            (max(start, 0), min(start + SIZE, size))
            for start, size in zip(self.page_start, self.shape, strict=True)
        ]
        (i, i_end), (j, j_end), (k, k_end) = ends
        return (i, j, k), (i_end - i, j_end - j, k_end - k)

    def num_slices(self, plane: Plane, step: int) -> int:
        """Slices of a plane when one of every `step` is cut."""
        return len(range(0, self.shape[NORMAL_AXIS[plane]], step))


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
    frame: Frame
    share_cropped: float
    """Share of the moving brain that lies outside of what the frame's pictures show, 0 to 1."""

    @property
    def zooms_mm(self) -> NDArray[np.float64]:
        """Voxel sizes along the axes, shape (3,)."""
        return self.frame.zooms_mm


def methods(config: RenderConfig) -> str:
    """One sentence for the card."""
    frame = {
        "isotropic": "a 1 mm frame along the axes of the fixed scan, centered on its brain",
        "fixed": "the fixed scan's own voxel grid, planes padded or cropped to 256 x 256; an axis along "
        "which the fixed brain needs more is taken at half resolution",
    }[config.frame]
    return (
        "A slice shows the moving person's anatomy, resampled once (image linear, labels nearest) into "
        f"{frame}."
    )


def frame_of(mask: Volume, kind: FrameKind) -> Frame:
    """The frame of a fixed scan, from its brain mask (closest RAS)."""
    return _isotropic(mask) if kind == "isotropic" else _own_grid(mask)


def _isotropic(mask: Volume) -> Frame:
    """256 x 256 x 256 voxels of 1 mm, the brain's box in their middle."""
    (i, j, k), shape = resample.box_of(mask.array)
    middle = spaces.apply(mask.affine, np.array([i, j, k]) + (np.array(shape) - 1) / 2)
    affine = np.eye(4)
    affine[:3, :3] = mask.affine[:3, :3] / mask.zooms_mm
    affine[:3, 3] = middle - affine[:3, :3] @ np.full(3, (SIZE - 1) / 2)
    return Frame(affine=affine, shape=(SIZE, SIZE, SIZE), page_start=(0, 0, 0))


def _own_grid(mask: Volume) -> Frame:
    """The scan's own grid, padded evenly where it is smaller than a picture, else cropped near the brain."""
    starts, lengths = resample.box_of(mask.array)
    axes = [own_axis(*axis) for axis in zip(mask.shape, starts, lengths, strict=True)]
    (i, page_i, step_i), (j, page_j, step_j), (k, page_k, step_k) = axes
    every = np.diag([step_i, step_j, step_k, 1.0])
    every[:3, 3] = (np.diag(every)[:3] - 1) / 2  # a coarse voxel lies in the middle of those it stands for
    return Frame(affine=mask.affine @ every, shape=(i, j, k), page_start=(page_i, page_j, page_k))


def own_axis(size: int, start: int, length: int) -> tuple[int, int, int]:
    """Slices, first index of a picture and step of an axis; the brain fills `length` voxels from `start`."""
    step = 1
    while length > SIZE * step:
        step *= 2
    slices, middle = size // step, (start + length / 2) / step
    if slices <= SIZE:
        return slices, (slices - SIZE) // 2, step
    return slices, min(max(round(middle - SIZE / 2), 0), slices - SIZE), step


def render_pair(
    moving: MovingScan, frame: Frame, moving_from_fixed: Affine, fixed_from_hub: Affine
) -> RenderedPair:
    """Resample the moving scan into the frame, within the box that its brain fills there."""
    moving_vox_from_frame = spaces.invert(moving.affine) @ moving_from_fixed @ frame.affine
    frame_from_moving_vox = spaces.invert(moving_vox_from_frame)
    box, cut = _moved_box(moving.brain_box, frame_from_moving_vox, frame.shown)
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
        frame=frame,
        share_cropped=resample.share_outside(moving.image, frame_from_moving_vox, frame.shown)
        if cut
        else 0.0,
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


def picture(array: NDArray[np.uint8], rendered: RenderedPair, plane: Plane, index: int) -> NDArray[np.uint8]:
    """One slice of an array of `rendered` as a 256 x 256 picture in the orientation stated above."""
    axis = NORMAL_AXIS[plane]
    across, upward = (a for a in range(3) if a != axis)
    cut = np.take(array, index - rendered.start[axis], axis=axis)  # (across, upward)
    first = [rendered.start[a] - rendered.frame.page_start[a] for a in range(3)]
    page = np.zeros((SIZE, SIZE), dtype=np.uint8)
    bottom = SIZE - first[upward]
    page[bottom - cut.shape[1] : bottom, first[across] : first[across] + cut.shape[0]] = cut.T[::-1]
    return page


def _moved_box(
    box: resample.Box, frame_from_moving_vox: Affine, shown: resample.Box
) -> tuple[resample.Box, bool]:
    """The box of the frame that covers the moving brain's box, clipped to what is shown; whether it was."""
    start, shape = np.array(box[0]), np.array(box[1])
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    moved = spaces.apply(frame_from_moving_vox, start - 1 + corners * (shape + 1))
    wanted_low, wanted_high = np.floor(moved.min(axis=0)), np.ceil(moved.max(axis=0)) + 1
    first, last = np.array(shown[0]), np.array(shown[0]) + np.array(shown[1])
    low = np.clip(wanted_low, first, last - 1).astype(int)
    high = np.clip(wanted_high, low + 1, last).astype(int)
    size = high - low
    clipped = (int(low[0]), int(low[1]), int(low[2])), (int(size[0]), int(size[1]), int(size[2]))
    return clipped, bool((low > wanted_low).any() or (high < wanted_high).any())
