"""The stages around atlases as cached tasks: scans that another build lends, labels that this one gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from brainatlas_text import atlases
from brainatlas_text.atlases import AtlasScan, Origin
from brainatlas_text.records import ATLAS_KEY, LabeledScan, PreparedScan, Rejection, SourceScan
from brainatlas_text.tasks import Outcome, Task, finished
from brainatlas_text.workspace import Workspace, atomic_path, digest, file_digest


def borrow_task(root: Path, scan: PreparedScan) -> Task:
    """A scan that another build prepared (its paths are absolute) to the same scan below this root.

    Copied, so that the data set does not depend on a folder elsewhere once it is built.
    """
    said = {name: value for name, value in asdict(scan).items() if name not in _PATHS}
    return Task(
        stage="prepare",
        key=scan.key,
        inputs=digest(["borrow", said]),
        root=root,
        result=PreparedScan | Rejection,
        work=partial(_borrow, root, scan),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lender:
    """Where another build keeps what it noted of a scan."""

    root: Path
    key: str
    """The scan's key there."""


def lenders_of(scans: Iterable[SourceScan | PreparedScan]) -> dict[str, Lender]:
    """The lender of each scan that another build prepared, by its key here."""
    return {
        scan.key: Lender(root=scan.image.parents[2], key=scan.key.removeprefix(ATLAS_KEY))
        for scan in scans
        if isinstance(scan, PreparedScan)
    }


def take_over(tasks: Iterable[Task], lenders: Mapping[str, Lender]) -> None:
    """Copy results that lenders have for the very same inputs, under this build's keys, to be found finished.

    Registration and warp of a lent scan are the same work there as here where recipe and hub are.
    """
    for task in tasks:
        lender = lenders.get(task.key)
        if lender is None or finished(task) is not None:
            continue
        noted = Workspace(lender.root).read_outputs(task.stage, lender.key, task.inputs)
        if noted is None:
            continue
        payload, outputs = noted
        copies = [task.root / name.replace(lender.key, task.key) for name in outputs]
        for name, target in zip(outputs, copies, strict=True):
            _copy(lender.root / name, target)
        renamed = json.loads(json.dumps(payload).replace(lender.key, task.key))
        Workspace(task.root).write_record(task.stage, task.key, task.inputs, copies, renamed)


def atlas_task(root: Path, scan: PreparedScan, labeled: LabeledScan, origin: Origin) -> Task:
    """A scan whose labels were voted to its files in an atlas."""
    said = {name: value for name, value in asdict(labeled).items() if name not in _PATHS}
    depends = [atlases.VERSION, said, asdict(origin), scan.source, scan.sequence, scan.orientation_source]
    return Task(
        stage="atlas",
        key=scan.key,
        inputs=digest(depends),
        root=root,
        result=AtlasScan,
        work=partial(_atlas, root, scan, labeled, origin),
    )


_PATHS = ("image", "mask", "dseg", "look", "agreement")


def _borrow(root: Path, scan: PreparedScan) -> Outcome:
    assert scan.dseg is not None
    folder = Path("work/prepared")
    borrowed = replace(
        scan,
        image=folder / f"{scan.key}.nii.gz",
        mask=folder / f"{scan.key}_mask.nii.gz",
        dseg=folder / f"{scan.key}_dseg.nii.gz",
        look=folder / f"{scan.key}_look.svg",
    )
    assert borrowed.dseg is not None
    theirs = (scan.image, scan.mask, scan.dseg)
    ours = [root / path for path in (borrowed.image, borrowed.mask, borrowed.dseg, borrowed.look)]
    try:
        if file_digest(*theirs) != scan.digest:
            return _unusable(scan, "changed since they were prepared"), []
        for source, target in zip((*theirs, scan.look), ours, strict=True):
            _copy(source, target)
    except FileNotFoundError as error:
        return _unusable(scan, f"not all there ({error.filename} is missing)"), []
    return borrowed, ours


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as part:
        shutil.copyfile(source, part)


def _unusable(scan: PreparedScan, what: str) -> Rejection:
    detail = (
        f"{scan.image}: the files of this scan of an atlas are {what}; run the build of that data set again"
    )
    return Rejection(stage="prepare", key=scan.key, reason="unreadable", detail=detail)


def _atlas(root: Path, scan: PreparedScan, labeled: LabeledScan, origin: Origin) -> Outcome:
    written = atlases.write_scan(root, scan, labeled, origin)
    return written, [root / name for name in written.files]
