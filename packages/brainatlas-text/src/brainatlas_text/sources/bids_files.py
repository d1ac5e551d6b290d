"""Names and folders of a BIDS data set: entities of a file name, files of a person, what applies to what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(
    r"(?P<entities>(?:[a-zA-Z]+-[a-zA-Z0-9+]+_)+)(?P<suffix>[a-zA-Z0-9]+)(?P<extension>\.nii(?:\.gz)?|\.tsv)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BidsFile:
    """A file whose name follows BIDS: `sub-01_ses-1_acq-fast_run-2_T1w.nii.gz`."""

    path: Path
    entities: Mapping[str, str]
    """Labels by short name, such as `sub`, `ses`, `acq`, `run`."""
    suffix: str


def parse(path: Path) -> BidsFile | None:
    """The parts of a file name; None where it does not follow BIDS or names one entity twice."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    parts = [part.split("-", 1) for part in match["entities"].rstrip("_").split("_")]
    entities = {name: label for name, label in parts}
    return (
        BidsFile(path=path, entities=entities, suffix=match["suffix"])
        if len(entities) == len(parts)
        else None
    )


def folders_in(folder: Path, pattern: str = "*") -> list[Path]:
    """Visible folders right below, sorted; none where it cannot be looked into."""
    try:
        return sorted(p for p in folder.glob(pattern) if p.is_dir() and not p.name.startswith("."))
    except OSError:
        return []


def anat_files(person: Path) -> list[Path]:
    """Visible files of `anat/` of a person's folder, with and without sessions."""
    places = [person / "anat", *(session / "anat" for session in folders_in(person, "ses-*"))]
    found = []
    for place in places:
        try:
            found += [path for path in place.iterdir() if not path.name.startswith(".")]
        except OSError:
            continue
    return sorted(found)


def applicable(image: BidsFile, suffix: str, root: Path) -> Path | None:
    """The table (`.tsv`) that applies to an image: the nearest and most particular one, up to `root`."""
    place = image.path.parent
    while place == root or root in place.parents:
        fitting = []
        for path in place.glob(f"*{suffix}.tsv"):
            table = parse(path)
            stated = table.entities if table else {} if path.name == f"{suffix}.tsv" else None
            if stated is not None and stated.items() <= image.entities.items():
                fitting.append((-len(stated), path.name, path))
        if fitting:
            return min(fitting)[2]
        place = place.parent
    return None
