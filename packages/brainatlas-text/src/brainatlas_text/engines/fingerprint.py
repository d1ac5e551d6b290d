"""A brain's fingerprint: which way its edges run at each point of the hub, whatever the sequence.

At each point the gradient g of the image gives six numbers, those of g g' / (|g|^2 + e^2): the direction of
an edge without its sign or strength, so that T1w, T2w and FLAIR of one person agree where their tissues meet
(normalized gradient fields: Haber and Modersitzki, Methods of Information in Medicine 46, 2007). Two
fingerprints are alike by their cosine over the points that both show: 1 for the same edges, less than
1/3 for directions that have nothing to do with each other. What that is worth: `benchmarks/same_person.py`.

The brain's outline is left out, because it says more of the mask than of the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import resample
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

VERSION = 1
GRID_MM = 2.0
_SMOOTHING_VOXELS = 0.7
_OUTLINE_VOXELS = 2
_WITHIN = 0.95
"""Share of a voxel that the mask must fill."""
_PARTS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Entries of the symmetric matrix; those off the diagonal count twice."""
_SCALE = 127.0


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Points of the hub at which brains are compared, mirror-symmetric about the middle of its brain."""

    affine: Affine
    points: NDArray[np.bool_]
    """Which voxels of the grid are compared, shape (i, j, k)."""

    def mirror(self) -> NDArray[np.intp]:
        """For each compared point the number of the one on the other side, shape (num_points,)."""
        numbers = np.full(self.points.shape, -1)
        numbers[self.points] = np.arange(np.count_nonzero(self.points))
        return np.asarray(numbers[::-1][self.points])


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """Edges of one brain."""

    edges: NDArray[np.int8]
    """Entries xx, yy, zz, xy, xz, yz in 127ths, the last three times the root of 2; (num_points, 6)."""
    inside: NDArray[np.bool_]
    """Where the scan shows brain, shape (num_points,)."""

    def mirrored(self, mirror: NDArray[np.intp]) -> Fingerprint:
        """That of the same brain with left and right exchanged; `mirror` as of `Grid`."""
        return Fingerprint(mirrored(self.edges, mirror), self.inside[mirror])

    def save(self, path: Path) -> None:
        """Write an uncompressed `.npz`."""
        np.savez(path, edges=self.edges, inside=self.inside)


def mirrored(edges: NDArray[Any], mirror: NDArray[np.intp]) -> NDArray[Any]:
    """Edges with left and right exchanged: places swap sides, and xy and xz change their sign."""
    return np.asarray(edges[mirror] * np.array([1, 1, 1, -1, -1, 1], dtype=edges.dtype))


def load(path: Path) -> Fingerprint:
    """Read what `Fingerprint.save` wrote."""
    with np.load(path) as arrays:
        return Fingerprint(arrays["edges"], arrays["inside"])


def grid_of(hub_mask: Volume) -> Grid:
    """The points within a hub's brain."""
    start, size = resample.box_of(hub_mask.array)
    middle = spaces.apply(hub_mask.affine, np.array(start) + (np.array(size) - 1) / 2)
    shape = np.ceil(np.array(size) * hub_mask.zooms_mm / GRID_MM).astype(int)
    affine = np.diag([GRID_MM] * 3 + [1.0])
    affine[:3, 3] = middle - (shape - 1) / 2 * GRID_MM
    box: resample.Box = ((0, 0, 0), (int(shape[0]), int(shape[1]), int(shape[2])))
    shown = resample.nearest(hub_mask.array, spaces.invert(hub_mask.affine) @ affine, box) > 0
    return Grid(affine=affine, points=shown | shown[::-1])


