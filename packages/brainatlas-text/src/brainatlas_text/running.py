"""Run one stage: reuse what is finished, do the rest on the workers, set the rejections apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from brainatlas_text import stages
from brainatlas_text.distribute import Engine
from brainatlas_text.progress import Progress
from brainatlas_text.records import Rejection
from brainatlas_text.stages import Task


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
    work, given_up = (stages.run_for_scan, stages.worker_died) if of_scans else (stages.run, None)
    results: list[Any] = [stages.finished(task) for task in tasks]
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
