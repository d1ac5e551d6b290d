"""Write captions of a slice from its facts.

Input: SliceFacts, a seed and the sample's key. Output: one Caption a language and style. Which sentences and
phrases are used is a hash of (seed, key, style, language), so a caption can be written again alone, anywhere.
Unknown facts are left out. Left and right of one name are said together; structures come largest first, and
the smallest are left out when the budget of tokens asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Protocol, TypeVar

from brainatlas_text.caption import structures as lists
from brainatlas_text.caption.loading import load_phrases
from brainatlas_text.caption.numbers import completed_years, percent, whole_mm
from brainatlas_text.caption.phrases import PersonPhrases, Phrases, Style
from brainatlas_text.caption.template import Template
from brainatlas_text.caption.tokens import Budget
from brainatlas_text.errors import PhraseError
from brainatlas_text.records import PLANES, Caption, Plane, Sex, SliceFacts
from brainatlas_text.records import Sequence as MriSequence

_Option = TypeVar("_Option")
Values = Mapping[str, str | None]
Sentences = tuple[Template, Template | None]
"""Opening and body."""


class Choices(Protocol):
    """Picks among phrases that mean the same."""

    def pick(self, options: Sequence[_Option], /) -> _Option:
        """One of the options."""


class _Choices:
    """Choices drawn from a hash, the same on every machine."""

    def __init__(self, seed: int, key: str, style: str, language: str) -> None:
        text = f"{seed}\n{key}\n{style}\n{language}".encode()
        self._state = int.from_bytes(blake2b(text, digest_size=12).digest(), "big")

    def pick(self, options: Sequence[_Option]) -> _Option:
        """One of the options."""
        self._state, place = divmod(self._state, len(options))
        return options[place]


def write(
    facts: SliceFacts,
    *,
    seed: int,
    key: str,
    styles: Sequence[str] = ("full", "short"),
    languages: Sequence[str] = ("en",),
    phrases: Mapping[str, Phrases] | None = None,
    budgets: Mapping[str, Budget] | None = None,
) -> tuple[Caption, ...]:
    """Write the captions of a slice: all styles of the first language, then of the next.

    A style that a language does not have is passed over there; PhraseError if none of the languages has it.
    `phrases` (by language) replaces the shipped tables, `budgets` (by style) those of the tables.
    """
    named = lists.by_name(facts.structures)
    captions: list[Caption] = []
    for language in languages:
        table = phrases[language] if phrases and language in phrases else load_phrases(language)
        for name in styles:
            if (style := table.styles.get(name)) is not None:
                choices = _Choices(seed, key, name, language)
                sentences = _sentences(style, facts.plane, choices)
                values = values_of(facts, table, choices)
                budget = (budgets or {}).get(name, style.budget)
                text, dropped = compose(sentences, values, named, style, table, budget)
                captions.append(Caption(style=name, language=language, text=text, dropped_structures=dropped))
    missing = set(styles) - {caption.style for caption in captions}
    if missing:
        where = ", ".join(languages)
        raise PhraseError(
            f"caption style {min(missing)!r}: no sentences in {where}; add [styles.{min(missing)}]"
        )
    return tuple(captions)


def sentences_of(
    seed: int, key: str, style: str, language: str, *, phrases: Phrases | None = None
) -> tuple[str, ...]:
    """Sources of the sentence templates that `write` chooses for a sample: opening, and body if any.

    A body is left out where the slice shows no structure. `key` must be that of a sample: it ends in
    `_<plane>-<index>`.
    """
    plane = key.rpartition("_")[2].rpartition("-")[0]
    if plane not in PLANES:
        raise PhraseError(f"key {key!r}: expected one of a sample, which ends in _axial-127 or the like")
    table = phrases or load_phrases(language)
    chosen = _sentences(table.styles[style], plane, _Choices(seed, key, style, language))
    return tuple(template.source for template in chosen if template)


def _sentences(style: Style, plane: Plane, choices: Choices) -> Sentences:
    """What `choices` is asked for first."""
    opening = choices.pick(style.opening[plane])
    return opening, choices.pick(style.body[plane]) if style.body[plane] else None


def compose(
    sentences: Sentences,
    values: Values,
    named: Sequence[lists.NamedStructure],
    style: Style,
    phrases: Phrases,
    budget: Budget,
) -> tuple[str, int]:
    """The text of these sentences within a budget, and how many structures were dropped for it."""
    opening, body = sentences
    wanted = opening.slots | (body.slots if body else frozenset())
    listed = named if wanted & lists.LISTS else ()
    items = lists.items(listed, style, phrases, by_side="structures" not in wanted)
    text = _text(opening, body, values, items, phrases)
    kept = len(items)
    while (over := budget.cost(text) - budget.limit) > 0:
        if not kept:
            raise PhraseError(
                f"{phrases.place_of(opening)}: {opening.source!r} takes {over} tokens more than its"
                f" {budget.limit} without naming any structure; shorten it"
            )
        while over > 0 and kept:
            kept -= 1
            over -= budget.cost(items[kept].text)
        text = _text(opening, body, values, items[:kept], phrases)
    return text, sum(item.num_labels for item in items[kept:])


def _text(
    opening: Template, body: Template | None, values: Values, items: Sequence[lists.Item], phrases: Phrases
) -> str:
    filled = {**values, **lists.slots(items, phrases)}
    text = opening.fill(filled) or ""
    second = body.fill(filled) if body else None
    return f"{text} {second}" if second else text


def values_of(facts: SliceFacts, phrases: Phrases, choices: Choices) -> Values:
    """Everything but the structures, None where unknown."""
    position = phrases.position[facts.plane]
    mm, share = whole_mm(facts.position_mm), percent(facts.position_fraction)
    place = choices.pick(position.zero if mm == 0 else position.plus if mm > 0 else position.minus)
    end = position.first if share == 0 else position.last if share == 100 else ()
    fraction = choices.pick(end or position.fraction)
    years = None if facts.age_years is None else completed_years(facts.age_years)
    persons = _persons(phrases, years, facts.juvenile, facts.sex)
    return {
        **_words(phrases, facts.sequence, facts.plane),
        "position": place.pattern.format(mm=abs(mm)),
        "fraction": fraction.pattern.format(percent=share),
        "person": choices.pick(persons) if persons else None,
    }


@lru_cache(maxsize=64)
def _words(phrases: Phrases, sequence: MriSequence, plane: Plane) -> dict[str, str]:
    """Sequence and plane: alone and with an article, in small and at the start of a sentence."""
    words: dict[str, str] = {}
    for kind, value in (("sequence", sequence), ("plane", plane)):
        word = phrases.words[kind][value][0]
        words[kind], words[kind.capitalize()] = word, _capital(word)
        if phrases.article:
            with_article = f"{phrases.article.of_word(word)} {word}"
            words[f"a_{kind}"], words[f"A_{kind}"] = with_article, _capital(with_article)
    return words


@lru_cache(maxsize=4096)
def _persons(phrases: Phrases, years: int | None, juvenile: bool, sex: Sex | None) -> tuple[str, ...]:
    """All ways to name a person; none for one of whom nothing is known."""
    person = phrases.person
    if years is None:
        if juvenile:
            return tuple(template.pattern for template in person.juvenile)
        if sex is None:
            return ()
        templates, noun = person.ageless, person.nouns["ageless", sex][0]
    else:
        templates = _aged(person, years)
        noun = person.nouns["adult" if years >= person.adult_from else "child", sex][0]
    named: list[str] = []
    for template in templates:
        article = ""
        if phrases.article:
            before_age = "{a} {age}" in template.pattern and years is not None
            article = phrases.article.of_age(years or 0) if before_age else phrases.article.of_word(noun)
        named.append(template.pattern.format(a=article, age=years, who=noun))
    return tuple(named)


def _aged(person: PersonPhrases, years: int) -> tuple[Template, ...]:
    if years < 1:
        return person.under_one
    return person.aged_one if years == 1 and person.aged_one else person.aged


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
