"""Fit the head template to a scan of a head, from no more than its header's axes.

Over the scan's voxels, which stay the same whatever the guess, mutual information measures how well the
template explains the scan. (The other way round a larger template explains more.) Sizes and shapes that are
rare among heads are penalized (after Ashburner et al., NeuroImage 1997), so that a fit cannot run away.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.spatial.transform import Rotation

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import masks, resample
from brainatlas_text.engines.head_template import CENTER_MM, LENGTH_MM, TOP_MM, WIDTH_MM, HeadTemplate
from brainatlas_text.engines.information import Samples, information, information_and_slope, samples_of
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

Parameters = NDArray[np.float64]
"""Shift of the brain's middle (3, mm), turn (3, radians), log size, and five of shape; shape (12,)."""

_SKIN_X_MM, _SKIN_Y_MM, _SKIN_Z_MM = 18.0, 26.0, 14.0
"""What skull and scalp add to the brain's width, length and top."""
_SHIFTS_Z_MM, _SHIFTS_Y_MM = (-12.0, 0.0, 12.0, 24.0), (-12.0, 0.0, 12.0)
_PITCHES_DEG, _ROLLS_DEG, _YAWS_DEG = (-20.0, -7.0, 7.0, 20.0), (-12.0, 0.0, 12.0), (-12.0, 0.0, 12.0)
_SCALES = (0.92, 1.02)
_NUM_STARTS = 4
_UNITS = np.array([4.0] * 3 + [4.0 / 70.0] * 9)
"""Steps of the parameters that move the brain's surface by about 4 mm each."""
_SIMILARITY = np.arange(12) < 7
_SIZE_SPREAD, _SHAPE_SPREAD = 0.10, 0.04
"""Standard deviations among people of the logarithm of a head's size, and of its proportions."""
_NUM_INDEPENDENT = 500.0
"""Voxels whose evidence counts as independent."""
_REACHES_MM = (12.0, 8.0)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Where the template lies in a scan."""

    parameters: Parameters
    usual_log_size: float
    """What the size of the head lets expect."""

    @property
    def scan_from_template(self) -> Affine:
        """The affine, RAS+ mm."""
        return _affine(self.parameters)


def fit_head(head: Volume, template: HeadTemplate) -> Fit:
    """The template's place in a head on a grid of about 2 mm, by the outline of the head and all within."""
    foreground = masks.foreground(head)
    crown, scale = _crown_and_scale(head, foreground)
    coarse = _samples(head, _near_head(head, foreground, crown[2] - 150.0 * scale), 8.0)
    starts = [Fit(parameters, float(np.log(scale))) for parameters in _starts(crown, scale)]
    starts.sort(key=lambda start: -_information(start, coarse, template.head))
    fits = [_improve(start, coarse, template.head, _SIMILARITY) for start in starts[:_NUM_STARTS]]
    best = min(fits, key=lambda fit: _cost(fit, coarse, template.head)[0])
    fine = _samples(head, _near_head(head, foreground, crown[2] - 165.0 * scale), 4.0)
    return _improve(best, fine, template.head)


def refine_on_brain(head: Volume, template: HeadTemplate, fit: Fit) -> Fit:
    """Improve the fit by the brain and its close surroundings alone, twice, ever closer.

    `head` should be even in intensity; a dark crown would pull the template off it.
    """
    for reach_mm in _REACHES_MM:
        near = masks.dilate(template_brain(head, template, fit), reach_mm, head.zooms_mm)
        fit = _improve(fit, _samples(head, near, 4.0), template.brain)
    return fit


def template_brain(grid: Volume, template: HeadTemplate, fit: Fit) -> BoolArray:
    """The template's brain on the grid of a scan."""
    return np.asarray(moved_tissues(grid, template, fit).sum(axis=0) > 0.5)


def moved_tissues(grid: Volume, template: HeadTemplate, fit: Fit) -> NDArray[np.float32]:
    """Shares of white matter, grey matter and fluid on the grid of a scan, shape (3, i, j, k)."""
    template_from_grid_vox = spaces.invert(fit.scan_from_template) @ grid.affine
    return np.stack([
        resample.linear(
            tissue.array, spaces.invert(tissue.affine) @ template_from_grid_vox, ((0, 0, 0), grid.shape)
        )
        for tissue in template.tissues
    ])  # fmt: skip


def _affine(parameters: Parameters) -> Affine:
    """`scan_from_template`: stretch about the middle of the template's brain, turn, shift."""
    a, b, xy, xz, yz = parameters[7:]
    shape = np.array([[1 + a, xy, xz], [xy, 1 + b, yz], [xz, yz, 1 - a - b]])
    around = np.eye(4)
    around[:3, :3] = Rotation.from_rotvec(parameters[3:6]).as_matrix() @ shape * np.exp(parameters[6])
    moved: Affine = spaces.translation(parameters[:3]) @ around @ spaces.translation(-CENTER_MM)
    return moved


