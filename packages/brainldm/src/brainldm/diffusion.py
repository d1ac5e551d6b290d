"""Noising, target and its inversion: epsilon, v and rectified flow as one linear map. Pure functions.

With latent x, noise e and time t in [0, 1], 0 = clean:

    noisy      z = alpha(t) x + sigma(t) e
    target     y = p(t) x + q(t) e        epsilon: (0, 1)   v: (-sigma, alpha)   flow: (-1, 1)

Both are linear, so a prediction of y gives back x and e by one 2 x 2 solution (`split`), and training
and sampling know nothing else of the objective. Sources: Ho 2020 (epsilon), Salimans & Ho 2022 (v),
Liu 2022 and Lipman 2022 (rectified flow), Esser 2024 (logit-normal times).
Whatever the objective, the network itself may put out clean latents instead (`to_target`).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor

from brainldm.records import Config

Schedule = Literal["linear_beta", "scaled_linear_beta", "cosine", "straight"]
Objective = Literal["epsilon", "v", "flow"]

_SCHEDULES_OF: dict[Objective, tuple[Schedule, ...]] = {
    "epsilon": ("linear_beta", "scaled_linear_beta"),  # the others reach alpha = 0, where x is lost
    "v": ("linear_beta", "scaled_linear_beta", "cosine"),
    "flow": ("straight",),
}
_NUM_BETAS = 1000
_MAX_WEIGHT = 16.0
"""Of an error of clean latents; on the straight path it is reached at t = 0.25."""
_LOGIT_LIMIT = 1e-4
"""Logit-normal times keep this distance from 0 and 1."""


class DiffusionConfig(Config):
    """What is predicted, along which path, at which times."""

    objective: Objective = "epsilon"
    schedule: Schedule = "linear_beta"
    beta_start: float = 0.0015
    beta_end: float = 0.0195
    times: Literal["uniform", "logit_normal"] = "uniform"
    """Distribution of training times; `logit_normal` dwells in the middle."""
    network: Literal["target", "clean"] = "target"
    """What the network puts out. `clean` latents are turned into the target: a network that is small for
    its latents then blurs what it cannot hold, where it would leave noise (Li & He 2025)."""
    caption_dropout: float = 0.1
    """Share of training captions replaced by the empty one, which guidance needs."""

    @model_validator(mode="after")
    def _check_schedule(self) -> DiffusionConfig:
        allowed = _SCHEDULES_OF[self.objective]
        if self.schedule not in allowed:
            raise ValueError(
                f"objective {self.objective} needs schedule {' or '.join(allowed)}, got {self.schedule}"
            )
        return self


def alpha_sigma(times: Tensor, config: DiffusionConfig) -> tuple[Tensor, Tensor]:
    """Signal and noise levels at times in [0, 1], float32, of the shape of `times`.

    The beta schedules run through the 1000 steps of DDPM (step k at t = (k + 1) / 1000, log-linear
    between) from alpha = 1 at t = 0.
    """
    if config.schedule == "straight":
        return 1.0 - times, times
    if config.schedule == "cosine":
        angles = times * (math.pi / 2)
        return torch.cos(angles), torch.sin(angles)
    table = _log_alpha_bar(config.schedule, config.beta_start, config.beta_end).to(times)
    place = times.clamp(0, 1) * _NUM_BETAS
    low = place.floor().long().clamp(max=_NUM_BETAS - 1)
    log_alpha_bar = torch.lerp(table[low], table[low + 1], place - low)
    return torch.exp(0.5 * log_alpha_bar), torch.sqrt(-torch.expm1(log_alpha_bar))


def add_noise(latents_BChw: Tensor, noise_BChw: Tensor, times_B: Tensor, config: DiffusionConfig) -> Tensor:
    """Noisy latents z at times [B]."""
    alpha, sigma = (_to_image(level) for level in alpha_sigma(times_B, config))
    return alpha * latents_BChw + sigma * noise_BChw


def target(latents_BChw: Tensor, noise_BChw: Tensor, times_B: Tensor, config: DiffusionConfig) -> Tensor:
    """What the network should predict at times [B]."""
    p, q = (_to_image(weight) for weight in _target_weights(times_B, config))
    return p * latents_BChw + q * noise_BChw


def to_target(output_BChw: Tensor, noisy_BChw: Tensor, times_B: Tensor, config: DiffusionConfig) -> Tensor:
    """The network's output as a prediction of the target."""
    if config.network == "target":
        return output_BChw
    alpha, sigma = (_to_image(level) for level in alpha_sigma(times_B, config))
    noise = (noisy_BChw - alpha * output_BChw) / sigma
    p, q = (_to_image(weight) for weight in _target_weights(times_B, config))
    return p * output_BChw + q * noise


