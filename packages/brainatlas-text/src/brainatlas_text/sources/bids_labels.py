"""Label maps and brain masks in the derivatives of a BIDS data set, and which scan each belongs to.

A map is used where its numbers are told by a table (`dseg.tsv` beside it or above it), by FreeSurfer
(`mri/aseg.mgz`, `desc-aseg`, `desc-aparcaseg`) or by SynthSeg (`desc-synthseg`), and where it lies in the
space of the scan: one without `space-` in that of the one scan it can mean, T1w first, and in that of others
of the session only on the very same grid. What is not used is named with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from brainatlas_text.dseg_tables import names_tissues_only
from brainatlas_text.errors import LabelError
from brainatlas_text.records import LabelMethod
from brainatlas_text.sources.bids_files import BidsFile, anat_files, applicable, folders_in, parse

FREESURFER_MAPS = ("aseg.mgz", "aparc+aseg.mgz", "aparc.DKTatlas+aseg.mgz")
"""Of a person's `mri` folder; all give the same canonical numbers."""
_DESCRIBED: Mapping[str, tuple[str, LabelMethod]] = {
    "aseg": ("freesurfer", "freesurfer"),
    "aparcaseg": ("freesurfer", "freesurfer"),
    "synthseg": ("synthseg", "provided"),
}
"""Scheme and method of maps whose `desc-` tells what their numbers mean."""
_OWN_SPACES = ("orig", "T1w", "T2w", "FLAIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A label map or mask that may belong to scans of one person."""

    path: Path
    kind: Literal["dseg", "mask"]
    entities: Mapping[str, str]
    method: LabelMethod = "provided"
    scheme: str | None = None
    table: Path | None = None
    conformed: bool = False
    """On FreeSurfer's own grid, so that sameness of grids says nothing."""


def pipelines_of(folder: Path) -> list[Path]:
    """Derivative data sets: the folder itself, those below it, FreeSurfer's inside another's `sourcedata`."""
    derivatives = folder / "derivatives"
    direct = [place for place in folders_in(derivatives) if not place.name.startswith(("sub-", "ses-"))]
    nested = [inner for place in direct for inner in folders_in(place / "sourcedata")]
    return [place for place in (folder, derivatives, *direct, *nested) if folders_in(place, "sub-*")]


def maps_of(pipelines: Iterable[Path], subject: str) -> tuple[list[Map], list[tuple[str, str]]]:
    """Maps of one person in the order of preference; of the others, the reason and the name."""
    found: list[Map] = []
    unused: list[tuple[str, str]] = []
    for place in pipelines:
        for path in anat_files(place / f"sub-{subject}"):
            file = parse(path)
            if file is None or path.suffix == ".tsv" or file.entities.get("sub") != subject:
                continue
            if file.suffix == "mask" and file.entities.get("desc") == "brain":
                found.append(Map(path=path, kind="mask", entities=file.entities))
            elif file.suffix == "dseg":
                usable = _dseg(file, place)
                if isinstance(usable, Map):
                    found.append(usable)
                else:
                    unused.append((usable, path.name))
        found += _freesurfer_maps(place, subject)
    return sorted(found, key=_preference), unused


def _dseg(file: BidsFile, pipeline: Path) -> Map | str:
    """The map with what tells its numbers, or why it is not used."""
    space = file.entities.get("space")
    if space is not None and space not in _OWN_SPACES:
        return f"in space {space}"
    table = applicable(file, "dseg", pipeline)
    described = _DESCRIBED.get(file.entities.get("desc", "").lower())
    if described is not None:
        scheme, method = described
        return Map(path=file.path, kind="dseg", entities=file.entities, method=method, scheme=scheme)
    if table is None:
        return "no dseg.tsv says what the numbers mean"
    try:
        tissues = names_tissues_only(table)
    except LabelError as error:
        return str(error)
    if tissues:
        return f"{table.name} names tissues, not structures"
    return Map(path=file.path, kind="dseg", entities=file.entities, table=table)


def _freesurfer_maps(pipeline: Path, subject: str) -> list[Map]:
    """The first of FreeSurfer's maps in each of a person's folders (`sub-01`, `sub-01_ses-1`)."""
    found = []
    for place in [pipeline / f"sub-{subject}", *folders_in(pipeline, f"sub-{subject}_ses-*")]:
        entities = dict(part.split("-", 1) for part in place.name.split("_") if "-" in part)
        existing = [place / "mri" / name for name in FREESURFER_MAPS if (place / "mri" / name).exists()]
        found += [
            Map(
                path=path,
                kind="dseg",
                entities=entities,
                method="freesurfer",
                scheme="freesurfer",
                conformed=True,
            )
            for path in existing[:1]
        ]
    return found


def _preference(item: Map) -> tuple[bool, bool, bool, str]:
    """Maps with a table before FreeSurfer's, hand-made ones and whole-brain ones first, then by path."""
    made_by_hand = (
        "manual" in item.entities.get("desc", "").lower() or "manual" in str(item.path.parents[2]).lower()
    )
    particular = bool(item.entities.keys() & {"atlas", "seg", "label"})
    return item.method == "freesurfer", particular, not made_by_hand, str(item.path)


def map_for(scan: BidsFile, maps: Iterable[Map], siblings: Iterable[BidsFile], kind: str) -> Map | None:
    """The preferred map of a kind that lies in the space of a scan.

    `siblings` are all scans of the person that are used, this one among them.
    """
    for item in maps:
        if item.kind != kind or not _may_mean(item, scan):
            continue
        space = item.entities.get("space", "orig")
        meant = [other for other in siblings if _may_mean(item, other)]
        if len({other.entities.get("ses") for other in meant}) > 1:
            continue  # heads lie differently in each session, whatever the grids
        if space == "orig" and any(other.suffix == "T1w" for other in meant):
            meant = [other for other in meant if other.suffix == "T1w"]
        if meant == [scan] or (not item.conformed and _same_grid(item.path, scan.path)):
            return item
    return None


def _may_mean(item: Map, scan: BidsFile) -> bool:
    """Whether the map's entities allow that it was made from the scan."""
    stated = {
        name: item.entities[name] for name in ("sub", "ses", "acq", "rec", "run") if name in item.entities
    }
    space = item.entities.get("space", "orig")
    return stated.items() <= scan.entities.items() and space in ("orig", scan.suffix)


def _same_grid(one: Path, other: Path) -> bool:
    """Whether the headers of two files state the same voxels in the same places."""
    import nibabel as nib

    try:
        a: Any = nib.load(one)
        b: Any = nib.load(other)
        return a.shape[:3] == b.shape[:3] and bool(np.allclose(a.affine, b.affine, atol=1e-2))
    except Exception:  # a file that is no image fails in many ways; `prepare` says what is wrong with it
        return False
