"""Load the phrase tables of a language: shipped TOML, a user's additions merged in, everything checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import get_args

from brainatlas_text.caption.phrases import (
    Article,
    Grown,
    PersonPhrases,
    Phrases,
    PositionPhrases,
    Side,
    Sizes,
    StructurePhrases,
    Style,
)
from brainatlas_text.caption.tables import Table, language_of, read_tables
from brainatlas_text.caption.template import Template
from brainatlas_text.caption.tokens import COSTS, MARKS, Budget
from brainatlas_text.errors import PhraseError
from brainatlas_text.records import PLANES, SEQUENCES, Plane, Sex

ALWAYS_KNOWN = frozenset(("sequence", "Sequence", "plane", "Plane", "position", "fraction"))
WITH_ARTICLE = frozenset(("a_sequence", "A_sequence", "a_plane", "A_plane"))
SIDE_LISTS = frozenset(get_args(Side))
MAY_BE_UNKNOWN = frozenset(("person", "structures")) | SIDE_LISTS
STYLE_KEYS = (
    *("opening", "body", "sizes", "at_most", "smallest_mm2", "after_others", "max_tokens", "vocabulary"),
    *PLANES,
)
MIDLINE = "midline"
"""The form of a structure that has no left and right."""


def load_phrases(language: str, *extra: Path) -> Phrases:
    """The phrases of a language; `extra` are TOML files that add sentences and replace words, in turn.

    Raise PhraseError, which names file and line, for a table that is malformed or incomplete.
    """
    return _load(read_tables(language, extra)) if extra else _load_shipped(language)


def phrases_of(languages: Iterable[str], files: Iterable[Path]) -> dict[str, Phrases]:
    """The phrases of some languages; each file adds to the language that it names.

    Raise PhraseError for a file of another language, besides what `load_phrases` raises.
    """
    added: dict[str, list[Path]] = {language: [] for language in languages}
    for file in files:
        if (language := language_of(file)) not in added:
            raise PhraseError(
                f"{file}: its language is {language!r}, captions are written in {', '.join(added)};"
                " add it to caption.languages or leave the file out"
            )
        added[language].append(file)
    return {language: load_phrases(language, *extra) for language, extra in added.items()}


@cache
def _load_shipped(language: str) -> Phrases:
    return _load(read_tables(language, ()))


def _load(top: Table) -> Phrases:
    known = tuple(top.entries)
    article, sides, sizes = _article(top), _sides(top), top.table("sizes")
    slots = ALWAYS_KNOWN | {"person", "structures"} | frozenset(sides)
    phrases = Phrases(
        language=top.take("language", str),
        sources=top.sources,
        decimal=top.take("decimal", str),
        separator=top.take("separator", str),
        last_separator=top.take("last_separator", str),
        between_two=top.take("between_two", str),
        articles=top.words("articles", optional=True),
        article=article,
        words={"sequence": _words(top, "sequence", SEQUENCES), "plane": _words(top, "plane", PLANES)},
        person=_person(top, article),
        position=_position(top),
        area=_one(sizes, "area", ("area",)),
        areas=_one(sizes, "areas", ("left", "right")),
        share=_one(sizes, "share", ("share",)),
        sides=sides,
        structures=_structures(top),
        styles=_styles(top, slots | WITH_ARTICLE if article else slots),
    )
    sizes.close(("area", "areas", "share"))
    top.close(known)
    _refuse_spoken_facts(top, phrases)
    return phrases


def _article(top: Table) -> Article | None:
    table = top.table("article", optional=True)
    if not table.entries:
        return None
    article = Article(
        usual=table.words("usual")[0],
        special=table.words("special")[0],
        before_words=frozenset(table.words("before_words", optional=True)),
        before_ages=frozenset(table.take("before_ages", list, [])),
    )
    table.close(("usual", "special", "before_words", "before_ages"))
    return article


def _words(top: Table, key: str, values: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    table = top.table(key)
    words = {value: table.words(value) for value in values}
    table.close(values)
    return words


def _one(table: Table, key: str, slots: tuple[str, ...]) -> Template:
    """A single template that must hold all its slots."""
    template, *others = table.templates(key, slots)
    if others or template.slots != set(slots):
        table.fail(f"{table.path}.{key} must be one phrase with {{{'} and {'.join(slots)}}}", f"{key} =")
    return template


def _person(top: Table, article: Article | None) -> PersonPhrases:
    table = top.table("person")
    nouns = table.table("nouns")
    slots = ("a", "who") if article else ("who",)
    person = PersonPhrases(
        adult_from=table.take("adult_from", int),
        nouns={
            (grown, sex): nouns.words(f"{grown}_{sex}" if sex else grown)
            for grown in get_args(Grown)
            for sex in (*get_args(Sex), None)
            if sex or grown != "ageless"
        },
        aged=_with_all(table, "aged", (*slots, "age"), {"age", "who"}),
        aged_one=table.templates("aged_one", slots, optional=True),
        under_one=table.templates("under_one", slots),
        ageless=table.templates("ageless", slots),
        juvenile=table.templates("juvenile", ()),
    )
    nouns.close(f"{grown}_{sex}" if sex else grown for grown, sex in person.nouns)
    table.close(("adult_from", "nouns", "aged", "aged_one", "under_one", "ageless", "juvenile"))
    return person


def _with_all(table: Table, key: str, slots: tuple[str, ...], needed: set[str]) -> tuple[Template, ...]:
    """Templates that must each hold the needed slots."""
    templates = table.templates(key, slots)
    for template in templates:
        for slot in sorted(needed - template.slots):
            table.fail(f"{table.path}.{key} needs {{{slot}}}, in {template.source!r}", template.source)
    return templates


def _position(top: Table) -> dict[Plane, PositionPhrases]:
    planes = top.table("position")
    position: dict[Plane, PositionPhrases] = {}
    for plane in PLANES:
        table = planes.table(plane)
        position[plane] = PositionPhrases(
            plus=_with_all(table, "plus", ("mm",), {"mm"}),
            minus=_with_all(table, "minus", ("mm",), {"mm"}),
            zero=table.templates("zero", ()),
            fraction=_with_all(table, "fraction", ("percent",), {"percent"}),
            first=table.templates("first", (), optional=True),
            last=table.templates("last", (), optional=True),
        )
        table.close(("plus", "minus", "zero", "fraction", "first", "last"))
    planes.close(PLANES)
    return position


def _sides(top: Table) -> dict[Side, Template]:
    table = top.table("sides", optional=True)
    if not table.entries:
        return {}
    sides: dict[Side, Template] = {side: _one(table, side, ("structures",)) for side in get_args(Side)}
    table.close(get_args(Side))
    return sides


def _structures(top: Table) -> dict[str, StructurePhrases]:
    sides = ("left", "right", "both")
    forms: dict[str, dict[str, tuple[Template, ...]]] = {}
    for name, table in top.table("forms").tables().items():
        forms[name] = {side: table.templates(side, ("one", "many")) for side in sides}
        table.close(sides)
    structures: dict[str, StructurePhrases] = {}
    for name, table in top.table("structures").tables().items():
        form = table.take("form", str, next(iter(forms)) if len(forms) == 1 else ...)
        one, many = table.words("one"), table.words("many", optional=True)
        if form != MIDLINE and form not in forms:
            known = ", ".join((*forms, MIDLINE))
            table.fail(f"{name!r} has form {form!r}; known: {known}", f'"{name}" =', name)
        if form != MIDLINE and not many:
            table.fail(
                f"{name!r} has no plural; add many = [...] or form = {MIDLINE!r}", f'"{name}" =', f"{name} ="
            )
        table.close(("one", "many", "form"))
        structures[name] = _structure(one, many, forms.get(form, {}))
    return structures


def _structure(
    one: tuple[str, ...], many: tuple[str, ...], forms: Mapping[str, tuple[Template, ...]]
) -> StructurePhrases:
    """Fill the forms with the words; the first with the first is what is written."""

    def filled(side: str) -> tuple[str, ...]:
        pairs = [(o, m) for o in one for m in (many or ("",))]
        phrases = [t.pattern.format(one=o, many=m) for o, m in pairs for t in forms.get(side, ())]
        return tuple(dict.fromkeys(phrases))

    return StructurePhrases(
        midline=not forms,
        one=one,
        many=many,
        left=filled("left"),
        right=filled("right"),
        both=filled("both"),
    )


def _styles(top: Table, slots: frozenset[str]) -> dict[str, Style]:
    return {name: _style(table, slots) for name, table in top.table("styles").tables().items()}


def _style(table: Table, slots: frozenset[str]) -> Style:
    sizes = table.take("sizes", str)
    if sizes not in get_args(Sizes):
        table.fail(f"{table.path}.sizes is {sizes!r}; known: {', '.join(get_args(Sizes))}", f'"{sizes}"')
    opening = table.templates("opening", slots, brackets=True, optional=True)
    body = table.templates("body", slots, brackets=True, optional=True)
    own: dict[Plane, dict[str, tuple[Template, ...]]] = {}
    for plane in PLANES:
        of_plane = table.table(plane, optional=True)
        own[plane] = {
            key: of_plane.templates(key, slots, brackets=True, optional=True) for key in ("opening", "body")
        }
        of_plane.close(("opening", "body"))
    style = Style(
        opening={plane: (*opening, *own[plane]["opening"]) for plane in PLANES},
        body={plane: (*body, *own[plane]["body"]) for plane in PLANES},
        sizes=sizes,
        at_most=table.take("at_most", int, None),
        smallest_mm2=float(table.take("smallest_mm2", (int, float), 0.0)),
        after_others=frozenset(table.words("after_others", optional=True)),
        budget=_budget(table),
    )
    table.close(STYLE_KEYS)
    _check_style(table, style)
    return style


def _budget(table: Table) -> Budget:
    max_tokens, vocabulary = table.take("max_tokens", int, 512), table.take("vocabulary", str, "wordpiece")
    if vocabulary not in COSTS:
        known = ", ".join(COSTS)
        table.fail(f"{table.path}.vocabulary is {vocabulary!r}; known: {known}", f'"{vocabulary}"')
    if max_tokens <= MARKS:
        table.fail(f"{table.path}.max_tokens must be over {MARKS}, got {max_tokens}", "max_tokens =")
    return Budget(max_tokens, vocabulary)


def _check_style(table: Table, style: Style) -> None:
    for plane, opening in style.opening.items():
        if not opening:
            table.fail(f"{table.path} has no opening for {plane} slices; add one", f"[{table.path}]")
    for template in (template for opening in style.opening.values() for template in opening):
        for slot in sorted(template.required & MAY_BE_UNKNOWN):
            problem = f"{{{slot}}} may be unknown; put it in [brackets]"
            table.fail(f"{problem}, in {template.source!r}", template.source)
    if any("structures" in template.slots for template in style.templates):
        for template in style.templates:
            for slot in sorted(template.slots & SIDE_LISTS):
                problem = f"{{{slot}}} in a style with {{structures}} would name structures twice"
                table.fail(f"{problem}, in {template.source!r}", template.source)


def _refuse_spoken_facts(top: Table, phrases: Phrases) -> None:
    """Refuse a sentence whose own words would be read back as a fact, or that guesses an article."""
    words = [word for values in phrases.words.values() for said in values.values() for word in said]
    words += [word for s in phrases.structures.values() for word in (*s.one, *s.many)]
    words += [noun for nouns in phrases.person.nouns.values() for noun in nouns]
    longest_first = sorted(map(re.escape, words), key=len, reverse=True)
    spoken = re.compile(r"(?<!\w)(?:" + "|".join(longest_first) + r")(?!\w)", re.IGNORECASE)
    for template in (template for style in phrases.styles.values() for template in style.templates):
        if found := spoken.search(template.literal):
            problem = f"the sentence itself says {found[0]!r}, which only a field may say"
            top.fail(f"{problem}, in {template.source!r}", template.source)
        if phrases.article and (found := phrases.article.before_field.search(template.source)):
            slot = f"{{{found[1][0]}_{found[2]}}}"
            top.fail(
                f"{found[0]!r} guesses the article; write {slot}, in {template.source!r}", template.source
            )
