"""Which slices are judged: drawn evenly over sequences, planes and people, and people dealt to halves.

All chance of an evaluation is drawn here, from one seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from brainldm.records import Sample


class Samples(Protocol):
    """Samples by number: a `SampleSet`, or a list."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, number: int, /) -> Sample:
        """The sample of that number."""
        ...


def read_some(sets: Sequence[Samples], count: int, seed: int) -> list[Sample]:
    """At most `count` samples at random places of the sets together, read in order."""
    starts = np.cumsum([0, *(len(samples) for samples in sets)])
    total = int(starts[-1])
    numbers = np.arange(total)
    if count < total:
        numbers = np.sort(np.random.default_rng([seed, 0]).choice(total, count, replace=False))
    which = np.searchsorted(starts, numbers, side="right") - 1
    return [sets[w][int(n - starts[w])] for w, n in zip(which, numbers, strict=True)]


def spread(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """All samples in an order whose every beginning is even over (sequence, plane), then people."""
    rng = np.random.default_rng([seed, 1])
    cells: dict[tuple[str, str], dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for number in rng.permutation(len(samples)):
        sample = samples[number]
        cells[sample.facts["sequence"], sample.facts["plane"]][sample.facts["subject"]].append(sample)
    queues = [in_turn(list(people.values())) for _, people in sorted(cells.items())]
    return in_turn(queues)


def in_turn(queues: Sequence[Sequence[Sample]]) -> list[Sample]:
    """One from each queue, again and again, until all are empty."""
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[place] for place in range(longest) for queue in queues if place < len(queue)]


def strata_of(samples: Sequence[Sample]) -> dict[str, str]:
    """Each person's stratum, the source: its people share scanners, sequences and age range."""
    return dict(sorted((sample.facts["subject"], sample.facts["source"]) for sample in samples))


def blocks_of(samples: Sequence[Sample], max_blocks: int) -> dict[str, tuple[str, str]]:
    """Each person's (block, stratum): the units that a jackknife leaves out, whole people always.

    A block is one person where there are few enough, otherwise several of one stratum.
    """
    strata = strata_of(samples)
    per_stratum = max(2, max_blocks // max(len(set(strata.values())), 1))
    turns: dict[str, int] = defaultdict(int)
    blocks = {}
    for subject, stratum in strata.items():
        blocks[subject] = f"{stratum} {turns[stratum] % per_stratum}", stratum
        turns[stratum] += 1
    return blocks


def halve_people(samples: Sequence[Sample], seed: int) -> tuple[set[str], set[str]]:
    """People dealt at random to two halves, stratum by stratum, as evenly as can be."""
    rng = np.random.default_rng([seed, 2])
    strata: dict[str, list[str]] = defaultdict(list)
    for subject, stratum in strata_of(samples).items():
        strata[stratum].append(subject)
    halves: tuple[set[str], set[str]] = (set(), set())
    turn = int(rng.integers(2))
    for _, subjects in sorted(strata.items()):
        for subject in rng.permutation(subjects).tolist():
            halves[turn].add(subject)
            turn = 1 - turn
    return halves
