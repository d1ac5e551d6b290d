"""MS-SSIM, Frechet distance and intervals against other implementations and known answers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from numpy.typing import NDArray

from brainldm import metrics
from brainldm.metrics import Moments, brain_boxes, frechet_distance, jackknife, ms_ssim, share

pytestmark = pytest.mark.unit


def brains(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth random texture inside ellipses on black, uint8 [N, size, size]."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(40, 220, (count, 1, 9, 9)))
    texture = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")[:, 0].numpy()
    rows, columns = np.mgrid[-1 : 1 : 1j * size, -1 : 1 : 1j * size]
    inside = (rows / 0.75) ** 2 + (columns / 0.6) ** 2 < 1
    return (np.clip(texture, 0, 255) * inside).astype(np.uint8)


def noisy(images: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    noise = np.random.default_rng(1).normal(0, sigma, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


# --- MS-SSIM


def test_equal_images_score_one_and_noise_lowers_it() -> None:
    images = brains(4, 64)
    np.testing.assert_allclose(ms_ssim(images, images), 1.0, atol=1e-6)
    scores = [ms_ssim(images, noisy(images, sigma)).mean() for sigma in (0, 4, 12, 40)]
    assert np.all(np.diff(scores) < -0.002)
    assert ms_ssim(images[:1], 255 - images[:1])[0] < 0.2


@pytest.mark.parametrize(("size", "scales"), [(16, 1), (32, 2), (64, 3), (128, 4), (176, 5), (256, 5)])
def test_ms_ssim_is_that_of_monai(size: int, scales: int) -> None:
    """MONAI computes it with float32 as we do, so the last digits differ."""
    from monai.metrics.regression import MultiScaleSSIMMetric

    assert metrics.num_scales(size, size) == scales
    images = brains(3, size)
    others = noisy(images, 15)
    weights = np.array(metrics.SCALE_WEIGHTS[:scales])
    reference = MultiScaleSSIMMetric(
        spatial_dims=2,
        data_range=255.0,
        kernel_size=11,
        kernel_sigma=1.5,
        weights=weights / weights.sum(),
    )
    tensors = [torch.from_numpy(a).float()[:, None] for a in (images, others)]
    np.testing.assert_allclose(ms_ssim(images, others), reference(*tensors)[:, 0].numpy(), atol=2e-5)


def test_the_box_keeps_the_background_out() -> None:
    images = brains(3, 64)
    changed = images.copy()
    changed[:, 30:36, 28:36] = 255 - changed[:, 30:36, 28:36]
    boxes = brain_boxes(images)
    assert boxes.tolist()[0] == [8, 56, 13, 51]
    assert np.all(ms_ssim(images, changed, boxes) < ms_ssim(images, changed))
    whole = np.array([[0, 64, 0, 64]] * 3)
    np.testing.assert_array_equal(ms_ssim(images, changed, whole), ms_ssim(images, changed))


def test_a_box_at_the_rim_or_an_empty_image_still_scores() -> None:
    images = np.zeros((2, 64, 64), np.uint8)
    images[0, :3, 61:] = 200
    boxes = brain_boxes(images)
    assert boxes.tolist() == [[0, 3, 61, 64], [0, 64, 0, 64]]
    np.testing.assert_allclose(ms_ssim(images, images, boxes), 1.0)


def test_ms_ssim_says_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="at least 11 pixels, found 8 x 8"):
        ms_ssim(np.zeros((1, 8, 8), np.uint8), np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"found \(1, 64, 64\) and \(2, 64, 64\)"):
        ms_ssim(brains(1, 64), brains(2, 64))


# --- Frechet distance


def test_distance_of_two_gaussians_is_the_closed_form() -> None:
    """With diagonal covariances: squared distance of means plus that of standard deviations."""
    means, spreads = (
        np.array([[0.0, 1.0, -2.0], [3.0, 1.0, 0.0]]),
        np.array([[1.0, 2.0, 0.5], [1.0, 0.5, 0.0]]),
    )
    count = 10.0
    sides = [
        Moments(count, count * m, np.diag(s**2) * (count - 1) + count * np.outer(m, m))
        for m, s in zip(means, spreads, strict=True)
    ]
    expected = np.sum((means[0] - means[1]) ** 2) + np.sum((spreads[0] - spreads[1]) ** 2)
    assert frechet_distance(*sides) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [12, 200])
def test_distance_is_that_of_scipys_matrix_root(count: int) -> None:
    """Also with fewer images than dimensions, where the covariances are singular."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 24)) @ rng.normal(size=(24, 24))
    y = rng.normal(size=(count, 24)) @ rng.normal(size=(24, 24)) + 0.5
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of the singular ones
        root = scipy.linalg.sqrtm(a @ b).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a + b - 2 * root)
    assert frechet_distance(Moments.of(x), Moments.of(y)) == pytest.approx(expected, rel=1e-5)


