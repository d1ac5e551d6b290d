"""The order of stages: train a run, load it, evaluate it."""

from __future__ import annotations

from pathlib import Path

from brainldm.generate import Generator


def load(run: Path) -> Generator:
    """Opens a trained run folder.

    `evaluate` lies below this module: `pipeline.evaluate` loads the generator and hands it down as
    `evaluate_run(generator, data, ...)`.

    Raises:
        CheckpointError: the folder is no run, or its training has not come far enough.
    """
    raise NotImplementedError
