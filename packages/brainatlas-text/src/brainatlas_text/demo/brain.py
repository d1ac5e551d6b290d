"""The brain all synthetic people descend from: one material a voxel.

Input: template and label map (`templates`). Output: `Brain`, on the base grid within the brain's box.
The label map is made to agree with the template: its cortical ribbon, thinner than the template's, takes
the grey voxels around it, and what is left between the folds is sulcal CSF.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text.demo import templates
from brainatlas_text.demo.materials import CORTEX, VENTRICLES, WHITE, Material, UInt8Array

Box = tuple[slice, slice, slice]
_ONE = np.float32(1.0)
MARGIN = 4
_TEMPORAL_HORNS = {5: (17, 2), 44: (53, 41)}
"""Inferior lateral ventricle -> structures it may grow into."""
_HORN_VOXELS = 400
_TAKEN_BY_VENTRICLES = {4: (0, 2, 10, 11), 43: (0, 41, 49, 50), 14: (0, 10, 49, 28, 60), 15: (0, 16, 8, 47)}
"""The template's ventricles are a little larger than the map's -> what they may take."""
_FLUID_BELOW, _TISSUE_FROM, _GREY_FROM, _WHITE_BELOW = 45.0, 48.0, 62.0, 72.0
"""Template intensities: CSF near 26, cortex 66, white matter 87."""
_COLLAPSED = {31: 4, 63: 43}  # choroid plexus lies in the ventricles
_BY_SIDE = {77: WHITE, 80: WHITE, 85: (28, 60), **dict.fromkeys(range(251, 256), WHITE)}
"""No side of their own: hypointensities, optic chiasm and corpus callosum go to the side they lie on."""
_VESSELS = (30, 62)
_RIBBON = (*WHITE, *CORTEX)
_GROWS = (*CORTEX, 8, 47, 16)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Brain:
    """The base anatomy inside the brain's box; all arrays have the shape of `box`."""

    box: Box
    """Where the arrays lie in the base grid."""
    materials: UInt8Array
    mask: NDArray[np.bool_]
    """Brain with the CSF between its folds: what skull stripping keeps."""
    detail: NDArray[np.int8]
    """Template minus what the materials alone explain, in template units (grey to white is 21)."""
    openness: UInt8Array
    """Share of CSF nearby, 0 to 255: where sulci widen first."""
    neighbors: UInt8Array
    """Nearest cortex of each voxel of sulcal CSF beside it, else 0: what fills narrow sulci."""


def build_brain() -> Brain:
    """Read the templates and make materials, mask and detail of the brain; nothing around it."""
    whole_template, whole_map = templates.read_template(), templates.read_label_map()
    box = _box((whole_template > 0) | (whole_map > 0))
    template, label_map = whole_template[box], whole_map[box]
    labels = collapse(label_map, middle=-templates.BASE_ORIGIN_MM[0] - box[0].start)
    brain = ndimage.binary_fill_holes((template > 0) | (labels > 0))
    _agree_with_template(labels, template, brain)
    csf = brain & (labels == 0)
    labels[csf] = Material.SULCAL_CSF
    neighbors = np.where(np.isin(labels, CORTEX), labels, 0).astype(np.uint8)
    grow(neighbors, into=csf, steps=1, sources=CORTEX)
    neighbors[~csf] = 0
    return Brain(
        box=box,
        materials=labels,
        mask=brain,
        detail=_detail(template, labels, brain),
        openness=(ndimage.gaussian_filter(csf.astype(np.float32), 1.2) * 255).astype(np.uint8),
        neighbors=neighbors,
    )


def _box(mask: NDArray[np.bool_]) -> Box:
    """Bounding box of a mask with a margin of `MARGIN` voxels."""
    (tight,) = ndimage.find_objects(mask.astype(np.uint8))
    i, j, k = (slice(side.start - MARGIN, side.stop + MARGIN) for side in tight)
    return i, j, k


