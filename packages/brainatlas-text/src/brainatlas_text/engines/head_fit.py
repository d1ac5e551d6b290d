"""Fit the head template to a scan of a head, from no more than its header's axes.

The scan is the fixed image: over its voxels, which stay the same whatever the guess, mutual information
measures how well the template explains the scan. (The other way round a larger template explains more.)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import itk, masks
from brainatlas_text.engines.head_template import CENTER_MM, LENGTH_MM, TOP_MM, WIDTH_MM, HeadTemplate
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

_SKIN_X_MM, _SKIN_Y_MM, _SKIN_Z_MM = 18.0, 26.0, 14.0
"""What skull and scalp add to the brain's width, length and top."""
_SHIFTS_Z_MM, _SHIFTS_Y_MM = (-12.0, 0.0, 12.0, 24.0), (-12.0, 0.0, 12.0)
_PITCHES_DEG, _SCALES = (-20.0, -7.0, 7.0, 20.0), (0.92, 1.02)
_NUM_STARTS = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """The scan on a coarse grid and the part of it that is compared."""

    image: sitk.Image
    region: sitk.Image


def fit_head(head: Volume, template: HeadTemplate) -> Affine:
    """`scan_from_template` (RAS+ mm, twelve parameters) of a head on a grid of about 2 mm."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    foreground = masks.foreground(head)
    crown, scale = _crown_and_scale(head, foreground)
    target = itk.to_itk_image(template.head)
    coarse = _level(head, foreground, 8.0, crown[2] - 150.0 * scale)
    starts = sorted(_starts(coarse, target, crown, scale), key=lambda start: start[0])[:_NUM_STARTS]
    fits = [_fit_similarity(coarse, target, guess) for _, guess in starts]
    _, best = min(fits, key=lambda fit: fit[0])
    fine = _level(head, foreground, 4.0, crown[2] - 165.0 * scale)
    method = _method(fine)
    return _run_affine(method, fine.image, target, best)


def refit_tissue(
    tissue_values: Volume, region: NDArray[np.bool_], template: HeadTemplate, guess: Affine
) -> Affine:
    """Improve `scan_from_template` on a map of tissue values (as `template.brain`), by mean squares."""
    values = volumes.thin_to(tissue_values, 4.0)
    smooth = ndimage.gaussian_filter(values.array, 2.0 / values.zooms_mm)
    inside = volumes.thin_to(Volume(region.astype(np.float32), tissue_values.affine), 4.0)
    level = _Level(
        image=itk.to_itk_image(Volume(smooth, values.affine)),
        region=itk.to_itk_image(Volume((inside.array > 0.5).astype(np.uint8), inside.affine)),
    )
    method = _method(level)
    method.SetMetricAsMeanSquares()
    return _run_affine(method, level.image, itk.to_itk_image(template.brain), guess)


def _crown_and_scale(head: Volume, foreground: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Top of the head above its middle (mm), and its size against the template's."""
    points = spaces.apply(head.affine, np.argwhere(foreground))
    top = float(np.percentile(points[:, 2], 99.8))
    skull_cap = points[points[:, 2] > top - 110.0]
    low, high = np.percentile(skull_cap, (0.5, 99.5), axis=0)
    extent, middle = high - low, (high + low) / 2
    scale = ((extent[0] - _SKIN_X_MM) / WIDTH_MM + (extent[1] - _SKIN_Y_MM) / LENGTH_MM) / 2
    return np.array([middle[0], middle[1], top]), float(np.clip(scale, 0.75, 1.15))


def _level(head: Volume, foreground: NDArray[np.bool_], grid_mm: float, bottom_mm: float) -> _Level:
    """Thin the scan; compare where the head is, with a rim of air, down to a height."""
    image = volumes.thin_to(head, grid_mm)
    share = volumes.thin_to(Volume(foreground.astype(np.float32), head.affine), grid_mm)
    near = masks.dilate(share.array > 0.3, 12.0, share.zooms_mm)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in image.shape], indexing="ij"), axis=-1)
    region = near & (spaces.apply(image.affine, index)[..., 2] > bottom_mm)
    bright = np.percentile(image.array[image.array > 0], 99.0)
    clipped = np.minimum(image.array, bright).astype(np.float32)
    return _Level(
        image=itk.to_itk_image(Volume(clipped, image.affine)),
        region=itk.to_itk_image(Volume(region.astype(np.uint8), image.affine)),
    )


def _starts(
    level: _Level, target: sitk.Image, crown: NDArray[np.float64], scale: float
) -> list[tuple[float, Affine]]:
    """Guesses of `scan_from_template` below the crown of the head, with their metric (lower is better)."""
    method = _method(level)
    starts = []
    for up, forward, pitch, factor in product(_SHIFTS_Z_MM, _SHIFTS_Y_MM, _PITCHES_DEG, _SCALES):
        size = scale * factor
        middle = crown + np.array([0.0, forward, up - TOP_MM * size - _SKIN_Z_MM])
        guess = spaces.translation(middle) @ _pitch(pitch, size) @ spaces.translation(-CENTER_MM)
        method.SetInitialTransform(itk.to_itk_transform(spaces.invert(guess), middle), inPlace=False)
        starts.append((float(method.MetricEvaluate(level.image, target)), guess))
    return starts


def _pitch(degrees: float, size: float) -> Affine:
    """Turn about the left-right axis (nose up for positive angles) and scale."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.diag([size, size, size, 1.0])
    affine[1:3, 1:3] = size * np.array([[cosine, -sine], [sine, cosine]])
    return affine


def _fit_similarity(level: _Level, target: sitk.Image, guess: Affine) -> tuple[float, Affine]:
    """Seven parameters from a guess; returns the metric (lower is better) and the fit."""
    method = _method(level)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, 60, 0.6, 1e-7)
    start = itk.to_itk_transform(spaces.invert(guess), spaces.apply(guess, CENTER_MM))
    transform = sitk.Similarity3DTransform()
    transform.SetCenter(start.GetCenter())
    transform.SetTranslation(start.GetTranslation())
    transform.SetMatrix(start.GetMatrix(), 1e-4)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(level.image, target)
    return float(method.GetMetricValue()), spaces.invert(itk.from_itk_transform(transform))


def _run_affine(
    method: sitk.ImageRegistrationMethod, image: sitk.Image, target: sitk.Image, guess: Affine
) -> Affine:
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.01, 60, 0.6, 1e-9)
    transform = itk.to_itk_transform(spaces.invert(guess), spaces.apply(guess, CENTER_MM))
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(image, target)
    return spaces.invert(itk.from_itk_transform(transform))


def _method(level: _Level) -> sitk.ImageRegistrationMethod:
    """Mattes mutual information over the level's region; all voxels, so no chance is involved."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetMetricFixedMask(level.region)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerScalesFromPhysicalShift()
    return method
