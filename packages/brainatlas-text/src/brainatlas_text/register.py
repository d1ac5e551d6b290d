"""Register brains by affines: each scan to the hub, and, where the recipe asks for it, each pair directly.

Input: PreparedScans (brain only) and the Hub. Output: `hub_from_scan`, mapping points of the scan to points
of the hub, or `moving_from_fixed` of a pair, RAS+ mm, with figures of quality; or a Rejection that states
them. Method: twelve parameters by Mattes mutual information (Mattes et al., IEEE TMI 2003). To the hub the
search starts from a rigid pose, found from the header's axes; a scan that another orientation fits better is
refused, never turned. A pair starts with the masks' centers of mass and sizes upon each other.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import hub_pictures, itk, pose, resample, similarity
from brainatlas_text.hub import EMBEDDED, Hub
from brainatlas_text.records import PreparedScan
from brainatlas_text.register_config import RegisterConfig
from brainatlas_text.registrations import (
    HubTransform,
    Matrix,
    PairTransform,
    TransformQuality,
    TransformRejection,
)
from brainatlas_text.spaces import Affine
from brainatlas_text.transform_limits import Refused, check_content, check_poses, check_transform
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace, digest, write_text

VERSION = 2
_ADVICE = "look at its picture, then exclude the scan or give it another brain mask"


def methods(config: RegisterConfig, hub: Hub) -> str:
    """What was done, as sentences for the card."""
    template = "the MNI152 template" if hub.name == EMBEDDED else f"the template {hub.name}"
    pairs = (
        "pairs compose two of these transforms."
        if config.method == "hub"
        else "two scans were registered to each other in the same way, and both directions use that affine."
    )
    return (
        f"Each scan was registered once to {template} with twelve affine parameters by Mattes mutual "
        f"information (SimpleITK); {pairs}"
    )


def inputs_digest(scan: PreparedScan, hub: Hub, config: RegisterConfig) -> str:
    """What the result depends on; how pairs are made, and where the hub's files lie, does not count."""
    settings = config.model_dump(exclude={"method", "hub", "hub_mask", "min_pair_similarity"})
    return digest(["register", VERSION, hub_pictures.VERSION, scan.digest, hub.digest, settings])


def pair_digest(moving: PreparedScan, fixed: PreparedScan, config: RegisterConfig) -> str:
    """What a direct registration depends on."""
    scans = [moving.key, moving.digest, fixed.key, fixed.digest]
    return digest(["register pair", VERSION, scans, config.pair_settings()])


def register_to_hub(
    scan: PreparedScan, hub: Hub, workspace: Workspace, config: RegisterConfig
) -> HubTransform | TransformRejection:
    """Estimate `hub_from_scan` and check it; writes a picture of it, whatever comes out."""
    image, mask = _load(scan, workspace)
    if nothing := check_content(image.array, mask.array):
        return _rejection("affine", scan.key, nothing, None, None)
    poses = pose.find_poses(hub.image, hub.mask, image, mask)
    scan_from_hub, quality = spaces.invert(poses[0].template_from_scan), None
    overlaps = [mask_overlap(hub.mask, mask, spaces.invert(found.template_from_scan)) for found in poses]
    refused = check_poses(poses, overlaps, config)
    if refused is None:
        scan_from_hub = _fit(hub.image, image, scan_from_hub, config)
        quality = _measure(hub.image, hub.mask, image, mask, scan_from_hub, spaces.invert(scan_from_hub))
        refused = check_transform(quality, "the hub", config)
    look = _draw(scan.key, workspace, hub, image, mask, scan_from_hub)
    rows = rows_of(spaces.invert(scan_from_hub))
    if refused is not None:
        return _rejection("affine", scan.key, refused, quality, rows, look)
    assert quality is not None
    return HubTransform(key=scan.key, hub_from_scan=rows, quality=quality, look=look, digest=_digest(rows))


def register_pair(
    moving: PreparedScan, fixed: PreparedScan, workspace: Workspace, config: RegisterConfig
) -> PairTransform | TransformRejection:
    """Estimate `moving_from_fixed` without the hub and check it; writes nothing."""
    image, mask = _load(moving, workspace)
    fixed_image, fixed_mask = _load(fixed, workspace)
    key = f"{moving.key}_{fixed.key}"
    for array, inside in ((image.array, mask.array), (fixed_image.array, fixed_mask.array)):
        if nothing := check_content(array, inside):
            return _rejection("pair", key, nothing, None, None)
    start = _initial_guess(fixed_mask, mask)
    moving_from_fixed = _fit(fixed_image, image, start, config)
    quality = _measure(fixed_image, fixed_mask, image, mask, moving_from_fixed, moving_from_fixed)
    rows = rows_of(moving_from_fixed)
    refused = check_transform(quality, fixed.key, config, "min_pair_similarity")
    if refused is not None:
        return _rejection("pair", key, refused, quality, rows)
    return PairTransform(
        moving=moving.key, fixed=fixed.key, moving_from_fixed=rows, quality=quality, digest=_digest(rows)
    )


