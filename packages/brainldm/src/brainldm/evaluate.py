"""A trained model and held-out people -> scores (signatures; the body follows)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from brainldm.data import DataConfig
from brainldm.records import Config, Sample


class ImageModel(Protocol):
    """What is judged; `brainldm.generate.Generator` is one."""

    def generate(
        self,
        prompts: Sequence[str],
        seed: int | Sequence[int] = 0,
        *,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> NDArray[np.uint8]:
        """N sentences -> uint8 [N, H, W]."""
        ...

    def reconstruct(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Uint8 [N, H, W] through the autoencoder and back."""
        ...


class EvaluateConfig(Config):
    """How much is drawn, and how."""

    num_reconstructed: int = 384
    num_generated: int = 128
    num_real: int = 512
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    inception_weights: Path | None = None
    """State dict of the FID Inception-v3; None leaves those features out."""


def evaluate(model: ImageModel, samples: Mapping[str, Iterable[Sample]], config: EvaluateConfig) -> Any:
    """Samples by split ("train", "validation", "test") -> Evaluation(scores, pictures)."""
    raise NotImplementedError


def evaluate_run(
    model: ImageModel, data: Path, data_config: DataConfig, config: EvaluateConfig, folder: Path
) -> Any:
    """Opens the splits of `data`, evaluates, writes `folder` (RUN/evaluation); returns the scores."""
    raise NotImplementedError
