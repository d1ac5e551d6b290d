"""Displacement fields and chains of maps: where a point goes, and what lies there, in one resampling.

A `Field` is a displacement in mm on a grid, in ITK's NIfTI form on disk (vectors in LPS) and RAS+ in memory.
A `PointMap` is a chain of affines and fields, first applied first:

    voter_from_target = voter_from_bent @ bent_from_hub @ hub_from_bent @ bent_from_target

It is composed in float64, one slab of the target's grid after the other, so that no grid of coordinates is
ever held, and images and label maps are sampled once at the end. Outside its grid a field displaces nothing,
as ITK has it; those made by SyN end in zero at their border, so nothing tears there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numba as nb
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from brainatlas_text import headers, spaces
from brainatlas_text.compression import gzipped
from brainatlas_text.engines.resample import Box
from brainatlas_text.errors import StageError
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

STEP_MM = 1 / 256
"""Stored displacements are multiples of this: far below what registration knows, and half the bytes."""
_LPS_SIGNS = np.array([-1.0, -1.0, 1.0], dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Displacements in RAS+ mm, float32 of shape (i, j, k, 3), and the grid's affine."""

    vectors: NDArray[np.float32]
    affine: Affine


@dataclass(frozen=True, slots=True, eq=False)
class PointMap:
    """Affines and fields that carry points (RAS+ mm) one after the other; the first is applied first."""

    steps: tuple[Affine | Field, ...]

    def then(self, following: PointMap) -> PointMap:
        """The map that applies this one and then the other: in names read out-from-in, `following @ self`."""
        return PointMap(self.steps + following.steps)

    def apply(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points of shape (..., 3)."""
        moved = np.array(points_mm, dtype=np.float64).reshape(-1, 3)
        for step in _merged(self.steps):
            _advance(moved, step)
        return moved.reshape(np.shape(points_mm))


def sample_labels(through: PointMap, target_affine: Affine, box: Box, labels: Volume) -> NDArray[np.uint8]:
    """The label (uint8) nearest to each mapped point of a box of the target's grid, 0 outside of theirs.

    `target_affine` is the full grid's.
    """
    found = np.empty(box[1], dtype=np.uint8)
    for slab, points in _slabs(through, target_affine, labels.affine, box):
        _nearest_at(labels.array, points, found[slab].reshape(-1))
    return found


def sample_image(through: PointMap, target_affine: Affine, box: Box, image: Volume) -> NDArray[np.float32]:
    """The linear intensity at each mapped point of a box of the target's grid, 0 outside of the image's."""
    found = np.empty(box[1], dtype=np.float32)
    for slab, points in _slabs(through, target_affine, image.affine, box):
        _linear_at(image.array, points, found[slab].reshape(-1))
    return found


def determinants(field: Field) -> NDArray[np.float32]:
    """Local volume ratio of `x -> x + field(x)` at each voxel: the determinant of its Jacobian."""
    inverse = spaces.invert(field.affine)[:3, :3]
    gradient = np.empty((*field.vectors.shape[:3], 3, 3), dtype=np.float32)
    for axis in range(3):  # derivatives along the grid's axes, then along the world's
        gradient[..., axis] = np.gradient(field.vectors, axis=axis)
    jacobian = gradient @ inverse.astype(np.float32) + np.eye(3, dtype=np.float32)
    found: NDArray[np.float32] = np.linalg.det(jacobian)
    return found


def write_field(path: Path, field: Field) -> None:
    """Write a field as ITK reads it: five axes, intent `vector`, LPS mm. Equal fields, equal bytes.

    antsApplyTransforms takes the file as it is, SimpleITK by
    `DisplacementFieldTransform(ReadImage(path, sitkVectorFloat64))`.
    """
    lps = np.rint(field.vectors * _LPS_SIGNS / STEP_MM) * STEP_MM
    image = nib.Nifti1Image(lps[:, :, :, None, :].astype(np.float32), field.affine)
    image.header.set_intent("vector")
    image.header.set_xyzt_units("mm")
    image.set_sform(field.affine, 1)
    image.set_qform(field.affine, 1)
    path.write_bytes(gzipped(image.to_bytes()))


def read_field(path: Path) -> Field:
    """Read a field of `write_field` or of ITK; raise StageError for a file that is none (any more)."""
    decompress: Any = igzip.decompress
    try:
        image: Any = nib.Nifti1Image.from_bytes(decompress(path.read_bytes()))
        array = np.asarray(image.dataobj, dtype=np.float32)
    except headers.READ_ERRORS as error:
        raise StageError(
            f"{path}: damaged since it was written ({headers.short(error)}); "
            "delete it and run the same command again"
        ) from error
    if array.ndim != 5 or array.shape[3:] != (1, 3):
        raise StageError(f"{path}: expected a displacement field, found shape {array.shape}; delete it")
    return Field(np.ascontiguousarray(array[:, :, :, 0] * _LPS_SIGNS), np.array(image.affine, dtype=float))


def _slabs(
    through: PointMap, target_affine: Affine, source_affine: Affine, box: Box
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The mapped points (voxels of the source) of one slab of the box after the other, in one buffer."""
    (i, j, k), shape = box
    to_first, steps, from_last = _ends(through, target_affine, source_affine)
    points = np.empty((shape[1] * shape[2], 3))
    for slab in range(shape[0]):
        _grid_points(to_first, i + slab, j, k, shape[2], points)
        for step in steps:
            _advance(points, step)
        _transform(points, from_last)
        yield slab, points


def _ends(
    through: PointMap, target_affine: Affine, source_affine: Affine
) -> tuple[Affine, list[Affine | Field], Affine]:
    """The map from voxel to voxel: its first affine, the steps between, its last affine."""
    first, *steps = _merged((target_affine, *through.steps, spaces.invert(source_affine)))
    last = steps.pop() if steps else np.eye(4)
    if isinstance(first, Field) or isinstance(last, Field):  # begins and ends with affines, merged or not
        raise TypeError("a chain of voxels begins and ends with affines")
    return first, steps, last


def _merged(steps: Iterable[Affine | Field]) -> list[Affine | Field]:
    """The same chain without two affines in a row."""
    merged: list[Affine | Field] = []
    for step in steps:
        before = merged[-1] if merged else None
        if before is None or isinstance(step, Field) or isinstance(before, Field):
            merged.append(step)
        else:
            merged[-1] = step @ before
    return merged


def _advance(points: NDArray[np.float64], step: Affine | Field) -> None:
    if isinstance(step, Field):
        _displace(points, step.vectors, spaces.invert(step.affine))
    else:
        _transform(points, np.ascontiguousarray(step, dtype=np.float64))


@nb.njit(cache=True, nogil=True)
def _grid_points(affine, i, j, k, depth, points):  # type: ignore[no-untyped-def]
    for n in range(points.shape[0]):
        b, c = j + n // depth, k + n % depth
        for axis in range(3):
            points[n, axis] = (
                affine[axis, 0] * i + affine[axis, 1] * b + affine[axis, 2] * c + affine[axis, 3]
            )


@nb.njit(cache=True, nogil=True)
def _transform(points, affine):  # type: ignore[no-untyped-def]
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for axis in range(3):
            points[n, axis] = (
                affine[axis, 0] * x + affine[axis, 1] * y + affine[axis, 2] * z + affine[axis, 3]
            )


@nb.njit(cache=True, nogil=True)
def _displace(points, vectors, vox_from_world):  # type: ignore[no-untyped-def]
    ni, nj, nk = vectors.shape[:3]
    m = vox_from_world
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        i = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
        j = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
        k = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
        if not (-0.5 <= i < ni - 0.5 and -0.5 <= j < nj - 0.5 and -0.5 <= k < nk - 0.5):
            continue
        i, j, k = min(max(i, 0.0), ni - 1.0), min(max(j, 0.0), nj - 1.0), min(max(k, 0.0), nk - 1.0)
        a, b, c = min(int(i), ni - 2), min(int(j), nj - 2), min(int(k), nk - 2)
        u, v, w = i - a, j - b, k - c
        for axis in range(3):
            low = (vectors[a, b, c, axis] * (1 - w) + vectors[a, b, c + 1, axis] * w) * (1 - v)
            low += (vectors[a, b + 1, c, axis] * (1 - w) + vectors[a, b + 1, c + 1, axis] * w) * v
            high = (vectors[a + 1, b, c, axis] * (1 - w) + vectors[a + 1, b, c + 1, axis] * w) * (1 - v)
            high += (vectors[a + 1, b + 1, c, axis] * (1 - w) + vectors[a + 1, b + 1, c + 1, axis] * w) * v
            points[n, axis] += low * (1 - u) + high * u


@nb.njit(cache=True, nogil=True)
def _nearest_at(source, points, out):  # type: ignore[no-untyped-def]
    ni, nj, nk = source.shape
    for n in range(points.shape[0]):
        i = int(np.floor(points[n, 0] + 0.5))
        j = int(np.floor(points[n, 1] + 0.5))
        k = int(np.floor(points[n, 2] + 0.5))
        out[n] = source[i, j, k] if 0 <= i < ni and 0 <= j < nj and 0 <= k < nk else 0


@nb.njit(cache=True, nogil=True)
def _linear_at(source, points, out):  # type: ignore[no-untyped-def]
    ni, nj, nk = source.shape
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        if not (0.0 <= x <= ni - 1 and 0.0 <= y <= nj - 1 and 0.0 <= z <= nk - 1):
            out[n] = 0.0
            continue
        i, j, k = min(int(x), ni - 2), min(int(y), nj - 2), min(int(z), nk - 2)
        u, v, w = x - i, y - j, z - k
        low = (source[i, j, k] * (1 - w) + source[i, j, k + 1] * w) * (1 - v)
        low += (source[i, j + 1, k] * (1 - w) + source[i, j + 1, k + 1] * w) * v
        high = (source[i + 1, j, k] * (1 - w) + source[i + 1, j, k + 1] * w) * (1 - v)
        high += (source[i + 1, j + 1, k] * (1 - w) + source[i + 1, j + 1, k + 1] * w) * v
        out[n] = low * (1 - u) + high * u
