"""The base anatomy as people are made from it: brain, head and what is the same for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import spaces
from brainatlas_text.demo import templates
from brainatlas_text.demo.brain import Brain, build_brain
from brainatlas_text.demo.head import build_head
from brainatlas_text.demo.materials import VENTRICLES, FloatArray, Point, UInt8Array
from brainatlas_text.spaces import Affine

FIELD_STEP_MM = 4
FIELD_SHAPE = tuple(-(-n // FIELD_STEP_MM) + 1 for n in templates.BASE_SHAPE)
"""Grid of displacements: every fourth millimeter of the base grid."""
BASE_FROM_FIELD: Affine = templates.BASE_AFFINE @ np.diag([FIELD_STEP_MM] * 3 + [1.0])
"""Voxels of that grid to mm."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anatomy:
    """The base anatomy; arrays without another shape have `templates.BASE_SHAPE`."""

    brain: Brain
    materials: UInt8Array
    """Of the whole head; in the brain people replace them by their own."""
    detail: NDArray[np.int8]
    """`Brain.detail`, 0 around the brain."""
    marker_mm: Point
    ventricle_pull: FloatArray
    """Field towards the ventricles, at most 1, shape (*FIELD_SHAPE, 3): sampling along it enlarges them."""


def build_anatomy() -> Anatomy:
    """Read the installed templates and make everything that people share. Takes some seconds."""
    brain = build_brain()
    head = build_head(brain)
    detail = np.zeros(templates.BASE_SHAPE, dtype=np.int8)
    detail[brain.box] = brain.detail
    return Anatomy(
        brain=brain,
        materials=head.materials,
        detail=detail,
        marker_mm=head.marker_mm,
        ventricle_pull=_ventricle_pull(brain),
    )


def _ventricle_pull(brain: Brain) -> FloatArray:
    fluid = np.isin(brain.materials, VENTRICLES).astype(np.float32)
    fluid = ndimage.gaussian_filter(fluid, 6.0, truncate=2.5)
    start = spaces.translation([side.start for side in brain.box])
    box_from_field = spaces.invert(templates.BASE_AFFINE @ start) @ BASE_FROM_FIELD
    coarse = ndimage.affine_transform(
        fluid, box_from_field[:3, :3], box_from_field[:3, 3], FIELD_SHAPE, order=1, mode="nearest"
    )
    pull = np.stack(np.gradient(coarse), axis=-1)
    unit: FloatArray = (pull / np.sqrt((pull**2).sum(-1)).max()).astype(np.float32)
    return unit
