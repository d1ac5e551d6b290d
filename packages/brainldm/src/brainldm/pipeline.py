"""The order of stages: train a run, load it, evaluate it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from brainldm import evaluate
from brainldm.checkpoints import RunFolder, write_aside
from brainldm.data import DataConfig, SampleSet, open_samples, splits
from brainldm.encode_latents import encode_latents
from brainldm.errors import CheckpointError, LaunchError
from brainldm.evaluate import EvaluateConfig
from brainldm.generate import Generator, load_autoencoder
from brainldm.latents import LatentStore
from brainldm.recipe import Recipe, dump_recipe, first_difference, load_recipe
from brainldm.records import PLANES, SEQUENCES, STAGES, Precision, Stage, StageResult
from brainldm.scores import Scores
from brainldm.shard_index import fingerprint
from brainldm.stops import Stops
from brainldm.text import SCRATCH, TextEncoder, Tokenizer, load_text, prepare_scratch
from brainldm.train_ldm import LdmParts, train_ldm
from brainldm.train_vae import train_vae

logger = logging.getLogger(__name__)

Made = TypeVar("Made")

_NUM_SHOWN = 8
_VOCABULARY_CAPTIONS = 20_000
"""The vocabulary of `scratch` is learned from this many captions, spread over the training set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """What `train` is asked to do."""

    recipe: Recipe
    data: Path = Path("brainatlas-dataset")
    out: Path | None = None
    """The run folder; None = ./runs/<name of the recipe>."""
    stage: Stage | Literal["all"] = "all"
    max_images: int | None = None
    """Each training stage stops here; the same call without it goes on."""
    max_minutes: float | None = None
    """All of it stops after so long, with a snapshot; the same call goes on."""
    threads: int | None = None
    """CPU threads of this process; None = the cores dealt evenly to the processes of this machine."""


def train(config: TrainConfig) -> list[StageResult]:
    """Trains the stages asked for; a run that was stopped goes on where it was.

    SIGTERM and `max_minutes` end it after the step at hand, with a snapshot; the last result says why.

    Call it in every process of a launch (`accelerate launch`, `torchrun`) or in just one.

    Raises:
        InputError: the data set, recipe, run folder, encoder or launch cannot be used.
        TrainingError: a gradient is not finite.
    """
    accelerator = _open_accelerator(config)
    recipe = config.recipe.model_copy(update={"precision": _precision(config.recipe)})
    run = RunFolder(config.out or Path("runs") / recipe.name)
    samples = _on_main_first(
        accelerator, lambda: open_samples(config.data, recipe.data, split="train", cache=run.cache)
    )
    if accelerator.is_main_process:
        _claim(run, recipe, config.data, samples)
    accelerator.wait_for_everyone()
    stages = STAGES if config.stage == "all" else (config.stage,)
    results: list[StageResult] = []
    stops = Stops(accelerator, config.max_minutes)
    with stops.listening():
        for stage in stages:
            results.append(_train_stage(stage, accelerator, run, recipe, config, samples, stops))
            if results[-1].paused:
                break
    accelerator.end_training()
    return results


def load(run: str | Path) -> Generator:
    """Opens a trained run folder.

    Raises:
        CheckpointError: the folder is no run, or its training has not come far enough.
    """
    folder = RunFolder(Path(run))
    return Generator.open(folder, read_recipe(folder))


def evaluate_run(run: Path, data: Path, config: EvaluateConfig, out: Path | None = None) -> Scores:
    """Scores a run on a data set and writes them to `out` (None = RUN/evaluation).

    Raises:
        CheckpointError: the folder is no run, or its training has not come far enough.
        DataError: the data set cannot be used.
    """
    generator = load(run)
    return evaluate.evaluate_run(generator, data, generator.recipe.data, config, out or run / "evaluation")


def read_recipe(run: RunFolder) -> Recipe:
    """The resolved recipe of a run."""
    if not run.recipe.is_file():
        raise CheckpointError(
            f"{run.path}: expected a run folder with recipe.toml, found none; train one first: "
            f"accelerate launch brainldm train --out {run.path}"
        )
    return load_recipe(run.recipe)


def _train_stage(
    stage: Stage,
    accelerator: Accelerator,
    run: RunFolder,
    recipe: Recipe,
    config: TrainConfig,
    samples: SampleSet,
    stops: Stops,
) -> StageResult:
    if stage == "vae":
        shown = _shown(config.data, recipe.data, run)
        return train_vae(
            accelerator,
            run,
            samples,
            shown,
            recipe.autoencoder,
            recipe.vae,
            seed=recipe.seed,
            precision=_precision(recipe),
            stops=stops,
            max_images=config.max_images,
        )
    autoencoder = load_autoencoder(run, recipe.autoencoder).to(accelerator.device)
    if stage == "latents":
        return encode_latents(
            accelerator, run, samples, autoencoder, recipe.latents, _precision(recipe), stops
        )
    store = LatentStore(run.latents)
    scale = store.load_scale()
    if scale is None or scale.count == 0:
        raise CheckpointError(f"{run.path}: no encoded training set; run --stage latents first")
    tokenizer, encoder = _on_main_first(accelerator, lambda: _text(run, recipe, samples))
    prompts = tuple(json.loads(run.prompts.read_text()).values())
    return train_ldm(
        accelerator,
        run,
        samples,
        LdmParts(
            autoencoder=autoencoder,
            store=store,
            scale=scale,
            tokenizer=tokenizer,
            encoder=encoder,
            prompts=prompts,
        ),
        recipe.unet,
        recipe.diffusion,
        recipe.sampling,
        recipe.ldm,
        seed=recipe.seed,
        precision=_precision(recipe),
        stops=stops,
        max_images=config.max_images,
    )


