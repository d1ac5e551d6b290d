"""Bend each scan that gives or receives labels into the hub's shape, on top of its affine.

Input: a PreparedScan (brain only), its HubTransform and the Hub. Output: two displacement fields on the
hub's grid, cropped to its brain and a margin, in ITK's NIfTI form (vectors in LPS mm):

    scan_from_hub = scan_from_bent @ bent_from_hub        hub_from_scan = hub_from_bent @ bent_from_scan

Method: symmetric normalization (SyN; Avants et al., Medical Image Analysis 2008) by ANTs. A warp that folds
the brain or bends it beyond what people differ by is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import hub_pictures, resample, similarity, syn, warps
from brainatlas_text.engines.warps import PointMap
from brainatlas_text.errors import RecipeError
from brainatlas_text.hub import Hub
from brainatlas_text.records import PreparedScan
from brainatlas_text.registrations import HubTransform, HubWarp, TransformQuality, TransformRejection
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace, atomic_path, digest, file_digest, write_text

VERSION = 1
MARGIN_MM = 15.0
"""Kept around the hub's brain, for brains that reach beyond it."""

COMPARED_MM = 6.0
"""How far around the two brains images are compared: enough to draw their outlines together."""


class WarpConfig(BaseModel):
    """Settings of the deformable registration to the hub."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    method: Literal["syn", "none"] = "syn"
    """`syn`: ANTs' symmetric normalization (needs the extra `ants`); `none`: labels follow affines alone."""
    grid_mm: float = Field(1.5, ge=1.0, le=8.0)
    """Grid on which the images are compared and the fields are stored."""
    metric: Literal["mattes", "cc"] = "mattes"
    """`mattes`: mutual information; `cc`: local cross-correlation, slower."""
    iterations: tuple[int, ...] = Field((40, 20, 5), min_length=1, max_length=5)
    """Iterations a resolution, coarse to fine, halving the voxels each time."""
    min_jacobian: float = Field(0.05, gt=0.0, lt=1.0)
    """Smallest accepted local volume ratio within the brain; zero and below is a fold."""
    max_jacobian: float = Field(20.0, gt=1.0)
    """Largest accepted local volume ratio within the brain."""


def methods(config: WarpConfig) -> str:
    """One sentence for the card; empty where nothing is bent."""
    if config.method == "none":
        return ""
    return (
        "Scans that give or receive labels were bent into the template on top of their affine by symmetric "
        f"normalization (ANTs SyN, antspyx) at {config.grid_mm:g} mm."
    )


def check_available(config: WarpConfig) -> None:
    """Raise RecipeError where the recipe's method is not installed."""
    if config.method == "syn" and not syn.is_installed():
        raise RecipeError(
            f"warp.method: syn needs antspyx, which is not installed; {syn.INSTALL}, or carry labels by "
            "affines alone with --set warp.method=none"
        )


def inputs_digest(scan: PreparedScan, transform: HubTransform, hub: Hub, config: WarpConfig) -> str:
    """What the result depends on."""
    settings = config.model_dump(exclude={"method"})
    versions = [VERSION, hub_pictures.VERSION]
    return digest(["warp", versions, scan.digest, transform.digest, hub.digest, syn.version(), settings])


def warp_to_hub(
    scan: PreparedScan, transform: HubTransform, hub: Hub, workspace: Workspace, config: WarpConfig
) -> HubWarp | TransformRejection:
    """Estimate both fields, check them and write them under `work/warps`."""
    image = volumes.load_prepared(workspace.root / scan.image)
    mask = volumes.load_prepared(workspace.root / scan.mask)
    scan_from_hub = spaces.invert(transform.matrix)
    grid = hub_grid(hub, config.grid_mm)
    fixed = _onto(grid, PointMap(()), hub.image, hub.mask)
    moving = _onto(grid, PointMap((scan_from_hub,)), image, mask)
    settings = syn.SynSettings(
        metric=config.metric, sampling=32 if config.metric == "mattes" else 2, iterations=config.iterations
    )
    where = _near(fixed.mask | moving.mask, grid)
    fields = syn.register_syn(fixed.image, moving.image, where, settings, workspace.work)
    moved = _onto(grid, PointMap((fields[0], scan_from_hub)), image, mask)
    quality = _quality(transform, fixed, moved, fields[0])
    look = Path("work/registered") / f"{scan.key}_warp-look.svg"
    through = PointMap((fields[0], scan_from_hub))
    write_text(workspace.root / look, hub_pictures.draw_scan(hub, image, mask, through.apply))
    if rejection := check(scan.key, quality, config):
        return replace(rejection, look=look)
    paths = [Path("work/warps") / f"{scan.key}_{name}.nii.gz" for name in ("bent-from-hub", "hub-from-bent")]
    for path, field in zip(paths, fields, strict=True):
        with atomic_path(workspace.root / path) as part:
            warps.write_field(part, field)
    return HubWarp(
        key=scan.key,
        bent_from_hub=paths[0],
        hub_from_bent=paths[1],
        quality=quality,
        look=look,
        digest=file_digest(*(workspace.root / path for path in paths)),
    )


