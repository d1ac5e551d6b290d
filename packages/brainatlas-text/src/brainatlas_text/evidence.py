"""What the checks of `verify` look at, and how they state what they found.

A check is a function of the Evidence that gives a CheckResult. Checks share what is slow to get: every shard
is read once, whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from brainatlas_text.dataset import BrainAtlas
from brainatlas_text.distribute import Engine
from brainatlas_text.plan import SPLITS
from brainatlas_text.progress import Progress
from brainatlas_text.shard_contents import ShardContents, read_shard

_NAMED = 20
"""Breaches of one kind that are named; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check looked at and what came out."""

    check: str
    """Its name, one word."""
    proof: str
    """What was compared, in one sentence: what a reader needs to believe it."""
    breaches: tuple[str, ...] = ()
    """What must not be, each with the names of those concerned; none where the data set holds."""
    notes: tuple[str, ...] = ()
    """What is no breach but should be known."""
    unproven: str | None = None
    """Why the check could not be made here; None where it was."""
    figures: Mapping[str, Any] | None = None
    """What was measured, for machines."""


class Evidence:
    """A finished data set, opened to be checked."""

    def __init__(self, root: Path, engine: Engine, progress: Progress) -> None:
        """Raises DatasetError for a folder that is no finished data set."""
        self.root, self.engine, self._progress = root, engine, progress
        self.atlas = BrainAtlas(root)

    @cached_property
    def contents(self) -> tuple[ShardContents, ...]:
        """All shards, read, by path."""
        paths = [shard.path for shard in self.atlas.shards]
        found: dict[int, ShardContents] = {}
        self._progress.start("read", len(paths), 0)
        for place, contents in self.engine.run(partial(read_shard, self.root), paths):
            found[place] = contents
            self._progress.advance()
        num_samples = sum(contents.num_samples for contents in found.values())
        self._progress.finish(f"{len(paths)} shards, {num_samples} samples")
        return tuple(found[place] for place in range(len(paths)))

    @cached_property
    def scan_rows(self) -> tuple[Mapping[str, Any], ...]:
        """Rows of `scans.parquet`."""
        return tuple(pq.read_table(self.root / "scans.parquet").to_pylist())


Check = Callable[[Evidence], CheckResult]


def counted(counts: Mapping[str, int]) -> str:
    """Counts by split, as `24 train, 3 test`."""
    return ", ".join(f"{counts[name]} {name}" for name in SPLITS if counts.get(name)) or "none"


def and_(words: Iterable[object]) -> str:
    """The words as a list in a sentence."""
    *others, last = map(str, words)
    return f"{', '.join(others)} and {last}" if others else last


def few(breaches: Iterable[str], total: int | None = None) -> list[str]:
    """The first breaches of a kind, and how many more there are; `total` where it is known."""
    found = iter(breaches)
    named = list(islice(found, _NAMED))
    more = sum(1 for _ in found) if total is None else total - len(named)
    return [*named, *([f"and {more} more of this kind"] if more else [])]
