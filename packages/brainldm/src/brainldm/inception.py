"""Inception-v3 features, as published Frechet Inception Distances use them.

The network is read from the widely used state dict of the 2015-12-05 TensorFlow graph
(`pt_inception-2015-12-05-6726825d.pth`); its layers are named there, its widths are in the weights, and
what is left to say is strides, padding and pooling (Szegedy et al. 2016, with the graph's peculiarities:
averages leave the padding out, and the last block pools by maximum). Packages that carry it need
torchvision, which this project does without.

Images are made 299 x 299 by bilinear interpolation and scaled to [-1, 1], as pytorch-fid does; other
conventions differ in the figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from brainldm.errors import CheckpointError

FILE_NAME: Final = "pt_inception-2015-12-05-6726825d.pth"
URL: Final = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE_NAME}"
SHA256_PREFIX: Final = "6726825d"
SIDE: Final = 299
DIMENSIONS: Final = 2048
BATCH_NORM_EPS: Final = 1e-3

Branch = tuple[str, ...]
"""Names of convolutions in order, with `average`, `maximum` or `reduce` for a pooling."""

_BLOCK_A: tuple[Branch, ...] = (
    ("branch1x1",),
    ("branch5x5_1", "branch5x5_2"),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    ("average", "branch_pool"),
)
_BLOCK_B: tuple[Branch, ...] = (
    ("branch3x3",),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    ("reduce",),
)
_BLOCK_C: tuple[Branch, ...] = (
    ("branch1x1",),
    ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
    ("branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"),
    ("average", "branch_pool"),
)
_BLOCK_D: tuple[Branch, ...] = (
    ("branch3x3_1", "branch3x3_2"),
    ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"),
    ("reduce",),
)


def _block_e(pool: str) -> tuple[Branch, ...]:
    return (
        ("branch1x1",),
        ("branch3x3_1", "branch3x3_2a"),
        ("branch3x3_1", "branch3x3_2b"),
        ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a"),
        ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3b"),
        (pool, "branch_pool"),
    )


STEM: Branch = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "reduce", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
BLOCKS: dict[str, tuple[Branch, ...]] = {
    "Mixed_5b": _BLOCK_A,
    "Mixed_5c": _BLOCK_A,
    "Mixed_5d": _BLOCK_A,
    "Mixed_6a": _BLOCK_B,
    "Mixed_6b": _BLOCK_C,
    "Mixed_6c": _BLOCK_C,
    "Mixed_6d": _BLOCK_C,
    "Mixed_6e": _BLOCK_C,
    "Mixed_7a": _BLOCK_D,
    "Mixed_7b": _block_e("average"),
    "Mixed_7c": _block_e("maximum"),
}
POOLS = frozenset({"average", "maximum", "reduce"})
HALVING = frozenset(
    {
        "Conv2d_1a_3x3",
        "Mixed_6a.branch3x3",
        "Mixed_6a.branch3x3dbl_3",
        "Mixed_7a.branch3x3_2",
        "Mixed_7a.branch7x7x3_4",
    }
)
"""Convolutions of stride 2."""
UNPADDED = HALVING | {"Conv2d_2a_3x3", "Conv2d_4a_3x3"}
"""Convolutions without padding; the others keep the size."""


class InceptionFeatures:
    """The 2,048 averaged features before the classifier. About 0.2 s an image on a CPU core."""

    name = f"inception-{DIMENSIONS}"

    def __init__(self, weights: Path) -> None:
        """Reads the state dict.

        Raises:
            CheckpointError: no such file, or not these weights.
        """
        state = _load(weights)
        try:
            self._convolutions = {name: _folded(state, name) for name in _layer_names()}
        except KeyError as missing:
            raise CheckpointError(
                f"{weights}: expected the Inception-v3 state dict {FILE_NAME}, found no {missing.args[0]}; "
                "give that file"
            ) from None

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Grey images uint8 [N, H, W] -> [N, 2048]."""
        chunks = [self._chunk(images[i : i + 16]) for i in range(0, len(images), 16)]
        return np.concatenate(chunks) if chunks else np.zeros((0, DIMENSIONS))

    def _chunk(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        grey = torch.from_numpy(np.ascontiguousarray(images)).to(torch.float32)[:, None] / 255
        x = functional.interpolate(grey, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        x = (2 * x - 1).expand(-1, 3, -1, -1)
        x = _pool("reduce", self._branch(x, STEM, ""))
        for block, branches in BLOCKS.items():
            x = torch.cat([self._branch(x, branch, f"{block}.") for branch in branches], dim=1)
        return x.mean((2, 3)).double().numpy()

    def _branch(self, x: torch.Tensor, steps: Branch, prefix: str) -> torch.Tensor:
        for step in steps:
            x = _pool(step, x) if step in POOLS else self._convolve(x, prefix + step)
        return x

    def _convolve(self, x: torch.Tensor, layer: str) -> torch.Tensor:
        weight, bias = self._convolutions[layer]
        padding = (0, 0) if layer in UNPADDED else (weight.shape[2] // 2, weight.shape[3] // 2)
        stride = 2 if layer in HALVING else 1
        return functional.relu(functional.conv2d(x, weight, bias, stride=stride, padding=padding))


def fetch_weights() -> Path:
    """Downloads the weights (91 MB) into torch's cache once, checked by hash. Only on the user's demand.

    Raises:
        CheckpointError: no connection, or other bytes than expected.
    """
    target = Path(torch.hub.get_dir()) / "checkpoints" / FILE_NAME
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(URL, str(target), hash_prefix=SHA256_PREFIX, progress=False)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{URL}: the Inception weights could not be fetched ({error}); download them elsewhere and give "
            "the file's path, or leave the option out to use pyramid features"
        ) from None
    return target


def _load(weights: Path) -> dict[str, torch.Tensor]:
    if not weights.is_file():
        raise CheckpointError(f"{weights}: expected the Inception-v3 weights {FILE_NAME}, found no file")
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        raise CheckpointError(
            f"{weights}: expected a torch state dict, found {type(error).__name__}"
        ) from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{weights}: expected a torch state dict, found {type(state).__name__}")
    return state


def _layer_names() -> list[str]:
    stem = [step for step in STEM if step not in POOLS]
    mixed = [f"{block}.{step}" for block, branches in BLOCKS.items() for b in branches for step in b]
    return sorted({name for name in stem + mixed if name.split(".")[-1] not in POOLS})


def _folded(state: dict[str, torch.Tensor], layer: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution with its batch normalization folded in."""
    gain = state[f"{layer}.bn.weight"] / torch.sqrt(state[f"{layer}.bn.running_var"] + BATCH_NORM_EPS)
    weight = state[f"{layer}.conv.weight"] * gain[:, None, None, None]
    bias = state[f"{layer}.bn.bias"] - state[f"{layer}.bn.running_mean"] * gain
    return weight.float(), bias.float()


def _pool(kind: str, x: torch.Tensor) -> torch.Tensor:
    if kind == "average":
        return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    if kind == "maximum":
        return functional.max_pool2d(x, 3, stride=1, padding=1)
    return functional.max_pool2d(x, 3, stride=2)
