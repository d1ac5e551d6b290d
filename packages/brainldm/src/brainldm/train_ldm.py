"""The latent diffusion model's training: what a step is; `loop` runs the steps."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from brainldm import diffusion, latents, optimizers, sampling
from brainldm.checkpoints import (
    RunFolder,
    Snapshot,
    load_snapshot,
    load_weights_into,
    trained_weights,
)
from brainldm.data import SampleSet, Stream, chance
from brainldm.diffusion import DiffusionConfig
from brainldm.ema import Ema
from brainldm.errors import CheckpointError
from brainldm.latents import LatentScale, LatentStore
from brainldm.logs import Meter, montage
from brainldm.loop import Schedule, run_steps
from brainldm.networks import (
    Autoencoder,
    ConditionedUNet,
    Denoiser,
    UNetConfig,
    Words,
    autocast,
    count_parameters,
)
from brainldm.optimizers import OptimizerConfig
from brainldm.records import Config, Precision, StageResult
from brainldm.sampling import SamplingConfig
from brainldm.stops import Stops
from brainldm.text import NULL_CAPTION, TextEncoder, Tokenizer

logger = logging.getLogger(__name__)


class LdmTraining(Config):
    """How the diffusion model is trained. All counts are images seen by all processes together."""

    images: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    """Of all processes together."""
    optimizer: OptimizerConfig = OptimizerConfig()
    ema_half_life: int = 50_000
    log_every: int = 1_000
    picture_every: int = 50_000
    checkpoint_every: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    mean: Tensor
    log_var: Tensor
    latent_noise: Tensor
    noise: Tensor
    times: Tensor
    words: Words


@dataclass(frozen=True, slots=True, kw_only=True)
class LdmParts:
    """What the diffusion is trained on and with, made by earlier stages."""

    autoencoder: Autoencoder
    """With averaged weights; decodes the sample grids."""
    store: LatentStore
    scale: LatentScale
    tokenizer: Tokenizer
    encoder: TextEncoder
    prompts: tuple[str, ...]
    """Of the sample grid, 3 to a row; number i is always drawn with seed i."""


def train_ldm(
    accelerator: Accelerator,
    run: RunFolder,
    samples: SampleSet,
    parts: LdmParts,
    unet: UNetConfig,
    path: DiffusionConfig,
    grid: SamplingConfig,
    config: LdmTraining,
    *,
    seed: int,
    precision: Precision,
    stops: Stops,
    max_images: int | None = None,
) -> StageResult:
    """Trains, or goes on training, until `config.images` (or `max_images`) have been seen.

    Args:
        accelerator: its processes share each batch.
        run: where snapshots, log and pictures go.
        samples: the training split, in the order of the latents; gives the captions.
        parts: autoencoder, latents and text encoder.
        unet: the network's shape.
        path: objective, schedule and caption dropout.
        grid: how sample grids are drawn.
        config: how it is trained.
        seed: of order, chance and first weights.
        precision: of the networks' products.
        stops: says when to save and leave.
        max_images: stops earlier; the learning rate still follows `config.images`.

    Raises:
        TrainingError: a gradient is not finite.
        CheckpointError: the snapshot was trained on latents of another scale.
    """
    trainer = _Trainer(accelerator, parts, unet, path, config, seed, precision)
    cursor = trainer.restore(run)
    total = min(config.images, max_images or config.images)
    if cursor >= total:
        return StageResult(stage="ldm", images=cursor, seconds=0.0)
    stream = Stream(
        len(samples),
        seed=seed,
        batch_size=config.batch_size,
        rank=accelerator.process_index,
        num_ranks=accelerator.num_processes,
    )

    def load(at: int) -> _Batch:
        return _load_batch(samples, parts, path, stream, seed, at)

    schedule = Schedule(
        stage="ldm",
        start=cursor,
        total=total,
        meter=Meter(config.log_every, config.picture_every, config.checkpoint_every),
        picture_name="samples",
        draw=lambda: trainer.draw_grid(grid),
    )
    return run_steps(accelerator, run, samples, stream, load, trainer, schedule, stops)


def _load_batch(
    samples: SampleSet, parts: LdmParts, path: DiffusionConfig, stream: Stream, seed: int, cursor: int
) -> _Batch:
    """Latents, captions and all chance of this rank's batch; a function of (seed, cursor)."""
    positions = stream.positions(cursor)
    numbers = stream.numbers(positions)
    mean, log_var = parts.store.moments(numbers)
    captions, noises, times = [], [], []
    for number, position in zip(numbers, positions.tolist(), strict=True):
        draw = chance(seed, position)
        dropped, choice, time = draw.random(3)
        captions.append(NULL_CAPTION if dropped < path.caption_dropout else samples.caption(number, choice))
        noises.append(draw.standard_normal((2, *mean.shape[1:]), np.float32))
        times.append(time)
    noise = torch.from_numpy(np.stack(noises))
    return _Batch(
        mean=mean,
        log_var=log_var,
        latent_noise=noise[:, 0],
        noise=noise[:, 1],
        times=diffusion.training_times(torch.tensor(times, dtype=torch.float32), path),
        words=parts.tokenizer(captions),
    )


