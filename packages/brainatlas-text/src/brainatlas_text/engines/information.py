"""Mutual information between a scan and a template under an affine, with its gradient, compiled with numba.

Every voxel of a fixed region is used, so no chance is involved. Scan intensities fall into bins once;
template values are shared between the two nearest bins, so that the measure is smooth in the affine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from brainatlas_text.spaces import Affine

NUM_SCAN_BINS, NUM_TEMPLATE_BINS = 32, 24
_LAST = NUM_TEMPLATE_BINS - 1.001
_EMPTY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Voxels of a scan that are compared."""

    points: NDArray[np.float64]
    """RAS+ mm, shape (n, 3)."""
    bins: NDArray[np.int64]
    """Number of each voxel's intensity bin, shape (n,)."""


def samples_of(points: NDArray[np.float64], values: NDArray[np.float32]) -> Samples:
    """Bins of equal width between the 0.5th and 99.5th percentile of the values."""
    low, high = np.percentile(values, (0.5, 99.5))
    unit = (values - low) / max(float(high - low), 1e-6)
    bins = np.clip(unit * NUM_SCAN_BINS, 0, NUM_SCAN_BINS - 1).astype(np.int64)
    return Samples(np.ascontiguousarray(points, dtype=np.float64), bins)


def information(samples: Samples, template: NDArray[np.float32], template_vox_from_scan: Affine) -> float:
    """Mutual information in nats. `template` holds 0 to 1 and counts as 0 beyond its grid."""
    return _nats(_joint(samples.points, samples.bins, template, template_vox_from_scan))


def information_and_slope(
    samples: Samples, template: NDArray[np.float32], template_vox_from_scan: Affine
) -> tuple[float, NDArray[np.float64]]:
    """The same and its derivative by the affine's twelve entries, shape (3, 4)."""
    counts = _joint(samples.points, samples.bins, template, template_vox_from_scan)
    joint = counts / counts.sum() + _EMPTY
    gains = np.diff(np.log(joint / joint.sum(axis=0)), axis=1)
    slope = _slope(samples.points, samples.bins, template, template_vox_from_scan, gains)
    return _nats(counts), slope / len(samples.bins)


def _nats(counts: NDArray[np.float64]) -> float:
    joint = counts / counts.sum() + _EMPTY
    apart = joint.sum(axis=0) * joint.sum(axis=1, keepdims=True)
    return float((joint * np.log(joint / apart)).sum())


@nb.njit(cache=True, nogil=True)
def _joint(points: Any, bins: Any, template: Any, matrix: Any) -> Any:
    counts = np.zeros((NUM_SCAN_BINS, NUM_TEMPLATE_BINS))
    gradient = np.empty(3)
    for n in range(points.shape[0]):
        value = _value(template, matrix, points[n, 0], points[n, 1], points[n, 2], gradient)
        place = value * _LAST
        below = int(place)
        share = place - below
        counts[bins[n], below] += 1.0 - share
        counts[bins[n], below + 1] += share
    return counts


@nb.njit(cache=True, nogil=True)
def _slope(points: Any, bins: Any, template: Any, matrix: Any, gains: Any) -> Any:
    slope = np.zeros((3, 4))
    gradient = np.empty(3)
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        value = _value(template, matrix, x, y, z, gradient)
        below = int(value * _LAST)
        gain = gains[bins[n], below] * _LAST
        for axis in range(3):
            slope[axis, 0] += gain * gradient[axis] * x
            slope[axis, 1] += gain * gradient[axis] * y
            slope[axis, 2] += gain * gradient[axis] * z
            slope[axis, 3] += gain * gradient[axis]
    return slope


@nb.njit(cache=True, nogil=True)
def _value(template: Any, matrix: Any, x: float, y: float, z: float, gradient: Any) -> Any:
    """Trilinear value at a point; its gradient by the voxel position goes to `gradient`."""
    ni, nj, nk = template.shape
    p = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
    q = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
    r = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
    gradient[:] = 0.0
    if not (0.0 <= p < ni - 1 and 0.0 <= q < nj - 1 and 0.0 <= r < nk - 1):
        return 0.0
    i, j, k = int(p), int(q), int(r)
    u, v, w = p - i, q - j, r - k
    c00 = template[i, j, k] * (1 - w) + template[i, j, k + 1] * w
    c01 = template[i, j + 1, k] * (1 - w) + template[i, j + 1, k + 1] * w
    c10 = template[i + 1, j, k] * (1 - w) + template[i + 1, j, k + 1] * w
    c11 = template[i + 1, j + 1, k] * (1 - w) + template[i + 1, j + 1, k + 1] * w
    low, high = c00 * (1 - v) + c01 * v, c10 * (1 - v) + c11 * v
    gradient[0] = high - low
    gradient[1] = (c01 - c00) * (1 - u) + (c11 - c10) * u
    d00, d01 = template[i, j, k + 1] - template[i, j, k], template[i, j + 1, k + 1] - template[i, j + 1, k]
    d10 = template[i + 1, j, k + 1] - template[i + 1, j, k]
    d11 = template[i + 1, j + 1, k + 1] - template[i + 1, j + 1, k]
    gradient[2] = (d00 * (1 - v) + d01 * v) * (1 - u) + (d10 * (1 - v) + d11 * v) * u
    return low * (1 - u) + high * u