def _open_accelerator(config: TrainConfig) -> Accelerator:
    """One process of the launch, on its device, with its share of the CPU's cores."""
    _refuse_lost_processes()
    # the loops cast by themselves, so that one Python process may train runs of different precision
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
    # accelerate's launcher gives every child one thread, which leaves cores idle
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(config.threads or max(1, cores // here))
    logger.info(
        "process %d of %d on %s, %d threads",
        accelerator.process_index + 1,
        accelerator.num_processes,
        accelerator.device,
        torch.get_num_threads(),
    )
    return accelerator


def _refuse_lost_processes() -> None:
    """Finds the launch that asked for several processes and started one.

    Without a GPU, `accelerate launch --num_processes 2` (with or without --cpu) runs a single child. It
    sets MASTER_PORT, as for several, but no WORLD_SIZE, which every real launcher sets.
    """
    environment = os.environ
    launched = "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_PORT" in environment
    ranks = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
    if launched and not any(name in environment for name in ranks):
        raise LaunchError(
            "accelerate launch: several processes were asked for, but it started only this one; on a CPU use "
            "`accelerate launch --multi_gpu --num_processes 2 brainldm train` (also without a GPU) or "
            "`torchrun --nproc-per-node 2 -m brainldm train`"
        )


def _precision(recipe: Recipe) -> Precision:
    """The recipe's precision with `auto` settled: the launcher's wish, or what the processor is fast in."""
    if recipe.precision != "auto":
        return recipe.precision
    wished = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if wished == "bf16":
        return "bf16"
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    able = torch.cpu.get_capabilities()
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


def _claim(run: RunFolder, recipe: Recipe, data: Path, samples: SampleSet) -> None:
    """Makes the run folder this recipe's and this data set's, or finds that it is another's."""
    identity = fingerprint(data, "train", times=False)
    if run.recipe.is_file():
        difference = first_difference(recipe, read_recipe(run))
        if difference:
            raise CheckpointError(
                f"{run.path}: holds a run of another recipe ({difference}); give that recipe or another --out"
            )
        found = json.loads(run.data.read_text())["identity"]
        if found != identity:
            raise CheckpointError(
                f"{run.path}: was trained on another data set than {data} ({found} against {identity}); "
                "give another --out, or the same --data"
            )
        return
    run.path.mkdir(parents=True, exist_ok=True)
    write_aside(run.prompts, json.dumps(_typical_captions(samples), indent=1, ensure_ascii=False) + "\n")
    write_aside(run.data, json.dumps({"identity": identity, "samples": len(samples)}) + "\n")
    write_aside(run.recipe, dump_recipe(recipe))


def _typical_captions(samples: SampleSet) -> dict[str, str]:
    """For each sequence and plane, the caption of the slice nearest to the middle of a brain."""
    index = samples.index
    sequences, planes = index["sequence"].to_numpy(), index["plane"].to_numpy()
    off_center = np.abs(index["position_fraction"].to_numpy() - 0.5)
    captions = {}
    for sequence in SEQUENCES:
        for plane in PLANES:
            here = np.flatnonzero((sequences == sequence) & (planes == plane))
            if len(here):
                captions[f"{sequence} {plane}"] = samples.caption(int(here[off_center[here].argmin()]), 0.0)
    return captions


def _shown(data: Path, config: DataConfig, run: RunFolder) -> NDArray[np.uint8]:
    """Images [8, H, W] of unseen people where there are any, spread over their split."""
    unseen = next((split for split in splits(data) if split != "train"), "train")
    samples = open_samples(data, config, split=unseen, cache=run.cache)
    numbers = np.linspace(0, len(samples) - 1, min(_NUM_SHOWN, len(samples))).astype(int)
    return np.stack([samples.image(number) for number in numbers.tolist()])


def _text(run: RunFolder, recipe: Recipe, samples: SampleSet) -> tuple[Tokenizer, TextEncoder]:
    if recipe.text.encoder == SCRATCH:
        numbers = np.unique(
            np.linspace(0, len(samples) - 1, min(len(samples), _VOCABULARY_CAPTIONS)).astype(int)
        )
        prepare_scratch(recipe.text, run.text, (samples.caption(number, 0.0) for number in numbers.tolist()))
    torch.manual_seed(recipe.seed)
    return load_text(recipe.text, run.text)


def _on_main_first(accelerator: Accelerator, make: Callable[[], Made]) -> Made:
    """The same object in every process; what it writes on the way is written by the main one alone."""
    with accelerator.main_process_first():
        return make()
