"""The only module that knows Dask: run tasks in order, in this process or on worker processes.

Tasks carry paths and small records, never arrays. One worker means this process, which is what tests use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


class Engine:
    """Worker processes for one build; starts them when the first task needs them."""

    def __init__(self, workers: int) -> None:
        """`workers` processes of one thread each; 1 runs everything in this process."""
        self._workers = workers
        self._client: Any = None
        self._cluster: Any = None

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """Yield (index of the task, result) as they finish; the first failure stops and is raised."""
        if self._workers == 1 or len(tasks) <= 1:
            for index, task in enumerate(tasks):
                yield index, function(task)
            return
        yield from self._run_distributed(function, tasks)

    def close(self) -> None:
        """Stop the worker processes."""
        for part in (self._client, self._cluster):
            if part is not None:
                part.close()
        self._client = self._cluster = None

    def _run_distributed(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[int, Result]]:
        from distributed import as_completed

        client: Any = self._start()
        futures = {
            client.submit(function, task, pure=False, retries=1): index for index, task in enumerate(tasks)
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            client.cancel(list(futures))

    def _start(self) -> Any:
        if self._client is None:
            from distributed import Client, LocalCluster

            threads = dict.fromkeys(_THREAD_VARIABLES, "1")
            self._cluster = LocalCluster(
                n_workers=self._workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
                env=threads,
            )
            self._client = Client(self._cluster)
        return self._client


def default_workers() -> int:
    """One worker a processor that this process may use."""
    return len(os.sched_getaffinity(0))
