"""The preparation page: every scan with its picture, facts and flags, every rejection with its reason.

Input: what was found, prepared and rejected, and the pictures that preparation cached. Output: one HTML file
in `work/`, where publishing leaves it out: it shows whole heads (docs/decisions/0010).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from brainatlas_text.pages import shell
from brainatlas_text.pages.flags import FLAGS, Flag, flags_of
from brainatlas_text.records import Facts, PreparedScan, Rejection, SourceScan
from brainatlas_text.sources import terms_of

PATH = Path("work") / "report" / "preparation.html"
"""Below the data set folder."""
_MASKS: Mapping[str, str] = {
    "stripped": "outline of an image without skull",
    "provided": "came with the scan",
    "embedded": "embedded brain extraction",
    "deepbet": "deepbet",
    "command": "external command",
}
_ORIENTATION: Mapping[str, str] = {
    "header": "the file's header",
    "convention": "the source's convention, for the file stores none",
    "checked": "checked on the image",
}

Rows = tuple[tuple[str, str | None], ...]
"""Name and value; None where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What discovery and preparation gave."""

    scans: Sequence[SourceScan]
    prepared: Sequence[PreparedScan]
    rejections: Sequence[Rejection]
    root: Path
    """Holds the sources; paths below it are shown from there on."""
    notes: Mapping[str, Sequence[str]]
    """What concerns a source as a whole, by source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One scan or rejection as the template shows it."""

    anchor: str
    key: str
    source: str
    sequence: str
    rejection: Rejection | None = None
    picture: Markup | None = None
    files: Rows = ()
    flags: tuple[Flag, ...] = ()
    sections: tuple[tuple[str, Rows], ...] = ()
    notes: tuple[str, ...] = ()
    histograms: tuple[tuple[str, str, str], ...] = ()
    """Title, SVG path in a box of 64 by 24, and what it shows in words."""
    volume_ml: float | None = None
    age_years: float | None = None
    oblique_deg: float | None = None


def write_preparation_page(root: Path, name: str, recipe: str, found: Found) -> Path:
    """Write the page about a data set folder, called `name`, unless it stands there already; its path."""
    return shell.write(root / PATH, preparation_page(root, name, recipe, found))


def preparation_page(root: Path, name: str, recipe: str, found: Found) -> str:
    """The page as HTML; pictures are read below `root`."""
    flags, sources = flags_of(found.prepared), {scan.key: scan for scan in found.scans}
    rejected = [_rejected(root, number, rejection) for number, rejection in enumerate(found.rejections)]
    prepared = [
        _prepared(root, scan, _files(scan, sources[scan.key], found.root), flags[scan.key])
        for scan in found.prepared
    ]
    entries = sorted(rejected, key=lambda entry: entry.key) + sorted(prepared, key=lambda entry: entry.key)
    return shell.render(
        "preparation.html",
        name=name,
        recipe=recipe,
        entries=entries,
        num_prepared=len(prepared),
        num_rejected=len(rejected),
        num_people=len({scan.subject for scan in found.prepared}),
        table=_table(entries),
        reasons=Counter(rejection.reason for rejection in found.rejections).most_common(),
        masks=Counter(_mask_name(scan.preparation.mask_method) for scan in found.prepared).most_common(),
        flags=[(flag, sum(flag in entry.flags for entry in entries)) for flag in FLAGS],
        notes=[(source, note) for source, notes in found.notes.items() for note in notes],
        sources=_unique(entry.source for entry in entries),
        sequences=_unique(entry.sequence for entry in entries),
    )


def _rejected(root: Path, number: int, rejection: Rejection) -> Entry:
    source, _, rest = rejection.key.partition("-")
    return Entry(
        anchor=f"rejected-{number}",
        key=rejection.key,
        source=source,
        sequence=_SEQUENCES.get(rest.rpartition("-")[2], "other"),
        rejection=rejection,
        picture=shell.picture(root / rejection.look) if rejection.look else None,
    )


_SEQUENCES = {"t1w": "T1w", "t2w": "T2w", "flair": "FLAIR"}


def _prepared(root: Path, scan: PreparedScan, files: Rows, flags: tuple[Flag, ...]) -> Entry:
    preparation = scan.preparation
    return Entry(
        anchor=scan.key,
        key=scan.key,
        source=scan.source,
        sequence=scan.sequence,
        picture=shell.picture(root / scan.look),
        files=files,
        flags=flags,
        sections=(
            ("Person", _person(scan.subject, scan.facts)),
            ("Orientation", _orientation(scan)),
            ("Voxels", _voxels(scan)),
            ("Brain mask", _mask(scan)),
            ("Intensities", _intensities(scan)),
        ),
        notes=scan.notes,
        histograms=(
            _histogram("Brain before", preparation.histogram_before),
            _histogram("Brain after", preparation.histogram_after),
        ),
        volume_ml=preparation.brain_ml,
        age_years=scan.facts.age_years,
        oblique_deg=preparation.oblique_deg,
    )


def _person(subject: str, facts: Facts) -> Rows:
    age = "juvenile, no number stated" if facts.juvenile else None
    if facts.age_years is not None:
        age = f"{round(facts.age_years, 1):g} years"
    healthy = {True: "yes, by the source's criterion", False: "no, by the source's criterion", None: None}
    return (
        ("Person", subject),
        ("Age", age),
        ("Sex", {"F": "female", "M": "male"}[facts.sex] if facts.sex else None),
        ("Healthy", healthy[facts.healthy]),
        ("Scanner", facts.scanner),
    )


def _orientation(scan: PreparedScan) -> Rows:
    preparation = scan.preparation
    checks = tuple(
        (f"Check: {check.method}", f"{check.verdict}: {check.detail}") for check in preparation.handedness
    )
    turned = preparation.stored_codes != "RAS"
    return (
        ("Stored axes", preparation.stored_codes + (", turned to RAS" if turned else ", as used")),
        ("Known from", _ORIENTATION[scan.orientation_source]),
        ("Oblique by", f"{preparation.oblique_deg:.1f}°"),
        *(checks or (("Left and right", "not checked on the image"),)),
    )


def _voxels(scan: PreparedScan) -> Rows:
    preparation = scan.preparation
    used = [zoom * factor for zoom, factor in zip(scan.source_zooms_mm, preparation.thinned_by, strict=True)]
    stored = f"{_times(preparation.stored_shape)} of {_times(preparation.stored_zooms_mm, 2)} mm"
    thinned = preparation.thinned_by != (1, 1, 1)
    rows: Rows = (
        (f"Stored ({preparation.stored_codes})", stored),
        ("Used (RAS)", f"{_times(used, 2)} mm" + ("" if thinned else ", as stored")),
    )
    if thinned:
        rows += (("Thinned", f"means of {_times(preparation.thinned_by)} voxels"),)
    if preparation.num_averaged > 1:
        rows += (("Averaged", f"{preparation.num_averaged} repeats"),)
    return rows


def _mask(scan: PreparedScan) -> Rows:
    preparation = scan.preparation
    return (
        ("Method", _mask_name(preparation.mask_method)),
        ("From", preparation.mask_detail),
        ("Volume", f"{preparation.brain_ml:.0f} ml"),
    )


def _intensities(scan: PreparedScan) -> Rows:
    low, high = scan.preparation.intensity_range
    return (
        ("Bias field", scan.preparation.bias_correction or "left as it is"),
        ("Range used", f"{low:.4g} to {high:.4g}, became 1 to 4095"),
    )


def _files(scan: PreparedScan, source: SourceScan, root: Path) -> Rows:
    other = tuple(("Not used", form.image) for form in source.superseded)
    paths = (
        ("Image", source.image),
        *(("Averaged with", path) for path in source.repeats),
        *(("Labels", path) for path in (source.dseg,) if path),
        *other,
    )
    shown = tuple(
        (name, str(path.relative_to(root) if path.is_relative_to(root) else path)) for name, path in paths
    )
    return (*shown, ("Terms", terms_of(scan.terms).name))


def _histogram(title: str, counts: Sequence[int]) -> tuple[str, str, str]:
    top = max(*counts, 1)
    steps = "".join(f"V{24 - 23 * count / top:.1f}h1" for count in counts)
    peak = (list(counts).index(max(counts)) + 0.5) / len(counts)
    words = (
        f"{title}: histogram of the intensities in the mask; the most common lie at {peak:.0%} of the range"
    )
    return title, f"M0 24{steps}V24Z", words


def _mask_name(method: str) -> str:
    return _MASKS.get(method, method)


def _times(values: Iterable[float], digits: int = 0) -> str:
    return " x ".join(f"{value:.{digits}f}" for value in values)


def _table(entries: Sequence[Entry]) -> list[tuple[str, str, int, int]]:
    """Source, sequence, scans prepared and rejected."""
    kept = Counter((entry.source, entry.sequence) for entry in entries if entry.rejection is None)
    refused = Counter((entry.source, entry.sequence) for entry in entries if entry.rejection)
    return [(*place, kept[place], refused[place]) for place in sorted(kept | refused)]


def _unique(values: Iterable[str]) -> list[str]:
    return sorted(set(values))
