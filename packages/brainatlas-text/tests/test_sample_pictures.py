"""The picture of a sample: its structures where they are, its letters at their sides, its legend."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFont

from brainatlas_text.engines import sample_pictures as drawn
from brainatlas_text.labels import canonical_table
from brainatlas_text.records import Plane, Sample

pytestmark = pytest.mark.unit
TOP, LEFT = drawn.LINE + 2 * drawn.GAP, drawn.GAP


def png(array: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(array).save(data, "PNG")
    return data.getvalue()


def make(plane: Plane = "axial", spacing_mm: tuple[float, float] = (1.0, 1.0)) -> Sample:
    """120 rows and 80 columns of grey brain: left hippocampus high on the left, vessel low on the right."""
    image, labels = np.zeros((2, 256, 256), dtype=np.uint8)
    image[60:180, 90:170] = 100
    labels[70:80, 95:115], labels[160:164, 150:160] = 17, 62
    facts = {"plane": plane, "spacing_mm": list(spacing_mm)}
    return Sample(key="a_b_axial-100", image_png=png(image), label_png=png(labels), text="", facts=facts)


def pixel_of(picture: Image.Image, row: int, column: int, panel: int, scale: int) -> tuple[int, ...]:
    """The middle of a pixel of the slice in a panel."""
    wide = (80 + 2 * drawn.MARGIN) * scale
    x = LEFT + panel * (wide + drawn.GAP) + (column - 90 + drawn.MARGIN) * scale + scale // 2
    y = TOP + (row - 60 + drawn.MARGIN) * scale + scale // 2
    return picture.getpixel((x, y))


def test_structures_have_their_color_where_they_are() -> None:
    picture, scale = drawn.draw_sample(make()), 5  # 136 rows with margin, 600 wanted
    for row, column, label in ((75, 100, 17), (161, 155, 62)):
        color = [int(canonical_table()[label].color[at : at + 2], 16) for at in (1, 3, 5)]
        expected = [round(100 * (1 - drawn.OPACITY) + part * drawn.OPACITY) for part in color]
        assert list(pixel_of(picture, row, column, 1, scale)) == expected
        assert pixel_of(picture, row, column, 0, scale) == (100, 100, 100)
    for panel in (0, 1):  # mirrored or upside down there is nothing
        assert pixel_of(picture, 75, 160, panel, scale) == (100, 100, 100)
        assert pixel_of(picture, 161, 100, panel, scale) == (100, 100, 100)


@pytest.mark.parametrize(("plane", "letters"), [("axial", "LRAP"), ("coronal", "LRSI"), ("sagittal", "PASI")])
def test_every_side_has_its_letter(plane: Plane, letters: str) -> None:
    picture = drawn.draw_sample(make(plane))
    wide, high = 5 * (80 + 2 * drawn.MARGIN), 5 * (120 + 2 * drawn.MARGIN)
    inset, rim = drawn.LETTER * 0.3, 5 * drawn.MARGIN
    places = ((inset, high / 2, "lm"), (wide - inset, high / 2, "rm"))
    places += ((wide / 2, inset, "mt"), (wide / 2, high - inset, "mb"))
    expected = Image.new("RGB", (wide, high))
    for letter, (x, y, anchor) in zip(letters, places, strict=True):
        ImageDraw.Draw(expected).text(
            (x, y), letter, "#fff", ImageFont.load_default(drawn.LETTER), anchor, stroke_width=2,
            stroke_fill="#000",
        )  # fmt: skip
    for panel in (0, 1):
        corner = (LEFT + panel * (wide + drawn.GAP), TOP)
        seen = picture.crop((*corner, corner[0] + wide, corner[1] + high))
        inner = (rim, rim, wide - rim, high - rim)
        for page in (seen, expected):
            page.paste("#000", inner)  # the brain
        assert ImageChops.difference(seen, expected).getbbox() is None
        assert expected.getbbox() is not None


def test_pixels_that_are_no_squares_are_stretched_to_their_size() -> None:
    square, tall = drawn.draw_sample(make()), drawn.draw_sample(make(spacing_mm=(2.0, 1.0)))
    assert square.height - tall.height == 5 * 136 - 3 * 2 * 136  # 600 is reached at 3 for 272 rows
    hippocampus = pixel_of(square, 75, 100, 1, 5)
    x, y = LEFT + 3 * (80 + 2 * drawn.MARGIN) + drawn.GAP + 3 * 18, TOP + 3 * 2 * (75 - 60 + drawn.MARGIN)
    assert tall.getpixel((x, y)) == hippocampus != (100, 100, 100)


def test_the_legend_counts_both_sides_and_puts_the_unnamed_last() -> None:
    labels = np.zeros((10, 10), dtype=np.uint8)
    labels[0], labels[1, :3], labels[2], labels[3:5], labels[6, :2] = 17, 53, 62, 30, 16
    rows = drawn.legend_of(labels, 2.5, canonical_table())
    assert [row.text for row in rows] == [
        "hippocampus   L 25   R 8",
        "brain stem   5",
        "vessel   L 50   R 25   (never named)",
    ]
    assert rows[0].color == canonical_table()[17].color == canonical_table()[53].color


def test_a_slice_without_structures_is_drawn_too() -> None:
    sample = make()
    bare = Sample(
        key=sample.key, image_png=sample.image_png, label_png=png(np.zeros((256, 256), np.uint8)), text="",
        facts=sample.facts,
    )  # fmt: skip
    first, second = (drawn.draw_sample(bare).crop((x, TOP, x + 480, TOP + 680)) for x in (LEFT, LEFT + 504))
    assert ImageChops.difference(first, second).getbbox() is None
