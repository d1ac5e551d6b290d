"""The hub: the template space in which all scans meet. By default MNI152 2009a at 1 mm, brain only.

The template is read from nilearn's installed files (its licence is in DATA_LICENSES.md). It is exactly
mirror-symmetric, so a registration to it says nothing about left and right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path

import numpy as np

from brainatlas_text import volumes
from brainatlas_text.errors import SourceError
from brainatlas_text.volumes import Volume

_NAME = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@dataclass(frozen=True, slots=True, eq=False)
class Hub:
    """Template image (float32) and brain mask (uint8) on one grid, closest RAS; (0, 0, 0) is MNI's origin."""

    name: str
    image: Volume
    mask: Volume


@cache
def load_hub() -> Hub:
    """The embedded MNI152 template."""
    image = volumes.load(template_path())
    mask = Volume((image.array > 0).astype(np.uint8), image.affine)
    return Hub(name="MNI152NLin2009aSym", image=image, mask=mask)


def template_path() -> Path:
    """Where the installed nilearn keeps the template; nilearn itself is never imported."""
    spec = util.find_spec("nilearn")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / "datasets" / "data" / _NAME if folders else Path(_NAME)
    if not path.is_file():
        raise SourceError(f"{path}: the MNI152 template that nilearn carries is missing; reinstall nilearn")
    return path
