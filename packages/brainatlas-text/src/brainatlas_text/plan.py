"""The plan: which pair of scans goes into which split and block. All chance of the build is drawn here.

Input: the scans that are ready. Output: one PlannedPair a row of `plan.parquet`: every ordered pair plus
every native (the pair of a scan with itself). A draw is a hash of (seed, what is drawn), so that adding a
scan changes neither the others' order nor their draws, and any row can be checked alone.

Splits are by person, so that no person is ever in two of them. Within each source (stratum) the shares are
met by largest remainder; of one person: train, of two: train and test, of three or more: all splits.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from brainatlas_text.records import PlannedPair
from brainatlas_text.workspace import atomic_path

VERSION = 1
SPLITS = ("train", "validation", "test")
SHARES: Mapping[str, tuple[float, float, float]] = {
    "default": (0.80, 0.10, 0.10),
    "paper": (0.60, 0.15, 0.25),
}


class Scan(Protocol):
    """What planning asks of a scan; a PreparedScan has it."""

    @property
    def key(self) -> str:
        """Names the scan."""

    @property
    def subject(self) -> str:
        """The person."""

    @property
    def source(self) -> str:
        """The stratum."""


class PlanConfig(BaseModel):
    """What is planned."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    splits: Literal["default", "paper"] = "default"
    """`default`: 80/10/10, pairs across splits dropped; `paper`: 60/15/25, they go with the moving person."""
    block_pairs: int = Field(32, ge=1, le=1000)
    """Pairs a block, the unit of rendering, retry and resume. Memory of a worker grows with it."""


def people_of(scans: Iterable[Scan]) -> dict[str, str]:
    """Source of each person."""
    return {scan.subject: scan.source for scan in sorted(scans, key=lambda scan: scan.key)}


def draw_splits(scans: Iterable[Scan], seed: int, config: PlanConfig) -> dict[str, str]:
    """Split of each person; drawn before labels are voted, so that it can limit who votes."""
    return split_subjects(people_of(scans), seed, config.splits)


def split_rule(config: PlanConfig) -> str:
    """What splits keep apart, for the card."""
    if config.splits == "default":
        return (
            "By person: no person is in two splits, as the moving or as the fixed scan. Volumes whose two "
            "people are in different splits are dropped."
        )
    return (
        "By the moving person: nobody's anatomy is in two splits. The fixed scan, which lends pose, size and "
        "grid alone, may be of a person of another split; the scheme `default` drops such volumes."
    )


def split_notes(scans: Iterable[Scan], splits: Mapping[str, str]) -> tuple[str, ...]:
    """What too few people leave of the three splits; nothing where every source is in all of them."""
    sources = people_of(scans)
    people = Counter((source, splits[subject]) for subject, source in sources.items())
    size = Counter(sources.values())
    lacking = {
        split: [f"{source} ({size[source]})" for source in sorted(size) if not people[source, split]]
        for split in SPLITS
    }
    notes = []
    if empty := [split for split in SPLITS if len(lacking[split]) == len(size)]:
        notes.append(
            f"splits: nobody is in {' and '.join(empty)}: one person of a source is in train, two are in "
            "train and test, three or more in every split; have three people of one source "
            f"({', '.join(lacking[empty[0]])} now)"
        )
    notes += [
        f"splits: {split} has nobody of {', '.join(found)}: too few people there for each split to get one"
        for split, found in lacking.items()
        if found and split not in empty
    ]
    return tuple(notes)


def make_plan(
    scans: Iterable[Scan], splits: Mapping[str, str], seed: int, config: PlanConfig
) -> tuple[PlannedPair, ...]:
    """All ordered pairs and natives of the scans, by key; dropped pairs have neither split nor block.

    `splits` gives that of each person, as `draw_splits` does.
    """
    ordered = sorted(scans, key=lambda scan: scan.key)
    members: dict[tuple[str, str], list[str]] = defaultdict(list)
    for moving in ordered:
        for fixed in ordered:
            split = pair_split(splits[moving.subject], splits[fixed.subject], config.splits)
            if split is not None:
                members[split, moving.source].append(f"{moving.key}_{fixed.key}")
    places: dict[str, tuple[int, int]] = {}
    for pairs in members.values():
        for place, pair in enumerate(sorted(pairs, key=lambda p: draw(seed, "pair", p))):
            places[pair] = divmod(place, config.block_pairs)
    return tuple(
        PlannedPair(
            pair=(pair := f"{moving.key}_{fixed.key}"),
            moving=moving.key,
            fixed=fixed.key,
            moving_subject=moving.subject,
            fixed_subject=fixed.subject,
            source=moving.source,
            split=pair_split(splits[moving.subject], splits[fixed.subject], config.splits),
            block=places[pair][0] if pair in places else None,
            order=places[pair][1] if pair in places else 0,
        )
        for moving in ordered
        for fixed in ordered
    )


