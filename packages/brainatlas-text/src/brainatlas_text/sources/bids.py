"""Any BIDS data set: T1w, T2w and FLAIR of `sub-*/[ses-*/]anat`, facts of people, derived label maps.

One scan a person, session, sequence and `acq-`: of its runs the first is used (or all, to be averaged, where
asked for), of its reconstructions and echoes the plain one. The name of the folder becomes the name of the
source, letters and digits alone. Terms are those of the licence that `dataset_description.json` names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from brainatlas_text.errors import SourceError
from brainatlas_text.records import ATLAS_KEY, PLANES, SEQUENCES, Rejection, SourceScan
from brainatlas_text.records import Sequence as MriSequence
from brainatlas_text.sources.bids_files import BidsFile, anat_files, folders_in, parse
from brainatlas_text.sources.bids_labels import Map, map_for, maps_of, pipelines_of
from brainatlas_text.sources.bids_people import People, facts_of, read_json, read_people
from brainatlas_text.sources.discovery import Discovery, Form, choose, reject, unreadable_folders
from brainatlas_text.sources.terms import terms_of_license

PREFIX = "bids:"
"""How a BIDS folder is named among the sources: `bids:PATH`."""
TAKEN = frozenset(("ibsr", "oasis", "ixi", "kirby", "full", ATLAS_KEY.rstrip("-"), *PLANES))
"""Names that other sources, the configs of the card and keys of atlases have."""
_VAGUE = frozenset(("bids", "rawdata", "raw", "data", "dataset", "input", "nifti", "mri", ""))
_READ = frozenset(("sub", "ses", "acq", "run", "rec", "echo", "part", "ce", "desc"))
_MAPS = frozenset(("dseg", "mask", "probseg"))
"""Suffixes of what lies beside the images in a derivative data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """What concerns all scans of a folder."""

    folder: Path
    name: str
    people: People
    terms: str
    pipelines: tuple[Path, ...]


@dataclass(slots=True)
class Unused:
    """What is passed over, to be named once for the whole folder."""

    scans: Counter[str] = field(default_factory=Counter)
    """Number of files by what they are."""
    maps: dict[str, list[str]] = field(default_factory=dict)
    """Names of label maps by the reason."""

    def notes(self) -> list[str]:
        """A line for each reason and one for all scans."""
        lines = [
            f"label maps not used: {len(names)} such as {names[0]}: {reason}"
            for reason, names in sorted(self.maps.items())
        ]
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.scans.items()))
        return [*lines, f"scans not used: {counts}"] if counts else lines


def discover(folder: Path, *, average_repeats: bool = False) -> Discovery:
    """Find the scans of a BIDS folder. Raises SourceError where it is none."""
    if not folder.is_dir():
        raise SourceError(
            f"{folder}: no such folder; bids:PATH takes the folder that holds sub-01, sub-02 ..."
        )
    cohort = _cohort(folder)
    people = folders_in(folder, "sub-*")
    unused = Unused()
    forms: list[Form] = []
    rejections: list[Rejection] = []
    for person in people:
        found, refused = _person(person, cohort, average_repeats, unused)
        forms += found
        rejections += refused
    if not forms and not rejections:
        raise SourceError(f"{folder}: no scan found; expected files such as sub-01/anat/sub-01_T1w.nii.gz")
    scans, clashes = choose(forms)
    closed = (note for person in people for note in unreadable_folders(person))
    return Discovery(
        scans=scans,
        rejections=(*rejections, *clashes),
        notes=(*cohort.people.notes, *unused.notes(), *closed),
        health_criterion=cohort.people.health_criterion,
    )


def source_name(folder: Path) -> str:
    """Name of the source in keys: that of the folder, or of the data set where the folder's says nothing."""
    name = _plain(folder.absolute().name)
    if name in _VAGUE:
        name = _plain(str(read_json(folder / "dataset_description.json").get("Name", ""))) or name
    return f"bids{name}" if name in TAKEN or not name else name


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())[:24]


def _cohort(folder: Path) -> Cohort:
    license_text = str(read_json(folder / "dataset_description.json").get("License", ""))
    return Cohort(
        folder=folder,
        name=source_name(folder),
        people=read_people(folder),
        terms=terms_of_license(license_text),
        pipelines=tuple(pipelines_of(folder)),
    )


def _person(
    person: Path, cohort: Cohort, average_repeats: bool, unused: Unused
) -> tuple[list[Form], list[Rejection]]:
    """Forms of the scans of one person, and scans that are refused on sight."""
    files, rejections = _usable(person, cohort, unused)
    if not files:
        return [], rejections
    maps, not_used = maps_of(cohort.pipelines, person.name.removeprefix("sub-"))
    forms = _forms(files, cohort, maps, average_repeats)
    dsegs = [item.path for item in maps if item.kind == "dseg"]
    if not {form.scan.dseg for form in forms} & set(dsegs):
        unclear = "which scan of the person they belong to is not clear"
        not_used += [(unclear, path.name) for path in dsegs]
    for reason, name in not_used:
        unused.maps.setdefault(reason, []).append(name)
    return forms, rejections


