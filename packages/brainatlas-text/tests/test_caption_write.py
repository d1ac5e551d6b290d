"""What captions say, word for word, and what they leave out."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from brainatlas_text import caption
from brainatlas_text.caption.numbers import area_number, completed_years, whole_mm
from brainatlas_text.caption.tokens import MARKS, Vocabulary
from brainatlas_text.errors import PhraseError
from brainatlas_text.labels import canonical_table
from brainatlas_text.records import PLANES, SliceFacts, StructureMeasure

pytestmark = pytest.mark.unit

KEYS = [f"ixi-{n}-t2w_ibsr-01-t1w_axial-127" for n in range(400)]


def _structure(number: int, area_mm2: float) -> StructureMeasure:
    structure = canonical_table()[number]
    return StructureMeasure(
        label=number,
        name=structure.name,
        side=structure.side,
        area_mm2=area_mm2,
        volume_ml=1.0,
        centroid_mm=(0.0, 0.0, 0.0),
        agreement=None,
    )


FACTS = SliceFacts(
    sequence="T2w",
    plane="axial",
    index=127,
    position_mm=12.4,
    position_fraction=0.613,
    age_years=41.9,
    juvenile=False,
    sex="F",
    structures=(
        _structure(10, 212.4),
        _structure(49, 197.6),
        _structure(12, 180.0),
        _structure(4, 60.0),
        _structure(43, 55.0),
        _structure(14, 8.44),
    ),
)


def _texts(facts: SliceFacts, style: str, language: str = "en", num_keys: int = 400) -> set[str]:
    written = [
        caption.write(facts, seed=7, key=key, styles=(style,), languages=(language,))
        for key in KEYS[:num_keys]
    ]
    return {captions[0].text for captions in written}


def test_full_names_every_structure_by_side_with_its_area() -> None:
    listed = (
        "left and right thalami (212 and 198 mm²), left putamen (180 mm²), "
        "left and right lateral ventricles (60 and 55 mm²), and third ventricle (8.4 mm²)."
    )
    texts = _texts(FACTS, "full")
    assert all(text.endswith(listed) for text in texts)
    opening = (
        "A T2-weighted axial slice of the brain of a 41-year-old woman, 12 mm above the anterior commissure. "
    )
    assert any(text.startswith(opening) for text in texts)
    assert any(text.endswith(". The slice shows the " + listed) for text in texts)


def test_short_names_the_main_structures_without_numbers() -> None:
    assert (
        "A T2-weighted axial slice of the brain of a 41-year-old woman, 12 mm above the anterior commissure, "
        "showing the thalami, left putamen, and lateral ventricles."
    ) in _texts(FACTS, "short")


def test_largest_gives_shares_of_all_labeled_anatomy() -> None:
    listed = "thalami (57%), left putamen (25%), lateral ventricles (16%), and third ventricle (1%)"
    assert all(listed in text for text in _texts(FACTS, "largest"))


def test_report_lists_each_side() -> None:
    for text in _texts(FACTS, "report"):
        assert "Left: thalamus (212 mm²), putamen (180 mm²), and lateral ventricle (60 mm²)." in text
        assert "Right: thalamus (198 mm²) and lateral ventricle (55 mm²)." in text
        assert "Midline: third ventricle (8.4 mm²)." in text


def test_french_agrees_and_uses_the_decimal_comma() -> None:
    facts = replace(FACTS, structures=(_structure(54, 40.0), _structure(10, 9.7), _structure(14, 8.44)))
    listed = "l'amygdale droite (40 mm²), le thalamus gauche (9,7 mm²) et le troisième ventricule (8,4 mm²)."
    written = _texts(facts, "full", "fr")
    assert not any(re.search(r"\d (mm|%|ans)| :", text) for text in written)  # units never stand alone
    texts = {text.replace("\u00a0", " ") for text in written}
    assert all(text.endswith(listed) and "femme de 41 ans" in text for text in texts)
    assert any(
        text.startswith("Coupe axiale pondérée en T2 du cerveau d'une femme de 41 ans,") for text in texts
    )


@pytest.mark.parametrize(
    ("age", "sex", "juvenile", "expected"),
    [
        (8.0, "M", False, {"an 8-year-old boy", "a boy aged 8"}),
        (11.5, "F", False, {"an 11-year-old girl", "a girl aged 11"}),
        (17.99, None, False, {"a 17-year-old child", "a child aged 17"}),
        (18.0, "M", False, {"an 18-year-old man", "a man aged 18"}),
        (80.1, "F", False, {"an 80-year-old woman", "a woman aged 80"}),
        (41.9, None, False, {"a 41-year-old person", "a person aged 41"}),
        (0.6, "F", False, {"a girl under one year old"}),
        (None, "F", False, {"a female subject"}),
        (None, "M", False, {"a male subject"}),
        (None, "F", True, {"a juvenile"}),
        (None, None, True, {"a juvenile"}),
    ],
)
def test_people_are_named_by_what_is_known(age: float, sex: str, juvenile: bool, expected: set[str]) -> None:
    facts = replace(FACTS, age_years=age, sex=sex, juvenile=juvenile, structures=())
    found = set()
    for text in _texts(facts, "full"):
        person = re.search(
            r"\b(?:of|from) (an? (?:\S+year-old \w+|juvenile|\w+ aged \d+|\w+ under one year old"
            r"|(?:fe)?male subject))",
            text,
        )
        assert person, text
        found.add(person[1])
    assert found == expected


def test_nothing_is_said_of_a_person_of_whom_nothing_is_known() -> None:
    facts = replace(FACTS, age_years=None, sex=None, structures=())
    for style in ("full", "short", "largest", "report"):
        for text in _texts(facts, style):
            assert not re.search(
                r"person|adult|child|juvenile|woman|\bman\b|year|\baged|subject|Participant", text
            ), text


@pytest.mark.parametrize("style", ["full", "short", "largest", "report"])
def test_a_slice_without_named_structures_says_nothing_of_structures(style: str) -> None:
    for text in _texts(replace(FACTS, structures=()), style):
        assert not re.search(
            r"show(s|ing) the (?!brain)|visible|in view|area|mm²|Left:|Findings|Measure", text
        )
        assert text.endswith(".") and "{" not in text and "[" not in text


@pytest.mark.parametrize(
    ("plane", "mm", "words"),
    [
        ("axial", 12.5, {"13 mm above", "13 mm superior to"}),
        ("axial", -0.5, {"1 mm below", "1 mm inferior to"}),
        ("coronal", 3.2, {"3 mm in front of"}),
        ("coronal", -30.0, {"30 mm behind", "30 mm posterior to"}),
        ("sagittal", -7.7, {"8 mm to the left of", "8 mm left of"}),
        ("sagittal", 7.7, {"8 mm to the right of", "8 mm right of"}),
        ("sagittal", -0.4, {"at"}),
        ("axial", 0.4, {"at the level of", "level with"}),
    ],
)
def test_position_is_said_from_a_landmark(plane: str, mm: float, words: set[str]) -> None:
    facts = replace(FACTS, plane=plane, position_mm=mm, structures=())
    pattern = re.compile(r"((?:\d+ mm|at|level) ?[a-z ]*?) the (?:anterior commissure|midline)")
    found = {pattern.search(text)[1] for text in _texts(facts, "full")}
    assert found == words


@pytest.mark.parametrize(
    ("plane", "share", "words"),
    [
        ("axial", 0.004, "at the base of the brain"),
        ("coronal", 1.0, "at the front of the brain"),
        ("sagittal", 0.0, "at the left edge of the brain"),
        ("sagittal", 0.5, "50% of the way from the left to the right of the brain"),
    ],
)
def test_the_ends_of_the_brain_are_no_percentages(plane: str, share: float, words: str) -> None:
    facts = replace(FACTS, plane=plane, position_fraction=share, structures=())
    told = [text for text in _texts(facts, "report") if "of the brain" in text.partition("mm ")[2]]
    assert any(words in text for text in told)
    assert not any(" 0%" in text or "100%" in text for text in told)
    assert all(caption.read(text).position_percent in (None, round(100 * share)) for text in told)


def test_shares_are_rounded_each_by_itself() -> None:
    """Their sum may miss 100 by half of one for each; none is bent to make it fit."""
    facts = replace(FACTS, structures=tuple(_structure(n, 100.0) for n in (14, 15, 16)))
    assert all("(33%), fourth ventricle (33%), and brain stem (33%)" in t for t in _texts(facts, "largest"))


def test_areas_round_to_two_digits_under_ten_and_to_whole_mm2_above() -> None:
    stated = [area_number(a) for a in (0.044, 0.88, 4.0, 8.44, 9.96, 10.4, 211.5, 212.5, 12345.6)]
    assert stated == ["0.044", "0.88", "4", "8.4", "10", "10", "212", "212", "12346"]


def test_slices_one_mm_apart_never_share_a_position() -> None:
    for shift in (0.0, 0.25, 0.5, 0.999):
        positions = [whole_mm(shift + n) for n in range(-100, 100)]
        assert positions == list(range(positions[0], positions[0] + 200)) or shift == 0.5
    assert [whole_mm(mm) for mm in (-1.5, -0.5, 0.5, 1.5)] == [-2, -1, 1, 2]
    assert completed_years(41.99) == 41


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(
    ("language", "style"),
    [("en", "full"), ("en", "largest"), ("en", "short"), ("en", "report"), ("fr", "full"), ("fr", "short")],
)
def test_each_plane_has_at_least_24_sentences(plane: str, style: str, language: str) -> None:
    # One way to say the position, one to name the person, no second sentence: only the template varies.
    facts = replace(FACTS, plane=plane, position_mm=0.2, age_years=None, juvenile=True, structures=())
    facts = replace(facts, position_fraction=0.0)
    if style == "short":
        facts = replace(facts, structures=FACTS.structures)
    texts = _texts(facts, style, language)
    assert len({text.replace("at the level of", "level with") for text in texts}) >= 24


def test_several_labels_of_one_name_and_side_are_added_up() -> None:
    facts = replace(FACTS, structures=(_structure(10, 30.0), _structure(10, 12.0)))
    (written,) = caption.write(facts, seed=1, key="k", styles=("full",))
    assert "left thalamus (42 mm²)" in written.text


def test_the_choice_of_words_is_the_same_in_every_process() -> None:
    code = (
        "from brainatlas_text import caption; from brainatlas_text.records import SliceFacts;"
        "f = SliceFacts(sequence='T1w', plane='coronal', index=1, position_mm=-3.0, position_fraction=0.5,"
        " age_years=30.0, juvenile=False, sex='M', structures=());"
        "print([c.text for k in 'abcdef' for c in caption.write(f, seed=3, key=k, languages=('en',))])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_seed_key_style_and_language_each_change_the_words() -> None:
    def text(seed: int, key: str) -> str:
        return caption.write(FACTS, seed=seed, key=key, styles=("full",))[0].text

    assert text(1, "a") == text(1, "a")
    assert len({text(seed, "a") for seed in range(30)}) > 10
    assert len({text(1, str(key)) for key in range(30)}) > 10


def test_captions_come_by_language_then_style() -> None:
    captions = caption.write(
        FACTS, seed=1, key="k", styles=("full", "short", "report"), languages=("en", "fr")
    )
    order = [(c.language, c.style) for c in captions]
    assert order == [("en", "full"), ("en", "short"), ("en", "report"), ("fr", "full"), ("fr", "short")]


@pytest.mark.parametrize("vocabulary", ["wordpiece", "clip"])
def test_a_budget_drops_the_smallest_first_and_counts_them(vocabulary: Vocabulary) -> None:
    whole = caption.write(FACTS, seed=1, key="k", styles=("full",))[0]
    assert whole.dropped_structures == 0
    tokens = caption.Budget(77, vocabulary).cost(whole.text)
    budget = caption.Budget(tokens + MARKS - 12, vocabulary)
    cut = caption.write(FACTS, seed=1, key="k", styles=("full",), budgets={"full": budget})[0]
    assert budget.cost(cut.text) <= budget.limit
    assert "left putamen (180 mm²)" in cut.text and "ventricle" not in cut.text
    assert cut.dropped_structures == 3  # the third ventricle, and both lateral ventricles said together
    barely = caption.Budget(tokens + MARKS, vocabulary)
    assert caption.write(FACTS, seed=1, key="k", styles=("full",), budgets={"full": barely})[0] == whole


def test_a_budget_too_small_for_the_sentence_is_an_error() -> None:
    budget = caption.Budget(7, "wordpiece")
    with pytest.raises(
        PhraseError, match=r"en\.toml:\d+: '.+' takes \d+ tokens more than its 5 without naming any"
    ):
        caption.write(FACTS, seed=1, key="k", styles=("full",), budgets={"full": budget})


def test_an_unknown_style_is_an_error() -> None:
    with pytest.raises(PhraseError, match="caption style 'report': no sentences in fr"):
        caption.write(FACTS, seed=1, key="k", styles=("full", "report"), languages=("fr",))


def test_a_structure_without_phrases_is_an_error() -> None:
    stranger = replace(_structure(10, 30.0), name="claustrum")
    with pytest.raises(PhraseError, match="lacks 'claustrum'"):
        caption.write(replace(FACTS, structures=(stranger,)), seed=1, key="k")


def test_every_named_structure_has_phrases_in_both_languages() -> None:
    for language in ("en", "fr"):
        phrases = caption.load_phrases(language)
        for structure in canonical_table().values():
            if structure.named:
                assert phrases.structures[structure.name].midline == (structure.side == "midline")


def test_the_sentences_of_a_sample_are_told_without_its_facts() -> None:
    for key in KEYS[:50]:
        (written,) = caption.write(FACTS, seed=1, key=key, styles=("full",))
        opening, body = caption.sentences_of(1, key, "full", "en")
        for template in (opening, body):
            own = max(re.split(r"\{\w+\}|[\[\]]", template), key=len)
            assert own in written.text
    assert len(caption.sentences_of(1, KEYS[0], "short", "fr")) == 1


def test_sentences_are_told_of_samples_only() -> None:
    with pytest.raises(PhraseError, match="key 'k': expected one of a sample"):
        caption.sentences_of(1, "k", "full", "en")


def test_a_plane_may_have_sentences_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'language = "en"\n[styles.full.sagittal]\nopening = ["Looking sideways: {a_plane} slice."]\n',
        encoding="utf-8",
    )
    phrases = {"en": caption.load_phrases("en", path)}
    found = {
        plane: any(
            "sideways" in caption.write(f, seed=1, key=k, styles=("full",), phrases=phrases)[0].text
            for f in [replace(FACTS, plane=plane)]
            for k in KEYS
        )
        for plane in PLANES
    }
    assert found == {"axial": False, "coronal": False, "sagittal": True}