def split_subjects(source_of: Mapping[str, str], seed: int, scheme: str) -> dict[str, str]:
    """Split of each person, given each person's source."""
    people: dict[str, list[str]] = defaultdict(list)
    for subject, source in source_of.items():
        people[source].append(subject)
    splits: dict[str, str] = {}
    for subjects in people.values():
        drawn = sorted(subjects, key=lambda subject: draw(seed, "split", subject))
        counts = split_counts(len(drawn), SHARES[scheme])
        names = [name for name, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
        splits |= dict(zip(drawn, names, strict=True))
    return splits


def split_counts(total: int, shares: tuple[float, float, float]) -> tuple[int, int, int]:
    """People in train, validation and test by largest remainder; of three people each split gets one."""
    if total <= 2:
        return ((0, 0, 0), (1, 0, 0), (1, 0, 1))[total]
    exact = [total * share for share in shares]
    counts = [int(value) for value in exact]
    for place in sorted(range(3), key=lambda i: (counts[i] - exact[i], i))[: total - sum(counts)]:
        counts[place] += 1
    for place in (2, 1):
        if counts[place] == 0:
            counts[counts.index(max(counts))] -= 1
            counts[place] = 1
    return counts[0], counts[1], counts[2]


def pair_split(moving: str, fixed: str, scheme: str) -> str | None:
    """Split of a pair; None when it is dropped because its people lie in different splits."""
    return moving if scheme == "paper" or moving == fixed else None


def drop_unregistered(
    plan: Iterable[PlannedPair], registered: Callable[[str, str], bool]
) -> tuple[PlannedPair, ...]:
    """Drop the pairs (moving, fixed) without an affine; the others keep their blocks."""
    return tuple(
        pair if registered(pair.moving, pair.fixed) else replace(pair, split=None, block=None, order=0)
        for pair in plan
    )


def blocks(plan: Iterable[PlannedPair]) -> dict[tuple[str, str, int], tuple[PlannedPair, ...]]:
    """Planned pairs by (split, source, block), in their order within the block."""
    groups: dict[tuple[str, str, int], list[PlannedPair]] = defaultdict(list)
    for pair in plan:
        if pair.split is not None and pair.block is not None:
            groups[pair.split, pair.source, pair.block].append(pair)
    return {key: tuple(sorted(groups[key], key=lambda pair: pair.order)) for key in sorted(groups)}


def counts(plan: Iterable[PlannedPair]) -> dict[str, int]:
    """Pairs planned, dropped, and kept by split."""
    by_split = Counter(pair.split or "dropped" for pair in plan)
    return {"planned": sum(by_split.values()), **{name: by_split[name] for name in (*SPLITS, "dropped")}}


def atlas_volumes(
    plan: Iterable[PlannedPair], labeled: Container[str], *, kept: bool = False
) -> Counter[tuple[str, int, str]]:
    """Volumes by (atlas, generation, data set): the sources of the moving and of the fixed scan.

    Generation 1 carries labels of its source's own, those of the scans whose keys are in `labeled`; 2 carries
    labels that were voted here, which makes its source an atlas in turn. With `kept` only what is rendered.
    """
    pairs = tuple(plan)
    source_of = {pair.moving: pair.source for pair in pairs}
    return Counter(
        (pair.source, 1 if pair.moving in labeled else 2, source_of[pair.fixed])
        for pair in pairs
        if not kept or pair.split is not None
    )


def draw(seed: int, *what: object) -> bytes:
    """A draw that depends on the seed and on what is drawn, on nothing else."""
    return hashlib.sha256("\x1f".join([str(seed), *map(str, what)]).encode()).digest()


def write_plan(path: Path, plan: Iterable[PlannedPair]) -> None:
    """Write `plan.parquet`."""
    rows = [{name: getattr(pair, name) for name in PlannedPair.__slots__} for pair in plan]
    schema = pa.schema(
        [(name, pa.int32() if name in ("block", "order") else pa.string()) for name in PlannedPair.__slots__]
    )
    with atomic_path(path) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), part)
