"""Carry the label maps of the labeled people to a scan, through the hub, in one nearest-neighbor resampling.

Input: the target scan, the voters (scans with labels of their own) and the affines of all to the hub.
Output: one candidate label map a voter on the target's grid, zero outside the target's brain mask.
`voter_from_target = voter_from_hub @ hub_from_target`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import resample
from brainatlas_text.labels import OUTER_CSF
from brainatlas_text.records import PreparedScan
from brainatlas_text.registrations import HubTransform
from brainatlas_text.workspace import Workspace

VERSION = 1


def candidates(
    target: PreparedScan,
    voters: Iterable[PreparedScan],
    transforms: dict[str, HubTransform],
    workspace: Workspace,
) -> Iterator[NDArray[np.uint8]]:
    """Yield one candidate label map a voter, uint8 on the target's grid, in the voters' order."""
    mask = volumes.load_prepared(workspace.root / target.mask)
    box = resample.box_of(mask.array)
    inside = mask.array[_slices(box)] > 0
    for voter in voters:
        if voter.dseg is None:
            raise ValueError(f"{voter.key} has no labels to vote with")
        labels = volumes.load_prepared(workspace.root / voter.dseg)
        voter_from_target = spaces.invert(transforms[voter.key].matrix) @ transforms[target.key].matrix
        vox = spaces.invert(labels.affine) @ voter_from_target @ mask.affine
        moved = resample.nearest(labels.array, vox, box)
        moved[~inside | (moved == OUTER_CSF)] = 0
        full = np.zeros(mask.array.shape, dtype=np.uint8)
        full[_slices(box)] = moved
        yield full


def _slices(box: resample.Box) -> tuple[slice, slice, slice]:
    (i, j, k), (a, b, c) = box
    return slice(i, i + a), slice(j, j + b), slice(k, k + c)
