"""Affine algebra in RAS+ mm.

An affine is a float64 array of shape (4, 4). Names read out-from-in and inner names must meet:
`moving_from_fixed = moving_from_hub @ hub_from_fixed`. Names without a unit map millimetres;
`_vox` marks voxel indices. ITK speaks LPS+ mm, which differs from RAS+ by the sign of x and y.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainatlas_text.errors import GeometryError

Affine = NDArray[np.float64]
LPS_FROM_RAS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
_DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
MIN_ZOOM_MM, MAX_ZOOM_MM = 0.05, 20.0
MAX_SHEAR = 0.02
"""Largest cosine between two voxel axes: a scanner's axes are orthogonal to rounding."""


def apply(affine: Affine, points: ArrayLike) -> NDArray[np.float64]:
    """Map points of shape (..., 3)."""
    return np.asarray(points, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]


def invert(affine: Affine) -> Affine:
    """The affine that undoes this one."""
    inverse: Affine = np.linalg.inv(affine).astype(np.float64)
    return inverse


def translation(offset_mm: ArrayLike) -> Affine:
    """The affine that adds an offset of shape (3,)."""
    affine = np.eye(4)
    affine[:3, 3] = offset_mm
    return affine


def zooms_of(affine: Affine) -> NDArray[np.float64]:
    """Voxel sizes in mm along the array axes, shape (3,)."""
    zooms: NDArray[np.float64] = np.linalg.norm(affine[:3, :3], axis=0)
    return zooms


def axis_codes(affine: Affine) -> str:
    """Nearest anatomical direction of each array axis, such as `RAS` or `PSR`."""
    cosines = affine[:3, :3] / zooms_of(affine)
    codes = [""] * 3
    free_array, free_world = {0, 1, 2}, {0, 1, 2}
    for _ in range(3):  # strongest match first, so that each direction is used once
        world, array = max(
            ((w, a) for w in free_world for a in free_array), key=lambda wa: abs(cosines[wa[0], wa[1]])
        )
        codes[array] = ("RAS" if cosines[world, array] > 0 else "LPI")[world]
        free_array.remove(array)
        free_world.remove(world)
    return "".join(codes)


def obliquity_deg(affine: Affine) -> float:
    """Largest angle between a voxel axis and the world axis nearest to it, in degrees."""
    cosines = np.abs(affine[:3, :3] / zooms_of(affine)).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))).max())


def from_axis_codes(codes: str, shape: Sequence[int], zooms_mm: ArrayLike) -> Affine:
    """Affine of an array whose axes run along the given directions, grid center at (0, 0, 0).

    For formats that store no orientation: the convention names the directions, the header the zooms.
    """
    if sorted(_DIRECTIONS[c][0] for c in codes if c in _DIRECTIONS) != [0, 1, 2]:
        raise GeometryError(f"axis codes must name each of R/L, A/P and S/I once, got {codes!r}")
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for axis, (code, zoom) in enumerate(zip(codes, np.asarray(zooms_mm, dtype=float), strict=True)):
        world, sign = _DIRECTIONS[code]
        affine[world, axis] = sign * zoom
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape[:3]) - 1) / 2)
    return affine


def check_affine(affine: Affine, where: str) -> None:
    """Raise GeometryError unless the affine is finite, invertible, orthogonal and of plausible zooms."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise GeometryError(f"{where}: affine must be a finite 4 x 4 matrix; repair or exclude the scan")
    zooms = zooms_of(affine)
    text = "(" + ", ".join(f"{z:.2f}" for z in zooms) + ") mm"
    if (zooms < MIN_ZOOM_MM).any() or (zooms > MAX_ZOOM_MM).any():
        raise GeometryError(
            f"{where}: voxel sizes must lie between {MIN_ZOOM_MM} and {MAX_ZOOM_MM} mm, got {text}; "
            "repair the header or exclude the scan"
        )
    cosines = affine[:3, :3] / zooms
    skew = np.abs(cosines.T @ cosines - np.eye(3)).max()
    if skew > MAX_SHEAR:
        raise GeometryError(
            f"{where}: voxel axes must be orthogonal, got a cosine of {skew:.2f} between two of them; "
            "resample the scan on an orthogonal grid or exclude it"
        )


def itk_from_ras(affine: Affine) -> Affine:
    """The same point mapping written for LPS+ points (ITK), from one for RAS+ points, or back."""
    return LPS_FROM_RAS @ affine @ LPS_FROM_RAS
