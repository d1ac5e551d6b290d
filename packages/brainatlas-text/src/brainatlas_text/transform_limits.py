"""Which transforms are refused, and why: the limits of the recipe's `register` keys, one after the other.

The first limit that a transform breaks is its reason. They were chosen from what good scans and planted
failures measure (`benchmarks/planted_failures.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brainatlas_text.engines.pose import Pose
from brainatlas_text.register_config import RegisterConfig
from brainatlas_text.registrations import TransformQuality


class Refused(NamedTuple):
    """A reason to count by, and what was expected and found."""

    reason: str
    detail: str


def check_content(image: NDArray[np.float32], mask: NDArray[np.uint8]) -> Refused | None:
    """Refuse a brain mask that is empty and an image that shows nothing inside it, before any search."""
    inside = image[mask > 0]
    if not inside.size:
        return Refused("low_overlap", "has an empty brain mask")
    if np.ptp(inside) == 0:
        return Refused("low_similarity", f"shows nothing: all voxels of its brain are {inside[0]:g}")
    return None


def check_poses(
    poses: tuple[Pose, Pose], overlaps: Sequence[float], config: RegisterConfig
) -> Refused | None:
    """Refuse a scan that fits the hub better turned far from its header's axes, or is no whole brain.

    `poses` are those of `find_poses`, and `overlaps` the Dice of the masks at each. Half a brain overlaps by
    less than a whole one in all poses, so that a turn which seems better for it is no finding.
    """
    near, far = poses
    better = near.information / max(far.information, 1e-9)
    if better < config.min_orientation and overlaps[1] >= config.min_overlap:
        return Refused(
            "wrong_orientation",
            f"tells {1 / max(better, 1e-9):.2f} times more of the hub turned by {far.turn_deg:.0f} degrees, "
            f"register.min_orientation is {config.min_orientation:g}; its header may name the wrong axes",
        )
    if overlaps[0] < config.min_overlap:
        return Refused(
            "low_overlap",
            f"overlaps the hub by {overlaps[0]:.2f} Dice when turned and scaled alike in all directions, "
            f"register.min_overlap is {config.min_overlap:.2f}; part of the brain may be missing",
        )
    return None


def check_transform(
    quality: TransformQuality,
    onto: str,
    config: RegisterConfig,
    least_similarity: Literal["min_similarity", "min_pair_similarity"] = "min_similarity",
) -> Refused | None:
    """Refuse an affine by its figures; `onto` names what the scan was registered to."""
    low, _, high = quality.scales
    largest = max(high, 1 / max(low, 1e-9))
    volume = max(abs(quality.determinant), 1 / max(abs(quality.determinant), 1e-9))
    if quality.determinant <= 0:
        return Refused("mirrored", f"the affine to {onto} mirrors left and right")
    if largest > config.max_scale:
        said = f"is stretched by {low:.2f} to {high:.2f} to fit {onto}"
        return Refused("implausible_scale", f"{said}, register.max_scale is {config.max_scale:.2f}")
    if volume > config.max_determinant:
        said = f"changes {volume:.2f} times in volume to fit {onto}"
        return Refused(
            "implausible_volume", f"{said}, register.max_determinant is {config.max_determinant:.2f}"
        )
    if high / low > config.max_anisotropy:
        said = (
            f"is stretched {high / low:.2f} times more along one direction than along another to fit {onto}"
        )
        return Refused("implausible_shape", f"{said}, register.max_anisotropy is {config.max_anisotropy:.2f}")
    if quality.shear_deg > config.max_shear_deg:
        said = f"is sheared by {quality.shear_deg:.0f} degrees to fit {onto}"
        return Refused("implausible_shear", f"{said}, register.max_shear_deg is {config.max_shear_deg:.0f}")
    if quality.overlap < config.min_overlap:
        said = f"overlaps {onto} by {quality.overlap:.2f} Dice"
        return Refused("low_overlap", f"{said}, register.min_overlap is {config.min_overlap:.2f}")
    if quality.similarity < (limit := float(getattr(config, least_similarity))):
        said = f"has a normalized mutual information of {quality.similarity:.4f} with {onto}"
        return Refused("low_similarity", f"{said}, register.{least_similarity} is {limit:g}")
    return None
