"""Image <-> latent, and the scale of latents; nowhere else.

Diffusion wants latents of mean 0 and variance 1 a channel. `LatentScale` holds what makes them so,
measured once over the training set and stored with the weights that were trained on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainldm.networks import Autoencoder


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentScale:
    """Mean and standard deviation a channel of the latents that `count` images gave."""

    shift: tuple[float, ...]
    scale: tuple[float, ...]
    count: int

    def normalize(self, latents_BChw: Tensor) -> Tensor:
        """Latents of the autoencoder -> latents of the diffusion."""
        return (latents_BChw - self._tensor(self.shift, latents_BChw)) / self._tensor(self.scale, latents_BChw)

    def restore(self, latents_BChw: Tensor) -> Tensor:
        """Latents of the diffusion -> latents of the autoencoder."""
        return latents_BChw * self._tensor(self.scale, latents_BChw) + self._tensor(self.shift, latents_BChw)

    def _tensor(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)[None, :, None, None]


def draw_latents(mean_BChw: Tensor, log_var_BChw: Tensor, noise_BChw: Tensor) -> Tensor:
    """Latents drawn from the autoencoder's normal, float32."""
    return mean_BChw.float() + torch.exp(log_var_BChw.float() / 2) * noise_BChw


def to_unit(images_BHW: NDArray[np.uint8]) -> Tensor:
    """Grey levels uint8 [B, H, W] -> float32 [B, 1, H, W] in [0, 1]."""
    return torch.from_numpy(images_BHW).unsqueeze(1).float().div_(255.0)


def to_grey(images_B1HW: Tensor) -> NDArray[np.uint8]:
    """Float [B, 1, H, W] -> grey levels uint8 [B, H, W], clipped to [0, 1] first."""
    levels = images_B1HW.detach().float().clamp(0.0, 1.0).mul(255.0).round()
    grey: NDArray[np.uint8] = levels.squeeze(1).to(torch.uint8).cpu().numpy()
    return grey


@torch.no_grad()
def decode(autoencoder: Autoencoder, latents_BChw: Tensor, scale: LatentScale) -> NDArray[np.uint8]:
    """Latents of the diffusion -> grey levels uint8 [B, H, W]."""
    return to_grey(autoencoder.decode(scale.restore(latents_BChw)))


@torch.no_grad()
def reconstruct(autoencoder: Autoencoder, images_BHW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey levels through the latent mean and back, uint8 [B, H, W]."""
    device = next(autoencoder.parameters()).device
    mean, _ = autoencoder.encode(to_unit(images_BHW).to(device))
    return to_grey(autoencoder.decode(mean))
