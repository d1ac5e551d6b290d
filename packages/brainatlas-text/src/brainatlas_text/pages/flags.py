"""What in a preparation deserves a look: each rule on its own, from records alone.

A flag accuses nobody: it says where to look first. The rules on volumes compare a mask with what is known of
brains, with masks of the same kind, and with the same person's other scans.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from brainatlas_text.pages.outliers import MAX_DEVIATION, MIN_GROUP, modified_z
from brainatlas_text.records import Facts, PreparedScan

MAX_OBLIQUE_DEG = 10.0
MAX_DIFFERENCE = 0.10
"""Between the masks of one person: a brain does not change between two visits, or from T1w to FLAIR."""
OLD_YEARS, ADULT_YEARS = 60, 18
PLAUSIBLE_ML: Mapping[tuple[str, bool], tuple[float, float]] = {
    ("F", False): (850.0, 1800.0),
    ("F", True): (750.0, 1800.0),
    ("M", False): (1050.0, 2000.0),
    ("M", True): (800.0, 2000.0),
}
"""By sex and age over 60; the widest for children. A mask holds more than the brain's tissue and less than
the skull's inside: mean - 3 SD of eTIV x nWBV, mean + 3 SD of eTIV in the table of OASIS-1 (436 sessions,
Marcus 2007), to the nearest 50 ml."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One rule that a scan can trip."""

    name: str
    title: str
    why: str


CONTRADICTION = Flag(
    name="contradiction",
    title="Left and right contradicted",
    why="A check of handedness found the other side on the left.",
)
VOLUME = Flag(
    name="volume",
    title="Volume unusual for age and sex",
    why="The mask lies outside three standard deviations of OASIS-1's 416 people.",
)
OUTLIER = Flag(
    name="outlier",
    title="Volume unlike its group",
    why=f"The modified z-score among scans of the same source and sequence is over {MAX_DEVIATION:g}.",
)
PERSON = Flag(
    name="person",
    title="Volume unlike the same person's",
    why=f"The mask differs by more than {MAX_DIFFERENCE:.0%} from the median of the person's scans.",
)
OBLIQUE = Flag(
    name="oblique",
    title="Oblique",
    why=f"A stored axis is more than {MAX_OBLIQUE_DEG:g} degrees off the body's.",
)
FACTS = Flag(
    name="facts", title="Age or sex unknown", why="The source does not state them, or contradicts itself."
)
HEALTH = Flag(
    name="health", title="Health unknown", why="The source states no criterion, or not for this person."
)
NOTES = Flag(name="notes", title="With notes", why="Discovery or preparation had something to say.")
FLAGS = (CONTRADICTION, VOLUME, OUTLIER, PERSON, OBLIQUE, FACTS, HEALTH, NOTES)


def flags_of(scans: Sequence[PreparedScan]) -> dict[str, tuple[Flag, ...]]:
    """The flags of each scan by its key, in the order of FLAGS."""
    groups = _by(scans, lambda scan: (scan.source, scan.sequence))
    people = _by(scans, lambda scan: scan.subject)
    tripped = {}
    for scan in scans:
        volume_ml, facts = scan.preparation.brain_ml, scan.facts
        low, high = plausible_ml(facts)
        applies = {
            CONTRADICTION: any(check.verdict == "contradicts" for check in scan.preparation.handedness),
            VOLUME: not low <= volume_ml <= high,
            OUTLIER: _stands_out(volume_ml, groups[scan.source, scan.sequence]),
            PERSON: abs(volume_ml / median(people[scan.subject]) - 1) > MAX_DIFFERENCE,
            OBLIQUE: scan.preparation.oblique_deg > MAX_OBLIQUE_DEG,
            FACTS: facts.sex is None or (facts.age_years is None and not facts.juvenile),
            HEALTH: facts.healthy is None,
            NOTES: bool(scan.notes),
        }
        tripped[scan.key] = tuple(flag for flag in FLAGS if applies[flag])
    return tripped


def plausible_ml(facts: Facts) -> tuple[float, float]:
    """Bounds of a plausible mask; as wide as what is not known of the person leaves them."""
    age = facts.age_years
    child = facts.juvenile or (age is not None and age < ADULT_YEARS)
    bounds = [
        span
        for (sex, old), span in PLAUSIBLE_ML.items()
        if child or (facts.sex in (sex, None) and (age is None or old == (age > OLD_YEARS)))
    ]
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _by(
    scans: Sequence[PreparedScan], group: Callable[[PreparedScan], Hashable]
) -> dict[Hashable, list[float]]:
    volumes: dict[Hashable, list[float]] = {}
    for scan in scans:
        volumes.setdefault(group(scan), []).append(scan.preparation.brain_ml)
    return volumes


def _stands_out(value: float, group: Sequence[float]) -> bool:
    return len(group) >= MIN_GROUP and modified_z(value, group) > MAX_DEVIATION
