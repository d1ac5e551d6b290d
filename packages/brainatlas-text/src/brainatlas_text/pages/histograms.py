"""Histograms by source, one a figure, on one axis; every bar knows the scans in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from brainatlas_text.pages.figures import Figure, Limits, Values

NUM_BARS = 24
_NAMED = 12
"""Scans or pairs that a bar names; of the rest it gives the number."""
_REACH = 2.0
"""A limit is drawn if the axis grows to at most so many times the spread of the values to show it."""

Member = tuple[str, str, Values]
"""Name, source and figures of a scan or pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The scans of a source whose figure lies in one bin."""

    column: int
    """From 1."""
    share: float
    """Height, as a share of the row's highest."""
    keys: tuple[str, ...]
    """Of all its scans; empty where they have no entries."""
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One source."""

    source: str
    number: int
    middle: str
    words: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """One figure over all sources."""

    figure: Figure
    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    """Place on the axis, from 0 to 1, and value."""
    limits: tuple[float, ...]
    """Places of the limits that lie on the axis."""
    accepted: str
    """The limits in words; empty where there is none."""


def histograms(
    figures: Iterable[Figure], members: Sequence[Member], limits: Limits, *, linked: bool = True
) -> list[Histogram]:
    """One histogram for each figure that any member has; values that are no number are left out.

    Where members are `linked`, each has an entry of its own on the page, and bars carry all their names.
    """
    found = []
    for figure in figures:
        by_source: dict[str, list[tuple[float, str]]] = {}
        for name, source, values in members:
            if figure in values and math.isfinite(values[figure]):
                by_source.setdefault(source, []).append((values[figure], name))
        if by_source:
            found.append(_histogram(figure, by_source, limits.get(figure, (None, None)), linked))
    return found


def summary(figures: Iterable[Figure], members: Sequence[Member]) -> list[tuple[str, ...]]:
    """Figure, source, number, least, 5th percentile, median, 95th percentile, greatest."""
    rows = []
    for figure in figures:
        by_source: dict[str, list[float]] = {}
        for _, source, values in members:
            if figure in values:
                by_source.setdefault(source, []).append(values[figure])
        for source, found in sorted(by_source.items()):
            found.sort()
            last = len(found) - 1
            picked = [found[round(share * last)] for share in (0, 0.05, 0.5, 0.95, 1)]
            rows.append((figure.title, source, str(len(found)), *(figure.text(v) for v in picked)))
    return rows


def _histogram(
    figure: Figure,
    by_source: Mapping[str, list[tuple[float, str]]],
    limits: tuple[float | None, float | None],
    linked: bool,
) -> Histogram:
    values = [value for members in by_source.values() for value, _ in members]
    low, high = _axis(min(values), max(values), [limit for limit in limits if limit is not None], figure)

    def place(value: float) -> float:
        return (value - low) / (high - low)

    rows = tuple(_row(figure, source, by_source[source], (low, high), linked) for source in sorted(by_source))
    step = _step(high - low)
    first = math.ceil(low / step - 1e-9)
    ticks = [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    least, most = (figure.text(limit) if limit is not None else "" for limit in limits)
    words = [f"at least {least}"] * bool(least) + [f"at most {most}"] * bool(most)
    return Histogram(
        figure=figure,
        rows=rows,
        ticks=tuple((place(tick), f"{tick:.{digits}f}{figure.unit}") for tick in ticks),
        limits=tuple(place(v) for v in limits if v is not None and low <= v <= high),
        accepted=", ".join(words),
    )


def _axis(low: float, high: float, limits: Iterable[float], figure: Figure) -> tuple[float, float]:
    """Begin and end: the values with a little room, and those limits that lie near enough."""
    spread = max(high - low, 4 * 10.0**-figure.digits)
    begin, end = low - 0.04 * spread, high + 0.04 * spread
    if high == low:
        begin, end = low - spread / 2, high + spread / 2
    for limit in limits:
        grown = min(begin, limit - 0.04 * spread), max(end, limit + 0.04 * spread)
        if grown[1] - grown[0] <= _REACH * (end - begin):
            begin, end = grown
    return begin, end


def _row(
    figure: Figure, source: str, members: Sequence[tuple[float, str]], axis: tuple[float, float], linked: bool
) -> Row:
    low, high = axis
    bins: dict[int, list[tuple[float, str]]] = {}
    for value, name in sorted(members):
        column = min(int((value - low) / (high - low) * NUM_BARS), NUM_BARS - 1)
        bins.setdefault(column, []).append((value, name))
    top = max(map(len, bins.values()))
    values = [value for value, _ in members]
    middle = figure.text(median(values))
    words = (
        f"{source}: {len(values)}, {figure.text(min(values))} to {figure.text(max(values))}, median {middle}"
    )
    bars = tuple(
        Bar(
            column=column + 1,
            share=len(inside) / top,
            keys=tuple(name for _, name in inside) if linked else (),
            words=_named(figure, inside),
        )
        for column, inside in sorted(bins.items())
    )
    return Row(source=source, number=len(values), middle=middle, words=words, bars=bars)


def _named(figure: Figure, inside: Sequence[tuple[float, str]]) -> str:
    span = f"{figure.text(inside[0][0])} to {figure.text(inside[-1][0])}"
    if len(inside) == 1:
        span = figure.text(inside[0][0])
    names = ", ".join(name for _, name in inside[:_NAMED])
    rest = f" and {len(inside) - _NAMED} more" if len(inside) > _NAMED else ""
    return f"{span}: {names}{rest}"


def _step(span: float) -> float:
    """Distance of ticks: 1, 2 or 5 times a power of ten, for three to seven of them."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 6)
