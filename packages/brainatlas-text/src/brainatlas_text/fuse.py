"""Fuse candidate label maps into one, by majority.

Input: candidate maps of one grid, one a voter, uint8 canonical numbers. Output: the label with most votes
and the share of voters behind it in per cent. Of tied labels the one proposed by the earliest voter wins
(voters are ordered by key), so the result never holds a number that no voter proposed. Background is a
candidate like any other. This is the plain vote of the paper (section 2.1).
"""

from __future__ import annotations

from collections.abc import Iterable

import numba as nb
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from brainatlas_text.records import VoterRule

VERSION = 1
METHODS = (
    "Labels of unlabeled scans are the plain majority vote of the labeled people, carried through the hub."
)


class LabelConfig(BaseModel):
    """How labels of unlabeled scans are made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    voters: VoterRule = "all"
    """Who votes for a scan: `all` labeled people but its own; `split`: those in validation or test only for
    scans of that split, so that nothing of their labels reaches training."""


def majority(candidates: Iterable[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the winning labels and their agreement (per cent, uint8), both of the candidates' shape."""
    stack = np.stack(list(candidates))
    flat = stack.reshape(len(stack), -1)
    winners = np.empty(flat.shape[1], dtype=np.uint8)
    agreement = np.empty(flat.shape[1], dtype=np.uint8)
    _vote(flat, winners, agreement)
    return winners.reshape(stack.shape[1:]), agreement.reshape(stack.shape[1:])


@nb.njit(cache=True, nogil=True)
def _vote(flat, winners, agreement):  # type: ignore[no-untyped-def]
    num_voters = flat.shape[0]
    for voxel in range(flat.shape[1]):
        best, most = flat[0, voxel], 0
        for voter in range(num_voters):
            label, votes = flat[voter, voxel], 0
            for other in range(num_voters):
                if flat[other, voxel] == label:
                    votes += 1
            if votes > most:  # strictly: an earlier voter's label keeps a tie
                best, most = label, votes
            if most == num_voters:
                break
        winners[voxel] = best
        agreement[voxel] = (200 * most + num_voters) // (2 * num_voters)