def split(
    noisy_BChw: Tensor, predicted_BChw: Tensor, times_B: Tensor, config: DiffusionConfig
) -> tuple[Tensor, Tensor]:
    """The clean latents and the noise that a prediction implies."""
    alpha, sigma = (_to_image(level) for level in alpha_sigma(times_B, config))
    p, q = (_to_image(weight) for weight in _target_weights(times_B, config))
    determinant = alpha * q - sigma * p
    latents = (q * noisy_BChw - sigma * predicted_BChw) / determinant
    noise = (alpha * predicted_BChw - p * noisy_BChw) / determinant
    return latents, noise


def loss_per_image(
    output_BChw: Tensor, clean_BChw: Tensor, noise_BChw: Tensor, times_B: Tensor, config: DiffusionConfig
) -> Tensor:
    """Mean squared error of the target [B], Eq. 2 of the paper, in float32.

    An error e of clean latents is one of e (alpha q - sigma p) / sigma in the target; that factor is
    capped, since at the lowest noise it would leave no weight to anything else.
    """
    if config.network == "target":
        wanted = target(clean_BChw, noise_BChw, times_B, config)
        return (output_BChw.float() - wanted.float()).square().flatten(1).mean(1)
    alpha, sigma = alpha_sigma(times_B, config)
    p, q = _target_weights(times_B, config)
    weight = ((alpha * q - sigma * p) / sigma).square().clamp(max=_MAX_WEIGHT)
    return weight * (output_BChw.float() - clean_BChw.float()).square().flatten(1).mean(1)


def training_times(uniform_B: Tensor, config: DiffusionConfig) -> Tensor:
    """Times in (0, 1] from numbers drawn uniformly in [0, 1)."""
    if config.times == "uniform":
        return 1.0 - uniform_B
    normal = math.sqrt(2.0) * torch.erfinv((2.0 * uniform_B - 1.0).clamp(-1 + _LOGIT_LIMIT, 1 - _LOGIT_LIMIT))
    return torch.sigmoid(normal).clamp(_LOGIT_LIMIT, 1.0 - _LOGIT_LIMIT)


def _target_weights(times_B: Tensor, config: DiffusionConfig) -> tuple[Tensor, Tensor]:
    if config.objective == "epsilon":
        return torch.zeros_like(times_B), torch.ones_like(times_B)
    if config.objective == "flow":
        return -torch.ones_like(times_B), torch.ones_like(times_B)
    alpha, sigma = alpha_sigma(times_B, config)
    return -sigma, alpha


@cache
def _log_alpha_bar(schedule: Schedule, beta_start: float, beta_end: float) -> Tensor:
    if schedule == "scaled_linear_beta":
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, _NUM_BETAS, dtype=torch.float64).square()
    else:
        betas = torch.linspace(beta_start, beta_end, _NUM_BETAS, dtype=torch.float64)
    steps = torch.log1p(-betas).cumsum(0)
    return torch.cat([steps.new_zeros(1), steps]).float()


def _to_image(level_B: Tensor) -> Tensor:
    return level_B[:, None, None, None]
