"""What registration gives: where a scan lies in the hub, how it bends into it, how well that went.

Names read out-from-in, points are RAS+ mm. An affine serves every pair of scans; the warp on top of it
carries labels only:

    scan_from_hub = scan_from_bent @ bent_from_hub        voters: hub points to points of the scan
    hub_from_scan = hub_from_bent @ bent_from_scan        targets: points of the scan to hub points

"Bent" is the scan after its affine, in the hub's frame but not yet in its shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
