"""The recipe's settings of captions: checked before all work, and kept with the data set."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from brainatlas_text import caption, claim, load_recipe, wording
from brainatlas_text.errors import InputError, OutputError, PhraseError, RecipeError
from brainatlas_text.recipe import Recipe, to_toml
from brainatlas_text.wording import CaptionConfig
from brainatlas_text.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from random_facts import random_facts

pytestmark = pytest.mark.unit

TAG = '[styles.tag]\nsizes = "none"\nopening = ["{Sequence} | {plane} | {position}[ | {structures}]"]\n'


def _file(folder: Path, text: str, name: str = "mine.toml", language: str = "en") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f'language = "{language}"\n{text}', encoding="utf-8")
    return folder / name


def _recipe(folder: Path, captions: str) -> Recipe:
    (folder / "recipe.toml").write_text(f'name = "mine"\n[caption]\n{captions}', encoding="utf-8")
    return load_recipe(str(folder / "recipe.toml"))


def test_shipped_styles_and_languages_pass() -> None:
    wording.check(CaptionConfig())
    wording.check(CaptionConfig(styles=("short", "full", "largest", "report"), languages=("en", "fr")))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"styles": ("tag",)},
            "no language has sentences of style 'tag'; en has full, largest, report, short",
        ),
        ({"languages": ("eo",)}, "language 'eo': no phrase table; known: en, fr"),
        ({"styles": ("report",), "languages": ("fr",)}, "style 'report'; fr has full, short"),
        (
            {"styles": ("report", "full"), "languages": ("fr", "en")},
            "the main caption would be 'report' in 'fr'",
        ),
        ({"styles": ("full", "full")}, "'full' stands there twice"),
        ({"max_tokens": {"report": 100}}, "style 'report' is not written; caption.styles is full, short"),
        ({"max_tokens": {"full": 20}}, r"en\.toml:\d+: .* takes \d+ tokens more than its 18"),
        ({"phrases": ("gone.toml",)}, "gone.toml: cannot be read"),
    ],
)
def test_what_cannot_be_written_is_said_before_all_work(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        wording.check(CaptionConfig(**settings))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("styles = []", "caption.styles: Tuple should have at least 1 item"),
        ("max_tokens = { full = 2 }", "caption.max_tokens.full: Input should be greater than 2"),
        ('phrase = ["mine.toml"]', "unknown key caption.phrase; did you mean caption.phrases"),
    ],
)
def test_recipes_refuse_what_has_no_meaning(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        _recipe(tmp_path, line)


def test_phrase_files_lie_relative_to_the_recipe(tmp_path: Path) -> None:
    _file(tmp_path / "words", TAG)
    recipe = _recipe(tmp_path, 'styles = ["tag"]\nphrases = ["words/mine.toml"]')
    wording.check(recipe.caption)
    assert "tag" in wording.load(recipe.caption).phrases["en"].styles


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[styles.full]\nopening = ["{A_plane} slice {positoin}."]\n', 3, "unknown field {positoin}"),
        ('[styles.full]\nopening = ["{A_plane slice."]\n', 3, "unbalanced brace '{'"),
        ('[styles.full]\nopening = ["A {plane} slice."]\n', 3, "guesses the article; write {A_plane}"),
        ('[styles.full.axial]\nopening = ["{A_plane} slice {mm}."]\n', 3, "unknown field {mm}"),
        ('[styles.full.oblique]\nopening = ["x"]\n', 2, "unknown key 'styles.full.oblique'"),
        ('[styles.full]\nopening = ["Aged 30 like {a_plane} slice[ of {person}]."]\n', 0, ""),
        (
            '[styles.full]\nopening = ["Slice 7 mm above the anterior commissure, {plane}."]\n',
            3,
            "position_mm",
        ),
        ('[styles.full]\nopening = ["{Plane} slice, 50% of the way up the brain."]\n', 3, "position_percent"),
        (
            '[styles.tag]\nsizes = "none"\n[styles.tag.axial]\nopening = ["{Plane}"]\n',
            2,
            "styles.tag has no opening for coronal slices; add one",
        ),
        ('[styles.full]\nbody = ["50% of the way up the brain: {structures}."]\n', 3, "position_percent"),
        ('[article]\nusual = ""\n', 3, "article.usual must be a list of words, got ''"),
        ('[styles.full]\nvocabulary = "bert"\n', 3, "vocabulary is 'bert'; known: wordpiece, clip"),
        ("[styles.full]\nmax_tokens = 1\n", 3, "max_tokens must be over 2, got 1"),
        (
            '[structures]\n"thalamus" = { one = ["thalamus"], form = "midline" }\n',
            0,
            "has a left and a right",
        ),
        ('[structures]\n"thalamus" = { many = [] }\n', 3, "'thalamus' has no plural"),
        ('[position.axial]\nzero = ["at {mm}"]\n', 3, "unknown field {mm}"),
    ],
)
def test_a_wrong_phrase_file_is_refused_with_file_and_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = _file(tmp_path, text)
    config = CaptionConfig(phrases=(path,))
    if not words:  # nothing wrong with it
        wording.check(config)
        return
    with pytest.raises(PhraseError) as caught:
        wording.check(config)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: ")


def test_a_file_of_a_language_that_is_not_written_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, TAG, language="fr")
    with pytest.raises(PhraseError, match="its language is 'fr', captions are written in en; add it to"):
        wording.check(CaptionConfig(phrases=(path,)))


def test_a_table_that_lacks_a_structure_is_refused(tmp_path: Path) -> None:
    shipped = Path(caption.__file__).parents[1] / "phrases" / "en.toml"
    lines = shipped.read_text(encoding="utf-8").replace('language = "en"', 'language = "nl"').splitlines()
    text = "\n".join(line for line in lines if not line.startswith('"optic chiasm"'))
    (tmp_path / "nl.toml").write_text(text, encoding="utf-8")
    config = CaptionConfig(languages=("nl",), phrases=(tmp_path / "nl.toml",))
    with pytest.raises(PhraseError, match=r"nl\.toml: \[structures\] lacks 'optic chiasm'; add its phrases"):
        wording.check(config)


def test_captions_depend_on_what_phrase_files_say_and_not_on_where_they_lie(tmp_path: Path) -> None:
    one, same = _file(tmp_path / "a", TAG), _file(tmp_path / "b", TAG, name="other.toml")
    changed = _file(tmp_path / "c", TAG.replace(" | ", " / "))
    depends = [wording.load(CaptionConfig(phrases=(file,))).depends for file in (one, same, changed)]
    assert depends[0] == depends[1] != depends[2]
    assert wording.load(CaptionConfig()).depends != depends[0]


def test_a_limit_of_tokens_drops_structures(tmp_path: Path) -> None:
    recipe = load_recipe("default", ["caption.max_tokens.full=64"])
    wording.check(recipe.caption)
    assert wording.load(recipe.caption).budgets["full"].limit == 62


def test_a_data_set_keeps_the_phrase_files_it_was_written_with(tmp_path: Path) -> None:
    file = _file(tmp_path, TAG)
    recipe = _recipe(tmp_path, 'styles = ["tag"]\nphrases = ["mine.toml"]')
    words, kept = wording.beside(recipe.caption)
    recipe = recipe.model_copy(update={"caption": words})
    workspace = Workspace(tmp_path / "out")
    claim.claim(workspace, recipe, [], kept)
    assert "phrases/mine.toml" in to_toml(recipe)
    again = load_recipe(str(tmp_path / "out" / "recipe.toml"))
    file.unlink()
    assert wording.load(again.caption).depends == wording.load(wording.within(workspace.root, words)).depends
    claim.claim(workspace, recipe, [], kept)  # the same call goes on
    other = {name: text.replace(" | ", " / ") for name, text in kept.items()}
    with pytest.raises(OutputError, match=r"differs in phrases/mine\.toml"):
        claim.claim(workspace, recipe, [], other)


def test_two_phrase_files_of_one_name_are_refused(tmp_path: Path) -> None:
    files = (_file(tmp_path / "a", TAG), _file(tmp_path / "b", TAG))
    with pytest.raises(RecipeError, match=r"two files are named mine\.toml; rename one"):
        wording.beside(CaptionConfig(phrases=files))


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_style_may_name_no_structures_at_all(tmp_path: Path, language: str) -> None:
    text = (
        '[styles.tag]\nsizes = "none"\nmax_tokens = 40\nopening = ["| {sequence}, {plane}, {position} |"]\n'
    )
    config = CaptionConfig(
        styles=("tag",), languages=(language,), phrases=(_file(tmp_path, text, language=language),)
    )
    wording.check(config)
    for key, facts in enumerate(random_facts(50)):
        (written,) = wording.load(config).write(facts, 1, str(key))
        assert written.dropped_structures == 0
        assert caption.read(written.text, tuple(wording.load(config).phrases.values())).structures == ()


def test_words_that_lose_facts_are_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, "")
    path.write_text('language = "en"\ndecimal = ""\n', encoding="utf-8")  # 8.5 would be written as 85
    with pytest.raises(PhraseError, match=r"must be read back as it was meant, but .*: text"):
        wording.check(CaptionConfig(phrases=(path,)))
    path.write_text('language = "en"\nseparator = ""\n', encoding="utf-8")  # "(3 mm²)left thalamus"
    wording.check(CaptionConfig(styles=("full",), phrases=(path,)))
    with pytest.raises(PhraseError, match="is not read"):
        wording.check(CaptionConfig(styles=("short",), phrases=(path,)))  # "thalamiputamina"
