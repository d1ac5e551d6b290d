"""Classify the voxels of a head into white matter, grey matter, fluid and the brain's surroundings.

Expectation maximization with a template's tissue maps as priors (Van Leemput et al., IEEE TMI 1999; Ashburner
and Friston, NeuroImage 2005). No contrast is assumed: the three tissues are Gaussians, wherever they lie;
the surroundings, a mixture of bone, dura, muscle and fat, are free histograms, one near the brain and one far
from it, so that a scalp as bright as grey matter says nothing about the voxels next to the brain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text.engines import masks
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.volumes import Volume

Shares = NDArray[np.float32]
"""Shares from 0 to 1 of white matter, grey matter, fluid and, in posteriors, near and far surroundings."""

NEAR_MM, REACH_MM = 8.0, 15.0
"""Skull and what lies between it and the brain; and how far from the template's brain a brain may reach."""
FLUID_ANYWHERE = 0.05
"""Prior share of fluid wherever brain or skull are expected: how much fluid surrounds it varies most."""
_ITERATIONS, _NUM_BINS, _FLOOR = 12, 64, 1e-3


def classify(head: Volume, tissues: Shares, blur_mm: float) -> Shares:
    """Posterior shares, shape (5, i, j, k), from expected tissue shares, shape (3, i, j, k), on one grid.

    `blur_mm` is the uncertainty of the expected borders. Beyond `REACH_MM` all is far.
    """
    brain = tissues.sum(axis=0) >= 0.5
    box = masks.box_around(brain, REACH_MM, head.zooms_mm)
    distance_mm = masks.distance(brain[box], head.zooms_mm)
    inside = distance_mm <= REACH_MM
    prior = _priors(tissues[:, *box], distance_mm, blur_mm / head.zooms_mm)
    bins = _bins(head.array[box], inside)
    shares = prior
    for _ in range(_ITERATIONS):
        counts = np.stack([_counts(bins[inside], share[inside]) for share in shares])
        likelihood = np.vstack([[_gaussian(share) for share in counts[:3]], counts[3:]])
        shares = prior * likelihood.astype(np.float32)[:, bins]
        shares /= shares.sum(axis=0) + np.float32(1e-20)
    posterior = np.zeros((5, *head.shape), dtype=np.float32)
    posterior[-1] = 1.0
    posterior[:, *box] = np.where(inside, shares, posterior[:, *box])
    return posterior


def _priors(tissues: Shares, distance_mm: NDArray[np.float64], blur_vox: NDArray[np.float64]) -> Shares:
    """Blurred shares of the tissues, of what lies near them, and of the rest."""
    near = ((distance_mm > 0) & (distance_mm <= NEAR_MM)).astype(np.float32)
    prior = np.zeros((5, *near.shape), dtype=np.float32)
    for share, map_ in zip(prior, (*tissues, near), strict=False):
        ndimage.gaussian_filter(map_, blur_vox, output=share)
    head = prior.sum(axis=0)
    prior *= 1.0 - FLUID_ANYWHERE
    prior[2] += FLUID_ANYWHERE * head
    prior[4] = np.clip(1.0 - head, 0.0, 1.0)
    prior += _FLOOR
    prior /= prior.sum(axis=0)
    return prior


def _bins(array: NDArray[np.float32], inside: BoolArray) -> NDArray[np.intp]:
    """Number of each voxel's intensity bin."""
    low, high = np.percentile(array[inside], (0.1, 99.5))
    unit = (array - low) / max(float(high - low), 1e-6)
    bins: NDArray[np.intp] = np.clip(unit * _NUM_BINS, 0, _NUM_BINS - 1).astype(np.intp)
    return bins


def _counts(bins: NDArray[np.intp], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Smoothed share of each bin in one class."""
    counts = np.bincount(bins, weights=weights, minlength=_NUM_BINS)
    smooth = ndimage.gaussian_filter1d(counts, 2.0, mode="nearest")
    smooth += 1e-6 * smooth.sum() + 1e-12
    shares: NDArray[np.float64] = smooth / smooth.sum()
    return shares


def _gaussian(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Gaussian of the same mean and spread, with a floor for outliers."""
    bins = np.arange(len(counts))
    mean = (counts * bins).sum()
    variance = (counts * (bins - mean) ** 2).sum() + 1.0
    bell = np.exp(-((bins - mean) ** 2) / (2 * variance))
    bell = bell / bell.sum() + 1e-6
    shares: NDArray[np.float64] = bell / bell.sum()
    return shares
