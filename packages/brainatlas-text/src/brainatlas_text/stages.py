"""The stages of a build as cached tasks: what runs on a worker, and when its result can be reused.

A task names its stage, its key and the digest of all it depends on. `run` does the work on a worker and
writes the done-record last; `finished` reads that record back, so only what is missing is submitted.
A rejection is a result like any other: it is noted and not tried again until its inputs change.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from brainatlas_text import (
    caption,
    fuse,
    label_look,
    measure,
    prepare,
    propagate,
    register,
    render,
    samples,
    shards,
    warp,
)
from brainatlas_text.engines import itk
from brainatlas_text.engines.warps import PointMap
from brainatlas_text.errors import BrainAtlasError
from brainatlas_text.hub import load_hub
from brainatlas_text.plan import draw
from brainatlas_text.prepare_config import PrepareConfig
from brainatlas_text.records import (
    LabeledScan,
    Plane,
    PlannedPair,
    PreparedScan,
    Rejection,
    Sample,
    Shard,
    SourceScan,
)
from brainatlas_text.register_config import RegisterConfig
from brainatlas_text.registrations import HubTransform, HubWarp, PairAffines, TransformRejection
from brainatlas_text.samples import ReadyScan, SampleSettings
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace, atomic_path, digest, file_digest, write_volume

log = logging.getLogger(__name__)

Outcome = tuple[Any, list[Path]]
"""A stage's result and the files it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One cached piece of work. `work` is picklable and returns an Outcome."""

    stage: str
    key: str
    inputs: str
    root: Path
    result: Any
    """Type of the result, as pydantic understands it."""
    work: Callable[[], Outcome]
    folder: str = ""
    """Below the stage's records, where one folder would hold too many."""

    @property
    def record(self) -> str:
        """Name of the done-record within the stage."""
        return f"{self.folder}/{self.key}" if self.folder else self.key


def run(task: Task) -> Any:
    """Do the work, then note it; a failure of a tool outside is no property of the scan and is not noted."""
    result, outputs = task.work()
    if isinstance(result, Rejection) and result.reason in prepare.RETRIED:
        return result
    payload = TypeAdapter(task.result).dump_python(result, mode="json")
    Workspace(task.root).write_record(task.stage, task.record, task.inputs, outputs, {"result": payload})
    return result


def run_for_scan(task: Task) -> Any:
    """`run`, where one scan's failure must not end the build of all others: it is a Rejection then.

    Errors raised on purpose and those of disks are everybody's and still end the build. Not noted, so that
    the next run tries again.
    """
    try:
        return run(task)
    except (BrainAtlasError, OSError):
        raise
    except Exception as error:
        log.info("%s of %s failed", task.stage, task.key, exc_info=True)
        detail = (
            f"{task.key}: {task.stage} failed unexpectedly ({type(error).__name__}: {error}); report this "
            "fault with what `brainatlas-text -v build --workers 1` prints, and exclude the scan"
        )
        return Rejection(stage=task.stage, key=task.key, reason="failed", detail=detail)


def finished(task: Task) -> Any | None:
    """The result of an earlier run with the same inputs and its outputs in place, else None."""
    payload = Workspace(task.root).read_record(task.stage, task.record, task.inputs)
    if payload is None:
        return None
    try:
        return TypeAdapter(task.result).validate_python(payload["result"])
    except ValidationError:  # noted by another version of this package
        return None


def worker_died(task: Task) -> Rejection:
    """For a scan on which a worker process died twice; not noted, so the next run tries it again."""
    detail = (
        f"{task.key}: the worker process died while it did this (memory exhausted, or a crash in a library); "
        "run the same command again with fewer --workers, or exclude the scan"
    )
    return Rejection(stage=task.stage, key=task.key, reason="worker_died", detail=detail)


def prepare_task(root: Path, scan: SourceScan, config: PrepareConfig) -> Task:
    """Source files to a PreparedScan."""
    return Task(
        stage="prepare",
        key=scan.key,
        inputs=prepare.inputs_digest(scan, config),
        root=root,
        result=PreparedScan | Rejection,
        work=partial(_prepare, root, scan, config),
    )


