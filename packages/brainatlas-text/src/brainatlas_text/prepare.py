"""Prepare each scan: closest RAS, brain alone, even intensities, canonical labels.

Input: a SourceScan. Output: a PreparedScan, whose files lie in `work/prepared/`: image (uint16, 0 outside the
brain, 1 to 4095 inside), mask (uint8) and, where the source has labels, dseg (uint8, canonical numbers), on
one grid in closest-RAS order; or a Rejection. Arrays are permuted and flipped to RAS, never rotated; only
very fine grids are resampled (means of whole voxels), and the source's voxel size stays in the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import brain_masks, handedness, intensities, pictures, repeats, resample
from brainatlas_text.engines.bias import BiasSchedule, correct_bias
from brainatlas_text.engines.brain_masks import BrainMask, MaskMethod
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.errors import (
    EmptyMaskError,
    GeometryError,
    InputError,
    LabelError,
    MaskError,
    OffGridError,
    ProgramError,
    SourceError,
)
from brainatlas_text.prepare_config import PrepareConfig
from brainatlas_text.records import Preparation, PreparedScan, Rejection, SourceScan
from brainatlas_text.source_labels import canonical_labels
from brainatlas_text.volumes import OpenedScan, Volume
from brainatlas_text.workspace import Workspace, digest, file_digest, write_text, write_volume

VERSION = 2
MAX_PREPARED_VOXELS = 64_000_000
"""Of a grid after thinning; what is larger is no scan of a head, or finer than any that is known."""
RETRIED = frozenset({"mask_failed"})
"""Reasons that lie in tools outside, not in the scan: such scans are tried again by the next run."""
_REASONS: Mapping[type[Exception], str] = {
    SourceError: "unreadable",
    GeometryError: "bad_geometry",
    OffGridError: "labels_off_grid",
    LabelError: "unknown_label",
}


class _Refusal(Exception):
    """Raised inside this module for a scan that cannot be used; becomes a Rejection.

    `shown`, where given, is what a picture of the refused scan shows: image and, if there is one, mask.
    """

    def __init__(
        self, reason: str, detail: str, shown: tuple[Volume, BoolArray | None] | None = None
    ) -> None:
        super().__init__(detail)
        self.reason, self.shown = reason, shown


def methods(config: PrepareConfig) -> str:
    """What was done, as a sentence for the card."""
    even = "corrected for intensity inhomogeneity (N4, SimpleITK) and " if config.bias_correction else ""
    return (
        "Scans were reoriented to RAS, reduced to the brain (heads by the method "
        f"`{config.mask}`, others by what came with them), {even}scaled between percentiles "
        f"{config.low_percentile:g} and {config.high_percentile:g} of the brain's intensities."
    )


def freeze(config: PrepareConfig, chosen: MaskMethod | None = None) -> PrepareConfig:
    """Replace `auto` by a choice: the one made before, else by what is installed.

    Raises RecipeError for a method that cannot run here.
    """
    if config.mask == "auto":
        config = config.model_copy(update={"mask": chosen or brain_masks.resolve("auto")})
    brain_masks.check_available(config.mask_settings)
    return config


def inputs_digest(scan: SourceScan, config: PrepareConfig) -> str:
    """What the result depends on: the files' bytes, what the source says, settings and code versions.

    Names, places and times of files do not count, nor settings of a mask method that scans of this sequence
    do not take. A file that cannot be read counts by its name: `prepare` is the one to say what is wrong.
    """
    other = handedness.other_form(scan)
    files = (scan.image, scan.mask, scan.dseg, scan.label_table, *scan.repeats)
    contents = [_content(path) for path in (*files, *([other.image] if other else []))]
    paths = ("image", "mask", "dseg", "label_table", "repeats", "superseded")
    said = {name: value for name, value in asdict(scan).items() if name not in paths}
    settings = {name: value for name, value in config.model_dump().items() if not name.startswith("mask")}
    method = brain_masks.identity(scan.sequence, config.mask_settings)
    versions = [VERSION, pictures.VERSION, repeats.VERSION if scan.repeats else None]
    versions.append(handedness.VERSION if other or scan.left_marker else None)
    versions += [brain_masks.PROVIDED_VERSION] if scan.mask else []
    return digest(["prepare", versions, method, contents, said, settings])


def prepare(scan: SourceScan, workspace: Workspace, config: PrepareConfig) -> PreparedScan | Rejection:
    """Prepare one scan and write its files; a scan that cannot be used is a Rejection, not an error."""
    try:
        return _prepare(scan, workspace, config)
    except _Refusal as refusal:
        look = _draw(scan.key, workspace, *refusal.shown) if refusal.shown else None
        return Rejection(stage="prepare", key=scan.key, reason=refusal.reason, detail=str(refusal), look=look)
    except InputError as error:
        reason = _REASONS.get(type(error), "unusable")
        return Rejection(stage="prepare", key=scan.key, reason=reason, detail=str(error))
    except MemoryError:
        detail = f"{scan.image}: not enough memory to prepare it; use fewer --workers or exclude the scan"
        return Rejection(stage="prepare", key=scan.key, reason="out_of_memory", detail=detail)


def _prepare(scan: SourceScan, workspace: Workspace, config: PrepareConfig) -> PreparedScan:
    opened = volumes.open_scan(scan.image, scan.array_order)
    factors = thinning(opened.ras_zooms_mm, config.finest_mm)
    _check_size(opened, factors, scan)
    image = volumes.read(opened, factors)
    _check_image(image, scan, config)
    mean = repeats.average(image, scan.repeats, scan.array_order, factors, config.min_repeat_correlation)
    image = mean.volume
    mask = _brain(image, scan, config)
    _check_brain(mask.array, image, scan, config)
    checks = handedness.check(scan, image, mask.array, stripped=mask.method == "stripped")
    sides = handedness.judge(checks, scan.orientation_source, config.contradicted)
    if sides.refusal:
        raise _Refusal("handedness_contradicted", f"{scan.image}: {sides.refusal}", (image, mask.array))
    dseg = canonical_labels(scan, image, mask.array) if scan.dseg else None
    schedule = BiasSchedule(grid_mm=config.bias_grid_mm, iterations=config.bias_iterations)
    even = correct_bias(image, mask.array, schedule) if config.bias_correction else image.array
    percentiles = (config.low_percentile, config.high_percentile)
    scaled = intensities.scale(image.array, even, mask.array, percentiles)
    written = _write(scan.key, workspace, Volume(scaled.array, image.affine), mask.array, dseg)
    stored = spaces.zooms_of(opened.affine)
    preparation = Preparation(
        stored_codes=spaces.axis_codes(opened.affine),
        stored_shape=opened.shape,
        stored_zooms_mm=(float(stored[0]), float(stored[1]), float(stored[2])),
        oblique_deg=spaces.obliquity_deg(opened.affine),
        num_averaged=mean.num_averaged,
        thinned_by=factors,
        mask_method=mask.method,
        mask_detail=mask.detail,
        brain_ml=float(mask.array.sum()) * image.voxel_ml,
        bias_correction=f"N4, SimpleITK, {schedule}" if config.bias_correction else None,
        intensity_range=scaled.value_range,
        histogram_before=scaled.histogram_before,
        histogram_after=scaled.histogram_after,
        handedness=checks,
    )
    return PreparedScan(
        key=scan.key,
        subject=scan.subject,
        source=scan.source,
        sequence=scan.sequence,
        image=written["image"].relative_to(workspace.root),
        mask=written["mask"].relative_to(workspace.root),
        dseg=written["dseg"].relative_to(workspace.root) if dseg is not None else None,
        look=_draw(scan.key, workspace, image, mask.array),
        label_method=scan.label_method,
        facts=scan.facts,
        terms=scan.terms,
        source_zooms_mm=opened.ras_zooms_mm,
        orientation_source=sides.source,
        preparation=preparation,
        digest=file_digest(*written.values()),
        notes=(*scan.notes, *opened.notes, *mean.notes, *mask.notes, *sides.notes),
    )


def thinning(zooms_mm: tuple[float, float, float], finest_mm: float) -> tuple[int, int, int]:
    """Voxels to average to about 0.9 mm along the RAS axes that are finer than needed."""
    i, j, k = (max(round(0.9 / zoom), 1) if zoom < finest_mm else 1 for zoom in zooms_mm)
    return i, j, k


def _check_size(opened: OpenedScan, factors: tuple[int, int, int], scan: SourceScan) -> None:
    """Refuse grids that hold far more than a head, before a voxel is read."""
    num_voxels = int(np.prod(opened.shape)) // int(np.prod(factors))
    if num_voxels > MAX_PREPARED_VOXELS:
        raise _Refusal(
            "too_large",
            f"{scan.image}: {num_voxels / 1e6:.0f} million voxels after thinning by {factors}, at most "
            f"{MAX_PREPARED_VOXELS / 1e6:.0f} million are prepared; raise prepare.finest_mm or resample it",
        )


def _check_image(image: Volume, scan: SourceScan, config: PrepareConfig) -> None:
    """Refuse data that is no image of a brain whatever the mask says."""
    if not np.isfinite(image.array).all():
        raise _Refusal("not_finite", f"{scan.image}: holds NaN or infinite values; repair or exclude it")
    if image.array.min() == image.array.max():
        raise _Refusal("empty_image", f"{scan.image}: all voxels have one value; replace or exclude it")
    extent_mm = image.zooms_mm * image.shape
    if extent_mm.min() < config.min_coverage_mm:
        text = " x ".join(f"{value:.0f}" for value in extent_mm)
        raise _Refusal(
            "partial_coverage",
            f"{scan.image}: the grid covers {text} mm, prepare.min_coverage_mm is "
            f"{config.min_coverage_mm:g}; exclude the scan or lower the limit",
            (image, None),
        )


def _brain(image: Volume, scan: SourceScan, config: PrepareConfig) -> BrainMask:
    """The brain mask; a method that gives none refuses the scan."""
    try:
        return brain_masks.find_brain(image, scan, config.mask_settings)
    except EmptyMaskError as error:
        raise _Refusal("empty_mask", str(error), (image, None)) from error
    except MaskError as error:
        reason = "mask_failed" if isinstance(error, ProgramError) else "no_brain_found"
        raise _Refusal(reason, f"{scan.image}: {error}", (image, None)) from error


def _check_brain(mask: BoolArray, image: Volume, scan: SourceScan, config: PrepareConfig) -> None:
    brain_ml = float(mask.sum()) * image.voxel_ml
    if not config.min_brain_ml <= brain_ml <= config.max_brain_ml:
        raise _Refusal(
            "implausible_brain",
            f"{scan.image}: the brain mask holds {brain_ml:.0f} ml, expected {config.min_brain_ml:.0f} to "
            f"{config.max_brain_ml:.0f} ml; look at the scan: exclude it, or give it a brain mask",
            (image, mask),
        )
    extent_mm = np.array(resample.box_of(mask)[1]) * image.zooms_mm
    if extent_mm.min() < config.min_coverage_mm:
        text = " x ".join(f"{value:.0f}" for value in extent_mm)
        raise _Refusal(
            "partial_coverage",
            f"{scan.image}: the brain covers {text} mm, "
            f"prepare.min_coverage_mm is {config.min_coverage_mm:g}; exclude the scan or lower the limit",
            (image, mask),
        )


def _write(
    key: str, workspace: Workspace, image: Volume, mask: BoolArray, dseg: NDArray[np.uint8] | None
) -> dict[str, Path]:
    folder = workspace.work / "prepared"
    written = {"image": folder / f"{key}.nii.gz", "mask": folder / f"{key}_mask.nii.gz"}
    write_volume(written["image"], image, np.uint16)
    write_volume(written["mask"], Volume(mask, image.affine), np.uint8)
    if dseg is not None:
        written["dseg"] = folder / f"{key}_dseg.nii.gz"
        write_volume(written["dseg"], Volume(dseg, image.affine), np.uint8)
    return written


def _draw(key: str, workspace: Workspace, image: Volume, mask: BoolArray | None) -> Path:
    """Write the picture of a scan; its path below the data set folder."""
    path = workspace.work / "prepared" / f"{key}_look.svg"
    write_text(path, pictures.draw_planes(image, mask))
    return path.relative_to(workspace.root)


def _content(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        if not path.is_file():  # a pipe would never end
            return f"no file {path}"
        return file_digest(*volumes.companions(path))
    except OSError:
        return f"unreadable {path}"
