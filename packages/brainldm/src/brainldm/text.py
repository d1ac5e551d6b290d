"""Captions -> words -> vectors, from a pretrained encoder or a small one trained along.

Every encoder lies in a folder in Transformers' form. `scratch` makes such a folder in the run: a
WordPiece vocabulary learned from the data set's captions and a small BERT without weights yet.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from brainldm.errors import EncoderError
from brainldm.networks import Words
from brainldm.records import Config

logger = logging.getLogger(__name__)

NULL_CAPTION = ""
"""Encoded like any other caption; what guidance leads away from."""
SCRATCH = "scratch"
HUB_NAMES = {
    "biomedbert": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext",
    "pubmedclip": "flaviagiammarino/pubmed-clip-vit-base-patch32",
}
_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class TextConfig(Config):
    """Which encoder reads the captions. The entries from `width` on describe `scratch` alone."""

    encoder: str = SCRATCH
    """`scratch`, `biomedbert`, `pubmedclip`, a hub name, or a folder in Transformers' form."""
    max_tokens: int = Field(default=128, gt=2)
    """Longer captions are cut off here."""
    width: int = 128
    layers: int = 2
    heads: int = 4
    vocabulary: int = 2000


class Tokenizer:
    """Captions -> `Words`: each distinct caption once, padded to the longest of the batch."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._warned = False

    def __call__(self, captions: Sequence[str]) -> Words:
        """Words of N captions; `rows` is int64 [N]."""
        numbers = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
        encoded = self._tokenizer(
            list(numbers),
            padding="longest",
            truncation=True,
            max_length=self._max_tokens,
            return_tensors="pt",
        )
        mask = encoded["attention_mask"].bool()
        self._warn_if_cut(mask, list(numbers))
        rows = torch.tensor([numbers[caption] for caption in captions])
        return Words(encoded["input_ids"], mask, rows)

    def _warn_if_cut(self, mask: Tensor, captions: list[str]) -> None:
        full = (mask.sum(1) == self._max_tokens).nonzero().flatten().tolist()
        if full and not self._warned:
            self._warned = True
            logger.warning(
                "captions of text.max_tokens = %d tokens or more are cut off, the first: %.60s…",
                self._max_tokens,
                captions[full[0]],
            )


class TextEncoder(nn.Module):
    """Token numbers [U, T] and mask [U, T] -> vectors [U, T, width]."""

    def __init__(self, model: nn.Module, width: int, *, trained: bool) -> None:
        super().__init__()
        self.model = model
        self.width = width
        self.trained = trained
        if not trained:
            self.requires_grad_(False)

    def train(self, mode: bool = True) -> TextEncoder:
        """A frozen encoder never leaves evaluation mode."""
        return super().train(mode and self.trained)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The last hidden state."""
        with torch.set_grad_enabled(self.trained and torch.is_grad_enabled()):
            vectors: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return vectors


def prepare_scratch(config: TextConfig, folder: Path, captions: Iterable[str]) -> None:
    """Learns the vocabulary from the captions and writes the encoder's folder, once.

    The folder is written aside and renamed; one that exists is left as it is.
    """
    if folder.is_dir():
        return
    from tokenizers import Tokenizer as WordPiece
    from tokenizers import models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for caption in captions:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(caption)))
    vocabulary = wordpiece_vocabulary(words, config.vocabulary)
    tokenizer = WordPiece(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    partial = folder.with_name(folder.name + ".partial")
    names = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(partial)
    BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=4 * config.width,
        max_position_embeddings=config.max_tokens,
        hidden_dropout_prob=0.0,  # training draws all its chance from (seed, position): data.chance
        attention_probs_dropout_prob=0.0,
    ).save_pretrained(partial)
    partial.rename(folder)


def wordpiece_vocabulary(words: Counter[str], size: int) -> dict[str, int]:
    """Piece -> number: special tokens, every character at the start and within a word, frequent words.

    Captions are made of few words, so whole words suit them; anything else falls to characters. Written
    here because the trainer of `tokenizers` 0.23 gives another vocabulary each time.
    """
    characters = sorted({character for word in words for character in word})
    frequent = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    pieces = [*_SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters), *frequent]
    return {piece: number for number, piece in enumerate(pieces[:size])}


def load_text(config: TextConfig, scratch_folder: Path) -> tuple[Tokenizer, TextEncoder]:
    """Tokenizer and encoder; `scratch` has random weights, to be trained or loaded by the caller.

    Raises:
        EncoderError: the encoder cannot be had, lacks a tokenizer, or reads fewer tokens than asked.
    """
    from transformers import AutoConfig, AutoTokenizer

    scratch = config.encoder == SCRATCH
    place = str(scratch_folder) if scratch else HUB_NAMES.get(config.encoder, config.encoder)
    _check_folder(config.encoder, place)
    try:
        settings = AutoConfig.from_pretrained(place)
        tokenizer = AutoTokenizer.from_pretrained(place)
        model = _build_model(place, settings, weights=not scratch)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EncoderError(
            f"text.encoder = {config.encoder}: cannot be loaded ({reason}); with internet run "
            f"`hf download {place} --local-dir ./encoder`, then give --set text.encoder=./encoder"
        ) from None
    settings = getattr(settings, "text_config", None) or settings
    if config.max_tokens > settings.max_position_embeddings:
        raise EncoderError(
            f"text.encoder = {config.encoder} reads {settings.max_position_embeddings} tokens, "
            f"text.max_tokens is {config.max_tokens}; lower it"
        )
    return Tokenizer(tokenizer, config.max_tokens), TextEncoder(model, settings.hidden_size, trained=scratch)


def _check_folder(encoder: str, place: str) -> None:
    """Says what is missing before Transformers looks for it on the hub."""
    folder = Path(place).expanduser()
    if folder.is_dir():
        needed = {
            "config.json": ("config.json",),
            "a tokenizer": ("tokenizer.json", "vocab.txt", "vocab.json"),
        }
        for what, names in needed.items():
            if not any((folder / name).is_file() for name in names):
                raise EncoderError(
                    f"{folder}: expected a Transformers folder, found no {' or '.join(names)} ({what})"
                )
    elif place.startswith((".", "/", "~")):
        raise EncoderError(f"text.encoder = {encoder}: no such folder; expected one in Transformers' form")


def _build_model(place: str, settings: Any, *, weights: bool) -> nn.Module:
    from transformers import AutoModel, CLIPTextModel

    if settings.model_type in ("clip", "clip_text_model"):
        clip: nn.Module = CLIPTextModel.from_pretrained(place)
        return clip
    pooling = {"add_pooling_layer": False} if settings.model_type == "bert" else {}
    if weights:
        pretrained: nn.Module = AutoModel.from_pretrained(place, **pooling)
        return pretrained
    # plain attention: torch's fused kernel has a slow backward pass on CPUs, and captions are short
    fresh: nn.Module = AutoModel.from_config(settings, attn_implementation="eager", **pooling)
    return fresh
