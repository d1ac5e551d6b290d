"""Masks: the outline of a stripped image, and morphology in millimetres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text.engines import resample
from brainatlas_text.volumes import Volume

CLOSE_MM = 3.0
"""Radius of the closing that bridges sulci and dropped voxels of a stripped image."""
_MIN_BACKGROUND, _MAX_STRIPPED_ML = 0.45, 2400.0
BoolArray = NDArray[np.bool_]


def outline_of_stripped(image: Volume) -> BoolArray | None:
    """The brain of a stripped image: what is not background, closed and filled; None for a head.

    Stripped images are told by their data, not their name: an exactly constant background takes up most of
    the grid, and what is left is one compact body of a brain's size.
    """
    shown = image.array != _background(image.array)
    if 1.0 - shown.mean() < _MIN_BACKGROUND:
        return None
    start, shape = resample.box_of(shown)
    box = tuple(slice(first, first + length) for first, length in zip(start, shape, strict=True))
    body = largest_component(shown[box])
    if body.sum() < 0.9 * shown[box].sum() or body.sum() * image.voxel_ml > _MAX_STRIPPED_ML:
        return None
    outline = np.zeros(image.shape, dtype=bool)
    outline[box] = fill_holes(close(body, CLOSE_MM, image.zooms_mm))
    return outline


def largest_component(mask: BoolArray) -> BoolArray:
    """The largest 6-connected part; an empty mask stays empty."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax())


def fill_holes(mask: BoolArray) -> BoolArray:
    """Fill what is enclosed in three dimensions."""
    return np.asarray(ndimage.binary_fill_holes(mask))


def dilate(mask: BoolArray, radius_mm: float, zooms_mm: NDArray[np.float64]) -> BoolArray:
    """All voxels within the radius of the mask (Euclidean, in mm)."""
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=zooms_mm) <= radius_mm)


def erode(mask: BoolArray, radius_mm: float, zooms_mm: NDArray[np.float64]) -> BoolArray:
    """All voxels farther than the radius from everything outside the mask."""
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=zooms_mm) > radius_mm)


def close(mask: BoolArray, radius_mm: float, zooms_mm: NDArray[np.float64]) -> BoolArray:
    """Dilation, then erosion; the border of the grid does not eat into the mask."""
    margin = [(int(np.ceil(radius_mm / zoom)) + 1,) * 2 for zoom in zooms_mm]
    padded = np.pad(mask, margin)
    closed = erode(dilate(padded, radius_mm, zooms_mm), radius_mm, zooms_mm)
    inner = tuple(slice(before, -after) for before, after in margin)
    return np.asarray(closed[inner] | mask)


def foreground(head: Volume) -> BoolArray:
    """The head against the air: above half of Otsu's threshold, specks removed."""
    bright = np.minimum(head.array, np.percentile(head.array, 99.0))
    return largest_component(np.asarray(ndimage.binary_opening(bright > 0.5 * _otsu(bright))))


def _otsu(array: NDArray[np.float32]) -> float:
    """The threshold that separates two groups best (Otsu, IEEE Trans. SMC 1979)."""
    counts, edges = np.histogram(array, 256)
    centers = (edges[:-1] + edges[1:]) / 2
    below, moment = np.cumsum(counts)[:-1], np.cumsum(counts * centers)[:-1]
    above = counts.sum() - below
    total = float((counts * centers).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = below * above * (moment / below - (total - moment) / above) ** 2
    return float(centers[np.nanargmax(spread)])


def _background(array: NDArray[np.float32]) -> float:
    """The most common value on the faces of the grid."""
    faces = [np.take(array, index, axis=axis).ravel() for axis in range(3) for index in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    return float(values[counts.argmax()])
