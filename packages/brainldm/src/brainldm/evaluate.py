"""A trained model and real slices of training and unseen people -> scores and pictures.

Input: a model that reconstructs and generates (`ImageModel`), the samples of each split. Output:
`Evaluation`, and from `evaluate_run` the files of RUN/evaluation:

scores.json, scores.md    Table 1 MS-SSIM of reconstructions, Table 2 Frechet distance of generated slices,
                          Table 3 share of prompts obeyed; each figure with n, a 95 % interval over people,
                          and beside it what real images score
reconstructions.png       original, reconstruction, difference x 4
samples.png               real slice and the one generated from its caption, side by side

"Training" people are the split `train`; "unseen" people are `validation` and `test` together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from brainldm.checkpoints import write_aside
from brainldm.data import DataConfig, open_samples, splits
from brainldm.draws import Samples, read_some, spread, strata_of
from brainldm.errors import DataError
from brainldm.features import FeatureExtractor, PyramidFeatures
from brainldm.inception import InceptionFeatures, fetch_weights
from brainldm.judge import Judge, JudgeConfig, train_judge
from brainldm.logs import labelled_grid
from brainldm.metrics import num_scales
from brainldm.records import PLANES, SEQUENCES, Config, Sample
from brainldm.scores import People, Score, Scores, to_json, to_markdown
from brainldm.scoring import score_obedience, score_reconstructions, score_sets, stack

logger = logging.getLogger(__name__)

MIN_IMAGES = 16
"""Of training and of unseen people each; below this no figure means anything."""
READ_AHEAD = 6
"""So many times more slices are read than the largest count, so that the draw can be even."""
_SPLITS: dict[People, tuple[str, ...]] = {"training": ("train",), "unseen": ("validation", "test")}
_NUM_COLUMNS = 3
_CELL = 160
_NOTES = (
    "Training people: split train. Unseen people: splits validation and test. Slices are drawn evenly over "
    "sequences and planes, then over people.",
    "Intervals are 95 %, from leaving out one person at a time: they say how far the figure may move with "
    "other people, not with another training run; [-] = too few people to say. Those of obeyed prompts are "
    "Wilson's, over images.",
    "MS-SSIM: gaussian window 11, sigma 1.5, data range 255. Black background counts as equal; inside the "
    "brain's box it counts less.",
    "The Frechet distance falls as the images get more: compare only figures of equal counts and features. "
    "Real against real is the mean over ten ways of halving the people, [smallest, largest], at the same "
    "counts.",
    "Distances by pyramid features are not those of published tables; for these give the Inception weights.",
    "The classifier is trained on real slices of training people only. Its own accuracy on real slices of "
    "unseen people bounds what can be believed of it.",
)


class ImageModel(Protocol):
    """What is judged; `brainldm.generate.Generator` is one."""

    def generate(
        self,
        prompts: Sequence[str],
        seed: int | Sequence[int] = 0,
        *,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> NDArray[np.uint8]:
        """N sentences, a seed each -> uint8 [N, H, W]."""
        ...

    def reconstruct(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Uint8 [N, H, W] through the autoencoder and back."""
        ...


