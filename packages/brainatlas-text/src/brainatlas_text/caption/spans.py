"""Where a text names structures: `structure_spans` locates what `read` finds, for pages that point at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brainatlas_text.caption.loading import load_phrases
from brainatlas_text.caption.phrases import Phrases, Side
from brainatlas_text.caption.read import SHIPPED, lists_by_side, read, structure_spotter
from brainatlas_text.caption.spotting import NUMBER, pattern_of, words_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureSpan:
    """A stretch of a text that names a structure, its size included."""

    start: int
    end: int
    name: str
    sides: tuple[Side | None, ...]
    """Both where left and right are named together; (None,) where a paired structure has no side."""


def structure_spans(text: str, phrases: Sequence[Phrases] | None = None) -> tuple[StructureSpan, ...]:
    """The structures that a text names, in its order and in the language that `read` reads it in.

    `text[span.start:span.end]` is the name with the size behind it, such as `left hippocampus (212 mm²)`.
    `phrases` are the tables to try, the shipped ones by default.
    """
    tables = phrases if phrases is not None else [load_phrases(language) for language in SHIPPED]
    language = read(text, tables).language
    table = next((table for table in tables if table.language == language), None)
    return () if table is None else tuple(_spans(text, table))


def _spans(text: str, phrases: Phrases) -> list[StructureSpan]:
    lists = lists_by_side(
        text, {side: pattern_of(template, structures="(.+?)") for side, template in phrases.sides.items()}
    )
    sizes = [
        pattern_of(phrases.areas, left=NUMBER, right=NUMBER),
        pattern_of(phrases.area, area=NUMBER),
        pattern_of(phrases.share, share=NUMBER),
    ]
    spans = []
    for spot in structure_spotter(phrases).spots(words_of(text), text):
        name, sides = spot.meaning
        if sides == (None,):
            sides = (next((side for start, end, side in lists if start <= spot.start < end), None),)
        at = spot.end + (text[spot.end : spot.end + 1] == " ")
        size = next(filter(None, (pattern.match(text, at) for pattern in sizes)), None)
        spans.append(
            StructureSpan(start=spot.start, end=size.end() if size else spot.end, name=name, sides=sides)
        )
    return spans
