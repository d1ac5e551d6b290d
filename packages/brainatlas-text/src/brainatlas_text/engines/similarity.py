"""How much two images on one grid say of each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 32


def normalized_information(one: NDArray[Any], other: NDArray[Any], where: NDArray[np.bool_]) -> float:
    """Normalized mutual information, 1 (nothing in common) to 2 (one tells the other), over `where`.

    (H(A) + H(B)) / H(A, B) of Studholme et al. (Pattern Recognition 1999), in 32 bins of equal width between
    the 0.5th and 99.5th percentile of each image.
    """
    bins = [_bins(np.asarray(image[where], dtype=np.float32)) for image in (one, other)]
    counts = np.bincount(bins[0] * NUM_BINS + bins[1], minlength=NUM_BINS**2).astype(np.float64)
    joint = counts.reshape(NUM_BINS, NUM_BINS) / max(counts.sum(), 1.0)
    together = _entropy(joint)
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / together if together else 1.0


def _bins(values: NDArray[np.float32]) -> NDArray[np.int64]:
    low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    unit = (values - low) / max(float(high - low), 1e-6)
    return np.clip(unit * NUM_BINS, 0, NUM_BINS - 1).astype(np.int64)


def _entropy(shares: NDArray[np.float64]) -> float:
    used = shares[shares > 0]
    return float(-(used * np.log(used)).sum())
