"""Figures over people: what metrics say of images, with intervals that know whose images they are.

Slices of one person resemble each other, so people, not slices, are what the intervals count. Pure.

Legend: N images, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from brainldm.draws import blocks_of, halve_people
from brainldm.metrics import Interval, Moments, frechet_distance, jackknife, share
from brainldm.records import Sample

MAX_BLOCKS = 24
"""More people than this are left out several at a time, to bound the cost of an interval."""
NUM_HALVINGS = 10

Halving = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Numbers of the images of either half of the people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet:
    """Images as features, and the samples they show or were generated from."""

    samples: Sequence[Sample]
    features: NDArray[np.float64]
    """[N, D]"""

    def first(self, count: int) -> FeatureSet:
        """The first `count` images."""
        return FeatureSet(samples=self.samples[:count], features=self.features[:count])


def mean_over_people(values: NDArray[np.float64], samples: Sequence[Sample]) -> Interval:
    """Mean of one number an image, 0 to 1, with its interval over people."""
    blocks, strata, members = _blocks(samples)
    sums = np.array([values[members == block].sum() for block in range(len(blocks))])
    counts = np.array([(members == block).sum() for block in range(len(blocks))])
    return jackknife(lambda w: float(w @ sums / (w @ counts)), strata, bounds=(0.0, 1.0))


def share_over_people(right: NDArray[np.bool_], samples: Sequence[Sample]) -> Interval:
    """Share of images that are right; of the interval over people and Wilson's, the wider bounds.

    Wilson's keeps a share of 0 or 1, where people do not differ, from looking certain.
    """
    people = mean_over_people(right.astype(np.float64), samples)
    images = share(int(right.sum()), len(right))
    lows = [i.low for i in (people, images) if i.low is not None]
    highs = [i.high for i in (people, images) if i.high is not None]
    return Interval(value=images.value, low=min(lows), high=max(highs))


def set_distance(first: FeatureSet, second: FeatureSet) -> Interval:
    """Frechet distance of two sets, with its interval over the people behind both.

    For generated images these are the people whose captions were the prompts; a person on both sides is
    left out of both at once.
    """
    x, y = _without_empty_directions(first.features, second.features)
    blocks, strata, members = _blocks([*first.samples, *second.samples])
    sides = [
        [Moments.of(features[of_block == block]) for block in range(len(blocks))]
        for features, of_block in ((x, members[: len(x)]), (y, members[len(x) :]))
    ]
    present = [f"{stratum} {a.count > 0} {b.count > 0}" for stratum, a, b in zip(strata, *sides, strict=True)]

    def distance(weights: NDArray[np.float64]) -> float:
        totals = [reduce(add, (m * float(w) for m, w in zip(side, weights, strict=True))) for side in sides]
        return frechet_distance(*totals)

    if any(sum(m.count > 0 for m in side) < 2 for side in sides):
        return Interval(value=distance(np.ones(len(blocks))))
    return jackknife(distance, present, bounds=(0.0, np.inf))


def halvings(samples: Sequence[Sample], seed: int) -> list[Halving]:
    """Ten ways of dealing the people to two halves; an empty list where a half would stay empty."""
    subjects = np.array([sample.facts["subject"] for sample in samples])
    ways = []
    for turn in range(NUM_HALVINGS):
        first, second = halve_people(samples, seed + turn)
        if not first or not second:
            return []
        ways.append(
            (np.flatnonzero(np.isin(subjects, list(first))), np.flatnonzero(np.isin(subjects, list(second))))
        )
    return ways


def real_against_real(real: FeatureSet, ways: Sequence[Halving], num_first: int, num_second: int) -> Interval:
    """Frechet distance between halves of the people: the mean over the ways of halving, and the range.

    Half the people give `num_first` images, the other half `num_second`: the counts of the figure it
    stands beside, because the distance depends on them.
    """
    distances = []
    for first, second in ways:
        x, y = _without_empty_directions(real.features[first[:num_first]], real.features[second[:num_second]])
        distances.append(frechet_distance(Moments.of(x), Moments.of(y)))
    return Interval(value=float(np.mean(distances)), low=min(distances), high=max(distances))


def nearest_of_others(samples: Sequence[Sample], pool: Sequence[Sample]) -> list[Sample | None]:
    """For each sample, another person's slice of the same sequence and plane at the nearest position."""
    chosen: list[Sample | None] = []
    for sample in samples:
        facts = sample.facts
        others = [
            other
            for other in pool
            if (other.facts["sequence"], other.facts["plane"]) == (facts["sequence"], facts["plane"])
            and other.facts["subject"] != facts["subject"]
        ]
        chosen.append(min(others, key=lambda other: _apart(sample, other), default=None))
    return chosen


def _apart(sample: Sample, other: Sample) -> float:
    return float(abs(sample.facts["position_fraction"] - other.facts["position_fraction"]))


def _blocks(samples: Sequence[Sample]) -> tuple[list[str], list[str], NDArray[np.intp]]:
    """Names of the blocks of people, the stratum of each, and the block of each image [N]."""
    by_subject = blocks_of(samples, MAX_BLOCKS)
    strata = dict(by_subject.values())
    names = sorted(strata)
    numbers = {name: number for number, name in enumerate(names)}
    members = [numbers[by_subject[sample.facts["subject"]][0]] for sample in samples]
    return names, [strata[name] for name in names], np.array(members, dtype=np.intp)


def _without_empty_directions(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same features in fewer dimensions, where there are more dimensions than images.

    All images lie in the span of themselves, so distances and covariances there are the same.
    """
    together = np.concatenate([first, second])
    if together.shape[1] <= together.shape[0]:
        return first, second
    basis, _ = np.linalg.qr(together.T)
    return first @ basis, second @ basis
