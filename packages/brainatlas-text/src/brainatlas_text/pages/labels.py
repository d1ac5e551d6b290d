"""The page of labels: every scan with its structures in color, and what deserves a look.

Input: what the label stage gave and refused, and the pictures that it cached. Output: one HTML file in
`work/`, where publishing leaves it out: it shows images of people under terms (docs/decisions/0010).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from brainatlas_text.engines.label_pictures import colors
from brainatlas_text.labels import canonical_table
from brainatlas_text.pages import figures, shell
from brainatlas_text.pages.figures import AGREEMENT, LABELED, LABELS, UNUSUAL, Figure, Values
from brainatlas_text.pages.flags import Flag
from brainatlas_text.pages.histograms import Member, histograms
from brainatlas_text.pages.outliers import MAX_DEVIATION
from brainatlas_text.records import LabeledScan, PreparedScan, Rejection

PATH = Path("work") / "report" / "labels.html"
"""Below the data set folder."""
MIN_LABELED, MIN_AGREEMENT = 0.80, 0.60
"""Below these a scan is flagged."""

DOUBTFUL = Flag(
    name="doubtful",
    title="Little agreement",
    why=f"The voters behind the winning labels are fewer than {MIN_AGREEMENT:.0%} on average.",
)
PARTLY = Flag(
    name="partly", title="Partly labeled", why=f"Less than {MIN_LABELED:.0%} of the brain mask has a label."
)
OWN = Flag(name="own", title="Labels of its own", why="The labels came with the scan; nobody voted.")
FLAGS = (UNUSUAL, DOUBTFUL, PARTLY, OWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeled:
    """What the label stage gave."""

    scans: Sequence[PreparedScan]
    """All that were to be labeled."""
    labels: Mapping[str, LabeledScan]
    rejections: Sequence[Rejection]
    """Of any stage; only those of the label stage are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One scan or rejection as the template shows it."""

    anchor: str
    key: str
    source: str
    sequence: str
    rejections: tuple[Rejection, ...] = ()
    looks: tuple[tuple[str, Markup], ...] = ()
    values: Values = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    odd: tuple[Figure, ...] = ()
    suspicion: float = 0.0
    method: str = ""
    voters: tuple[str, ...] = ()


def write_labels_page(root: Path, name: str, recipe: str, labeled: Labeled) -> Path:
    """Write the page about a data set folder, called `name`, unless it stands there already; its path."""
    return shell.write(root / PATH, labels_page(root, name, recipe, labeled))


def labels_page(root: Path, name: str, recipe: str, labeled: Labeled) -> str:
    """The page as HTML; pictures are read below `root`."""
    refused = [rejection for rejection in labeled.rejections if rejection.stage == "label"]
    values = {key: _values(result) for key, result in labeled.labels.items()}
    scores = figures.deviations(labeled.scans, values)
    entries = [
        _entry(root, scan, labeled, refused, scores.get(scan.key, {}))
        for scan in labeled.scans
        if scan.key in labeled.labels or any(rejection.key == scan.key for rejection in refused)
    ]
    members: list[Member] = [(entry.key, entry.source, entry.values) for entry in entries]
    limits = {AGREEMENT: (MIN_AGREEMENT, None), LABELED: (MIN_LABELED, None)}
    return shell.render(
        "labels.html",
        name=name,
        recipe=recipe,
        entries=sorted(entries, key=lambda e: (not e.rejections, -e.suspicion, e.key)),
        num_done=sum(not entry.rejections for entry in entries),
        num_rejected=sum(bool(entry.rejections) for entry in entries),
        methods=Counter(result.label_method for result in labeled.labels.values()).most_common(),
        flags=[(flag, sum(flag in entry.flags for entry in entries)) for flag in FLAGS],
        figures=LABELS,
        histograms=histograms(LABELS, members, limits),
        legend=_legend(),
        sources=sorted({entry.source for entry in entries}),
        sequences=sorted({entry.sequence for entry in entries}),
    )


def _values(labels: LabeledScan) -> dict[Figure, float]:
    known = {AGREEMENT: labels.mean_agreement, LABELED: labels.labeled_share}
    return {figure: value for figure, value in known.items() if value is not None}


def _entry(
    root: Path,
    scan: PreparedScan,
    labeled: Labeled,
    refused: Sequence[Rejection],
    scores: Mapping[Figure, float],
) -> Entry:
    result = labeled.labels.get(scan.key)
    values = _values(result) if result else {}
    outlying = [figure for figure, score in scores.items() if score > MAX_DEVIATION]
    applies = {
        UNUSUAL: bool(outlying),
        DOUBTFUL: values.get(AGREEMENT, 1.0) < MIN_AGREEMENT,
        PARTLY: values.get(LABELED, 1.0) < MIN_LABELED,
        OWN: result is not None and scan.dseg is not None,
    }
    picture = shell.picture(root / result.look) if result and result.look else None
    low = [figure for flag, figure in ((DOUBTFUL, AGREEMENT), (PARTLY, LABELED)) if applies[flag]]
    return Entry(
        anchor=scan.key,
        key=scan.key,
        source=scan.source,
        sequence=scan.sequence,
        rejections=tuple(rejection for rejection in refused if rejection.key == scan.key),
        looks=(("map", picture),) if picture else (),
        values=values,
        flags=tuple(flag for flag in FLAGS if applies[flag]),
        odd=tuple(dict.fromkeys([*outlying, *low])),
        suspicion=max(scores.values(), default=0.0),
        method=result.label_method if result else "",
        voters=result.voters if result else (),
    )


def _legend() -> list[tuple[str, dict[str, str]]]:
    """Each structure's name and its colors by side."""
    rows: dict[str, dict[str, str]] = {}
    for number, structure in canonical_table().items():
        red, green, blue = colors()[number]
        rows.setdefault(structure.name, {})[structure.side] = f"rgb({red} {green} {blue})"
    return sorted(rows.items())
