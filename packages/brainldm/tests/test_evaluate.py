"""An evaluation tells good models from bad ones, repeats, and says what it lacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from numpy.typing import NDArray
from PIL import Image

from brainldm.data import DataConfig, open_samples
from brainldm.errors import CheckpointError, DataError
from brainldm.evaluate import EvaluateConfig, Evaluation, evaluate, evaluate_run
from brainldm.judge import JudgeConfig
from brainldm.records import Sample
from brainldm.scores import to_json, to_markdown, to_tables

pytestmark = pytest.mark.unit

DATA = DataConfig(crop=192, image_size=32)
CONFIG = EvaluateConfig(
    num_reconstructed=48, num_generated=36, num_real=36, judge=JudgeConfig(steps=80, batch_size=32)
)
FAST = CONFIG.model_copy(update={"judge": JudgeConfig(steps=3)})
"""Where it does not matter what the judge has learned."""
SEQUENCE_WORDS = ("T1-weighted", "T2-weighted", "FLAIR")
FID = "FID (pyramid-112 features)"
Splits = dict[str, list[Sample]]


class CopyingModel:
    """Draws a training slice whose caption names the same sequence and plane; rebuilds with a blur."""

    def __init__(self, train: list[Sample], blur: float = 0.0, swap: dict[str, str] | None = None) -> None:
        self.train = train
        self.blur = blur
        self.swap = swap or {}
        self.seeds: list[int] = []

    def generate(
        self,
        prompts: Sequence[str],
        seed: int | Sequence[int] = 0,
        *,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> NDArray[np.uint8]:
        assert not isinstance(seed, int)
        self.seeds += seed
        return self.reconstruct(np.stack([self._draw(p, s) for p, s in zip(prompts, seed, strict=True)]))

    def _draw(self, prompt: str, seed: int) -> NDArray[np.uint8]:
        wanted = next(word for word in SEQUENCE_WORDS if word in prompt)
        plane = prompt.split(wanted)[1].split()[0]
        start = f"{self.swap.get(wanted, wanted)} {plane} "
        fitting = [sample.image for sample in self.train if start in sample.caption]
        return fitting[np.random.default_rng(seed).integers(len(fitting))]

    def reconstruct(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return scipy.ndimage.gaussian_filter(images.astype(float), (0, self.blur, self.blur)).astype(np.uint8)


@pytest.fixture(scope="module")
def by_split(dataset: Path) -> Splits:
    return {
        split: [varied(sample) for sample in open_samples(dataset, DATA, split=split)]
        for split in ("train", "test")
    }


def varied(sample: Sample) -> Sample:
    """People of the tiny data set all look the same: gives each a brightness, and each slice a place."""
    rng = np.random.default_rng(list(sample.key.encode()))
    brightness = 1 - 0.03 * int(sample.facts["subject"][-1])
    moved = np.roll(sample.image, rng.integers(-2, 3, 2), axis=(0, 1))
    return replace(sample, image=(brightness * moved).astype(np.uint8))


@pytest.fixture(scope="module")
def good(by_split: Splits) -> Evaluation:
    return evaluate(CopyingModel(by_split["train"]), by_split, CONFIG)


@pytest.fixture(scope="module")
def bad(by_split: Splits) -> Evaluation:
    """Blurs, and answers T1 with T2 and back."""
    swap = {"T1-weighted": "T2-weighted", "T2-weighted": "T1-weighted"}
    model = CopyingModel(by_split["train"], blur=1.5, swap=swap)
    return evaluate(model, by_split, CONFIG)


def test_a_perfect_model_scores_like_real_images(good: Evaluation) -> None:
    scores = good.scores
    for people in ("training", "unseen"):
        assert scores.find("MS-SSIM", people).estimate.value == pytest.approx(1.0)
        obeyed = scores.find("sequence as asked", people)
        assert obeyed.estimate.value > 0.9
        assert obeyed.real is not None and obeyed.real.value > 0.9
        distance = scores.find(FID, people)
        assert distance.real is not None
        assert distance.estimate.value < 2 * distance.real.value


def test_a_worse_model_scores_worse(good: Evaluation, bad: Evaluation) -> None:
    for people in ("training", "unseen"):
        assert bad.scores.find("MS-SSIM", people).estimate.value < 0.9
        whole, box = (bad.scores.find(f"MS-SSIM{w}", people) for w in ("", " inside the brain's box"))
        assert box.estimate.value < whole.estimate.value
        assert bad.scores.find(FID, people).estimate.value > 3 * good.scores.find(FID, people).estimate.value
        assert bad.scores.find("sequence as asked", people).estimate.value < 0.5
        assert bad.scores.find("plane as asked", people).estimate.value > 0.5


def test_figures_say_how_many_images_and_people(good: Evaluation) -> None:
    table_1 = good.scores.find("MS-SSIM", "unseen")
    assert (table_1.num_images, table_1.num_people) == (48, 6)
    table_2 = good.scores.find(FID, "training")
    assert (table_2.num_images, table_2.num_reference, table_2.num_people) == (36, 36, 9)
    for score in good.scores.scores:
        assert score.estimate.low is not None and score.estimate.low <= score.estimate.value
        assert score.estimate.high is not None and score.estimate.high >= score.estimate.value
        assert score.real is not None and score.real_is


def test_the_same_seed_gives_the_same_scores(by_split: Splits) -> None:
    model = CopyingModel(by_split["train"])
    first = evaluate(model, by_split, FAST)
    assert len(set(model.seeds)) == 72
    assert evaluate(model, by_split, FAST).scores.scores == first.scores.scores
    other = evaluate(model, by_split, FAST.model_copy(update={"seed": 1000}))
    assert other.scores.scores != first.scores.scores


def test_written_forms_agree(good: Evaluation) -> None:
    read = json.loads(to_json(good.scores))
    assert len(read["scores"]) == len(good.scores.scores) == 13
    assert read["settings"]["MS-SSIM scales"] == 2
    page = to_markdown(good.scores)
    value = good.scores.find(FID, "unseen").estimate.value
    assert f"| {FID} | unseen | {value:.3f} [" in page
    assert page.count("36 against 36 images") == 3
    assert [table.row_count for table in to_tables(good.scores)] == [4, 3, 6]


def test_pictures_show_every_sequence_and_plane(good: Evaluation) -> None:
    assert set(good.pictures) == {"reconstructions.png", "samples.png"}
    for picture, columns in (("reconstructions.png", 3), ("samples.png", 6)):
        size = good.pictures[picture].size
        assert (size[0] // 160, size[1] // 160) == (columns, 9)
        assert np.asarray(good.pictures[picture]).std() > 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: {"train": s["train"]},
            r"unseen people \(split validation and test\).*\(splits here: train\)",
        ),
        (
            lambda s: {"test": s["test"]},
            r"training people \(split train\): expected at least 16 slices, found 0",
        ),
        (lambda s: {"train": s["train"], "test": s["test"][:5]}, "found 5.*more people"),
        (lambda s: {}, "splits here: none"),
    ],
)
def test_missing_people_are_named(by_split: Splits, change: Callable[[Splits], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(CopyingModel(by_split["train"]), change(by_split), CONFIG)


def test_one_unseen_person_is_said_to_be_too_few(by_split: Splits) -> None:
    alone = by_split["test"][0].facts["subject"]
    few = [sample for sample in by_split["test"] if sample.facts["subject"] == alone] * 2
    scores = evaluate(CopyingModel(by_split["train"]), {**by_split, "test": few}, FAST).scores
    assert scores.find("MS-SSIM", "unseen").estimate.low is None
    assert scores.find(FID, "unseen").real is None
    assert "1.000 [-]" in to_markdown(scores)
    assert any("Only one of the unseen people" in note for note in scores.notes)


@pytest.mark.integration
def test_a_data_set_folder_is_evaluated_to_files(dataset: Path, by_split: Splits, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "evaluation"
    scores = evaluate_run(CopyingModel(by_split["train"]), dataset, DATA, FAST, folder)
    assert {path.name for path in folder.iterdir()} == {
        "scores.json",
        "scores.md",
        "reconstructions.png",
        "samples.png",
    }
    assert json.loads((folder / "scores.json").read_text())["scores"][0]["measure"] == "MS-SSIM"
    with Image.open(folder / "samples.png") as picture:
        assert picture.width > 900
    assert scores.seconds["judge"] > 0


def test_bad_inception_weights_are_found_before_the_work(by_split: Splits, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"inception": tmp_path / "none.pth"})
    with pytest.raises(CheckpointError, match="found no file"):
        evaluate(CopyingModel(by_split["train"]), by_split, config)
