"""The build: discover -> prepare -> register -> warp -> label -> plan -> blocks -> card, each cached.

`build` reads scans under `root` and makes `out` a Hugging Face data set repository. The same call again
continues where an earlier one stopped, and does nothing where nothing changed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brainatlas_text import atlas_stages, atlases, fuse, outputs, pair_stages, plan, stages, voters, warp
from brainatlas_text.claim import begun, claim
from brainatlas_text.distribute import Engine, default_workers
from brainatlas_text.errors import OutputError, SourceError
from brainatlas_text.hub import load_hub
from brainatlas_text.looks import Looks
from brainatlas_text.progress import Progress, Silent
from brainatlas_text.quality_table import Registered
from brainatlas_text.recipe import Recipe, freeze
from brainatlas_text.records import (
    ATLAS_KEY,
    LabeledScan,
    PlannedPair,
    PreparedScan,
    Rejection,
    SourceScan,
)
from brainatlas_text.registrations import (
    HubTransform,
    HubWarp,
    PairAffines,
    PairTransform,
    TransformRejection,
)
from brainatlas_text.running import run_stage
from brainatlas_text.samples import ReadyScan, SampleSettings
from brainatlas_text.sources import Selected, Selection, find, name_of
from brainatlas_text.stages import BlockResult, Task
from brainatlas_text.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildConfig:
    """Places and resources of a build; what is built is the recipe's matter."""

    sources: tuple[str, ...]
    """`ibsr`, `oasis`, `ixi`, `kirby`, and `bids:PATH` for any BIDS folder."""
    recipe: Recipe
    selection: Selection = field(default_factory=Selection)
    """Which of their scans are used; all people who are not known to be ill where nothing else is said."""
    root: Path = Path("sources")
    """Holds one folder a source."""
    atlases: tuple[Path, ...] = ()
    """Data sets and BIDS folders whose labeled people vote, without being part of this data set."""
    out: Path = Path("brainatlas-dataset")
    workers: int = field(default_factory=default_workers)
    """Worker processes; 1 runs in this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSummary:
    """What a build found, rejected and wrote."""

    scans_found: dict[str, int]
    rejections: tuple[Rejection, ...]
    notes: tuple[str, ...]
    """What concerns whole sources, such as a spreadsheet that is missing."""
    pairs: dict[str, int]
    generations: dict[str, int]
    """Kept volumes by generation: `1` with labels of their source's own, `2` with labels that were voted."""
    slices_kept: int
    slices_dropped: int
    shards: int
    num_bytes: int
    seconds: dict[str, float]
    """Wall time a stage."""
    preparation_page: Path
    """What there is to see of each scan, used or rejected."""
    registration_page: Path
    """Each scan where it lies in the hub."""
    labels_page: Path
    """Each scan with its labels."""


def build(config: BuildConfig, progress: Progress | None = None) -> BuildSummary:
    """Build the data set. Raises InputError for what the user can mend and StageError for a failure."""
    for atlas in config.atlases:
        if atlas.resolve() == config.out.resolve():
            raise OutputError(
                f"--atlas {atlas}: a data set needs no --atlas for its own labels; leave it out"
            )
    found = find(tuple(dict.fromkeys(config.sources)), config.root, config.selection, config.atlases)
    if not found.scans:
        raise SourceError(f"{', '.join(config.sources)}: no scan is left; {_why(found)}")
    if not any(scan.dseg for scan in (*found.scans, *found.lent)):
        raise SourceError(
            f"{', '.join(config.sources)}: no scan has labels, but labels are carried "
            "from labeled people to all others; add a source with label maps, such as ibsr, or lend those of "
            "another data set or BIDS folder: --atlas PATH"
        )
    load_hub(*config.recipe.register_.hub_files)  # refuses a bad one before all work
    if config.recipe.register_.method == "hub" and any(scan.dseg is None for scan in found.scans):
        warp.check_available(config.recipe.warp)
    workspace = Workspace(config.out)
    config = replace(config, recipe=freeze(config.recipe, begun(workspace)))
    claim(workspace, config.recipe, _call(config))
    with workspace.locked():
        workspace.remove_leftovers()
        run = _Run(workspace, config, progress or Silent())
        try:
            return run.through(found)
        finally:
            run.engine.close()


def _own_and_lent(scans: Sequence[PreparedScan]) -> tuple[list[PreparedScan], list[PreparedScan]]:
    """The scans of this data set, and those of atlases, which only vote."""
    own = [scan for scan in scans if not scan.key.startswith(ATLAS_KEY)]
    return own, [scan for scan in scans if scan.key.startswith(ATLAS_KEY)]


def _why(found: Selected) -> str:
    """Reasons for which all scans were left out."""
    reasons = Counter(rejection.reason for rejection in found.rejections)
    return ", ".join(f"{reason}: {number}" for reason, number in reasons.items()) or "none is selected"


