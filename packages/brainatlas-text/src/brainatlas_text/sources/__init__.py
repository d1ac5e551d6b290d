"""Sources as they are distributed: `discover` finds scans and what their source says of them.

Input: a folder that holds one folder a source, and BIDS folders anywhere (`bids:PATH`). Output: SourceScans,
one a scan in however many forms it is found, with facts exactly as the source's spreadsheets state them.
`find` does so for all sources of a build and keeps what a `Selection` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from brainatlas_text.errors import SourceError
from brainatlas_text.records import Rejection, SourceScan
from brainatlas_text.sources import atlas, bids, ibsr, ixi, kirby, oasis, selection
from brainatlas_text.sources.atlas import Lent, LentScan
from brainatlas_text.sources.discovery import Discovery, reject, unreadable_folders
from brainatlas_text.sources.selection import Selection
from brainatlas_text.sources.terms import Terms, terms_of

__all__ = [
    "SOURCES", "Discovery", "Selected", "Selection", "Terms", "discover", "find", "name_of", "terms_of",
]  # fmt: skip

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
SOURCES: Mapping[str, Callable[[Path], Discovery]] = {
    "ibsr": ibsr.discover,
    "oasis": oasis.discover,
    "ixi": ixi.discover,
    "kirby": kirby.discover,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What the sources of a build hold, after selection."""

    scans: tuple[SourceScan, ...]
    rejections: tuple[Rejection, ...]
    notes: Mapping[str, tuple[str, ...]]
    """What concerns a source as a whole, by source; what concerns the choice, under `selection`."""
    lent: tuple[LentScan, ...] = ()
    """Labeled scans of atlases: they vote and are not part of the build."""


def find(sources: Sequence[str], root: Path, chosen: Selection, atlases: Sequence[Path] = ()) -> Selected:
    """Find the scans of all sources and keep the selected ones; raises SourceError as `discover` does.

    `atlases` are folders whose labeled people vote besides: data sets, BIDS folders, folders of a source.
    """
    names = [name_of(source) for source in sources]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise SourceError(
            f"two sources are named {double[0]}: {', '.join(s for s in sources if name_of(s) == double[0])}; "
            "give one of the folders another name (a link will do)"
        )
    found = [
        discover(source, root, healthy_only=chosen.healthy_only, average_repeats=chosen.average_repeats)
        for source in sources
    ]
    lent = atlas.without_repeats(lend(folder, healthy_only=chosen.healthy_only) for folder in atlases)
    before = [scan for one in found for scan in one.scans]
    rejections = tuple(item for one in found for item in one.rejections)
    notes = {name: one.notes for name, one in zip(names, found, strict=True)}
    everybody = (*before, *(scan for one in lent for scan in one.scans))
    if chosen.same_person:
        everybody = selection.join_people(everybody, chosen.same_person)
    scans = tuple(scan for scan in everybody[: len(before)] if isinstance(scan, SourceScan))
    said: tuple[str, ...] = ()
    if chosen.subjects == "paper":
        scans, said = selection.select_paper(scans)
    elif chosen.subjects is not None:
        scans, rejections, said = selection.select(scans, rejections, Path(chosen.subjects), before)
    notes |= {"selection": said, "atlas": tuple(one.note for one in lent)}
    return Selected(scans=scans, rejections=rejections, notes=notes, lent=everybody[len(before) :])


def lend(folder: Path, *, healthy_only: bool = True) -> Lent:
    """The labeled scans of an atlas; raises SourceError for a folder that is none or has no labels."""
    folder = folder.expanduser()
    if not folder.is_dir():
        raise SourceError(
            f"--atlas {folder}: no such folder; expected the data set of another build, or a BIDS folder "
            "with images and label maps"
        )
    if atlas.is_data_set(folder):
        return atlas.of_data_set(folder)
    name = folder.resolve().name.lower()
    source = name if name in SOURCES and not any(folder.glob("sub-*")) else f"{bids.PREFIX}{folder}"
    try:
        found = discover(source, folder, healthy_only=healthy_only)
    except SourceError as error:
        if not any(folder.glob("sub-*/**/*_dseg.nii*")):
            raise
        raise SourceError(
            f"--atlas {folder}: label maps without the images they belong to, which are needed to tell where "
            "they go; give a BIDS folder with both, or the data set folder in which the labels were made"
        ) from error
    return atlas.of_folder(folder, found)


