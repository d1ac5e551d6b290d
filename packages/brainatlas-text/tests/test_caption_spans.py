"""Where a caption names a structure is what `read` reads there."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from brainatlas_text import caption
from brainatlas_text.caption.spans import structure_spans
from brainatlas_text.labels import canonical_table
from brainatlas_text.records import PLANES, SEQUENCES, SliceFacts, StructureMeasure

pytestmark = pytest.mark.unit
ALL = (("en", ("full", "largest", "short", "report")), ("fr", ("full", "short")))
NAMED = [structure for structure in canonical_table().values() if structure.named]


def random_facts(number: int) -> SliceFacts:
    draw = random.Random(number)
    structures = [
        StructureMeasure(
            label=s.number, name=s.name, side=s.side, area_mm2=draw.choice((3.2, 47.0, 1503.0)),
            volume_ml=1.0, centroid_mm=(0.0, 0.0, 0.0), agreement=None,
        )
        for s in draw.sample(NAMED, draw.randrange(1, 20))
    ]  # fmt: skip
    return SliceFacts(
        sequence=draw.choice(SEQUENCES),
        plane=draw.choice(PLANES),
        index=100,
        position_mm=draw.uniform(-90, 90),
        position_fraction=draw.random(),
        age_years=draw.choice((None, 8.2, 41.0)),
        juvenile=False,
        sex=draw.choice(("F", "M", None)),
        structures=tuple(structures),
    )


@pytest.mark.parametrize("number", range(40))
def test_spans_hold_what_is_read(number: int) -> None:
    facts = random_facts(number)
    for language, styles in ALL:
        for written in caption.write(facts, seed=3, key=str(number), styles=styles, languages=(language,)):
            spans = structure_spans(written.text)
            stated = caption.read(written.text).structures
            sized = any(s.area_mm2 is not None or s.share_percent is not None for s in stated)
            assert spans and all(a.end <= b.start for a, b in pairwise(spans))
            for span in spans:
                said = written.text[span.start : span.end]
                assert said.endswith(")") == sized
                alone = {s.name for s in caption.read(said).structures}
                assert alone == {span.name}
            found = [(span.name, side) for span in spans for side in span.sides]
            # One size for both sides is read as of both together, without a side.
            merged = [(s.name, s.side) for s in stated if s.side is not None]
            assert [pair for pair in found if pair in merged] == merged
            assert {name for name, _ in found} == {s.name for s in stated}


def test_a_span_ends_with_the_size() -> None:
    text = "On this T1 MRI: left and right thalamus (212 and 198 mm²), brain stem (400 mm²), left putamen."
    said = [text[span.start : span.end] for span in structure_spans(text)]
    assert said == ["left and right thalamus (212 and 198 mm²)", "brain stem (400 mm²)", "left putamen"]
    assert [span.sides for span in structure_spans(text)] == [("left", "right"), ("midline",), ("left",)]


def test_a_side_said_once_for_a_list_is_that_of_all_in_it() -> None:
    text = "Axial T2w slice. Left: thalamus (212 mm²), putamen (90 mm²). Right: thalamus (200 mm²)."
    assert [(s.name, s.sides) for s in structure_spans(text)] == [
        ("thalamus", ("left",)),
        ("putamen", ("left",)),
        ("thalamus", ("right",)),
    ]


def test_a_text_about_nothing_has_no_spans() -> None:
    assert structure_spans("") == structure_spans("Bananas, 12 of them.") == ()


def test_a_position_at_the_midline_begins_no_list() -> None:
    (span,) = structure_spans("T2-weighted MRI, sagittal plane, 1 mm right of the midline: both thalami.")
    assert (span.name, span.sides) == ("thalamus", ("left", "right"))
    (span,) = structure_spans("T2-weighted MRI, sagittal plane, 1 mm right of the midline: thalamus.")
    assert span.sides == (None,)
