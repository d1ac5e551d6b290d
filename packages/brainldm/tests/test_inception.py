"""The Inception network, held against what torch-fidelity 0.4.0 gives for the same random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from brainldm import inception
from brainldm.errors import CheckpointError
from brainldm.inception import InceptionFeatures

pytestmark = pytest.mark.unit

REFERENCE_HEAD = (0.431014, 6.16893, 7.05549, 4.78468, 3.27201)
"""First five features of torch-fidelity's network with `random_state()` for `picture()`, both scaled to
[-1, 1] the way pytorch-fid does."""
REFERENCE_MEAN = 1.478948

Shapes = dict[str, tuple[int, int, int, int]]


def block_a(name: str, before: int, pool: int) -> Shapes:
    return {
        f"{name}.branch1x1": (64, before, 1, 1),
        f"{name}.branch5x5_1": (48, before, 1, 1),
        f"{name}.branch5x5_2": (64, 48, 5, 5),
        f"{name}.branch3x3dbl_1": (64, before, 1, 1),
        f"{name}.branch3x3dbl_2": (96, 64, 3, 3),
        f"{name}.branch3x3dbl_3": (96, 96, 3, 3),
        f"{name}.branch_pool": (pool, before, 1, 1),
    }


def block_c(name: str, width: int) -> Shapes:
    return {
        f"{name}.branch1x1": (192, 768, 1, 1),
        f"{name}.branch7x7_1": (width, 768, 1, 1),
        f"{name}.branch7x7_2": (width, width, 1, 7),
        f"{name}.branch7x7_3": (192, width, 7, 1),
        f"{name}.branch7x7dbl_1": (width, 768, 1, 1),
        f"{name}.branch7x7dbl_2": (width, width, 7, 1),
        f"{name}.branch7x7dbl_3": (width, width, 1, 7),
        f"{name}.branch7x7dbl_4": (width, width, 7, 1),
        f"{name}.branch7x7dbl_5": (192, width, 1, 7),
        f"{name}.branch_pool": (192, 768, 1, 1),
    }


def block_e(name: str, before: int) -> Shapes:
    return {
        f"{name}.branch1x1": (320, before, 1, 1),
        f"{name}.branch3x3_1": (384, before, 1, 1),
        f"{name}.branch3x3_2a": (384, 384, 1, 3),
        f"{name}.branch3x3_2b": (384, 384, 3, 1),
        f"{name}.branch3x3dbl_1": (448, before, 1, 1),
        f"{name}.branch3x3dbl_2": (384, 448, 3, 3),
        f"{name}.branch3x3dbl_3a": (384, 384, 1, 3),
        f"{name}.branch3x3dbl_3b": (384, 384, 3, 1),
        f"{name}.branch_pool": (192, before, 1, 1),
    }


SHAPES: Shapes = {
    "Conv2d_1a_3x3": (32, 3, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (64, 32, 3, 3),
    "Conv2d_3b_1x1": (80, 64, 1, 1),
    "Conv2d_4a_3x3": (192, 80, 3, 3),
    **block_a("Mixed_5b", 192, 32),
    **block_a("Mixed_5c", 256, 64),
    **block_a("Mixed_5d", 288, 64),
    "Mixed_6a.branch3x3": (384, 288, 3, 3),
    "Mixed_6a.branch3x3dbl_1": (64, 288, 1, 1),
    "Mixed_6a.branch3x3dbl_2": (96, 64, 3, 3),
    "Mixed_6a.branch3x3dbl_3": (96, 96, 3, 3),
    **block_c("Mixed_6b", 128),
    **block_c("Mixed_6c", 160),
    **block_c("Mixed_6d", 160),
    **block_c("Mixed_6e", 192),
    "Mixed_7a.branch3x3_1": (192, 768, 1, 1),
    "Mixed_7a.branch3x3_2": (320, 192, 3, 3),
    "Mixed_7a.branch7x7x3_1": (192, 768, 1, 1),
    "Mixed_7a.branch7x7x3_2": (192, 192, 1, 7),
    "Mixed_7a.branch7x7x3_3": (192, 192, 7, 1),
    "Mixed_7a.branch7x7x3_4": (192, 192, 3, 3),
    **block_e("Mixed_7b", 1280),
    **block_e("Mixed_7c", 2048),
}


def random_state() -> dict[str, torch.Tensor]:
    """Weights in the published layout, the same every time."""
    rng = np.random.default_rng(0)
    state = {}
    for name, shape in SHAPES.items():
        out, fan_in = shape[0], shape[1] * shape[2] * shape[3]
        state[f"{name}.conv.weight"] = rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        state[f"{name}.bn.weight"] = rng.uniform(0.8, 1.2, out)
        state[f"{name}.bn.bias"] = 0.1 * rng.standard_normal(out)
        state[f"{name}.bn.running_mean"] = 0.1 * rng.standard_normal(out)
        state[f"{name}.bn.running_var"] = rng.uniform(0.5, 1.5, out)
    return {name: torch.from_numpy(value).float() for name, value in state.items()}


def picture() -> np.ndarray:
    """One image at the network's own size, so that no interpolation enters."""
    rows, columns = np.mgrid[-1:1:299j, -1:1:299j]
    waves = 127 + 90 * np.sin(9 * rows) * np.cos(14 * columns + 3 * rows)
    return np.clip(waves, 0, 255).astype(np.uint8)[None]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / inception.FILE_NAME
    torch.save(random_state(), path)
    return path


def test_features_are_those_of_the_reference_network(weights: Path) -> None:
    features = InceptionFeatures(weights)(picture())
    assert features.shape == (1, inception.DIMENSIONS)
    np.testing.assert_allclose(features[0, :5], REFERENCE_HEAD, rtol=1e-4)
    assert features.mean() == pytest.approx(REFERENCE_MEAN, rel=1e-4)


def test_small_images_are_enlarged(weights: Path) -> None:
    extract = InceptionFeatures(weights)
    small = picture()[:, ::4, ::4]
    assert np.abs(extract(small) - extract(small[:, :, ::-1])).max() > 1e-3
    assert extract(small[:0]).shape == (0, inception.DIMENSIONS)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found no file"):
        InceptionFeatures(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(CheckpointError, match="expected a torch state dict"):
        InceptionFeatures(tmp_path / "text.pth")
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"found no .*\.(bn|conv)\."):
        InceptionFeatures(tmp_path / "other.pth")


def test_fetched_weights_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another hash is not kept; one already there is taken without a connection."""
    (tmp_path / "served.pth").write_bytes(b"something else")
    monkeypatch.setattr(inception, "URL", (tmp_path / "served.pth").as_uri())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(CheckpointError, match=r"could not be fetched.*hash"):
        inception.fetch_weights()
    kept = tmp_path / "hub" / "checkpoints" / inception.FILE_NAME
    assert not kept.exists()
    kept.write_bytes(b"there")
    assert inception.fetch_weights() == kept
