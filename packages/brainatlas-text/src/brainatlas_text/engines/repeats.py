"""Repeats of one scan in one session, averaged after rigid alignment.

The same head in the same contrast, moved a little: the correlation of smoothed intensities is enough to align
them. All voxels are compared, on one thread and without chance: equal input, equal output.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import itk, resample
from brainatlas_text.errors import InputError, SourceError
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

VERSION = 1
GRIDS_MM, ITERATIONS = (8.0, 4.0), (60, 40)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mean:
    """A scan averaged with its repeats."""

    volume: Volume
    num_averaged: int
    notes: tuple[str, ...]
    """Why repeats were left out."""


def average(
    first: Volume,
    paths: tuple[Path, ...],
    array_order: str | None,
    thinned_by: tuple[int, int, int],
    min_correlation: float,
) -> Mean:
    """The mean of a scan (float32, closest RAS) and its repeats on the scan's grid.

    Each repeat is resampled linearly once; a voxel counts the repeats that reach it. Repeats that cannot be
    read, or that correlate with the scan by less than `min_correlation` when aligned, are left out.
    """
    if not paths:
        return Mean(volume=first, num_averaged=1, notes=())
    total, weights = first.array.copy(), np.ones(first.shape, dtype=np.uint8)
    count, notes = 1, []
    for path in paths:
        try:
            repeat = _read(path, array_order, thinned_by)
        except InputError as error:
            notes.append(f"repeat left out: {error}")
            continue
        repeat_from_first, correlation = align(first, repeat)
        if correlation < min_correlation:
            notes.append(
                f"repeat left out: {path.name} correlates by {correlation:.2f} with the first when aligned, "
                f"prepare.min_repeat_correlation is {min_correlation:g}"
            )
            continue
        moved, reached = _onto(first, repeat, repeat_from_first)
        moved *= _gain(first.array, moved)
        total += moved
        weights += reached
        count += 1
    total /= weights
    return Mean(volume=Volume(total, first.affine), num_averaged=count, notes=tuple(notes))


def align(first: Volume, repeat: Volume) -> tuple[Affine, float]:
    """`repeat_from_first` (RAS+ mm, six parameters) and the correlation of the two when aligned, 0 to 1."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    center = spaces.LPS_FROM_RAS[:3, :3] @ spaces.apply(first.affine, (np.array(first.shape) - 1) / 2)
    transform = sitk.Euler3DTransform()
    transform.SetCenter(center.tolist())
    squared = 0.0
    for grid_mm, iterations in zip(GRIDS_MM, ITERATIONS, strict=True):
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsCorrelation()
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 0.005, iterations, 0.6, 1e-8)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(*(itk.to_itk_image(volumes.thin_to(one, grid_mm)) for one in (first, repeat)))
        squared = -float(method.GetMetricValue())
    return itk.from_itk_transform(transform), float(np.sqrt(max(squared, 0.0)))


def _read(path: Path, array_order: str | None, thinned_by: tuple[int, int, int]) -> Volume:
    repeat = volumes.read(volumes.open_scan(path, array_order), thinned_by)
    if not np.isfinite(repeat.array).all() or repeat.array.min() == repeat.array.max():
        raise SourceError(f"{path}: holds NaN, infinite values or one value only; replace or exclude it")
    return repeat


def _onto(
    first: Volume, repeat: Volume, repeat_from_first: Affine
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The repeat on the first one's grid, and where it reaches."""
    repeat_from_first_vox = spaces.invert(repeat.affine) @ repeat_from_first @ first.affine
    box = ((0, 0, 0), first.shape)
    ones = np.ones(repeat.shape, dtype=np.uint8)
    reached = resample.linear(ones, repeat_from_first_vox, box) > 0
    return resample.linear(repeat.array, repeat_from_first_vox, box), reached


def _gain(one: NDArray[np.float32], other: NDArray[np.float32]) -> np.float32:
    """The factor that brings the other's intensities to those of the one, by least squares."""
    power = np.square(other).sum(dtype=np.float64)  # numpy's sums, unlike BLAS, do not depend on threads
    return np.float32((one * other).sum(dtype=np.float64) / power if power > 0 else 1.0)
