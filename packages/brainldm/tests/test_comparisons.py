"""Intervals over people, on numbers whose spread over people is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brainldm.comparisons import (
    FeatureSet,
    halvings,
    mean_over_people,
    nearest_of_others,
    real_against_real,
    set_distance,
    share_over_people,
)
from brainldm.metrics import Moments, frechet_distance
from brainldm.records import Sample

pytestmark = pytest.mark.unit


def samples(num_people: int, per_person: int, prefix: str = "p") -> list[Sample]:
    def facts(person: int, number: int) -> dict[str, Any]:
        return {
            "subject": f"{prefix}{person}",
            "sequence": ("T1w", "T2w")[person % 2],
            "plane": "axial",
            "source": "ixi",
            "position_fraction": number / per_person,
        }

    return [
        Sample(key=f"{prefix}{p}-{n}", image=np.zeros((2, 2), np.uint8), caption="", facts=facts(p, n))
        for n in range(per_person)
        for p in range(num_people)
    ]


def features(of: list[Sample], spread_of_people: float, seed: int, dimensions: int = 6) -> FeatureSet:
    """Normal features around a mean of each person."""
    rng = np.random.default_rng(seed)
    names = sorted({s.facts["subject"] for s in of})
    means = {name: spread_of_people * rng.normal(size=dimensions) for name in names}
    rows = [means[s.facts["subject"]] + rng.normal(size=dimensions) for s in of]
    return FeatureSet(samples=of, features=np.array(rows))


def test_interval_counts_people_not_slices() -> None:
    """Slices that only repeat their person make no interval narrower."""
    person = np.random.default_rng(0).uniform(0.2, 0.8, 8)
    few, many = samples(8, 2), samples(8, 50)
    intervals = [
        mean_over_people(np.array([person[int(s.facts["subject"][1:])] for s in of]), of)
        for of in (few, many)
    ]
    assert intervals[0].value == pytest.approx(person.mean())
    assert intervals[0].low == pytest.approx(intervals[1].low)
    assert intervals[0].high - intervals[0].low > 0.1


def test_a_perfect_share_is_not_certain() -> None:
    interval = share_over_people(np.ones(40, bool), samples(4, 10))
    assert interval.value == 1.0 and interval.high == 1.0
    assert interval.low == pytest.approx(0.912, abs=0.001)


def test_a_share_that_hangs_on_one_person_is_less_certain_than_its_images_say() -> None:
    of = samples(6, 30)
    right = np.array([s.facts["subject"] != "p3" for s in of])
    interval = share_over_people(right, of)
    assert interval.value == pytest.approx(5 / 6)
    assert interval.low < 0.7


def test_distance_is_the_plain_one_with_an_interval_around_it() -> None:
    a, b = features(samples(6, 40), 0.0, 0), features(samples(6, 60, "q"), 0.0, 1)
    interval = set_distance(a, b)
    assert interval.value == pytest.approx(frechet_distance(Moments.of(a.features), Moments.of(b.features)))
    assert interval.low < interval.value < interval.high


def test_distance_is_less_certain_when_people_differ() -> None:
    narrow, wide = (
        set_distance(features(samples(6, 40), spread, 0), features(samples(6, 40, "q"), spread, 1))
        for spread in (0.0, 1.5)
    )
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_more_dimensions_than_images_change_nothing() -> None:
    """Padding with zeros and rotating leaves a Frechet distance as it is."""
    a, b = features(samples(4, 5), 0.5, 0), features(samples(4, 5, "q"), 0.5, 1)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(200, 200)))[0][:6]
    wide = [FeatureSet(samples=s.samples, features=s.features @ rotation) for s in (a, b)]
    assert set_distance(*wide).value == pytest.approx(set_distance(a, b).value)
    assert set_distance(*wide).high == pytest.approx(set_distance(a, b).high)


def test_real_against_real_uses_the_stated_counts() -> None:
    real = features(samples(8, 60), 0.0, 0)
    ways = halvings(real.samples, seed=0)
    assert len(ways) == 10
    for first, second in ways:
        names = [{real.samples[n].facts["subject"] for n in half} for half in (first, second)]
        assert not names[0] & names[1]
    few, many = (real_against_real(real, ways, count, 200) for count in (20, 200))
    assert few.value > 2 * many.value  # fewer images, larger distance: why counts must match
    assert few.low <= few.value <= few.high


def test_one_person_cannot_be_halved() -> None:
    assert halvings(samples(1, 20), seed=0) == []


def test_the_nearest_slice_is_another_persons_of_the_same_kind() -> None:
    of = samples(4, 10)
    for sample, other in zip(of, nearest_of_others(of, of), strict=True):
        assert other is not None
        assert other.facts["subject"] != sample.facts["subject"]
        assert other.facts["sequence"] == sample.facts["sequence"]
        assert other.facts["position_fraction"] == sample.facts["position_fraction"]
    assert nearest_of_others(of[:1], [s for s in of if s.facts["subject"] == "p0"]) == [None]
