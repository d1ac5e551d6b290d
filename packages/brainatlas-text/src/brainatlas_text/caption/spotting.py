"""Find the phrases of a table in a text by a trie over words; case, spacing and hyphens are free."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from brainatlas_text.caption.template import Template

Meaning = TypeVar("Meaning")
NUMBER = r"(\d+(?:[.,]\d+)?)"
Word = tuple[str, int, int]
_WORD = re.compile(r"\w+")
_BETWEEN = re.compile(r"[\s'\u2019-]*")
_FREE = {"": r"\s+", "-": r"[\s-]?"}


@dataclass(frozen=True, slots=True)
class Spot(Generic[Meaning]):
    """A phrase found in a text."""

    start: int
    end: int
    meaning: Meaning


class Spotter(Generic[Meaning]):
    """Phrases that each stand for a meaning; of phrases that begin at one word the longest is found."""

    def __init__(self) -> None:
        self._trie: dict[str, Any] = {}

    def learn(self, phrase: str, meaning: Meaning) -> None:
        """Add a phrase; the first meaning of a phrase stays."""
        node = self._trie
        for word in _WORD.findall(phrase.lower()):
            node = node.setdefault(word, {})
        node.setdefault("", meaning)

    def spots(self, words: Sequence[Word], text: str) -> list[Spot[Meaning]]:
        """All phrases in a text, in order, none overlapping another; `words` are those of the text."""
        found: list[Spot[Meaning]] = []
        next_free = 0
        for at, (word, start, _) in enumerate(words):
            if word in self._trie and at >= next_free:
                length, meaning = self._longest(words, at, text)
                if length:
                    next_free = at + length
                    found.append(Spot(start, words[next_free - 1][2], meaning))
        return found

    def _longest(self, words: Sequence[Word], at: int, text: str) -> tuple[int, Any]:
        """Number of words of the longest phrase that begins at a word (0 if none does), and its meaning."""
        length, meaning, node = 0, None, self._trie
        for place in range(at, len(words)):
            word, start, _ = words[place]
            if word not in node or (place > at and not _BETWEEN.fullmatch(text, words[place - 1][2], start)):
                break
            node = node[word]
            if "" in node:
                length, meaning = place - at + 1, node[""]
        return length, meaning


def words_of(text: str) -> list[Word]:
    """The words of a text in small letters, with start and end."""
    return [(found[0].lower(), found.start(), found.end()) for found in _WORD.finditer(text)]


def pattern_of(template: Template, **slots: str) -> re.Pattern[str]:
    """A template as a pattern to search for, each slot replaced by a regular expression.

    The article {a} may be missing in the text, with the space after it.
    """
    pieces = re.split(r"\{(\w+)\}(\s*)", template.pattern)
    text = spoken(pieces[0])
    for slot, space, literal in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        # "12mm" is as good as "12 mm"; two words are not one.
        gap = "" if not space else r"\s*" if "\\d" in slots[slot] else r"\s+"
        text += (f"(?:{slots[slot]}{gap})?" if slot == "a" else slots[slot] + gap) + spoken(literal)
    # Neither a word nor a number may be found within a longer one.
    before = "" if template.pattern.startswith("(") else r"(?<!\w)"
    return re.compile(before + text + r"(?!\w)", re.IGNORECASE)


def any_of(words: Iterable[str]) -> str:
    """One of the words, the longest that fits, as a group."""
    return "(" + "|".join(spoken(word) for word in sorted(words, key=len, reverse=True)) + ")"


def spoken(words: str) -> str:
    """Words as a regular expression in which spaces and hyphens are free."""
    pieces = re.split(r"(\s+|-)", words)
    return "".join(_FREE[piece.strip()] if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))


def number(text: str, decimal: str) -> float:
    """A number with point or comma; three digits after the mark that is not `decimal` make thousands."""
    whole, mark, rest = text.partition("." if decimal == "," else ",")
    return float(whole + rest) if mark and len(rest) == 3 else float(text.replace(",", "."))
