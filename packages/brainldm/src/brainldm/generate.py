"""Captions -> images, one seed each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainldm.data import DataConfig
from brainldm.records import Config


class ModelConfig(Config):
    """The part of a recipe that a trained model needs: data, networks, text, diffusion, sampling."""

    data: DataConfig


class Generator:
    """A trained run, ready to draw images. `brainldm.load(RUN)` makes one."""

    recipe: ModelConfig

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
        raise NotImplementedError

    def reconstruct(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images [N, H, W] through the autoencoder (latent mean) and back, same shape and type."""
        raise NotImplementedError
