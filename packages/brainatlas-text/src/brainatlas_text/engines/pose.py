"""Where a brain lies in the template, roughly, from each of the 24 ways in which a header can name its axes.

From each of the 24 turns by right angles a rigid motion and one scale are improved until the scan's voxels
tell most of the template's (mutual information, smoothed to about 6 mm). A shell of air around the brain
counts as well: it holds the brain's outline. A scan whose header is right gains most near the turn that its
header states; one whose header lies gains more elsewhere. The template is taken to look alike in a mirror, so
that a mirrored scan shows as a turn, or, mirrored from left to right, not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import masks
from brainatlas_text.engines.information import Samples, information_and_slope, samples_of
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

GRID_MM, SHELL_MM = 6.0, 10.0
NEAR_DEG = 60.0
"""Turns up to here are the pose of a head; label maps of real people are tilted by up to 47 degrees."""
_SMOOTHING_VOXELS = 0.7
_UNITS = np.array([4.0] * 3 + [4.0 / 70.0] * 4)
"""Steps of shift (mm), turn (radians) and log scale that move the brain's surface by about 4 mm each."""
_BOUNDS = [(-15.0, 15.0)] * 3 + [(-18.0, 18.0)] * 3 + [(-5.0, 5.0)]
"""In those units: 60 mm, about 60 degrees, and a third in size."""
_SIZE_SPREAD, _NUM_INDEPENDENT = 0.15, 500.0
"""Standard deviation of the log scale about the masks' sizes, and voxels whose evidence is independent."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A place of the scan in the template."""

    template_from_scan: Affine
    information: float
    """Mutual information in nats; to be compared with other poses of the same scan only."""

    @property
    def turn_deg(self) -> float:
        """Angle of its rotation: how far the axes are from where the header says they are."""
        left, _, right = np.linalg.svd(self.template_from_scan[:3, :3])
        return float(np.degrees(Rotation.from_matrix(left @ right).magnitude()))


def find_poses(template: Volume, template_mask: Volume, scan: Volume, scan_mask: Volume) -> tuple[Pose, Pose]:
    """The best pose within `NEAR_DEG` of the header's axes, and the best one beyond.

    Images are brain only and show 0 outside, masks on the images' grids. The masks must not be empty.
    """
    target = _smoothed(template)
    samples = _samples(scan, scan_mask)
    (center, spread), (scan_center, scan_spread) = moments(template_mask), moments(scan_mask)
    scale = np.linalg.norm(spread) / np.linalg.norm(scan_spread)
    found = []
    for turn in right_angle_turns():
        start = np.eye(4)
        start[:3, :3] = turn * scale
        found.append(_improve(center, start @ spaces.translation(-scan_center), samples, target))
    near = [pose for pose in found if pose.turn_deg <= NEAR_DEG]
    far = [pose for pose in found if pose.turn_deg > NEAR_DEG]
    nowhere = Pose(spaces.translation(center - scan_center), 0.0)
    return tuple(max(group, key=lambda pose: pose.information, default=nowhere) for group in (near, far))  # type: ignore[return-value]


def right_angle_turns() -> tuple[NDArray[np.float64], ...]:
    """The 24 rotations that take axes to axes, the one that turns nothing first."""
    signed = (
        np.eye(3)[list(order)] * signs
        for order in permutations(range(3))
        for signs in product((1, -1), repeat=3)
    )
    return tuple(
        sorted((turn for turn in signed if np.linalg.det(turn) > 0), key=lambda turn: -np.trace(turn))
    )


def moments(mask: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Center of mass and standard deviation in mm along the world axes."""
    step = np.maximum(np.rint(3.0 / mask.zooms_mm), 1).astype(int)
    index = np.argwhere(mask.array[:: step[0], :: step[1], :: step[2]] > 0) * step
    points = spaces.apply(mask.affine, index)
    center: NDArray[np.float64] = points.mean(axis=0)
    spread: NDArray[np.float64] = points.std(axis=0)
    return center, spread


def _smoothed(template: Volume) -> Volume:
    """0 to 1, coarse, with a margin into which a scan may reach."""
    coarse = volumes.thin_to(template, GRID_MM)
    margin = int(np.ceil(2 * SHELL_MM / GRID_MM))
    array = ndimage.gaussian_filter(np.pad(coarse.array.astype(np.float32), margin), _SMOOTHING_VOXELS)
    array = np.clip(array / np.percentile(array[array > 0], 99.0), 0.0, 1.0)
    return Volume(np.ascontiguousarray(array), coarse.affine @ spaces.translation([-margin] * 3))


def _samples(scan: Volume, mask: Volume) -> Samples:
    """The brain and a shell of air, also where the scan's grid ends at the brain."""
    margin = np.ceil((SHELL_MM + GRID_MM) / scan.zooms_mm).astype(int)
    around = [(width, width) for width in margin.tolist()]
    affine = scan.affine @ spaces.translation(-margin)
    image = volumes.thin_to(Volume(np.pad(scan.array.astype(np.float32), around), affine), GRID_MM)
    brain = volumes.thin_to(Volume(np.pad((mask.array > 0).astype(np.float32), around), affine), GRID_MM)
    near = masks.dilate(brain.array > 0.5, SHELL_MM, image.zooms_mm)
    return samples_of(spaces.apply(image.affine, np.argwhere(near)), image.array[near])


def _improve(center: NDArray[np.float64], start: Affine, samples: Samples, target: Volume) -> Pose:
    """The nearest optimum over shift, turn about the template's center, and scale."""
    target_vox = spaces.invert(target.affine)

    def moved(parameters: NDArray[np.float64]) -> Affine:
        motion = np.eye(4)
        motion[:3, :3] = Rotation.from_rotvec(parameters[3:6]).as_matrix() * np.exp(parameters[6])
        motion[:3, 3] = center + parameters[:3]
        placed: Affine = motion @ start
        return placed

    def cost(steps: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = steps * _UNITS
        nats, slope = information_and_slope(samples, target.array, target_vox @ moved(parameters))
        gradient = np.empty(7)
        for index, step in enumerate(np.diag(1e-3 * _UNITS)):
            change = target_vox @ (moved(parameters + step) - moved(parameters - step))
            gradient[index] = (change[:3] * slope).sum() / 2e-3
        off = parameters[6] / _SIZE_SPREAD
        gradient[6] -= off / _SIZE_SPREAD / _NUM_INDEPENDENT * _UNITS[6]
        return off**2 / 2 / _NUM_INDEPENDENT - nats, -gradient

    options = {"maxiter": 40, "ftol": 1e-5}
    found = optimize.minimize(cost, np.zeros(7), jac=True, method="L-BFGS-B", bounds=_BOUNDS, options=options)
    return Pose(moved(found.x * _UNITS), -float(found.fun))
