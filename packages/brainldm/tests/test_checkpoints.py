from pathlib import Path

import pytest
import torch
from torch import nn

from brainldm import checkpoints
from brainldm.checkpoints import Snapshot, load_snapshot, load_weights_into, save_snapshot, trained_weights
from brainldm.errors import CheckpointError

pytestmark = pytest.mark.unit


def snapshot(images_seen: int) -> Snapshot:
    return Snapshot(
        images_seen=images_seen,
        tensors={"model": {"weight": torch.full((2, 3), float(images_seen))}, "ema": {}},
        facts={"scale": [1.5]},
    )


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path):
    save_snapshot(tmp_path, snapshot(10))
    found = load_snapshot(tmp_path)
    assert found is not None and found.images_seen == 10 and found.facts == {"scale": [1.5]}
    assert torch.equal(found.tensors["model"]["weight"], torch.full((2, 3), 10.0))
    assert load_snapshot(tmp_path / "none") is None


def test_the_newest_two_are_kept(tmp_path: Path):
    for images_seen in (10, 20, 30):
        save_snapshot(tmp_path, snapshot(images_seen))
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-0000000020", "step-0000000030"]
    found = load_snapshot(tmp_path)
    assert found is not None and found.images_seen == 30


def test_a_write_that_fails_leaves_the_snapshot_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_snapshot(tmp_path, snapshot(10))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", fail)
    with pytest.raises(CheckpointError, match=r"cannot write step-0000000020.*No space left"):
        save_snapshot(tmp_path, snapshot(20))
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-0000000010"]
    found = load_snapshot(tmp_path)
    assert found is not None and found.images_seen == 10


def test_a_snapshot_that_is_not_whole_is_refused(tmp_path: Path):
    step = save_snapshot(tmp_path, snapshot(10))
    (step / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="expected a whole snapshot"):
        load_snapshot(tmp_path)


def test_weights_of_another_shape_are_refused_by_name(tmp_path: Path):
    module = nn.Linear(3, 2)
    with pytest.raises(CheckpointError, match=r"weight weight: the recipe expects shape \(2, 3\)"):
        load_weights_into(module, {"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"weight bias: .* the snapshot has None"):
        load_weights_into(module, {"weight": torch.zeros(2, 3)}, tmp_path)
    load_weights_into(module, {"weight": torch.zeros(2, 3), "bias": torch.ones(2)}, tmp_path)
    assert module.bias.tolist() == [1, 1]


def test_a_digest_names_the_content():
    module = nn.Linear(3, 2)
    first = checkpoints.digest(trained_weights(module))
    assert first == checkpoints.digest(dict(reversed(trained_weights(module).items())))
    with torch.no_grad():
        module.bias[0] += 1e-3
    assert checkpoints.digest(trained_weights(module)) != first
