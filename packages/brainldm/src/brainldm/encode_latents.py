"""The training set through the autoencoder, once: mean and log-variance of every sample.

Blocks are dealt to the processes in turn, each written aside and renamed, so that a stage that was
stopped goes on. The latents of other weights or other samples are removed first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from pydantic import Field

from brainldm.checkpoints import RunFolder, digest, write_aside
from brainldm.data import SampleSet
from brainldm.latents import LatentScale, LatentStore, to_unit
from brainldm.networks import Autoencoder, autocast
from brainldm.records import Config, Precision, StageResult
from brainldm.stops import Stops

logger = logging.getLogger(__name__)

_SCALE_BLOCKS = 16
"""The scale is measured over at most this many blocks, spread over the set."""


class LatentsConfig(Config):
    """How the training set is encoded."""

    batch_size: int = Field(default=64, gt=0)
    """Of one process."""
    scale: Literal["channel", "common"] = "channel"
    """`common` divides every channel by the largest one's deviation. Channels that are waves then keep
    their sizes, and the diffusion settles coarse before fine, as it does in pixels."""


def encode_latents(
    accelerator: Accelerator,
    run: RunFolder,
    samples: SampleSet,
    autoencoder: Autoencoder,
    config: LatentsConfig,
    precision: Precision,
    stops: Stops,
) -> StageResult:
    """Fills `run.latents` for all samples with the given (averaged) weights, or goes on filling it."""
    start = time.monotonic()
    store = LatentStore(run.latents)
    source = _source(samples, autoencoder)
    if accelerator.is_main_process and not _is_from(run, source):
        shutil.rmtree(run.latents, ignore_errors=True)
        run.latents.mkdir(parents=True)
        write_aside(run.latents / "source.json", json.dumps(source) + "\n")
    accelerator.wait_for_everyone()
    num_blocks = -(-len(samples) // store.BLOCK)
    for block in range(accelerator.process_index, num_blocks, accelerator.num_processes):
        if not (stops.asked() or store.path(block).is_file()):
            _encode_block(
                accelerator, samples, autoencoder, store, block, config.batch_size, precision, stops
            )
    if pause := stops.agreed():
        done = sum(store.path(block).is_file() for block in range(num_blocks))
        seconds = time.monotonic() - start
        images = min(done * store.BLOCK, len(samples))
        return StageResult(stage="latents", images=images, seconds=seconds, paused=pause)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process and store.load_scale() is None:
        store.save_scale(measure_scale(store, num_blocks, common=config.scale == "common"))
    accelerator.wait_for_everyone()
    seconds = time.monotonic() - start
    logger.info("latents: %d samples encoded, %.0f s", len(samples), seconds)
    return StageResult(stage="latents", images=len(samples), seconds=seconds)


def measure_scale(store: LatentStore, num_blocks: int, *, common: bool) -> LatentScale:
    """Mean and standard deviation a channel of latents drawn from the stored normals.

    With `common`, the largest deviation stands for all.
    """
    chosen = np.unique(np.linspace(0, num_blocks - 1, min(num_blocks, _SCALE_BLOCKS)).astype(int))
    count, pixels, total, squares = 0, 0, np.zeros(1), np.zeros(1)
    for block in chosen.tolist():
        moments = store.block(block).astype(np.float64)
        mean, variance = moments[:, 0], np.exp(moments[:, 1])
        count += len(mean)
        pixels += mean[:, 0].size
        total = total + mean.sum((0, 2, 3))
        squares = squares + (mean**2 + variance).sum((0, 2, 3))
    shift = total / pixels
    scale = np.sqrt(squares / pixels - shift**2)
    if common:
        scale = np.full_like(scale, scale.max())
    return LatentScale(shift=tuple(shift.tolist()), scale=tuple(scale.tolist()), count=count)


@torch.no_grad()
def _encode_block(
    accelerator: Accelerator,
    samples: SampleSet,
    autoencoder: Autoencoder,
    store: LatentStore,
    block: int,
    batch_size: int,
    precision: Precision,
    stops: Stops,
) -> None:
    """Writes one block; leaves nothing where it is asked to stop on the way."""
    numbers = range(block * store.BLOCK, min((block + 1) * store.BLOCK, len(samples)))
    moments: list[NDArray[np.float16]] = []
    for first in range(numbers.start, numbers.stop, batch_size):
        if stops.asked():
            return
        batch = [samples.image(number) for number in range(first, min(first + batch_size, numbers.stop))]
        with autocast(accelerator.device, precision):
            mean, log_var = autoencoder.encode(to_unit(np.stack(batch)).to(accelerator.device))
        moments.append(torch.stack([mean, log_var], dim=1).to(torch.float16).cpu().numpy())
    partial = store.path(block).with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, np.concatenate(moments))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(store.path(block))


def _source(samples: SampleSet, autoencoder: Autoencoder) -> dict[str, str | int]:
    keys = hashlib.sha256("\n".join(samples.keys(list(range(len(samples))))).encode()).hexdigest()[:16]
    return {
        "autoencoder": digest(dict(autoencoder.named_parameters())),
        "keys": keys,
        "samples": len(samples),
    }


def _is_from(run: RunFolder, source: dict[str, str | int]) -> bool:
    path = run.latents / "source.json"
    return path.is_file() and json.loads(path.read_text()) == source
