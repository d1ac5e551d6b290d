"""The autoencoder's training: what a step is; `loop` runs the steps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from brainldm import latents, losses, optimizers
from brainldm.checkpoints import (
    RunFolder,
    Snapshot,
    load_snapshot,
    load_weights_into,
    trained_weights,
)
from brainldm.data import SampleSet, Stream, chance
from brainldm.ema import Ema
from brainldm.logs import Meter, montage
from brainldm.loop import Schedule, run_steps
from brainldm.losses import VaeLossConfig
from brainldm.networks import (
    Autoencoder,
    AutoencoderConfig,
    DiscriminatorConfig,
    autocast,
    build_discriminator,
    count_parameters,
)
from brainldm.optimizers import OptimizerConfig
from brainldm.records import Config, Precision, StageResult
from brainldm.stops import Stops

logger = logging.getLogger(__name__)


class VaeTraining(Config):
    """How the autoencoder is trained. All counts are images seen by all processes together."""

    images: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    """Of all processes together."""
    optimizer: OptimizerConfig = OptimizerConfig()
    ema_half_life: int = 10_000
    loss: VaeLossConfig = VaeLossConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    log_every: int = 1_000
    picture_every: int = 20_000
    checkpoint_every: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    images: NDArray[np.uint8]
    noise: Tensor


def train_vae(
    accelerator: Accelerator,
    run: RunFolder,
    samples: SampleSet,
    shown: NDArray[np.uint8],
    network: AutoencoderConfig,
    config: VaeTraining,
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
        samples: the training split.
        shown: images uint8 [N, H, W] whose reconstructions become pictures, best of unseen people.
        network: the autoencoder's shape.
        config: how it is trained.
        seed: of order, noise and first weights.
        precision: of the networks' products.
        stops: says when to save and leave.
        max_images: stops earlier; the learning rate still follows `config.images`.

    Raises:
        TrainingError: a gradient is not finite.
    """
    trainer = _Trainer(accelerator, network, config, seed, precision)
    cursor = trainer.restore(run)
    total = min(config.images, max_images or config.images)
    if cursor >= total:
        return StageResult(stage="vae", images=cursor, seconds=0.0)
    stream = Stream(
        len(samples),
        seed=seed,
        batch_size=config.batch_size,
        rank=accelerator.process_index,
        num_ranks=accelerator.num_processes,
    )

    def load(at: int) -> _Batch:
        positions = stream.positions(at)
        numbers = stream.numbers(positions)
        images = np.stack([samples.image(number) for number in numbers])
        shape = trainer.latent_shape(images.shape[-1])
        noise = [chance(seed, position).standard_normal(shape, np.float32) for position in positions.tolist()]
        return _Batch(images=images, noise=torch.from_numpy(np.stack(noise)))

    schedule = Schedule(
        stage="vae",
        start=cursor,
        total=total,
        meter=Meter(config.log_every, config.picture_every, config.checkpoint_every),
        picture_name="reconstructions",
        draw=lambda: trainer.show(shown),
    )
    return run_steps(accelerator, run, samples, stream, load, trainer, schedule, stops)


