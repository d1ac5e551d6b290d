"""Blocks of pairs as cached tasks: samples, rendered and captioned, in shards, and measures in tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from brainatlas_text import measure, measure_tables, render, samples, shards, wording
from brainatlas_text.plan import draw
from brainatlas_text.recipe import Recipe
from brainatlas_text.records import Plane, PlannedPair, RenderCounts, Sample, Shard
from brainatlas_text.registrations import PairAffines
from brainatlas_text.render import RenderConfig
from brainatlas_text.samples import MeasuredPair, ReadyScan, SampleSettings
from brainatlas_text.tasks import Outcome, Task
from brainatlas_text.workspace import Workspace, digest

CROPPED = 0.001
"""Share of a brain outside of its frame above which a volume counts as cropped; less is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """What rendering a block gave, or all of them."""

    shards: tuple[Shard, ...]
    tables: tuple[str, ...]
    """Parts of the tables of measures, relative to the data set folder."""
    counts: RenderCounts


def settings_of(root: Path, recipe: Recipe) -> SampleSettings:
    """The part of a recipe that samples depend on, for a data set in the folder `root`."""
    words = wording.within(root, recipe.caption)
    return SampleSettings(seed=recipe.seed, render=recipe.render, caption=words)


def block_name(block: tuple[str, str, int]) -> str:
    """Of a block's done-record and tables: split, source and number."""
    split, source, number = block
    return f"{split}-{source}-{number:05d}"


def total(blocks: Sequence[BlockResult]) -> BlockResult:
    """What all blocks gave together."""
    return BlockResult(
        shards=tuple(shard for block in blocks for shard in block.shards),
        tables=tuple(table for block in blocks for table in block.tables),
        counts=_sum([block.counts for block in blocks]),
    )


def block_task(
    root: Path,
    name: tuple[str, str, int],
    pairs: tuple[PlannedPair, ...],
    scans: Mapping[str, ReadyScan],
    affines: PairAffines,
    recipe: Recipe,
) -> Task:
    """The pairs of one block to its shards, one a plane, and its parts of the tables of measures."""
    settings = settings_of(root, recipe)
    used = {key: scans[key] for pair in pairs for key in (pair.moving, pair.fixed)}
    carried = affines.of((pair.moving, pair.fixed) for pair in pairs)
    versions = [module.VERSION for module in (render, measure, measure_tables, samples, shards)]
    depends = [
        versions,
        [[p.moving, p.fixed, p.split, p.order, carried.digest_of(p.moving, p.fixed)] for p in pairs],
        {k: [s.prepared.digest, s.transform.digest, s.labeled.digest, _stated(s)] for k, s in used.items()},
        [settings.seed, settings.render.model_dump(mode="json"), wording.load(settings.caption).depends],
        recipe.measure.model_dump(mode="json"),
    ]
    return Task(
        stage="block",
        key=block_name(name),
        inputs=digest(depends),
        root=root,
        result=BlockResult,
        work=partial(_block, root, name, pairs, used, carried, recipe),
    )


def _block(
    root: Path,
    name: tuple[str, str, int],
    pairs: tuple[PlannedPair, ...],
    scans: dict[str, ReadyScan],
    affines: PairAffines,
    recipe: Recipe,
) -> Outcome:
    settings = settings_of(root, recipe)
    made: dict[Plane, list[Sample]] = defaultdict(list)
    tables: list[measure_tables.PairTables] = []
    counts: list[RenderCounts] = []
    for pair in sorted(pairs, key=lambda p: p.moving):  # one moving scan after the other: each is read once
        moving = scans[pair.moving]
        affine = affines.moving_from_fixed(pair.moving, pair.fixed)
        measured = samples.measure_pair(root, pair, moving, scans[pair.fixed], affine, settings)
        for plane, kept in measured.kept.items():
            made[plane] += (samples.sample_of(measured, plane, index, settings) for index in kept)
        tables.append(measure_tables.tables_of(measured))
        counts.append(_counts(measured, recipe.render))
    workspace, written = Workspace(root), []
    for plane in sorted(plane for plane, members in made.items() if members):
        mixed = sorted(made[plane], key=lambda sample: draw(settings.seed, "shard", sample.key))
        written.append(shards.write_shard(workspace, *name[:2], plane, name[2], mixed))
    parts = measure_tables.write_tables(root, block_name(name), tables, recipe.measure)
    result = BlockResult(
        shards=tuple(written),
        tables=tuple(part.relative_to(root).as_posix() for part in parts),
        counts=_sum(counts),
    )
    return result, [*(root / shard.path for shard in written), *parts]


def _counts(measured: MeasuredPair, config: RenderConfig) -> RenderCounts:
    """Of one volume."""
    rendered = measured.rendered
    return RenderCounts(
        slices_seen=sum(rendered.frame.num_slices(plane, config.slice_step) for plane in config.planes),
        slices_kept=sum(len(kept) for kept in measured.kept.values()),
        volumes_shown=int(any(measured.kept.values())),
        volumes_cropped=int(rendered.share_cropped > CROPPED),
        most_cropped=round(rendered.share_cropped, 4),
    )


def _sum(counts: Sequence[RenderCounts]) -> RenderCounts:
    return RenderCounts(
        slices_seen=sum(count.slices_seen for count in counts),
        slices_kept=sum(count.slices_kept for count in counts),
        volumes_shown=sum(count.volumes_shown for count in counts),
        volumes_cropped=sum(count.volumes_cropped for count in counts),
        most_cropped=max((count.most_cropped for count in counts), default=0.0),
    )


def _stated(scan: ReadyScan) -> list[Any]:
    """What samples state of a scan besides its pictures."""
    prepared = scan.prepared
    facts = TypeAdapter(type(prepared.facts)).dump_python(prepared.facts, mode="json")
    return [prepared.sequence, facts, prepared.source_zooms_mm, scan.labeled.terms, scan.labeled.voters]
