"""Figures of image quality, and how sure one can be of them. Pure: arrays in, numbers out.

MS-SSIM       Wang, Simoncelli, Bovik 2003: how alike two images are, pair by pair
Frechet       Heusel et al. 2017: how alike two sets of images are, from any features
intervals     95 %, from people and not from slices: slices of one person resemble each other

Legend: N images, P people, D features, H, W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

DATA_RANGE = 255.0
"""Of MS-SSIM: the images are 8-bit grey levels."""
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Wang 2003, finest scale first. With fewer scales the first ones, divided by their sum."""
WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03
T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Student's t, 97.5 % point for 1 to 30 degrees of freedom."""
Z_975 = 1.960


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure and its 95 % interval; the bounds are None where too few people stand behind it."""

    value: float
    low: float | None = None
    high: float | None = None


# --- MS-SSIM ---------------------------------------------------------------------------------------


def num_scales(height: int, width: int) -> int:
    """Scales on which the 11-pixel window fits: 5 from 176 pixels, 3 for 64.

    Raises:
        ValueError: not one window fits.
    """
    side = min(height, width)
    if side < WINDOW:
        raise ValueError(f"MS-SSIM: expected images of at least {WINDOW} pixels, found {height} x {width}")
    return min(len(SCALE_WEIGHTS), 1 + int(math.log2(side / WINDOW)))


def ms_ssim(
    first: NDArray[np.uint8], second: NDArray[np.uint8], boxes: NDArray[np.intp] | None = None
) -> NDArray[np.float64]:
    """Multi-scale structural similarity of image pairs, 1 where they are equal.

    Gaussian window of 11 pixels, sigma 1.5, only where it lies inside the image; data range 255;
    2 x 2 means between scales; `num_scales` scales; negative means count as 0.

    Args:
        first, second: uint8 [N, H, W].
        boxes: [N, 4] as first row, end row, first column, end column; the similarity is then averaged
            over windows centred in the box (`brain_boxes`) instead of everywhere.

    Returns:
        [N], 0 to 1.
    """
    if first.shape != second.shape or first.ndim != 3:
        raise ValueError(f"MS-SSIM: expected two stacks [N, H, W], found {first.shape} and {second.shape}")
    chunks = range(0, len(first), 64)
    whole = np.tile(np.array([0, first.shape[1], 0, first.shape[2]]), (len(first), 1))
    boxes = whole if boxes is None else boxes
    scores = [_ms_ssim_chunk(first[i : i + 64], second[i : i + 64], boxes[i : i + 64]) for i in chunks]
    return np.concatenate(scores) if scores else np.zeros(0)


def brain_boxes(images: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Box of the pixels above 0 of each image [N, H, W]; the whole image where there are none."""
    return np.array([_brain_box(image) for image in images], dtype=np.intp).reshape(-1, 4)


