"""Count the tokens of every word in the phrase tables with the real vocabularies; writes phrases/tokens.tsv.

    python packages/brainatlas-text/tools/count_tokens.py --wordpiece vocab.txt --clip bpe_simple_vocab.txt.gz

`vocab.txt` is the vocabulary of an uncased BERT, the other file the merges of CLIP (the open_clip_torch wheel
carries them). Run it after the words of a shipped phrase table change. Needs `tokenizers`.
"""

from __future__ import annotations

import argparse
import gzip
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from brainatlas_text.caption.tokens import pieces_of

PHRASES = Path(__file__).resolve().parents[1] / "src" / "brainatlas_text" / "phrases"
NOT_WORDS = ("form", "sizes", "language", "decimal", "separator", "last_separator", "after_others")
STAND_FOR = {"t0": ("t1", "t2"), "t0w": ("t1w", "t2w")}
"""Digits are counted as 0; these are the words that then stand for others."""
CLIP_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wordpiece", type=Path, required=True)
    parser.add_argument("--clip", type=Path, required=True)
    arguments = parser.parse_args()
    wordpiece, clip = wordpiece_counter(arguments.wordpiece), clip_counter(arguments.clip)
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


def wordpiece_counter(vocabulary: Path) -> Callable[[str], int]:
    """Tokens of a text in an uncased BERT vocabulary, one word piece a line."""
    pieces = vocabulary.read_text(encoding="utf-8").splitlines()
    model = models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return lambda text: len(tokenizer.encode(text).ids)


def clip_counter(merges_file: Path) -> Callable[[str], int]:
    """Tokens of a text in CLIP's byte-pair vocabulary, from its gzipped merges."""
    lines = gzip.decompress(merges_file.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    letters = pre_tokenizers.ByteLevel.alphabet()
    units = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge) for merge in merges)]
    model = models.BPE({unit: i for i, unit in enumerate(units)}, merges, end_of_word_suffix="</w>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Lowercase()
    split = pre_tokenizers.Split(Regex(CLIP_PATTERN), "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return lambda text: len(tokenizer.encode(text).ids)


if __name__ == "__main__":
    main()
