"""Fuse candidate label maps into one: by the plain vote of the paper, or by matching them to the scan.

Input: the target and one candidate a voter on the target's box. Output: canonical numbers and, for each
voxel, the share of voters behind them in per cent. Background is a candidate like any other, so the result
never holds a number that no voter proposed.

`majority` (the paper's, section 2.1): the label with most votes; of tied ones the earliest voter's, voters
being ordered by key.

`matching` (default): registration to the hub leaves a few millimeters between two people, and votes say
nothing about the brightness of the voxel they label. So, twice, coarse then fine: (1) each structure's
brightness in this scan is learned from the labels so far, once the coil's part is divided out, (2) each
voter's labels are shifted block by block to where the scan's brightness is likeliest under them, (3) the
shifted votes, weighted by how likely they make the scan around, are the prior of the most probable label.
Nothing of it needs the voters' images, so T1w people label a FLAIR scan as well. Of tied labels the smallest
number wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from brainatlas_text.engines import block_matching, intensity_model, votes
from brainatlas_text.engines.block_matching import Search, Shifts
from brainatlas_text.records import VoterRule

VERSION = 3
LEVELS = (Search(block_mm=8.0, step_mm=1.5, radius=2), Search(block_mm=5.0, step_mm=1.0, radius=2))
"""Coarse, then fine; docs/decisions/0012-label-fusion.md has what else was tried."""


class LabelConfig(BaseModel):
    """How labels of unlabeled scans are made."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    method: Literal["matching", "majority"] = "matching"
    """`matching`: votes shifted and weighted to fit the scan's brightness; `majority`: the plain vote."""
    voters: VoterRule = "all"
    """Who votes for a scan: `all` labeled people but its own; `split`: those in validation or test only for
    scans of that split, so that nothing of their labels reaches training."""


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """A label map and how many voters stand behind it, on the candidates' grid."""

    labels: NDArray[np.uint8]
    agreement: NDArray[np.uint8]
    """Per cent of the voters that propose the label; 0 outside of the brain mask."""


def methods(config: LabelConfig) -> str:
    """One sentence for the card."""
    if config.method == "majority":
        return "Labels of unlabeled scans are the plain majority vote of the labeled people's."
    return (
        "Labels of unlabeled scans are voted by the labeled people: their label maps are shifted locally to "
        "where the scan's brightness is likeliest under them, weighted by that likelihood, and decided "
        "together with the brightness of each structure in this scan."
    )


def fuse(
    image: NDArray[np.uint16],
    inside: NDArray[np.bool_],
    zooms_mm: tuple[float, float, float],
    candidates: Iterable[NDArray[np.uint8]],
    config: LabelConfig,
) -> Fused:
    """Fuse label maps (uint8) that were carried to the grid of `image`, in the order of the voters' keys.

    `inside` is the scan's brain mask; nothing is labeled outside of it.
    """
    proposed = np.stack(list(candidates))
    labels, agreement = votes.majority(proposed)
    fused = Fused(labels=np.where(inside, labels, 0), agreement=np.where(inside, agreement, 0))
    if config.method == "matching" and inside.any():
        return _matched(image, inside, np.array(zooms_mm), proposed, fused)
    return fused


def _matched(
    image: NDArray[np.uint16],
    inside: NDArray[np.bool_],
    zooms_mm: NDArray[np.float64],
    proposed: NDArray[np.uint8],
    fused: Fused,
) -> Fused:
    """The result after all levels, from the plain vote."""
    shifts: list[Shifts] = []
    for level in LEVELS:
        even = intensity_model.evened(image, fused.labels, inside, zooms_mm)
        steps = intensity_model.brightness(even, inside)
        likelihoods = intensity_model.log_likelihoods(steps, fused.labels, fused.agreement, inside)
        shifts = [
            block_matching.search(steps, inside, own, likelihoods, zooms_mm, level, before)
            for own, before in zip_longest(proposed, shifts)
        ]
        moved = np.stack([block_matching.shifted(*pair) for pair in zip(proposed, shifts, strict=True)])
        labels = votes.most_likely(steps, inside, moved, proposed, shifts, likelihoods, zooms_mm)
        agreement = np.where(inside, votes.share_behind(labels, moved), 0)
        fused = Fused(labels=labels, agreement=agreement)
    return fused
