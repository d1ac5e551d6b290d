"""Images and whose they are -> scores, each with what real images score beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from brainldm.comparisons import (
    FeatureSet,
    halvings,
    mean_over_people,
    nearest_of_others,
    real_against_real,
    set_distance,
    share_over_people,
)
from brainldm.features import FeatureExtractor
from brainldm.judge import Judge
from brainldm.metrics import Interval, brain_boxes, ms_ssim, share
from brainldm.records import Sample
from brainldm.scores import People, Score

NUM_CHECKED = 1024
"""Real slices on which the judge itself is checked, at most."""


def stack(samples: Sequence[Sample]) -> NDArray[np.uint8]:
    """Their images, uint8 [N, H, W]."""
    return np.stack([sample.image for sample in samples])


def score_reconstructions(
    people: People, shown: Sequence[Sample], reconstructed: NDArray[np.uint8], pool: Sequence[Sample]
) -> Iterator[Score]:
    """MS-SSIM over the whole picture and inside the brain's box; beside it, another person's slice."""
    others = nearest_of_others(shown, pool)
    paired = [(sample, other) for sample, other in zip(shown, others, strict=True) if other is not None]
    originals = stack(shown)
    for measure, in_box in (("MS-SSIM", False), ("MS-SSIM inside the brain's box", True)):
        values = ms_ssim(originals, reconstructed, brain_boxes(originals) if in_box else None)
        yield Score(
            topic="reconstruction",
            measure=measure,
            people=people,
            estimate=mean_over_people(values, shown),
            num_images=len(shown),
            num_people=_num_people(shown),
            real=_score_others(paired, in_box) if paired else None,
            real_is="the nearest slice of another person" if paired else "no other person to compare with",
        )


def _score_others(paired: Sequence[tuple[Sample, Sample]], in_box: bool) -> Interval:
    samples = [sample for sample, _ in paired]
    originals, others = stack(samples), stack([other for _, other in paired])
    values = ms_ssim(originals, others, brain_boxes(originals) if in_box else None)
    return mean_over_people(values, samples)


def score_sets(
    extractor: FeatureExtractor,
    drawn: Mapping[People, Sequence[Sample]],
    generated: Mapping[People, NDArray[np.uint8]],
    *,
    num_real: int,
    seed: int,
) -> Iterator[Score]:
    """Frechet distances of generated to real, and of real training people to real unseen people."""
    real: dict[People, FeatureSet] = {}
    for people, slices in drawn.items():
        pool = slices[: 3 * num_real]  # so that either half of the people has num_real
        real[people] = FeatureSet(samples=pool, features=extractor(stack(pool)))
    measure = f"FID ({extractor.name} features)"
    for people, images in generated.items():
        prompted = FeatureSet(samples=drawn[people][: len(images)], features=extractor(images))
        yield _score_distance(measure, people, prompted, real[people], num_real, seed)
    training = real["training"].first(len(generated["unseen"]))
    measure += ", real training people instead"
    yield _score_distance(measure, "unseen", training, real["unseen"], num_real, seed)


def _score_distance(
    measure: str, people: People, judged: FeatureSet, real: FeatureSet, num_real: int, seed: int
) -> Score:
    """One distance at the counts at which halves of the real people can be compared too."""
    ways = halvings(real.samples, seed)
    smallest = min((min(len(a), len(b)) for a, b in ways), default=len(real.samples))
    judged, against = judged.first(smallest), real.first(min(num_real, smallest))
    num_judged, num_against = len(judged.samples), len(against.samples)
    return Score(
        topic="generation",
        measure=measure,
        people=people,
        estimate=set_distance(judged, against),
        num_images=num_judged,
        num_reference=num_against,
        num_people=_num_people(against.samples),
        real=real_against_real(real, ways, num_judged, num_against) if ways else None,
        real_is="half the people against the other half" if ways else "needs two people",
    )


def score_obedience(
    judge: Judge,
    people: People,
    slices: Sequence[Sample],
    images: NDArray[np.uint8],
    unseen: Sequence[Sample],
) -> Iterator[Score]:
    """Share of generated slices in which the judge reads what was asked; beside it, its own accuracy."""
    asked = slices[: len(images)]
    checked = unseen[:NUM_CHECKED]
    right = _right(judge, images, asked)
    right_on_real = _right(judge, stack(checked), checked)
    for name in right:
        yield Score(
            topic="obedience",
            measure=f"{name} as asked",
            people=people,
            estimate=share(int(right[name].sum()), len(images)),
            num_images=len(images),
            num_people=_num_people(asked),
            real=share_over_people(right_on_real[name], checked),
            real_is="the classifier on real slices of unseen people",
        )


def _right(judge: Judge, images: NDArray[np.uint8], asked: Sequence[Sample]) -> dict[str, NDArray[np.bool_]]:
    reading = judge.read(images)
    sequence = np.array(
        [seen == s.facts["sequence"] for seen, s in zip(reading.sequences, asked, strict=True)]
    )
    plane = np.array([seen == s.facts["plane"] for seen, s in zip(reading.planes, asked, strict=True)])
    return {"sequence": sequence, "plane": plane, "sequence and plane": sequence & plane}


def _num_people(samples: Sequence[Sample]) -> int:
    return len({sample.facts["subject"] for sample in samples})
