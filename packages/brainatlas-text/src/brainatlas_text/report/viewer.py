"""Samples as the page shows them: slice, labels in color, and captions whose phrases know their labels."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainatlas_text.caption import Phrases
from brainatlas_text.caption.numbers import area_number
from brainatlas_text.caption.spans import structure_spans
from brainatlas_text.engines.label_pictures import colors
from brainatlas_text.records import Plane, Sample
from brainatlas_text.wording import Wording

MARGIN = 6
"""Pixels around the brain; the rest of the picture is black and is cut away."""
_CORNERS: Mapping[Plane, tuple[str, str]] = {
    "axial": ("L", "R"),
    "coronal": ("L", "R"),
    "sagittal": ("P", "A"),
}
"""Letters at the picture's left and right edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of a caption; with labels, it names these structures."""

    text: str
    labels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCaption:
    """One caption in pieces."""

    style: str
    language: str
    tokens: int
    budget: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStructure:
    """One row of the list beside a picture."""

    label: int
    color: tuple[int, int, int]
    name: str
    """With its side."""
    side: str
    """Where it stands in the list: `left`, `right` or `midline`."""
    area: str
    agreement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """One sample as the template shows it."""

    key: str
    facts: Mapping[str, Any]
    person: str
    """Who is shown and in whose pose."""
    image: str
    """Data URI, as is the label picture in colors."""
    labels: str
    width_mm: float
    height_mm: float
    corners: tuple[str, str]
    captions: tuple[ShownCaption, ...]
    structures: tuple[ShownStructure, ...]


def slide(sample: Sample, wording: Wording) -> Slide:
    """What the page needs of a sample whose captions were written with this wording."""
    facts: dict[str, Any] = sample.facts
    image, labels = _pixels(sample.image_png), _pixels(sample.label_png)
    rows, columns = _content(image, labels)
    image, labels = image[rows, columns], labels[rows, columns]
    row_mm, column_mm = facts["spacing_mm"]
    structures = facts["structures"]
    return Slide(
        key=sample.key,
        facts=facts,
        person=_person(facts),
        image=_uri(Image.fromarray(image)),
        labels=_uri(_colored(labels), transparency=0),
        width_mm=round(image.shape[1] * column_mm, 2),
        height_mm=round(image.shape[0] * row_mm, 2),
        corners=_CORNERS[facts["plane"]],
        captions=tuple(_caption(written, structures, wording) for written in facts["captions"]),
        structures=tuple(_structure(measured) for measured in _side_by_side(structures)),
    )


def _person(facts: Mapping[str, Any]) -> str:
    age, sex = facts["age_years"], {"F": "woman", "M": "man"}.get(facts["sex"], "person")
    who = "juvenile" if facts["juvenile"] else f"{sex} of {age:.0f}" if age is not None else sex
    pose = "own pose" if facts["moving"] == facts["fixed"] else f"in the pose of {facts['fixed']}"
    return f"{facts['subject']}, {who}, {pose}"


def _caption(
    written: Mapping[str, str], structures: Sequence[Mapping[str, Any]], wording: Wording
) -> ShownCaption:
    budget = wording.budget(written["style"], written["language"])
    return ShownCaption(
        style=written["style"],
        language=written["language"],
        tokens=budget.cost(written["text"]),
        budget=budget.limit,
        pieces=_pieces(written["text"], structures, wording.phrases[written["language"]]),
    )


def _pieces(text: str, structures: Sequence[Mapping[str, Any]], phrases: Phrases) -> tuple[Piece, ...]:
    """The text in order, cut where a structure's phrase begins and ends."""
    pieces, done = [], 0
    for span in structure_spans(text, [phrases]):
        named = [s["label"] for s in structures if s["name"] == span.name and _meant(s["side"], span.sides)]
        if named:
            pieces += [
                Piece(text=text[done : span.start]),
                Piece(text=text[span.start : span.end], labels=tuple(named)),
            ]
            done = span.end
    return tuple(piece for piece in (*pieces, Piece(text=text[done:])) if piece.text)


def _meant(side: str, sides: Sequence[str | None]) -> bool:
    """Whether a phrase with these sides means a structure on that side; one without a side means both."""
    return side in sides or None in sides


def _side_by_side(structures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The largest names first, of each the left before the right."""
    sizes: Counter[str] = Counter()
    for measured in structures:
        sizes[measured["name"]] += measured["area_mm2"]
    return sorted(structures, key=lambda s: (-sizes[s["name"]], s["name"], s["side"]))


def _structure(measured: Mapping[str, Any]) -> ShownStructure:
    side, agreement = measured["side"], measured["agreement"]
    return ShownStructure(
        label=measured["label"],
        color=colors()[measured["label"]],
        name=measured["name"] if side == "midline" else f"{side} {measured['name']}",
        side=side,
        area=area_number(measured["area_mm2"]),
        agreement="-" if agreement is None else f"{100 * agreement:.0f} %",
    )


def _pixels(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("L"))


def _content(image: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns that show something, with a margin; all of them where nothing does."""
    shown = (image > 0) | (labels > 0)
    spans = []
    for axis in (0, 1):
        places = np.flatnonzero(shown.any(axis=1 - axis))
        first, last = (int(places[0]), int(places[-1])) if places.size else (0, shown.shape[axis] - 1)
        spans.append(slice(max(first - MARGIN, 0), last + 1 + MARGIN))
    return spans[0], spans[1]


def _colored(labels: NDArray[np.uint8]) -> Image.Image:
    """The labels in the colors of the pages, each its own; 0 will be transparent."""
    picture = Image.fromarray(labels, "P")
    picture.putpalette([part for number in range(256) for part in colors().get(number, (0, 0, 0))])
    return picture


def _uri(picture: Image.Image, **options: Any) -> str:
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True, **options)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"