def fingerprint(image: Volume, mask: Volume, scan_from_hub: Affine, grid: Grid) -> Fingerprint:
    """The fingerprint of a brain; `mask` lies on the image's grid."""
    brain = Volume((mask.array > 0).astype(np.float32), mask.affine)
    inside = _in_hub(brain, scan_from_hub, grid) > _WITHIN
    shown = _in_hub(Volume(image.array.astype(np.float32), image.affine), scan_from_hub, grid) * inside
    weight = ndimage.gaussian_filter(inside.astype(np.float32), _SMOOTHING_VOXELS)
    smooth = ndimage.gaussian_filter(shown, _SMOOTHING_VOXELS) / np.maximum(weight, 1e-2)
    inside = ndimage.binary_erosion(inside, iterations=_OUTLINE_VOXELS) & grid.points
    slopes = [part[inside] for part in np.gradient(smooth)]
    power = slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2
    usual = float(np.median(power)) if power.size else 0.0
    edges = np.zeros((*grid.points.shape, len(_PARTS)), dtype=np.int8)
    for place, (one, other) in enumerate(_PARTS):
        factor = _SCALE * (1.0 if one == other else np.sqrt(2.0))
        edges[inside, place] = np.rint(factor * slopes[one] * slopes[other] / (power + usual + 1e-12))
    return Fingerprint(edges[grid.points], inside[grid.points])


def likenesses(ones: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> NDArray[np.float64]:
    """Each one with each other, shape (len(ones), len(others)); 0.0 where two show nothing in common."""
    (edges, inside), (edges_too, inside_too) = _stacked(ones), _stacked(others)
    shared = edges.reshape(len(ones), -1) @ edges_too.reshape(len(others), -1).T
    power = np.square(edges).sum(axis=2) @ inside_too.T
    power_too = inside @ np.square(edges_too).sum(axis=2).T
    lengths = np.sqrt(power.astype(np.float64) * power_too)
    return np.where(lengths > 0, shared / np.maximum(lengths, 1e-12), 0.0)


def beyond(
    one: Fingerprint, other: Fingerprint, means: tuple[NDArray[Any], NDArray[Any]], num_others: float
) -> float:
    """Cosine of what two brains have beyond what others have in common, about 0 for two people.

    `means`, as of `Pool.mean`, are those of the others, for either brain; they come from `num_others` people.
    A mean of few people still holds something of each. Both brains lack it alike where one mean serves both:
    that part of the cosine, 1 / (num_others + 1) for two strangers, is taken off. Where one brain is
    mirrored, and its mean with it, it only weakens the cosine, which is made up for. Without others this is
    the likeness.
    """
    both = one.inside & other.inside
    left, right = (item.edges[both] - mean[both] for item, mean in zip((one, other), means, strict=True))
    length = float(np.sqrt(np.square(left).sum(dtype=np.float64) * np.square(right).sum(dtype=np.float64)))
    cosine = float((left * right).sum(dtype=np.float64)) / length if length > 0 else 0.0
    shared = 1.0 if means[0] is means[1] else 0.0
    return (cosine * (num_others + 1) - shared) / num_others if num_others else cosine


class Pool:
    """Sum of fingerprints, from which some can be taken out again."""

    def __init__(self, num_points: int) -> None:
        """Empty."""
        self._edges = np.zeros((num_points, len(_PARTS)), dtype=np.int32)
        self._counts = np.zeros(num_points, dtype=np.int32)

    def add(self, item: Fingerprint) -> None:
        """Take one in."""
        self._edges += item.edges
        self._counts += item.inside

    def mean(self, without: Sequence[Fingerprint]) -> NDArray[np.float32]:
        """The mean of all but some, point by point, in 127ths; 0 where nobody is left."""
        edges, counts = self._edges.copy(), self._counts.copy()
        for item in without:
            edges -= item.edges
            counts -= item.inside
        return np.asarray(edges / np.maximum(counts, 1)[:, None], dtype=np.float32)


def _in_hub(volume: Volume, scan_from_hub: Affine, grid: Grid) -> NDArray[np.float32]:
    """A volume on the grid, thinned first so that no voxel is passed over."""
    thin = volumes.thin_to(volume, GRID_MM)
    scan_vox_from_grid = spaces.invert(thin.affine) @ scan_from_hub @ grid.affine
    i, j, k = grid.points.shape
    return resample.linear(np.ascontiguousarray(thin.array), scan_vox_from_grid, ((0, 0, 0), (i, j, k)))


def _stacked(items: Sequence[Fingerprint]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    edges = np.stack([item.edges for item in items]).astype(np.float32) / np.float32(_SCALE)
    return edges, np.stack([item.inside for item in items]).astype(np.float32)
