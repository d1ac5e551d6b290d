"""What is written is read back: every style, both languages, thousands of facts; and free prompts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainatlas_text import caption
from brainatlas_text.caption import StatedFacts, StatedStructure
from brainatlas_text.caption.numbers import area_number, completed_years, percent, whole_mm
from brainatlas_text.labels import canonical_table
from brainatlas_text.records import PLANES, SEQUENCES, SliceFacts, StructureMeasure

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from random_facts import random_facts

pytestmark = pytest.mark.unit

NAMED = [structure for structure in canonical_table().values() if structure.named]


@st.composite
def _structures(draw: st.DrawFn) -> tuple[StructureMeasure, ...]:
    chosen = draw(st.lists(st.sampled_from(NAMED), unique_by=lambda s: s.number, max_size=30))
    areas = st.one_of(st.integers(1, 30000).map(float), st.floats(0.01, 20.0))
    measures = [
        StructureMeasure(
            label=s.number,
            name=s.name,
            side=s.side,
            area_mm2=round(draw(areas), 4),
            volume_ml=1.0,
            centroid_mm=(0.0, 0.0, 0.0),
            agreement=None,
        )
        for s in chosen
    ]
    return tuple(sorted(measures, key=lambda m: (-m.area_mm2, m.label)))


@st.composite
def _facts(draw: st.DrawFn) -> SliceFacts:
    age = draw(st.none() | st.floats(0.0, 104.0))
    return SliceFacts(
        sequence=draw(st.sampled_from(SEQUENCES)),
        plane=draw(st.sampled_from(PLANES)),
        index=draw(st.integers(0, 255)),
        position_mm=draw(st.floats(-130.0, 130.0)),
        position_fraction=draw(st.floats(0.0, 1.0)),
        age_years=age,
        juvenile=age is None and draw(st.booleans()),
        sex=draw(st.sampled_from(["F", "M", None])),
        structures=draw(_structures()),
    )


def _check_scalars(stated: StatedFacts, facts: SliceFacts, language: str) -> None:
    assert (stated.language, stated.sequence, stated.plane) == (language, facts.sequence, facts.plane)
    assert stated.position_mm == whole_mm(facts.position_mm)
    assert stated.position_percent in (None, percent(facts.position_fraction))
    assert stated.juvenile == facts.juvenile
    assert stated.sex == (None if facts.juvenile else facts.sex)
    assert stated.age_years == (None if facts.age_years is None else completed_years(facts.age_years))


def _check_areas(stated: StatedFacts, facts: SliceFacts, dropped: int) -> None:
    """Every structure by side with its area, but for those that were dropped."""
    expected = {(s.name, s.side): float(area_number(s.area_mm2)) for s in facts.structures}
    read = {(s.name, s.side): s.area_mm2 for s in stated.structures}
    assert len(read) == len(stated.structures) == len(expected) - dropped
    assert read.items() <= expected.items()


def _check(facts: SliceFacts, key: int, tables: dict[str, caption.Phrases]) -> None:
    """Every caption of a slice is tidy, within its budget, and reads back as the facts."""
    for language, phrases in tables.items():
        styles = tuple(phrases.styles)
        captions = caption.write(
            facts, seed=1, key=str(key), styles=styles, languages=(language,), phrases=tables
        )
        for written in captions:
            text, style = written.text, phrases.styles[written.style]
            assert "  " not in text and "\n" not in text and text == text.strip()
            assert text[0].isupper() and not set("{}[]") & set(text)
            assert style.budget.cost(text) <= style.budget.limit
            stated = caption.read(text, tuple(tables.values()))
            _check_scalars(stated, facts, language)
            assert caption.disagreements(stated, facts) == ()
            if style.sizes == "area":
                _check_areas(stated, facts, written.dropped_structures)
            elif facts.structures and not written.dropped_structures:
                assert 1 <= len({s.name for s in stated.structures}) <= 5


SHIPPED = {language: caption.load_phrases(language) for language in caption.SHIPPED}


def test_thousands_of_random_slices_read_back_as_their_facts() -> None:
    for key, facts in enumerate(random_facts(3000)):
        _check(facts, key, SHIPPED)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(facts=_facts(), key=st.integers(0, 10**9))
def test_every_caption_reads_back_as_the_facts(facts: SliceFacts, key: int) -> None:
    """Fewer slices than above, but the edges of what numbers there are."""
    _check(facts, key, SHIPPED)


def test_what_a_user_adds_reads_back_too(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'language = "en"\n'
        '[sequence]\nFLAIR = ["fluid-attenuated", "FLAIR"]\n'
        '[styles.full.coronal]\nopening = ["{Plane} | {sequence} | {position} | {fraction}[ | {person}]"]\n'
        '[styles.plain]\nsizes = "area"\nmax_tokens = 120\n'
        'opening = ["{Sequence}, {plane}, {position}[, {person}][. Seen: {structures}]"]\n',
        encoding="utf-8",
    )
    tables = caption.phrases_of(("en", "fr"), [tmp_path / "mine.toml"])
    caption.prove(tables["en"], tables["en"].styles, {})
    for key, facts in enumerate(random_facts(400, seed=1)):
        _check(facts, key, tables)


def test_a_free_prompt_is_read_in_the_same_terms() -> None:
    stated = caption.read(
        "t2w axial slice, 41 year old woman, 12.5mm above the anterior commissure; LEFT HIPPOCAMPUS"
        " (200 mm²), both thalami, brainstem and the caudate"
    )
    assert stated == StatedFacts(
        language="en",
        sequence="T2w",
        plane="axial",
        position_mm=12.5,
        age_years=41,
        sex="F",
        structures=(
            StatedStructure(name="hippocampus", side="left", area_mm2=200.0),
            StatedStructure(name="thalamus", side="left"),
            StatedStructure(name="thalamus", side="right"),
            StatedStructure(name="brain stem", side="midline"),
            StatedStructure(name="caudate nucleus", side=None),
        ),
    )


def test_a_free_prompt_in_french() -> None:
    stated = caption.read(
        "coupe coronale FLAIR, homme de 70 ans, thalamus gauche et l'insula droite (7,5 mm²)"
    )
    assert (stated.language, stated.sequence, stated.plane) == ("fr", "FLAIR", "coronal")
    assert (stated.sex, stated.age_years) == ("M", 70)
    assert stated.structures == (
        StatedStructure(name="thalamus", side="left"),
        StatedStructure(name="insula", side="right", area_mm2=7.5),
    )


@pytest.mark.parametrize("text", ["", "a photograph of a cat", "brain"])
def test_a_text_that_states_nothing_reads_as_nothing(text: str) -> None:
    assert caption.read(text) == StatedFacts()


def test_a_position_without_a_plane_is_not_guessed() -> None:
    assert caption.read("T1-weighted, 12 mm above the anterior commissure").position_mm is None


def test_a_direction_of_another_plane_is_not_taken() -> None:
    assert caption.read("coronal slice 12 mm above the anterior commissure").position_mm is None


def test_a_position_at_the_midline_begins_no_list_of_the_midline() -> None:
    stated = caption.read(
        "T2-weighted MRI, sagittal plane, 1 mm right of the midline: brain stem and thalamus."
    )
    assert stated.position_mm == 1.0
    assert [(s.name, s.side) for s in stated.structures] == [("brain stem", "midline"), ("thalamus", None)]


def test_t2_flair_is_flair() -> None:
    assert caption.read("an axial T2-FLAIR image").sequence == "FLAIR"


def test_disagreements_name_what_is_not_so() -> None:
    facts = SliceFacts(
        sequence="T1w",
        plane="axial",
        index=1,
        position_mm=12.0,
        position_fraction=0.5,
        age_years=30.0,
        juvenile=False,
        sex=None,
        structures=(
            StructureMeasure(
                label=10,
                name="thalamus",
                side="left",
                area_mm2=212.0,
                volume_ml=1.0,
                centroid_mm=(0.0, 0.0, 0.0),
                agreement=None,
            ),
        ),
    )
    text = (
        "A T2-weighted axial slice of the brain of a 31-year-old woman, 12 mm above the anterior commissure."
        " In view: the left thalamus (213 mm²) and third ventricle (5 mm²)."
    )
    assert caption.disagreements(caption.read(text), facts) == (
        "sequence: text T2w, facts T1w",
        "age_years: text 31, facts 30",
        "sex: text F, facts None",
        "left thalamus: text 213 mm², facts 212 mm²",
        "midline third ventricle: not in the slice",
    )
    truth = caption.write(facts, seed=1, key="k", styles=("full",))[0].text
    assert caption.disagreements(caption.read(truth), facts) == ()
    assert caption.disagreements(caption.read(truth), replace(facts, structures=())) != ()


@pytest.mark.parametrize(
    ("text", "area_mm2"),
    [
        ("left thalamus (1,503 mm²)", 1503.0),
        ("left thalamus (0.044 mm²)", 0.044),
        ("left thalamus (7,5 mm²)", 7.5),
        ("thalamus gauche (0,044 mm²)", 0.044),
        ("thalamus gauche (1.503 mm²)", 1503.0),
        ("thalamus gauche (7.5\u00a0mm²)", 7.5),
        ("thalamus gauche (1503mm²)", 1503.0),
    ],
)
def test_numbers_are_read_as_people_of_that_language_write_them(text: str, area_mm2: float) -> None:
    (stated,) = caption.read(text).structures
    assert stated == StatedStructure(name="thalamus", side="left", area_mm2=area_mm2)
