"""Resampling through an affine, compiled with numba: whole boxes, one core, no threads.

Voxel indices are (i, j, k); `source_from_target_vox` maps target indices to source indices. Points outside
the source read 0. Linear interpolation follows scipy's `order=1, mode="constant"`.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from brainatlas_text import spaces
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

Box = tuple[tuple[int, int, int], tuple[int, int, int]]
"""First index and shape of a part of the target grid."""


def linear(source: NDArray[Any], source_from_target_vox: Affine, box: Box) -> NDArray[np.float32]:
    """Trilinear samples of `source` in a box of the target grid."""
    start, shape = box
    out = np.empty(shape, dtype=np.float32)
    _linear(source, np.ascontiguousarray(source_from_target_vox, dtype=np.float64), np.array(start), out)
    return out


def nearest(source: NDArray[Any], source_from_target_vox: Affine, box: Box) -> NDArray[Any]:
    """Nearest-neighbor samples of `source` in a box of the target grid, in its own dtype."""
    start, shape = box
    out = np.empty(shape, dtype=source.dtype)
    _nearest(source, np.ascontiguousarray(source_from_target_vox, dtype=np.float64), np.array(start), out)
    return out


def share_outside(source: NDArray[Any], target_from_source_vox: Affine, box: Box) -> float:
    """Share of the non-zero voxels of `source` whose nearest target voxel lies outside of the box, 0 to 1."""
    start, shape = np.array(box[0]), np.array(box[1])
    matrix = np.ascontiguousarray(target_from_source_vox, dtype=np.float64)
    total, inside = _inside(source, matrix, start, start + shape)
    return 1.0 - inside / total if total else 0.0


def same_box(one: Volume, other: Volume) -> bool:
    """Whether two grids cover the same box of the world to within a voxel."""
    tolerance_mm = float(max(one.zooms_mm.max(), other.zooms_mm.max()))
    return bool(np.abs(_corners(one) - _corners(other)).max() <= tolerance_mm)


def onto(labels: Volume, grid: Volume) -> NDArray[np.uint8]:
    """Nearest values of a uint8 map on the other volume's grid."""
    if labels.shape == grid.shape and np.allclose(labels.affine, grid.affine, atol=1e-3):
        return np.asarray(labels.array, dtype=np.uint8)
    labels_from_grid_vox = spaces.invert(labels.affine) @ grid.affine
    return np.asarray(nearest(labels.array, labels_from_grid_vox, ((0, 0, 0), grid.shape)), dtype=np.uint8)


def _corners(volume: Volume) -> NDArray[np.float64]:
    ends = np.array(list(np.ndindex(2, 2, 2))) * volume.shape - 0.5
    return spaces.apply(volume.affine, ends)


def box_of(mask: NDArray[Any]) -> Box:
    """The smallest box that holds every non-zero voxel; an empty box for an empty mask."""
    spans = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append((int(used[0]), int(used[-1] - used[0] + 1)) if used.size else (0, 0))
    return (spans[0][0], spans[1][0], spans[2][0]), (spans[0][1], spans[1][1], spans[2][1])


@nb.njit(cache=True, nogil=True)
def _linear(source, matrix, start, out):  # type: ignore[no-untyped-def]
    ni, nj, nk = source.shape
    for a in range(out.shape[0]):
        for b in range(out.shape[1]):
            ta, tb = start[0] + a, start[1] + b
            x0 = matrix[0, 0] * ta + matrix[0, 1] * tb + matrix[0, 3]
            y0 = matrix[1, 0] * ta + matrix[1, 1] * tb + matrix[1, 3]
            z0 = matrix[2, 0] * ta + matrix[2, 1] * tb + matrix[2, 3]
            for c in range(out.shape[2]):
                tc = start[2] + c
                x, y, z = x0 + matrix[0, 2] * tc, y0 + matrix[1, 2] * tc, z0 + matrix[2, 2] * tc
                if not (0.0 <= x <= ni - 1 and 0.0 <= y <= nj - 1 and 0.0 <= z <= nk - 1):
                    out[a, b, c] = 0.0
                    continue
                i, j, k = min(int(x), ni - 2), min(int(y), nj - 2), min(int(z), nk - 2)
                u, v, w = x - i, y - j, z - k
                low = (source[i, j, k] * (1 - w) + source[i, j, k + 1] * w) * (1 - v)
                low += (source[i, j + 1, k] * (1 - w) + source[i, j + 1, k + 1] * w) * v
                high = (source[i + 1, j, k] * (1 - w) + source[i + 1, j, k + 1] * w) * (1 - v)
                high += (source[i + 1, j + 1, k] * (1 - w) + source[i + 1, j + 1, k + 1] * w) * v
                out[a, b, c] = low * (1 - u) + high * u


@nb.njit(cache=True, nogil=True)
def _nearest(source, matrix, start, out):  # type: ignore[no-untyped-def]
    ni, nj, nk = source.shape
    for a in range(out.shape[0]):
        for b in range(out.shape[1]):
            ta, tb = start[0] + a, start[1] + b
            x0 = matrix[0, 0] * ta + matrix[0, 1] * tb + matrix[0, 3] + 0.5
            y0 = matrix[1, 0] * ta + matrix[1, 1] * tb + matrix[1, 3] + 0.5
            z0 = matrix[2, 0] * ta + matrix[2, 1] * tb + matrix[2, 3] + 0.5
            for c in range(out.shape[2]):
                tc = start[2] + c
                i = int(np.floor(x0 + matrix[0, 2] * tc))
                j = int(np.floor(y0 + matrix[1, 2] * tc))
                k = int(np.floor(z0 + matrix[2, 2] * tc))
                if 0 <= i < ni and 0 <= j < nj and 0 <= k < nk:
                    out[a, b, c] = source[i, j, k]
                else:
                    out[a, b, c] = 0


@nb.njit(cache=True, nogil=True)
def _inside(source, matrix, low, high):  # type: ignore[no-untyped-def]
    total, inside = 0, 0
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            x0 = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 3] + 0.5
            y0 = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 3] + 0.5
            z0 = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 3] + 0.5
            for k in range(source.shape[2]):
                if source[i, j, k] == 0:
                    continue
                total += 1
                x, y, z = x0 + matrix[0, 2] * k, y0 + matrix[1, 2] * k, z0 + matrix[2, 2] * k
                if low[0] <= x < high[0] and low[1] <= y < high[1] and low[2] <= z < high[2]:
                    inside += 1
    return total, inside
