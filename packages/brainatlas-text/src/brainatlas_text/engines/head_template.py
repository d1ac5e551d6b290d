"""A head in template space, made from the MNI152 tissue maps: what brain extraction fits to a scan.

The maps are brain only. Around them a skull and a scalp of usual thickness are assumed, and below the skull
base soft tissue as wide as the head, so that a fit is pinned by the outline of the head as well as by the
brain, and nothing but the brain is left for the brain to explain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.hub import template_path
from brainatlas_text.volumes import Volume

CENTER_MM = np.array([0.0, -18.0, 9.0])
"""Middle of the template's brain."""
WIDTH_MM, LENGTH_MM, TOP_MM = 139.0, 178.0, 82.0
"""Extent of the template's brain along x and y, and its top above `CENTER_MM`."""
SKULL_MM, SCALP_MM = 8.0, 7.0
_MARGIN_VOXELS = 24
TISSUE_VALUES = (1.0, 0.7, 0.44)
"""How the maps show white matter, grey matter and fluid."""
_SCALP, _SKULL = 0.26, 0.13


@dataclass(frozen=True, slots=True, eq=False)
class HeadTemplate:
    """Maps on a grid of about 4 mm with a wide empty margin, and tissue shares at 2 mm, RAS+ mm."""

    brain: Volume
    """`TISSUE_VALUES` of the brain alone, 0 outside; smoothed."""
    head: Volume
    """The same with skull and scalp, face and neck."""
    tissues: tuple[Volume, Volume, Volume]
    """Shares of white matter, grey matter and fluid, 0 to 1, at 2 mm; fluid fills the brain mask."""


@cache
def load_head_template() -> HeadTemplate:
    """Read the maps that nilearn carries and build the template; a second, once a process."""
    white, grey = _share("wm"), _share("gm")
    inside = volumes.load(template_path()).array > 0
    fluid = np.where(inside, np.clip(1.0 - white.array - grey.array, 0.0, 1.0), 0.0).astype(np.float32)
    white, grey, fluid_map = (
        volumes.thin(Volume(array, white.affine), (2, 2, 2)) for array in (white.array, grey.array, fluid)
    )
    white, grey, fluid_map = (_with_margin(share) for share in (white, grey, fluid_map))
    shares = np.stack([white.array, grey.array, fluid_map.array])
    brain = np.tensordot(np.asarray(TISSUE_VALUES, dtype=np.float32), shares, 1)
    mask = shares.sum(axis=0) >= 0.5
    head = np.where(mask, brain, _rings(mask, white))
    return HeadTemplate(
        brain=_smoothed_half(Volume(np.where(mask, brain, 0.0), white.affine)),
        head=_smoothed_half(Volume(head, white.affine)),
        tissues=(white, grey, fluid_map),
    )


def _share(tissue: str) -> Volume:
    """A tissue map as shares from 0 to 1."""
    t1 = template_path()
    volume = volumes.load(t1.with_name(t1.name.replace("_t1_", f"_{tissue}_")))
    return Volume(volume.array / np.float32(255.0), volume.affine)


def _with_margin(volume: Volume) -> Volume:
    shift = spaces.translation([-_MARGIN_VOXELS] * 3)
    return Volume(np.pad(volume.array, _MARGIN_VOXELS), volume.affine @ shift)


def _rings(mask: NDArray[np.bool_], grid: Volume) -> NDArray[np.float64]:
    """Skull and scalp by distance from the brain; below the skull base face and neck, as wide as the head."""
    distance_mm = ndimage.distance_transform_edt(~mask, sampling=grid.zooms_mm)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in mask.shape], indexing="ij"), axis=-1)
    points = spaces.apply(grid.affine, index)
    above = points[..., 2] > -0.15 * points[..., 1]
    cap = above & (distance_mm <= SKULL_MM + SCALP_MM)
    below = ~above & cap.any(axis=2, keepdims=True)
    return np.where(distance_mm <= SKULL_MM, _SKULL, np.where(cap | below, _SCALP, 0.0))


def _smoothed_half(volume: Volume) -> Volume:
    """On half as many voxels along each axis, smoothed by 2 mm."""
    half = volumes.thin(Volume(volume.array.astype(np.float32), volume.affine), (2, 2, 2))
    return Volume(ndimage.gaussian_filter(half.array, 2.0 / half.zooms_mm), half.affine)
