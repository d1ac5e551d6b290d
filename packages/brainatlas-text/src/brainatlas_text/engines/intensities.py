"""Intensities of the brain: their range, their scaling to whole numbers, and histograms before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainatlas_text.engines.masks import BoolArray

MAX_INTENSITY = 4095
NUM_BINS = 64
"""Of the histograms in the record."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaled:
    """A brain of whole numbers, and how it came to be."""

    array: NDArray[np.uint16]
    """1 to 4095 in the brain, 0 outside."""
    value_range: tuple[float, float]
    """What became 1 and 4095."""
    histogram_before: tuple[int, ...]
    histogram_after: tuple[int, ...]


def scale(
    image: NDArray[np.float32],
    even: NDArray[np.float32],
    mask: BoolArray,
    percentiles: tuple[float, float],
) -> Scaled:
    """Scale the brain between two percentiles of its intensities and clip the rest.

    What lies beyond, such as vessels, may not squeeze what lies between. `even` is what is scaled, `image`
    the same before its bias field was taken out.
    """
    values = even[mask]
    low, high = (float(value) for value in np.percentile(values, percentiles))
    unit = np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0)
    whole = np.rint(1 + unit * (MAX_INTENSITY - 1)).astype(np.uint16)
    array = np.zeros(mask.shape, dtype=np.uint16)
    array[mask] = whole
    return Scaled(
        array=array,
        value_range=(low, high),
        histogram_before=_histogram(image[mask], None),
        histogram_after=_histogram(whole, (1, MAX_INTENSITY)),
    )


def _histogram(values: NDArray[Any], span: tuple[int, int] | None) -> tuple[int, ...]:
    """Counts in equal bins over the span, or over the values' own range."""
    return tuple(np.histogram(values, NUM_BINS, span)[0].tolist())
