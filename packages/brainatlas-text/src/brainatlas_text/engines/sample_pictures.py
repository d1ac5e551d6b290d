"""A look at one sample: its slice, the same with its structures in color, and what the colors mean, as a PNG.

Both panels show the sample's own pixels, stretched to their size in mm, without what lies around the brain.
The letters at the edges say where the subject's left (L), right (R), front (A), back (P), top (S) and base
(I) are; the colors are those of the label table, left and right alike.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from brainatlas_text.engines.pictures import AXES
from brainatlas_text.labels import Structure, canonical_table
from brainatlas_text.records import Plane, Sample

OPACITY = 0.55
PANEL, MARGIN, GAP, LINE, LETTER, SWATCH = 600, 8, 24, 24, 20, 14
"""Pixels: the longer side of a panel at least, its margin in pixels of the slice; gaps and letters."""
_HEADING = "structures and their areas, square millimeters"
_ENDS = {0: ("L", "R"), 1: ("P", "A"), 2: ("I", "S")}
"""Letters at the lower and upper end of an axis."""
_INK, _PALE = "#ffffff", "#a8a8a8"


@dataclass(frozen=True, slots=True)
class LegendRow:
    """A structure of the picture: both its sides have one color."""

    color: str
    text: str
    """Name and areas, such as `hippocampus   L 212   R 198`."""


def draw_sample(sample: Sample) -> Image.Image:
    """The picture of a sample."""
    facts: Any = sample.facts
    spacing_mm, plane, table = facts["spacing_mm"], facts["plane"], canonical_table()
    image, labels = (np.asarray(Image.open(io.BytesIO(png))) for png in (sample.image_png, sample.label_png))
    rows, columns = _content(image, labels)
    image, labels = image[rows, columns], labels[rows, columns]
    size = _size(image.shape, spacing_mm)
    legend = legend_of(labels, spacing_mm[0] * spacing_mm[1], table)
    panels = [_panel(pixels, plane, size) for pixels in (_grey(image), _colored(image, labels, table))]
    font = ImageFont.load_default(LINE * 0.62)
    wide = max(font.getlength(text) for text in (_HEADING, *(row.text for row in legend))) + SWATCH + GAP
    page = Image.new(
        "RGB",
        (2 * size[0] + 4 * GAP + round(wide), LINE + 3 * GAP + max(size[1], LINE * len(legend))),
        "#101010",
    )
    pen = ImageDraw.Draw(page)
    top, left = LINE + 2 * GAP, 3 * GAP + 2 * size[0]
    pen.text((GAP, GAP), sample.key, _INK, font)
    pen.text((left, GAP), _HEADING, _PALE, font)
    for place, panel in enumerate(panels):
        page.paste(panel, (GAP + place * (size[0] + GAP), top))
    for line, row in enumerate(legend):
        y = top + line * LINE
        pen.rectangle((left, y + 2, left + SWATCH, y + 2 + SWATCH), row.color, outline=_PALE)
        pen.text((left + SWATCH + GAP // 2, y), row.text, _INK, font)
    return page


def legend_of(
    labels: NDArray[np.uint8], pixel_mm2: float, table: Mapping[int, Structure]
) -> tuple[LegendRow, ...]:
    """The structures of a label image with their areas, largest first; what words never name comes last."""
    counts = np.bincount(labels.ravel(), minlength=256)
    found = [table[number] for number in np.flatnonzero(counts).tolist() if number in table]
    rows = []
    for name in dict.fromkeys(structure.name for structure in found):
        sides = [structure for structure in found if structure.name == name]
        total = sum(int(counts[structure.number]) for structure in sides)
        areas = "   ".join(
            f"{_SIDES[structure.side]}{counts[structure.number] * pixel_mm2:,.0f}" for structure in sides
        )
        spoken = "" if sides[0].named else "   (never named)"
        rows.append((not sides[0].named, -total, LegendRow(sides[0].color, f"{name}   {areas}{spoken}")))
    return tuple(row for _, _, row in sorted(rows, key=lambda row: row[:2]))


_SIDES = {"left": "L ", "right": "R ", "midline": ""}


def _content(image: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns that show something, with a margin."""
    shown = (image > 0) | (labels > 0)
    spans = []
    for axis in (1, 0):
        used = np.flatnonzero(shown.any(axis=axis))
        first, last = (used[0], used[-1]) if used.size else (0, shown.shape[1 - axis] - 1)
        spans.append(slice(max(int(first) - MARGIN, 0), int(last) + 1 + MARGIN))
    return spans[0], spans[1]


def _size(shape: tuple[int, ...], spacing_mm: Sequence[float]) -> tuple[int, int]:
    """Width and height of a panel: a whole number of pixels for the smaller side of a slice's pixel."""
    finest = min(spacing_mm)
    high, wide = (number * step / finest for number, step in zip(shape, spacing_mm, strict=True))
    scale = int(np.ceil(PANEL / max(high, wide)))
    return round(wide * scale), round(high * scale)


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([image] * 3, axis=2)


def _colored(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], table: Mapping[int, Structure]
) -> NDArray[np.uint8]:
    colors = np.zeros((256, 3))
    for number, structure in table.items():
        colors[number] = [int(structure.color[at : at + 2], 16) for at in (1, 3, 5)]
    opacity = OPACITY * (labels > 0)[:, :, None]
    mixed = _grey(image) * (1 - opacity) + colors[labels] * opacity
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def _panel(pixels: NDArray[np.uint8], plane: Plane, size: tuple[int, int]) -> Image.Image:
    """A slice with the letters of its four sides; rows run from the upper end of their axis to the lower."""
    panel = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
    pen, font = ImageDraw.Draw(panel), ImageFont.load_default(LETTER)
    columns, rows, _ = AXES[plane]
    (left, right), (bottom, top) = _ENDS[columns], _ENDS[rows]
    wide, high = size
    inset = LETTER * 0.3
    for letter, place, anchor in (
        (left, (inset, high / 2), "lm"),
        (right, (wide - inset, high / 2), "rm"),
        (top, (wide / 2, inset), "mt"),
        (bottom, (wide / 2, high - inset), "mb"),
    ):
        pen.text(place, letter, _INK, font, anchor=anchor, stroke_width=2, stroke_fill="#000000")
    return panel
