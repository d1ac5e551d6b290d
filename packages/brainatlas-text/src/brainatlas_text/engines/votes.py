"""Count votes of label maps on one grid: plainly, or as the prior of a decision by brightness."""

from __future__ import annotations

from collections.abc import Sequence

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text.engines.block_matching import Shifts, between, interpolated
from brainatlas_text.labels import canonical_table

_BLUR_MM = 0.7
"""Standard deviation by which votes are blurred."""
_FAR_BLUR_MM, _FAR_SHARE = 2.5, 0.1
"""Folded tissue: this share of the votes is blurred further, for people's folds differ."""
_UNMOVED_SHARE = 0.6
"""Folded tissue: share of the votes of unshifted labels; a shift makes neighbors agree on wrong folds."""
_PRIOR_WEIGHT, _FOLDED_PRIOR_WEIGHT = 2.0, 1.5
"""Exponent of the prior, for brightness varies within structures too; larger for those whose places differ
less and whose contrast is lower."""
_LEAST_PRIOR = 0.003
"""A label with fewer blurred votes is not considered at a voxel."""
_FOLDED_GROUPS = ("white matter", "cortex", "cerebellum")


def majority(votes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The label most voters propose, and their share in per cent (uint8); `votes` is (voters, i, j, k).

    Of tied labels the earliest voter's wins.
    """
    flat = votes.reshape(len(votes), -1)
    winners = np.empty(flat.shape[1], dtype=np.uint8)
    agreement = np.empty(flat.shape[1], dtype=np.uint8)
    _vote(flat, winners, agreement)
    return winners.reshape(votes.shape[1:]), agreement.reshape(votes.shape[1:])


def share_behind(labels: NDArray[np.uint8], votes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Per cent of voters that propose the given labels, rounded half up."""
    counts = np.zeros(labels.shape, dtype=np.uint16)
    for vote in votes:
        counts += vote == labels
    per_cent: NDArray[np.uint8] = ((200 * counts + len(votes)) // (2 * len(votes))).astype(np.uint8)
    return per_cent


def most_likely(
    steps: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    votes: NDArray[np.uint8],
    unmoved: NDArray[np.uint8],
    shifts: Sequence[Shifts],
    likelihoods: NDArray[np.float32],
    zooms_mm: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """The label of greatest posterior: blurred votes as prior, times the likelihood of the brightness.

    A voter weighs as much as the target's brightness is likely under its labels around (Shifts.fit). Of tied
    labels the smallest number wins; none that nobody proposes is ever taken. 0 outside of the mask.
    """
    weights = _weights(shifts)
    block = shifts[0].block_vox
    best = np.full(inside.shape, -np.inf, dtype=np.float32)
    winners = np.zeros(inside.shape, dtype=np.uint8)
    for label, box in _boxes(votes, unmoved, zooms_mm):
        folded = _is_folded(label)
        prior = np.zeros(best[box].shape, dtype=np.float32)
        corner = np.array([axis.start for axis in box])
        share = _UNMOVED_SHARE if folded else 0.0
        _weighted_votes(votes[:, *box], unmoved[:, *box], weights, block, corner, label, share, prior)
        prior = _blurred(prior, zooms_mm, folded=folded)
        score = (
            np.log(prior + 1e-6) * (_FOLDED_PRIOR_WEIGHT if folded else _PRIOR_WEIGHT)
            + likelihoods[label][steps[box]]
        )
        better = (score > best[box]) & (prior > _LEAST_PRIOR) & inside[box]
        best[box][better] = score[better]
        winners[box][better] = label
    return winners


def _is_folded(label: int) -> bool:
    """Cortex, cerebellum, white matter between folds, and what lies around them."""
    return label == 0 or canonical_table()[label].group in _FOLDED_GROUPS


def _weights(shifts: Sequence[Shifts]) -> NDArray[np.float32]:
    """Share of each voter in each block, shape (voters, blocks...)."""
    fit = np.stack([shift.fit for shift in shifts])
    fit = np.stack([ndimage.gaussian_filter(one, 1.0) for one in fit])
    share = np.exp(fit - fit.max(axis=0))
    weights: NDArray[np.float32] = (share / share.sum(axis=0)).astype(np.float32)
    return weights


def _boxes(
    votes: NDArray[np.uint8], unmoved: NDArray[np.uint8], zooms_mm: NDArray[np.float64]
) -> list[tuple[int, tuple[slice, slice, slice]]]:
    """Each proposed label, ascending, with the box of its votes and of their blur."""
    margin = np.ceil(3 * _FAR_BLUR_MM / zooms_mm).astype(int)
    low = np.full((256, 3), np.iinfo(np.int64).max)
    high = np.full((256, 3), -1)
    for maps in (votes, unmoved):
        _extents(maps, low, high)
    found = []
    for label in np.flatnonzero(high[:, 0] >= 0).tolist():
        start = np.maximum(low[label] - margin, 0)
        stop = np.minimum(high[label] + 1 + margin, votes.shape[1:])
        i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        found.append((label, (i, j, k)))
    return found


def _blurred(
    votes: NDArray[np.float32], zooms_mm: NDArray[np.float64], *, folded: bool
) -> NDArray[np.float32]:
    near: NDArray[np.float32] = ndimage.gaussian_filter(votes, _BLUR_MM / zooms_mm)
    if not folded:
        return near
    far = ndimage.gaussian_filter(votes, _FAR_BLUR_MM / zooms_mm, truncate=3.0)
    both: NDArray[np.float32] = near * np.float32(1 - _FAR_SHARE) + far * np.float32(_FAR_SHARE)
    return both


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


@nb.njit(cache=True, nogil=True)
def _extents(votes, low, high):  # type: ignore[no-untyped-def]
    for voter in range(votes.shape[0]):
        for x in range(votes.shape[1]):
            for y in range(votes.shape[2]):
                for z in range(votes.shape[3]):
                    label = votes[voter, x, y, z]
                    low[label, 0], high[label, 0] = min(low[label, 0], x), max(high[label, 0], x)
                    low[label, 1], high[label, 1] = min(low[label, 1], y), max(high[label, 1], y)
                    low[label, 2], high[label, 2] = min(low[label, 2], z), max(high[label, 2], z)


@nb.njit(cache=True, nogil=True)
def _weighted_votes(votes, unmoved, weights, block, corner, label, unmoved_share, prior):  # type: ignore[no-untyped-def]
    bi, bj, bk = weights.shape[1:]
    for x in range(prior.shape[0]):
        i, i2, u = between(x + corner[0], block[0], bi)
        for y in range(prior.shape[1]):
            j, j2, v = between(y + corner[1], block[1], bj)
            for z in range(prior.shape[2]):
                for voter in range(votes.shape[0]):
                    share = 0.0
                    if votes[voter, x, y, z] == label:
                        share += 1 - unmoved_share
                    if unmoved[voter, x, y, z] == label:
                        share += unmoved_share
                    if share > 0:
                        k, k2, w = between(z + corner[2], block[2], bk)
                        weight = interpolated(weights[voter], i, i2, u, j, j2, v, k, k2, w)
                        prior[x, y, z] += share * weight
