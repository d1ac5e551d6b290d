"""The hub: the template space in which all scans meet. By default MNI152 2009a at 1 mm, brain only.

The template is read from nilearn's installed files (its licence is in DATA_LICENSES.md). It is exactly
mirror-symmetric, so a registration to it says nothing about left and right. A recipe may name another one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainatlas_text import volumes
from brainatlas_text.errors import InputError, RecipeError, SourceError
from brainatlas_text.volumes import Volume

EMBEDDED = "MNI152NLin2009aSym"
MIN_BRAIN_ML, MAX_BRAIN_ML = 100.0, 2400.0
"""Of a template; what is larger shows more than a brain."""
_NAME = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_FINEST_MM = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Hub:
    """Template image (float32, 0 outside the brain) and brain mask (uint8) on one grid, closest RAS.

    Of the embedded one (0, 0, 0) is MNI's origin, the anterior commissure.
    """

    name: str
    """Of the template, or of its file."""
    image: Volume
    mask: Volume
    digest: str
    """Of what both show and where; the order in which a file stores its axes does not count."""


def load_hub(path: str = "", mask: str = "") -> Hub:
    """The embedded MNI152 template, or the one at a path.

    `mask` is a brain mask on its grid, for a template that shows more than the brain. Raises RecipeError for
    files that cannot be read or are no brain.
    """
    if not path:
        return _embedded()
    files = tuple(Path(name).expanduser() for name in (path, mask) if name)
    if missing := [file for file in files if not file.is_file()]:
        raise RecipeError(
            f"register.hub: {missing[0]}: no such file; give a brain template as NIfTI, or none"
        )
    return _users(files, tuple(file.stat().st_mtime_ns for file in files))


def template_path() -> Path:
    """Where the installed nilearn keeps the template; nilearn itself is never imported."""
    spec = util.find_spec("nilearn")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / "datasets" / "data" / _NAME if folders else Path(_NAME)
    if not path.is_file():
        raise SourceError(f"{path}: the MNI152 template that nilearn carries is missing; reinstall nilearn")
    return path


@lru_cache(maxsize=1)
def _embedded() -> Hub:
    image = volumes.load(template_path())
    mask = Volume((image.array > 0).astype(np.uint8), image.affine)
    return Hub(name=EMBEDDED, image=image, mask=mask, digest=_digest(image, mask))


@lru_cache(maxsize=1)
def _users(files: tuple[Path, ...], _changed_ns: tuple[int, ...]) -> Hub:
    """The template of a recipe; read again when its files change."""
    try:
        image, *masks = (volumes.load(file) for file in files)
    except InputError as error:
        raise RecipeError(f"register.hub: {error}") from error
    if masks and not _on_one_grid(masks[0], image):
        raise RecipeError(
            f"register.hub_mask: {files[1]}: lies on another grid {masks[0].shape} than the template "
            f"{image.shape}; resample it by nearest neighbor"
        )
    if not np.isfinite(image.array).all():
        raise RecipeError(f"register.hub: {files[0]}: holds NaN or infinite values; set them to 0")
    inside = masks[0].array > 0.5 if masks else image.array != _background(image.array)
    _check_brain(files, image, inside)
    lowest = min(float(image.array[inside].min()), 0.0)
    shown = np.where(inside, image.array - np.float32(lowest), np.float32(0))
    share = volumes.thin_to(Volume(inside.astype(np.float32), image.affine), _FINEST_MM)
    mask = Volume((share.array > 0.5).astype(np.uint8), share.affine)
    image = volumes.thin_to(Volume(shown, image.affine), _FINEST_MM)
    return Hub(name=files[0].name, image=image, mask=mask, digest=_digest(image, mask))


def _on_one_grid(one: Volume, other: Volume) -> bool:
    return one.shape == other.shape and bool(np.allclose(one.affine, other.affine, atol=0.1))


def _check_brain(files: tuple[Path, ...], image: Volume, inside: NDArray[np.bool_]) -> None:
    """Refuse what is no brain, or not the brain alone."""
    brain_ml = float(inside.sum()) * image.voxel_ml
    named = f"register.hub_mask: {files[1]}" if len(files) > 1 else f"register.hub: {files[0]}"
    if brain_ml > MAX_BRAIN_ML and len(files) == 1:
        raise RecipeError(
            f"{named}: shows {brain_ml:.0f} ml, a brain has at most {MAX_BRAIN_ML:.0f} ml; name its brain "
            "mask with register.hub_mask, or give a template without skull"
        )
    if not MIN_BRAIN_ML <= brain_ml <= MAX_BRAIN_ML:
        raise RecipeError(
            f"{named}: holds {brain_ml:.0f} ml, expected a brain of {MIN_BRAIN_ML:.0f} to "
            f"{MAX_BRAIN_ML:.0f} ml; give another template or mask"
        )
    if np.ptp(image.array[inside]) == 0:
        raise RecipeError(f"{named}: all voxels of the brain have one value; give an image, not a mask")


def _background(array: NDArray[np.float32]) -> float:
    """The most common value on the faces of the grid."""
    faces = [np.take(array, index, axis=axis).ravel() for axis in range(3) for index in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    return float(values[counts.argmax()])


def _digest(image: Volume, mask: Volume) -> str:
    """sha256 over values and grids, to a micrometer."""
    total = hashlib.sha256()
    for volume in (image, mask):
        total.update(np.ascontiguousarray(volume.array).tobytes())
        total.update((np.round(volume.affine, 3) + 0.0).tobytes())
    return total.hexdigest()
