"""The brain mask of a scan: what the image shows, else a mask that came with it, else the recipe's method.

A mask that came with a scan and shows nothing of it is no wish for another one: it is an error in all cases.

The methods: `embedded` (this package's own, for all sequences), `deepbet` (a trained network for T1w; other
sequences go to `embedded`), `command` (any external program). `auto` is deepbet where it is installed, else
embedded; a build resolves it once and writes the choice into the resolved recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from brainatlas_text import volumes
from brainatlas_text.engines import deepbet, extraction, mask_command, masks, resample
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.errors import EmptyMaskError, InputError, MaskError, RecipeError
from brainatlas_text.records import Sequence, SourceScan
from brainatlas_text.volumes import Volume

PROVIDED_VERSION = 1
"""Of what becomes of a mask that came with a scan."""
MaskMethod = Literal["auto", "embedded", "deepbet", "command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSettings:
    """How to find the brain where neither the image nor its source shows it; keys of the recipe."""

    method: MaskMethod = "auto"
    command: str = ""
    writes: str = "mask.nii.gz"
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BrainMask:
    """A mask on the image's grid and where it came from."""

    array: BoolArray
    method: str
    """`stripped`, `provided`, `embedded`, `deepbet` or `command`."""
    detail: str
    notes: tuple[str, ...] = ()


def resolve(method: MaskMethod) -> MaskMethod:
    """The method that `auto` stands for in this environment."""
    if method != "auto":
        return method
    return "deepbet" if deepbet.is_installed() else "embedded"


def check_available(settings: MaskSettings) -> None:
    """Raise RecipeError for a method whose program or package is not here."""
    if settings.method == "deepbet" and not deepbet.is_installed():
        raise RecipeError(
            f"prepare.mask is 'deepbet', which is not installed; {deepbet.INSTALL}, or begin another --out "
            "with another prepare.mask"
        )
    if settings.method == "command" and not mask_command.is_installed(settings.command):
        raise RecipeError(
            f"prepare.mask_command: {mask_command.program_of(settings.command)} is not a program that can be "
            "run here; install it or give its full path"
        )


def identity(sequence: Sequence, settings: MaskSettings) -> tuple[str, str]:
    """Method for scans of a sequence, and what its result depends on: a version or a command."""
    method = resolve(settings.method)
    if method == "command":
        return "command", f"{settings.command}; mask: {settings.writes}"
    if method == "deepbet" and sequence == "T1w":
        return "deepbet", f"version {deepbet.version()}" if deepbet.is_installed() else "missing"
    only = "; deepbet is for T1w alone" if method == "deepbet" else ""
    return "embedded", f"version {extraction.VERSION}{only}"


def find_brain(image: Volume, scan: SourceScan, settings: MaskSettings) -> BrainMask:
    """The brain of a scan (float32, closest RAS). What the image itself shows goes first.

    Raises EmptyMaskError for a provided mask without a voxel in the image, MaskError where the method fails.
    """
    provided, problem = _provided(scan.mask, scan.array_order, image) if scan.mask else (None, "")
    outline = masks.outline_of_stripped(image)
    if outline is not None:
        note = "the image came without skull although its name says nothing of it"
        return BrainMask(
            array=outline,
            method="stripped",
            detail="outline of the image, which shows the brain alone",
            notes=() if scan.stripped else (note,),
        )
    if scan.mask is not None and provided is not None:
        return BrainMask(array=provided, method="provided", detail=scan.mask.name)
    notes = (problem,) if problem else ()
    method, detail = identity(scan.sequence, settings)
    return BrainMask(array=_by_method(method, image, settings), method=method, detail=detail, notes=notes)


def _by_method(method: str, image: Volume, settings: MaskSettings) -> BoolArray:
    if method == "deepbet":
        return deepbet.extract_brain(image)
    if method == "command":
        return mask_command.extract_brain(image, settings.command, settings.writes, settings.timeout_s)
    try:
        return extraction.extract_brain(image)
    except (RuntimeError, ValueError, IndexError) as error:  # of SimpleITK and numpy, for what is no head
        said = " ".join(str(error).split())[-160:]
        raise MaskError(
            f"the embedded method found no head in it ({said}); exclude it or give a mask"
        ) from error


def _provided(path: Path, array_order: str | None, image: Volume) -> tuple[BoolArray | None, str]:
    """The mask on the image's grid, or None and why it is not used."""
    try:
        mask = volumes.load(path, array_order if volumes.stores_no_orientation(path) else None)
    except InputError as error:
        return None, f"brain mask not used: {error}"
    shown = Volume((mask.array > 0.5).astype(np.uint8), mask.affine)
    inside = np.asarray(resample.onto(shown, image) > 0)
    if not inside.any():
        where = " that lies in the image" if shown.array.any() else ""
        raise EmptyMaskError(
            f"{path}: a brain mask of the scan, expected voxels above 0.5, found none{where}; replace it, or "
            "remove it to have the brain found by prepare.mask"
        )
    if not resample.same_box(mask, image):
        return None, f"brain mask {path.name} not used: it lies on another grid than the image"
    return inside, ""
