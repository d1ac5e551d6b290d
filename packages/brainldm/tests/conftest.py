"""Tiny data sets written by hand from docs/shard-format.md, and runs trained on them."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SEQUENCES = {"T1w": "T1-weighted", "T2w": "T2-weighted", "FLAIR": "FLAIR"}
SOURCES = {"T1w": "oasis", "T2w": "ixi", "FLAIR": "kirby"}
PLANES = ("axial", "coronal", "sagittal")
LEVELS = {"T1w": (210, 130, 40), "T2w": (90, 140, 240), "FLAIR": (150, 190, 20)}

TINY_RECIPE = """
name = "tiny"
precision = "fp32"

[data]
crop = 192
image_size = 32
caption_styles = ["short", "full"]

[autoencoder]
patch = 4
channels = [16]
latent_channels = 2
num_res_blocks = 1
norm_groups = 8

[vae]
images = 48
batch_size = 8
ema_half_life = 8
log_every = 8
picture_every = 48
checkpoint_every = 16
optimizer = { learning_rate = 2e-3 }
loss = { adversarial = 0.05, adversarial_from = 16 }
discriminator = { channels = 8, num_layers = 1 }

[text]
width = 16
layers = 1
heads = 2
max_tokens = 48
vocabulary = 200

[unet]
fold = 2
channels = [16, 32]
attention = [false, true]
num_res_blocks = 1
head_channels = 16
norm_groups = 8

[diffusion]
objective = "flow"
schedule = "straight"
times = "logit_normal"

[ldm]
images = 48
batch_size = 8
ema_half_life = 8
log_every = 8
picture_every = 48
checkpoint_every = 16

[sampling]
steps = 3
guidance = 2.0
"""


def picture(sequence: str, height: float, phase: float) -> np.ndarray:
    """A disc with a rim and a core, grey levels by sequence, uint8 [256, 256]."""
    rows, columns = np.mgrid[-1:1:256j, -1:1:256j]
    radius = np.hypot(rows, columns * (1.2 + 0.2 * phase)) / max(0.2, 0.7 * np.sin(np.pi * height))
    white, grey, core = LEVELS[sequence]
    return np.select([radius < 0.3, radius < 0.8, radius < 1.0], [core, white, grey], 0).astype(np.uint8)


def make_sample(split: str, subject: int, sequence: str, plane: str, index: int) -> dict[str, Any]:
    """The facts of one sample."""
    source = SOURCES[sequence]
    scan = f"{source}-{subject:03d}-{sequence.lower()}"
    short = f"A {SEQUENCES[sequence]} {plane} slice of the brain of a {30 + subject}-year-old woman."
    return {
        "format_version": 1,
        "key": f"{scan}_{scan}_{plane}-{index:03d}",
        "split": split,
        "moving": scan,
        "fixed": scan,
        "subject": f"{source}-{subject:03d}",
        "fixed_subject": f"{source}-{subject:03d}",
        "source": source,
        "sequence": sequence,
        "plane": plane,
        "index": index,
        "position_mm": float(index - 128),
        "position_fraction": index / 255,
        "spacing_mm": [1.0, 1.0],
        "source_zooms_mm": [1.0, 1.0, 1.0],
        "age_years": 30.0 + subject,
        "juvenile": False,
        "sex": "F",
        "label_method": "manual",
        "label_voters": [],
        "terms": "made up",
        "structures": [],
        "dropped_structures": 0,
        "captions": [
            {"style": "full", "language": "en", "text": f"{short} It lies {index - 128} mm from the origin."},
            {"style": "short", "language": "en", "text": short},
        ],
    }


def write_shard(path: Path, samples: list[dict[str, Any]], members: Callable[..., dict[str, bytes]]) -> None:
    """A tar of samples; `members` turns facts into extension -> bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for facts in samples:
            for extension, content in members(facts).items():
                entry = tarfile.TarInfo(f"{facts['key']}.{extension}")
                entry.size, entry.mode = len(content), 0o644
                tar.addfile(entry, io.BytesIO(content))


def members_of(facts: dict[str, Any]) -> dict[str, bytes]:
    """The four members of a sample."""
    image = picture(facts["sequence"], facts["position_fraction"], PLANES.index(facts["plane"]))
    return {
        "png": png(image),
        "seg.png": png((image > 0).astype(np.uint8) * 17),
        "txt": facts["captions"][0]["text"].encode(),
        "json": json.dumps(facts).encode(),
    }


def png(array: np.ndarray) -> bytes:
    """PNG bytes of an image."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def shard_tools() -> Any:
    """What tests need to write shards of their own, good or broken."""

    class Tools:
        make_sample = staticmethod(make_sample)
        members_of = staticmethod(members_of)
        write_shard = staticmethod(write_shard)
        png = staticmethod(png)
        picture = staticmethod(picture)

    return Tools


def write_dataset(root: Path) -> Path:
    """5 people a source, 3 for training and 2 unseen; 3 planes; 4 slices each: 108 and 72 samples."""
    for split, subjects in (("train", (1, 2, 3)), ("test", (4, 5))):
        for sequence, source in SOURCES.items():
            for plane in PLANES:
                samples = [
                    make_sample(split, subject, sequence, plane, index)
                    for index in (70, 110, 150, 190)
                    for subject in subjects
                ]
                write_shard(root / "data" / split / f"{source}-{plane}-00000.tar", samples, members_of)
    return root


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set folder; not to be changed."""
    return write_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of the tiny data set that trains in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return path


@pytest.fixture
def run_command() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs a command as a user would: own process, one thread, without the launcher's variables."""

    def run(*arguments: object, cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
        launcher = ("MASTER_", "WORLD_SIZE", "RANK", "LOCAL_", "ACCELERATE_", "TORCHELASTIC_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(launcher)}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
        finished = subprocess.run(
            [str(argument) for argument in arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert finished.returncode == code, finished.stdout + finished.stderr
        return finished

    yield run


@pytest.fixture(scope="session")
def accelerate() -> Path:
    """The launcher of this environment."""
    return Path(sys.executable).with_name("accelerate")


@pytest.fixture(scope="session")
def brainldm_command() -> Path:
    """The command of this environment."""
    return Path(sys.executable).with_name("brainldm")


@pytest.fixture(scope="session")
def trained_run(dataset: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained through all stages in this process."""
    from brainldm import TrainConfig, load_recipe, train

    out = tmp_path_factory.mktemp("runs") / "tiny"
    train(TrainConfig(recipe=load_recipe(tiny_recipe), data=dataset, out=out, threads=1))
    return out
