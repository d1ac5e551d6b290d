"""What a data set holds, counted: people first, then scans, pairs, slices and bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from brainatlas_text import block_stages, plan
from brainatlas_text.block_stages import BlockResult
from brainatlas_text.dataset import BrainAtlas
from brainatlas_text.plan import SPLITS
from brainatlas_text.records import PlannedPair, Rejection, RenderCounts, Shard
from brainatlas_text.samples import ReadyScan
from brainatlas_text.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """One split of one source, or a sum of these."""

    split: str
    source: str
    people: int
    scans: int
    pairs: int
    slices: int
    megabytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The numbers at the head of the page."""

    people: Mapping[str, int]
    """By source."""
    scans: Mapping[tuple[str, str], int]
    """By source and sequence."""
    labeled: int
    """Scans with labels of their source's own."""
    planned: int
    kept: int
    rendered: RenderCounts
    """What rendering the kept pairs gave."""
    slices: int
    megabytes: float
    splits: tuple[SplitRow, ...]
    rejected: tuple[tuple[str, int], ...]
    """By reason, most frequent first."""

    @property
    def num_people(self) -> int:
        """Of all sources."""
        return sum(self.people.values())

    @property
    def num_scans(self) -> int:
        """Of all sources."""
        return sum(self.scans.values())


def count(atlas: BrainAtlas) -> Counts:
    """Count what is there."""
    scans = [scan.prepared for scan in atlas.scans.values()]
    kept = [pair for pair in atlas.plan.values() if pair.split is not None]
    return Counts(
        people=Counter({scan.subject: scan.source for scan in scans}.values()),
        scans=Counter((scan.source, scan.sequence) for scan in scans),
        labeled=sum(not scan.labeled.voters for scan in atlas.scans.values()),
        planned=len(atlas.plan),
        kept=len(kept),
        rendered=_rendered(atlas),
        slices=sum(shard.num_samples for shard in atlas.shards),
        megabytes=sum(shard.num_bytes for shard in atlas.shards) / 1e6,
        splits=tuple(_splits(atlas.scans, kept, atlas.shards)),
        rejected=tuple(_reasons(atlas.rejections)),
    )


def _rendered(atlas: BrainAtlas) -> RenderCounts:
    """What the blocks of the plan noted."""
    noted = Workspace(atlas.root).recorded("block")
    names = (f"{split}-{source}-{number:05d}" for split, source, number in plan.blocks(atlas.plan.values()))
    adapter = TypeAdapter(BlockResult)
    blocks = [adapter.validate_python(noted[name]["result"]) for name in names if name in noted]
    return block_stages.total(blocks).counts


def _splits(
    scans: Mapping[str, ReadyScan], kept: Sequence[PlannedPair], shards: Sequence[Shard]
) -> Iterable[SplitRow]:
    """A row a split and source, and one a split where it has several sources."""
    split_of = {pair.moving: pair.split for pair in kept}
    for split in SPLITS:
        rows = []
        for source in sorted({shard.source for shard in shards}):
            members = [s.prepared for key, s in scans.items() if split_of.get(key) == split]
            members = [scan for scan in members if scan.source == source]
            written = [shard for shard in shards if (shard.split, shard.source) == (split, source)]
            if members:
                rows.append(
                    SplitRow(
                        split=split,
                        source=source,
                        people=len({scan.subject for scan in members}),
                        scans=len(members),
                        pairs=sum((pair.split, pair.source) == (split, source) for pair in kept),
                        slices=sum(shard.num_samples for shard in written),
                        megabytes=sum(shard.num_bytes for shard in written) / 1e6,
                    )
                )
        yield from rows
        if len(rows) > 1:
            yield _sum(split, rows)


def _sum(split: str, rows: Sequence[SplitRow]) -> SplitRow:
    return SplitRow(
        split=split,
        source="all",
        people=sum(row.people for row in rows),
        scans=sum(row.scans for row in rows),
        pairs=sum(row.pairs for row in rows),
        slices=sum(row.slices for row in rows),
        megabytes=sum(row.megabytes for row in rows),
    )


def _reasons(rejections: Sequence[Rejection]) -> list[tuple[str, int]]:
    return Counter(rejection.reason for rejection in rejections).most_common()