def quality_of(affine: Affine, likeness: float, overlap: float) -> TransformQuality:
    """The figures of an affine beside its similarity and mask overlap."""
    linear = affine[:3, :3]
    smallest, middle, largest = sorted(np.linalg.svd(linear, compute_uv=False).tolist())
    axes = linear / np.linalg.norm(linear, axis=0)
    cosines = np.abs(axes.T @ axes - np.eye(3)).max()
    return TransformQuality(
        similarity=likeness,
        overlap=overlap,
        determinant=float(np.linalg.det(linear)),
        scales=(smallest, middle, largest),
        shear_deg=float(np.degrees(np.arcsin(min(cosines, 1.0)))),
    )


def mask_overlap(fixed_mask: Volume, moving_mask: Volume, moving_from_fixed: Affine) -> float:
    """Dice overlap of two masks, 0 to 1, counted on the fixed grid thinned to about 2 mm."""
    steps = np.maximum(np.rint(2.0 / fixed_mask.zooms_mm), 1).astype(int)
    coarse = fixed_mask.affine @ np.diag([*steps, 1.0])
    fixed = fixed_mask.array[:: steps[0], :: steps[1], :: steps[2]] > 0
    moving_from_coarse_vox = spaces.invert(moving_mask.affine) @ moving_from_fixed @ coarse
    moved = resample.nearest(moving_mask.array, moving_from_coarse_vox, ((0, 0, 0), fixed.shape)) > 0
    voxel_ml = float(np.prod(steps)) * fixed_mask.voxel_ml
    moving_ml = (
        float((moving_mask.array > 0).sum())
        * moving_mask.voxel_ml
        / abs(float(np.linalg.det(moving_from_fixed[:3, :3])))
    )  # counted on the moving scan's own grid, so that brain outside the fixed field of view weighs too
    return float(2 * (fixed & moved).sum() * voxel_ml / max(fixed.sum() * voxel_ml + moving_ml, 1e-9))


def rows_of(affine: Affine) -> Matrix:
    """An affine as it is stored."""
    return tuple(tuple(float(value) for value in row) for row in affine)


def _load(scan: PreparedScan, workspace: Workspace) -> tuple[Volume, Volume]:
    """Image (float32) and mask of a prepared scan."""
    image = volumes.load_prepared(workspace.root / scan.image)
    mask = volumes.load_prepared(workspace.root / scan.mask)
    return Volume(image.array.astype(np.float32), image.affine), mask


def _fit(fixed: Volume, moving: Volume, start: Affine, config: RegisterConfig) -> Affine:
    """`moving_from_fixed` from a start, coarse to fine."""
    grids = tuple(sorted({8.0, 4.0, config.finest_mm}, reverse=True))
    schedule = itk.AffineSchedule(grids_mm=grids, iterations=(200, 100, 50)[: len(grids)])
    return itk.register_affine(fixed, moving, start, schedule)[0]


def _measure(
    fixed: Volume, fixed_mask: Volume, moving: Volume, mask: Volume, moving_from_fixed: Affine, named: Affine
) -> TransformQuality:
    """The figures of a transform; `named` is the affine in the direction in which it is stored."""
    likeness = similarity.of_images(fixed, moving, moving_from_fixed, (fixed_mask, mask))
    return quality_of(named, likeness, mask_overlap(fixed_mask, mask, moving_from_fixed))


def _initial_guess(fixed_mask: Volume, moving_mask: Volume) -> Affine:
    """`moving_from_fixed` that matches centers of mass and the spread along each world axis."""
    (center, spread), (moving_center, moving_spread) = pose.moments(fixed_mask), pose.moments(moving_mask)
    scale = np.diag([*np.clip(moving_spread / spread, 0.7, 1.4), 1.0])
    guess: Affine = spaces.translation(moving_center) @ scale @ spaces.translation(-center)
    return guess


def _draw(
    key: str, workspace: Workspace, hub: Hub, image: Volume, mask: Volume, scan_from_hub: Affine
) -> Path:
    """Write the picture of a registration; its path below the data set folder."""
    path = workspace.work / "registered" / f"{key}_look.svg"
    svg = hub_pictures.draw_scan(hub, image, mask, partial(spaces.apply, scan_from_hub))
    write_text(path, svg)
    return path.relative_to(workspace.root)


def _rejection(
    kind: str,
    key: str,
    refused: Refused,
    quality: TransformQuality | None,
    rows: Matrix | None,
    look: Path | None = None,
) -> TransformRejection:
    return TransformRejection(
        stage="register",
        key=key,
        reason=refused.reason,
        detail=f"{key} {refused.detail}; {_ADVICE}",
        kind="affine" if kind == "affine" else "pair",
        quality=quality,
        matrix=rows,
        look=look,
    )


def _digest(rows: Matrix) -> str:
    return digest([value.hex() for row in rows for value in row])
