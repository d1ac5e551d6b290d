"""Cached tasks: what runs on a worker, and when its result can be reused.

A task names its stage, its key and the digest of all it depends on. `run` does the work on a worker and
writes the done-record last; `finished` reads that record back, so only what is missing is submitted.
A rejection is a result like any other: it is noted and not tried again until its inputs change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from brainatlas_text.errors import BrainAtlasError
from brainatlas_text.prepare import RETRIED
from brainatlas_text.records import Rejection
from brainatlas_text.workspace import Workspace

log = logging.getLogger(__name__)

Outcome = tuple[Any, list[Path]]
"""A stage's result and the files it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One cached piece of work. `work` is picklable and returns an Outcome."""

    stage: str
    key: str
    inputs: str
    root: Path
    result: Any
    """Type of the result, as pydantic understands it."""
    work: Callable[[], Outcome]
    folder: str = ""
    """Below the stage's records, where one folder would hold too many."""

    @property
    def record(self) -> str:
        """Name of the done-record within the stage."""
        return f"{self.folder}/{self.key}" if self.folder else self.key


def run(task: Task) -> Any:
    """Do the work, then note it; a failure of a tool outside is no property of the scan and is not noted."""
    result, outputs = task.work()
    if isinstance(result, Rejection) and result.reason in RETRIED:
        return result
    payload = TypeAdapter(task.result).dump_python(result, mode="json")
    Workspace(task.root).write_record(task.stage, task.record, task.inputs, outputs, {"result": payload})
    return result


def run_for_scan(task: Task) -> Any:
    """`run`, where one scan's failure must not end the build of all others: it is a Rejection then.

    Errors raised on purpose and those of disks are everybody's and still end the build. Not noted, so that
    the next run tries again.
    """
    try:
        return run(task)
    except (BrainAtlasError, OSError):
        raise
    except Exception as error:
        log.info("%s of %s failed", task.stage, task.key, exc_info=True)
        detail = (
            f"{task.key}: {task.stage} failed unexpectedly ({type(error).__name__}: {error}); report this "
            "fault with what `brainatlas-text -v build --workers 1` prints, and exclude the scan"
        )
        return Rejection(stage=task.stage, key=task.key, reason="failed", detail=detail)


def finished(task: Task) -> Any | None:
    """The result of an earlier run with the same inputs and its outputs in place, else None."""
    payload = Workspace(task.root).read_record(task.stage, task.record, task.inputs)
    if payload is None:
        return None
    try:
        return TypeAdapter(task.result).validate_python(payload["result"])
    except ValidationError:  # noted by another version of this package
        return None


def worker_died(task: Task) -> Rejection:
    """For a scan on which a worker process died twice; not noted, so the next run tries it again."""
    detail = (
        f"{task.key}: the worker process died while it did this (memory exhausted, or a crash in a library); "
        "run the same command again with fewer --workers, or exclude the scan"
    )
    return Rejection(stage=task.stage, key=task.key, reason="worker_died", detail=detail)
