"""Compare what a text states with what is so."""

from __future__ import annotations

from brainatlas_text.caption.numbers import area_number, completed_years, percent, whole_mm
from brainatlas_text.caption.read import StatedFacts, StatedStructure
from brainatlas_text.records import SliceFacts


def disagreements(stated: StatedFacts, facts: SliceFacts) -> tuple[str, ...]:
    """Everything a text states that is not so, within the rounding of `numbers`; one phrase each.

    What the text leaves out is no disagreement. What it states and the facts do not know is one.
    """
    years = None if facts.age_years is None else completed_years(facts.age_years)
    pairs: tuple[tuple[str, object, object], ...] = (
        ("sequence", stated.sequence, facts.sequence),
        ("plane", stated.plane, facts.plane),
        ("position_mm", stated.position_mm, whole_mm(facts.position_mm)),
        ("position_percent", stated.position_percent, percent(facts.position_fraction)),
        ("age_years", stated.age_years, years),
        ("juvenile", stated.juvenile or None, facts.juvenile),
        ("sex", stated.sex, facts.sex),
    )
    wrong = [f"{what}: text {said}, facts {fact}" for what, said, fact in pairs if said not in (None, fact)]
    return (*wrong, *(problem for s in stated.structures if (problem := _wrong_structure(s, facts))))


def _wrong_structure(stated: StatedStructure, facts: SliceFacts) -> str | None:
    areas = [s.area_mm2 for s in facts.structures if s.name == stated.name and stated.side in (None, s.side)]
    where = f"{stated.side or ''} {stated.name}".strip()
    if not areas:
        return f"{where}: not in the slice"
    if stated.area_mm2 is not None and stated.area_mm2 != float(area_number(sum(areas))):
        return f"{where}: text {stated.area_mm2:g} mm², facts {sum(areas):g} mm²"
    if stated.share_percent is not None:
        share = percent(sum(areas) / sum(s.area_mm2 for s in facts.structures))
        if stated.share_percent != share:
            return f"{where}: text {stated.share_percent}%, facts {share}%"
    return None
