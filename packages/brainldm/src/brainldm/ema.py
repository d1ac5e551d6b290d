"""Exponential moving average of weights, its memory stated in images instead of steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

Averaged = TypeVar("Averaged", bound=nn.Module)

WARMUP_SHARE = 0.05
"""The half-life never exceeds this share of the images seen, so that early noise is forgotten."""


class Ema:
    """Averages of a module's trained weights; other entries of its state are not touched."""

    def __init__(self, module: nn.Module, half_life_images: float) -> None:
        self._half_life = half_life_images
        self._weights = {
            name: weight.detach().clone()
            for name, weight in module.named_parameters()
            if weight.requires_grad
        }

    @torch.no_grad()
    def update(self, module: nn.Module, *, images_seen: int, images_in_step: int) -> None:
        """Moves the averages towards the weights; `images_seen` includes this step's."""
        half_life = min(self._half_life, WARMUP_SHARE * images_seen)
        keep = 0.5 ** (images_in_step / max(half_life, 1e-8))
        weights = dict(module.named_parameters())
        averages = list(self._weights.values())
        torch._foreach_lerp_(averages, [weights[name] for name in self._weights], 1.0 - keep)

    def tensors(self) -> dict[str, Tensor]:
        """The averages by name, for a checkpoint."""
        return dict(self._weights)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the averages of a checkpoint; names and shapes must be the same."""
        for name, average in self._weights.items():
            average.copy_(tensors[name])

    @contextmanager
    def applied_to(self, module: Averaged) -> Iterator[Averaged]:
        """The module with averaged weights, put back afterwards."""
        kept = {name: weight.detach().clone() for name, weight in module.named_parameters()}
        load_weights(module, self._weights)
        try:
            yield module
        finally:
            load_weights(module, kept)


@torch.no_grad()
def load_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies tensors into the weights of these names."""
    weights = dict(module.named_parameters())
    for name, tensor in tensors.items():
        weights[name].copy_(tensor)
