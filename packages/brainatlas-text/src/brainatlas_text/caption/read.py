"""Read the facts that a text states: captions of every style and language, and free prompts in their terms.

The text is searched for every phrase of the tables; what lies between is ignored. So a caption reads the same
whatever its sentence, and a person may write "T2w axial slice of the brain, 12 mm above the anterior
commissure, left hippocampus (200 mm²)". What a text does not say is None; nothing is inferred.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from brainatlas_text.caption.loading import load_phrases
from brainatlas_text.caption.phrases import Phrases, Side
from brainatlas_text.caption.spotting import NUMBER, Spotter, Word, any_of, number, pattern_of, words_of
from brainatlas_text.records import PLANES, Plane, Sex
from brainatlas_text.records import Sequence as MriSequence

SHIPPED = ("en", "fr")
_BEFORE_A_LIST = ("", ".", ";", ":")
"""What "Midline: …" follows when it begins a list; in "at the midline: …" it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedStructure:
    """A structure that a text names."""

    name: str
    side: Side | None
    """None where the text names a paired structure without its side ("the thalamus")."""
    area_mm2: float | None = None
    """As rounded in the text; of left and right together where the side is None."""
    share_percent: int | None = None
    """Of the anatomy in the slice; of left and right together where the side is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedFacts:
    """What a text states; None or empty where it says nothing."""

    language: str | None = None
    sequence: MriSequence | None = None
    plane: Plane | None = None
    position_mm: float | None = None
    """Signed as in SliceFacts; None without a plane, whose normal it lies along."""
    position_percent: int | None = None
    age_years: int | None = None
    """Completed years."""
    juvenile: bool = False
    sex: Sex | None = None
    structures: tuple[StatedStructure, ...] = ()
    """In the order of the text."""


def read(text: str, phrases: Sequence[Phrases] | None = None) -> StatedFacts:
    """Read what a text states, in the language whose phrases cover most of it.

    `phrases` are the tables to try, the shipped ones by default.
    """
    tables = phrases if phrases is not None else [load_phrases(language) for language in SHIPPED]
    words = words_of(text)
    readings = [_reader(table).read(text, words) for table in tables]
    stated, covered = max(readings, key=lambda reading: reading[1])
    return stated if covered else StatedFacts()


class _Reader:
    """What one language listens for; built once."""

    def __init__(self, phrases: Phrases) -> None:
        self._language = phrases.language
        self._decimal = phrases.decimal
        self._words = _word_spotter(phrases)
        self._structures = structure_spotter(phrases)
        self._persons = tuple(_person_patterns(phrases))
        self._sex_of_noun = {noun: sex for (_, sex), nouns in phrases.person.nouns.items() for noun in nouns}
        self._positions = {plane: tuple(_position_patterns(phrases, plane)) for plane in PLANES}
        self._fractions = {plane: tuple(_fraction_patterns(phrases, plane)) for plane in PLANES}
        self._areas = pattern_of(phrases.areas, left=NUMBER, right=NUMBER)
        self._area = pattern_of(phrases.area, area=NUMBER)
        self._share = pattern_of(phrases.share, share=r"(\d+)")
        self._side_lists = {
            side: pattern_of(template, structures="(.+?)") for side, template in phrases.sides.items()
        }

    def read(self, text: str, words: Sequence[Word]) -> tuple[StatedFacts, int]:
        """The stated facts, and how many characters stated them."""
        spots = self._words.spots(words, text)
        said = {spot.meaning[0]: spot.meaning[1] for spot in reversed(spots)}  # the first one said counts
        plane: Plane | None = said.get("plane")  # type: ignore[assignment]  # the keys are checked at load
        sequence: MriSequence | None = said.get("sequence")  # type: ignore[assignment]
        age, sex, juvenile, in_person = self._person(text)
        position, in_position = self._position(text, plane)
        percent, in_fraction = self._percent(text, plane)
        structures, in_structures = self._all_structures(text, words)
        stated = StatedFacts(
            language=self._language,
            sequence=sequence,
            plane=plane,
            position_mm=position,
            position_percent=percent,
            age_years=age,
            juvenile=juvenile,
            sex=sex,
            structures=structures,
        )
        in_words = sum(spot.end - spot.start for spot in spots)
        return stated, in_words + in_person + in_position + in_fraction + in_structures

    def _person(self, text: str) -> tuple[int | None, Sex | None, bool, int]:
        """Age, sex, whether a juvenile, and the characters that say so."""
        for pattern, age, juvenile in self._persons:
            if found := pattern.search(text):
                said = found.groupdict()
                noun = re.sub(r"\s+", " ", said.get("who", "")).lower()
                years = int(said["age"]) if "age" in said else age
                return years, self._sex_of_noun.get(noun), juvenile, len(found[0])
        return None, None, False, 0

    def _position(self, text: str, plane: Plane | None) -> tuple[float | None, int]:
        for pattern, sign in self._positions[plane] if plane else ():
            if found := pattern.search(text):
                return (sign * number(found[1], self._decimal) if sign else 0.0), len(found[0])
        return None, 0

    def _percent(self, text: str, plane: Plane | None) -> tuple[int | None, int]:
        for pattern, end in self._fractions[plane] if plane else ():
            if found := pattern.search(text):
                return (int(found[1]) if end is None else end), len(found[0])
        return None, 0

    def _all_structures(self, text: str, words: Sequence[Word]) -> tuple[tuple[StatedStructure, ...], int]:
        lists = lists_by_side(text, self._side_lists)
        stated: list[StatedStructure] = []
        covered = 0
        for spot in self._structures.spots(words, text):
            name, sides = spot.meaning
            if sides == (None,):
                sides = (next((side for start, end, side in lists if start <= spot.start < end), None),)
            stated += self._with_size(name, sides, text, spot.end)
            covered += spot.end - spot.start
        return tuple(stated), covered

    def _with_size(
        self, name: str, sides: tuple[Side | None, ...], text: str, end: int
    ) -> list[StatedStructure]:
        """One entry a side; one size for both sides is that of both together."""
        at = end + (text[end : end + 1] == " ")
        if len(sides) == 2 and (areas := self._areas.match(text, at)):
            return [
                StatedStructure(name=name, side=side, area_mm2=number(area, self._decimal))
                for side, area in zip(sides, areas.groups(), strict=True)
            ]
        side = sides[0] if len(sides) == 1 else None
        if area := self._area.match(text, at):
            return [StatedStructure(name=name, side=side, area_mm2=number(area[1], self._decimal))]
        if share := self._share.match(text, at):
            return [StatedStructure(name=name, side=side, share_percent=int(share[1]))]
        return [StatedStructure(name=name, side=side) for side in sides]


def lists_by_side(text: str, patterns: Mapping[Side, re.Pattern[str]]) -> list[tuple[int, int, Side]]:
    """Start, end and side of the lists of one side ("Left: …"), found by the pattern of each side."""
    return [
        (*found.span(1), side)
        for side, pattern in patterns.items()
        for found in pattern.finditer(text)
        if text[: found.start()].rstrip()[-1:] in _BEFORE_A_LIST
    ]


@lru_cache(maxsize=16)
def _reader(phrases: Phrases) -> _Reader:
    return _Reader(phrases)


def _word_spotter(phrases: Phrases) -> Spotter[tuple[str, str]]:
    spotter: Spotter[tuple[str, str]] = Spotter()
    for kind, values in phrases.words.items():
        for value, words in values.items():
            for word in words:
                spotter.learn(word, (kind, value))
    return spotter


@lru_cache(maxsize=16)
def structure_spotter(phrases: Phrases) -> Spotter[tuple[str, tuple[Side | None, ...]]]:
    """Finds the names of structures; a name means itself and the sides it states."""
    spotter: Spotter[tuple[str, tuple[Side | None, ...]]] = Spotter()
    both: tuple[Side, ...] = ("left", "right")
    for name, said in phrases.structures.items():
        alone: tuple[Side | None, ...] = ("midline",) if said.midline else (None,)
        # A word that is its own plural, such as "white matter", says nothing of sides: `one` comes first.
        for words, sides in ((said.one, alone), (said.many, both), (said.both, both)):
            _learn_all(spotter, words, (name, sides), phrases.articles)
        _learn_all(spotter, said.left, (name, ("left",)), phrases.articles)
        _learn_all(spotter, said.right, (name, ("right",)), phrases.articles)
    return spotter


def _learn_all(
    spotter: Spotter[tuple[str, tuple[Side | None, ...]]],
    words: Iterable[str],
    meaning: tuple[str, tuple[Side | None, ...]],
    articles: tuple[str, ...],
) -> None:
    """Learn words with and without their article."""
    for word in words:
        spotter.learn(word, meaning)
    for word in words:
        for article in articles:
            if word.startswith(article):
                spotter.learn(word[len(article) :], meaning)


def _person_patterns(phrases: Phrases) -> Iterable[tuple[re.Pattern[str], int | None, bool]]:
    """(pattern, age if the pattern itself says it, juvenile), those that say most first."""
    person = phrases.person
    article = phrases.article
    a = any_of((article.usual, article.special)) if article else ""
    who = "(?P<who>" + any_of(noun for nouns in person.nouns.values() for noun in nouns)[1:]
    kinds = ((person.aged, None), (person.aged_one, 1), (person.under_one, 0), (person.ageless, None))
    for templates, age in kinds:
        for template in templates:
            yield pattern_of(template, a=a, age=r"(?P<age>\d{1,3})", who=who), age, False
    for template in person.juvenile:
        yield pattern_of(template), None, True


def _position_patterns(phrases: Phrases, plane: Plane) -> Iterable[tuple[re.Pattern[str], int]]:
    position = phrases.position[plane]
    for templates, sign in ((position.plus, 1), (position.minus, -1), (position.zero, 0)):
        for template in templates:
            yield pattern_of(template, mm=NUMBER), sign


def _fraction_patterns(phrases: Phrases, plane: Plane) -> Iterable[tuple[re.Pattern[str], int | None]]:
    """(pattern, per cent if the pattern itself says it)."""
    position = phrases.position[plane]
    for templates, share in ((position.fraction, None), (position.first, 0), (position.last, 100)):
        for template in templates:
            yield pattern_of(template, percent=r"(\d{1,3})"), share
