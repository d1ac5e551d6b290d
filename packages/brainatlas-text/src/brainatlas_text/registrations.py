"""What registration gives: where a scan lies in the hub, how it bends into it, how well that went.

Names read out-from-in, points are RAS+ mm. An affine serves every pair of scans; the warp on top of it
carries labels only:

    scan_from_hub = scan_from_bent @ bent_from_hub        voters: hub points to points of the scan
    hub_from_scan = hub_from_bent @ bent_from_scan        targets: points of the scan to hub points

"Bent" is the scan after its affine, in the hub's frame but not yet in its shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainatlas_text.records import Rejection

Matrix = tuple[tuple[float, ...], ...]
"""A 4 x 4 affine, row by row, float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformQuality:
    """How plausible a transform is and how well it matches; a row of `quality.parquet`."""

    similarity: float
    """Normalized mutual information of the two images at the result (higher is better)."""
    overlap: float
    """Dice overlap of the two brain masks, 0 to 1."""
    determinant: float
    """Volume ratio of the affine as named, out over in."""
    scales: tuple[float, float, float]
    """Its stretches along its principal directions, ascending (singular values)."""
    shear_deg: float
    """By how much it bends the right angle between two axes, at most."""
    jacobian: tuple[float, float] | None = None
    """Smallest and largest local volume ratio of a warp within the brain; None for an affine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubTransform:
    """Where a scan lies in the hub: `hub = hub_from_scan @ scan`."""

    key: str
    hub_from_scan: Matrix
    quality: TransformQuality
    look: Path
    """Three planes of the scan where it lies in the hub (SVG), for the registration page."""
    digest: str

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as an array of shape (4, 4)."""
        return np.array(self.hub_from_scan, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubWarp:
    """How a scan bends into the hub after its affine: two displacement fields in ITK's format.

    Both are sampled on one grid in the hub's frame and hold, as ITK has it, vectors in LPS mm.
    """

    key: str
    bent_from_hub: Path
    """Below the data set folder: field that maps hub points to points of the bent scan."""
    hub_from_bent: Path
    """Its inverse."""
    quality: TransformQuality
    look: Path
    """As of `HubTransform`, after the warp."""
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTransform:
    """A direct registration of two scans (`register.method = "direct"`); its inverse serves the other way."""

    moving: str
    fixed: str
    moving_from_fixed: Matrix
    quality: TransformQuality
    digest: str

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as an array of shape (4, 4)."""
        return np.array(self.moving_from_fixed, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformRejection(Rejection):
    """A registration that was refused, with what is known of it; a row of `quality.parquet` as well."""

    kind: Literal["affine", "warp", "pair"]
    quality: TransformQuality | None = None
    """None where it was refused before it was measured."""
    matrix: Matrix | None = None
    """Of an affine: `hub_from_scan` or `moving_from_fixed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAffines:
    """The affine of every pair of scans, whichever method gave it: whoever needs one asks this."""

    to_hub: Mapping[str, HubTransform]
    """By scan."""
    direct: Mapping[tuple[str, str], PairTransform] | None = None
    """By the two scans, in the order of their keys; None where pairs compose their transforms to the hub."""

    def knows(self, moving: str, fixed: str) -> bool:
        """Whether there is an affine for this pair; a scan has one with itself."""
        if self.direct is not None and moving != fixed:
            return pair_of(moving, fixed) in self.direct
        return moving in self.to_hub and fixed in self.to_hub

    def moving_from_fixed(self, moving: str, fixed: str) -> NDArray[np.float64]:
        """Maps points of the fixed scan to points of the moving scan, RAS+ mm, shape (4, 4)."""
        if moving == fixed:
            return np.eye(4)
        if self.direct is None:
            return np.linalg.inv(self.to_hub[moving].matrix) @ self.to_hub[fixed].matrix
        found = self.direct[pair_of(moving, fixed)]
        matrix = found.matrix if found.moving == moving else np.linalg.inv(found.matrix)
        return matrix.astype(np.float64)

    def digest_of(self, moving: str, fixed: str) -> list[str]:
        """What `moving_from_fixed` depends on."""
        if moving == fixed:
            return []
        if self.direct is None:
            return [self.to_hub[moving].digest, self.to_hub[fixed].digest]
        return [self.direct[pair_of(moving, fixed)].digest]

    def of(self, pairs: Iterable[tuple[str, str]]) -> PairAffines:
        """Those of some pairs (moving, fixed) alone: what a task needs to carry."""
        wanted = {pair_of(moving, fixed) for moving, fixed in pairs}
        scans = sorted({key for pair in wanted for key in pair})
        direct = None
        if self.direct is not None:
            direct = {pair: self.direct[pair] for pair in sorted(wanted) if pair[0] != pair[1]}
        return PairAffines(to_hub={key: self.to_hub[key] for key in scans}, direct=direct)


def pair_of(moving: str, fixed: str) -> tuple[str, str]:
    """The unordered pair: one registration serves both directions."""
    return (moving, fixed) if moving <= fixed else (fixed, moving)
