"""Run stages: reuse what is finished, do the rest on the workers, set the rejections apart."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brainatlas_text.atlas_stages import Lender, take_over
from brainatlas_text.distribute import Engine
from brainatlas_text.hub import Hub, load_hub
from brainatlas_text.looks import Looks
from brainatlas_text.progress import Progress
from brainatlas_text.records import Rejection
from brainatlas_text.tasks import Task, finished, run, run_for_scan, worker_died


class Run:
    """One pass through the stages of a build: what all of them need, and what they collect."""

    def __init__(self, engine: Engine, looks: Looks, lenders: Mapping[str, Lender]) -> None:
        """`looks` are the pages of the data set that is built, `lenders` whose results are taken over."""
        self.engine, self.looks, self.lenders = engine, looks, lenders
        self.root, self.recipe = looks.root, looks.recipe
        self.rejections: list[Rejection] = []
        self.seconds: dict[str, float] = {}
        """Wall time of each stage."""

    @property
    def hub(self) -> Hub:
        """The template that all scans are registered to."""
        return load_hub(*self.recipe.register_.hub_files)

    def stage(self, name: str, tasks: Sequence[Task], *, of_scans: bool = False) -> list[Any]:
        """Results of all tasks in order, rejections taken out; only unfinished ones run."""
        take_over(tasks, self.lenders)
        done = run_stage(self.engine, self.looks.progress, name, tasks, of_scans=of_scans)
        self.rejections += done.rejections
        self.seconds[name] = done.seconds
        return done.results


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """What a stage gave."""

    results: list[Any]
    """In the order of the tasks, rejections taken out."""
    rejections: list[Rejection]
    seconds: float


def run_stage(
    engine: Engine, progress: Progress, stage: str, tasks: Sequence[Task], *, of_scans: bool = False
) -> StageOutcome:
    """Results of all tasks; only unfinished ones run.

    With `of_scans` a task that fails or kills its worker costs its scan, not everything.
    """
    begin = time.monotonic()
    work, given_up = (run_for_scan, worker_died) if of_scans else (run, None)
    results: list[Any] = [finished(task) for task in tasks]
    missing = [index for index, result in enumerate(results) if result is None]
    progress.start(stage, len(tasks), len(tasks) - len(missing))
    for place, result in engine.run(work, [tasks[index] for index in missing], given_up):
        results[missing[place]] = result
        progress.advance()
    refused = [result for result in results if isinstance(result, Rejection)]
    seconds = time.monotonic() - begin
    progress.finish(f"{len(results) - len(refused)} done, {len(refused)} rejected, {seconds:.1f} s")
    return StageOutcome(
        results=[result for result in results if not isinstance(result, Rejection)],
        rejections=refused,
        seconds=seconds,
    )
