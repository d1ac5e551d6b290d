"""Captions of a whole data set: every style and language and a user's own, checked by other code."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from brainatlas_text import BuildConfig, build, load_recipe, wording
from brainatlas_text.dataset import BrainAtlas
from brainatlas_text.errors import InputError
from brainatlas_text.recipe import to_toml

sys.path.insert(0, str(Path(__file__).parents[1] / "packages" / "brainatlas-text" / "tools"))
from check_captions import check_captions

pytestmark = pytest.mark.integration

MINE = """
language = "en"
[styles.tag]
sizes = "share"
at_most = 3
opening = ["{Sequence} | {plane} | {position} | {fraction}[ | {person}][ | {structures}]"]
"""


@pytest.fixture(scope="module")
def wordy(tiny_config: BuildConfig, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set, its blocks rendered anew with captions of every kind."""
    folder = tmp_path_factory.mktemp("wordy")
    (folder / "mine.toml").write_text(MINE, encoding="utf-8")
    out = folder / "dataset"
    shutil.copytree(tiny_dataset, out)
    recipe = load_recipe(
        str(out / "recipe.toml"),
        [
            'caption.styles=["full", "short", "largest", "report", "tag"]',
            'caption.languages=["en", "fr"]',
            f"caption.phrases=['{folder / 'mine.toml'}']",
        ],
    )
    call = [line for line in (out / "recipe.toml").read_text().splitlines() if line.startswith("#")]
    words, _ = wording.beside(recipe.caption)
    begun = to_toml(recipe.model_copy(update={"caption": words}))
    (out / "recipe.toml").write_text("\n".join([*call, begun]), encoding="utf-8")
    build(replace(tiny_config, recipe=recipe, out=out))
    return out


def test_every_caption_says_what_the_pictures_and_the_people_say(wordy: Path) -> None:
    check = check_captions(wordy, 150)
    assert not check.wrong, check.examples[:5]
    assert check.compared["key"] == 150 and check.compared["read back"] == 150 * 7


def test_a_caption_that_is_changed_is_found(wordy: Path, tmp_path: Path) -> None:
    shutil.copytree(wordy, tmp_path / "changed", ignore=shutil.ignore_patterns("work", "transforms"))
    shard = next((tmp_path / "changed" / "data").rglob("*.tar"))
    with tarfile.open(shard) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(shard, "w") as tar:
        for member, data in members:
            if member.name.endswith(".json"):
                facts = json.loads(data)
                facts["captions"][1]["text"] += " (7.3 mm²) 99"
                facts["structures"] = facts["structures"][:-1]
                facts["sex"] = "F" if facts["sex"] == "M" else "M"
                data = json.dumps(facts).encode()
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    check = check_captions(tmp_path / "changed", 10_000)
    for what in ("area", "digits left over", "stored areas", "person and sequence", "sex", "read back"):
        assert check.wrong[what] > 0, what


def test_a_data_set_holds_the_phrases_it_was_written_with(wordy: Path) -> None:
    assert (wordy / "phrases" / "mine.toml").read_text(encoding="utf-8") == MINE
    atlas = BrainAtlas(wordy)
    key = next(iter(atlas))
    with tarfile.open(wordy / atlas.shards[0].path) as tar:
        stored = json.load(tar.extractfile(f"{key}.json"))
    assert atlas[key].facts == stored
    kinds = [(c["language"], c["style"]) for c in stored["captions"]]
    english = [("en", style) for style in ("full", "short", "largest", "report", "tag")]
    assert kinds == [*english, ("fr", "full"), ("fr", "short")]


def test_words_that_cannot_be_written_end_a_build_before_it_begins(
    tiny_config: BuildConfig, tmp_path: Path
) -> None:
    recipe = load_recipe("demo", ['caption.styles=["fulll"]'])
    with pytest.raises(InputError, match="no language has sentences of style 'fulll'; en has full"):
        build(replace(tiny_config, recipe=recipe, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
