"""Search the scans of a data set for one person under two ids.

Input: the scans of the plan with their persons and splits. Output: which two scans of different persons are
most alike, across splits and within them, and which are so alike that they show one person. All pairs are
compared by their fingerprints (`engines.fingerprint`), each also with one of the two mirrored, since a header
can lie about sides.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainatlas_text import spaces, volumes
from brainatlas_text.distribute import Engine
from brainatlas_text.engines import fingerprint
from brainatlas_text.engines.fingerprint import Fingerprint, Grid
from brainatlas_text.hub import load_hub
from brainatlas_text.records import PreparedScan
from brainatlas_text.registrations import HubTransform

MIN_LIKENESS = 0.56
"""Between the most alike scans of two people and the least alike of one person that were measured."""
MIN_BEYOND, MIN_BEYOND_SEQUENCES = 0.45, 0.30
"""The same of what they have beyond the mean of all others: in one sequence, in two. People made from one
template are alike by 0.6 to 0.9, but not beyond what all of them share."""
_BLOCK = 16
"""Scans compared at once; about 10 MB each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A scan, whose it is said to be and in which split its native lies."""

    subject: str
    split: str
    prepared: PreparedScan
    transform: HubTransform

    @property
    def key(self) -> str:
        """Of the scan."""
        return self.prepared.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How alike two scans are."""

    keys: tuple[str, str]
    subjects: tuple[str, str]
    splits: tuple[str, str]
    sequences: tuple[str, str]
    likeness: float
    """1 for the same edges everywhere, less than 1/3 by chance."""
    beyond: float
    """That of what they have beyond the mean of all other people; about 0 by chance."""
    mirrored: bool
    """They are more alike with one of them mirrored."""

    @property
    def one_person(self) -> bool:
        """Whether the two are held to show one person."""
        one, other = self.sequences
        least = MIN_BEYOND if one == other else MIN_BEYOND_SEQUENCES
        return self.likeness >= MIN_LIKENESS and self.beyond >= least


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What comparing all scans gave."""

    num_pairs: int
    """Of scans of different persons."""
    num_across: int
    """Of these the pairs across splits."""
    nearest_across: Likeness | None
    nearest_within: Likeness | None
    """Of different persons of one split."""
    suspects: tuple[Likeness, ...]
    """Pairs of different persons held to show one, most alike first."""
    known: tuple[Likeness, ...]
    """Pairs of scans that are known to be of one person, least alike first: what the search must find."""


def search(root: Path, scans: Sequence[Compared], hub_files: tuple[str, str], engine: Engine) -> Search:
    """Compare all scans with each other; `hub_files` are the recipe's template and mask."""
    grid = fingerprint.grid_of(load_hub(*hub_files).mask)
    with tempfile.TemporaryDirectory(prefix="brainatlas-fingerprints-") as folder:
        paths = write_fingerprints(root, scans, hub_files, Path(folder), engine)
        return Comparison(scans, paths, grid).search()


def write_fingerprints(
    root: Path, scans: Sequence[Compared], hub_files: tuple[str, str], folder: Path, engine: Engine
) -> list[Path]:
    """Write the fingerprint of each scan into a folder; their paths in the order of the scans."""
    paths = [folder / f"{scan.key}.npz" for scan in scans]
    for _ in engine.run(partial(_write, root, hub_files), list(zip(scans, paths, strict=True))):
        pass
    return paths


def _write(root: Path, hub_files: tuple[str, str], task: tuple[Compared, Path]) -> None:
    """Write the fingerprint of one scan."""
    scan, path = task
    grid = fingerprint.grid_of(load_hub(*hub_files).mask)
    image = volumes.load_prepared(root / scan.prepared.image)
    mask = volumes.load_prepared(root / scan.prepared.mask)
    fingerprint.fingerprint(image, mask, spaces.invert(scan.transform.matrix), grid).save(path)


