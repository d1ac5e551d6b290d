"""The capsule that marks the left side of a head: found by size, shape, brightness and place, or not at all.

OASIS fixed a capsule of oil (vitamin E) to the left of the forehead (Marcus et al., J Cogn Neurosci 2007).
In T1w it is a small bright ellipsoid outside the skin, touching it or a few mm off. Input: a head in
closest-RAS order. `undecided` unless capsules are seen on one side alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import masks
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.records import HandednessCheck, Verdict
from brainatlas_text.volumes import Volume

GRID_MM = 2.0
"""Working grid: a capsule is 1 cm thick."""
OPENING_MM = 10.0
"""Radius of the ball that must fit into the head; what it cannot reach juts out: ears, nose, capsules."""
MIN_CAPSULE_ML, MAX_CAPSULE_ML = 0.1, 3.0
MIN_HALF_AXIS_MM, MAX_HALF_AXIS_MM = 2.8, 17.0
MIN_FILL = 0.7
"""Least share of its ellipsoid of inertia that a capsule fills; skin folds and ears fill less."""
MIN_REACH_MM = 4.0
"""How far a capsule rises at least above the smooth head."""
CANDIDATE_BRIGHTNESS, MIN_BRIGHTNESS = 0.6, 0.8
"""Of a candidate's voxels, and of its core, by the head's 90th percentile: oil is bright in T1w."""
MIN_ASIDE_MM = 20.0
"""Distance from the head's middle: what is nearer belongs to no side."""
MAX_BELOW_CROWN_MM = 135.0
"""Lower down there are jaw, neck and shoulders, and the end of the field of view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bump:
    """A bright thing that juts out of the smooth head."""

    center_mm: tuple[float, float, float]
    """From the head's middle, RAS+; the third below the crown instead (downwards positive)."""
    volume_ml: float
    half_axes_mm: tuple[float, float, float]
    """Of the ellipsoid of equal inertia, shortest first."""
    fill: float
    """Own volume by that ellipsoid's."""
    brightness: float
    """80th percentile of its values by the head's 90th."""
    reach_mm: float
    """Largest distance from the smooth head."""
    at_edge: bool
    """Touches the border of the grid: it may be cut, or wrapped around from the other side."""

    @property
    def is_capsule(self) -> bool:
        """Whether size, shape, brightness and place are those of a capsule."""
        return (
            not self.at_edge
            and MIN_CAPSULE_ML <= self.volume_ml <= MAX_CAPSULE_ML
            and self.half_axes_mm[0] >= MIN_HALF_AXIS_MM
            and self.half_axes_mm[2] <= MAX_HALF_AXIS_MM
            and self.fill >= MIN_FILL
            and self.brightness >= MIN_BRIGHTNESS
            and self.reach_mm >= MIN_REACH_MM
            and abs(self.center_mm[0]) >= MIN_ASIDE_MM
            and self.center_mm[2] <= MAX_BELOW_CROWN_MM
        )


def check_capsule(head: Volume) -> HandednessCheck:
    """Look for the capsule that marks the left of a head in T1w, skull on."""
    found = [bump for bump in find_bumps(head) if bump.is_capsule]
    sides = {"left" if bump.center_mm[0] < 0 else "right" for bump in found}
    if not found:
        return _capsule("undecided", "no capsule found beside the head")
    if len(sides) > 1:
        return _capsule("undecided", f"{len(found)} things like a capsule, on both sides of the head")
    side, bump = sides.pop(), max(found, key=lambda bump: bump.volume_ml)
    x, y, below = bump.center_mm
    place = f"{abs(x):.0f} mm to the {side}, {abs(y):.0f} mm to the {'front' if y > 0 else 'back'}"
    detail = (
        f"a capsule of {bump.volume_ml:.1f} ml lies {place} of the middle of the head and "
        f"{below:.0f} mm below the crown; the source fixed it to the left"
    )
    return _capsule("agrees" if side == "left" else "contradicts", detail)


