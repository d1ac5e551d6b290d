"""Bend expected tissue maps to the tissues found in a scan: diffeomorphic demons on a 4 mm grid.

Fast symmetric forces after Vercauteren et al. (NeuroImage 2009), as SimpleITK implements them. Both images
are maps of tissue, not intensities, so that one measure serves every sequence.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from brainatlas_text import volumes
from brainatlas_text.engines import itk
from brainatlas_text.engines.head_template import TISSUE_VALUES
from brainatlas_text.engines.tissue_classes import Shares
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

GRID_MM, STIFFNESS_MM = 4.0, 8.0
"""The field is smooth over `STIFFNESS_MM` (sigma): it follows lobes, not gyri."""
_ITERATIONS, _SMOOTH_MM = 30, 2.0


def bend(expected: Shares, found: Shares, affine: Affine) -> Shares:
    """The expected shares of white matter, grey matter and fluid, moved to where they were found."""
    field = _field(_values(found, affine), _values(expected, affine))
    moved = [
        itk.to_array(sitk.Resample(itk.to_itk_image(Volume(share, affine)), field)) for share in expected
    ]
    return np.stack(moved)


def _field(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    """The displacement from fixed points to moving points, in mm."""
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(_ITERATIONS)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(STIFFNESS_MM / GRID_MM)
    field = demons.Execute(fixed, moving)
    return sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))


def _values(shares: Shares, affine: Affine) -> sitk.Image:
    """One map for all three, smoothed, on the coarse grid."""
    values = Volume(np.tensordot(np.asarray(TISSUE_VALUES, dtype=np.float32), shares, 1), affine)
    smooth = ndimage.gaussian_filter(values.array, _SMOOTH_MM / values.zooms_mm)
    return itk.to_itk_image(volumes.thin_to(Volume(smooth, affine), GRID_MM))
