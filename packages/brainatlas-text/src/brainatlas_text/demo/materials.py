"""The materials anatomy is made of, one number a voxel.

Brain structures keep their canonical label numbers, all under 100; what else a head holds is numbered here.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
Point = tuple[float, float, float]
"""Millimeters, RAS+."""
WHITE, CORTEX = (2, 41), (3, 42)
VENTRICLES = (4, 43, 5, 44, 14, 15)
_TISSUE_WHITE = (*WHITE, 7, 46, 16)
"""By CMA's tissue classes the brain stem counts as white matter."""


class Material(IntEnum):
    """What a voxel holds where it holds no brain structure."""

    AIR = 0
    SULCAL_CSF = 100
    """CSF between the folds: part of the brain as skull stripping sees it."""
    OUTER_CSF = 101
    """CSF between brain and skull."""
    DURA = 102
    BONE = 103
    MARROW = 104
    FAT = 105
    SKIN = 106
    MUSCLE = 107
    EYE = 108
    LENS = 109
    MUCOSA = 110
    CORD = 111
    MARKER = 112
    """A capsule of oil stuck to the head, as OASIS put one on the left."""


def structures(materials: UInt8Array) -> UInt8Array:
    """The label map of materials: structures stay, everything else is 0."""
    return np.where(materials < Material.SULCAL_CSF, materials, 0).astype(np.uint8)


def is_brain(materials: UInt8Array) -> NDArray[np.bool_]:
    """What skull stripping keeps: structures and the CSF between the folds."""
    return (materials > 0) & (materials <= Material.SULCAL_CSF)


def tissues(materials: UInt8Array, *, filled: bool) -> UInt8Array:
    """0 background, 1 CSF (sulcal too if `filled`), 2 grey, 3 white matter."""
    table = np.zeros(256, dtype=np.uint8)
    table[1 : Material.SULCAL_CSF] = 2
    table[list(_TISSUE_WHITE)] = 3
    table[[*VENTRICLES, 24]] = 1
    table[Material.SULCAL_CSF] = 1 if filled else 0
    return table[materials]
