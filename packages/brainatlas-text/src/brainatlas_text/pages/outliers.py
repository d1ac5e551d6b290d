"""Which number stands out among others (Iglewicz and Hoaglin, How to detect and handle outliers, 1993)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

MIN_GROUP, MAX_DEVIATION = 8, 3.5
"""Least number of scans to compare with, and the modified z-score beyond which one stands out."""


def modified_z(value: float, group: Sequence[float]) -> float:
    """Distance from the group's median in robust standard deviations; 0 where the group does not spread."""
    middle = median(group)
    deviation = median(abs(other - middle) for other in group)
    return 0.6745 * abs(value - middle) / deviation if deviation > 0 else 0.0