def test_distance_is_symmetric_and_zero_for_the_same_set() -> None:
    rng = np.random.default_rng(0)
    x, y = (Moments.of(rng.normal(size=(60, 16)) * s) for s in (1.0, 1.5))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x))
    assert frechet_distance(x, y) > 1


def test_moments_add_up_over_parts_and_weights() -> None:
    x = np.random.default_rng(0).normal(5, 2, (90, 8))
    parts = Moments.of(x[:20]) + Moments.of(x[20:])
    np.testing.assert_allclose(parts.mean, x.mean(0))
    np.testing.assert_allclose(parts.covariance, np.cov(x, rowvar=False))
    doubled = Moments.of(np.concatenate([x, x]))
    np.testing.assert_allclose((Moments.of(x) * 2.0).covariance, doubled.covariance)


def test_distance_needs_two_images() -> None:
    with pytest.raises(ValueError, match="found 1"):
        frechet_distance(Moments.of(np.zeros((1, 4))), Moments.of(np.zeros((5, 4))))


# --- Intervals


def test_jackknife_of_a_mean_is_the_t_interval() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 9)
    interval = jackknife(lambda w: float(w @ values / w.sum()), ["all"] * 9, bounds=(0, 1))
    low, high = scipy.stats.t.interval(0.95, 8, values.mean(), values.std(ddof=1) / 3)
    assert interval.value == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-3)


def test_strata_take_their_differences_out_of_the_interval() -> None:
    values = np.array([0.1, 0.11, 0.12, 0.9, 0.91, 0.92])

    def mean(weights: NDArray[np.float64]) -> float:
        return float(weights @ values / weights.sum())

    together = jackknife(mean, ["a"] * 6, bounds=(0, 1))
    apart = jackknife(mean, ["a"] * 3 + ["b"] * 3, bounds=(0, 1))
    assert apart.high - apart.low < 0.1 * (together.high - together.low)


def test_jackknife_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        values = rng.normal(0, 1, 6)
        interval = jackknife(lambda w, v=values: float(w @ v / w.sum()), list("aaabbb"), bounds=(-9, 9))
        hits += interval.low <= 0 <= interval.high
    assert 0.91 < hits / 400 < 0.99


def test_people_alone_in_their_stratum_are_pooled() -> None:
    assert metrics._pooled(["a", "b", "c", "c"]) == [[2, 3], [0, 1]]
    assert metrics._pooled(["a", "c", "c"]) == [[1, 2, 0]]
    assert jackknife(lambda w: 0.5, ["only"], bounds=(0, 1)) == metrics.Interval(value=0.5)


def test_students_table_is_right() -> None:
    table = [metrics.student_t(freedom) for freedom in range(1, 31)]
    np.testing.assert_allclose(table, scipy.stats.t.ppf(0.975, np.arange(1, 31)), atol=6e-4)
    assert metrics.student_t(1000) == pytest.approx(1.96, abs=1e-3)


@pytest.mark.parametrize(("successes", "total"), [(0, 20), (7, 20), (20, 20), (430, 500)])
def test_share_is_wilsons_interval(successes: int, total: int) -> None:
    interval = share(successes, total)
    reference = scipy.stats.binomtest(successes, total).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=1e-4)
    assert interval.value == successes / total
