"""Image <-> latent, and the scale of latents; nowhere else.

Diffusion wants latents of mean 0 and variance 1 a channel. `LatentScale` holds what makes them so,
measured once over the training set and stored with the weights that were trained on it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> LatentScale:
        """From what `asdict` gave."""
        return cls(shift=tuple(facts["shift"]), scale=tuple(facts["scale"]), count=facts["count"])

    def normalize(self, latents_BChw: Tensor) -> Tensor:
        """Latents of the autoencoder -> latents of the diffusion."""
        return (latents_BChw - self._tensor(self.shift, latents_BChw)) / self._tensor(
            self.scale, latents_BChw
        )

    def restore(self, latents_BChw: Tensor) -> Tensor:
        """Latents of the diffusion -> latents of the autoencoder."""
        return latents_BChw * self._tensor(self.scale, latents_BChw) + self._tensor(self.shift, latents_BChw)

    def _tensor(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)[None, :, None, None]


class LatentStore:
    """Encoded samples on disk: mean and log-variance, float16, in blocks of `BLOCK` samples.

    `block-00000.npy` has shape [n, 2, C, h, w] and is mapped, not read; `scale.json` is written last.
    """

    BLOCK = 4096

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blocks: dict[int, NDArray[np.float16]] = {}

    def path(self, block: int) -> Path:
        """File of a block."""
        return self._folder / f"block-{block:05d}.npy"

    def block(self, block: int) -> NDArray[np.float16]:
        """One block, mapped."""
        if block not in self._blocks:
            self._blocks[block] = np.load(self.path(block), mmap_mode="r")
        return self._blocks[block]

    @property
    def shape(self) -> tuple[int, ...]:
        """[C, h, w] of one latent."""
        return self.block(0).shape[2:]

    def moments(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the samples with these numbers, float16 [B, C, h, w]."""
        places = (divmod(number, self.BLOCK) for number in numbers)
        both = torch.from_numpy(np.stack([self.block(block)[row] for block, row in places]))
        return both[:, 0], both[:, 1]

    def save_scale(self, scale: LatentScale) -> None:
        """Marks the store as whole."""
        (self._folder / "scale.json").write_text(json.dumps(asdict(scale)) + "\n")

    def load_scale(self) -> LatentScale | None:
        """The scale; None where the store is not whole."""
        path = self._folder / "scale.json"
        return LatentScale.from_facts(json.loads(path.read_text())) if path.is_file() else None


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
