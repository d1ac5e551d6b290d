"""The registration page: every scan where it lies in the hub, its figures, and what deserves a look.

Input: what registration gave and refused, and the pictures that it cached. Output: one HTML file in `work/`,
where publishing leaves it out: it shows images of people under their sources' terms (docs/decisions/0010).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from markupsafe import Markup

from brainatlas_text.engines.hub_pictures import draw_hub
from brainatlas_text.hub import Hub
from brainatlas_text.pages import figures, shell
from brainatlas_text.pages.figures import (
    AFFINE,
    OVERLAP,
    REGISTRATION,
    SIMILARITY,
    UNUSUAL,
    VOLUME,
    WARP_OVERLAP,
    WARP_SIMILARITY,
    Figure,
    Limits,
    Values,
)
from brainatlas_text.pages.flags import Flag
from brainatlas_text.pages.histograms import Member, histograms, summary
from brainatlas_text.pages.outliers import MAX_DEVIATION
from brainatlas_text.records import PreparedScan, Rejection
from brainatlas_text.registrations import HubTransform, HubWarp, PairTransform, TransformRejection

PATH = Path("work") / "report" / "registration.html"
"""Below the data set folder."""
STAGES = ("register", "warp")
MAX_DIFFERENCE, MAX_LOSS = 0.10, 0.01
"""Between the affines of one person; and what a warp may lose of the affine's figures."""

