"""Blocks of pairs as cached tasks: their samples, rendered and captioned, in shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from brainatlas_text import caption, measure, render, samples, shards
from brainatlas_text.plan import draw
from brainatlas_text.recipe import Recipe
from brainatlas_text.records import Plane, PlannedPair, RenderCounts, Sample, Shard
from brainatlas_text.registrations import PairAffines
from brainatlas_text.samples import ReadyScan, SampleSettings
from brainatlas_text.tasks import Outcome, Task
from brainatlas_text.workspace import Workspace, digest

CROPPED = 0.001
"""Share of a brain outside of its frame above which a volume counts as cropped; less is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """What rendering a block gave, or all of them."""

    shards: tuple[Shard, ...]
    counts: RenderCounts


def settings_of(recipe: Recipe) -> SampleSettings:
    """The part of a recipe that samples depend on."""
    return SampleSettings(seed=recipe.seed, render=recipe.render, caption=recipe.caption)


def total(blocks: Sequence[BlockResult]) -> BlockResult:
    """What all blocks gave together."""
    return BlockResult(
        shards=tuple(shard for block in blocks for shard in block.shards),
        counts=RenderCounts(
            slices_seen=sum(block.counts.slices_seen for block in blocks),
            slices_kept=sum(block.counts.slices_kept for block in blocks),
            volumes_shown=sum(block.counts.volumes_shown for block in blocks),
            volumes_cropped=sum(block.counts.volumes_cropped for block in blocks),
            most_cropped=max((block.counts.most_cropped for block in blocks), default=0.0),
        ),
    )


def block_task(
    root: Path,
    name: tuple[str, str, int],
    pairs: tuple[PlannedPair, ...],
    scans: Mapping[str, ReadyScan],
    affines: PairAffines,
    settings: SampleSettings,
) -> Task:
    """The pairs of one block to its shards, one a plane."""
    used = {key: scans[key] for pair in pairs for key in (pair.moving, pair.fixed)}
    carried = affines.of((pair.moving, pair.fixed) for pair in pairs)
    versions = [module.VERSION for module in (render, measure, caption, samples, shards)]
    depends = [
        versions,
        [[p.moving, p.fixed, p.split, p.order, carried.digest_of(p.moving, p.fixed)] for p in pairs],
        {k: [s.prepared.digest, s.transform.digest, s.labeled.digest, _stated(s)] for k, s in used.items()},
        [settings.seed, settings.render.model_dump(mode="json"), settings.caption.model_dump(mode="json")],
    ]
    split, source, number = name
    return Task(
        stage="block",
        key=f"{split}-{source}-{number:05d}",
        inputs=digest(depends),
        root=root,
        result=BlockResult,
        work=partial(_block, root, name, pairs, used, carried, settings),
    )


def _block(
    root: Path,
    name: tuple[str, str, int],
    pairs: tuple[PlannedPair, ...],
    scans: dict[str, ReadyScan],
    affines: PairAffines,
    settings: SampleSettings,
) -> Outcome:
    split, source, number = name
    made: dict[Plane, list[Sample]] = defaultdict(list)
    seen, shown, shares_cropped = 0, 0, []
    for pair in sorted(pairs, key=lambda p: p.moving):  # one moving scan after the other: each is read once
        moving, config = scans[pair.moving], settings.render
        affine = affines.moving_from_fixed(pair.moving, pair.fixed)
        measured = samples.measure_pair(root, pair, moving, scans[pair.fixed], affine, settings)
        for plane, kept in measured.kept.items():
            made[plane] += (samples.sample_of(measured, plane, index, settings) for index in kept)
        rendered = measured.rendered
        seen += sum(rendered.frame.num_slices(plane, config.slice_step) for plane in config.planes)
        shown += any(measured.kept.values())
        shares_cropped.append(rendered.share_cropped)
    workspace, written = Workspace(root), []
    for plane in sorted(plane for plane, members in made.items() if members):
        mixed = sorted(made[plane], key=lambda sample: draw(settings.seed, "shard", sample.key))
        written.append(shards.write_shard(workspace, split, source, plane, number, mixed))
    counts = RenderCounts(
        slices_seen=seen,
        slices_kept=sum(len(members) for members in made.values()),
        volumes_shown=shown,
        volumes_cropped=sum(share > CROPPED for share in shares_cropped),
        most_cropped=round(max(shares_cropped), 4),
    )
    return BlockResult(shards=tuple(written), counts=counts), [root / shard.path for shard in written]


def _stated(scan: ReadyScan) -> list[Any]:
    """What samples state of a scan besides its pictures."""
    prepared = scan.prepared
    facts = TypeAdapter(type(prepared.facts)).dump_python(prepared.facts, mode="json")
    return [prepared.sequence, facts, prepared.source_zooms_mm, scan.labeled.terms, scan.labeled.voters]
