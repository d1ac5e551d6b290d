"""What the tables of measures say of the whole data set, read part by part so that memory stays flat.

`volumes/` is small enough to be read whole, natives alone. `slices/` may hold hundreds of millions of rows:
of many parts, some are read that are spread evenly over splits and sources, and the page says how many.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow.parquet as pq

from brainatlas_text.errors import DatasetError
from brainatlas_text.records import Plane, Shard
from brainatlas_text.report.charts import Person
from brainatlas_text.report.reading import evenly
from brainatlas_text.samples import ReadyScan

MAX_PARTS = 64
MAX_PEOPLE = 1000
BRAIN = "whole brain"
SHOWN = (
    BRAIN, "cerebral cortex", "cerebral white matter", "lateral ventricle", "thalamus", "caudate nucleus",
    "putamen", "hippocampus", "amygdala", "cerebellar cortex", "brain stem",
)  # fmt: skip
"""The structures whose volumes are shown, where the data set has them."""
_COLUMNS = ["moving", "name", "volume_ml", "brain_ml", "agreement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prevalence:
    """How many slices show what."""

    shares: Mapping[str, Mapping[Plane, float]]
    """Share of the counted slices of each plane, by structure, either side."""
    slices: Mapping[Plane, int]
    """Slices counted."""
    parts: tuple[int, int]
    """Parts of the table that were counted, of how many."""


def prevalence(root: Path, shards: Sequence[Shard]) -> Prevalence:
    """Count the slices that show each structure."""
    paths = _parts(root, "slices")
    chosen = evenly(paths, MAX_PARTS)
    named = {path.stem for path in chosen}
    slices: Counter[Plane] = Counter()
    for shard in shards:
        if _part_of(shard) in named:
            slices[shard.plane] += shard.num_samples
    shown: Counter[tuple[str, Plane]] = Counter()
    for path in chosen:
        rows = pq.read_table(path, columns=["key", "plane", "name"])
        counted = rows.group_by(["plane", "name"]).aggregate([("key", "count_distinct")]).to_pylist()
        for row in counted:
            shown[row["name"], row["plane"]] += row["key_count_distinct"]
    names = sorted({name for name, _ in shown})
    return Prevalence(
        shares={name: {p: shown[name, p] / number for p, number in slices.items()} for name in names},
        slices=slices,
        parts=(len(chosen), len(paths)),
    )


def native_rows(root: Path) -> list[dict[str, Any]]:
    """The rows of `volumes/` that belong to natives: one a scan and structure."""
    rows: list[dict[str, Any]] = [
        row
        for path in _parts(root, "volumes")
        for row in pq.read_table(path, columns=_COLUMNS, filters=[("native", "==", True)]).to_pylist()
    ]
    return rows


def agreement(natives: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Mean agreement of each scan by structure, both sides weighed by their volume; voted labels alone."""
    sums: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in natives:
        if row["agreement"] is not None:
            sums[row["name"], row["moving"]].append((row["volume_ml"], row["agreement"]))
    found: dict[str, list[float]] = defaultdict(list)
    for (name, _), sides in sums.items():
        volume = sum(ml for ml, _ in sides)
        found[name].append(sum(ml * share for ml, share in sides) / volume if volume else 0.0)
    return dict(found)


def people(
    natives: Sequence[Mapping[str, Any]],
    scans: Mapping[str, ReadyScan],
    allowed: Callable[[ReadyScan], bool],
) -> list[Person]:
    """Volumes of each person of known age whose source allows it, the mean over the person's scans."""
    of_scan: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in natives:
        of_scan[row["moving"]][row["name"]] += row["volume_ml"]
        of_scan[row["moving"]][BRAIN] = row["brain_ml"]
    of_person: dict[str, list[str]] = defaultdict(list)
    for key in of_scan:
        if allowed(scans[key]) and scans[key].prepared.facts.age_years is not None:
            of_person[scans[key].prepared.subject].append(key)
    return [
        _person([scans[key] for key in keys], of_scan)
        for keys in evenly(list(of_person.values()), MAX_PEOPLE)
    ]


def _person(scans: Sequence[ReadyScan], of_scan: Mapping[str, Mapping[str, float]]) -> Person:
    volumes = [of_scan[scan.prepared.key] for scan in scans]
    ages = [scan.prepared.facts.age_years for scan in scans]
    return Person(
        source=scans[0].prepared.source,
        age_years=mean(age for age in ages if age is not None),
        sex=scans[0].prepared.facts.sex,
        volumes_ml={
            name: mean(known)
            for name in SHOWN
            if (known := [found[name] for found in volumes if name in found])
        },
    )


def _parts(root: Path, table: str) -> list[Path]:
    """The files of a table, one a block; raises DatasetError where there are none."""
    parts = sorted((root / table).glob("*.parquet"))
    if not parts:
        raise DatasetError(f"{root / table}: holds no table of measures; run the same build again")
    return parts


def _part_of(shard: Shard) -> str:
    """Name of the part with the measures of a shard's block: `train-ixi-00003`."""
    source, _, number = Path(shard.path).stem.rpartition(f"-{shard.plane}-")
    return f"{shard.split}-{source}-{number}"
