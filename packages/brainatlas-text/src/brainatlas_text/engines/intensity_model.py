"""How bright each structure is in one scan: a robust Gaussian each, and the likelihood of every brightness.

Structures of one tissue share a Gaussian: left and right of one name, and all that holds cerebrospinal fluid,
because a ventricle's own Gaussian drifts to the white matter around it where the first labels miss it.
Brightness is the image in 256 steps, so that a likelihood is a table of 256 labels by 256 steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text.labels import canonical_table

BoolArray = NDArray[np.bool_]
STEPS = 256
_FLUID_GROUPS = ("ventricle", "fluid")
_MIN_SPREAD = 10.0
"""Least standard deviation in steps; thinner Gaussians lose voxels of partial volume."""
_OUTLIERS = 0.01
"""Share of voxels of any brightness."""
_SURE_PERCENT = 80
"""Agreement from which a voxel counts where a Gaussian is fitted."""
_ENOUGH = 60
"""Voxels that a Gaussian is fitted to; with fewer sure ones, unsure ones count too."""
_COMMON_SHARE = 0.5
"""How far a tissue's spread is drawn to the median of all: else the wider of two neighbors takes the voxels
of partial volume between them, cortex those of white matter."""
_GAIN_BLUR_MM, _GAIN_GRID_MM = 15.0, 4.0
"""Changes of brightness slower than this are the coil's; found on this grid."""
_HALF_TO_SD = 1.349
"""Width of the middle half of a Gaussian in standard deviations."""
_TRIM_SD, _TRIM_GAIN = 2.0, 1.14
"""Voxels within so many deviations are averaged; their spread times the gain is that of all."""


@cache
def tissues() -> NDArray[np.intp]:
    """Which label's Gaussian each label shares, shape (256,): the smallest number of its tissue."""
    shared = np.arange(256, dtype=np.intp)
    first: dict[str, int] = {}
    for number, row in sorted(canonical_table().items()):
        tissue = "fluid" if row.group in _FLUID_GROUPS else row.name
        shared[number] = first.setdefault(tissue, number)
    shared[0] = first["fluid"]  # what nobody labels within a brain mask is mostly sulcal fluid
    return shared


def brightness(image: NDArray[Any], inside: BoolArray) -> NDArray[np.uint8]:
    """The image in 256 steps between its 0.5 and 99.5 percentiles within the mask."""
    low, high = np.percentile(image[inside], (0.5, 99.5))
    scaled = (image.astype(np.float32) - low) * np.float32((STEPS - 1) / max(float(high - low), 1.0))
    steps: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, STEPS - 1)).astype(np.uint8)
    return steps


def evened(
    image: NDArray[np.uint16], labels: NDArray[np.uint8], inside: BoolArray, zooms_mm: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The image without slow changes of brightness that its present labels do not explain.

    The gain is the ratio of the smoothed image to the smoothed image of every tissue's median, on a coarse
    grid; where little is labeled around, it goes to 1.
    """
    stride = np.maximum(np.rint(_GAIN_GRID_MM / zooms_mm), 1).astype(int)
    thin = tuple(slice(None, None, int(step)) for step in stride)
    values, tissue = image[thin].astype(np.float32), tissues()[labels[thin]]
    used = inside[thin] & (labels[thin] > 0)
    expected = np.zeros(values.shape, dtype=np.float32)
    for number in np.unique(tissue[used]):
        where = used & (tissue == number)
        expected[where] = np.median(values[where])
    sigma = _GAIN_BLUR_MM / (stride * zooms_mm)
    level = float(expected[used].mean()) * 0.05 if used.any() else 1.0  # draws a gain of few voxels to 1
    seen = ndimage.gaussian_filter(np.where(used, values, 0), sigma) + level
    gain = seen / (ndimage.gaussian_filter(expected, sigma) + level)
    whole = ndimage.zoom(gain, np.array(image.shape) / gain.shape, order=1, mode="nearest", grid_mode=True)
    corrected: NDArray[np.float32] = image / whole
    return corrected


def log_likelihoods(
    steps: NDArray[np.uint8], labels: NDArray[np.uint8], agreement: NDArray[np.uint8], inside: BoolArray
) -> NDArray[np.float32]:
    """Log likelihood of each step (columns) in each label (rows), shape (256, 256).

    Fitted to the scan's own voxels under its present labels (uint8) where voters agree (per cent). A tissue
    with too few voxels is equally likely in all steps.
    """
    counts = _counts(steps, labels, inside, least_percent=0, agreement=agreement)
    sure = _counts(steps, labels, inside, least_percent=_SURE_PERCENT, agreement=agreement)
    found = {}
    for tissue in np.unique(tissues()):
        histogram = sure[tissue] if sure[tissue].sum() >= _ENOUGH else counts[tissue]
        if histogram.sum() >= _ENOUGH:
            found[tissue] = _robust_gaussian(histogram)
    return _table(found)


def _table(gaussians: Mapping[int, tuple[float, float]]) -> NDArray[np.float32]:
    """Log likelihoods of Gaussians (mean and standard deviation by tissue), spreads drawn together."""
    table = np.full((256, STEPS), np.log(1 / STEPS), dtype=np.float32)
    solid = [np.log(spread) for tissue, (_, spread) in gaussians.items() if tissue != tissues()[0]]
    axis = np.arange(STEPS)
    for tissue, (mean, own) in gaussians.items():
        share = _COMMON_SHARE if tissue != tissues()[0] else 1.0  # fluid's own is that of partial volume
        spread = float(np.exp((1 - share) * np.log(own) + share * np.median(solid))) if solid else own
        density = np.exp(-0.5 * ((axis - mean) / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
        table[tissues() == tissue] = np.log((1 - _OUTLIERS) * density + _OUTLIERS / STEPS)
    return table


def _counts(
    steps: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    inside: BoolArray,
    *,
    least_percent: int,
    agreement: NDArray[np.uint8],
) -> NDArray[np.intp]:
    """Histogram of each tissue's labeled voxels, shape (256, 256)."""
    where = inside & (labels > 0) & (agreement >= least_percent)
    place = tissues()[labels[where]] * STEPS + steps[where]
    return np.bincount(place, minlength=256 * STEPS).reshape(256, STEPS)


def _robust_gaussian(histogram: NDArray[np.intp]) -> tuple[float, float]:
    """Mean and standard deviation around the shortest interval that holds half of the counts.

    Labels that are not yet in place put other tissue among a structure's voxels; its own are the densest.
    """
    total = np.concatenate(([0], np.cumsum(histogram)))
    half = total[-1] / 2
    ends = np.searchsorted(total, total[:-1] + half)  # first end beyond each start that holds half
    widths = np.where(ends < len(total), ends - np.arange(STEPS), STEPS + 1)
    start = int(np.argmin(widths))
    axis = np.arange(STEPS)
    core = slice(start, start + int(widths[start]))
    middle = float(np.average(axis[core], weights=histogram[core]))
    spread = max(float(widths[start]) / _HALF_TO_SD, _MIN_SPREAD)
    near = np.where(np.abs(axis - middle) < _TRIM_SD * spread, histogram, 0)
    mean = float(np.average(axis, weights=near))
    deviation = float(np.sqrt(np.average((axis - mean) ** 2, weights=near)))
    return mean, max(deviation * _TRIM_GAIN, _MIN_SPREAD)
