"""What a language says: the phrase tables as `loading` reads them, used to write and to read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from brainatlas_text.caption.tables import Source, locate
from brainatlas_text.caption.template import Template
from brainatlas_text.caption.tokens import Budget, tokens_table
from brainatlas_text.records import Plane, Sex

Side = Literal["left", "right", "midline"]
Sizes = Literal["area", "share", "none"]
Grown = Literal["adult", "child", "ageless"]
"""What is known of a person's age; of the ageless nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """Which indefinite article goes before a word or an age, such as a and an."""

    usual: str
    special: str
    before_words: frozenset[str]
    before_ages: frozenset[int]

    @property
    def before_field(self) -> re.Pattern[str]:
        """Finds an article written out before a field that can bring its own."""
        return re.compile(rf"\b({self.usual}|{self.special}) \{{(sequence|plane)\}}", re.IGNORECASE)

    def of_word(self, word: str) -> str:
        """The article before a word."""
        return self.special if word in self.before_words else self.usual

    def of_age(self, age: int) -> str:
        """The article before an age in digits."""
        return self.special if age in self.before_ages else self.usual


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonPhrases:
    """How people are named."""

    adult_from: int
    nouns: Mapping[tuple[Grown, Sex | None], tuple[str, ...]]
    """Nouns by what is known; none for one of whom neither age nor sex is."""
    aged: tuple[Template, ...]
    aged_one: tuple[Template, ...]
    under_one: tuple[Template, ...]
    ageless: tuple[Template, ...]
    juvenile: tuple[Template, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionPhrases:
    """How the place of a slice is said in one plane."""

    plus: tuple[Template, ...]
    minus: tuple[Template, ...]
    zero: tuple[Template, ...]
    fraction: tuple[Template, ...]
    first: tuple[Template, ...]
    """Instead of `fraction` at 0 per cent; may be empty."""
    last: tuple[Template, ...]
    """Instead of `fraction` at 100 per cent; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StructurePhrases:
    """All phrases of one structure, the first of each the one that is written.

    `left`, `right`, `both` and `many` are empty for a structure of the midline.
    """

    midline: bool
    one: tuple[str, ...]
    many: tuple[str, ...]
    left: tuple[str, ...]
    right: tuple[str, ...]
    both: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """The sentences of one style and what its list of structures holds."""

    opening: Mapping[Plane, tuple[Template, ...]]
    """The first sentence: those for every plane and the plane's own."""
    body: Mapping[Plane, tuple[Template, ...]]
    """The second, left out where the slice has no structures; empty in a style of one sentence."""
    sizes: Sizes
    at_most: int | None
    """Structures named at most, left and right of one name counting once; None names all."""
    smallest_mm2: float
    """Structures under this area are not named, unless nothing else would be."""
    after_others: frozenset[str]
    """Structures that are named only after all others, such as tissue that fills every slice."""
    budget: Budget
    """The most tokens a caption may take."""

    @property
    def templates(self) -> tuple[Template, ...]:
        """All sentences, of every plane, each once."""
        of_planes = (*self.opening.values(), *self.body.values())
        return tuple(dict.fromkeys(template for templates in of_planes for template in templates))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phrases:
    """Everything a language needs; see the comments in `phrases/en.toml`. Equal only to itself."""

    language: str
    sources: tuple[Source, ...]
    """The files it was made of, the one that counts most first."""
    decimal: str
    separator: str
    last_separator: str
    """Before the last of three entries and more."""
    between_two: str
    """Between the two entries of a list of two."""
    articles: tuple[str, ...]
    article: Article | None
    words: Mapping[str, Mapping[str, tuple[str, ...]]]
    """`sequence` and `plane` -> value -> words."""
    person: PersonPhrases
    position: Mapping[Plane, PositionPhrases]
    area: Template
    areas: Template
    share: Template
    sides: Mapping[Side, Template]
    structures: Mapping[str, StructurePhrases]
    styles: Mapping[str, Style]

    @property
    def file(self) -> str:
        """Name of the file that counts most."""
        return self.sources[0].name

    @property
    def digest(self) -> str:
        """sha256 of the files and of the counted tokens: what written captions depend on."""
        texts = (*(source.text for source in self.sources), tokens_table())
        return sha256("\0".join(texts).encode()).hexdigest()

    def place_of(self, template: Template) -> str:
        """`file:line` of a sentence."""
        return locate(self.sources, (template.source,))
