"""AdamW, its learning rate as a function of images seen, and its state as plain tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from brainldm.records import Config


class OptimizerConfig(Config):
    """AdamW with warm-up and cosine decay, both in images seen."""

    learning_rate: float = Field(default=1e-4, gt=0)
    final_share: float = Field(default=0.0, ge=0, le=1)
    """Learning rate at the end, as a share of the highest; 1 = constant."""
    warmup_images: int = Field(default=0, ge=0)
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    max_gradient_norm: float = 1.0


def build_adamw(module: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trained weights, in one fused update."""
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    return torch.optim.AdamW(
        trained,
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )


def learning_rate(images_seen: int, num_images: int, config: OptimizerConfig) -> float:
    """Linear warm-up, then half a cosine from the highest rate to `final_share` of it."""
    if images_seen < config.warmup_images:
        return config.learning_rate * (images_seen + 1) / (config.warmup_images + 1)
    span = max(num_images - config.warmup_images, 1)
    progress = min((images_seen - config.warmup_images) / span, 1.0)
    share = config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate * share


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state as tensors named `<number of weight>.<entry>`, such as `12.exp_avg`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{entry}": value for number, entries in state.items() for entry, value in entries.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Takes the state that `optimizer_tensors` gave; rates and groups stay the recipe's."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, entry = name.split(".", 1)
        state.setdefault(int(number), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
