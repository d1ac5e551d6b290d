"""The stages around atlases as cached tasks: scans that another build lends, labels that this one gives.

As in `stages`, whose machinery runs them.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from brainatlas_text import atlases
from brainatlas_text.atlases import AtlasScan, Origin
from brainatlas_text.records import LabeledScan, PreparedScan, Rejection
from brainatlas_text.stages import Outcome, Task
from brainatlas_text.workspace import atomic_path, digest, file_digest


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
            with atomic_path(target) as part:
                shutil.copyfile(source, part)
    except FileNotFoundError as error:
        return _unusable(scan, f"not all there ({error.filename} is missing)"), []
    return borrowed, ours


def _unusable(scan: PreparedScan, what: str) -> Rejection:
    detail = (
        f"{scan.image}: the files of this scan of an atlas are {what}; run the build of that data set again"
    )
    return Rejection(stage="prepare", key=scan.key, reason="unreadable", detail=detail)


def _atlas(root: Path, scan: PreparedScan, labeled: LabeledScan, origin: Origin) -> Outcome:
    written = atlases.write_scan(root, scan, labeled, origin)
    return written, [root / name for name in written.files]