def register_task(root: Path, scan: PreparedScan, config: RegisterConfig) -> Task:
    """A prepared scan to its HubTransform."""
    return Task(
        stage="register",
        key=scan.key,
        inputs=register.inputs_digest(scan, load_hub(*config.hub_files), config),
        root=root,
        result=HubTransform | TransformRejection | Rejection,
        work=partial(_register, root, scan, config),
    )


def warp_task(
    root: Path,
    scan: PreparedScan,
    transform: HubTransform,
    config: warp.WarpConfig,
    hub_files: tuple[str, str],
) -> Task:
    """A scan in the hub to its HubWarp; `hub_files` are the recipe's template and mask."""
    return Task(
        stage="warp",
        key=scan.key,
        inputs=warp.inputs_digest(scan, transform, load_hub(*hub_files), config),
        root=root,
        result=HubWarp | TransformRejection | Rejection,
        work=partial(_warp, root, scan, transform, config, hub_files),
    )


def label_task(
    root: Path,
    scan: PreparedScan,
    voters: tuple[PreparedScan, ...],
    transforms: Mapping[str, HubTransform],
    warps: Mapping[str, HubWarp],
    config: fuse.LabelConfig,
    affines: PairAffines | None = None,
) -> Task:
    """A scan's own labels, or those voted by other people, to a LabeledScan.

    With `affines` of direct registrations these carry the labels, not the hub's transforms.
    """
    direct = affines.of((voter.key, scan.key) for voter in voters) if affines and affines.direct else None
    placed = {
        key: Placed(transforms[key], warps.get(key)) for key in (scan.key, *(voter.key for voter in voters))
    }
    inputs = [
        label_look.VERSION,
        propagate.VERSION,
        fuse.VERSION,
        scan.digest,
        scan.terms,
        scan.label_method,
    ]
    if scan.dseg is None:
        inputs.append(config.method)
        inputs += [[voter.key, voter.digest, voter.terms] for voter in voters]
        inputs += [[key, place.digests] for key, place in placed.items()]
        inputs += [direct.digest_of(voter.key, scan.key) for voter in voters] if direct else []
    return Task(
        stage="label",
        key=scan.key,
        inputs=digest(inputs),
        root=root,
        result=LabeledScan,
        work=partial(_label_and_look, root, scan, voters, placed, config, direct),
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


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a scan lies in the hub, and how it bends into it where labels are carried by warps."""

    transform: HubTransform
    warp: HubWarp | None

    @property
    def digests(self) -> list[str]:
        """What labels carried through it depend on."""
        return [self.transform.digest, *([self.warp.digest] if self.warp else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """What rendering a block gave."""

    shards: tuple[Shard, ...]
    slices_seen: int
    """Slices of the blocks' volumes that were candidates, by the frame and `slice_step`."""
    slices_kept: int


def _prepare(root: Path, scan: SourceScan, config: PrepareConfig) -> Outcome:
    result = prepare.prepare(scan, Workspace(root), config)
    if isinstance(result, Rejection):
        return result, [root / result.look] if result.look else []
    files = (result.image, result.mask, result.dseg, result.look)
    return result, [root / path for path in files if path is not None]


def _register(root: Path, scan: PreparedScan, config: RegisterConfig) -> Outcome:
    hub = load_hub(*config.hub_files)
    result = register.register_to_hub(scan, hub, Workspace(root), config)
    if isinstance(result, Rejection):
        return result, [root / result.look] if result.look else []
    path = root / "transforms" / f"{scan.key}_to-hub.tfm"
    with atomic_path(path) as part:
        itk.write_transform(part, result.matrix)
    return result, [path, root / result.look]


def _warp(
    root: Path,
    scan: PreparedScan,
    transform: HubTransform,
    config: warp.WarpConfig,
    hub_files: tuple[str, str],
) -> Outcome:
    result = warp.warp_to_hub(scan, transform, load_hub(*hub_files), Workspace(root), config)
    if isinstance(result, Rejection):
        return result, [root / result.look] if result.look else []
    return result, [root / path for path in (result.bent_from_hub, result.hub_from_bent, result.look)]


def _label_and_look(
    root: Path,
    scan: PreparedScan,
    voters: tuple[PreparedScan, ...],
    placed: dict[str, Placed],
    config: fuse.LabelConfig,
    direct: PairAffines | None,
) -> Outcome:
    labeled, written = _label(root, scan, voters, placed, config, direct)
    looked, look = label_look.look_at(root, scan, labeled, placed[scan.key].transform)
    return looked, [*written, root / look]


def _label(
    root: Path,
    scan: PreparedScan,
    voters: tuple[PreparedScan, ...],
    placed: dict[str, Placed],
    config: fuse.LabelConfig,
    direct: PairAffines | None,
) -> Outcome:
    if scan.dseg is not None:
        own = LabeledScan(
            key=scan.key,
            dseg=scan.dseg,
            agreement=None,
            label_method=scan.label_method,
            voters=(),
            terms=scan.terms,
            digest=scan.digest,
        )
        return own, []
    workspace, place = Workspace(root), placed[scan.key]
    target = propagate.read_target(scan, workspace)
    hub_from_target = warp.hub_from_scan(place.transform, place.warp, root)

    def voter_from_target(voter: str) -> PointMap:
        if direct is not None:
            return PointMap((direct.moving_from_fixed(voter, scan.key),))
        return hub_from_target.then(warp.scan_from_hub(placed[voter].transform, placed[voter].warp, root))

    proposed = propagate.candidates(target, voters, voter_from_target, workspace)
    fused = fuse.fuse(target.image, target.inside, target.zooms_mm, (c.labels for c in proposed), config)
    paths = [Path("work/labels") / f"{scan.key}_{name}.nii.gz" for name in ("dseg", "agreement")]
    for path, array in zip(paths, (fused.labels, fused.agreement), strict=True):
        write_volume(root / path, Volume(target.uncropped(array), target.affine), "uint8")
    labeled = LabeledScan(
        key=scan.key,
        dseg=paths[0],
        agreement=paths[1],
        label_method=config.method,
        voters=tuple(voter.key for voter in voters),
        terms="+".join(sorted({scan.terms, *(voter.terms for voter in voters)})),
        digest=file_digest(*(root / path for path in paths)),
    )
    return labeled, [root / path for path in paths]


def _block(
    root: Path,
    name: tuple[str, str, int],
    pairs: tuple[PlannedPair, ...],
    scans: dict[str, ReadyScan],
    affines: PairAffines,
    settings: SampleSettings,
) -> Outcome:
    split, source, number = name
    rendered: dict[Plane, list[Sample]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda p: p.moving):  # one moving scan after the other: each is read once
        moving, fixed = scans[pair.moving], scans[pair.fixed]
        moving_from_fixed = affines.moving_from_fixed(pair.moving, pair.fixed)
        for item in samples.pair_samples(root, pair, moving, fixed, moving_from_fixed, settings):
            rendered[item.plane].append(item.sample)
    workspace, written = Workspace(root), []
    for plane, members in sorted(rendered.items()):
        mixed = sorted(members, key=lambda sample: draw(settings.seed, "shard", sample.key))
        written.append(shards.write_shard(workspace, split, source, plane, number, mixed))
    planes, step = settings.render.planes, settings.render.slice_step
    result = BlockResult(
        shards=tuple(written),
        slices_seen=len(pairs) * len(planes) * len(range(0, render.SIZE, step)),
        slices_kept=sum(len(members) for members in rendered.values()),
    )
    return result, [root / shard.path for shard in written]


def _stated(scan: ReadyScan) -> list[Any]:
    """What samples state of a scan besides its pictures."""
    prepared = scan.prepared
    facts = TypeAdapter(type(prepared.facts)).dump_python(prepared.facts, mode="json")
    return [prepared.sequence, facts, prepared.source_zooms_mm, scan.labeled.terms, scan.labeled.voters]
