"""Masks: the outline of a stripped image, and morphology in millimetres."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import volumes
from brainatlas_text.engines import resample
from brainatlas_text.volumes import Volume

CLOSE_MM = 3.0
"""Radius of the closing that bridges sulci and dropped voxels of a stripped image."""
_MIN_BACKGROUND, _MAX_STRIPPED_ML = 0.45, 2400.0
_LAYER_GRID_MM, _LAYER_MM, _NUM_LAYERS = 2.0, 2.5, 8
"""Layers by depth in which a skull is looked for; the outermost holds part of the air."""
_SKULL_CONTRAST = 1.5
"""The layers on both sides of a skull are at least so many times as bright as the skull."""
BoolArray = NDArray[np.bool_]


def outline_of_stripped(image: Volume) -> BoolArray | None:
    """The brain of a stripped image: what is not background, closed and filled; None for a head.

    Stripped images are told by their data, not their name: an exactly constant background takes up most of
    the grid, and what is left is one compact body of a brain's size without a skull. (The air around a head,
    or its face, can be blanked as well.)
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
    return None if _shows_skull(image, outline) else outline


def _shows_skull(image: Volume, body: BoolArray) -> bool:
    """Whether a dark layer lies under a brighter one all over the upper half of the body.

    So do skull and scalp in every sequence. A stripped brain is darkest at its surface, or, in T2w, bright
    with fluid there but as bright as tissue below.
    """
    coarse = volumes.thin_to(image, _LAYER_GRID_MM)
    inside = volumes.thin_to(Volume(body.astype(np.float32), image.affine), _LAYER_GRID_MM).array > 0.5
    depth_mm = depth(np.pad(inside, 1), coarse.zooms_mm)[1:-1, 1:-1, 1:-1]
    upper = np.arange(inside.shape[2]) > np.argwhere(inside)[:, 2].mean()
    layers = np.where(upper, depth_mm // _LAYER_MM, -1)
    medians = [np.median(coarse.array[layers == n]) for n in range(1, _NUM_LAYERS) if (layers == n).any()]
    deep = coarse.array[depth_mm >= _NUM_LAYERS * _LAYER_MM]
    if not deep.size:
        return False
    medians.append(np.median(deep))
    outer, inner = np.maximum.accumulate(medians), np.maximum.accumulate(medians[::-1])[::-1]
    return bool((np.minimum(outer, inner) > _SKULL_CONTRAST * np.array(medians)).any())


def largest_component(mask: BoolArray) -> BoolArray:
    """The largest 6-connected part; an empty mask stays empty."""
    return _boxed(mask, 0.0, np.ones(3), _largest)


def fill_holes(mask: BoolArray) -> BoolArray:
    """Fill what is enclosed in three dimensions."""
    return _boxed(mask, 0.0, np.ones(3), ndimage.binary_fill_holes)


def dilate(mask: BoolArray, radius_mm: float, zooms_mm: NDArray[np.float64]) -> BoolArray:
    """All voxels within the radius of the mask (Euclidean, in mm)."""
    return _boxed(mask, radius_mm, zooms_mm, lambda part: distance(part, zooms_mm) <= radius_mm)


def erode(mask: BoolArray, radius_mm: float, zooms_mm: NDArray[np.float64]) -> BoolArray:
    """All voxels farther than the radius from everything outside the mask."""
    return _boxed(mask, float(zooms_mm.max()), zooms_mm, lambda part: depth(part, zooms_mm) > radius_mm)


def distance(mask: BoolArray, zooms_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance in mm of each voxel from the mask, 0 within it."""
    from_mask: NDArray[np.float64] = ndimage.distance_transform_edt(~mask, sampling=zooms_mm)
    return from_mask


def depth(mask: BoolArray, zooms_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance in mm of each voxel from everything outside the mask, 0 there."""
    return distance(~mask, zooms_mm)


def box_around(mask: BoolArray, margin_mm: float, zooms_mm: NDArray[np.float64]) -> tuple[slice, ...]:
    """The smallest box that holds the mask and a margin, as far as the grid goes."""
    margin = np.ceil(margin_mm / zooms_mm).astype(int)
    return tuple(
        slice(max(first - before, 0), first + length + before)
        for first, length, before in zip(*resample.box_of(mask), margin.tolist(), strict=True)
    )


def _boxed(
    mask: BoolArray,
    margin_mm: float,
    zooms_mm: NDArray[np.float64],
    operate: Callable[[BoolArray], NDArray[Any]],
) -> BoolArray:
    """Operate where the mask is; grids are several times larger, and distances cost by the voxel."""
    result = np.zeros(mask.shape, dtype=bool)
    if mask.any():
        box = box_around(mask, margin_mm, zooms_mm)
        result[box] = operate(mask[box])
    return result


def _largest(mask: BoolArray) -> BoolArray:
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax())


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
    return largest_component(np.asarray(ndimage.binary_opening(bright > 0.5 * otsu(bright))))


def otsu(array: NDArray[np.float32]) -> float:
    """The threshold that separates two groups best (Otsu, IEEE Trans. SMC 1979); a lone value itself."""
    if array.min() == array.max():
        return float(array.min())
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
