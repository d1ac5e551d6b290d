"""How alike two aligned images of one brain are, whatever their sequences: normalized mutual information.

Measured in one way for all (Studholme et al., Pattern Recognition 1999), after and apart from the optimizer,
whose own value depends on its grid, its sampling and the empty space around: on voxels of about 3 mm of the
fixed image, where both masks are. There a brain's outline tells nothing, so that noise cut to the shape of a
brain scores as noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import resample
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

GRID_MM = 3.0
NUM_BINS = 24
"""Bins a side, each with as many voxels as any other: brightness and contrast do not count."""
_FEWEST = 1000
"""Voxels in common below which nothing can be said."""


def of_images(
    fixed: Volume, moving: Volume, moving_from_fixed: Affine, masks: tuple[Volume, Volume]
) -> float:
    """Normalized mutual information, 0 (independent) to 1 (one tells the other), under an affine.

    `masks` are those of the fixed and of the moving image, on their grids. 0.0 for masks that hardly meet.
    """
    grid = volumes.thin_to(fixed, GRID_MM)
    source = volumes.thin_to(moving, GRID_MM)
    inside = _mask(masks[0]).array == 1.0
    shown = _mask(masks[1])
    vox = moving_from_fixed @ grid.affine
    box = ((0, 0, 0), grid.shape)
    inside &= resample.linear(shown.array, spaces.invert(shown.affine) @ vox, box) > 0.99
    values = resample.linear(source.array, spaces.invert(source.affine) @ vox, box)
    return of_values(grid.array[inside], values[inside])


def on_one_grid(one: Volume, other: Volume, inside: NDArray[np.bool_]) -> float:
    """The same for two images on one grid, such as a warped one on the hub's, where `inside` is True."""
    share = volumes.thin_to(Volume(inside.astype(np.float32), one.affine), GRID_MM).array == 1.0
    values = (volumes.thin_to(image, GRID_MM).array[share] for image in (one, other))
    return of_values(*values)


def of_values(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The same for corresponding voxels: `(H(one) + H(other)) / H(one, other) - 1`.

    The mutual information that independent values would show, having so few voxels, is taken off
    (Miller-Madow); 0.0 for fewer than 1000 voxels and for constant values.
    """
    if one.size < _FEWEST:
        return 0.0
    joint = np.bincount(_ranked(one) * NUM_BINS + _ranked(other), minlength=NUM_BINS**2).reshape(NUM_BINS, -1)
    alone, beside, together = (_entropy(counts) for counts in (joint.sum(axis=1), joint.sum(axis=0), joint))
    used = np.count_nonzero(joint.sum(axis=1)), np.count_nonzero(joint.sum(axis=0))
    chance = (used[0] - 1) * (used[1] - 1) / (2 * one.size)
    return float(max(alone + beside - together - chance, 0.0) / together) if together > 0 else 0.0


def _mask(mask: Volume) -> Volume:
    return volumes.thin_to(Volume((mask.array > 0).astype(np.float32), mask.affine), GRID_MM)


def _ranked(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Number of each value's bin; equal values share one."""
    edges = np.quantile(values, np.linspace(0, 1, NUM_BINS + 1)[1:-1])
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
