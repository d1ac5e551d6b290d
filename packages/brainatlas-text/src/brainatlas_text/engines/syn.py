"""Deformable registration by ANTs' SyN (Avants et al., Medical Image Analysis 2008), of antspyx; an extra.

Each registration runs in a child process of its own: one thread and a fixed seed whatever the caller has
imported before, so that equal images give equal fields, bit for bit; memory that ends with it; and a child
that can be stopped at once, which a call into ANTs cannot. All files lie in a folder that is removed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from brainatlas_text import volumes
from brainatlas_text.engines.warps import Field, read_field
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import PART

INSTALL = "pip install 'brainatlas-text[ants]'"
_ENVIRONMENT = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1", "OMP_NUM_THREADS": "1", "ANTS_RANDOM_SEED": "1"}
_FORWARD, _BACKWARD = "out1Warp.nii.gz", "out1InverseWarp.nii.gz"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SynSettings:
    """Settings of the search; iterations from coarse to fine, halving the voxels each time."""

    metric: str = "mattes"
    """`mattes` (mutual information) or `cc` (local cross-correlation)."""
    sampling: int = 32
    """Bins of the histogram for `mattes`, radius in voxels for `cc`."""
    iterations: tuple[int, ...] = (40, 20, 5)
    gradient_step: float = 0.2
    flow_sigma: float = 3.0
    """Smoothing of each update in voxels² (variance)."""
    total_sigma: float = 0.0
    """Smoothing of the whole field."""


def is_installed() -> bool:
    """Whether antspyx can be imported; imports nothing."""
    return util.find_spec("ants") is not None


def version() -> str:
    """Version of the installed package, such as `0.6.3`."""
    return metadata.version("antspyx")


def register_syn(
    fixed: Volume, moving: Volume, where: Volume, settings: SynSettings, scratch: Path
) -> tuple[Field, Field]:
    """Bend one image into the other; both are float32 on one grid, a good affine applied already.

    They are compared where the uint8 mask `where` of the fixed image is not 0. Returns `moving_from_fixed`
    and its inverse `fixed_from_moving`, displacements on that grid. `scratch` is the folder in which a folder
    for temporary files is made. Raises RuntimeError where ANTs fails.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{PART}syn-", dir=scratch) as name:
        folder = Path(name)
        for image, stem in ((fixed, "fixed"), (moving, "moving"), (where, "where")):
            (folder / f"{stem}.nii.gz").write_bytes(volumes.encode(image, np.float32))
        (folder / "settings.json").write_text(json.dumps(asdict(settings)))
        _run_child(folder)
        return read_field(folder / _FORWARD), read_field(folder / _BACKWARD)


def _run_child(folder: Path) -> None:
    """Register the images in the folder; whatever happens, the child is gone afterwards."""
    command = [sys.executable, "-m", __name__, str(folder)]
    log = folder / "log"
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | _ENVIRONMENT,
            check=False,
        )
    if done.returncode or not all((folder / name).is_file() for name in (_FORWARD, _BACKWARD)):
        said = " ".join(log.read_text(errors="replace").split())[-300:] or "it said nothing"
        raise RuntimeError(f"antspyx ended with status {done.returncode}: {said}")


def _child(folder: Path) -> None:
    """What the child process does."""
    if sys.platform == "linux":  # a build that is killed leaves no orphan
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    import ants

    settings: Mapping[str, Any] = json.loads((folder / "settings.json").read_text())
    ants.registration(
        fixed=ants.image_read(str(folder / "fixed.nii.gz")),
        moving=ants.image_read(str(folder / "moving.nii.gz")),
        mask=ants.image_read(str(folder / "where.nii.gz")),
        type_of_transform="SyNOnly",
        outprefix=str(folder / "out"),
        syn_metric=settings["metric"],
        syn_sampling=settings["sampling"],
        reg_iterations=tuple(settings["iterations"]),
        grad_step=settings["gradient_step"],
        flow_sigma=settings["flow_sigma"],
        total_sigma=settings["total_sigma"],
    )


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
