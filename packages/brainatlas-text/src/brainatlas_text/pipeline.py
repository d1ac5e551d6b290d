"""The build: discover -> prepare -> register -> warp -> label -> plan -> blocks -> card, each cached.

`build` reads scans under `root` and makes `out` a Hugging Face data set repository. The same call again
continues where an earlier one stopped, and does nothing where nothing changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from brainatlas_text import atlas_stages, block_stages, outputs, plan, stages, warp, wording
from brainatlas_text.block_stages import BlockResult
from brainatlas_text.claim import begun, claim
from brainatlas_text.distribute import Engine, default_workers
from brainatlas_text.errors import OutputError, SourceError
from brainatlas_text.hub import load_hub
from brainatlas_text.labeling import label, write_atlases
from brainatlas_text.looks import Looks
from brainatlas_text.placement import Placement, own_and_lent, place
from brainatlas_text.progress import Progress, Silent
from brainatlas_text.recipe import Recipe, freeze
from brainatlas_text.records import PlannedPair, PreparedScan, Rejection, SourceScan
from brainatlas_text.running import Run
from brainatlas_text.samples import ReadyScan
from brainatlas_text.sources import Selected, Selection, find, name_of
from brainatlas_text.workspace import Workspace


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
    volumes_shown: int
    """Volumes of which at least one slice was kept."""
    volumes_cropped: int
    """Volumes whose brain lies in part outside of the frame's pictures."""
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
    wording.check(config.recipe.caption)
    if config.recipe.register_.method == "hub" and any(scan.dseg is None for scan in found.scans):
        warp.check_available(config.recipe.warp)
    workspace = Workspace(config.out)
    words, phrases = wording.beside(config.recipe.caption)
    recipe = config.recipe.model_copy(update={"caption": words})
    config = replace(config, recipe=freeze(recipe, begun(workspace)))
    claim(workspace, config.recipe, _call(config), phrases)
    looks = Looks(
        root=workspace.root, sources=config.root, recipe=config.recipe, progress=progress or Silent()
    )
    with workspace.locked():
        workspace.remove_leftovers()
        run = Run(Engine(config.workers), looks, atlas_stages.lenders_of(found.lent))
        try:
            return _through(run, config, found)
        finally:
            run.engine.close()


def _through(run: Run, config: BuildConfig, found: Selected) -> BuildSummary:
    """One pass through the stages."""
    run.rejections += found.rejections
    everybody = _prepare(run, (*found.scans, *found.lent))
    preparation_page = run.looks.at_preparation(found, own_and_lent(everybody)[0], run.rejections)
    placed = place(run, everybody)
    ready = label(run, placed)
    labels_page = run.looks.at_labels(placed.own, ready, run.rejections)
    write_atlases(run, {scan.key: scan.image.name for scan in found.scans}, ready)
    planned = _plan(run, placed, ready)
    made = _render(run, planned, ready, placed)
    notes = [f"{name}: {note}" for name, notes in found.notes.items() for note in notes]
    return BuildSummary(
        scans_found={
            name: sum(scan.source == name for scan in found.scans) for name in map(name_of, config.sources)
        },
        notes=(*notes, *_write(run, config, placed, ready, planned, made)),
        rejections=tuple(sorted(run.rejections, key=lambda r: (r.stage, r.key, r.detail))),
        pairs=plan.counts(planned),
        generations=outputs.generations(ready, planned),
        volumes_shown=made.counts.volumes_shown,
        volumes_cropped=made.counts.volumes_cropped,
        slices_kept=made.counts.slices_kept,
        slices_dropped=made.counts.slices_seen - made.counts.slices_kept,
        shards=len(made.shards),
        num_bytes=sum(shard.num_bytes for shard in made.shards),
        seconds=run.seconds,
        preparation_page=preparation_page,
        registration_page=placed.page,
        labels_page=labels_page,
    )


def _prepare(run: Run, scans: Sequence[SourceScan | PreparedScan]) -> list[PreparedScan]:
    tasks = [
        stages.prepare_task(run.root, scan, run.recipe.prepare)
        if isinstance(scan, SourceScan)
        else atlas_stages.borrow_task(run.root, scan)
        for scan in scans
    ]
    return run.stage("prepare", tasks, of_scans=True)


def _plan(run: Run, placed: Placement, ready: Mapping[str, ReadyScan]) -> tuple[PlannedPair, ...]:
    scans = [scan.prepared for scan in ready.values()]
    planned = plan.make_plan(scans, placed.splits, run.recipe.seed, run.recipe.plan)
    return plan.drop_unregistered(planned, placed.affines.knows)


def _render(
    run: Run, planned: Sequence[PlannedPair], ready: Mapping[str, ReadyScan], placed: Placement
) -> BlockResult:
    tasks = [
        block_stages.block_task(run.root, name, pairs, ready, placed.affines, run.recipe)
        for name, pairs in plan.blocks(planned).items()
    ]
    return block_stages.total(run.stage("render", tasks))


def _write(
    run: Run,
    config: BuildConfig,
    placed: Placement,
    ready: Mapping[str, ReadyScan],
    planned: Sequence[PlannedPair],
    made: BlockResult,
) -> tuple[str, ...]:
    """Write what belongs beside the shards, and give what there is to note about splits and labels."""
    facts = outputs.label_facts(ready, placed.lent, placed.splits, run.recipe)
    cohorts = [Path(source.removeprefix("bids:")) for source in config.sources if source.startswith("bids:")]
    rejections = outputs.without_places(run.rejections, (config.root, config.out, *cohorts, *config.atlases))
    outputs.write_tables(run.root, ready, placed.quality, planned, made.shards, rejections)
    outputs.write_description(
        run.root, run.recipe, run.hub, ready, facts, planned, made.shards, rejections, made.counts
    )
    outputs.remove_stale(run.root, [*(shard.path for shard in made.shards), *made.tables])
    return (*outputs.split_notes(ready, planned), *facts.notes)


def _why(found: Selected) -> str:
    """Reasons for which all scans were left out."""
    reasons = Counter(rejection.reason for rejection in found.rejections)
    return ", ".join(f"{reason}: {number}" for reason, number in reasons.items()) or "none is selected"


def _call(config: BuildConfig) -> list[str]:
    """What besides the recipe makes the data set this one: a line for the sources, one for each selection."""
    sources = (f"bids:{name_of(s)}" if s.startswith("bids:") else s for s in config.sources)
    lent = (f"--atlas {atlas.resolve().name}" for atlas in config.atlases)
    return [f"brainatlas-text build --sources {' '.join(sources)}", *config.selection.flags(), *lent]
