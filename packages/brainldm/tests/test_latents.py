from pathlib import Path

import numpy as np
import pytest
import torch

from brainldm import latents
from brainldm.encode_latents import measure_scale
from brainldm.latents import LatentScale, LatentStore

pytestmark = pytest.mark.unit


def test_grey_levels_survive_the_way_to_unit_range_and_back():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    unit = latents.to_unit(images)
    assert unit.shape == (1, 1, 16, 16) and unit.min() == 0 and unit.max() == 1
    np.testing.assert_array_equal(latents.to_grey(unit), images)
    assert latents.to_grey(torch.tensor([[[[-0.5, 1.5]]]])).tolist() == [[[0, 255]]]


def test_the_scale_makes_latents_normal_and_is_undone(tmp_path: Path):
    rng = np.random.default_rng(0)
    moments = np.zeros((500, 2, 2, 4, 4), np.float16)
    moments[:, 0] = rng.normal((3.0, -1.0), (2.0, 0.1), (500, 4, 4, 2)).transpose(0, 3, 1, 2)
    moments[:, 1] = np.log(np.array([0.25, 0.04]))[:, None, None]
    np.save(tmp_path / "block-00000.npy", moments)
    store = LatentStore(tmp_path)
    scale = measure_scale(store, 1, common=False)
    np.testing.assert_allclose(scale.shift, (3.0, -1.0), atol=0.1)
    np.testing.assert_allclose(scale.scale, (np.hypot(2.0, 0.5), np.hypot(0.1, 0.2)), rtol=0.05)
    assert scale.count == 500
    common = measure_scale(store, 1, common=True)
    assert common.scale == (scale.scale[0], scale.scale[0]) and common.shift == scale.shift
    mean, log_var = store.moments(list(range(500)))
    drawn = latents.draw_latents(mean, log_var, torch.randn(mean.shape))
    normal = scale.normalize(drawn)
    torch.testing.assert_close(normal.std(dim=(0, 2, 3)), torch.ones(2), atol=0.03, rtol=0)
    torch.testing.assert_close(normal.mean(dim=(0, 2, 3)), torch.zeros(2), atol=0.03, rtol=0)
    torch.testing.assert_close(scale.restore(normal), drawn, atol=1e-5, rtol=1e-5)


def test_a_store_is_whole_when_its_scale_is_there(tmp_path: Path):
    store = LatentStore(tmp_path)
    assert store.load_scale() is None
    scale = LatentScale(shift=(0.5,), scale=(1.5,), count=7)
    store.save_scale(scale)
    assert store.load_scale() == scale


def test_samples_are_found_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(LatentStore, "BLOCK", 3)
    values = np.arange(5, dtype=np.float16)[:, None, None, None, None] * np.ones((1, 2, 1, 2, 2), np.float16)
    np.save(tmp_path / "block-00000.npy", values[:3])
    np.save(tmp_path / "block-00001.npy", values[3:])
    mean, log_var = LatentStore(tmp_path).moments([4, 0, 3])
    assert mean[:, 0, 0, 0].tolist() == [4, 0, 3] and log_var.shape == (3, 1, 2, 2)
