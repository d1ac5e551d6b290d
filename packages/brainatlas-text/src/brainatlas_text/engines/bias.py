"""N4 bias field correction by SimpleITK: fitted on a coarse copy, applied on the full grid."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from brainatlas_text.engines.itk import to_itk_image
from brainatlas_text.volumes import Volume

FIT_GRID_MM = 4.0
"""The field is smooth over several centimetres, so that a coarse copy fits it as well, in a second."""
ITERATIONS = (20, 20, 20)
MAX_LOG_FIELD = float(np.log(4.0))
"""The field may scale intensities by a factor of 4 at most; beyond the mask splines run away."""


def correct_bias(image: Volume, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The image divided by its bias field (Tustison et al., IEEE TMI 2010), fitted inside the mask.

    Single-threaded and without chance: equal input, equal output. Returns float32 on the image's grid.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    full = to_itk_image(Volume(np.asarray(image.array, dtype=np.float32), image.affine))
    factors = np.maximum(np.rint(FIT_GRID_MM / image.zooms_mm), 1).astype(int).tolist()
    inside = to_itk_image(Volume(mask.astype(np.uint8), image.affine))
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.SetConvergenceThreshold(1e-3)
    coarse_image, coarse_mask = sitk.BinShrink(full, factors), sitk.BinShrink(inside, factors)
    n4.Execute(coarse_image, coarse_mask)
    log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(full)).transpose(2, 1, 0)
    field = np.exp(np.clip(log_field, -MAX_LOG_FIELD, MAX_LOG_FIELD))
    return np.ascontiguousarray(image.array / field, dtype=np.float32)
