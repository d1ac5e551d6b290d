"""Facts of slices that nobody has seen: any structures, any sizes, any person. For tests and checks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from brainatlas_text.labels import canonical_table
from brainatlas_text.records import PLANES, SEQUENCES, SliceFacts, StructureMeasure

_NAMED = [structure for structure in canonical_table().values() if structure.named]


def random_facts(number: int, seed: int = 0) -> Iterator[SliceFacts]:
    """So many slices; more than anatomy allows, since nothing is written of how often what occurs."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        years = round(float(rng.uniform(0, 104)), 2) if rng.random() < 0.7 else None
        yield SliceFacts(
            sequence=SEQUENCES[rng.integers(3)],
            plane=PLANES[rng.integers(3)],
            index=int(rng.integers(256)),
            position_mm=round(float(rng.uniform(-130, 130) * rng.choice([1.0, 0.01])), 2),
            position_fraction=round(float(np.clip(rng.uniform(-0.05, 1.05), 0, 1)), 4),
            age_years=years,
            juvenile=years is None and bool(rng.random() < 0.3),
            sex=(None, "F", "M")[rng.integers(3)],
            structures=_structures(rng),
        )


def _structures(rng: np.random.Generator) -> tuple[StructureMeasure, ...]:
    chosen = rng.permutation(len(_NAMED))[: rng.integers(len(_NAMED) + 1)]
    areas = np.sort(10 ** rng.uniform(-1.3, 4.4, len(chosen)))[::-1]
    return tuple(
        StructureMeasure(
            label=_NAMED[place].number,
            name=_NAMED[place].name,
            side=_NAMED[place].side,
            area_mm2=round(float(area), 4),
            volume_ml=1.0,
            centroid_mm=(0.0, 0.0, 0.0),
            agreement=None,
        )
        for place, area in zip(chosen, areas, strict=True)
    )