class _Trainer:
    """Network, optimizer and averages, and what one step does to them."""

    def __init__(
        self,
        accelerator: Accelerator,
        parts: LdmParts,
        unet: UNetConfig,
        path: DiffusionConfig,
        config: LdmTraining,
        seed: int,
        precision: Precision,
    ) -> None:
        self._autocast = autocast(accelerator.device, precision)
        self._accelerator, self._parts, self._path, self._config = accelerator, parts, path, config
        torch.manual_seed(seed)
        channels = parts.autoencoder.config.latent_channels
        denoiser = Denoiser(ConditionedUNet(unet, channels, parts.encoder.width), parts.encoder)
        denoiser.to(accelerator.device)
        self._ema = Ema(denoiser, config.ema_half_life)
        optimizer = optimizers.build_adamw(denoiser, config.optimizer)
        self.model, self._optimizer = accelerator.prepare(denoiser, optimizer)
        logger.info(
            "ldm: %.2f M weights, objective %s, %s text encoder of width %d",
            count_parameters(denoiser) / 1e6,
            path.objective,
            "trained" if parts.encoder.trained else "frozen",
            parts.encoder.width,
        )

    def step(self, batch: _Batch, cursor: int) -> dict[str, Tensor] | None:
        """One update; loss and gradient norm, or None where the gradient is not finite."""
        config, accelerator, device = self._config, self._accelerator, self._accelerator.device
        optimizers.set_learning_rate(
            self._optimizer, optimizers.learning_rate(cursor, config.images, config.optimizer)
        )
        drawn = latents.draw_latents(
            batch.mean.to(device), batch.log_var.to(device), batch.latent_noise.to(device)
        )
        clean, noise, times = (
            self._parts.scale.normalize(drawn),
            batch.noise.to(device),
            batch.times.to(device),
        )
        noisy = diffusion.add_noise(clean, noise, times, self._path)
        with self._autocast:
            output = self.model(noisy, times, batch.words.to(device))
        loss = diffusion.loss_per_image(output, clean, noise, times, self._path).mean()
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(self.model.parameters(), config.optimizer.max_gradient_norm)
        if not torch.isfinite(norm):
            return None
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._ema.update(
            accelerator.unwrap_model(self.model),
            images_seen=cursor + config.batch_size,
            images_in_step=config.batch_size,
        )
        return {"loss": loss.detach(), "gradient_norm": norm}

    @torch.no_grad()
    def draw_grid(self, grid: SamplingConfig) -> NDArray[np.uint8]:
        """The run's prompts with fixed seeds by the averaged weights, three to a row."""
        parts, device = self._parts, self._accelerator.device
        noise = sampling.draw_noise(range(len(parts.prompts)), parts.store.shape)
        with self._ema.applied_to(self._accelerator.unwrap_model(self.model)) as denoiser:
            drawn = sampling.sample_from_words(
                denoiser,
                parts.tokenizer(parts.prompts).to(device),
                parts.tokenizer([NULL_CAPTION] * len(parts.prompts)).to(device),
                noise.to(device),
                grid,
                self._path,
            )
        images = latents.decode(parts.autoencoder, drawn, parts.scale)
        return montage([images[first : first + 3] for first in range(0, len(images), 3)])

    def snapshot(self, cursor: int) -> Snapshot:
        """All that `restore` needs."""
        return Snapshot(
            images_seen=cursor,
            tensors={
                "model": trained_weights(self._accelerator.unwrap_model(self.model)),
                "ema": self._ema.tensors(),
                "optimizer": optimizers.optimizer_tensors(self._optimizer),
            },
            facts={"latent_scale": asdict(self._parts.scale)},
        )

    def restore(self, run: RunFolder) -> int:
        """Takes the latest snapshot, where there is one; the cursor."""
        folder = run.checkpoints("ldm")
        snapshot = load_snapshot(folder)
        if snapshot is None:
            return 0
        self._check_scale(folder, LatentScale.from_facts(snapshot.facts["latent_scale"]))
        load_weights_into(self._accelerator.unwrap_model(self.model), snapshot.tensors["model"], folder)
        self._ema.load(snapshot.tensors["ema"])
        optimizers.load_optimizer(self._optimizer, snapshot.tensors["optimizer"])
        logger.info("ldm: goes on at %d images", snapshot.images_seen)
        return snapshot.images_seen

    def _check_scale(self, folder: Path, found: LatentScale) -> None:
        if found != self._parts.scale:
            raise CheckpointError(
                f"{folder}: was trained on latents of scale {found.scale} from {found.count} images, the run "
                f"now has {self._parts.scale.scale} from {self._parts.scale.count}: the autoencoder was "
                f"trained on since; remove {folder} to train the diffusion anew"
            )
