"""Draws are even, repeatable, and never split a person."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from brainldm.draws import blocks_of, halve_people, read_some, spread
from brainldm.records import Sample

pytestmark = pytest.mark.unit


def sample(subject: str, sequence: str, plane: str, number: int, source: str = "ixi") -> Sample:
    facts: dict[str, Any] = {"subject": subject, "sequence": sequence, "plane": plane, "source": source}
    return Sample(
        key=f"{subject} {sequence} {plane} {number}",
        image=np.zeros((2, 2), np.uint8),
        caption="",
        facts=facts,
    )


def uneven() -> list[Sample]:
    """One person with many slices, three with few; more axial than coronal ones."""
    return [
        sample(subject, sequence, plane, number)
        for subject, count in (("a", 60), ("b", 12), ("c", 12), ("d", 12))
        for sequence in ("T1w", "T2w")
        for plane, share in (("axial", 1.0), ("coronal", 0.5))
        for number in range(int(share * count))
    ]


def test_every_beginning_of_a_spread_is_even() -> None:
    order = spread(uneven(), seed=0)
    assert sorted(s.key for s in order) == sorted(s.key for s in uneven())
    for count in (16, 32, 64):
        begin = order[:count]
        kinds = Counter((s.facts["sequence"], s.facts["plane"]) for s in begin)
        assert set(kinds.values()) == {count // 4}
        assert set(Counter(s.facts["subject"] for s in begin).values()) == {count // 4}


def test_a_spread_repeats_with_its_seed_only() -> None:
    keys = [[s.key for s in spread(uneven(), seed)] for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]


def test_reading_some_takes_each_place_once_over_all_sets() -> None:
    sets = [uneven()[:7], uneven()[7:40]]
    assert [s.key for s in read_some(sets, 100, 0)] == [s.key for s in uneven()[:40]]
    some = [s.key for s in read_some(sets, 20, 0)]
    assert len(set(some)) == 20
    assert some == [s.key for s in read_some(sets, 20, 0)]
    assert read_some([], 5, 0) == []


def test_halves_share_no_person_and_match_in_kind() -> None:
    people = [
        sample(f"{source}{n}", "T1w", "axial", 0, source) for source in ("ixi", "oasis") for n in range(5)
    ]
    seen = set()
    for seed in range(8):
        first, second = halve_people(people, seed)
        assert not first & second
        assert len(first | second) == 10 and abs(len(first) - len(second)) <= 1
        for half in (first, second):
            assert sum(name.startswith("ixi") for name in half) in (2, 3)
        seen.add(frozenset(first))
    assert len(seen) > 1


def test_blocks_hold_whole_people_of_one_source() -> None:
    people = [sample(f"p{n:02d}", "T1w", "axial", 0, "ixi" if n < 20 else "oasis") for n in range(60)]
    blocks = blocks_of(people, max_blocks=10)
    assert len(set(blocks.values())) == 10
    assert all(block.startswith(source) for block, source in blocks.values())
    assert {source for _, source in blocks.values()} == {"ixi", "oasis"}
    assert blocks_of(people[:3], 10) == {f"p{n:02d}": (f"ixi {n}", "ixi") for n in range(3)}
