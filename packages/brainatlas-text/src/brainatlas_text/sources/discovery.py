"""What the adapters share: walking a source's folder and choosing one form of each scan."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from brainatlas_text.records import OtherForm, Rejection, SourceScan


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What lies in a source's folder."""

    scans: tuple[SourceScan, ...] = ()
    """Sorted by key; keys are unique."""
    rejections: tuple[Rejection, ...] = ()
    """Scans that are left out on sight, such as localizers and people who are not healthy."""
    notes: tuple[str, ...] = ()
    """What concerns the source as a whole, such as a spreadsheet that is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One file that holds a scan in one of the forms its source distributes."""

    scan: SourceScan
    rank: int
    """Place in the source's order of preference; the smallest one counts."""


def reject(key: str, reason: str, detail: str) -> Rejection:
    """A rejection by `discover`."""
    return Rejection(stage="discover", key=key, reason=reason, detail=detail)


def list_files(folder: Path) -> list[Path]:
    """All visible files below a folder, sorted; links are followed, each real folder once (no loops)."""
    files: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(files)


def choose(forms: Iterable[Form]) -> tuple[tuple[SourceScan, ...], tuple[Rejection, ...]]:
    """Keep the preferred form of each scan and note the others as superseded.

    Two files of the same form under one key are two scans that claim one name: the first in path order
    is kept and the others are rejected, never silently dropped.
    """
    by_key: dict[str, list[Form]] = {}
    for form in sorted(forms, key=lambda form: (form.scan.key, form.rank, str(form.scan.image))):
        by_key.setdefault(form.scan.key, []).append(form)
    scans, rejections = [], []
    for key, (best, *others) in by_key.items():
        clashing = [form for form in others if form.rank == best.rank]
        rejections += [
            reject(
                key,
                "duplicate_key",
                f"{form.scan.image}: {best.scan.image} already stands for this scan; remove one of them",
            )
            for form in clashing
        ]
        superseded = tuple(
            OtherForm(
                image=form.scan.image,
                array_order=form.scan.array_order,
                orientation_source=form.scan.orientation_source,
            )
            for form in others
            if form.rank != best.rank
        )
        scans.append(replace(best.scan, superseded=superseded))
    return tuple(scans), tuple(rejections)
