"""A scanner with a person in it: grids in the scanner's world, poses, and the truth that is known of each.

`Camera.take` places a person at the center of a grid, turned a little, and returns a `Scan` whose arrays lie
on the grid in the order in which they will be stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainatlas_text import spaces
from brainatlas_text.demo.anatomy import Anatomy
from brainatlas_text.demo.contrast import Look, acquire
from brainatlas_text.demo.materials import FloatArray, Point, UInt8Array, is_brain, structures
from brainatlas_text.demo.people import Identity, Person, make_person, person_point, rng_of
from brainatlas_text.spaces import Affine

_MIDDLE_MM = (0.0, -18.0, 2.0)
"""The point of the base anatomy that lies near the center of a scan."""
TALAIRACH_FROM_BASE = np.diag([0.93, 0.955, 0.92, 1.0])
"""MNI152 brains are larger than the Talairach atlas that OASIS's T88 images are fitted to."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Where the voxels of a scan lie."""

    shape: tuple[int, int, int]
    affine: Affine
    """Of the array as stored -> RAS+ mm."""

    @property
    def center_mm(self) -> NDArray[np.float64]:
        """World position of the center, shape (3,)."""
        center: NDArray[np.float64] = spaces.apply(self.affine, (np.asarray(self.shape) - 1) / 2)
        return center


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """A simulated scan and what is true of it."""

    identity: Identity
    grid: Grid
    look: Look
    signal: FloatArray
    """About 0 to 1.3."""
    materials: UInt8Array
    marker_mm: Point | None
    """World position of the marker's center; None where the scan has none."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The brain with the CSF between its folds."""
        return is_brain(self.materials)

    @property
    def dseg(self) -> UInt8Array:
        """Structures in canonical numbers."""
        return structures(self.materials)

    def counts(self, scale: float, *, stripped: bool = False) -> NDArray[np.int16]:
        """Intensities as whole numbers, `scale` for a signal of 1; 0 outside the brain if stripped."""
        counts = np.rint(self.signal * np.float32(scale)).astype(np.int16)
        return np.where(self.mask, np.maximum(counts, 1), np.int16(0)) if stripped else counts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camera:
    """Takes scans of people that descend from one anatomy."""

    anatomy: Anatomy
    seed: int

    def person(self, identity: Identity) -> Person:
        """The person behind an identity."""
        return make_person(self.anatomy, identity, self.seed)

    def take(self, person: Person, grid: Grid, look: Look, session: int, *, talairach: bool = False) -> Scan:
        """Scan a person. `session` numbers a person's scans: pose, shading and noise are drawn from it."""
        rng = rng_of(person.identity, self.seed, 1, session)
        scanner_from_person = _pose(person, grid, rng, talairach=talairach)
        person_from_voxel = spaces.invert(scanner_from_person) @ grid.affine
        acquired = acquire(person, self.anatomy.detail, person_from_voxel, grid.shape, look, rng)
        return Scan(
            identity=person.identity,
            grid=grid,
            look=look,
            signal=acquired.signal,
            materials=acquired.materials,
            marker_mm=self._marker(person, grid, scanner_from_person) if look.marker else None,
        )

    def _marker(self, person: Person, grid: Grid, scanner_from_person: Affine) -> Point | None:
        """Where the marker's center lies in the scanner, None if the field of view cuts the marker."""
        marker = spaces.apply(scanner_from_person, person_point(person, self.anatomy.marker_mm))
        voxel = spaces.apply(spaces.invert(grid.affine), marker)
        if (voxel < 3).any() or (voxel > np.asarray(grid.shape) - 4).any():
            return None
        x, y, z = (float(value) for value in marker)
        return x, y, z


def _pose(person: Person, grid: Grid, rng: np.random.Generator, *, talairach: bool) -> Affine:
    """`scanner_from_person`: the head near the center of the grid, a few degrees and millimeters off."""
    if talairach:
        turn = _rotation(rng.normal(0, 0.7, 3))
        shift = rng.normal(0, 0.8, 3)
        middle = spaces.apply(TALAIRACH_FROM_BASE, (0.0, -16.0, 4.0))
        fitted: Affine = spaces.translation(grid.center_mm + shift - middle) @ turn @ TALAIRACH_FROM_BASE
        return fitted
    turn = _rotation(rng.normal(0, (4.0, 2.5, 2.5)))
    middle = spaces.apply(turn @ person.size, _MIDDLE_MM)
    shift = rng.normal(0, 1.5, 3)
    pose: Affine = spaces.translation(grid.center_mm + shift - middle) @ turn @ person.size
    return pose


def _rotation(degrees: NDArray[np.float64]) -> Affine:
    """Turns about x (nodding), then y (tilting), then z (shaking)."""
    turn = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(4)
        step[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = step @ turn
    return turn
