"""Register each scan to the hub: one affine a scan serves every pair.

Input: a PreparedScan (brain only) and the Hub. Output: `hub_from_scan`, mapping points of the scan to points
of the hub, RAS+ mm, or a Rejection. Method: twelve parameters by Mattes mutual information (Mattes et al.,
IEEE TMI 2003) from a start that puts the masks' centers of mass and sizes upon each other.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import hub_pictures, itk, resample
from brainatlas_text.hub import Hub
from brainatlas_text.records import PreparedScan, Rejection
from brainatlas_text.registrations import HubTransform, TransformQuality
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace, digest, write_text

VERSION = 1
METHODS = (
    "Each scan was registered once to the MNI152 template with twelve affine parameters by Mattes mutual "
    "information (SimpleITK); pairs compose two of these transforms."
)


class RegisterConfig(BaseModel):
    """Settings of the affine registration to the hub."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    finest_mm: float = Field(2.0, ge=1.0, le=8.0)
    """Grid of the last resolution level in mm."""
    min_overlap: float = Field(0.80, ge=0.0, le=1.0)
    """Least Dice overlap of the brain mask with the hub's; below it the scan is rejected."""
    max_scale: float = Field(1.8, gt=1.0)
    """Largest accepted stretch along any direction, and its inverse the smallest. Adults measure 0.75 to 1
    of the template, which is large; the rest is for children and for grids that somebody rescaled."""


def inputs_digest(scan: PreparedScan, hub: Hub, config: RegisterConfig) -> str:
    """What the result depends on."""
    return digest(["register", VERSION, hub_pictures.VERSION, scan.digest, hub.name, config.model_dump()])


def register_to_hub(
    scan: PreparedScan, hub: Hub, workspace: Workspace, config: RegisterConfig
) -> HubTransform | Rejection:
    """Estimate `hub_from_scan` and check it; writes a picture of it, whatever comes out."""
    image = volumes.load_prepared(workspace.root / scan.image)
    mask = volumes.load_prepared(workspace.root / scan.mask)
    brain = Volume(image.array.astype(np.float32), image.affine)
    start = _initial_guess(hub.mask, mask)
    grids = tuple(sorted({8.0, 4.0, config.finest_mm}, reverse=True))
    schedule = itk.AffineSchedule(grids_mm=grids, iterations=(200, 100, 50)[: len(grids)])
    scan_from_hub, information = itk.register_affine(hub.image, brain, start, schedule)
    overlap = mask_overlap(hub.mask, mask, scan_from_hub)
    look = _draw(scan.key, workspace, hub, image, mask, scan_from_hub)
    if rejection := _check(scan.key, scan_from_hub, overlap, config):
        return replace(rejection, look=look)
    hub_from_scan = spaces.invert(scan_from_hub)
    rows = tuple(tuple(float(value) for value in row) for row in hub_from_scan)
    return HubTransform(
        key=scan.key,
        hub_from_scan=rows,
        quality=quality_of(hub_from_scan, information, overlap),
        look=look,
        digest=digest([value.hex() for row in rows for value in row]),
    )


def quality_of(affine: Affine, similarity: float, overlap: float) -> TransformQuality:
    """The figures of an affine beside its similarity and mask overlap."""
    linear = affine[:3, :3]
    smallest, middle, largest = sorted(np.linalg.svd(linear, compute_uv=False).tolist())
    axes = linear / np.linalg.norm(linear, axis=0)
    cosines = np.abs(axes.T @ axes - np.eye(3)).max()
    return TransformQuality(
        similarity=similarity,
        overlap=overlap,
        determinant=float(np.linalg.det(linear)),
        scales=(smallest, middle, largest),
        shear_deg=float(np.degrees(np.arcsin(min(cosines, 1.0)))),
    )


def mask_overlap(hub_mask: Volume, scan_mask: Volume, scan_from_hub: Affine) -> float:
    """Dice overlap of two masks, 0 to 1, counted on every second hub voxel."""
    coarse = hub_mask.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    hub = hub_mask.array[::2, ::2, ::2] > 0
    scan_from_coarse_vox = spaces.invert(scan_mask.affine) @ scan_from_hub @ coarse
    moved = resample.nearest(scan_mask.array, scan_from_coarse_vox, ((0, 0, 0), hub.shape)) > 0
    voxel_ml = 8 * hub_mask.voxel_ml
    scan_ml = (
        float((scan_mask.array > 0).sum())
        * scan_mask.voxel_ml
        * abs(float(np.linalg.det(spaces.invert(scan_from_hub)[:3, :3])))
    )  # counted on the scan's own grid, so that brain outside the hub's field of view weighs too
    return float(2 * (hub & moved).sum() * voxel_ml / max(hub.sum() * voxel_ml + scan_ml, 1e-9))


def _draw(
    key: str, workspace: Workspace, hub: Hub, image: Volume, mask: Volume, scan_from_hub: Affine
) -> Path:
    """Write the picture of a registration; its path below the data set folder."""
    path = workspace.work / "registered" / f"{key}_look.svg"
    svg = hub_pictures.draw_scan(hub, image, mask, partial(spaces.apply, scan_from_hub))
    write_text(path, svg)
    return path.relative_to(workspace.root)


def _initial_guess(hub_mask: Volume, scan_mask: Volume) -> Affine:
    """`scan_from_hub` that matches centers of mass and the spread along each world axis."""
    hub_center, hub_spread = _moments(hub_mask)
    scan_center, scan_spread = _moments(scan_mask)
    scale = np.diag([*np.clip(scan_spread / hub_spread, 0.7, 1.4), 1.0])
    guess: Affine = spaces.translation(scan_center) @ scale @ spaces.translation(-hub_center)
    return guess


def _moments(mask: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Center of mass and standard deviation in mm along the world axes."""
    step = np.maximum(np.rint(3.0 / mask.zooms_mm), 1).astype(int)
    index = np.argwhere(mask.array[:: step[0], :: step[1], :: step[2]] > 0) * step
    points = spaces.apply(mask.affine, index)
    center: NDArray[np.float64] = points.mean(axis=0)
    spread: NDArray[np.float64] = points.std(axis=0)
    return center, spread


def _check(key: str, scan_from_hub: Affine, overlap: float, config: RegisterConfig) -> Rejection | None:
    stretches = np.linalg.svd(scan_from_hub[:3, :3], compute_uv=False)
    if np.linalg.det(scan_from_hub[:3, :3]) <= 0:
        reason, detail = "mirrored", "the affine to the hub mirrors left and right"
    elif stretches.max() > config.max_scale or stretches.min() < 1 / config.max_scale:
        reason = "implausible_scale"
        detail = (
            f"stretches the hub by {stretches.min():.2f} to {stretches.max():.2f}, "
            f"register.max_scale is {config.max_scale:.2f}"
        )
    elif overlap < config.min_overlap:
        reason = "low_overlap"
        detail = f"overlaps the hub by {overlap:.2f} Dice, register.min_overlap is {config.min_overlap:.2f}"
    else:
        return None
    advice = "look at its brain mask, then exclude the scan or give it a mask"
    return Rejection(stage="register", key=key, reason=reason, detail=f"{key} {detail}; {advice}")
