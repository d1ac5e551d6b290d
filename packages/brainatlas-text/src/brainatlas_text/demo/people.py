"""Synthetic people: the base anatomy bent smoothly and invertibly, each in a way of their own.

A person is drawn from (seed, source, number in the source), so that nobody changes when others are added.
`base_from_person` adds a displacement to a point; it is the exponential of a smooth random velocity, found
by scaling and squaring (Arsigny et al., 2006), so that folds stay folds and nothing tears.
Age opens the ventricles and the sulci.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import spaces
from brainatlas_text.demo import templates
from brainatlas_text.demo.anatomy import FIELD_SHAPE, FIELD_STEP_MM, Anatomy
from brainatlas_text.demo.materials import CORTEX, FloatArray, Material, UInt8Array
from brainatlas_text.records import Sex
from brainatlas_text.spaces import Affine

_BENDS = ((26.0, 4.0), (11.0, 1.8), (6.0, 0.8))
"""Smoothness and rms length of the random velocities, both in mm."""
_MIN_JACOBIAN = 0.2
_VENTRICLE_MM = 6.5
"""How far the walls of the ventricles move apart between 35 and 80 years, about."""
_MIDDLE_YEARS, _LONG_YEARS = 35.0, 45.0
_GOLDEN = 0.6180339887498949
"""Multiples of it, modulo 1, fill the interval evenly however many there are (Weyl)."""
_SOURCE_NUMBERS = {"ibsr": 1, "oasis": 2, "ixi": 3, "kirby": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a person is, as the source's spreadsheet will say."""

    source: str
    number: int
    """Place within the source, from 0."""
    age_years: float
    sex: Sex


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """A person's own anatomy, in a space that differs from the base by `displacement`."""

    identity: Identity
    materials: UInt8Array
    """On the base grid, sulci as open as the age asks."""
    displacement: FloatArray
    """`base = point + displacement(point)` in mm, shape (*FIELD_SHAPE, 3), every `FIELD_STEP_MM`."""
    size: Affine
    """Body size: scales and shears about the origin."""
    min_jacobian: float
    rms_mm: float


def draw_identity(source: str, number: int, seed: int, *, years: tuple[float, float]) -> Identity:
    """Age and sex of a person; the first few of a source already spread over the ages and both sexes."""
    first = np.random.default_rng([seed, _SOURCE_NUMBERS[source]])
    share = (first.random() + number * _GOLDEN) % 1.0
    return Identity(
        source=source,
        number=number,
        age_years=years[0] + share * (years[1] - years[0]),
        sex="FM"[(number + int(first.integers(2))) % 2],  # type: ignore[arg-type]
    )


def rng_of(identity: Identity, seed: int, *purpose: int) -> np.random.Generator:
    """Random numbers of one person for one purpose, the same whoever else is made."""
    return np.random.default_rng([seed, _SOURCE_NUMBERS[identity.source], identity.number, *purpose])


def make_person(anatomy: Anatomy, identity: Identity, seed: int) -> Person:
    """Bend the base anatomy into a person."""
    rng = rng_of(identity, seed, 0)
    aging = float(np.clip((identity.age_years - _MIDDLE_YEARS) / _LONG_YEARS, -0.6, 1.2))
    velocity = _random_velocity(rng)
    velocity += np.float32(_VENTRICLE_MM * aging + rng.normal(0, 0.8)) * anatomy.ventricle_pull
    displacement, smallest = _exponential(velocity)
    return Person(
        identity=identity,
        materials=_open_sulci(anatomy, aging + rng.normal(0, 0.15), rng),
        displacement=displacement,
        size=_size(identity, rng),
        min_jacobian=smallest,
        rms_mm=float(np.sqrt((displacement**2).sum(-1).mean())),
    )


