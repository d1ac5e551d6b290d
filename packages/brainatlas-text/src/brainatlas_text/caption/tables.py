"""Phrase files as checked tables: every complaint names the file and the line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from brainatlas_text.caption.template import Template, TemplateError, parse
from brainatlas_text.errors import PhraseError

_ADDED_TO = ("person", "position", "styles")
"""Tables whose lists an extra file adds to; elsewhere it replaces."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one phrase file, to name its lines."""

    name: str
    text: str


@dataclass(slots=True)
class Table:
    """One table of a phrase file; what is taken is checked, what is left over at `close` is refused."""

    entries: dict[str, Any]
    path: str
    sources: tuple[Source, ...]

    def fail(self, message: str, *needles: str) -> NoReturn:
        """Raise PhraseError at the first line that holds one of the needles."""
        raise PhraseError(f"{locate(self.sources, needles)}: {message}")

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        """Remove and return an entry of a kind; `default` where it is missing, if one is given."""
        if key not in self.entries:
            if default is ...:
                last = self.path.rpartition(".")[2]
                self.fail(f"[{self.path or 'top level'}] lacks {key!r}; add it", f"[{self.path}]", last)
            return default
        value = self.entries.pop(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            self.fail(f"{self._full(key)} has the wrong type: {value!r}", key)
        return value

    def table(self, key: str, *, optional: bool = False) -> Table:
        """A table within this one; empty where it is missing and optional."""
        entries = dict(self.take(key, dict, {} if optional else ...))
        return Table(entries, self._full(key), self.sources)

    def tables(self) -> dict[str, Table]:
        """All entries, each a table."""
        return {key: self.table(key) for key in tuple(self.entries)}

    def words(self, key: str, *, optional: bool = False) -> tuple[str, ...]:
        """A list of strings (or one string); empty only where it is missing and optional."""
        value = self.take(key, (str, list), [] if optional else ...)
        words = (value,) if isinstance(value, str) else tuple(value)
        if not all(isinstance(word, str) and word for word in words) or not (words or optional):
            self.fail(f"{self._full(key)} must be a list of words, got {value!r}", key)
        return words

    def templates(
        self, key: str, slots: Iterable[str], *, brackets: bool = False, optional: bool = False
    ) -> tuple[Template, ...]:
        """A list of templates that use only these slots."""
        known = frozenset(slots)
        return tuple(self._template(source, known, brackets) for source in self.words(key, optional=optional))

    def _template(self, source: str, known: frozenset[str], brackets: bool) -> Template:
        try:
            template = parse(source, known)
        except TemplateError as error:
            self.fail(f"{error}, in {source!r}", source, self.path)
        if not brackets and any(part.optional for part in template.parts):
            self.fail(f"[brackets] have no meaning here, in {source!r}", source)
        if "  " in source or source != source.strip():
            self.fail(f"spaces doubled or at an end, in {source!r}", source)
        return template

    def close(self, known: Iterable[str] = ()) -> None:
        """Refuse what was not taken."""
        for key in self.entries:
            near = difflib.get_close_matches(key, list(known), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; remove it"
            self.fail(f"unknown key {self._full(key)!r}{hint}", f"{key} ", f"{key}=", f"{key}]", key)

    def _full(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def language_of(file: Path) -> str:
    """The language that a phrase file names."""
    source = Source(str(file), _read(file))
    return str(Table(_parse(source), "", (source,)).take("language", str))


def read_tables(language: str, extra: Sequence[Path]) -> Table:
    """The shipped table of a language with extra files merged into it; those alone for a new language."""
    folder = resources.files("brainatlas_text") / "phrases"
    shipped = folder / f"{language}.toml"
    merged: dict[str, Any] = {}
    sources: list[Source] = []
    if shipped.is_file():
        sources.append(Source(f"{language}.toml", shipped.read_text(encoding="utf-8")))
    elif not extra:
        known = sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))
        raise PhraseError(f"language {language!r}: no phrase table; known: {', '.join(known)}")
    sources += [Source(str(file), _read(file)) for file in extra]
    for source in sources:
        merged = _merge(merged, _parse(source), path="")
    table = Table(merged, "", tuple(reversed(sources)))
    if merged.get("language") != language:
        table.fail(f"language is {merged.get('language')!r}, expected {language!r}", "language")
    return table


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PhraseError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def _parse(source: Source) -> dict[str, Any]:
    try:
        return tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{source.name}:{line[1]}" if line else source.name
        raise PhraseError(f"{where}: not valid TOML: {error}") from error


def _merge(base: dict[str, Any], extra: dict[str, Any], path: str) -> dict[str, Any]:
    """`extra` over `base`: tables merge, sentence lists are joined, everything else is replaced."""
    merged = dict(base)
    for key, value in extra.items():
        old = merged.get(key)
        inner = f"{path}.{key}" if path else key
        joins = inner.split(".")[0] in _ADDED_TO and not inner.startswith("person.nouns")
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value, inner)
        elif isinstance(old, list) and isinstance(value, list) and joins and key != "after_others":
            merged[key] = old + [item for item in value if item not in old]
        else:
            merged[key] = value
    return merged


def locate(sources: tuple[Source, ...], needles: tuple[str, ...]) -> str:
    """`file:line` of the first needle found, later files first; the file alone when none is."""
    for needle in needles:
        for source in sources:
            text = source.text.replace("\\u00a0", "\u00a0")  # a needle comes from parsed text
            for number, line in enumerate(text.splitlines(), start=1):
                if needle and needle in line and not line.lstrip().startswith("#"):
                    return f"{source.name}:{number}"
    return sources[0].name if sources else "phrases"