def hub_from_scan(transform: HubTransform, warp: HubWarp | None, root: Path) -> PointMap:
    """Carries points of a target scan to the hub, bent where it has a warp."""
    if warp is None:
        return PointMap((transform.matrix,))
    return PointMap((transform.matrix, warps.read_field(root / warp.hub_from_bent)))


def scan_from_hub(transform: HubTransform, warp: HubWarp | None, root: Path) -> PointMap:
    """Carries points of the hub to a voter's scan, bent where it has a warp."""
    affine = spaces.invert(transform.matrix)
    if warp is None:
        return PointMap((affine,))
    return PointMap((warps.read_field(root / warp.bent_from_hub), affine))


def hub_grid(hub: Hub, grid_mm: float) -> Volume:
    """An empty grid of the hub's axes around its brain and a margin; the array is a view without memory."""
    start, shape = resample.box_of(hub.mask.array)
    zooms = hub.mask.zooms_mm
    margin = MARGIN_MM / zooms
    low, high = np.array(start) - margin, np.array(start) + np.array(shape) - 1 + margin
    size = np.ceil((high - low) * zooms / grid_mm).astype(int) + 1
    affine = hub.mask.affine @ spaces.translation(low) @ np.diag([*(grid_mm / zooms), 1.0])
    return Volume(np.broadcast_to(np.uint8(0), tuple(size)), affine)


@dataclass(frozen=True, slots=True, eq=False)
class _Brain:
    """What is compared: intensities 0.05 to 1 in the brain and 0 around it, and the brain itself."""

    image: Volume
    mask: NDArray[np.bool_]


def _onto(grid: Volume, through: PointMap, image: Volume, mask: Volume) -> _Brain:
    """A brain on the grid, smoothed to the grid's resolution, without its brightest and darkest voxels."""
    inside = mask.array > 0
    low, high = np.percentile(image.array[inside], (0.5, 99.5))
    unit = 0.05 + 0.95 * np.clip((image.array - low) / max(float(high - low), 1e-6), 0.0, 1.0)
    unit = np.where(inside, unit, 0.0).astype(np.float32)
    sigmas = np.where(image.zooms_mm < 0.9 * grid.zooms_mm, 0.4 * grid.zooms_mm / image.zooms_mm, 0.0)
    smooth = Volume(ndimage.gaussian_filter(unit, sigmas), image.affine)
    whole = ((0, 0, 0), grid.shape)
    values = warps.sample_image(through, grid.affine, whole, smooth)
    shown = warps.sample_labels(through, grid.affine, whole, mask)
    return _Brain(Volume(values, grid.affine), shown > 0)


def _near(brain: NDArray[np.bool_], grid: Volume) -> Volume:
    """The brain and what lies within `COMPARED_MM` of it: far air takes time and teaches nothing."""
    distance_mm = ndimage.distance_transform_edt(~brain, sampling=grid.zooms_mm)
    return Volume((distance_mm <= COMPARED_MM).astype(np.uint8), grid.affine)


def _quality(
    affine: HubTransform, fixed: _Brain, moved: _Brain, bent_from_hub: warps.Field
) -> TransformQuality:
    """The affine's figures, with similarity, overlap and volume ratios after the warp."""
    both = fixed.mask & moved.mask
    ratios = warps.determinants(bent_from_hub)[fixed.mask]
    return replace(
        affine.quality,
        similarity=similarity.on_one_grid(fixed.image, moved.image, both),
        overlap=float(2 * both.sum() / max(fixed.mask.sum() + moved.mask.sum(), 1)),
        jacobian=(float(ratios.min()), float(ratios.max())),
    )


def check(key: str, quality: TransformQuality, config: WarpConfig) -> TransformRejection | None:
    """A rejection for a warp that folds the brain or lies beyond the limits."""
    smallest, largest = quality.jacobian or (1.0, 1.0)
    if smallest >= config.min_jacobian and largest <= config.max_jacobian:
        return None
    found = "folds" if smallest <= 0 else "is bent too far"
    detail = (
        f"{key} {found}: local volumes change by {smallest:.2f} to {largest:.2f}, warp.min_jacobian is "
        f"{config.min_jacobian:g} and warp.max_jacobian {config.max_jacobian:g}; look at its mask, "
        "then exclude the scan or give it another mask"
    )
    return TransformRejection(
        stage="warp", key=key, reason="implausible_warp", detail=detail, kind="warp", quality=quality
    )
