"""Affine registration by SimpleITK: single-threaded and seeded, so that transforms repeat bit for bit.

ITK works on LPS+ points and its transforms map fixed points to moving points; both are turned into the
package's convention (RAS+ mm, out-from-in) here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from brainatlas_text import spaces
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineSchedule:
    """Settings of the multi-resolution search, coarse to fine."""

    grids_mm: tuple[float, ...] = (8.0, 4.0, 2.0)
    iterations: tuple[int, ...] = (200, 100, 50)
    sampling: float = 0.25
    """Share of the fixed voxels whose intensities are compared."""
    seed: int = 1


def register_affine(
    fixed: Volume, moving: Volume, initial: Affine, schedule: AffineSchedule
) -> tuple[Affine, float]:
    """Find `moving_from_fixed` by Mattes mutual information (32 bins), twelve parameters.

    Parameters are two float32 volumes in any frame and a first guess of `moving_from_fixed`. Returns the
    affine (RAS+ mm) and the mutual information in nats at the optimum (higher is better).
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    moving_from_fixed, information = initial, 0.0
    for level, (grid_mm, iterations) in enumerate(zip(schedule.grids_mm, schedule.iterations, strict=True)):
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(schedule.sampling if grid_mm < 4 else 1.0, schedule.seed)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=2.0 if level == 0 else 0.5,
            minStep=1e-3,
            numberOfIterations=iterations,
            relaxationFactor=0.6,
            gradientMagnitudeTolerance=1e-7,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        center = _world_center(fixed)
        transform = to_itk_transform(moving_from_fixed, center)
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(_shrunken(fixed, grid_mm), _shrunken(moving, grid_mm))
        moving_from_fixed, information = from_itk_transform(transform), -float(method.GetMetricValue())
    return moving_from_fixed, information


def write_transform(path: Path, moving_from_fixed: Affine) -> None:
    """Write the mapping in ITK's text format (`.tfm`), as any ITK tool reads it."""
    sitk.WriteTransform(to_itk_transform(moving_from_fixed, np.zeros(3)), str(path))


def read_transform(path: Path) -> Affine:
    """Read an affine `.tfm` file back as RAS+ mm."""
    return from_itk_transform(sitk.AffineTransform(sitk.ReadTransform(str(path))))


def to_itk_image(volume: Volume) -> sitk.Image:
    """A SimpleITK image (LPS+) that shares the volume's grid and values."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.transpose(2, 1, 0)))
    lps = spaces.LPS_FROM_RAS @ volume.affine
    zooms = spaces.zooms_of(volume.affine)
    image.SetSpacing(zooms.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / zooms).ravel().tolist())
    return image


def to_array(image: sitk.Image) -> NDArray[Any]:
    """The values of an image of `to_itk_image` in the volume's order of axes."""
    array: NDArray[Any] = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    return array


def _shrunken(volume: Volume, grid_mm: float) -> sitk.Image:
    """Smooth and subsample to about the given grid."""
    zooms = spaces.zooms_of(volume.affine)
    factors = np.maximum(np.rint(grid_mm / zooms), 1).astype(int)
    image = to_itk_image(volume)
    sigmas = np.where(factors > 1, 0.4 * factors * zooms, 1e-3)
    smooth = sitk.SmoothingRecursiveGaussian(image, sigmas.tolist())
    shrunken: sitk.Image = sitk.Shrink(smooth, factors.tolist())
    return shrunken


def _world_center(volume: Volume) -> NDArray[np.float64]:
    return spaces.apply(volume.affine, (np.array(volume.array.shape) - 1) / 2)


def to_itk_transform(moving_from_fixed: Affine, center_ras: NDArray[np.float64]) -> sitk.AffineTransform:
    """The same mapping for ITK: y = A (x - c) + c + t; turning about the middle decouples the parameters."""
    lps = spaces.itk_from_ras(moving_from_fixed)
    center = spaces.LPS_FROM_RAS[:3, :3] @ center_ras
    transform = sitk.AffineTransform(3)
    transform.SetCenter(center.tolist())
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation((lps[:3, 3] + lps[:3, :3] @ center - center).tolist())
    return transform


def from_itk_transform(transform: Any) -> Affine:
    """The RAS+ affine of an ITK transform that has a matrix, a center and a translation."""
    matrix = np.array(transform.GetMatrix()).reshape(3, 3)
    center, shift = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    lps = np.eye(4)
    lps[:3, :3] = matrix
    lps[:3, 3] = shift + center - matrix @ center
    return spaces.itk_from_ras(lps)
