"""A small reader of pictures: which sequence and which plane does a slice show?

Trained within seconds on real slices of training people and checked on real slices of unseen people; only
then asked about generated slices. Its own accuracy stands beside every share it hands out.

Legend: N images, C channels, H, W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from brainldm.records import Config

logger = logging.getLogger(__name__)

SIDE = 48
"""Pixels of what the judge sees: enough for contrast and shape, too few to live on noise."""


class JudgeConfig(Config):
    """How the judge is trained."""

    steps: int = 400
    batch_size: int = 64
    learning_rate: float = 1e-2
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the judge sees in N images."""

    sequences: tuple[str, ...]
    planes: tuple[str, ...]


class Judge:
    """A trained reader; `train_judge` makes one."""

    def __init__(self, network: nn.Module, sequences: tuple[str, ...], planes: tuple[str, ...]) -> None:
        self._network = network
        self.sequences = sequences
        self.planes = planes

    @torch.no_grad()
    def read(self, images: NDArray[np.uint8]) -> Reading:
        """The likeliest sequence and plane of each image, uint8 [N, H, W]."""
        sequences: list[str] = []
        planes: list[str] = []
        for i in range(0, len(images), 256):
            by_sequence, by_plane = self._network(_small(images[i : i + 256]))
            sequences += [self.sequences[k] for k in by_sequence.argmax(1).tolist()]
            planes += [self.planes[k] for k in by_plane.argmax(1).tolist()]
        return Reading(sequences=tuple(sequences), planes=tuple(planes))


def train_judge(
    images: NDArray[np.uint8], sequences: Sequence[str], planes: Sequence[str], config: JudgeConfig
) -> Judge:
    """A judge of the sequences and planes that occur; the same arguments give the same judge.

    Args:
        images: uint8 [N, H, W], real slices of training people.
        sequences, planes: [N], what they show.
    """
    names = tuple(sorted(set(sequences))), tuple(sorted(set(planes)))
    sequence_targets = torch.tensor([names[0].index(name) for name in sequences])
    plane_targets = torch.tensor([names[1].index(name) for name in planes])
    small = _small(images)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = _Network(len(names[0]), len(names[1]))
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    for _ in range(config.steps):
        chosen = torch.randint(len(small), (config.batch_size,), generator=generator)
        by_sequence, by_plane = network(_vary(small[chosen], generator))
        loss = functional.cross_entropy(by_sequence, sequence_targets[chosen])
        loss = loss + functional.cross_entropy(by_plane, plane_targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    logger.info("judge: %d steps on %d slices, last loss %.3f", config.steps, len(images), loss.item())
    return Judge(network.eval(), *names)


class _Network(nn.Module):
    """The sequence is read off means over the picture (contrast), the plane off a 4 x 4 layout.

    No maxima: one bright lesion would turn a FLAIR into a T2.
    """

    def __init__(self, num_sequences: int, num_planes: int) -> None:
        super().__init__()
        plan = ((1, 12, 5, 2), (12, 12, 3, 1), (12, 32, 3, 2), (32, 32, 3, 1), (32, 64, 3, 2))
        layers: list[nn.Module] = []
        for before, after, kernel, stride in plan:
            convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        self.sequence = nn.Linear(64, num_sequences)
        self.plane = nn.Linear(16 * 64, num_planes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[N, 1, 48, 48] -> logits [N, sequences], [N, planes]."""
        x = self.trunk(x.contiguous(memory_format=torch.channels_last))
        contrast = x.mean((2, 3))
        layout = functional.adaptive_avg_pool2d(x, 4).flatten(1)
        return self.sequence(contrast), self.plane(layout)


def _small(images: NDArray[np.uint8]) -> torch.Tensor:
    """Uint8 [N, H, W] -> float32 [N, 1, 48, 48] in [0, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(images)).to(torch.float32)[:, None] / 255
    return functional.interpolate(x, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


def _vary(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Other size, place, bias field, gamma, sharpness and noise: what changes neither sequence nor plane.

    Never mirrored: sides are part of what a slice shows. Blur and noise keep the judge from telling
    scanners, or real from generated, by grain.
    """
    count = len(images)

    def draw(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand((count, *shape), generator=generator)

    theta = torch.zeros(count, 2, 3)
    theta[:, (0, 1), (0, 1)] = draw(0.85, 1.15, 2)
    theta[:, :, 2] = draw(-0.15, 0.15, 2)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    x = functional.grid_sample(images, grid, align_corners=False)
    x = torch.lerp(x, functional.avg_pool2d(x, 3, stride=1, padding=1), draw(0.0, 0.4, 1, 1, 1))
    bias = functional.interpolate(
        draw(0.75, 1.25, 1, 3, 3), size=(SIDE, SIDE), mode="bilinear", align_corners=True
    )
    x = bias * x.clamp(min=1e-4) ** draw(0.8, 1.25, 1, 1, 1)
    noise = torch.randn(x.shape, generator=generator) * draw(0.0, 0.04, 1, 1, 1)
    return (x + noise * (x > 0.02)).clamp(0, 1)