class _Trainer:
    """Networks, optimizers and averages, and what one step does to them."""

    def __init__(
        self,
        accelerator: Accelerator,
        network: AutoencoderConfig,
        config: VaeTraining,
        seed: int,
        precision: Precision,
    ) -> None:
        self._accelerator, self._network, self._config = accelerator, network, config
        self._autocast = autocast(accelerator.device, precision)
        torch.manual_seed(seed)
        autoencoder = Autoencoder(network)
        self._ema = Ema(autoencoder.to(accelerator.device), config.ema_half_life)
        optimizer = optimizers.build_adamw(autoencoder, config.optimizer)
        self.model, self._optimizer = accelerator.prepare(autoencoder, optimizer)
        self._discriminator: nn.Module | None = None
        if config.loss.adversarial:
            discriminator = build_discriminator(config.discriminator)
            optimizer = optimizers.build_adamw(discriminator.to(accelerator.device), config.optimizer)
            self._discriminator, self._judge_optimizer = accelerator.prepare(discriminator, optimizer)
        logger.info(
            "vae: %.2f M weights, latents %d times smaller a side; weight-free perceptual term, %s",
            count_parameters(autoencoder) / 1e6,
            network.reduction,
            f"discriminator from {config.loss.adversarial_from} images"
            if config.loss.adversarial
            else "no discriminator",
        )

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """[C, h, w] of one latent."""
        side = image_size // self._network.reduction
        return self._network.latent_channels, side, side

    def step(self, batch: _Batch, cursor: int) -> dict[str, Tensor] | None:
        """One update; the terms of the loss, or None where the gradient is not finite."""
        config, accelerator = self._config, self._accelerator
        optimizers.set_learning_rate(
            self._optimizer, optimizers.learning_rate(cursor, config.images, config.optimizer)
        )
        images = latents.to_unit(batch.images).to(accelerator.device)
        judged = None
        with self._autocast:
            reconstruction, mean, log_var = self.model(images, batch.noise.to(accelerator.device))
            if self._discriminator is not None and cursor >= config.loss.adversarial_from:
                with _frozen(accelerator.unwrap_model(self._discriminator)) as judge:
                    judged = judge(reconstruction)[-1]
        terms = losses.vae_terms(images, reconstruction, mean, log_var, judged, config.loss)
        loss = losses.sum_terms(terms)
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
        if judged is not None:
            terms["discriminator"] = self._judge_step(images, reconstruction.detach(), cursor)
        return {"loss": loss.detach(), "gradient_norm": norm} | {
            name: term.detach() for name, term in terms.items()
        }

    def _judge_step(self, images: Tensor, reconstruction: Tensor, cursor: int) -> Tensor:
        assert self._discriminator is not None
        config, accelerator = self._config, self._accelerator
        optimizers.set_learning_rate(
            self._judge_optimizer, optimizers.learning_rate(cursor, config.images, config.optimizer)
        )
        with self._autocast:
            both = self._discriminator(torch.cat([images, reconstruction]))[-1]
        real, fake = both.chunk(2)
        loss = losses.adversarial_discriminator(real, fake)
        accelerator.backward(loss)
        self._judge_optimizer.step()
        self._judge_optimizer.zero_grad()
        return loss

    def show(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Originals, reconstructions by the averaged weights, differences: three rows."""
        with self._ema.applied_to(self._accelerator.unwrap_model(self.model)) as autoencoder:
            rebuilt = latents.reconstruct(autoencoder, images)
        difference = np.abs(rebuilt.astype(np.int16) - images).astype(np.uint8)
        return montage([images, rebuilt, difference])

    def snapshot(self, cursor: int) -> Snapshot:
        """All that `restore` needs."""
        model = self._accelerator.unwrap_model(self.model)
        tensors = {
            "model": trained_weights(model),
            "ema": self._ema.tensors(),
            "optimizer": optimizers.optimizer_tensors(self._optimizer),
        }
        if self._discriminator is not None:
            tensors["discriminator"] = trained_weights(self._accelerator.unwrap_model(self._discriminator))
            tensors["discriminator_optimizer"] = optimizers.optimizer_tensors(self._judge_optimizer)
        return Snapshot(images_seen=cursor, tensors=tensors, facts={})

    def restore(self, run: RunFolder) -> int:
        """Takes the latest snapshot, where there is one; the cursor."""
        folder = run.checkpoints("vae")
        snapshot = load_snapshot(folder)
        if snapshot is None:
            return 0
        load_weights_into(self._accelerator.unwrap_model(self.model), snapshot.tensors["model"], folder)
        self._ema.load(snapshot.tensors["ema"])
        optimizers.load_optimizer(self._optimizer, snapshot.tensors["optimizer"])
        if self._discriminator is not None:
            judge = self._accelerator.unwrap_model(self._discriminator)
            load_weights_into(judge, snapshot.tensors["discriminator"], folder)
            optimizers.load_optimizer(self._judge_optimizer, snapshot.tensors["discriminator_optimizer"])
        logger.info("vae: goes on at %d images", snapshot.images_seen)
        return snapshot.images_seen


@contextmanager
def _frozen(module: nn.Module) -> Iterator[nn.Module]:
    """The module with its weights out of the gradient."""
    module.requires_grad_(False)
    try:
        yield module
    finally:
        module.requires_grad_(True)