class Comparison:
    """All fingerprints, on disk, and how they are compared."""

    def __init__(self, scans: Sequence[Compared], paths: Sequence[Path], grid: Grid) -> None:
        """`paths` are those of the scans' fingerprints."""
        self._scans, self._paths, self._mirror = scans, paths, grid.mirror()
        self._pool = fingerprint.Pool(self._mirror.size)
        for path in paths:
            self._pool.add(fingerprint.load(path))
        self._straight, self._turned = self._compare()

    def search(self) -> Search:
        """Sort all pairs into what `Search` holds."""
        pairs = sorted(combinations(range(len(self._scans)), 2), key=self.best, reverse=True)
        persons = [scan.subject for scan in self._scans]
        others = [(i, j) for i, j in pairs if persons[i] != persons[j]]
        across = [(i, j) for i, j in others if self._scans[i].split != self._scans[j].split]
        within = [(i, j) for i, j in others if self._scans[i].split == self._scans[j].split]
        alike = (self.likeness(*pair) for pair in others if self.best(pair) >= MIN_LIKENESS)
        return Search(
            num_pairs=len(others),
            num_across=len(across),
            nearest_across=self.likeness(*across[0]) if across else None,
            nearest_within=self.likeness(*within[0]) if within else None,
            suspects=tuple(item for item in alike if item.one_person),
            known=tuple(self.likeness(i, j) for i, j in reversed(pairs) if persons[i] == persons[j]),
        )

    def best(self, pair: tuple[int, int]) -> float:
        """Likeness of two scans, by their places (the first before the second), mirrored or not."""
        return float(max(self._straight[pair], self._turned[pair]))

    def likeness(self, i: int, j: int) -> Likeness:
        """The same with all that is to be said of it."""
        turned = bool(self._turned[i, j] > self._straight[i, j])
        one, other = fingerprint.load(self._paths[i]), fingerprint.load(self._paths[j])
        mean, num_others = self._others(self._scans[i].subject, self._scans[j].subject)
        mean_too = fingerprint.mirrored(mean, self._mirror) if turned else mean
        other = other.mirrored(self._mirror) if turned else other
        return Likeness(
            keys=(self._scans[i].key, self._scans[j].key),
            subjects=(self._scans[i].subject, self._scans[j].subject),
            splits=(self._scans[i].split, self._scans[j].split),
            sequences=(self._scans[i].prepared.sequence, self._scans[j].prepared.sequence),
            likeness=round(self.best((i, j)), 4),
            beyond=round(fingerprint.beyond(one, other, (mean, mean_too), num_others), 4),
            mirrored=turned,
        )

    def _others(self, *without: str) -> tuple[NDArray[np.float32], float]:
        """Mean fingerprint of all other people, and how many there are: who has more scans weighs more."""
        theirs = [p for s, p in zip(self._scans, self._paths, strict=True) if s.subject in without]
        scans = Counter(scan.subject for scan in self._scans if scan.subject not in without)
        num_people = sum(scans.values()) ** 2 / max(sum(n * n for n in scans.values()), 1)
        return self._pool.mean([fingerprint.load(path) for path in theirs]), num_people

    def _compare(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Likeness of each scan with each, and with each mirrored one, shape (num_scans, num_scans)."""
        straight, turned = np.zeros((2, len(self._paths), len(self._paths)))
        for first, ones in self._blocks(0):
            for second, others in self._blocks(first):
                place = slice(first, first + len(ones)), slice(second, second + len(others))
                straight[place] = fingerprint.likenesses(ones, others)
                turned[place] = fingerprint.likenesses(ones, [o.mirrored(self._mirror) for o in others])
        return straight, turned

    def _blocks(self, start: int) -> Iterator[tuple[int, list[Fingerprint]]]:
        for first in range(start, len(self._paths), _BLOCK):
            yield first, [fingerprint.load(path) for path in self._paths[first : first + _BLOCK]]
