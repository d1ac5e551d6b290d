"""What the adapters share: walking a source's folder and choosing one form of each scan."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable, Iterator
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
    health_criterion: str | None = None
    """What makes a person healthy by this folder's own account; None: as the source's terms say."""


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
    """All visible files below a folder, sorted; links are followed, each real folder once (no loops).

    An empty folder with the name of a scan, and the `.img` file that a header promises, are listed as well,
    so that they are missed by name.
    """
    files = [place / name for place, names in _walk(folder, []) for name in names if not name.startswith(".")]
    promised = {path.with_name(path.name[:-4] + ".img") for path in files if path.name.endswith(".hdr")}
    return sorted({*files, *(path for path in promised if not os.path.lexists(f"{path}.gz"))})


def unreadable_folders(folder: Path) -> tuple[str, ...]:
    """A note for each folder below that cannot be looked into."""
    errors: list[OSError] = []
    for _ in _walk(folder, errors):
        pass
    return tuple(f"{error.filename}: cannot be looked into ({error.strerror})" for error in errors)


def _walk(folder: Path, errors: list[OSError]) -> Iterator[tuple[Path, list[str]]]:
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=errors.append):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(place), [*names, *(name for name in folders if _is_empty_scan(Path(place) / name))]


def _is_empty_scan(folder: Path) -> bool:
    """Whether an empty folder has the name of a scan file: what is left of a copy that failed."""
    if not folder.name.lower().endswith((".nii", ".nii.gz", ".img")):
        return False
    try:
        return not any(folder.iterdir())
    except OSError:
        return True


def choose(forms: Iterable[Form]) -> tuple[tuple[SourceScan, ...], tuple[Rejection, ...]]:
    """Keep the preferred form of each scan and note the others as superseded.

    A form whose file cannot be opened gives way to the next one and is named. Two files of the same form
    under one key are two scans that claim one name, unless they are copies or one is the other compressed:
    the first in path order is kept and the others are rejected, never silently dropped.
    """
    by_key: dict[str, list[Form]] = {}
    for form in sorted(forms, key=lambda form: (form.scan.key, form.rank, str(form.scan.image))):
        by_key.setdefault(form.scan.key, []).append(form)
    scans, rejections = [], []
    for key, found in by_key.items():
        problems = {form: _problem(form.scan.image) for form in found}
        said = tuple(f"{form.scan.image}: {problem}" for form, problem in problems.items() if problem)
        usable = [form for form in found if not problems[form]]
        if not usable:
            rejections.append(reject(key, "unreadable", "; ".join(said)))
            continue
        best, *others = usable
        clashing = [form for form in others if form.rank == best.rank and not _same_scan(best, form)]
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
            if form not in clashing and form.scan.image not in best.scan.repeats
        )
        notes = (*best.scan.notes, *(f"another form is not usable: {detail}" for detail in said))
        scans.append(replace(best.scan, superseded=superseded, notes=notes))
    return tuple(scans), tuple(rejections)


def _problem(path: Path) -> str | None:
    """Why a file cannot be opened."""
    if not path.exists():
        return (
            f"a link that leads nowhere ({os.readlink(path)}); fetch its content (datalad get) or remove it"
            if path.is_symlink()
            else "no such file, although its header is there; copy it again or remove the header"
        )
    readable = os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)
    return None if readable else "not readable for this user; change its permissions"


def _same_scan(one: Form, other: Form) -> bool:
    """Whether two files of one form hold the same scan: compressed or not, or copies in two folders."""
    a, b = one.scan.image, other.scan.image
    if a.parent == b.parent and a.name.removesuffix(".gz") == b.name.removesuffix(".gz"):
        return True
    try:
        return a.stat().st_size > 0 and filecmp.cmp(a, b, shallow=False)
    except OSError:
        return False
