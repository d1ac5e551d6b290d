"""The canonical label table and the maps into it, as data (`tables/`).

Canonical numbers are FreeSurfer's, all under 256, so that a label image is one byte a pixel.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
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


@cache
def canonical_table() -> dict[int, Structure]:
    """Canonical number -> structure, background (0) left out."""
    rows = _read_tsv("labels.tsv")
    return {
        int(row["number"]): Structure(
            number=int(row["number"]),
            name=row["name"],
            side=cast(Side, row["side"]),
            group=row["group"],
            named=row["named"] == "yes",
        )
        for row in rows
    }


@cache
def scheme(name: str) -> dict[int, int]:
    """The map of a label scheme, scheme number -> canonical number (0 = not used)."""
    try:
        rows = _read_tsv(f"schemes/{name}.tsv")
    except FileNotFoundError as error:
        known = sorted(p.name.removesuffix(".tsv") for p in (_tables() / "schemes").iterdir())
        raise LabelError(f"unknown label scheme {name!r}; known: {', '.join(known)}") from error
    return {0: 0} | {int(row["number"]): int(row["canonical"]) for row in rows}


def to_canonical(array: NDArray[Any], scheme_name: str, where: str) -> NDArray[np.uint8]:
    """Map whole-number labels of a scheme to canonical numbers; raise LabelError for one it does not know."""
    mapping = scheme(scheme_name)
    present = np.unique(array)
    unknown = [int(n) for n in present if int(n) not in mapping]
    if unknown:
        raise LabelError(
            f"{where}: label {unknown[0]} is not in scheme {scheme_name!r}"
            + (f" (nor are {len(unknown) - 1} others)" if len(unknown) > 1 else "")
            + "; correct the map or add the number to a scheme table"
        )
    table = np.zeros(int(present.max()) + 1, dtype=np.uint8)
    for number in present:
        table[int(number)] = mapping[int(number)]
    canonical: NDArray[np.uint8] = table[array]
    return canonical


def _tables() -> Any:
    return resources.files("brainatlas_text") / "tables"


def _read_tsv(name: str) -> list[dict[str, str]]:
    text = (_tables() / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))