def _capsule(verdict: Verdict, detail: str) -> HandednessCheck:
    return HandednessCheck(method="capsule", verdict=verdict, detail=detail)


def find_bumps(image: Volume) -> tuple[Bump, ...]:
    """All bright things outside the smooth head that are as large as a capsule or larger."""
    head = volumes.thin_to(image, GRID_MM)
    shown, solid = solid_head(head)
    if not solid.any():
        return ()
    body = _opened(solid, head.zooms_mm)
    reference = float(np.percentile(head.array[solid], 90.0))
    bright = shown & ~body & (head.array > CANDIDATE_BRIGHTNESS * reference)
    parts, _ = ndimage.label(bright, np.ones((3, 3, 3)))
    sizes_ml = np.bincount(parts.ravel()) * head.voxel_ml
    height_mm = ndimage.distance_transform_edt(~body, sampling=head.zooms_mm)
    points = spaces.apply(head.affine, np.argwhere(body))
    origin = np.array([*points[:, :2].mean(axis=0), points[:, 2].max()]) if len(points) else np.zeros(3)
    bumps = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        if sizes_ml[number] >= MIN_CAPSULE_ML:
            index = np.argwhere(parts[box] == number) + [part.start for part in box]
            bumps.append(_bump(head, index, origin, reference, height_mm))
    return tuple(bumps)


def _bump(
    head: Volume,
    index: NDArray[np.intp],
    origin: NDArray[np.float64],
    reference: float,
    height_mm: NDArray[np.float64],
) -> Bump:
    """Measure one component, given by the indices of its voxels, shape (n, 3)."""
    points = spaces.apply(head.affine, index)
    x, y, z = points.mean(axis=0) - origin
    spread = np.cov(points.T) + np.diag(head.zooms_mm**2 / 12)  # a voxel is no point
    axes = np.sqrt(5 * np.linalg.eigvalsh(spread))
    volume_ml = len(index) * head.voxel_ml
    places = tuple(index.T)
    return Bump(
        center_mm=(float(x), float(y), float(-z)),
        volume_ml=volume_ml,
        half_axes_mm=(float(axes[0]), float(axes[1]), float(axes[2])),
        fill=float(volume_ml * 1000 / (4 / 3 * np.pi * axes.prod())),
        brightness=float(np.percentile(head.array[places], 80.0) / max(reference, 1e-6)),
        reach_mm=float(height_mm[places].max()),
        at_edge=bool((index == 0).any() or (index == np.array(head.shape) - 1).any()),
    )


def solid_head(head: Volume) -> tuple[BoolArray, BoolArray]:
    """What is brighter than air, and of that the head itself with everything it encloses in any plane."""
    bright = np.minimum(head.array, np.percentile(head.array, 99.0))
    shown = np.asarray(ndimage.gaussian_filter(bright, 0.5) > 0.5 * masks.otsu(bright))
    solid = masks.largest_component(np.asarray(ndimage.binary_opening(shown)))
    for axis in range(3):  # dark bone opens to the air where the field of view ends, so slices are filled
        planes = np.moveaxis(solid, axis, 0)
        filled = np.stack([ndimage.binary_fill_holes(plane) for plane in planes])
        solid = np.moveaxis(filled, 0, axis)
    return shown, masks.fill_holes(solid)


def _opened(solid: BoolArray, zooms_mm: NDArray[np.float64]) -> BoolArray:
    """The opening by a ball; a head that the grid cuts goes on beyond it."""
    margin = [(int(np.ceil(OPENING_MM / zoom)) + 1,) * 2 for zoom in zooms_mm]
    padded = np.pad(solid, margin, mode="edge")
    opened = masks.dilate(masks.erode(padded, OPENING_MM, zooms_mm), OPENING_MM, zooms_mm)
    return opened[tuple(slice(before, -after) for before, after in margin)]
