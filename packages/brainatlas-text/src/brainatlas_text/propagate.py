"""Carry the labeled people's label maps to a scan, in one resampling.

Input: the target scan, the voters (scans with labels of their own) and for each voter the map from points of
the target to points of the voter (RAS+ mm): an affine, or affines and warps composed through the hub. Output:
one label map a voter, cropped to the box of the target's brain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainatlas_text import volumes
from brainatlas_text.engines import resample, warps
from brainatlas_text.engines.warps import PointMap
from brainatlas_text.labels import OUTER_CSF
from brainatlas_text.records import PreparedScan
from brainatlas_text.spaces import Affine
from brainatlas_text.workspace import Workspace

VERSION = 2


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The scan that is labeled, cropped to the box of its brain mask."""

    image: NDArray[np.uint16]
    inside: NDArray[np.bool_]
    """Its brain mask."""
    zooms_mm: tuple[float, float, float]
    start: tuple[int, int, int]
    """First voxel of the box in the full grid."""
    full_shape: tuple[int, int, int]
    affine: Affine
    """Of the full grid."""

    @property
    def box(self) -> resample.Box:
        """The box within the full grid."""
        i, j, k = self.inside.shape
        return self.start, (i, j, k)

    def uncropped(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The values of the box on the full grid, 0 around it."""
        full = np.zeros(self.full_shape, dtype=values.dtype)
        full[_slices(self.box)] = values
        return full


def read_target(scan: PreparedScan, workspace: Workspace) -> Target:
    """Read the scan that is labeled."""
    mask = volumes.load_prepared(workspace.root / scan.mask)
    image = volumes.load_prepared(workspace.root / scan.image)
    box = resample.box_of(mask.array)
    x, y, z = mask.zooms_mm.tolist()
    return Target(
        image=np.ascontiguousarray(image.array[_slices(box)]),
        inside=mask.array[_slices(box)] > 0,
        zooms_mm=(x, y, z),
        start=box[0],
        full_shape=mask.shape,
        affine=mask.affine,
    )


def candidates(
    target: Target,
    voters: Iterable[PreparedScan],
    voter_from_target: Callable[[str], PointMap],
    workspace: Workspace,
) -> Iterator[NDArray[np.uint8]]:
    """Yield what each voter proposes for the target's box; `voter_from_target` gives the map of a key.

    Canonical numbers, 0 where the voter has none; outer CSF never votes. Not yet cut to the target's brain
    mask. One voter's labels and fields are in memory at a time.
    """
    for voter in voters:
        if voter.dseg is None:
            raise ValueError(f"{voter.key} has no labels to vote with")
        labels = volumes.load_prepared(workspace.root / voter.dseg)
        moved = warps.sample_labels(voter_from_target(voter.key), target.affine, target.box, labels)
        moved[moved == OUTER_CSF] = 0
        yield moved


def _slices(box: resample.Box) -> tuple[slice, slice, slice]:
    (i, j, k), (a, b, c) = box
    return slice(i, i + a), slice(j, j + b), slice(k, k + c)
