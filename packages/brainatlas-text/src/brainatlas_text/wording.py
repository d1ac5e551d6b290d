"""Which captions a data set gets: the recipe's settings, and the phrase tables that they name.

A user's phrase files are checked before all work and copied beside the recipe, so that a data set says by
itself how it was written. What samples depend on is the content of the tables, wherever they lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from brainatlas_text import caption
from brainatlas_text.caption import Budget, Phrases
from brainatlas_text.errors import PhraseError, RecipeError
from brainatlas_text.labels import canonical_table
from brainatlas_text.records import Caption, SliceFacts

FOLDER = "phrases"
"""Where a user's phrase files are kept in the data set."""


class CaptionConfig(BaseModel):
    """Which captions every slice gets; the first style in the first language is the main caption."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    styles: Annotated[tuple[str, ...], Field(min_length=1)] = ("full", "short")
    """`full` names every structure with its size, `short` fits a CLIP encoder; see
    [the styles](../how-to/phrases.md#styles)."""
    languages: Annotated[tuple[str, ...], Field(min_length=1)] = ("en",)
    """Languages: `en`, `fr`, or those of your own phrase files; each is written in the styles that it has."""
    phrases: tuple[Path, ...] = ()
    """Phrase files of yours, relative to the recipe's; each adds to the language that it names."""
    max_tokens: dict[str, Annotated[int, Field(gt=2)]] = {}
    """Style -> most tokens of a caption, start and end marks included, instead of the phrase tables' own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wording:
    """The settings with their phrase tables loaded."""

    config: CaptionConfig
    phrases: Mapping[str, Phrases]
    """By language."""
    budgets: Mapping[str, Budget]
    """By style, where the recipe sets one."""

    def write(self, facts: SliceFacts, seed: int, key: str) -> tuple[Caption, ...]:
        """The captions of a slice, the main one first."""
        return caption.write(
            facts,
            seed=seed,
            key=key,
            styles=self.config.styles,
            languages=self.config.languages,
            phrases=self.phrases,
            budgets=self.budgets,
        )

    def budget(self, style: str, language: str) -> Budget:
        """The most tokens of a caption: the recipe's, else the phrase table's own."""
        return self.budgets.get(style, self.phrases[language].styles[style].budget)

    @property
    def depends(self) -> list[object]:
        """What captions depend on besides facts, seed and key."""
        tables = [table.digest for table in self.phrases.values()]
        return [caption.VERSION, self.config.styles, self.config.languages, self.config.max_tokens, tables]


def load(config: CaptionConfig) -> Wording:
    """Load the tables, once a process; raise PhraseError for one that is missing, malformed or not wanted."""
    return _load(config.model_dump_json())


@lru_cache(maxsize=16)
def _load(config_json: str) -> Wording:
    config = CaptionConfig.model_validate_json(config_json)
    phrases = caption.phrases_of(config.languages, config.phrases)
    budgets = {
        style: Budget(tokens, table.styles[style].budget.vocabulary)
        for style, tokens in config.max_tokens.items()
        for table in phrases.values()
        if style in table.styles
    }
    return Wording(config=config, phrases=phrases, budgets=budgets)


def check(config: CaptionConfig) -> None:
    """Raise RecipeError or PhraseError for settings or tables that would fail in the midst of a build."""
    _load.cache_clear()  # a user may have corrected a file since the last build of this process
    wording = load(config)
    for problem in _problems(wording):
        raise RecipeError(problem)
    for phrases in wording.phrases.values():
        for structure in canonical_table().values():
            if structure.named:
                _check_structure(phrases, structure.name, midline=structure.side == "midline")
        caption.prove(phrases, config.styles, wording.budgets)


def _problems(wording: Wording) -> Iterator[str]:
    config = wording.config
    known = {language: sorted(phrases.styles) for language, phrases in wording.phrases.items()}
    have = "; ".join(f"{language} has {', '.join(styles)}" for language, styles in known.items())
    for key, named in (("styles", config.styles), ("languages", config.languages)):
        if twice := [name for name in named if named.count(name) > 1]:
            yield f"caption.{key}: {twice[0]!r} stands there twice; leave one out"
    for style in config.styles:
        if not any(style in styles for styles in known.values()):
            yield f"caption.styles: no language has sentences of style {style!r}; {have}"
    if config.styles[0] not in known[config.languages[0]]:
        main = f"{config.styles[0]!r} in {config.languages[0]!r}"
        yield f"caption.styles: the main caption would be {main}, which has no such style; {have}"
    for style in config.max_tokens:
        if style not in config.styles:
            yield (
                f"caption.max_tokens: style {style!r} is not written; caption.styles is"
                f" {', '.join(config.styles)}"
            )


def _check_structure(phrases: Phrases, name: str, *, midline: bool) -> None:
    if name not in phrases.structures:
        raise PhraseError(f"{phrases.file}: [structures] lacks {name!r}; add its phrases")
    if phrases.structures[name].midline != midline:
        what = "lies on the midline" if midline else "has a left and a right"
        raise PhraseError(f"{phrases.file}: {name!r} {what}; correct its form under [structures]")


def within(root: Path, config: CaptionConfig) -> CaptionConfig:
    """The settings of a data set in the folder `root`, where its phrase files lie."""
    return config.model_copy(update={"phrases": tuple(root / file for file in config.phrases)})


def beside(config: CaptionConfig) -> tuple[CaptionConfig, dict[str, str]]:
    """The settings with phrase files at their place in a data set, and the text of each file by its path."""
    kept: dict[str, str] = {}
    for file in config.phrases:
        name = f"{FOLDER}/{file.name}"
        if name in kept:
            raise RecipeError(f"caption.phrases: two files are named {file.name}; rename one")
        kept[name] = file.read_text(encoding="utf-8")
    return config.model_copy(update={"phrases": tuple(map(Path, kept))}), kept
