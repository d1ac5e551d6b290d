"""Shift one voter's labels, block by block, to where the target's brightness is likeliest under them.

What registration to the hub leaves between two people is a few millimeters. Each block of the target tries
all shifts of a small lattice; a shift costs the mean negative log likelihood of the block's voxels under the
labels found there, so that no common contrast is needed: a T1w person's labels match a FLAIR scan. Costs are
averaged with the neighbors' before the best shift is taken (a soft minimum, between lattice points), and
shifts are smoothed after. The search over a dense lattice follows deeds (Heinrich et al., IEEE TMI 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_TEMPERATURE = 0.02
"""Nats a voxel: shifts whose costs differ by less share the weight."""
_BLOCK_SMOOTHING = 0.7
"""Standard deviation, in blocks, over which costs are averaged."""
_SHIFT_SMOOTHING = 1.0
"""Standard deviation, in blocks, over which the found shifts are averaged."""
_SAMPLES_MM = 1.5
"""Distance of the voxels that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One level of the search."""

    block_mm: float
    step_mm: float
    """Distance of the lattice's points."""
    radius: int
    """Lattice points to each side."""
    stiffness: float = 0.002
    """Nats a voxel that a shift costs for each square millimeter."""


@dataclass(frozen=True, slots=True, eq=False)
class Shifts:
    """Where each voter's label map is read: a shift in voxels for each block, shape (3, blocks...)."""

    vectors: NDArray[np.float32]
    block_vox: NDArray[np.float64]
    """Voxels of a block along each axis, with fraction."""
    fit: NDArray[np.float32]
    """Mean log likelihood of the block's voxels at the shift, smoothed; shape (blocks...)."""


def search(
    steps: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    labels: NDArray[np.uint8],
    likelihoods: NDArray[np.float32],
    zooms_mm: NDArray[np.float64],
    level: Search,
    before: Shifts | None = None,
) -> Shifts:
    """Find the shifts of one voter's labels, from those of a coarser level on.

    `steps` is the target's brightness, `labels` the voter's map on the same grid, `likelihoods` the table of
    engines.intensity_model.
    """
    block_vox = level.block_mm / zooms_mm
    blocks = tuple(int(n) for n in np.ceil(np.array(steps.shape) / block_vox))
    start = _resampled(before, blocks)
    offsets_mm = level.step_mm * np.array(list(np.ndindex(*(2 * level.radius + 1,) * 3))) - (
        level.step_mm * level.radius
    )
    offsets = (offsets_mm / zooms_mm).astype(np.float32)
    stride = np.maximum(np.rint(_SAMPLES_MM / zooms_mm), 1).astype(np.int64)
    costs = np.zeros((*blocks, len(offsets)), dtype=np.float32)
    counts = np.zeros(blocks, dtype=np.float32)
    _costs(steps, inside, labels, likelihoods, start, block_vox, offsets, stride, costs, counts)
    sigma = (_BLOCK_SMOOTHING,) * 3
    weight = ndimage.gaussian_filter(counts, sigma)
    costs = ndimage.gaussian_filter(costs, (*sigma, 0)) / np.maximum(weight, 0.3)[..., None]
    priced = costs + (level.stiffness * (offsets_mm**2).sum(axis=1)).astype(np.float32)
    share = np.exp((priced.min(axis=-1, keepdims=True) - priced) / _TEMPERATURE)
    share /= share.sum(axis=-1, keepdims=True)
    found = np.moveaxis(share @ offsets, -1, 0)
    return Shifts(
        vectors=(start + _smoothed(found, weight / (weight + 1))).astype(np.float32),
        block_vox=block_vox,
        fit=-(share * costs).sum(axis=-1),
    )


def shifted(labels: NDArray[np.uint8], shifts: Shifts) -> NDArray[np.uint8]:
    """The label map read at the shifts, interpolated between the blocks' centers; nearest neighbor."""
    moved = np.zeros_like(labels)
    _read_shifted(labels, shifts.vectors, shifts.block_vox, moved)
    return moved


