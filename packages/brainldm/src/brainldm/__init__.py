"""Text-conditioned latent diffusion of brain MRI slices.

brainldm.train(TrainConfig(recipe=load_recipe("demo"), data=Path("brainatlas-dataset")))
images = brainldm.load(Path("runs/demo")).generate(["A T2-weighted axial slice …"], seed=7)

Names are imported when they are first used, so that `import brainldm` is light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainldm.errors import (
        BrainLDMError,
        CheckpointError,
        DataError,
        EncoderError,
        InputError,
        LaunchError,
        RecipeError,
        TrainingError,
    )
    from brainldm.evaluate import EvaluateConfig
    from brainldm.generate import Generator
    from brainldm.pipeline import TrainConfig, evaluate_run, load, train
    from brainldm.recipe import Recipe, load_recipe

_HOMES = {
    "BrainLDMError": "errors",
    "CheckpointError": "errors",
    "DataError": "errors",
    "EncoderError": "errors",
    "EvaluateConfig": "evaluate",
    "Generator": "generate",
    "InputError": "errors",
    "LaunchError": "errors",
    "Recipe": "recipe",
    "RecipeError": "errors",
    "TrainConfig": "pipeline",
    "TrainingError": "errors",
    "evaluate_run": "pipeline",
    "load": "pipeline",
    "load_recipe": "recipe",
    "train": "pipeline",
}

__all__ = [
    "BrainLDMError",
    "CheckpointError",
    "DataError",
    "EncoderError",
    "EvaluateConfig",
    "Generator",
    "InputError",
    "LaunchError",
    "Recipe",
    "RecipeError",
    "TrainConfig",
    "TrainingError",
    "evaluate_run",
    "load",
    "load_recipe",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'brainldm' has no attribute {name!r}")
    return getattr(importlib.import_module(f"brainldm.{_HOMES[name]}"), name)
