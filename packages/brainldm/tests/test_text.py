from pathlib import Path

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from brainldm.errors import EncoderError
from brainldm.text import NULL_CAPTION, TextConfig, load_text, prepare_scratch

pytestmark = pytest.mark.unit

CONFIG = TextConfig(width=16, layers=1, heads=2, max_tokens=24, vocabulary=120)
CAPTIONS = [
    f"A {sequence} {plane} slice of the brain of a {age}-year-old woman, {age % 7} mm above the origin."
    for sequence in ("T1-weighted", "T2-weighted", "FLAIR")
    for plane in ("axial", "coronal", "sagittal")
    for age in range(20, 60, 7)
]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text") / "encoder"
    prepare_scratch(CONFIG, folder, CAPTIONS)
    return folder


def test_the_vocabulary_is_the_captions_own_and_repeats(scratch: Path, tmp_path: Path):
    prepare_scratch(CONFIG, tmp_path / "encoder", CAPTIONS)
    assert (tmp_path / "encoder" / "tokenizer.json").read_bytes() == (scratch / "tokenizer.json").read_bytes()
    tokenizer, _ = load_text(CONFIG, scratch)
    words = tokenizer(["A T2-weighted axial slice", "FLAIR"])
    tokens = PreTrainedTokenizerFast.from_pretrained(scratch).convert_ids_to_tokens(words.ids[0].tolist())
    assert tokens[0] == "[CLS]" and "weighted" in tokens and "axial" in tokens and "[UNK]" not in tokens


def test_each_distinct_caption_is_tokenized_once_and_padded_to_the_longest(scratch: Path):
    tokenizer, _ = load_text(CONFIG, scratch)
    words = tokenizer([CAPTIONS[0], NULL_CAPTION, CAPTIONS[0], "slice"])
    assert words.rows.tolist() == [0, 1, 0, 2] and words.ids.shape == words.mask.shape
    assert words.mask.sum(1).tolist() == [words.ids.shape[1], 2, 3]  # the empty caption is [CLS] [SEP]


def test_vectors_of_a_caption_do_not_depend_on_its_batch(scratch: Path):
    tokenizer, encoder = load_text(CONFIG, scratch)
    alone, together = tokenizer(["axial slice"]), tokenizer(["axial slice", CAPTIONS[0]])
    length = alone.ids.shape[1]
    with torch.no_grad():
        expected = encoder(alone.ids, alone.mask)
        found = encoder(together.ids, together.mask)[:1, :length]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert expected.shape == (1, length, 16) and encoder.width == 16


def test_a_scratch_encoder_learns_and_a_pretrained_one_does_not(scratch: Path):
    tokenizer, encoder = load_text(CONFIG, scratch)
    words = tokenizer(["axial"])
    encoder(words.ids, words.mask).square().sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())
    encoder.model.save_pretrained(scratch)
    _, frozen = load_text(CONFIG.model_copy(update={"encoder": str(scratch)}), Path("unused"))
    frozen.train()
    assert not frozen.model.training and not frozen(words.ids, words.mask).requires_grad


def test_a_caption_that_is_cut_off_is_said_once(scratch: Path, caplog: pytest.LogCaptureFixture):
    tokenizer, _ = load_text(CONFIG, scratch)
    long = " ".join(CAPTIONS)
    assert tokenizer([long]).ids.shape == (1, 24)
    tokenizer([long])
    assert [record.message for record in caplog.records if "cut off" in record.message] == [
        f"captions of text.max_tokens = 24 tokens or more are cut off, the first: {long[:60]}…"
    ]


def test_a_clip_text_encoder_is_read_from_its_folder(scratch: Path, tmp_path: Path):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(scratch)
    tokenizer.save_pretrained(tmp_path)
    clip = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=77,
        eos_token_id=tokenizer.sep_token_id,
    )
    CLIPTextModel(clip).save_pretrained(tmp_path)
    tokenize, encoder = load_text(TextConfig(encoder=str(tmp_path), max_tokens=77), Path("unused"))
    words = tokenize([CAPTIONS[0]])
    assert encoder(words.ids, words.mask).shape == (1, words.ids.shape[1], 8) and not encoder.trained
    with pytest.raises(EncoderError, match=r"reads 77 tokens, text\.max_tokens is 128; lower it"):
        load_text(TextConfig(encoder=str(tmp_path)), Path("unused"))


def test_an_encoder_that_cannot_be_had_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderError) as caught:
        load_text(TextConfig(encoder="biomedbert"), tmp_path)
    assert "hf download microsoft/BiomedNLP" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(EncoderError, match="no such folder"):
        load_text(TextConfig(encoder="./nowhere"), tmp_path)
    with pytest.raises(EncoderError, match=r"found no config\.json"):
        load_text(TextConfig(encoder=str(tmp_path)), tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        EncoderError, match=r"found no tokenizer.json or vocab.txt or vocab.json \(a tokenizer\)"
    ):
        load_text(TextConfig(encoder=str(tmp_path)), tmp_path)