def _resampled(before: Shifts | None, blocks: tuple[int, ...]) -> NDArray[np.float32]:
    if before is None:
        return np.zeros((3, *blocks), dtype=np.float32)
    factors = np.array(blocks) / before.fit.shape
    moved = [ndimage.zoom(v, factors, order=1, mode="nearest", grid_mode=True) for v in before.vectors]
    return np.stack(moved).astype(np.float32)


def _smoothed(vectors: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    total = np.maximum(ndimage.gaussian_filter(weight, _SHIFT_SMOOTHING), 1e-3)
    return np.stack([ndimage.gaussian_filter(v * weight, _SHIFT_SMOOTHING) / total for v in vectors])


@nb.njit(cache=True, nogil=True)
def _costs(steps, inside, labels, likelihoods, start, block, offsets, stride, costs, counts):  # type: ignore[no-untyped-def]
    ni, nj, nk = steps.shape
    bi, bj, bk = counts.shape
    for i in range(bi):
        for j in range(bj):
            for k in range(bk):
                seen = 0
                for x in range(int(i * block[0]), min(int((i + 1) * block[0]), ni), stride[0]):
                    for y in range(int(j * block[1]), min(int((j + 1) * block[1]), nj), stride[1]):
                        for z in range(int(k * block[2]), min(int((k + 1) * block[2]), nk), stride[2]):
                            if not inside[x, y, z]:
                                continue
                            seen += 1
                            step = steps[x, y, z]
                            u = x + start[0, i, j, k] + 0.5
                            v = y + start[1, i, j, k] + 0.5
                            w = z + start[2, i, j, k] + 0.5
                            for n in range(offsets.shape[0]):
                                a = int(np.floor(u + offsets[n, 0]))
                                b = int(np.floor(v + offsets[n, 1]))
                                c = int(np.floor(w + offsets[n, 2]))
                                label = 0
                                if 0 <= a < ni and 0 <= b < nj and 0 <= c < nk:
                                    label = labels[a, b, c]
                                costs[i, j, k, n] -= likelihoods[label, step]
                counts[i, j, k] = seen


@nb.njit(cache=True, nogil=True)
def between(position, block, size):  # type: ignore[no-untyped-def]
    """The two blocks whose centers lie around a voxel along one axis, and the share of the second."""
    place = (position + 0.5) / block - 0.5
    low = int(np.floor(place))
    return min(max(low, 0), size - 1), min(max(low + 1, 0), size - 1), place - low


@nb.njit(cache=True, nogil=True)
def interpolated(field, i, i2, u, j, j2, v, k, k2, w):  # type: ignore[no-untyped-def]
    """Trilinear value of a field on blocks at a place given by `between` for each axis."""
    low = (field[i, j, k] * (1 - w) + field[i, j, k2] * w) * (1 - v)
    low += (field[i, j2, k] * (1 - w) + field[i, j2, k2] * w) * v
    high = (field[i2, j, k] * (1 - w) + field[i2, j, k2] * w) * (1 - v)
    high += (field[i2, j2, k] * (1 - w) + field[i2, j2, k2] * w) * v
    return low * (1 - u) + high * u


@nb.njit(cache=True, nogil=True)
def _read_shifted(labels, vectors, block, moved):  # type: ignore[no-untyped-def]
    ni, nj, nk = labels.shape
    bi, bj, bk = vectors.shape[1:]
    for x in range(ni):
        i, i2, u = between(x, block[0], bi)
        for y in range(nj):
            j, j2, v = between(y, block[1], bj)
            for z in range(nk):
                k, k2, w = between(z, block[2], bk)
                a = int(np.floor(x + 0.5 + interpolated(vectors[0], i, i2, u, j, j2, v, k, k2, w)))
                b = int(np.floor(y + 0.5 + interpolated(vectors[1], i, i2, u, j, j2, v, k, k2, w)))
                c = int(np.floor(z + 0.5 + interpolated(vectors[2], i, i2, u, j, j2, v, k, k2, w)))
                if 0 <= a < ni and 0 <= b < nj and 0 <= c < nk:
                    moved[x, y, z] = labels[a, b, c]
