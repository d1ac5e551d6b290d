"""Prove phrase tables before they are used: every sentence is read back as it was meant, and fits its budget.

A sentence is free text: it may say by accident what only a field may say, or be longer than the text
encoder reads. So each one of the wanted styles is written for probes of every plane, with everything known,
little and nothing, and read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from brainatlas_text.caption import structures as lists
from brainatlas_text.caption.agree import disagreements
from brainatlas_text.caption.numbers import completed_years, percent
from brainatlas_text.caption.phrases import Phrases, Side, Style
from brainatlas_text.caption.read import StatedFacts, read
from brainatlas_text.caption.tokens import Budget
from brainatlas_text.caption.write import Sentences, compose, values_of
from brainatlas_text.errors import PhraseError
from brainatlas_text.records import PLANES, SEQUENCES, Plane, SliceFacts, StructureMeasure

_Option = TypeVar("_Option")


class _Longest:
    """Picks the longest phrase, so that what fits always fits."""

    def pick(self, options: Sequence[_Option], /) -> _Option:
        return max(options, key=lambda option: len(getattr(option, "source", option)))  # type: ignore[arg-type]


def prove(phrases: Phrases, styles: Iterable[str], budgets: Mapping[str, Budget]) -> None:
    """Raise PhraseError, which names file and line, for a sentence that is not read back or does not fit.

    `budgets` (by style) replace those of the tables. Styles that the table lacks are passed over.
    """
    for name in styles:
        if (style := phrases.styles.get(name)) is not None:
            for facts in _probes(phrases):
                values = values_of(facts, phrases, _Longest())
                named = lists.by_name(facts.structures)
                names = _listed(named, style)
                for sentences in _sentences(style, facts.plane):
                    budget = budgets.get(name, style.budget)
                    text, dropped = compose(sentences, values, named, style, phrases, budget)
                    _check(text, facts, sentences, phrases, None if dropped else names)


def _probes(phrases: Phrases) -> Iterator[SliceFacts]:
    for sequence, plane in zip(SEQUENCES, PLANES, strict=True):
        everything = SliceFacts(
            sequence=sequence,
            plane=plane,
            index=0,
            position_mm=-128.0,
            position_fraction=0.29,
            age_years=88.0,
            juvenile=False,
            sex="F",
            structures=tuple(_all_structures(phrases)),
        )
        yield everything
        few = tuple(s for s in everything.structures if s.side != "right")[:3]
        yield replace(
            everything, position_mm=7.0, position_fraction=1.0, age_years=None, sex="M", structures=few
        )
        yield replace(
            everything, position_mm=0.0, position_fraction=0.0, age_years=None, sex=None, structures=()
        )


def _all_structures(phrases: Phrases) -> Iterator[StructureMeasure]:
    """Every structure, each side with an area of its own; some have decimals."""
    areas_mm2 = (area for tenths in range(96, 0, -1) for area in (100.0 * tenths, tenths / 10 + 0.05))
    for name, said in phrases.structures.items():
        sides: tuple[Side, ...] = ("midline",) if said.midline else ("left", "right")
        for side in sides:
            yield StructureMeasure(
                label=0,
                name=name,
                side=side,
                area_mm2=next(areas_mm2),
                volume_ml=0.0,
                centroid_mm=(0.0, 0.0, 0.0),
                agreement=None,
            )


def _listed(named: Sequence[lists.NamedStructure], style: Style) -> set[str]:
    """Names that a list of the style holds; a share of 0% is not said."""
    whole_mm2 = sum(structure.total_mm2 for structure in named)
    chosen = lists.chosen(named, style)
    return {s.name for s in chosen if style.sizes != "share" or percent(s.total_mm2 / whole_mm2)}


def _sentences(style: Style, plane: Plane) -> Iterator[Sentences]:
    """Every opening alone, then every body behind the first one."""
    openings, bodies = style.opening[plane], style.body[plane]
    yield from ((opening, None) for opening in openings)
    yield from ((openings[0], body) for body in bodies)


def _check(
    text: str, facts: SliceFacts, sentences: Sentences, phrases: Phrases, names: set[str] | None
) -> None:
    stated = read(text, (phrases,))
    if wrong := (*disagreements(stated, facts), *_unread(stated, facts, sentences, names)):
        last = sentences[1] or sentences[0]
        raise PhraseError(
            f"{phrases.place_of(last)}: a sentence must be read back as it was meant, but {wrong[0]}:"
            f" {last.source!r} gave {text[:120]!r}"
        )


def _unread(
    stated: StatedFacts, facts: SliceFacts, sentences: Sentences, names: set[str] | None
) -> Iterator[str]:
    """What fields say and reading does not find; `names` are those listed, None where some were dropped."""
    slots = {slot.lower().removeprefix("a_") for template in sentences if template for slot in template.slots}
    placed = "plane" in slots
    years = None if facts.age_years is None else completed_years(facts.age_years)
    expected = (
        ("sequence", "sequence", stated.sequence, facts.sequence),
        ("plane", "plane", stated.plane, facts.plane),
        ("position" if placed else "", "position", stated.position_mm, facts.position_mm),
        ("fraction" if placed else "", "fraction", stated.position_percent, percent(facts.position_fraction)),
        ("person", "age", stated.age_years, years),
        ("person", "sex", stated.sex, facts.sex),
    )
    for slot, what, said, fact in expected:
        if slot in slots and said != fact:
            yield f"{what} reads {said}, was {fact}"
    missing = (names or set()) - {structure.name for structure in stated.structures}
    if missing and slots & lists.LISTS:
        yield f"{min(missing)} is not read"
