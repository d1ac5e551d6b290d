"""N4 bias field correction by SimpleITK: fitted on a coarse copy, applied on the full grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from brainatlas_text.engines.itk import to_array, to_itk_image
from brainatlas_text.volumes import Volume

MAX_LOG_FIELD = float(np.log(4.0))
"""The field may scale intensities by a factor of 4 at most; far from the mask its splines run away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasSchedule:
    """How finely the field is fitted."""

    grid_mm: float
    """The field is smooth over centimetres, so that a coarse copy of the scan serves."""
    iterations: tuple[int, ...]
    """At most, a level; each level doubles the control points of the field."""


FINE = BiasSchedule(grid_mm=4.0, iterations=(10, 10, 10, 10))
COARSE = BiasSchedule(grid_mm=8.0, iterations=(30, 30, 30))
"""Under a second; for what only has to look alike from end to end."""


def correct_bias(
    image: Volume, mask: NDArray[np.bool_], schedule: BiasSchedule = FINE
) -> NDArray[np.float32]:
    """The image divided by its bias field (Tustison et al., IEEE TMI 2010), fitted inside the mask.

    Single-threaded and without chance: equal input, equal output. Returns float32 on the image's grid.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    full = to_itk_image(Volume(np.asarray(image.array, dtype=np.float32), image.affine))
    inside = to_itk_image(Volume(mask.astype(np.uint8), image.affine))
    factors = np.maximum(np.rint(schedule.grid_mm / image.zooms_mm), 1).astype(int).tolist()
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(schedule.iterations)
    n4.SetConvergenceThreshold(1e-3)
    n4.Execute(sitk.BinShrink(full, factors), sitk.BinShrink(inside, factors))
    log_field = to_array(n4.GetLogBiasFieldAsImage(full))
    field = np.exp(np.clip(log_field, -MAX_LOG_FIELD, MAX_LOG_FIELD))
    return np.ascontiguousarray(image.array / field, dtype=np.float32)
