"""Token budgets: how long a caption may be for the text encoder that will read it.

A text costs the sum of its space-separated chunks, each counted once and remembered: both vocabularies split
at spaces before anything else. `phrases/tokens.tsv` holds the counted cost of every word of the shipped
phrases. A word it lacks counts one token a byte, a number the most that any number of so many digits takes,
so that a text never takes more than is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

Vocabulary = Literal["wordpiece", "clip"]
MARKS = 2
"""Tokens at the start and the end that every text takes besides its own."""
_PIECES = re.compile(r"[^\W_]+|[^\w\s]+|_")
_ZERO = str.maketrans("123456789", "0" * 9)
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)


class ChunkCosts(dict[bytes, int]):
    """Cost in tokens of a text without spaces, counted when first asked for. Digits all read 0."""

    def __init__(self, count: Callable[[str], int]) -> None:
        super().__init__()
        self._count = count

    def __missing__(self, chunk: bytes) -> int:
        cost = self[chunk] = self._count(chunk.decode())
        return cost

    def of(self, text: str) -> int:
        """Tokens of a whole text, start and end marks not included."""
        # As bytes: str.translate is some thirty times slower once a text holds a ².
        return sum(map(self.__getitem__, text.encode().translate(_DIGITS_TO_ZERO).split()))


@dataclass(frozen=True, slots=True)
class Budget:
    """The most tokens a caption may take."""

    max_tokens: int
    """Start and end marks included."""
    vocabulary: Vocabulary

    @property
    def limit(self) -> int:
        """The most tokens of the text itself."""
        return self.max_tokens - MARKS

    def cost(self, text: str) -> int:
        """Counted tokens of a text, start and end marks not included."""
        return COSTS[self.vocabulary].of(text)


def count_chunk(chunk: str, vocabulary: Vocabulary) -> int:
    """Upper bound of the tokens in a text without spaces, from the counted words."""
    column = 0 if vocabulary == "wordpiece" else 1
    known = _counted_words()
    total = 0
    for piece in pieces_of(chunk):
        if piece in known:
            total += known[piece][column]
        elif piece.isdecimal():
            total += max(1, len(piece) - 1) if vocabulary == "wordpiece" else len(piece)
        else:
            total += len(piece.encode())
    return total


def pieces_of(text: str) -> list[str]:
    """Words and runs of punctuation in small letters, digits read as 0: what tokens are counted for."""
    pieces: list[str] = _PIECES.findall(text.lower().translate(_ZERO))
    return pieces


@cache
def _counted_words() -> dict[str, tuple[int, int]]:
    """Word -> tokens in (WordPiece, CLIP)."""
    rows = [line.split("\t") for line in tokens_table().splitlines()[1:]]
    return {word: (int(wordpiece), int(clip)) for word, wordpiece, clip in rows}


def tokens_table() -> str:
    """The text of `phrases/tokens.tsv`."""
    return (resources.files("brainatlas_text") / "phrases" / "tokens.tsv").read_text(encoding="utf-8")


COSTS: dict[Vocabulary, ChunkCosts] = {
    "wordpiece": ChunkCosts(lambda chunk: count_chunk(chunk, "wordpiece")),
    "clip": ChunkCosts(lambda chunk: count_chunk(chunk, "clip")),
}
"""Costs in an uncased BERT vocabulary and in CLIP's, each chunk counted once a process."""
