"""Captions -> images, one seed each."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import model_validator

from brainldm import latents, sampling
from brainldm.checkpoints import RunFolder, Snapshot, load_snapshot, load_weights_into
from brainldm.data import DataConfig
from brainldm.diffusion import DiffusionConfig
from brainldm.errors import CheckpointError
from brainldm.latents import LatentScale
from brainldm.logs import labelled_grid
from brainldm.networks import Autoencoder, AutoencoderConfig, ConditionedUNet, Denoiser, UNetConfig
from brainldm.records import PLANES, SEQUENCES, Config, Stage
from brainldm.sampling import SamplingConfig
from brainldm.text import NULL_CAPTION, TextConfig, Tokenizer, load_text

BATCH_SIZE = 32
_GRID_CELL = 192


class ModelConfig(Config):
    """The part of a recipe that a trained model needs: data, networks, text, diffusion, sampling."""

    data: DataConfig = DataConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    text: TextConfig = TextConfig()
    unet: UNetConfig = UNetConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    sampling: SamplingConfig = SamplingConfig()

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """[C, h, w] of one latent."""
        side = self.data.image_size // self.autoencoder.reduction
        return self.autoencoder.latent_channels, side, side

    @model_validator(mode="after")
    def _check_sizes(self) -> ModelConfig:
        needed = self.autoencoder.reduction * self.unet.fold * 2 ** (len(self.unet.channels) - 1)
        if self.data.image_size % needed:
            raise ValueError(
                f"data.image_size must be a multiple of {needed}, by which autoencoder and U-Net reduce it, "
                f"got {self.data.image_size}"
            )
        return self


class Generator:
    """A trained run, ready to draw images. `brainldm.load(RUN)` makes one."""

    def __init__(
        self,
        recipe: ModelConfig,
        autoencoder: Autoencoder,
        denoiser: Denoiser,
        tokenizer: Tokenizer,
        scale: LatentScale,
        prompts: dict[str, str],
    ) -> None:
        self.recipe = recipe
        self.prompts = prompts
        """One caption of the training set for each "<sequence> <plane>", such as "T2w axial"."""
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._autoencoder = autoencoder.eval().to(self._device)
        self._denoiser = denoiser.eval().to(self._device)
        self._tokenizer = tokenizer
        self._scale = scale

    @classmethod
    def open(cls, run: RunFolder, recipe: ModelConfig) -> Generator:
        """Reads the averaged weights of both stages.

        Raises:
            CheckpointError: a stage has no snapshot yet, or another shape than the recipe says.
        """
        ldm = _latest(run, "ldm")
        tokenizer, encoder = load_text(recipe.text, run.text)
        unet = ConditionedUNet(recipe.unet, recipe.autoencoder.latent_channels, encoder.width)
        denoiser = Denoiser(unet, encoder)
        load_weights_into(denoiser, ldm.tensors["ema"], run.checkpoints("ldm"))
        return cls(
            recipe,
            load_autoencoder(run, recipe.autoencoder),
            denoiser,
            tokenizer,
            LatentScale.from_facts(dict(ldm.facts["latent_scale"])),
            json.loads(run.prompts.read_text()),
        )

    def generate(
        self,
        prompts: Sequence[str],
        seed: int | Sequence[int] = 0,
        *,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> NDArray[np.uint8]:
        """One image for each prompt, a function of (prompt, its seed, steps, guidance) alone.

        Args:
            prompts: N sentences.
            seed: one number = the same noise for every prompt (to compare prompts); N numbers = one
                each (to get varied images, as for FID: `seed=range(N)`).
            steps: denoising steps; None = the recipe's.
            guidance: strength of classifier-free guidance, 1 = none; None = the recipe's.

        Returns:
            uint8 [N, H, W], H = W = `recipe.data.image_size`.
        """
        seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
        if len(seeds) != len(prompts):
            raise ValueError(
                f"seed must be one number or one a prompt, got {len(seeds)} for {len(prompts)} prompts"
            )
        settings = SamplingConfig(
            steps=self.recipe.sampling.steps if steps is None else steps,
            guidance=self.recipe.sampling.guidance if guidance is None else guidance,
        )
        size = self.recipe.data.image_size
        images = np.zeros((len(prompts), size, size), np.uint8)
        for first in range(0, len(prompts), BATCH_SIZE):
            part = slice(first, first + BATCH_SIZE)
            images[part] = self._generate_batch(list(prompts[part]), seeds[part], settings)
        return images

    def reconstruct(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images [N, H, W] through the autoencoder (latent mean) and back, same shape and type."""
        parts = [images[first : first + BATCH_SIZE] for first in range(0, len(images), BATCH_SIZE)]
        return np.concatenate([latents.reconstruct(self._autoencoder, part) for part in parts])

    def _generate_batch(
        self, prompts: list[str], seeds: list[int], settings: SamplingConfig
    ) -> NDArray[np.uint8]:
        drawn = sampling.sample_from_words(
            self._denoiser,
            self._tokenizer(prompts).to(self._device),
            self._tokenizer([NULL_CAPTION] * len(prompts)).to(self._device),
            sampling.draw_noise(seeds, self.recipe.latent_shape).to(self._device),
            settings,
            self.recipe.diffusion,
        )
        return latents.decode(self._autoencoder, drawn, self._scale)


def draw_grid(
    generator: Generator, seed: int, *, steps: int | None = None, guidance: float | None = None
) -> Image.Image:
    """Sequences x planes from the run's own prompts, all from one seed, with labels."""
    known = generator.prompts.keys()  # pairs of sequence and plane that the training set has
    sequences = [name for name in SEQUENCES if any(pair.startswith(f"{name} ") for pair in known)]
    planes = [plane for plane in PLANES if all(f"{name} {plane}" in known for name in sequences)]
    rows = []
    for sequence in sequences:
        prompts = [generator.prompts[f"{sequence} {plane}"] for plane in planes]
        rows.append(generator.generate(prompts, seed, steps=steps, guidance=guidance))
    return labelled_grid(rows, list(sequences), list(planes), _GRID_CELL)


def load_autoencoder(run: RunFolder, config: AutoencoderConfig) -> Autoencoder:
    """The autoencoder of a run with averaged weights, on the CPU."""
    autoencoder = Autoencoder(config)
    load_weights_into(autoencoder, _latest(run, "vae").tensors["ema"], run.checkpoints("vae"))
    return autoencoder.eval().requires_grad_(False)


def _latest(run: RunFolder, stage: Stage) -> Snapshot:
    snapshot = load_snapshot(run.checkpoints(stage))
    if snapshot is None:
        raise CheckpointError(
            f"{run.path}: no snapshot of stage {stage}; train it first: "
            f"accelerate launch brainldm train --out {run.path}"
        )
    return snapshot