def person_point(person: Person, base_point_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Where a point of the base anatomy lies in the person, by fixed-point iteration. Shape (3,)."""
    base = np.asarray(base_point_mm, dtype=float)
    point = base.copy()
    for _ in range(50):
        index = ((point - templates.BASE_ORIGIN_MM) / FIELD_STEP_MM)[:, None]
        moved = [
            ndimage.map_coordinates(person.displacement[..., axis], index, order=1, mode="nearest")[0]
            for axis in range(3)
        ]
        point = base - moved
    return point


def _random_velocity(rng: np.random.Generator) -> FloatArray:
    velocity = np.zeros((*FIELD_SHAPE, 3), dtype=np.float32)
    for smoothness, length in _BENDS:
        for axis in range(3):
            noise = rng.standard_normal(FIELD_SHAPE, dtype=np.float32)
            noise = ndimage.gaussian_filter(noise, smoothness / FIELD_STEP_MM, mode="nearest")
            noise -= noise.mean()
            velocity[..., axis] += noise * (length / np.sqrt(3) / noise.std())
    return velocity


def _exponential(velocity: FloatArray) -> tuple[FloatArray, float]:
    """Displacement of the flow along a velocity, and its smallest Jacobian; weakened until that is safe."""
    while True:
        displacement: FloatArray = velocity * np.float32(2**-6)
        for _ in range(6):
            displacement = displacement + _at(displacement, displacement)
        smallest = float(_jacobian(displacement).min())
        if smallest >= _MIN_JACOBIAN:
            return displacement, smallest
        velocity = velocity * np.float32(0.85)


def _at(field: FloatArray, displacement: FloatArray) -> FloatArray:
    """The field at displaced points of its own grid."""
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in FIELD_SHAPE), indexing="ij"))
    points = grid + np.moveaxis(displacement, -1, 0) / FIELD_STEP_MM
    sampled = [ndimage.map_coordinates(field[..., a], points, order=1, mode="nearest") for a in range(3)]
    return np.stack(sampled, axis=-1)


def _jacobian(displacement: FloatArray) -> FloatArray:
    """Determinant of the derivative of `point + displacement(point)` on the field's grid."""
    rows = [np.stack(np.gradient(displacement[..., a], FIELD_STEP_MM), axis=-1) for a in range(3)]
    derivative = np.stack(rows, axis=-2) + np.eye(3, dtype=np.float32)
    determinant: FloatArray = np.linalg.det(derivative)
    return determinant


def _open_sulci(anatomy: Anatomy, opening: float, rng: np.random.Generator) -> UInt8Array:
    """Turn cortex beside wide sulci to CSF (`opening` > 0) or fill narrow sulci with cortex (< 0)."""
    brain = anatomy.brain
    noise = rng.standard_normal([-(-n // 8) for n in brain.mask.shape], dtype=np.float32)
    zoom = [n / m for n, m in zip(brain.mask.shape, noise.shape, strict=True)]
    uneven = ndimage.zoom(ndimage.gaussian_filter(noise, 1.0), zoom, order=1)
    local = opening + 1.2 * uneven
    cortex = np.isin(brain.materials, CORTEX)
    sulcal = brain.neighbors > 0
    openness = brain.openness.astype(np.float32) / 255
    materials = brain.materials.copy()
    wider = cortex & (openness > 0.55 - 0.2 * local)
    materials[wider] = Material.SULCAL_CSF
    filled = sulcal & (openness < 0.30 - 0.2 * local)
    materials[filled] = brain.neighbors[filled]
    whole = anatomy.materials.copy()
    whole[brain.box][brain.mask] = materials[brain.mask]
    return whole


def _size(identity: Identity, rng: np.random.Generator) -> Affine:
    mean = 1.01 if identity.sex == "M" else 0.96
    if identity.age_years < 14:
        mean *= 0.97
    scales = mean * (1 + rng.normal(0, 0.02)) * (1 + rng.normal(0, 0.025, 3))
    size = spaces.translation((0, 0, 0))
    size[:3, :3] = np.diag(scales) @ (np.eye(3) + np.triu(rng.normal(0, 0.02, (3, 3)), 1))
    return size
