"""Sources as they are distributed: `discover` finds scans and what their source says of them.

Input: a folder that holds one folder a source. Output: `SourceScan`s, one a scan whatever the number of forms
it is found in, with facts exactly as the source's spreadsheets state them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path

from brainatlas_text.errors import SourceError
from brainatlas_text.records import Rejection, SourceScan
from brainatlas_text.sources import ibsr, ixi, kirby, oasis
from brainatlas_text.sources.discovery import Discovery, reject
from brainatlas_text.sources.terms import Terms, terms_of

__all__ = ["SOURCES", "Discovery", "Terms", "discover", "terms_of"]

SOURCES: Mapping[str, Callable[[Path], Discovery]] = {
    "ibsr": ibsr.discover,
    "oasis": oasis.discover,
    "ixi": ixi.discover,
    "kirby": kirby.discover,
}


def discover(source: str, root: Path, *, healthy_only: bool = True) -> Discovery:
    """Find the scans of a source under `root/<source>`, or in `root` where it is that source's folder.

    With `healthy_only` people who fail the source's own criterion are rejected; where the source says
    nothing, they are kept. Raises SourceError for an unknown source, a missing root or a folder without
    any scan of the source.
    """
    if source not in SOURCES:
        near = get_close_matches(source.lower(), SOURCES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(SOURCES)}"
        raise SourceError(f"unknown source {source!r}; {hint}")
    folder = _source_folder(source, root)
    found = SOURCES[source](folder)
    if not found.scans and not found.rejections:
        raise SourceError(_nothing_found(source, folder))
    return _keep_healthy(found) if healthy_only else found


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
    return (
        f"{folder}: {found}; {terms.name} is expected as {terms.expected_files}; "
        f"how to get it: {terms.how_to_get}"
    )


def _keep_healthy(found: Discovery) -> Discovery:
    kept = tuple(scan for scan in found.scans if scan.facts.healthy is not False)
    left_out = tuple(_not_healthy(scan) for scan in found.scans if scan.facts.healthy is False)
    rejections = tuple(sorted(found.rejections + left_out, key=lambda item: (item.key, item.detail)))
    return Discovery(scans=kept, rejections=rejections, notes=found.notes)


def _not_healthy(scan: SourceScan) -> Rejection:
    criterion = terms_of(scan.source).health_criterion
    return reject(
        scan.key, "not_healthy", f"{scan.key}: the person fails the source's criterion ({criterion})"
    )