def _usable(person: Path, cohort: Cohort, unused: Unused) -> tuple[list[BidsFile], list[Rejection]]:
    """The scans of a person's folder; counts what is not used."""
    files, rejections = [], []
    for path in anat_files(person):
        if not path.name.lower().endswith((".nii", ".nii.gz")):
            continue
        file = parse(path)
        if file is None or file.entities.get("sub") != person.name.removeprefix("sub-"):
            unused.scans["names that are not BIDS"] += 1
        elif file.suffix not in SEQUENCES:
            if file.suffix not in _MAPS:
                unused.scans[file.suffix] += 1
        elif file.entities.get("desc", "preproc") != "preproc":
            unused.scans[f"desc-{file.entities['desc']}"] += 1
        elif file.entities.get("part", "mag") != "mag":
            unused.scans[f"part-{file.entities['part']}"] += 1
        elif others := sorted(file.entities.keys() - _READ):
            unused.scans[f"{others[0]}-"] += 1
        elif "ce" in file.entities:
            detail = (
                f"{path}: taken with a contrast agent (ce-{file.entities['ce']}), which changes the image"
            )
            rejections.append(reject(_key(file, cohort.name), "contrast_agent", detail))
        elif not file.entities.get("run", "1").isdigit():
            unused.scans["names that are not BIDS"] += 1
        else:
            files.append(file)
    return files, rejections


def _forms(files: list[BidsFile], cohort: Cohort, maps: Sequence[Map], average_repeats: bool) -> list[Form]:
    """The scans of one person, each with its place in the order of preference."""
    groups: dict[str, list[BidsFile]] = {}
    for file in sorted(files, key=_preference):
        groups.setdefault(_key(file, cohort.name), []).append(file)
    first = [group[0] for group in groups.values()]
    forms = []
    for key, group in groups.items():
        scan = _scan(key, group[0], cohort, maps, first)
        best = replace(scan, repeats=_repeats(group) if average_repeats else ())
        stems = list(dict.fromkeys(_stem(file) for file in group))
        forms += [
            Form(rank=stems.index(_stem(file)), scan=best if file is group[0] else _other(scan, file))
            for file in group
        ]
    return forms


def _preference(file: BidsFile) -> tuple[int, int, str, str]:
    """Earlier runs first, then the plain reconstruction and echo, then by name."""
    entities = file.entities
    special = sum(name in entities for name in ("rec", "echo", "part", "desc"))
    return int(entities.get("run", "0")), special, _stem(file), file.path.name


def _stem(file: BidsFile) -> str:
    return file.path.name.split(".")[0]


def _repeats(group: list[BidsFile]) -> tuple[Path, ...]:
    """The other runs of a scan, one file a run, of the same reconstruction and echo as the first."""
    first, *rest = group
    kind = {name: label for name, label in first.entities.items() if name != "run"}
    runs = {first.entities.get("run"): first.path}
    for file in rest:
        if {name: label for name, label in file.entities.items() if name != "run"} == kind:
            runs.setdefault(file.entities.get("run"), file.path)
    return tuple(runs.values())[1:]


def _scan(key: str, file: BidsFile, cohort: Cohort, maps: Iterable[Map], first: list[BidsFile]) -> SourceScan:
    entities = file.entities
    facts, notes = facts_of(cohort.people, entities["sub"], entities.get("ses"))
    dseg = map_for(file, maps, first, "dseg")
    mask = map_for(file, maps, first, "mask")
    return SourceScan(
        key=key,
        subject=f"{cohort.name}-{entities['sub'].lower()}",
        source=cohort.name,
        sequence=_sequence(file),
        image=file.path,
        dseg=dseg.path if dseg else None,
        label_scheme=dseg.scheme if dseg else None,
        label_table=dseg.table if dseg else None,
        label_method=dseg.method if dseg else "provided",
        mask=mask.path if mask else None,
        facts=facts,
        terms=cohort.terms,
        notes=notes,
    )


def _other(scan: SourceScan, file: BidsFile) -> SourceScan:
    """Another form of a scan; labels and mask were chosen for the preferred one and do not come along."""
    return replace(scan, image=file.path, dseg=None, label_scheme=None, label_table=None, mask=None)


def _key(file: BidsFile, source: str) -> str:
    entities: Mapping[str, str] = file.entities
    parts = [
        source,
        entities["sub"],
        entities.get("ses"),
        *([f"acq{entities['acq']}"] if "acq" in entities else []),
    ]
    return "-".join(re.sub(r"[^a-z0-9]", "", part.lower()) for part in (*parts, file.suffix) if part)


def _sequence(file: BidsFile) -> MriSequence:
    return next(name for name in SEQUENCES if name == file.suffix)