def _crown_and_scale(head: Volume, foreground: BoolArray) -> tuple[NDArray[np.float64], float]:
    """Top of the head above its middle (mm), and its size against the template's."""
    points = spaces.apply(head.affine, np.argwhere(foreground))
    top = float(np.percentile(points[:, 2], 99.8))
    skull_cap = points[points[:, 2] > top - 110.0]
    low, high = np.percentile(skull_cap, (0.5, 99.5), axis=0)
    extent, middle = high - low, (high + low) / 2
    scale = ((extent[0] - _SKIN_X_MM) / WIDTH_MM + (extent[1] - _SKIN_Y_MM) / LENGTH_MM) / 2
    return np.array([middle[0], middle[1], top]), float(np.clip(scale, 0.75, 1.15))


def _near_head(head: Volume, foreground: BoolArray, bottom_mm: float) -> BoolArray:
    """The head with a rim of air, down to a height."""
    near = masks.dilate(foreground, 12.0, head.zooms_mm)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in head.shape], indexing="ij"), axis=-1)
    return np.asarray(near & (spaces.apply(head.affine, index)[..., 2] > bottom_mm))


def _samples(head: Volume, region: BoolArray, grid_mm: float) -> Samples:
    """The scan in a region, on a coarser grid."""
    image = volumes.thin_to(head, grid_mm)
    inside = volumes.thin_to(Volume(region.astype(np.float32), head.affine), grid_mm).array > 0.5
    return samples_of(spaces.apply(image.affine, np.argwhere(inside)), image.array[inside])


def _starts(crown: NDArray[np.float64], scale: float) -> list[Parameters]:
    """Guesses below the crown of the head."""
    starts = []
    for up, forward, pitch, roll, yaw, factor in product(
        _SHIFTS_Z_MM, _SHIFTS_Y_MM, _PITCHES_DEG, _ROLLS_DEG, _YAWS_DEG, _SCALES
    ):
        size = scale * factor
        start = np.zeros(12)
        start[:3] = crown + np.array([0.0, forward, up - TOP_MM * size - _SKIN_Z_MM])
        start[3:6] = Rotation.from_euler("xyz", (pitch, roll, yaw), degrees=True).as_rotvec()
        start[6] = np.log(size)
        starts.append(start)
    return starts


def _information(fit: Fit, samples: Samples, target: Volume) -> float:
    target_vox_from_scan = spaces.invert(target.affine) @ spaces.invert(fit.scan_from_template)
    return information(samples, target.array, target_vox_from_scan)


def _cost(fit: Fit, samples: Samples, target: Volume) -> tuple[float, Parameters]:
    """Negative mutual information plus the penalty of a rare size or shape, and its gradient."""
    target_vox = spaces.invert(target.affine)
    nats, slope = information_and_slope(
        samples, target.array, target_vox @ spaces.invert(fit.scan_from_template)
    )
    turned = np.empty(12)
    for index, unit in enumerate(_UNITS):
        step = np.zeros(12)
        step[index] = 1e-3 * unit
        ends = [spaces.invert(_affine(fit.parameters + sign * step)) for sign in (1.0, -1.0)]
        turned[index] = ((target_vox @ (ends[0] - ends[1]))[:3] * slope).sum() / (2e-3 * unit)
    off = np.zeros(12)
    off[6] = (fit.parameters[6] - fit.usual_log_size) / _SIZE_SPREAD
    off[7:] = fit.parameters[7:] / _SHAPE_SPREAD
    spread = np.array([1.0] * 6 + [_SIZE_SPREAD] + [_SHAPE_SPREAD] * 5)
    penalty = (off**2).sum() / 2 / _NUM_INDEPENDENT
    return penalty - nats, off / spread / _NUM_INDEPENDENT - turned


def _improve(fit: Fit, samples: Samples, target: Volume, free: NDArray[np.bool_] | None = None) -> Fit:
    """The nearest optimum over the free parameters (all unless told)."""
    free = np.ones(12, dtype=bool) if free is None else free

    def moved(steps: NDArray[np.float64]) -> Fit:
        parameters = fit.parameters.copy()
        parameters[free] += steps * _UNITS[free]
        return Fit(parameters, fit.usual_log_size)

    def cost(steps: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = _cost(moved(steps), samples, target)
        return value, (gradient * _UNITS)[free]

    found = optimize.minimize(
        cost, np.zeros(int(free.sum())), jac=True, method="L-BFGS-B", options={"maxiter": 60, "ftol": 1e-7}
    )
    return moved(found.x)