class _Run:
    """One pass through the stages; collects rejections and times."""

    def __init__(self, workspace: Workspace, config: BuildConfig, progress: Progress) -> None:
        self.root, self.config, self.recipe = workspace.root, config, config.recipe
        self.hub = load_hub(*config.recipe.register_.hub_files)
        self.engine, self.progress = Engine(config.workers), progress
        self.looks = Looks(root=self.root, sources=config.root, recipe=self.recipe, progress=progress)
        self.rejections: list[Rejection] = []
        self.seconds: dict[str, float] = {}
        self.lenders: dict[str, atlas_stages.Lender] = {}

    def through(self, found: Selected) -> BuildSummary:
        self.rejections += found.rejections
        self.lenders = atlas_stages.lenders_of(found.lent)
        everybody = self._prepare((*found.scans, *found.lent))
        prepared, _ = _own_and_lent(everybody)
        preparation_page = self.looks.at_preparation(found, prepared, self.rejections)
        transforms = self._register(everybody)
        registration_page = self.looks.at_registration(everybody, transforms, {}, self.rejections)
        registered = [scan for scan in everybody if scan.key in transforms]
        carried = voters.carriers(registered) if self.recipe.warp.method != "none" else frozenset()
        warps = self._warp([scan for scan in registered if scan.key in carried], transforms)
        if carried:
            self.looks.at_registration(everybody, transforms, warps, self.rejections)
        able = [scan for scan in registered if scan.key in warps or scan.key not in carried]
        placed, lent = _own_and_lent(able)
        splits = plan.draw_splits(placed, self.recipe.seed, self.recipe.plan)
        affines = self._affines(placed, lent, transforms, splits)
        pairs = (affines.direct or {}).values()
        if affines.direct is not None:
            self.looks.at_registration(everybody, transforms, warps, self.rejections, pairs)
        quality = self._quality((*transforms.values(), *warps.values(), *pairs))
        ready = self._label(placed, lent, affines, warps, splits)
        labels_page = self.looks.at_labels(placed, ready, self.rejections)
        facts = outputs.label_facts(ready, lent, splits, self.recipe)
        self._write_atlases(found, ready)
        labeled = [scan.prepared for scan in ready.values()]
        planned = plan.drop_unregistered(
            plan.make_plan(labeled, splits, self.recipe.seed, self.recipe.plan), affines.knows
        )
        blocks = self._render(planned, ready, affines)
        shards = [shard for block in blocks for shard in block.shards]
        kept = sum(block.slices_kept for block in blocks)
        seen = sum(block.slices_seen for block in blocks)
        outputs.write_tables(self.root, ready, quality, planned, shards, self.rejections)
        outputs.write_description(
            self.root, self.recipe, self.hub, ready, facts, planned, shards, self.rejections, (seen, kept)
        )
        outputs.remove_stale(self.root, shards)
        return BuildSummary(
            scans_found={
                name: sum(scan.source == name for scan in found.scans)
                for name in map(name_of, self.config.sources)
            },
            rejections=tuple(sorted(self.rejections, key=lambda r: (r.stage, r.key, r.detail))),
            notes=(
                *(f"{name}: {note}" for name, notes in found.notes.items() for note in notes),
                *facts.notes,
            ),
            pairs=plan.counts(planned),
            generations=outputs.generations(ready, planned),
            slices_kept=kept,
            slices_dropped=seen - kept,
            shards=len(shards),
            num_bytes=sum(shard.num_bytes for shard in shards),
            seconds=self.seconds,
            preparation_page=preparation_page,
            registration_page=registration_page,
            labels_page=labels_page,
        )

    def _prepare(self, scans: Sequence[SourceScan | PreparedScan]) -> list[PreparedScan]:
        tasks = [
            stages.prepare_task(self.root, scan, self.recipe.prepare)
            if isinstance(scan, SourceScan)
            else atlas_stages.borrow_task(self.root, scan)
            for scan in scans
        ]
        return self._stage("prepare", tasks, of_scans=True)

    def _register(self, prepared: Sequence[PreparedScan]) -> dict[str, HubTransform]:
        tasks = [stages.register_task(self.root, scan, self.recipe.register_) for scan in prepared]
        return {transform.key: transform for transform in self._stage("register", tasks, of_scans=True)}

    def _warp(self, scans: Sequence[PreparedScan], transforms: dict[str, HubTransform]) -> dict[str, HubWarp]:
        config = self.recipe.warp
        files = self.recipe.register_.hub_files
        tasks = [stages.warp_task(self.root, scan, transforms[scan.key], config, files) for scan in scans]
        warped = self._stage("warp", tasks, of_scans=True) if tasks else []
        return {warp.key: warp for warp in warped}

    def _affines(
        self,
        placed: Sequence[PreparedScan],
        lent: Sequence[PreparedScan],
        transforms: dict[str, HubTransform],
        splits: Mapping[str, str],
    ) -> PairAffines:
        """Those of all pairs that are rendered or carry labels."""
        recipe, scans = self.recipe, {scan.key: scan for scan in (*placed, *lent)}
        if recipe.register_.method == "hub":
            return PairAffines(to_hub=transforms)
        planned = plan.make_plan(placed, splits, recipe.seed, recipe.plan)
        labeled = [scan for scan in scans.values() if scan.dseg is not None]
        chosen, _ = voters.assign_voters(placed, labeled, splits, recipe.label.voters)
        wanted = [(pair.moving, pair.fixed) for pair in planned if pair.split is not None]
        wanted += [(voter.key, target) for target, found in chosen.items() for voter in found]
        tasks = pair_stages.pair_tasks(self.root, wanted, scans, recipe.register_)
        found = self._stage("pairs", tasks, of_scans=True)
        return PairAffines(to_hub=transforms, direct={(pair.moving, pair.fixed): pair for pair in found})

    def _quality(self, transforms: Iterable[HubTransform | HubWarp | PairTransform]) -> Registered:
        """What `quality.parquet` lists."""
        refused = tuple(item for item in self.rejections if isinstance(item, TransformRejection))
        return Registered(hub=self.hub.name, transforms=tuple(transforms), rejections=refused)

    def _label(
        self,
        prepared: Sequence[PreparedScan],
        lent: Sequence[PreparedScan],
        affines: PairAffines,
        warps: dict[str, HubWarp],
        splits: Mapping[str, str],
    ) -> dict[str, ReadyScan]:
        labeled = [scan for scan in (*prepared, *lent) if scan.dseg is not None]
        if not labeled:
            raise SourceError(
                f"{self.config.root}: every scan with labels was rejected, so that there is nobody to carry "
                f"labels from; {self.looks.early_pages} say why; "
                "--atlas lends labels of another data set"
            )
        able = [scan for scan in labeled if not warps or scan.key in warps]
        chosen, refused = voters.assign_voters(prepared, able, splits, self.recipe.label.voters)
        chosen, without = voters.keep_registered(chosen, prepared, affines.knows)
        self.rejections += (*refused, *without)
        usable = [scan for scan in prepared if scan.key in chosen]
        tasks = [
            stages.label_task(
                self.root, scan, chosen[scan.key], affines.to_hub, warps, self.recipe.label, affines
            )
            for scan in usable
        ]
        results: dict[str, LabeledScan] = {result.key: result for result in self._stage("label", tasks)}
        return {
            scan.key: ReadyScan(prepared=scan, transform=affines.to_hub[scan.key], labeled=results[scan.key])
            for scan in usable
        }

    def _write_atlases(self, found: Selected, ready: Mapping[str, ReadyScan]) -> None:
        names, hub, version = {s.key: s.image.name for s in found.scans}, self.hub.name, outputs.version()
        tasks = [
            atlas_stages.atlas_task(
                self.root,
                scan.prepared,
                scan.labeled,
                atlases.Origin(image_name=names[key], hub=hub, made_by=version),
            )
            for key, scan in ready.items()
            if scan.labeled.agreement is not None
        ]
        written = self._stage("atlas", tasks)
        atlases.write_descriptions(self.root, written, fuse.methods(self.recipe.label), version)

    def _render(
        self, planned: Sequence[PlannedPair], ready: dict[str, ReadyScan], affines: PairAffines
    ) -> list[BlockResult]:
        recipe = self.recipe
        settings = SampleSettings(seed=recipe.seed, render=recipe.render, caption=recipe.caption)
        tasks = [
            stages.block_task(self.root, name, pairs, ready, affines, settings)
            for name, pairs in plan.blocks(planned).items()
        ]
        return self._stage("render", tasks)

    def _stage(self, stage: str, tasks: Sequence[Task], *, of_scans: bool = False) -> list[Any]:
        """Results of all tasks in order, rejections taken out; only unfinished ones run."""
        atlas_stages.take_over(tasks, self.lenders)
        done = run_stage(self.engine, self.progress, stage, tasks, of_scans=of_scans)
        self.rejections += done.rejections
        self.seconds[stage] = done.seconds
        return done.results


def _call(config: BuildConfig) -> list[str]:
    """What besides the recipe makes the data set this one: a line for the sources, one for each selection."""
    sources = (f"bids:{name_of(s)}" if s.startswith("bids:") else s for s in config.sources)
    lent = (f"--atlas {atlas.resolve().name}" for atlas in config.atlases)
    return [f"brainatlas-text build --sources {' '.join(sources)}", *config.selection.flags(), *lent]
