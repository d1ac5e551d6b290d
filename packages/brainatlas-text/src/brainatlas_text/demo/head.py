"""A head around the brain: CSF, dura, skull, muscle, fat and skin, a plain face, eyes and a neck.

Input: `Brain`. Output: `Head` on the whole base grid. The installed templates show the brain alone, so the
head is made up: the skull follows the brain at set distances, the outer surface joins the skull with
ellipsoids where MNI152 heads have face, jaw and neck. It is there so that skull stripping has work to do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from brainatlas_text.demo import templates
from brainatlas_text.demo.brain import Brain
from brainatlas_text.demo.materials import FloatArray, Material, Point, UInt8Array

_COARSE = 2
"""Distances are computed on every second voxel and interpolated."""
_SKULL = (
    (1.8, Material.OUTER_CSF),
    (2.6, Material.DURA),
    (4.2, Material.BONE),
    (6.6, Material.MARROW),
    (8.2, Material.BONE),
)
"""Outer distance from the brain's envelope in mm -> what lies up to there."""
_SCALP = 13.5
_FLESH: tuple[tuple[Point, Point], ...] = (
    ((0, 52, -72), (56, 43, 50)),  # face
    ((0, 95, -57), (11, 14, 19)),  # nose
    ((0, 48, -104), (44, 42, 27)),  # jaw
    ((0, -28, -105), (56, 58, 90)),  # neck
    ((0, 20, -28), (77, 50, 34)),  # temples
)
"""Point and radii in mm of the ellipsoids that, joined smoothly, make the outer surface."""
MARKER_RADIUS_MM = 5.0
_MARKER_GAP_MM = 2.5
_MARKER_ROW = (50.0, 32.0)
"""y and z of the marker in mm: beside the forehead, where narrow fields of view still reach it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """Brain and head on the base grid."""

    materials: UInt8Array
    """Shape `templates.BASE_SHAPE`."""
    marker_mm: Point
    """Center of the marker, outside the skin on the left."""


def build_head(brain: Brain) -> Head:
    """Put a head around the brain."""
    whole = np.zeros(templates.BASE_SHAPE, dtype=bool)
    whole[brain.box] = brain.mask
    skull, surface = _distances(whole)
    materials = np.full(templates.BASE_SHAPE, Material.AIR, dtype=np.uint8)
    _put_flesh(materials, surface)
    _put_face(materials)
    _put_skull(materials, skull, surface)
    _put_airways_and_spine(materials, skull)
    materials[brain.box][brain.mask] = brain.materials[brain.mask]
    marker = _marker(surface)
    _ball(materials, marker, (MARKER_RADIUS_MM,) * 3, Material.MARKER)
    return Head(materials=materials, marker_mm=marker)


def _distances(brain: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Signed distances in mm, below 0 inside: from the brain's envelope, and from the head's surface."""
    coarse = brain[::_COARSE, ::_COARSE, ::_COARSE]
    envelope = ndimage.gaussian_filter(coarse.astype(np.float32), 2.0) > 0.45
    outside: FloatArray = ndimage.distance_transform_edt(~envelope)
    inside: FloatArray = ndimage.distance_transform_edt(envelope)
    skull = _COARSE * (outside - inside).astype(np.float32)
    skull = ndimage.gaussian_filter(skull, 1.0)
    axes = [np.arange(n) * _COARSE + o for n, o in zip(skull.shape, templates.BASE_ORIGIN_MM, strict=True)]
    grid = list(np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij", sparse=True))
    softness = 4.0
    total = np.exp((_SCALP - skull) / softness)
    for center, radii in _FLESH:
        total += np.exp(-_ellipsoid_distance(grid, center, radii) / softness)
    surface = -softness * np.log(total)
    return _refine(skull), _refine(surface)


def _ellipsoid_distance(grid: list[FloatArray], center: Point, radii: Point) -> FloatArray:
    """Roughly the signed distance in mm from an ellipsoid."""
    squares = [((g - c) / r) ** 2 for g, c, r in zip(grid, center, radii, strict=True)]
    distance: FloatArray = (np.sqrt(squares[0] + squares[1] + squares[2]) - 1) * np.float32(min(radii))
    return np.clip(distance, -60, 60)


def _refine(coarse: FloatArray) -> FloatArray:
    """From every second voxel to the base grid, linear between."""
    fine = coarse
    for axis, length in enumerate(templates.BASE_SHAPE):
        fine = np.moveaxis(fine, axis, 0)
        doubled = np.empty((2 * len(fine), *fine.shape[1:]), dtype=np.float32)
        doubled[::2] = fine
        doubled[1:-1:2] = (fine[:-1] + fine[1:]) / 2
        doubled[-1] = fine[-1]
        fine = np.moveaxis(doubled[:length], 0, axis)
    return np.ascontiguousarray(fine)


def _put_flesh(materials: UInt8Array, surface: FloatArray) -> None:
    """Skin, a layer of fat of uneven thickness, muscle with fat between."""
    rng = np.random.default_rng(0)  # the same head for all; people bend it
    uneven = _smooth_noise(rng, 9.0)
    materials[surface < 0] = Material.SKIN
    materials[surface < -1.8] = Material.FAT
    materials[surface < -5.2 + 1.6 * uneven] = Material.MUSCLE
    strands = _smooth_noise(rng, 2.5)
    materials[(surface < -7.0) & (strands > 1.0)] = Material.FAT


def _smooth_noise(rng: np.random.Generator, smoothness_mm: float) -> FloatArray:
    shape = tuple(-(-n // _COARSE) for n in templates.BASE_SHAPE)
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth: FloatArray = ndimage.gaussian_filter(noise, smoothness_mm / _COARSE, truncate=3.0)
    return _refine(smooth / smooth.std())


def _put_face(materials: UInt8Array) -> None:
    """Orbits with fat, eyes and their muscles, cheek bones, jaw, tongue."""
    for side in (-1, 1):
        _ball(materials, (side * 38, 62, -62), (17, 12, 8), Material.MARROW)
        _ball(materials, (side * 31, 50, -40), (17, 33, 16), Material.BONE)
        _ball(materials, (side * 31, 52, -40), (15, 32, 14), Material.FAT)
        for dx, dz in ((9, 0), (-9, 0), (0, 8), (0, -8)):
            _ball(materials, (side * 30 + dx, 45, -40 + dz), (2, 17, 2), Material.MUSCLE)
        _ball(materials, (side * 29, 38, -40), (2, 16, 2), Material.CORD)
        _ball(materials, (side * 32, 63, -40), (12, 12, 12), Material.EYE)
        _ball(materials, (side * 32, 72, -40), (4, 2, 4), Material.LENS)
        _ball(materials, (side * 40, 32, -96), (5, 34, 13), Material.BONE)
        _ball(materials, (side * 40, 32, -96), (3, 32, 11), Material.MARROW)
    _ball(materials, (0, 68, -88), (27, 17, 11), Material.BONE)
    _ball(materials, (0, 66, -88), (24, 15, 8), Material.MARROW)
    _ball(materials, (0, 44, -96), (20, 30, 15), Material.MUSCLE)


def _put_skull(materials: UInt8Array, skull: FloatArray, surface: FloatArray) -> None:
    """The layers around the brain, where there is flesh left to cover them."""
    inner = -60.0
    uneven = skull * (1 - 0.15 * np.clip(_smooth_noise(np.random.default_rng(1), 12.0), -2, 2))
    for outer, material in _SKULL:
        layer = (uneven > inner) & (uneven <= outer) & (surface < -3.5)
        materials[layer] = material
        inner = outer


def _put_airways_and_spine(materials: UInt8Array, skull: FloatArray) -> None:
    """Nose, sinuses and throat, and the spinal canal that leaves the skull below the brain stem."""
    spared = materials.copy()
    for center, radii in (
        ((0, 30, -46), (11, 12, 8)), ((-32, 48, -66), (12, 15, 14)), ((31, 48, -65), (13, 14, 14)),
        ((-7, 62, -62), (4, 27, 18)), ((7, 62, -62), (4, 27, 18)),
        ((0, 12, -84), (9, 8, 26)), ((0, 8, -110), (8, 7, 22)),
    ):  # fmt: skip
        grown: Point = (radii[0] + 1.6, radii[1] + 1.6, radii[2] + 1.6)
        _ball(materials, center, grown, Material.MUCOSA)
        _ball(materials, center, radii, Material.AIR)
    for z in range(-118, -62, 15):
        _ball(materials, (0, -18 + (z + 118) * -0.12, z), (15, 12, 6.5), Material.MARROW)
    for radius, material in ((15.0, Material.BONE), (11.0, Material.OUTER_CSF), (5.5, Material.CORD)):
        _ball(materials, (0, -46, -102), (radius, radius, 42), material)
    np.copyto(materials, spared, where=skull < 2.6)


def _ball(materials: UInt8Array, center: Point, radii: ArrayLike, material: Material) -> None:
    """Fill an axis-aligned ellipsoid (center and radii in mm) in place."""
    middle = np.asarray(center) - templates.BASE_ORIGIN_MM
    reach = np.asarray(radii, dtype=float)
    low = np.maximum(np.floor(middle - reach), 0).astype(int)
    high = np.minimum(np.ceil(middle + reach) + 1, templates.BASE_SHAPE).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    i, j, k = np.ogrid[box]
    distance = sum(((x - m) / r) ** 2 for x, m, r in zip((i, j, k), middle, reach, strict=True))
    materials[box][distance <= 1] = material


def _marker(surface: FloatArray) -> Point:
    """On the marker's row left of the head, a little away from the skin."""
    y, z = _MARKER_ROW
    x0, y0, z0 = templates.BASE_ORIGIN_MM
    near = surface[:, round(y - y0), round(z - z0)] < MARKER_RADIUS_MM + _MARKER_GAP_MM
    return (float(np.flatnonzero(near)[0] + x0), y, z)
