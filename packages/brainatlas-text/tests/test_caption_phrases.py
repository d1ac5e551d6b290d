"""Phrase tables: what a user may add, and what is refused with file and line."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from brainatlas_text import caption
from brainatlas_text.caption.tokens import COSTS, count_chunk, pieces_of
from brainatlas_text.errors import PhraseError
from brainatlas_text.records import SliceFacts, StructureMeasure

pytestmark = pytest.mark.unit

FACTS = SliceFacts(
    sequence="FLAIR",
    plane="axial",
    index=1,
    position_mm=-4.0,
    position_fraction=0.5,
    age_years=None,
    juvenile=False,
    sex=None,
    structures=(
        StructureMeasure(
            label=17,
            name="hippocampus",
            side="left",
            area_mm2=120.0,
            volume_ml=3.0,
            centroid_mm=(0.0, 0.0, 0.0),
            agreement=None,
        ),
    ),
)


def _extra(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text('language = "en"\n' + text, encoding="utf-8")
    return path


def test_a_user_adds_a_style_of_their_own(tmp_path: Path) -> None:
    path = _extra(
        tmp_path,
        '[styles.tag]\nsizes = "none"\nopening = ["{Sequence} | {plane} | {position}[ | {structures}]"]\n',
    )
    phrases = {"en": caption.load_phrases("en", path)}
    (written,) = caption.write(FACTS, seed=1, key="k", styles=("tag",), phrases=phrases)
    assert written.text in {
        f"FLAIR | axial | 4 mm {words} the anterior commissure | left hippocampus"
        for words in ("below", "inferior to")
    }
    stated = caption.read(written.text, phrases=tuple(phrases.values()))
    assert caption.disagreements(stated, FACTS) == () and stated.position_mm == -4.0


def test_sentences_are_added_and_words_replaced(tmp_path: Path) -> None:
    path = _extra(
        tmp_path,
        '[sequence]\nT2w = ["T2"]\n[styles.short]\nopening = ["{A_sequence} {plane} picture, {position}."]\n',
    )
    shipped, mine = caption.load_phrases("en"), caption.load_phrases("en", path)
    assert len(mine.styles["short"].templates) == len(shipped.styles["short"].templates) + 1
    assert mine.words["sequence"]["T2w"] == ("T2",)
    assert shipped.words["sequence"]["T2w"][0] == "T2-weighted"


def test_a_new_language_is_one_file(tmp_path: Path) -> None:
    shipped = resources.files("brainatlas_text") / "phrases" / "en.toml"
    text = shipped.read_text(encoding="utf-8")
    path = tmp_path / "nl.toml"
    path.write_text(text.replace('language = "en"', 'language = "nl"'), encoding="utf-8")
    phrases = {"nl": caption.load_phrases("nl", path)}
    assert caption.write(FACTS, seed=1, key="k", languages=("nl",), phrases=phrases)[0].language == "nl"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('[styles.short]\nopening = ["{A_plane} slice of {sequnce}."]\n', 3, "unknown field {sequnce}"),
        ('[styles.short]\nopening = ["{A_plane slice."]\n', 3, "unbalanced brace '{'"),
        ('[styles.short]\nopening = ["A_plane} slice."]\n', 3, "unbalanced brace '}'"),
        ('[styles.short]\nopening = ["{A_plane} slice[ of {person}."]\n', 3, "unbalanced bracket '['"),
        ('[styles.short]\nopening = ["{A_plane} slice of {person}]."]\n', 3, "unbalanced bracket ']'"),
        ('[styles.short]\nopening = ["{A_plane} slice[ of it]."]\n', 3, "holds no field"),
        ('[styles.short]\nopening = ["{A_plane} slice of {person}."]\n', 3, "{person} may be unknown"),
        ('[styles.short]\nopening = ["{A_plane} slice[ {left}]."]\n', 3, "would name structures twice"),
        (
            '[styles.short]\nopening = ["An axial slice, {sequence}."]\n',
            3,
            "the sentence itself says 'axial'",
        ),
        ('[styles.short]\nopening = ["{A_plane}  slice."]\n', 3, "spaces doubled"),
        ('[styles.short]\nsizes = "big"\n', 3, "sizes is 'big'; known: area, share, none"),
        ("[styles.short]\nat_mots = 3\n", 3, "unknown key 'styles.short.at_mots'; did you mean 'at_most'?"),
        ('[styles.short]\nat_most = "3"\n', 3, "styles.short.at_most has the wrong type: '3'"),
        ('[structures]\nclaustrum = { one = ["claustrum"] }\n', 3, "'claustrum' has no plural"),
        (
            '[structures]\nx = { one = ["x"], form = "dual" }\n',
            3,
            "'x' has form 'dual'; known: paired, midline",
        ),
        ('[position.axial]\nplus = ["over the commissure"]\n', 3, "position.axial.plus needs {mm}"),
        ('[person]\naged = ["a {who} of age"]\n', 3, "person.aged needs {age}"),
        ('[person]\naged = ["a {who} of {age}[ or {age}]"]\n', 3, "[brackets] have no meaning here"),
        ('[sizes]\nareas = "({left} mm²)"\n', 3, "sizes.areas must be one phrase with {left} and {right}"),
        ("[sequence]\nPD = ['PD']\n", 3, "unknown key 'sequence.PD'"),
        ("[plane]\naxial = []\n", 3, "plane.axial must be a list of words"),
        ("[plane\n", 2, "not valid TOML"),
    ],
)
def test_a_wrong_table_is_refused_with_file_and_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    path = _extra(tmp_path, text)
    with pytest.raises(PhraseError) as caught:
        caption.load_phrases("en", path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)


def test_other_language_missing_file_and_missing_table(tmp_path: Path) -> None:
    with pytest.raises(PhraseError, match="language is 'en', expected 'fr'"):
        caption.load_phrases("fr", _extra(tmp_path, ""))
    with pytest.raises(PhraseError, match="cannot be read"):
        caption.load_phrases("en", tmp_path / "none.toml")
    with pytest.raises(PhraseError, match="language 'eo': no phrase table; known: en, fr"):
        caption.load_phrases("eo")
    with pytest.raises(PhraseError, match="lacks 'sizes'"):
        caption.load_phrases("en2", _written(tmp_path / "en2.toml", 'language = "en2"\n'))


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_every_shipped_word_has_a_counted_cost() -> None:
    """Guards tokens.tsv against tables that changed after it was counted (tools/count_tokens.py)."""
    table = resources.files("brainatlas_text") / "phrases" / "tokens.tsv"
    counted = {line.split("\t")[0] for line in table.read_text(encoding="utf-8").splitlines()[1:]}
    for key in range(300):
        for language, styles in (("en", ("full", "largest", "short", "report")), ("fr", ("full", "short"))):
            for written in caption.write(FACTS, seed=1, key=str(key), styles=styles, languages=(language,)):
                words = {piece for piece in pieces_of(written.text) if not piece.isdecimal()}
                assert words <= counted, words - counted


def test_a_word_that_was_not_counted_costs_its_bytes() -> None:
    assert count_chunk("zzyzx", "wordpiece") == 5
    assert count_chunk("é", "clip") == 2
    assert [count_chunk(number, "wordpiece") for number in ("0", "00", "000", "00000")] == [1, 1, 2, 4]
    assert count_chunk("00000", "clip") == 5
    costs = COSTS["wordpiece"]
    assert costs.of("thalamus (212 and 198 mm²)") == 3 + 1 + 2 + 1 + 2 + 2 + 1


def test_the_words_load_nothing_heavy() -> None:
    code = (
        "import sys; from brainatlas_text import caption; caption.read('x');"
        "heavy = {'torch', 'numba', 'pandas', 'nibabel', 'SimpleITK', 'pydantic', 'scipy', 'distributed'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_sheets_in_the_documentation_show_what_is_written(repository: Path, tmp_path: Path) -> None:
    tool = repository / "packages" / "brainatlas-text" / "tools" / "caption_sheet.py"
    subprocess.run([sys.executable, tool, "--docs", tmp_path], check=True)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert len(written) == 7
    for path in written:
        shown = (repository / "docs" / path).read_text(encoding="utf-8")
        assert shown == (tmp_path / path).read_text(encoding="utf-8"), (
            "run packages/brainatlas-text/tools/caption_sheet.py"
        )


def test_counted_tokens_are_enough_for_the_real_vocabularies(repository: Path) -> None:
    pytest.importorskip("tokenizers")
    sys.path.insert(0, str(repository / "packages" / "brainatlas-text" / "tools"))
    from check_tokens import tallies
    from random_facts import random_facts
    from vocabularies import counters

    try:
        real = counters()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    found = tallies(random_facts(300), real)
    assert len(found) == 6 and all(len(tally.tokens) == 300 for tally in found.values())
    assert not {kind: tally.broken for kind, tally in found.items() if tally.broken}
    short = found["en", "short"]
    assert short.counted == short.tokens  # with no numbers but short ones, not one token is counted too many
