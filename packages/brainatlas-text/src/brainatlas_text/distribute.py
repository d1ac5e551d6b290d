"""The only module that knows Dask: run tasks in order, in this process or on worker processes.

Tasks carry paths and small records, never arrays. One worker means this process, which is what tests use. A
worker that dies on a task (a crash in a library, memory exhausted) is replaced; the task is tried once more
and then given up, alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from brainatlas_text.errors import StageError

Task = TypeVar("Task")
Result = TypeVar("Result")
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,  # a task may take one worker with it, not three
    "distributed.scheduler.worker-saturation": 1.0,  # nothing waits on a worker that may die
}
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
_DIED = (
    "a worker process died twice on the same task (memory exhausted, or a crash in a library); run the same "
    "command again with fewer --workers"
)


class Engine:
    """Worker processes for one build; starts them when the first task needs them."""

    def __init__(self, workers: int) -> None:
        """`workers` processes of one thread each; 1 runs everything in this process."""
        self._workers = workers
        self._client: Any = None
        self._cluster: Any = None

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        given_up: Callable[[Task], Result] | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """Yield (index of the task, result) as they finish; the first failure stops and is raised.

        `given_up` gives the result of a task that killed its worker twice; without it that is a StageError.
        """
        if self._workers == 1 or not tasks:
            for index, task in enumerate(tasks):
                yield index, function(task)
            return
        yield from self._run_distributed(function, tasks, given_up)

    def close(self) -> None:
        """Stop the worker processes."""
        for part in (self._client, self._cluster):
            if part is not None:
                part.close()
        self._client = self._cluster = None

    def _run_distributed(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        given_up: Callable[[Task], Result] | None,
    ) -> Iterator[tuple[int, Result]]:
        from distributed import KilledWorker, as_completed

        client: Any = self._start()
        futures = {
            client.submit(function, task, pure=False, retries=1): index for index, task in enumerate(tasks)
        }
        try:
            for future in as_completed(futures):
                index = futures[future]
                try:
                    result = future.result()
                except KilledWorker as error:
                    if given_up is None:
                        raise StageError(_DIED) from error
                    result = given_up(tasks[index])
                yield index, result
        finally:
            client.cancel(list(futures))

    def _start(self) -> Any:
        if self._client is None:
            import dask.config
            from distributed import Client, LocalCluster

            threads = dict.fromkeys(_THREAD_VARIABLES, "1")
            with dask.config.set(_SETTINGS):
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
