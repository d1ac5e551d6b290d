"""Denoiser and noise -> latents, with classifier-free guidance.

One deterministic sampler serves every objective: DDIM (Song 2020, eta = 0), which on the straight path
of rectified flow is Euler's method. Written here because MONAI 1.6.1 strides its DDIM timesteps and its
update differently, and fills the unconditional branch with -1 where ours encodes the empty caption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor

from brainldm import diffusion
from brainldm.diffusion import DiffusionConfig
from brainldm.networks import Context, Denoiser, Words
from brainldm.records import Config

Predict = Callable[[Tensor, Tensor], Tensor]
"""(noisy latents [B, C, h, w], times [B]) -> prediction [B, C, h, w]."""


class SamplingConfig(Config):
    """How images are drawn; both can be chosen anew for each call."""

    steps: int = Field(default=50, gt=0)
    guidance: float = Field(default=3.0, ge=0)
    """1 = the captions alone; more = away from the empty caption (Ho & Salimans 2022)."""


def draw_noise(seeds: Iterable[int], shape: tuple[int, ...]) -> Tensor:
    """Normal noise [B, *shape], each image from its own seed, so that no image depends on its batch."""
    generators = (torch.Generator().manual_seed(seed) for seed in seeds)
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


def sample_latents(predict: Predict, noise_BChw: Tensor, steps: int, config: DiffusionConfig) -> Tensor:
    """Follows the path from noise at t = 1 to latents at t = 0 in `steps` equal steps."""
    times = torch.linspace(1.0, 0.0, steps + 1).tolist()
    latents = noise_BChw
    for now, after in pairwise(times):
        now_B = latents.new_full((len(latents),), now)
        clean, noise = diffusion.split(latents, predict(latents, now_B), now_B, config)
        latents = diffusion.add_noise(clean, noise, torch.full_like(now_B, after), config)
    return latents


def guided(conditional: Predict, unconditional: Predict, guidance: float) -> Predict:
    """Prediction pushed from the empty caption's towards, and beyond, the caption's."""
    if guidance == 1.0:
        return conditional

    def predict(latents_BChw: Tensor, times_B: Tensor) -> Tensor:
        null = unconditional(latents_BChw, times_B)
        return null + guidance * (conditional(latents_BChw, times_B) - null)

    return predict


@torch.no_grad()
def sample_from_words(
    denoiser: Denoiser,
    words: Words,
    null_words: Words,
    noise_BChw: Tensor,
    sampling: SamplingConfig,
    config: DiffusionConfig,
) -> Tensor:
    """Latents [B, C, h, w] of captions; `null_words` are the empty caption, once for each image."""

    def predict_for(context: Context) -> Predict:
        def predict(latents: Tensor, times: Tensor) -> Tensor:
            return diffusion.to_target(denoiser.unet(latents, times, context), latents, times, config)

        return predict

    predict = guided(
        predict_for(denoiser.embed(words)), predict_for(denoiser.embed(null_words)), sampling.guidance
    )
    return sample_latents(predict, noise_BChw, sampling.steps, config)
