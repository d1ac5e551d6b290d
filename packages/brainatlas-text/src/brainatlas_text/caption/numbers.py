"""How numbers are rounded in words. Everything that states or checks a number goes through here.

- Areas: two significant digits under 10 mm², whole mm² from 10 up (halves to even).
- Positions: whole mm, halves away from zero, so that slices 1 mm apart never share a number.
- Ages: completed years, as people say them: 41.9 is 41.
- Shares and fractions of the brain's extent: whole per cent.
"""

from __future__ import annotations

import math


def area_number(area_mm2: float) -> str:
    """An area as captions state it, with a decimal point: `212`, `8.4`, `0.7`."""
    return f"{area_mm2:.2g}" if area_mm2 < 10 else f"{area_mm2:.0f}"


def whole_mm(position_mm: float) -> int:
    """A signed position in whole millimetres."""
    return int(math.copysign(math.floor(abs(position_mm) + 0.5), position_mm))


def completed_years(age_years: float) -> int:
    """The age in completed years."""
    return math.floor(age_years)


def percent(share: float) -> int:
    """A share of 0 to 1 in whole per cent."""
    return round(100 * share)
