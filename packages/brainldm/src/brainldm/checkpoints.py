"""The run folder and the snapshots in it: weights, averages, optimizer and cursor, saved as one.

    RUN/recipe.toml           resolved; what makes the run what it is
    RUN/data.json             which data set it was trained on
    RUN/checkpoints/<stage>/step-<images>/*.safetensors, state.json;  latest names the newest
    RUN/latents/  RUN/text/  RUN/cache/
    RUN/log.jsonl  RUN/tensorboard/  RUN/pictures/

A snapshot is written aside, synced and renamed, then `latest` is replaced: whatever kills the process,
`latest` names a whole snapshot. Chance is a function of (seed, cursor), so there is no random state.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from brainldm.errors import CheckpointError, TrainingError
from brainldm.records import Stage

_KEPT = 2
"""Snapshots kept of a stage: the newest, and the one before in case a disk fails."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where things lie in a run."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def data(self) -> Path:
        """Which data set the run was trained on."""
        return self.path / "data.json"

    @property
    def prompts(self) -> Path:
        """One caption of the training set for each sequence and plane."""
        return self.path / "prompts.json"

    @property
    def text(self) -> Path:
        """The encoder trained along, in Transformers' form."""
        return self.path / "text"

    @property
    def latents(self) -> Path:
        """Encoded training set."""
        return self.path / "latents"

    @property
    def cache(self) -> Path:
        """What can be made again."""
        return self.path / "cache"

    @property
    def pictures(self) -> Path:
        """Reconstructions and sample grids."""
        return self.path / "pictures"

    def checkpoints(self, stage: Stage) -> Path:
        """Snapshots of one stage."""
        return self.path / "checkpoints" / stage

    def stop(self, keys: list[str], stage: Stage, images_seen: int, *, write: bool) -> TrainingError:
        """The error of a gradient that is not finite; one process writes the batch's keys to the run."""
        path = self.path / f"failed-batch-{stage}.json"
        if write:
            write_aside(path, json.dumps({"images_seen": images_seen, "keys": keys}, indent=1) + "\n")
        return TrainingError(
            f"{stage}: gradient not finite after {images_seen} images; the batch's keys are in {path}, "
            "the last snapshot is whole; look at those images, or start anew at a lower learning rate"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a stage needs to go on."""

    images_seen: int
    """The cursor: images of all ranks together."""
    tensors: Mapping[str, Mapping[str, Tensor]]
    """Group, such as `model`, `ema`, `optimizer`, -> name -> tensor."""
    facts: Mapping[str, Any]
    """What must agree, or be known, when the snapshot is used."""


def save_snapshot(folder: Path, snapshot: Snapshot) -> Path:
    """Writes `folder/step-<images>` and makes it the latest; older ones but the last are removed."""
    name = f"step-{snapshot.images_seen:010d}"
    partial = folder / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for group, tensors in snapshot.tensors.items():
            save_file(
                {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
                _file(partial, group),
            )
        state = {"images_seen": snapshot.images_seen, "facts": dict(snapshot.facts)}
        (partial / "state.json").write_text(json.dumps(state, indent=1) + "\n")
        for path in partial.iterdir():
            _sync(path)
        if (folder / name).exists():
            shutil.rmtree(folder / name)
        partial.rename(folder / name)
        write_aside(folder / "latest", name + "\n")
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"{folder}: cannot write {name} ({error}); the snapshot before is whole, make space, run again"
        ) from None
    for old in sorted(folder.glob("step-*"))[:-_KEPT]:
        shutil.rmtree(old)
    return folder / name


def load_snapshot(folder: Path) -> Snapshot | None:
    """The latest snapshot, on the CPU; None where there is none.

    Raises:
        CheckpointError: `latest` names a snapshot that is not whole.
    """
    latest = folder / "latest"
    if not latest.is_file():
        return None
    step = folder / latest.read_text().strip()
    try:
        state = json.loads((step / "state.json").read_text())
        # by bytes: tensors that map a file would hold on to a snapshot that is about to be removed
        tensors = {path.stem: load(path.read_bytes()) for path in sorted(step.glob("*.safetensors"))}
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{step}: expected a whole snapshot, found {error}; remove it and run again"
        ) from None
    return Snapshot(images_seen=state["images_seen"], tensors=tensors, facts=state["facts"])


def load_weights_into(module: Any, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Takes the weights of a snapshot.

    Raises:
        CheckpointError: names or shapes differ from the recipe's network.
    """
    own = {name: tuple(weight.shape) for name, weight in module.named_parameters() if weight.requires_grad}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if own != found:
        name = next(name for name in sorted(own | found) if own.get(name) != found.get(name))
        raise CheckpointError(
            f"{where}: weight {name}: the recipe expects shape {own.get(name)}, the snapshot has "
            f"{found.get(name)}; use the recipe that the snapshot was trained with"
        )
    module.load_state_dict(dict(tensors), strict=False)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Short name of a set of weights, by content."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(name.encode())
        content.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]


def trained_weights(module: Any) -> dict[str, Tensor]:
    """The weights that training changes, by name; a frozen encoder is left out."""
    return {name: weight.detach() for name, weight in module.named_parameters() if weight.requires_grad}


def write_aside(path: Path, text: str) -> None:
    """Replaces a small file in one step."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    _sync(partial)
    partial.replace(path)


def _file(folder: Path, group: str) -> str:
    return str(folder / f"{group}.safetensors")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
