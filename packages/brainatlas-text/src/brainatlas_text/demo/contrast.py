"""What a scanner makes of a person: signals by sequence, partial volume, coil shading, noise.

Input: a `Person`, a grid and a pose. Output: `Acquisition`, magnitude image and the materials behind it.
Each voxel mixes the signals of the eight base voxels around its point, then a blur stands for the point
spread of the scanner; shading multiplies, and the noise is Rician (Gudbjartsson and Patz, 1995).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import spaces
from brainatlas_text.demo.anatomy import BASE_FROM_FIELD, FIELD_STEP_MM
from brainatlas_text.demo.materials import VENTRICLES, FloatArray, Material, UInt8Array
from brainatlas_text.demo.people import Person
from brainatlas_text.records import SEQUENCES, Sequence
from brainatlas_text.spaces import Affine

_SIGNALS: dict[str, tuple[tuple[int, ...], tuple[float, float, float]]] = {
    # materials, then their signals in T1w, T2w and FLAIR
    "white matter": ((2, 41), (0.86, 0.34, 0.50)),
    "cortex": ((3, 42), (0.58, 0.54, 0.66)),
    "fluid": ((*VENTRICLES, 24, Material.SULCAL_CSF, Material.OUTER_CSF), (0.20, 1.00, 0.13)),
    "cerebellar white matter": ((7, 46), (0.82, 0.36, 0.52)),
    "cerebellar cortex": ((8, 47), (0.57, 0.52, 0.62)),
    "thalamus": ((10, 49), (0.71, 0.44, 0.58)),
    "caudate": ((11, 50), (0.61, 0.48, 0.63)),
    "putamen": ((12, 51), (0.66, 0.43, 0.59)),
    "pallidum": ((13, 52), (0.78, 0.29, 0.47)),
    "brain stem": ((16,), (0.77, 0.40, 0.55)),
    "hippocampus": ((17, 53), (0.57, 0.56, 0.70)),
    "amygdala": ((18, 54), (0.57, 0.55, 0.70)),
    "accumbens": ((26, 58), (0.60, 0.50, 0.65)),
    "ventral diencephalon": ((28, 60), (0.74, 0.41, 0.56)),
    "dura": ((Material.DURA,), (0.32, 0.18, 0.25)),
    "bone": ((Material.BONE,), (0.07, 0.05, 0.06)),
    "marrow": ((Material.MARROW,), (0.62, 0.42, 0.30)),
    "fat": ((Material.FAT,), (1.12, 0.72, 0.42)),
    "skin": ((Material.SKIN,), (0.55, 0.36, 0.40)),
    "muscle": ((Material.MUSCLE,), (0.44, 0.20, 0.30)),
    "eye": ((Material.EYE,), (0.20, 1.02, 0.16)),
    "lens": ((Material.LENS,), (0.42, 0.18, 0.30)),
    "mucosa": ((Material.MUCOSA,), (0.45, 0.80, 0.60)),
    "cord": ((Material.CORD,), (0.74, 0.40, 0.55)),
}
_MARKER_SIGNAL = 1.35
_DETAIL_SPAN = 21.0
"""Grey to white matter in units of the template's detail."""
_TEXTURE_SIZE = 64
"""Voxels along each side of the texture; a power of two."""
_GRAIN = np.float32(0.025)
"""Strength of the texture, as a share of the signal."""
_STRUCTURES_WITH_DETAIL = tuple(
    number for numbers, _ in _SIGNALS.values() for number in numbers if number < 100
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a scan is taken, beyond its grid."""

    sequence: Sequence
    shading: float = 0.2
    """Strength of the coil's shading: log signal from brightest to darkest corner, about."""
    noise: float = 0.02
    """Standard deviation of the noise; white matter in T1w has signal 0.86."""
    blur_voxels: float = 0.45
    marker: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Acquisition:
    """A simulated scan on its grid: signal about 0 to 1.3 (float32) and the material of each voxel."""

    signal: FloatArray
    materials: UInt8Array


def acquire(
    person: Person,
    detail: NDArray[np.int8],
    person_from_voxel: Affine,
    shape: tuple[int, int, int],
    look: Look,
    rng: np.random.Generator,
) -> Acquisition:
    """Scan a person on a grid of `shape` whose voxels `person_from_voxel` maps into the person (mm)."""
    signals, slopes = _signal_tables(look, person.identity.age_years, rng)
    field_from_voxel = spaces.invert(BASE_FROM_FIELD) @ person_from_voxel
    texture_offset = rng.integers(0, _TEXTURE_SIZE, 3)
    clean = np.zeros(shape, dtype=np.float32)
    materials = np.zeros(shape, dtype=np.uint8)
    _sample(
        person.materials, detail, person.displacement, _texture(), texture_offset,
        field_from_voxel, signals, slopes, clean, materials,
    )  # fmt: skip
    clean = ndimage.gaussian_filter(clean, look.blur_voxels, truncate=2.0)
    for line in _shading(shape, look.shading, rng):
        clean *= line
    return Acquisition(signal=_with_noise(clean, look.noise, rng), materials=materials)


def _signal_tables(look: Look, age_years: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Signal by material, and how strongly the template's detail shows in it. Shape (256,) each."""
    column = SEQUENCES.index(look.sequence)
    signals = np.zeros(256, dtype=np.float32)
    for materials, by_sequence in _SIGNALS.values():
        signals[list(materials)] = by_sequence[column] * (1 + rng.normal(0, 0.02))
    fading = np.clip((age_years - 40) / 40, -0.5, 1) * 0.12  # contrast of grey and white fades with age
    signals[[2, 41]] += fading * (signals[3] - signals[2])
    slopes = np.zeros(256, dtype=np.float32)
    contrast = (signals[2] - signals[3]) / _DETAIL_SPAN
    slopes[list(_STRUCTURES_WITH_DETAIL)] = contrast * rng.uniform(0.8, 1.1)
    if look.marker:
        signals[Material.MARKER] = _MARKER_SIGNAL
    return signals, slopes


def _texture() -> FloatArray:
    """Fine unevenness of tissue, periodic, standard deviation 1."""
    noise = np.random.default_rng(0).standard_normal([_TEXTURE_SIZE] * 3, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, 1.3, mode="wrap")
    unit: FloatArray = (smooth / smooth.std()).astype(np.float32)
    return unit


def _shading(shape: tuple[int, int, int], strength: float, rng: np.random.Generator) -> list[FloatArray]:
    """One factor an axis; their product is a smooth coil sensitivity."""
    factors = []
    for axis, length in enumerate(shape):
        x = np.linspace(-1, 1, length, dtype=np.float32)
        slope, bend = rng.normal(0, 0.5, 2) * strength
        line = np.exp(slope * x + bend * (x**2 - 1 / 3)).astype(np.float32)
        factors.append(line.reshape([-1 if a == axis else 1 for a in range(3)]))
    return factors


def _with_noise(clean: FloatArray, sigma: float, rng: np.random.Generator) -> FloatArray:
    """Magnitude of a complex signal with Gaussian noise in both channels."""
    real = rng.standard_normal(clean.shape, dtype=np.float32)
    real *= sigma
    real += clean
    imaginary = rng.standard_normal(clean.shape, dtype=np.float32)
    imaginary *= sigma
    return np.hypot(real, imaginary, out=real)


@nb.njit(cache=True, nogil=True)
def _sample(
    base: Any, detail: Any, displacement: Any, texture: Any, texture_offset: Any,
    field_from_voxel: Any, signals: Any, slopes: Any, signal_out: Any, material_out: Any,
) -> None:  # fmt: skip
    """Fill signal (linear over eight base voxels) and material (nearest) of every voxel of a scan."""
    m = field_from_voxel.astype(np.float32)
    step, half = np.float32(FIELD_STEP_MM), np.float32(0.5)
    wrap = texture.shape[0] - 1
    for i in range(signal_out.shape[0]):
        for j in range(signal_out.shape[1]):
            for k in range(signal_out.shape[2]):
                p = m[0, 0] * i + m[0, 1] * j + m[0, 2] * k + m[0, 3]
                q = m[1, 0] * i + m[1, 1] * j + m[1, 2] * k + m[1, 3]
                r = m[2, 0] * i + m[2, 1] * j + m[2, 2] * k + m[2, 3]
                u, v, w = _moved(displacement, p, q, r)
                x, y, z = p * step + u, q * step + v, r * step + w
                if x < 0 or y < 0 or z < 0:
                    continue
                if x >= base.shape[0] - 1 or y >= base.shape[1] - 1 or z >= base.shape[2] - 1:
                    continue
                grain = texture[
                    (int(x) + texture_offset[0]) & wrap,
                    (int(y) + texture_offset[1]) & wrap,
                    (int(z) + texture_offset[2]) & wrap,
                ]
                mixed = _mixed(base, detail, x, y, z, signals, slopes)
                signal_out[i, j, k] = max(mixed, np.float32(0)) * (1 + _GRAIN * grain)
                material_out[i, j, k] = base[int(x + half), int(y + half), int(z + half)]


@nb.njit(cache=True, nogil=True)
def _moved(displacement: Any, p: Any, q: Any, r: Any) -> Any:
    """The displacement at a point in voxels of its grid, linear between, constant beyond the edges."""
    zero, one, edge = np.float32(0), np.float32(1), np.float32(1.001)
    a = min(max(p, zero), np.float32(displacement.shape[0]) - edge)
    b = min(max(q, zero), np.float32(displacement.shape[1]) - edge)
    c = min(max(r, zero), np.float32(displacement.shape[2]) - edge)
    i, j, k = int(a), int(b), int(c)
    ta, tb, tc = a - np.float32(i), b - np.float32(j), c - np.float32(k)
    x = y = z = zero
    for di in range(2):
        wi = ta if di else one - ta
        for dj in range(2):
            wj = wi * (tb if dj else one - tb)
            for dk in range(2):
                weight = wj * (tc if dk else one - tc)
                x += weight * displacement[i + di, j + dj, k + dk, 0]
                y += weight * displacement[i + di, j + dj, k + dk, 1]
                z += weight * displacement[i + di, j + dj, k + dk, 2]
    return x, y, z


@nb.njit(cache=True, nogil=True)
def _mixed(base: Any, detail: Any, x: Any, y: Any, z: Any, signals: Any, slopes: Any) -> Any:
    """Signal of the eight base voxels around a point inside the grid, by their share."""
    one = np.float32(1)
    i, j, k = int(x), int(y), int(z)
    tx, ty, tz = x - np.float32(i), y - np.float32(j), z - np.float32(k)
    total = np.float32(0)
    for di in range(2):
        wi = tx if di else one - tx
        for dj in range(2):
            wj = wi * (ty if dj else one - ty)
            for dk in range(2):
                material = base[i + di, j + dj, k + dk]
                shade = np.float32(detail[i + di, j + dj, k + dk])
                signal = signals[material] + slopes[material] * shade
                total += wj * (tz if dk else one - tz) * signal
    return total
