"""The frozen types that flow through training and sampling.

Sample -> Batch -> (conditioning, latents) -> images

Images are uint8 grey levels [H, W] at rest and float32 in [0, 1] inside the networks, so that the zero
padding of convolutions is the black around the brain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Plane = Literal["axial", "coronal", "sagittal"]
Sequence = Literal["T1w", "T2w", "FLAIR"]
Stage = Literal["vae", "latents", "ldm"]
Precision = Literal["fp32", "bf16"]
Pause = Literal["signal", "time"]
"""Why training left before its end: SIGTERM, or `--max-minutes`."""
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
SEQUENCES: tuple[Sequence, ...] = ("T1w", "T2w", "FLAIR")
STAGES: tuple[Stage, ...] = ("vae", "latents", "ldm")


class Config(BaseModel):
    """Base of every part of a recipe: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One slice as the model sees it."""

    key: str
    image: NDArray[np.uint8]
    """[H, W], cropped and reduced to the recipe's `data.image_size`."""
    caption: str
    facts: dict[str, Any]
    """The sample's JSON, as docs/shard-format.md describes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What one stage of training did."""

    stage: Stage
    images: int
    """Seen, or encoded, in all; what an earlier call did included."""
    seconds: float
    """Of this call."""
    loss: float | None = None
    """Mean over the last stretch of the log; None where nothing was trained in this call."""
    paused: Pause | None = None
    """Why it is not at its end; the same call goes on."""
