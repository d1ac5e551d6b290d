"""Images -> feature vectors that a Frechet distance compares.

`PyramidFeatures` needs no weights and knows nothing but shape and texture; `brainldm.inception` is the
network behind the published figures. Distances by different extractors cannot be compared.

Legend: N images, D features, H, W pixels, L levels.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

ORIENTATIONS = 4
LAYOUT = 8
"""The layout part is the image averaged into 8 x 8 fields."""
FIELDS = 2
"""The texture part pools into 2 x 2 fields."""
KERNEL = 5
SIGMA = 1.0
WAVELENGTH = 3.0
"""Of the Gabor filters, in pixels of their level."""
TEXTURE_GAIN = 0.5
"""Over real slices, gives the texture features about the variance of the layout features."""
FLOOR = 0.02
"""Grey level (of 1) below which a field counts as empty ..."""
NEUTRAL_RATIO = 0.2
"""... and the texture it then has: about the mean over brain."""


class FeatureExtractor(Protocol):
    """Images to features, always the same for the same image."""

    @property
    def name(self) -> str:
        """Stands beside every figure made with it."""
        ...

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Uint8 [N, H, W] -> [N, D]."""
        ...


class PyramidFeatures:
    """Layout and oriented texture at every octave; no learned weights, no download.

    Layout: 64 means of an 8 x 8 division. Texture: at each level (halved by 2 x 2 means down to 8
    pixels), the magnitude of the response to a quadrature pair of Gabor filters in 4 orientations, averaged
    over each quadrant, as the logarithm of its ratio to the quadrant's mean grey level: 16 numbers a level.
    In all 64 + 16 L, 128 for 64-pixel images and 160 for 256.
    """

    def __init__(self, image_size: int) -> None:
        if image_size < 2 * LAYOUT:
            raise ValueError(f"pyramid features: expected images of at least 16 pixels, found {image_size}")
        self.levels = int(math.log2(image_size / LAYOUT)) + 1
        self.dimensions = LAYOUT**2 + self.levels * ORIENTATIONS * FIELDS**2
        self._filters = _gabor_pairs()

    @property
    def name(self) -> str:
        """Such as `pyramid-128`: the kind and the number of features."""
        return f"pyramid-{self.dimensions}"

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Uint8 [N, H, W] -> [N, 64 + 16 L]."""
        chunks = [self._chunk(images[i : i + 64]) for i in range(0, len(images), 64)]
        return np.concatenate(chunks) if chunks else np.zeros((0, self.dimensions))

    def _chunk(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        level = torch.from_numpy(np.ascontiguousarray(images)).to(torch.float32)[:, None] / 255
        parts = [functional.adaptive_avg_pool2d(level, LAYOUT).flatten(1)]
        for _ in range(self.levels):
            parts.append(TEXTURE_GAIN * self._texture(level).flatten(1))
            level = functional.avg_pool2d(level, 2)
        return torch.cat(parts, dim=1).double().numpy()

    def _texture(self, level: torch.Tensor) -> torch.Tensor:
        """[N, 1, H, W] -> [N, 4 orientations, 2, 2]."""
        padded = functional.pad(level, (KERNEL // 2,) * 4, mode="replicate")
        even, odd = functional.conv2d(padded, self._filters).chunk(2, dim=1)
        strength = functional.adaptive_avg_pool2d(torch.sqrt(even**2 + odd**2), FIELDS)
        grey = functional.adaptive_avg_pool2d(level, FIELDS)
        return torch.log((strength + NEUTRAL_RATIO * FLOOR) / (grey + FLOOR))


def _gabor_pairs() -> torch.Tensor:
    """Even then odd Gabor filters without mean, each of unit L1 norm: [2 x 4, 1, 5, 5]."""
    grid = torch.arange(KERNEL, dtype=torch.float32) - KERNEL // 2
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    envelope = torch.exp(-(x**2 + y**2) / (2 * SIGMA**2))
    angles = [math.pi * k / ORIENTATIONS for k in range(ORIENTATIONS)]
    along = torch.stack([x * math.cos(a) + y * math.sin(a) for a in angles]) * (2 * math.pi / WAVELENGTH)
    filters = torch.cat([envelope * torch.cos(along), envelope * torch.sin(along)])
    filters = filters - envelope * (filters.sum((1, 2), keepdim=True) / envelope.sum())
    return (filters / filters.abs().sum((1, 2), keepdim=True))[:, None]
