"""Features must tell apart what a Frechet distance is to notice."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from numpy.typing import NDArray

from brainldm.features import PyramidFeatures
from brainldm.metrics import Moments, frechet_distance

pytestmark = pytest.mark.unit


def slices(count: int, seed: int, levels: tuple[int, int, int] = (200, 120, 40)) -> NDArray[np.uint8]:
    """Ellipses of three grey levels with folds, shape and place varying, uint8 [N, 64, 64]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    images = []
    for tall, wide, down, right in rng.uniform([0.6, 0.5, -0.1, -0.1], [0.85, 0.7, 0.1, 0.1], (count, 4)):
        y, x = (rows - down) / tall, (columns - right) / wide
        radius = np.hypot(y, x) + 0.06 * np.sin(14 * np.arctan2(y, x) + rng.uniform(0, 6))
        core, grey, rim = levels
        images.append(np.select([radius < 0.25, radius < 0.75, radius < 1], [rim, core, grey], 0))
    return np.stack(images).astype(np.uint8)


def distance(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    extract = PyramidFeatures(64)
    return frechet_distance(Moments.of(extract(first)), Moments.of(extract(second)))


@pytest.mark.parametrize(("size", "dimensions"), [(32, 112), (64, 128), (96, 128), (256, 160)])
def test_dimensions_follow_the_size(size: int, dimensions: int) -> None:
    extract = PyramidFeatures(size)
    images = np.random.default_rng(0).integers(0, 256, (3, size, size)).astype(np.uint8)
    assert extract(images).shape == (3, dimensions)
    assert extract.name == f"pyramid-{dimensions}"
    assert np.isfinite(extract(np.zeros_like(images))).all()
    assert extract(images[:0]).shape == (0, dimensions)


def test_an_image_has_the_same_features_in_any_company() -> None:
    images = slices(70, 0)
    np.testing.assert_allclose(
        PyramidFeatures(64)(images)[66], PyramidFeatures(64)(images[66:67])[0], atol=1e-6
    )


def test_distance_notices_contrast_blur_shape_and_side() -> None:
    real = slices(150, 0)
    same = distance(slices(150, 1), real)
    assert distance(slices(150, 1, (90, 150, 240)), real) > 3 * same
    blurred = scipy.ndimage.gaussian_filter(slices(150, 1).astype(float), (0, 1, 1)).astype(np.uint8)
    assert distance(blurred, real) > 3 * same
    wide = scipy.ndimage.zoom(slices(150, 1), (1, 1, 1.25), order=1)[:, :, 8:72]
    assert distance(np.ascontiguousarray(wide), real) > 3 * same
    sided = real.copy()
    sided[:, 20:26, 14:20] = 255
    assert distance(np.ascontiguousarray(sided[:, :, ::-1]), sided) > 3 * same


def test_distance_grows_with_blur() -> None:
    real, others = slices(100, 0), slices(100, 1).astype(float)
    scores = [
        distance(scipy.ndimage.gaussian_filter(others, (0, s, s)).astype(np.uint8), real)
        for s in (0.6, 1.0, 1.6)
    ]
    assert scores == sorted(scores)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 pixels, found 8"):
        PyramidFeatures(8)