CLOSE = Flag(name="close", title="Close to a limit", why="A figure is within a tenth of what is refused.")
WORSE = Flag(
    name="worse", title="Warp made it worse", why="After the warp, masks or images match less than before."
)
PERSON = Flag(
    name="person",
    title="Size unlike the same person's",
    why=f"The volume ratio differs by more than {MAX_DIFFERENCE:.0%} from the median of the person's scans.",
)
FLAGS = (UNUSUAL, CLOSE, WORSE, PERSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What registration gave."""

    scans: Sequence[PreparedScan]
    """All that were to be registered."""
    affines: Mapping[str, HubTransform]
    warps: Mapping[str, HubWarp] = field(default_factory=dict)
    pairs: Sequence[PairTransform] = ()
    """Of a direct registration of pairs."""
    rejections: Sequence[Rejection]
    """Of any stage; only those of registration are shown."""
    limits: Limits
    hub: Hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One scan or rejection as the template shows it."""

    anchor: str
    key: str
    source: str
    sequence: str
    rejections: tuple[Rejection, ...] = ()
    looks: tuple[tuple[str, Markup], ...] = ()
    """`affine` or `warp`, and the picture."""
    values: Values = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    odd: tuple[Figure, ...] = ()
    """Figures that raised a flag."""
    suspicion: float = 0.0
    """The largest modified z-score of its figures."""


def write_registration_page(root: Path, name: str, recipe: str, registered: Registered) -> Path:
    """Write the page about a data set folder, called `name`, unless it stands there already; its path."""
    return shell.write(root / PATH, registration_page(root, name, recipe, registered))


def registration_page(root: Path, name: str, recipe: str, registered: Registered) -> str:
    """The page as HTML; pictures are read below `root`."""
    refused = [rejection for rejection in registered.rejections if rejection.stage in STAGES]
    keys = {scan.key for scan in registered.scans}
    entries = _entries(root, registered, refused)
    of_pairs = [
        _pair(number, rejection) for number, rejection in enumerate(refused) if rejection.key not in keys
    ]
    members: list[Member] = [(entry.key, entry.source, entry.values) for entry in entries]
    sources = {scan.key: scan.source for scan in registered.scans}
    pairs: list[Member] = [
        (f"{pair.moving}_{pair.fixed}", sources[pair.moving], figures.of_affine(pair.quality))
        for pair in registered.pairs
    ]
    pairs += [(entry.key, entry.source, entry.values) for entry in of_pairs]
    shown = [figure for figure in REGISTRATION if any(figure in entry.values for entry in entries)]
    return shell.render(
        "registration.html",
        name=name,
        recipe=recipe,
        hub=registered.hub.name,
        sprite=Markup(draw_hub(registered.hub)),
        entries=sorted(of_pairs + entries, key=lambda e: (not e.rejections, -e.suspicion, e.key)),
        num_done=sum(not entry.rejections for entry in entries),
        num_warped=len(registered.warps),
        num_pairs=len(registered.pairs),
        num_rejected=sum(bool(entry.rejections) for entry in of_pairs + entries),
        table=_table(entries),
        reasons=Counter(rejection.reason for rejection in refused).most_common(),
        flags=[(flag, sum(flag in entry.flags for entry in entries)) for flag in FLAGS],
        figures=shown,
        histograms=histograms(shown, members, registered.limits),
        pair_histograms=histograms(AFFINE, pairs, registered.limits, linked=False),
        pair_summary=summary(AFFINE, pairs),
        sources=sorted({entry.source for entry in entries + of_pairs}),
        sequences=sorted({entry.sequence for entry in entries + of_pairs}),
    )


def _entries(root: Path, registered: Registered, refused: Sequence[Rejection]) -> list[Entry]:
    by_key: dict[str, list[Rejection]] = {}
    for rejection in refused:
        by_key.setdefault(rejection.key, []).append(rejection)
    values = {scan.key: _values(scan.key, registered, by_key.get(scan.key, [])) for scan in registered.scans}
    scores = figures.deviations(registered.scans, values)
    sizes: dict[str, list[float]] = {}
    for scan in registered.scans:
        sizes.setdefault(scan.subject, []).extend(
            values[scan.key][f] for f in (VOLUME,) if f in values[scan.key]
        )
    return [
        _entry(
            root,
            scan,
            registered,
            tuple(by_key.get(scan.key, [])),
            values[scan.key],
            scores[scan.key],
            sizes[scan.subject],
        )
        for scan in registered.scans
    ]


def _values(key: str, registered: Registered, refused: Sequence[Rejection]) -> dict[Figure, float]:
    """All figures of a scan that are known, also of what was refused."""
    affine, warp = registered.affines.get(key), registered.warps.get(key)
    values = figures.of_affine(affine.quality) if affine else {}
    values |= figures.of_warp(warp.quality) if warp else {}
    for rejection in refused:
        values |= _refused_values(rejection)
    return values


def _refused_values(rejection: Rejection) -> dict[Figure, float]:
    if not isinstance(rejection, TransformRejection) or rejection.quality is None:
        return {}
    of = figures.of_warp if rejection.kind == "warp" else figures.of_affine
    return of(rejection.quality)


def _entry(
    root: Path,
    scan: PreparedScan,
    registered: Registered,
    refused: tuple[Rejection, ...],
    values: Values,
    scores: Mapping[Figure, float],
    sizes: Sequence[float],
) -> Entry:
    outlying = [figure for figure, score in scores.items() if score > MAX_DEVIATION]
    close = figures.close_to(values, registered.limits)
    worse = _worse(values)
    other = VOLUME in values and abs(values[VOLUME] / median(sizes) - 1) > MAX_DIFFERENCE
    applies = {UNUSUAL: bool(outlying), CLOSE: bool(close), WORSE: bool(worse), PERSON: other}
    return Entry(
        anchor=scan.key,
        key=scan.key,
        source=scan.source,
        sequence=scan.sequence,
        rejections=refused,
        looks=_looks(root, scan.key, registered, refused),
        values=values,
        flags=() if refused else tuple(flag for flag in FLAGS if applies[flag]),
        odd=tuple(dict.fromkeys([*outlying, *close, *worse, *([VOLUME] if other else [])])),
        suspicion=max(scores.values(), default=0.0),
    )


def _worse(values: Values) -> tuple[Figure, ...]:
    """Figures that the warp lowered."""
    both = ((OVERLAP, WARP_OVERLAP), (SIMILARITY, WARP_SIMILARITY))
    return tuple(
        after
        for before, after in both
        if before in values and after in values and values[after] < values[before] - MAX_LOSS
    )


def _looks(
    root: Path, key: str, registered: Registered, refused: Sequence[Rejection]
) -> tuple[tuple[str, Markup], ...]:
    """The pictures of a scan: of its affine and its warp, refused ones as well."""
    kinds = dict(zip(STAGES, ("affine", "warp"), strict=True))
    paths = {kinds[rejection.stage]: rejection.look for rejection in refused}
    if key in registered.affines:
        paths["affine"] = registered.affines[key].look
    if key in registered.warps:
        paths["warp"] = registered.warps[key].look
    pictures = {kind: shell.picture(root / path) for kind, path in paths.items() if path}
    return tuple((kind, picture) for kind in ("affine", "warp") if (picture := pictures.get(kind)))


def _pair(number: int, rejection: Rejection) -> Entry:
    """A pair that was refused."""
    return Entry(
        anchor=f"rejected-{number}",
        key=rejection.key,
        source=rejection.key.partition("-")[0],
        sequence="pair",
        rejections=(rejection,),
        values=_refused_values(rejection),
    )


def _table(entries: Sequence[Entry]) -> list[tuple[str, str, int, int]]:
    """Source, sequence, scans registered and rejected."""
    kept = Counter((entry.source, entry.sequence) for entry in entries if not entry.rejections)
    refused = Counter((entry.source, entry.sequence) for entry in entries if entry.rejections)
    return [(*place, kept[place], refused[place]) for place in sorted(kept | refused)]