class EvaluateConfig(Config):
    """How much is drawn, and how. Counts are of training and of unseen people each, at most."""

    num_reconstructed: int = Field(default=384, ge=MIN_IMAGES)
    num_generated: int = Field(default=128, ge=MIN_IMAGES)
    num_real: int = Field(default=512, ge=MIN_IMAGES)
    """Real images that a set of generated ones is compared with; the paper: 1,000 against 10,000."""
    steps: int | None = None
    """Of the sampler; None = the recipe's."""
    guidance: float | None = None
    """None = the recipe's."""
    seed: int = Field(default=0, ge=0)
    inception: Path | Literal["fetch"] | None = None
    """Weights file of the FID Inception-v3, or `fetch` to download it; None = pyramid features only."""
    judge: JudgeConfig = JudgeConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation gives: figures, and pictures by file name."""

    scores: Scores
    pictures: dict[str, Image.Image]


def evaluate_run(
    model: ImageModel, data: Path, data_config: DataConfig, config: EvaluateConfig, folder: Path
) -> Scores:
    """Evaluates on the splits of a data set folder and writes `folder` (RUN/evaluation).

    Args:
        model: what is judged.
        data: the data set folder (docs/shard-format.md).
        data_config: the filters and image size the model was trained with.
        config: counts, seed, sampler.
        folder: made if missing; its files are replaced.

    Raises:
        DataError: the data set cannot be used, or a split is missing or too small.
        CheckpointError: the Inception weights cannot be used.
    """
    found = splits(data)
    evaluation = evaluate(
        model, {name: open_samples(data, data_config, split=name) for name in found}, config
    )
    write_evaluation(evaluation, folder)
    return evaluation.scores


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Writes scores.json, scores.md and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    write_aside(folder / "scores.json", to_json(evaluation.scores))
    write_aside(folder / "scores.md", to_markdown(evaluation.scores))
    for name, picture in evaluation.pictures.items():
        picture.save(folder / name)


def evaluate(model: ImageModel, samples: Mapping[str, Samples], config: EvaluateConfig) -> Evaluation:
    """Scores a model on the samples of each split (`train`, `validation`, `test`).

    The same model, samples and config give the same scores; only `seconds` differs.

    Raises:
        DataError: no training or no unseen people, or too few slices of them.
        CheckpointError: the Inception weights cannot be used.
    """
    seconds: dict[str, float] = {}
    with _timed("reading", seconds):
        drawn = {people: _draw(people, samples, config) for people in _SPLITS}
    extractors = _extractors(drawn["unseen"][0].image.shape[0], config)
    with _timed("judge", seconds):
        judge = _train_judge(drawn["training"], config.judge)
    scores: list[Score] = []
    pictures: dict[str, Image.Image] = {}
    generated: dict[People, NDArray[np.uint8]] = {}
    for people, slices in drawn.items():
        with _timed("reconstructions", seconds):
            shown = slices[: config.num_reconstructed]
            reconstructed = model.reconstruct(stack(shown))
            scores += score_reconstructions(people, shown, reconstructed, slices)
        with _timed("generation", seconds):
            generated[people] = _generate(model, people, slices, config)
        if people == "unseen":
            pictures["reconstructions.png"] = _draw_reconstructions(shown, reconstructed)
            pictures["samples.png"] = _draw_samples(slices, generated[people])
    for extractor in extractors:
        with _timed("distances", seconds):
            scores += score_sets(extractor, drawn, generated, num_real=config.num_real, seed=config.seed)
    for people, images in generated.items():
        scores += score_obedience(judge, people, drawn[people], images, drawn["unseen"])
    settings = _settings(drawn, config, extractors)
    notes = (*_NOTES, *_warnings(drawn))
    return Evaluation(
        scores=Scores(scores=tuple(scores), settings=settings, notes=notes, seconds=seconds),
        pictures=pictures,
    )


def _draw(people: People, samples: Mapping[str, Samples], config: EvaluateConfig) -> list[Sample]:
    """Slices of these people in an order whose every beginning is even over sequences, planes, people."""
    names = _SPLITS[people]
    count = READ_AHEAD * max(config.num_reconstructed, config.num_generated, config.num_real)
    slices = spread(read_some([samples[n] for n in names if n in samples], count, config.seed), config.seed)
    if len(slices) < MIN_IMAGES:
        raise DataError(
            f"{people} people (split {' and '.join(names)}): expected at least {MIN_IMAGES} slices, "
            f"found {len(slices)} (splits here: {', '.join(samples) or 'none'}); build the data set with "
            "more people, or widen [data] in the recipe"
        )
    return slices


def _extractors(image_size: int, config: EvaluateConfig) -> list[FeatureExtractor]:
    pyramid = PyramidFeatures(image_size)
    if config.inception is None:
        return [pyramid]
    weights = fetch_weights() if config.inception == "fetch" else config.inception
    return [pyramid, InceptionFeatures(weights)]


def _train_judge(slices: Sequence[Sample], config: JudgeConfig) -> Judge:
    sequences = [sample.facts["sequence"] for sample in slices]
    planes = [sample.facts["plane"] for sample in slices]
    return train_judge(stack(slices), sequences, planes, config)


def _generate(
    model: ImageModel, people: People, slices: Sequence[Sample], config: EvaluateConfig
) -> NDArray[np.uint8]:
    """One image for the caption of each of the first slices, every one from its own seed."""
    prompts = [sample.caption for sample in slices[: config.num_generated]]
    start = config.seed + list(_SPLITS).index(people) * config.num_generated
    return model.generate(
        prompts, range(start, start + len(prompts)), steps=config.steps, guidance=config.guidance
    )


def _draw_reconstructions(shown: Sequence[Sample], reconstructed: NDArray[np.uint8]) -> Image.Image:
    """The slice nearest to the middle of a brain, for each sequence and plane."""
    rows, labels = [], []
    for label, numbers in _by_kind(shown).items():
        middle = min(numbers, key=lambda n: abs(shown[n].facts["position_fraction"] - 0.5))
        original, rebuilt = shown[middle].image, reconstructed[middle]
        difference = np.clip(128 + 4 * (rebuilt.astype(np.int16) - original), 0, 255).astype(np.uint8)
        rows.append(np.stack([original, rebuilt, difference]))
        labels.append(label)
    return labelled_grid(rows, labels, ["original", "reconstruction", "difference x 4"], _CELL)


def _draw_samples(slices: Sequence[Sample], generated: NDArray[np.uint8]) -> Image.Image:
    """The first slices of each sequence and plane, each beside the one generated from its caption."""
    rows, labels = [], []
    for label, numbers in _by_kind(slices[: len(generated)]).items():
        pairs = [image for n in numbers[:_NUM_COLUMNS] for image in (slices[n].image, generated[n])]
        pairs += [np.zeros_like(generated[0])] * (2 * _NUM_COLUMNS - len(pairs))
        rows.append(np.stack(pairs))
        labels.append(label)
    return labelled_grid(rows, labels, ["real", "generated"] * _NUM_COLUMNS, _CELL)


def _by_kind(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Numbers of the samples of each sequence and plane."""
    kinds: dict[str, list[int]] = {}
    for sequence in SEQUENCES:
        for plane in PLANES:
            wanted = (sequence, plane)
            found = [n for n, s in enumerate(samples) if (s.facts["sequence"], s.facts["plane"]) == wanted]
            if found:
                kinds[f"{sequence} {plane}"] = found
    return kinds


