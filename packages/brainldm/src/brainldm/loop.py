"""The loop that both training stages run: step, count, log, show, save, and leave when it is time to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from brainldm.checkpoints import RunFolder, Snapshot, save_snapshot
from brainldm.data import SampleSet, Stream, prefetched
from brainldm.logs import Meter, StageLog
from brainldm.records import Pause, Stage, StageResult
from brainldm.stops import Stops

Batch = TypeVar("Batch")
_Batch_contra = TypeVar("_Batch_contra", contravariant=True)


class Trainer(Protocol[_Batch_contra]):
    """What a stage's trainer does for the loop."""

    def step(self, batch: _Batch_contra, cursor: int, /) -> Mapping[str, Tensor] | None:
        """One update; the terms of the loss, or None where the gradient is not finite."""
        ...

    def snapshot(self, cursor: int, /) -> Snapshot:
        """All that going on needs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """From where to where, and what is due on the way; all counts are images of all processes together."""

    stage: Stage
    start: int
    total: int
    meter: Meter
    picture_name: str
    draw: Callable[[], NDArray[np.uint8]]
    """The picture [H, W] of the present state."""


def run_steps(
    accelerator: Accelerator,
    run: RunFolder,
    samples: SampleSet,
    stream: Stream,
    load: Callable[[int], Batch],
    trainer: Trainer[Batch],
    schedule: Schedule,
    stops: Stops,
) -> StageResult:
    """Trains from `schedule.start` until its total, or until all processes are to leave.

    `load` gives this process's batch at a cursor. Raises TrainingError for a gradient that is not finite.
    """
    stage, cursor, total, meter = schedule.stage, schedule.start, schedule.total, schedule.meter
    main = accelerator.is_main_process
    pause: Pause | None = None
    with StageLog(run.path, stage, total=total, images_seen=cursor, enabled=main) as log:
        for batch in prefetched(load, range(cursor, total, stream.batch_size)):
            terms = trainer.step(batch, cursor)
            if terms is None:
                numbers = stream.numbers(np.arange(cursor, cursor + stream.batch_size))
                raise run.stop(samples.keys(numbers), stage, cursor, write=main)
            cursor += stream.batch_size
            meter.add(terms)
            pause = stops.agreed()
            log_now, picture_now, save_now = meter.due(cursor, stream.batch_size, last=cursor >= total)
            if log_now:
                log.scalars(cursor, meter.means())
            if picture_now and main:
                log.picture(cursor, schedule.picture_name, schedule.draw())
            if (save_now or pause) and main:
                save_snapshot(run.checkpoints(stage), trainer.snapshot(cursor))
            if pause:
                break
        accelerator.wait_for_everyone()
    loss = meter.last.get("loss")
    return StageResult(stage=stage, images=cursor, seconds=log.seconds, loss=loss, paused=pause)
