"""Brain extraction for heads in T1w, T2w or FLAIR, without trained weights.

A head template is fitted to the scan (`head_fit`); its tissue maps are then priors for a classification of
the voxels into white matter, grey matter, fluid and everything else (expectation maximization after Van
Leemput et al., IEEE TMI 1999, with free histograms instead of Gaussians, so that no contrast is assumed). The
classes in turn improve the fit. The mask is the envelope of white and grey matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import masks, resample
from brainatlas_text.engines.head_fit import fit_head, refit_tissue
from brainatlas_text.engines.head_template import HeadTemplate, load_head_template
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

VERSION = 1
GRID_MM = 2.0
"""Working grid: fine enough for an envelope, coarse enough for seconds."""
PRIOR_BLUR_MM = (5.0, 3.0, 3.0)
"""Uncertainty of the template's borders, before the first and after each further fit."""
OPEN_MM, REGROW_MM, CLOSE_MM = 3.0, 4.0, 8.0
"""Bridges to dura and eyes are cut by erosion; gaps narrower than twice `CLOSE_MM` belong to the brain."""
_ITERATIONS, _NUM_BINS, _NEIGHBOR_WEIGHT, _REACH_MM = 8, 64, 4.0, 15.0
_FLOOR = 1e-3
_TISSUE_VALUES = np.array([1.0, 0.7, 0.44, 0.0], dtype=np.float32)[:, None, None, None]

Posterior = NDArray[np.float32]
"""Shares of white matter, grey matter, fluid and the rest, shape (4, i, j, k)."""


def extract_brain(image: Volume) -> BoolArray:
    """The brain mask of a head on the image's grid (closest RAS): brain tissue and the fluid it encloses."""
    head = volumes.thin_to(image, GRID_MM)
    template = load_head_template()
    scan_from_template = fit_head(head, template)
    posterior = _classify(head, scan_from_template, template, PRIOR_BLUR_MM[0])
    for blur_mm in PRIOR_BLUR_MM[1:]:
        values = Volume((posterior * _TISSUE_VALUES).sum(axis=0), head.affine)
        near = masks.dilate(posterior[3] < 0.5, 12.0, head.zooms_mm)
        scan_from_template = refit_tissue(values, near, template, scan_from_template)
        posterior = _classify(head, scan_from_template, template, blur_mm)
    envelope = _envelope(posterior[0] + posterior[1] > 0.5, head.zooms_mm)
    head_from_image_vox = spaces.invert(head.affine) @ image.affine
    smooth = resample.linear(envelope.astype(np.float32), head_from_image_vox, ((0, 0, 0), image.shape))
    return np.asarray(smooth > 0.5)


def _classify(head: Volume, scan_from_template: Affine, template: HeadTemplate, blur_mm: float) -> Posterior:
    """Posterior shares of the four classes; beyond the template's reach all is rest."""
    prior = _priors(head, scan_from_template, template, blur_mm)
    domain = masks.dilate(prior[3] < 0.5, _REACH_MM, head.zooms_mm)
    start, shape = resample.box_of(domain)
    box = tuple(slice(first, first + length) for first, length in zip(start, shape, strict=True))
    inside, prior = domain[box], prior[:, *box]
    bins = _bins(head.array[box], inside)
    shares = prior
    for iteration in range(_ITERATIONS):
        likelihood = np.stack([_histogram(bins[inside], share[inside]) for share in shares])[:, bins]
        if iteration > 1:
            likelihood *= np.exp(_NEIGHBOR_WEIGHT * ndimage.uniform_filter(shares, (1, 3, 3, 3)))
        shares = prior * likelihood
        shares /= shares.sum(axis=0) + 1e-20
    posterior = np.zeros((4, *head.shape), dtype=np.float32)
    posterior[3] = 1.0
    posterior[:, *box] = np.where(inside, shares, posterior[:, *box])
    return posterior


def _priors(head: Volume, scan_from_template: Affine, template: HeadTemplate, blur_mm: float) -> Posterior:
    """The template's tissue shares in the scan, blurred, and the rest."""
    template_from_scan = spaces.invert(scan_from_template)
    whole = ((0, 0, 0), head.shape)
    prior = np.empty((4, *head.shape), dtype=np.float32)
    for share, tissue in zip(prior, template.tissues, strict=False):
        tissue_from_head_vox = spaces.invert(tissue.affine) @ template_from_scan @ head.affine
        moved = resample.linear(tissue.array, tissue_from_head_vox, whole)
        share[:] = ndimage.gaussian_filter(moved, blur_mm / head.zooms_mm)
    prior[3] = np.clip(1.0 - prior[:3].sum(axis=0), 0.0, 1.0)
    prior += _FLOOR
    prior /= prior.sum(axis=0)
    return prior


def _bins(array: NDArray[np.float32], inside: BoolArray) -> NDArray[np.intp]:
    """Number of each voxel's intensity bin."""
    low, high = np.percentile(array[inside], (0.1, 99.5))
    unit = (array - low) / max(float(high - low), 1e-6)
    bins: NDArray[np.intp] = np.clip(unit * _NUM_BINS, 0, _NUM_BINS - 1).astype(np.intp)
    return bins


def _histogram(bins: NDArray[np.intp], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smoothed share of each bin in one class."""
    counts = np.bincount(bins, weights=weights, minlength=_NUM_BINS)
    smooth = ndimage.gaussian_filter1d(counts, 2.0, mode="nearest")
    smooth += 1e-6 * smooth.sum()
    shares: NDArray[np.float32] = (smooth / smooth.sum()).astype(np.float32)
    return shares


def _envelope(tissue: BoolArray, zooms_mm: NDArray[np.float64]) -> BoolArray:
    """The largest body of tissue, thin bridges cut, sulci closed, ventricles filled."""
    core = masks.largest_component(masks.erode(tissue, OPEN_MM, zooms_mm))
    body = masks.largest_component(masks.dilate(core, REGROW_MM, zooms_mm) & tissue)
    return masks.fill_holes(masks.close(body, CLOSE_MM, zooms_mm))
