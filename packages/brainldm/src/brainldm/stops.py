"""When training pauses before its end: a batch system's SIGTERM, or a limit of time.

Stages ask between two steps, save a snapshot and leave; the same command goes on from there.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from accelerate import Accelerator

from brainldm.records import Pause

_REASONS: tuple[Pause, ...] = ("signal", "time")


class Stops:
    """Whether it is time to leave, for one process and for all of them together."""

    def __init__(self, accelerator: Accelerator, max_minutes: float | None = None) -> None:
        self._accelerator = accelerator
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._signalled = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes SIGTERM as a wish to leave; Python delivers signals to the main thread alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def asked(self) -> Pause | None:
        """Why this process is to leave; None where it is not."""
        if self._signalled:
            return "signal"
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return "time" if late else None

    def agreed(self) -> Pause | None:
        """Why all processes are to leave, the same in all of them; each must call it at the same step."""
        asked = self.asked()
        if self._accelerator.num_processes == 1:
            return asked
        votes = torch.tensor([float(asked == reason) for reason in _REASONS], device=self._accelerator.device)
        counts = self._accelerator.reduce(votes, "sum")
        return next((reason for reason, count in zip(_REASONS, counts, strict=True) if count > 0), None)

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        self._signalled = True
