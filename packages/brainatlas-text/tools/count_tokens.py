"""Count the tokens of every word in the phrase tables with the real vocabularies; writes phrases/tokens.tsv.

    python packages/brainatlas-text/tools/count_tokens.py

Run it after the words of a shipped phrase table change. `vocabularies` says what must be installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from brainatlas_text.caption.tokens import pieces_of

sys.path.insert(0, str(Path(__file__).parent))
from vocabularies import counters

PHRASES = Path(__file__).resolve().parents[1] / "src" / "brainatlas_text" / "phrases"
NOT_WORDS = ("form", "sizes", "vocabulary", "language", "decimal", "after_others")
STAND_FOR = {"t0": ("t1", "t2"), "t0w": ("t1w", "t2w")}
"""Digits are counted as 0; these are the words that then stand for others."""


def main() -> None:
    """Count and write."""
    wordpiece, clip = counters().values()
    rows = ["word\twordpiece\tclip"]
    for word in sorted(shipped_words()):
        forms = STAND_FOR.get(word, (word,))
        rows.append(f"{word}\t{max(map(wordpiece, forms))}\t{max(map(clip, forms))}")
    (PHRASES / "tokens.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"{len(rows) - 1} words counted")


def shipped_words() -> set[str]:
    """Every word and run of punctuation that the shipped tables can write, numbers left out."""
    words: set[str] = set()
    for path in PHRASES.glob("*.toml"):
        for text in _texts(tomllib.loads(path.read_text(encoding="utf-8"))):
            words.update(pieces_of(re.sub(r"\{\w*\}", " ", text).translate(str.maketrans("[]", "  "))))
    # Punctuation that meets only when slots are filled.
    words.update(("),", ").", "):", "%)", "%),", "%).", ",", "-"))
    return {word for word in words if not word.isdecimal()}


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        spoken = [inner for key, inner in value.items() if isinstance(inner, dict) or key not in NOT_WORDS]
        return [text for inner in spoken for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


if __name__ == "__main__":
    main()
