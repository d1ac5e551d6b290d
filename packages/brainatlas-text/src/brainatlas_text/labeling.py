"""The labels of a build: whose vote for whom, fused where they lie on each other, kept as atlases.

Input: the scans in place. Output: the scans that have labels, of their own or voted.
"""

from __future__ import annotations

from collections.abc import Mapping

from brainatlas_text import atlas_stages, atlases, fuse, label_stages, outputs, voters
from brainatlas_text.errors import SourceError
from brainatlas_text.placement import Placement
from brainatlas_text.records import LabeledScan
from brainatlas_text.running import Run
from brainatlas_text.samples import ReadyScan


def label(run: Run, placed: Placement) -> dict[str, ReadyScan]:
    """Label all scans of this data set; raises SourceError where nobody is left to carry labels from."""
    labeled = [scan for scan in (*placed.own, *placed.lent) if scan.dseg is not None]
    if not labeled:
        raise SourceError(
            f"{run.looks.sources}: every scan with labels was rejected, so that there is nobody to carry "
            f"labels from; {run.looks.early_pages} say why; "
            "--atlas lends labels of another data set"
        )
    able = [scan for scan in labeled if not placed.warps or scan.key in placed.warps]
    chosen, refused = voters.assign_voters(placed.own, able, placed.splits, run.recipe.label.voters)
    chosen, without = voters.keep_registered(chosen, placed.own, placed.affines.knows)
    run.rejections += (*refused, *without)
    usable = [scan for scan in placed.own if scan.key in chosen]
    transforms, config = placed.affines.to_hub, run.recipe.label
    tasks = [
        label_stages.label_task(
            run.root, scan, chosen[scan.key], transforms, placed.warps, config, placed.affines
        )
        for scan in usable
    ]
    results: dict[str, LabeledScan] = {result.key: result for result in run.stage("label", tasks)}
    return {
        scan.key: ReadyScan(prepared=scan, transform=transforms[scan.key], labeled=results[scan.key])
        for scan in usable
    }


def write_atlases(run: Run, image_names: Mapping[str, str], ready: Mapping[str, ReadyScan]) -> None:
    """Write voted labels as atlases, one a source; `image_names` are the files that scans came in."""
    hub, version = run.hub.name, outputs.version()
    tasks = [
        atlas_stages.atlas_task(
            run.root,
            scan.prepared,
            scan.labeled,
            atlases.Origin(image_name=image_names[key], hub=hub, made_by=version),
        )
        for key, scan in ready.items()
        if scan.labeled.agreement is not None
    ]
    written = run.stage("atlas", tasks)
    atlases.write_descriptions(run.root, written, fuse.methods(run.recipe.label), version)