def _brain_box(image: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(image)
    if rows.size == 0:
        return 0, image.shape[0], 0, image.shape[1]
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


@torch.no_grad()
def _ms_ssim_chunk(
    first: NDArray[np.uint8], second: NDArray[np.uint8], boxes: NDArray[np.intp]
) -> NDArray[np.float64]:
    scales = num_scales(*first.shape[1:])
    weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    x, y = (torch.from_numpy(np.ascontiguousarray(a)).to(torch.float32)[:, None] for a in (first, second))
    score = np.ones(len(first))
    for scale in range(scales):
        luminance, contrast = _ssim_maps(x, y)
        terms = luminance * contrast if scale == scales - 1 else contrast
        score *= np.maximum(_means_in_boxes(terms, boxes, 2**scale), 0) ** weights[scale]
        x, y = functional.avg_pool2d(x, 2), functional.avg_pool2d(y, 2)
    return score


def _ssim_maps(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Luminance term, and contrast times structure, at each window: two of [N, 1, H - 10, W - 10]."""
    offsets = torch.arange(WINDOW, dtype=torch.float32) - WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    window = window / window.sum()
    stack = torch.cat([x, y, x * x, y * y, x * y])
    stack = functional.conv2d(stack, window.view(1, 1, -1, 1))
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = functional.conv2d(stack, window.view(1, 1, 1, -1)).chunk(5)
    c1, c2 = (K1 * DATA_RANGE) ** 2, (K2 * DATA_RANGE) ** 2
    variance_x, variance_y = mean_xx - mean_x**2, mean_yy - mean_y**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    contrast = (2 * (mean_xy - mean_x * mean_y) + c2) / (variance_x + variance_y + c2)
    return luminance, contrast


def _means_in_boxes(maps: torch.Tensor, boxes: NDArray[np.intp], shrink: int) -> NDArray[np.float64]:
    """Mean of each map over the windows centred in its box, at least one window."""
    values = maps[:, 0].double().numpy()
    height, width = values.shape[1:]
    means = []
    for value, (top, bottom, left, right) in zip(values, boxes, strict=True):
        rows = _windows(top, bottom, shrink, height)
        columns = _windows(left, right, shrink, width)
        means.append(value[rows, columns].mean())
    return np.array(means)


def _windows(start: int, end: int, shrink: int, size: int) -> slice:
    first = min(max(start // shrink - WINDOW // 2, 0), size - 1)
    last = min(max(-(-end // shrink) - WINDOW // 2, first + 1), size)
    return slice(first, last)


# --- Frechet distance ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums of features in float64: they add up over batches, people and processes."""

    count: float
    total: NDArray[np.float64]
    """[D]"""
    outer: NDArray[np.float64]
    """[D, D]"""

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Moments:
        """Moments of features [N, D]."""
        x = features.astype(np.float64)
        return cls(float(len(x)), x.sum(axis=0), x.T @ x)

    def __add__(self, other: Moments) -> Moments:
        """Moments of both together."""
        return Moments(self.count + other.count, self.total + other.total, self.outer + other.outer)

    def __mul__(self, weight: float) -> Moments:
        """Every image counted `weight` times."""
        return Moments(weight * self.count, weight * self.total, weight * self.outer)

    @property
    def mean(self) -> NDArray[np.float64]:
        """[D]"""
        return self.total / self.count

    @property
    def covariance(self) -> NDArray[np.float64]:
        """[D, D], unbiased."""
        centred = self.outer - np.outer(self.total, self.mean)
        return np.asarray(centred / (self.count - 1))


def frechet_distance(first: Moments, second: Moments) -> float:
    """Squared Frechet (Wasserstein-2) distance of the Gaussians with these moments; 0 when equal.

    |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2, the square roots through symmetric
    eigen-decompositions. Small sets score higher than large ones of the same origin: compare figures
    of equal counts only.
    """
    if min(first.count, second.count) < 2:
        raise ValueError(f"Frechet distance: expected 2 images or more, found {first.count}, {second.count}")
    covariance_1, covariance_2 = first.covariance, second.covariance
    values, vectors = np.linalg.eigh(covariance_1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = np.linalg.eigvalsh(root @ covariance_2 @ root)
    overlap = np.sqrt(np.maximum(middle, 0)).sum()
    shift = float(np.sum((first.mean - second.mean) ** 2))
    return max(shift + float(np.trace(covariance_1) + np.trace(covariance_2) - 2 * overlap), 0.0)


# --- Intervals -------------------------------------------------------------------------------------


def jackknife(
    statistic: Callable[[NDArray[np.float64]], float], strata: Sequence[str], *, bounds: tuple[float, float]
) -> Interval:
    """A statistic of people and its 95 % interval, leaving out one person at a time.

    The one left out is replaced by the others of the same stratum (such as a sequence), so the mixture
    stays; people alone in their stratum are pooled. Student's t with as many degrees of freedom as
    people less strata. Unlike resampling with replacement this repeats few images, which matters for a
    distance that grows as the images get fewer.

    Args:
        statistic: of weights [P], one a person, 1 = counted as is.
        strata: [P].
        bounds: what the statistic can be at least and at most.
    """
    value = statistic(np.ones(len(strata)))
    groups = [members for members in _pooled(strata) if len(members) > 1]
    if not groups:
        return Interval(value=value)
    variance = sum(_stratum_variance(statistic, members, len(strata)) for members in groups)
    freedom = sum(len(members) - 1 for members in groups)
    half = student_t(freedom) * math.sqrt(variance)
    return Interval(value=value, low=max(value - half, bounds[0]), high=min(value + half, bounds[1]))


def student_t(freedom: int) -> float:
    """97.5 % point of Student's t; beyond 30 degrees of freedom that of the normal distribution."""
    return T_975[freedom - 1] if freedom <= len(T_975) else Z_975


def share(successes: int, total: int) -> Interval:
    """A share of independent trials with Wilson's 95 % interval, honest also at 0 and 1.

    Raises:
        ValueError: no trials.
    """
    if total < 1:
        raise ValueError("share: expected at least one trial, found none")
    value, spread = successes / total, Z_975**2 / total
    centre = (value + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (value * (1 - value) + spread / 4)) / (1 + spread)
    return Interval(value=value, low=max(centre - half, 0.0), high=min(centre + half, 1.0))


def _pooled(strata: Sequence[str]) -> list[list[int]]:
    """Members of each stratum; people alone in theirs are joined so that, if possible, none is alone."""
    groups = [[i for i, s in enumerate(strata) if s == name] for name in sorted(set(strata))]
    alone = [i for members in groups if len(members) == 1 for i in members]
    together = [members for members in groups if len(members) > 1]
    if len(alone) == 1 and together:
        return [*together[1:], together[0] + alone]
    return [*together, alone] if alone else together


def _stratum_variance(
    statistic: Callable[[NDArray[np.float64]], float], members: list[int], num_people: int
) -> float:
    count = len(members)
    values = []
    for left_out in members:
        weights = np.ones(num_people)
        weights[members] = count / (count - 1)
        weights[left_out] = 0.0
        values.append(statistic(weights))
    return float((count - 1) / count * np.sum((np.array(values) - np.mean(values)) ** 2))