def _agree_with_template(labels: UInt8Array, template: NDArray[np.float32], brain: NDArray[np.bool_]) -> None:
    """Give voxels that the map leaves out, or the template contradicts, to the structure beside them."""
    around = ndimage.gaussian_filter(template, 2.0) / (ndimage.gaussian_filter(brain * _ONE, 2.0) + 0.01)
    sharp = template + 1.5 * (template - around)  # opens narrow sulci
    grow(labels, into=brain & (labels == 0) & (sharp > _GREY_FROM), steps=3, sources=_GROWS)
    for white, cortex in zip(WHITE, CORTEX, strict=True):
        beside = ndimage.binary_dilation(labels == cortex)
        labels[beside & (labels == white) & (template < _WHITE_BELOW)] = cortex
    for ventricle, donors in _TAKEN_BY_VENTRICLES.items():
        for _ in range(2):
            beside = ndimage.binary_dilation(labels == ventricle)
            labels[beside & brain & np.isin(labels, donors) & (template < _FLUID_BELOW)] = ventricle
    for white, ventricle in zip(WHITE, (4, 43), strict=True):  # the septum, which the map leaves out
        labels[(labels == ventricle) & (template > _TISSUE_FROM)] = white
    for horn, donors in _TEMPORAL_HORNS.items():
        _open_horn(labels, template, horn, donors)


def collapse(label_map: NDArray[np.int16], *, middle: int) -> UInt8Array:
    """FreeSurfer numbers to canonical ones: parcels to cortex, no vessels, corpus callosum to its side.

    `middle` is the index of the midline along the first axis, which runs from left to right.
    """
    table = np.zeros(int(label_map.max()) + 1, dtype=np.uint8)
    plain = np.arange(min(100, len(table)))
    table[plain] = plain
    table[1000:2000], table[2000:] = CORTEX
    for number, canonical in _COLLAPSED.items():
        table[number] = canonical
    for number in (*_VESSELS, *_BY_SIDE):
        table[number] = 0
    labels = table[label_map]
    is_right = (np.arange(len(labels)) >= middle)[:, None, None] & np.ones(labels.shape, dtype=bool)
    for number, (left, right) in _BY_SIDE.items():
        here = label_map == number
        labels[here] = np.where(is_right[here], right, left)
    vessels = np.isin(label_map, _VESSELS)
    grow(labels, into=vessels, steps=4, sources=tuple(np.unique(labels)[1:].tolist()))
    return labels


def grow(labels: UInt8Array, *, into: NDArray[np.bool_], steps: int, sources: tuple[int, ...]) -> None:
    """Let `sources` grow in place into empty voxels of `into`, one face neighbor a step."""
    is_source = np.zeros(256, dtype=bool)
    is_source[list(sources)] = True
    shape = labels.shape
    strides = (shape[1] * shape[2], shape[2], 1)
    flat = labels.ravel()  # a view: `into` never touches the border of the grid
    todo = np.flatnonzero(into.ravel() & ~is_source[flat])
    for _ in range(steps):
        before = flat[todo]
        found = np.zeros_like(before)
        for stride in strides:
            for neighbor in (flat[todo - stride], flat[todo + stride]):
                found = np.where((found == 0) & is_source[neighbor], neighbor, found)
        flat[todo] = np.where(found > 0, found, before)
        todo = todo[found == 0]


def _open_horn(labels: UInt8Array, template: NDArray[np.float32], horn: int, donors: tuple[int, ...]) -> None:
    """Grow a temporal horn, a few voxels in the map, into the darkest voxels around it."""
    near = _box(labels == horn)
    part, shade = labels[near], template[near]
    for _ in range(MARGIN):
        missing = _HORN_VOXELS - np.count_nonzero(part == horn)
        around = np.argwhere(ndimage.binary_dilation(part == horn) & np.isin(part, donors))
        if missing <= 0 or len(around) == 0:
            return
        darkest = np.argsort(shade[tuple(around.T)], kind="stable")
        taken = around[darkest[: min(missing, len(around) // 2 + 1)]]
        part[tuple(taken.T)] = horn


def _detail(template: NDArray[np.float32], labels: UInt8Array, brain: NDArray[np.bool_]) -> NDArray[np.int8]:
    """What the template shows inside structures: foliage of the cerebellum, tracts, nuclei."""
    typical = np.zeros(256, dtype=np.float32)
    weight = np.zeros(256, dtype=np.float32)
    for number in np.unique(labels[brain]):
        typical[number] = np.median(template[labels == number])
        weight[number] = 0.35 if number in _RIBBON else 1.0
    weight[[Material.SULCAL_CSF, 24, *VENTRICLES]] = 0.0
    typical[Material.SULCAL_CSF] = typical[4]
    explained = ndimage.gaussian_filter(typical[labels], 0.7)
    rest = (template - explained) * ndimage.gaussian_filter(weight[labels], 0.7)
    detail: NDArray[np.int8] = np.rint(np.clip(rest, -18, 18)).astype(np.int8)
    return detail
