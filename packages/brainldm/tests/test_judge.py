"""The judge learns what tells slices apart, and nothing where there is nothing to learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from brainldm.judge import JudgeConfig, Reading, train_judge

pytestmark = pytest.mark.unit
CONFIG = JudgeConfig(steps=80, batch_size=32)
LEVELS = {"T1w": (210, 130), "T2w": (110, 230)}
STRETCH = {"axial": (0.8, 0.6), "sagittal": (0.5, 0.85)}


def slices(count: int, seed: int) -> tuple[NDArray[np.uint8], list[str], list[str]]:
    """Discs: the grey levels tell the sequence, the outline tells the plane."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    sequences, planes = rng.choice(list(LEVELS), count).tolist(), rng.choice(list(STRETCH), count).tolist()
    images = []
    for sequence, plane in zip(sequences, planes, strict=True):
        tall, wide = np.array(STRETCH[plane]) * rng.uniform(0.85, 1.1)
        radius = np.hypot(rows / tall, columns / wide)
        core, rim = np.array(LEVELS[sequence]) * rng.uniform(0.8, 1.1)
        clean = np.select([radius < 0.6, radius < 1], [core, rim], 0)
        images.append(np.clip(clean + rng.normal(0, 5, clean.shape) * (clean > 0), 0, 255))
    return np.stack(images).astype(np.uint8), sequences, planes


def accuracy(reading: Reading, sequences: list[str], planes: list[str]) -> tuple[float, float]:
    return (
        float(np.mean(np.array(reading.sequences) == sequences)),
        float(np.mean(np.array(reading.planes) == planes)),
    )


def test_the_judge_reads_unseen_slices() -> None:
    judge = train_judge(*slices(200, 0), CONFIG)
    images, sequences, planes = slices(200, 1)
    assert min(accuracy(judge.read(images), sequences, planes)) > 0.95


def test_a_judge_of_shuffled_labels_knows_nothing() -> None:
    images, sequences, planes = slices(200, 0)
    order = np.random.default_rng(2).permutation(200)
    judge = train_judge(images, [sequences[n] for n in order], [planes[n] for n in order], CONFIG)
    unseen, sequences, planes = slices(200, 1)
    assert max(accuracy(judge.read(unseen), sequences, planes)) < 0.75


def test_the_same_slices_give_the_same_judge() -> None:
    images, _, _ = slices(50, 3)
    readings = [train_judge(*slices(60, 0), JudgeConfig(steps=5)).read(images) for _ in range(2)]
    assert readings[0] == readings[1]


def test_one_plane_alone_is_always_read() -> None:
    images, sequences, _ = slices(64, 0)
    judge = train_judge(images, sequences, ["axial"] * 64, JudgeConfig(steps=5))
    assert set(judge.read(images).planes) == {"axial"}