def name_of(source: str) -> str:
    """Name of a source in keys and file names: its own, or that of the folder after `bids:`."""
    return bids.source_name(_bids_folder(source)) if source.startswith(bids.PREFIX) else source


def _bids_folder(source: str) -> Path:
    return Path(source.removeprefix(bids.PREFIX)).expanduser()  # no shell expands the ~ of bids:~/study


def discover(
    source: str, root: Path, *, healthy_only: bool = True, average_repeats: bool = False
) -> Discovery:
    """Find the scans of a source under `root/<source>`, or in `root` where it is that source's folder.

    `bids:PATH` is a BIDS folder, wherever it lies. With `healthy_only` people who fail the source's own
    criterion are rejected; where the source says nothing, they are kept. With `average_repeats` scans carry
    the further repeats of their session. Raises SourceError for an unknown source, a missing root or a folder
    without any scan of the source.
    """
    if source.startswith(bids.PREFIX):
        found = bids.discover(_bids_folder(source), average_repeats=average_repeats)
    elif source in SOURCES:
        folder = _source_folder(source, root)
        found = _adapter(source, average_repeats)(folder)
        if not found.scans and not found.rejections:
            raise SourceError(_nothing_found(source, folder))
        found = replace(found, notes=(*found.notes, *unreadable_folders(folder)))
    else:
        near = get_close_matches(source.lower(), SOURCES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(SOURCES)}, bids:PATH"
        raise SourceError(f"unknown source {source!r}; {hint}")
    return _keep_healthy(found) if healthy_only else found


def _adapter(source: str, average_repeats: bool) -> Callable[[Path], Discovery]:
    """The source's `discover`; OASIS alone distributes repeats."""
    return partial(oasis.discover, average_repeats=average_repeats) if source == "oasis" else SOURCES[source]


def _source_folder(source: str, root: Path) -> Path:
    if not root.is_dir():
        raise SourceError(
            f"{root}: no such folder; expected one folder a source, such as {root / source}; "
            "give it with --root, or make one: brainatlas-text demo-sources ./sources"
        )
    folders = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    if source in folders:
        return folders[source]
    if not folders.keys() & SOURCES.keys() and SOURCES[source](root).scans:
        return root
    raise SourceError(_nothing_found(source, root / source))


def _nothing_found(source: str, folder: Path) -> str:
    terms = terms_of(source)
    found = "no scan of it in this folder" if folder.is_dir() else "no such folder"
    packed = (
        sorted(p.name for p in folder.glob("*") if p.name.lower().endswith(ARCHIVES))
        if folder.is_dir()
        else []
    )
    if packed:
        return f"{folder}: {found}, but archives ({', '.join(packed[:3])}); unpack them there"
    return (
        f"{folder}: {found}; {terms.name} is expected as {terms.expected_files}; "
        f"how to get it: {terms.how_to_get}"
    )


def _keep_healthy(found: Discovery) -> Discovery:
    kept = tuple(scan for scan in found.scans if scan.facts.healthy is not False)
    left_out = tuple(
        _not_healthy(scan, found.health_criterion) for scan in found.scans if scan.facts.healthy is False
    )
    rejections = tuple(sorted(found.rejections + left_out, key=lambda item: (item.key, item.detail)))
    return replace(found, scans=kept, rejections=rejections)


def _not_healthy(scan: SourceScan, criterion: str | None) -> Rejection:
    stated = criterion or terms_of(scan.source).health_criterion
    detail = f"{scan.key}: the person fails the source's criterion ({stated}); --all-people keeps everybody"
    return reject(scan.key, "not_healthy", detail)
