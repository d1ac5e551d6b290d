"""The list of structures in a caption: which are named, in what order, and how."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from brainatlas_text.caption.numbers import area_number, percent
from brainatlas_text.caption.phrases import Phrases, Side, StructurePhrases, Style
from brainatlas_text.errors import PhraseError
from brainatlas_text.records import StructureMeasure

SIDES: tuple[Side, ...] = ("left", "right", "midline")
LISTS = frozenset(("structures", *SIDES))
"""Fields of sentences that name structures."""


@dataclass(slots=True)
class NamedStructure:
    """One name in a slice, left and right together; several labels of one name and side are added up."""

    name: str
    areas_mm2: dict[Side, float]
    total_mm2: float = 0.0
    num_labels: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a caption's list."""

    text: str
    side: Side | None
    """The list by side it stands in; None in the list of all."""
    num_labels: int


def by_name(measures: Iterable[StructureMeasure]) -> list[NamedStructure]:
    """Structures by name, largest first."""
    found: dict[tuple[str, bool], NamedStructure] = {}
    for measure in measures:
        name, side, area = measure.name, measure.side, measure.area_mm2
        structure = found.get((name, side == "midline"))
        if structure is None:
            structure = found[name, side == "midline"] = NamedStructure(name, {})
        structure.areas_mm2[side] = structure.areas_mm2.get(side, 0.0) + area
        structure.total_mm2 += area
        structure.num_labels += 1
    return sorted(found.values(), key=lambda structure: -structure.total_mm2)


def items(named: Sequence[NamedStructure], style: Style, phrases: Phrases, *, by_side: bool) -> list[Item]:
    """The entries of a style's list; with `by_side`, each side of a name is an entry of its own."""
    named_here = chosen(named, style)
    if by_side:
        return [
            Item(f"{phrase_of(phrases, s.name).one[0]} {_area(phrases, s.areas_mm2[side])}", side, 1)
            for s in named_here
            for side in SIDES
            if side in s.areas_mm2
        ]
    if style.sizes == "area":
        return [Item(_with_areas(s, phrases), None, s.num_labels) for s in named_here]
    if style.sizes == "none":
        return [Item(_without_areas(s, phrases), None, s.num_labels) for s in named_here]
    whole_mm2 = sum(s.total_mm2 for s in named)
    return [
        Item(f"{_without_areas(s, phrases)} {phrases.share.pattern.format(share=share)}", None, s.num_labels)
        for s in named_here
        if (share := percent(s.total_mm2 / whole_mm2)) > 0
    ]


def slots(entries: Sequence[Item], phrases: Phrases) -> dict[str, str]:
    """The list of all entries, or the lists by side; a list without entries is not given."""
    if not entries:
        return {}
    if entries[0].side is None:
        return {"structures": _joined([entry.text for entry in entries], phrases)}
    texts = {side: [entry.text for entry in entries if entry.side == side] for side in SIDES}
    return {
        side: phrases.sides[side].pattern.format(structures=_joined(texts[side], phrases))
        for side in SIDES
        if texts[side]
    }


def phrase_of(phrases: Phrases, name: str) -> StructurePhrases:
    """The phrases of a structure; raise PhraseError for one the table lacks."""
    try:
        return phrases.structures[name]
    except KeyError:
        raise PhraseError(f"{phrases.file}: [structures] lacks {name!r}; add its phrases") from None


def chosen(named: Sequence[NamedStructure], style: Style) -> Sequence[NamedStructure]:
    """The structures that a style names, in its order."""
    large = [s for s in named if s.total_mm2 >= style.smallest_mm2] or list(named[:1])
    if style.after_others:
        large.sort(key=lambda structure: structure.name in style.after_others)
    return large[: style.at_most]


def _with_areas(structure: NamedStructure, phrases: Phrases) -> str:
    said, areas = phrase_of(phrases, structure.name), structure.areas_mm2
    if len(areas) == 2:
        left, right = _number(phrases, areas["left"]), _number(phrases, areas["right"])
        return f"{said.both[0]} {phrases.areas.pattern.format(left=left, right=right)}"
    (side, area), *_ = areas.items()
    return f"{_sided(said, side)} {_area(phrases, area)}"


def _without_areas(structure: NamedStructure, phrases: Phrases) -> str:
    said, areas = phrase_of(phrases, structure.name), structure.areas_mm2
    return said.many[0] if len(areas) == 2 else _sided(said, next(iter(areas)))


def _sided(said: StructurePhrases, side: Side) -> str:
    return said.left[0] if side == "left" else said.right[0] if side == "right" else said.one[0]


def _area(phrases: Phrases, area_mm2: float) -> str:
    return phrases.area.pattern.format(area=_number(phrases, area_mm2))


def _number(phrases: Phrases, area_mm2: float) -> str:
    number = area_number(area_mm2)
    return number if phrases.decimal == "." else number.replace(".", phrases.decimal)


def _joined(texts: Sequence[str], phrases: Phrases) -> str:
    if len(texts) <= 2:
        return phrases.between_two.join(texts)
    return phrases.separator.join(texts[:-1]) + phrases.last_separator + texts[-1]