def _settings(
    drawn: Mapping[People, Sequence[Sample]], config: EvaluateConfig, extractors: Sequence[FeatureExtractor]
) -> dict[str, Any]:
    height, width = drawn["unseen"][0].image.shape
    people = {f"{name} people": len(strata_of(slices)) for name, slices in drawn.items()}
    return {
        "image size": f"{height} x {width}",
        "MS-SSIM scales": num_scales(height, width),
        "features": ", ".join(extractor.name for extractor in extractors),
        **people,
        **config.model_dump(mode="json", exclude={"judge"}),
        **{f"judge {name}": value for name, value in config.judge.model_dump().items()},
    }


def _warnings(drawn: Mapping[People, Sequence[Sample]]) -> Iterator[str]:
    """What makes the figures of this data set less certain than they look."""
    for people, slices in drawn.items():
        strata = list(strata_of(slices).values())
        alone = sorted({name for name in strata if strata.count(name) == 1})
        if alone:
            yield (
                f"Only one of the {people} people is from {', '.join(alone)}: halves of them differ in "
                "kind, so their distance and the intervals are wider than they should be."
            )


@contextmanager
def _timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    took = time.perf_counter() - start
    seconds[name] = round(seconds.get(name, 0.0) + took, 2)
    logger.info("evaluate: %s, %.1f s", name, took)
