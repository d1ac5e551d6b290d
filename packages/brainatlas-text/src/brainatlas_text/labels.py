"""The canonical label table and the maps into it, as data (`tables/`).

Canonical numbers are FreeSurfer's, all under 256, so that a label image is one byte a pixel.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from brainatlas_text.errors import LabelError

Side = Literal["left", "right", "midline"]
OUTER_CSF = 24
"""Sulcal CSF in FreeSurfer, some of it in IBSR: it means different things, so it never votes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """One row of the canonical table."""

    number: int
    name: str
    side: Side
    group: str
    named: bool
    """Whether captions may speak of it; vessels are numbers, not anatomy."""
    color: str
    """How viewers may show it, `#rrggbb`; left and right alike."""


@cache
def canonical_table() -> dict[int, Structure]:
    """Canonical number -> structure, background (0) left out."""
    rows = read_table("labels.tsv")
    return {
        int(row["number"]): Structure(
            number=int(row["number"]),
            name=row["name"],
            side=cast(Side, row["side"]),
            group=row["group"],
            named=row["named"] == "yes",
            color=row["color"],
        )
        for row in rows
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """What the numbers of a label map mean, in canonical numbers."""

    name: str
    canonical: Mapping[int, tuple[int, ...]]
    """Number -> canonical number (0 = not used), or a left and a right one between which place decides."""
    unknown: Mapping[int, str] = field(default_factory=dict)
    """Numbers whose names are not known; an error only where a map holds them."""


@cache
def scheme(name: str) -> Scheme:
    """A label scheme of the package (`tables/schemes/`); raises LabelError for one it does not have."""
    try:
        rows = read_table(f"schemes/{name}.tsv")
    except FileNotFoundError as error:
        known = sorted(p.name.removesuffix(".tsv") for p in (_tables() / "schemes").iterdir())
        raise LabelError(f"unknown label scheme {name!r}; known: {', '.join(known)}") from error
    canonical: dict[int, tuple[int, ...]] = {0: (0,)}
    for row in rows:
        first, _, last = row["number"].partition("-")
        numbers = range(int(first), int(last or first) + 1)
        canonical |= dict.fromkeys(numbers, targets(row["canonical"]))
    return Scheme(name=name, canonical=canonical)


def targets(text: str) -> tuple[int, ...]:
    """The canonical numbers in a cell of a table: `17`, or `2|41` where the nearer side counts."""
    return tuple(int(part) for part in text.split("|"))


def to_canonical(array: NDArray[Any], numbers: Scheme | str, where: str) -> NDArray[np.uint8]:
    """Map whole-number labels to canonical numbers; raise LabelError for one that the scheme does not know.

    A structure that a scheme does not divide by side, such as FreeSurfer's white matter hypointensities, goes
    voxel by voxel to the side whose own label is nearer.
    """
    known = scheme(numbers) if isinstance(numbers, str) else numbers
    present = [int(number) for number in np.unique(array)]
    if unknown := [number for number in present if number not in known.canonical]:
        raise LabelError(_not_known(unknown, known, where))
    table = np.zeros(max(present) + 1, dtype=np.uint8)
    for number in present:
        table[number] = known.canonical[number][0]
    canonical: NDArray[np.uint8] = table[array]
    for sides in sorted({known.canonical[n] for n in present if len(known.canonical[n]) > 1}):
        of_sides = [number for number in present if known.canonical[number] == sides]
        _take_nearer_side(canonical, np.isin(array, of_sides), sides, where)
    return canonical


def _not_known(unknown: list[int], known: Scheme, where: str) -> str:
    others = f" (nor are {len(unknown) - 1} others)" if len(unknown) > 1 else ""
    if name := known.unknown.get(unknown[0]):
        return (
            f"{where}: label {unknown[0]} is named {name!r} in {known.name}, "
            f"which is no known structure{others}; "
            "give it a FreeSurfer name such as Left-Hippocampus, or Unknown to leave it out"
        )
    return (
        f"{where}: label {unknown[0]} is not in {known.name!r}{others}; "
        "correct the map or add the number to that table"
    )


def _take_nearer_side(
    canonical: NDArray[np.uint8], unsided: NDArray[np.bool_], sides: tuple[int, ...], where: str
) -> None:
    """Give each unsided voxel the side whose labels lie nearest, counted in voxels; the left on a tie."""
    from scipy.spatial import KDTree

    wanted = np.argwhere(unsided)
    distances = []
    for side in sides:
        points = np.argwhere((canonical == side) & ~unsided)
        found = KDTree(points).query(wanted)[0] if len(points) else np.full(len(wanted), np.inf)
        distances.append(found)
    if np.isinf(distances).all():
        raise LabelError(
            f"{where}: holds a structure without a side that belongs to {' or '.join(map(str, sides))}, "
            "but neither of these to tell the side by; divide it by side"
        )
    canonical[unsided] = np.asarray(sides, dtype=np.uint8)[np.argmin(distances, axis=0)]


def read_table(name: str) -> list[dict[str, str]]:
    """Rows of a table of the package."""
    text = (_tables() / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def _tables() -> Any:
    return resources.files("brainatlas_text") / "tables"
