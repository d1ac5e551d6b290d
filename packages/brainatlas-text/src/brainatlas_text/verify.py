"""Verify a finished data set: run every check over it and state what was found, proof by proof."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from brainatlas_text import copies, leaks
from brainatlas_text.distribute import Engine
from brainatlas_text.evidence import Check, CheckResult, Evidence
from brainatlas_text.progress import Progress, Silent

CHECKS: tuple[Check, ...] = (
    leaks.check_people,
    leaks.check_voters,
    copies.check_pictures,
    copies.check_lookalikes,
)
"""All checks, in the order in which they are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What all checks found."""

    root: Path
    results: tuple[CheckResult, ...]

    @property
    def holds(self) -> bool:
        """Whether no check found a breach."""
        return not any(result.breaches for result in self.results)

    @property
    def complete(self) -> bool:
        """Whether every check could be made."""
        return all(result.unproven is None for result in self.results)


def verify(root: Path, workers: int = 1, progress: Progress | None = None) -> Verification:
    """Check a data set folder; writes nothing.

    Raises DatasetError for a folder that is no finished data set and StageError for a shard or scan that
    cannot be read.
    """
    with closing(Engine(workers)) as engine:
        evidence = Evidence(root, engine, progress or Silent())
        return Verification(root=root, results=tuple(check(evidence) for check in CHECKS))
