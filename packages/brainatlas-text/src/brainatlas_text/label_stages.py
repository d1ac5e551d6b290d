"""Labels as cached tasks: a scan's own, or those voted by other people's scans where they lie on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from brainatlas_text import fuse, label_look, propagate, warp
from brainatlas_text.engines.warps import PointMap
from brainatlas_text.records import LabeledScan, PreparedScan
from brainatlas_text.registrations import HubTransform, HubWarp, PairAffines
from brainatlas_text.tasks import Outcome, Task
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace, digest, file_digest, write_volume


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a scan lies in the hub, and how it bends into it where labels are carried by warps."""

    transform: HubTransform
    warp: HubWarp | None

    @property
    def digests(self) -> list[str]:
        """What labels carried through it depend on."""
        return [self.transform.digest, *([self.warp.digest] if self.warp else [])]


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
    fused = fuse.fuse(target.image, target.inside, target.zooms_mm, proposed, config)
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
