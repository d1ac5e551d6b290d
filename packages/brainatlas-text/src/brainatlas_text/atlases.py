"""The new atlases: labels that were made here, as BIDS derivatives that any viewer lays over the scan itself.

Input: a scan whose labels were voted. Output below `atlases/<source>/`: the label map on the grid of the
prepared scan, which is the source's own in RAS order and in the same place in scanner space; the table of its
numbers; a map of the share of voters behind each label; what made them. A source's own labels are never
written: they are not ours to pass on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainatlas_text import volumes
from brainatlas_text.labels import Structure, canonical_table
from brainatlas_text.records import LabeledScan, PreparedScan
from brainatlas_text.sources.terms import Terms, terms_of
from brainatlas_text.workspace import atomic_path, write_text

VERSION = 1
FOLDER = "atlases"
_BIDS_VERSION = "1.10.0"
_SCANNER, _ALIGNED = 1, 2
"""NIfTI's codes: where the scanner saw it; or, of files that store no orientation, aligned by convention."""
_TISSUES = {
    "white matter": 2, "cortex": 8, "ventricle": 3, "fluid": 3, "deep grey": 9, "limbic": 9, "brain stem": 10,
    "cerebellum": 11, "vessel": 6,
}  # fmt: skip
"""BIDS's standard numbers of the groups of the canonical table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasScan:
    """The files of one scan in an atlas, below the data set folder."""

    key: str
    source: str
    terms: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is said of the making of a label map besides its scan's own records."""

    image_name: str
    """File name of the scan as its source distributes it."""
    hub: str
    made_by: str
    """Version of this package."""


def write_scan(root: Path, scan: PreparedScan, labeled: LabeledScan, origin: Origin) -> AtlasScan:
    """Write label map, table, agreement map and their descriptions; the same input gives the same bytes."""
    if labeled.agreement is None:
        raise ValueError(f"{scan.key} carries its source's own labels")
    folder, stem = _place(scan)
    place = root / folder
    code = _SCANNER if scan.orientation_source == "header" else _ALIGNED
    dseg = volumes.load_prepared(root / labeled.dseg)
    agreement = volumes.load_prepared(root / labeled.agreement)
    written = [place / f"{stem}_dseg.nii.gz", place / f"{stem}_desc-agreement_probseg.nii.gz"]
    _write(written[0], volumes.encode(dseg, np.uint8, code=code, intent="label"))
    _write(written[1], volumes.encode(agreement, np.uint8, code=code, slope=0.01))
    written.append(place / f"{stem}_dseg.tsv")
    write_text(written[-1], table(canonical_table().values()))
    for path, facts in zip(written[:2], (_described(scan, labeled, origin), _AGREEMENT), strict=True):
        written.append(path.with_name(path.name.replace(".nii.gz", ".json")))
        _write_json(written[-1], facts)
    names = tuple(sorted(path.relative_to(root).as_posix() for path in written))
    return AtlasScan(key=scan.key, source=scan.source, terms=labeled.terms, files=names)


def write_descriptions(root: Path, scans: Sequence[AtlasScan], methods: str, made_by: str) -> None:
    """Write what each atlas says of itself, and delete files of scans that are in none any more."""
    current = {root / name for scan in scans for name in scan.files}
    for source in sorted({scan.source for scan in scans}):
        folder = root / FOLDER / source
        keys = {key for scan in scans if scan.source == source for key in scan.terms.split("+")}
        terms = [terms_of(key) for key in sorted(keys)]
        _write_json(folder / "dataset_description.json", _description(source, terms, methods, made_by))
        write_text(folder / "README", _readme(source, terms))
        current |= {folder / "dataset_description.json", folder / "README"}
    _remove_others(root / FOLDER, current)


def table(structures: Iterable[Structure]) -> str:
    """A BIDS `dseg.tsv`; the names are those that `dseg_tables` reads back."""
    rows = ["index\tname\tmapping\tcolor"]
    for row in structures:
        name = row.name if row.side == "midline" else f"{row.side} {row.name}"
        rows.append(f"{row.number}\t{name}\t{_TISSUES[row.group]}\t{row.color}")
    return "\n".join(rows) + "\n"


def _place(scan: PreparedScan) -> tuple[Path, str]:
    """Folder and beginning of the names: `oasis-0011-1-t1w` is `sub-0011_ses-1_space-T1w`."""
    person, *rest = scan.key.removeprefix(f"{scan.source}-").split("-")[:-1]
    names = [f"sub-{person}"]
    acquisition = [rest.pop().removeprefix("acq")] if rest and rest[-1].startswith("acq") else []
    names += [f"ses-{''.join(rest)}"] if rest else []
    folder = Path(FOLDER, scan.source, *names, "anat")
    names += [f"acq-{label}" for label in acquisition]
    return folder, "_".join([*names, f"space-{scan.sequence}"])


def _described(scan: PreparedScan, labeled: LabeledScan, origin: Origin) -> dict[str, Any]:
    convention = scan.orientation_source != "header"
    return {
        "Description": f"Structures of the brain in {scan.key}; {len(labeled.voters)} labeled people voted",
        "SpatialReference": "orig",
        "Manual": False,
        "SourceImage": origin.image_name,
        "ScanKey": scan.key,
        "Sequence": scan.sequence,
        "LabelMethod": labeled.label_method,
        "Voters": list(labeled.voters),
        "Hub": origin.hub,
        "OrientationSource": scan.orientation_source,
        "OrientationNote": "the source's files store no orientation: a viewer may show them elsewhere"
        if convention
        else "scanner space, as in the header of the source's file",
        "Terms": labeled.terms,
        "SoftwareVersion": origin.made_by,
    }


_AGREEMENT = {
    "Description": "Share of the voters behind the label of each voxel, 0 to 1; background counts as a label",
    "Units": "arbitrary",
    "SpatialReference": "orig",
    "Manual": False,
}


def _description(source: str, terms: Sequence[Terms], methods: str, made_by: str) -> dict[str, Any]:
    made = {"Name": "brainatlas-text", "Version": made_by, "Description": methods}
    return {
        "Name": f"Structures of the brain in the scans of {source}",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "License": " ".join(f"{term.name}: {term.terms}" for term in terms),
        "HowToAcknowledge": " ".join(term.acknowledgement for term in terms),
        "ReferencesAndLinks": [term.citation for term in terms],
        "GeneratedBy": [made],
        "SourceDatasets": [{"URL": term.url} for term in terms if term.url],
    }


def _readme(source: str, terms: Sequence[Terms]) -> str:
    asked = "\n".join(f"- {term.name}: {term.terms}" for term in terms)
    return f"""Structures of the brain in the scans of {source}, carried there from labeled people.

*_dseg.nii.gz                    label numbers (FreeSurfer's); lay it over the scan that the .json names
*_dseg.tsv                       what the numbers mean, with colors
*_desc-agreement_probseg.nii.gz  share of the voters behind each label, 0 to 1

A program made these labels and nobody corrected them. The terms are those of the scans and of the voters:

{asked}
"""


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    write_text(path, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _write(path: Path, data: bytes) -> None:
    with atomic_path(path) as part:
        part.write_bytes(data)


def _remove_others(folder: Path, current: set[Path]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):  # files before the folders that hold them
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in current:
            path.unlink()
