"""Brain extraction for heads in T1w, T2w or FLAIR, without trained weights.

A head template is fitted to the scan (`head_fit`); its tissue maps are priors for a classification of the
voxels (`tissue_classes`), whose result in turn bends the maps to this brain (`head_bend`). The mask is the
envelope of white and grey matter. Why so, and what else was tried: docs/decisions/0006.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import masks, resample
from brainatlas_text.engines.bias import COARSE, correct_bias
from brainatlas_text.engines.head_bend import bend
from brainatlas_text.engines.head_fit import fit_head, moved_tissues, refine_on_brain, template_brain
from brainatlas_text.engines.head_template import load_head_template
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.engines.tissue_classes import Shares, classify
from brainatlas_text.volumes import Volume

VERSION = 2
GRID_MM = 2.0
"""Working grid: fine enough for an envelope, coarse enough for seconds."""
FITTED_BLUR_MM, BENT_BLUR_MM = 4.0, 3.0
"""Uncertainty of the template's borders once it is fitted, and once it is bent."""
OPEN_MM, CLOSE_MM = 3.0, 8.0
"""Bridges to dura and eyes under twice `OPEN_MM` are cut, gaps under twice `CLOSE_MM` filled."""
SMOOTH_MM = 2.0
"""The steps of the working grid are smoothed away before the mask is brought to the image's grid."""
_NEIGHBORHOOD_MM = 4.0
_TOO_STRONG = 1.5


def extract_brain(image: Volume) -> BoolArray:
    """The brain mask of a head on the image's grid: brain tissue and the fluid it encloses."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    head = straightened(image)
    even, shares = find_tissues(head)
    tissue = _to_halfway(shares[0] + shares[1] > 0.5, even)
    envelope = _envelope(tissue, head.zooms_mm)
    head_from_image_vox = spaces.invert(head.affine) @ image.affine
    smooth = ndimage.gaussian_filter(envelope.astype(np.float32), SMOOTH_MM / head.zooms_mm)
    smooth = resample.linear(smooth, head_from_image_vox, ((0, 0, 0), image.shape))
    return np.asarray(smooth > 0.5)


def straightened(image: Volume) -> Volume:
    """The image on a grid of 2 mm along the world's axes, air as 0: no stored order or tilt matters then."""
    thinned = volumes.thin_to(image, GRID_MM)
    air = np.float32(np.percentile(thinned.array, 0.5))
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(thinned.shape) - 1)
    world = spaces.apply(thinned.affine, corners)
    i, j, k = (int(n) for n in np.ceil(np.ptp(world, axis=0) / GRID_MM - 0.01) + 1)
    affine = spaces.translation(world.min(axis=0)) @ np.diag([GRID_MM, GRID_MM, GRID_MM, 1.0])
    thinned_from_grid_vox = spaces.invert(thinned.affine) @ affine
    array = resample.linear(thinned.array - air, thinned_from_grid_vox, ((0, 0, 0), (i, j, k)))
    return Volume(np.maximum(array, 0.0), affine)


def find_tissues(head: Volume) -> tuple[Volume, Shares]:
    """The head, even in intensity, and its tissue shares (`classify`)."""
    template = load_head_template()
    rough = fit_head(head, template)
    even = Volume(correct_bias(head, template_brain(head, template, rough), COARSE), head.affine)
    tissues = moved_tissues(head, template, refine_on_brain(even, template, rough))
    shares = classify(even, tissues, FITTED_BLUR_MM)
    tissues = bend(tissues, shares[:3], head.affine)
    return even, classify(even, tissues, BENT_BLUR_MM)


def _to_halfway(tissue: BoolArray, head: Volume) -> BoolArray:
    """Add the voxels next to tissue that are more like it than like what lies outside nearby.

    The surroundings vary more than tissue does, so that classes alone give them most voxels that hold both.
    """
    grown = ndimage.binary_dilation(tissue)
    within, without = (_local_mean(head, where) for where in (tissue, ~grown))
    step = within - without
    share = (head.array - without) / np.where(step == 0, 1.0, step)
    return np.asarray(tissue | (grown & (share > 0.5) & (share < _TOO_STRONG)))


def _local_mean(head: Volume, where: BoolArray) -> NDArray[np.float32]:
    weights = where.astype(np.float32)
    sigma = _NEIGHBORHOOD_MM / head.zooms_mm
    total = ndimage.gaussian_filter(head.array * weights, sigma)
    mean: NDArray[np.float32] = total / (ndimage.gaussian_filter(weights, sigma) + np.float32(1e-4))
    return mean


def _envelope(tissue: BoolArray, zooms_mm: NDArray[np.float64]) -> BoolArray:
    """The largest body of tissue, thin bridges cut, sulci closed, ventricles filled."""
    core = masks.largest_component(masks.erode(tissue, OPEN_MM, zooms_mm))
    body = masks.dilate(core, OPEN_MM, zooms_mm) & tissue
    return masks.fill_holes(masks.close(body, CLOSE_MM, zooms_mm))
