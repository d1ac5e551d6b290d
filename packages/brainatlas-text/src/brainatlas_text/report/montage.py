"""A sheet a source: people in their own scans on three planes, from the pictures that the build cached."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from brainatlas_text.pages import shell
from brainatlas_text.report.permits import Permits
from brainatlas_text.report.reading import evenly
from brainatlas_text.samples import ReadyScan

MAX_PICTURES, MOST_A_SOURCE = 40, 8
_LABELS = re.compile(r'<g class="labels".*?</g>', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One person's scan."""

    key: str
    words: str
    picture: Markup
    labeled: bool
    """Whether the picture has labels that the page can show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One source."""

    source: str
    shown: int
    people: int
    """All of the source's, shown or not."""
    tiles: tuple[Tile, ...]


def sheets(root: Path, scans: Iterable[ReadyScan], permits: Permits) -> list[Sheet]:
    """A sheet a source, without tiles where its terms forbid pictures; a scan a person and sequence."""
    by_source: dict[str, dict[tuple[str, str], ReadyScan]] = defaultdict(dict)
    for scan in scans:
        of_source = by_source[scan.prepared.source]
        of_source.setdefault((scan.prepared.subject, scan.prepared.sequence), scan)
    each = max(1, min(MOST_A_SOURCE, MAX_PICTURES // max(1, len(by_source))))
    found = []
    for source, chosen in sorted(by_source.items()):
        allowed = [scan for scan in chosen.values() if permits.picture(scan)]
        tiles = [tile for scan in evenly(allowed, each) if (tile := _tile(root, scan, permits))]
        people = len({subject for subject, _ in chosen})
        found.append(Sheet(source=source, shown=len(tiles), people=people, tiles=tuple(tiles)))
    return found


def _tile(root: Path, scan: ReadyScan, permits: Permits) -> Tile | None:
    """The picture of a scan, without its labels where these may not be shown; None where it is gone."""
    look = scan.labeled.look
    picture = shell.picture(root / look) if look else None
    if picture is None:
        return None
    labeled = permits.labels(scan)
    if not labeled:
        picture = Markup(_LABELS.sub("", picture))
    facts = scan.prepared.facts
    age = "juvenile" if facts.juvenile else "" if facts.age_years is None else f"{facts.age_years:.0f} years"
    sex = {"F": "woman", "M": "man"}.get(facts.sex or "", "")
    words = ", ".join(filter(None, (scan.prepared.sequence, sex, age)))
    return Tile(key=scan.prepared.key, words=words, picture=picture, labeled=labeled)
