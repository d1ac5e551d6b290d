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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import extraction, masks, pictures, resample
from brainatlas_text.engines.bias import FINE, correct_bias
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.errors import GeometryError, InputError, LabelError, OffGridError, SourceError
from brainatlas_text.records import Preparation, PreparedScan, Rejection, SourceScan
from brainatlas_text.source_labels import canonical_labels
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace, digest, file_digest, write_text, write_volume

VERSION = 1
METHODS = (
    "Scans were reoriented to RAS, skull-stripped, corrected for intensity inhomogeneity (N4, SimpleITK) and "
    "scaled between the 0.5th and 99.5th percentile of the brain."
)
MAX_INTENSITY = 4095
NUM_BINS = 64
"""Of the histograms in the record."""
_REASONS: Mapping[type[InputError], str] = {
    SourceError: "unreadable",
    GeometryError: "bad_geometry",
    OffGridError: "labels_off_grid",
    LabelError: "unknown_label",
}


class PrepareConfig(BaseModel):
    """Settings of the preparation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bias_correction: bool = True
    """Whether to run N4."""
    low_percentile: float = Field(0.5, ge=0.0, lt=50.0)
    """Percentile of the brain's intensities that becomes 1."""
    high_percentile: float = Field(99.5, gt=50.0, le=100.0)
    """Percentile of the brain's intensities that becomes 4095."""
    finest_mm: float = Field(0.6, ge=0.0)
    """Grids with voxels below this size along an axis are thinned by whole factors to about 0.9 mm."""
    min_coverage_mm: float = Field(60.0, ge=0.0)
    """Least extent of the grid and of the brain along each axis; thinner slabs are rejected."""
    min_brain_ml: float = Field(600.0, ge=0.0)
    """Smaller brains are rejected as implausible."""
    max_brain_ml: float = Field(2400.0, ge=0.0)
    """Larger ones as well: a skull or a neck must have come along."""


class _Refusal(Exception):
    """Raised inside this module for a scan that cannot be used; becomes a Rejection.

    `shown`, where given, is what a picture of the refused scan shows: image and, if there is one, mask.
    """

    def __init__(
        self, reason: str, detail: str, shown: tuple[Volume, BoolArray | None] | None = None
    ) -> None:
        super().__init__(detail)
        self.reason, self.shown = reason, shown


def inputs_digest(scan: SourceScan, config: PrepareConfig) -> str:
    """What the result depends on: the files' bytes, what the source says, settings and code version.

    A file that cannot be read counts by its name, so that `prepare` is the one to say what is wrong with it.
    """
    contents = [_content(path) for path in (scan.image, scan.mask, scan.dseg, scan.label_table)]
    paths = ("image", "mask", "dseg", "label_table", "superseded")
    said = {name: value for name, value in asdict(scan).items() if name not in paths}
    return digest(
        ["prepare", VERSION, extraction.VERSION, pictures.VERSION, contents, said, config.model_dump()]
    )


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


def _prepare(scan: SourceScan, workspace: Workspace, config: PrepareConfig) -> PreparedScan:
    opened = volumes.open_scan(scan.image, scan.array_order)
    original = volumes.read(opened)
    _check_image(original, scan, config)
    factors = _thinning(original, config.finest_mm)
    image = volumes.thin(original, factors)
    mask, method, detail, notes = _brain(image, scan)
    _check_brain(mask, image, scan, config)
    dseg = canonical_labels(scan, image, mask) if scan.dseg else None
    even = correct_bias(image, mask) if config.bias_correction else image.array
    low, high = _range(even, mask, config)
    scaled = _scale(even, mask, low, high)
    written = _write(scan.key, workspace, Volume(scaled, image.affine), mask, dseg)
    zooms, stored = original.zooms_mm, spaces.zooms_of(opened.affine)
    preparation = Preparation(
        stored_codes=spaces.axis_codes(opened.affine),
        stored_shape=opened.shape,
        stored_zooms_mm=(float(stored[0]), float(stored[1]), float(stored[2])),
        oblique_deg=spaces.obliquity_deg(opened.affine),
        thinned_by=factors,
        mask_method=method,
        mask_detail=detail,
        brain_ml=float(mask.sum()) * image.voxel_ml,
        bias_correction=f"N4, SimpleITK, {FINE}" if config.bias_correction else None,
        intensity_range=(low, high),
        histogram_before=_histogram(image.array[mask], None),
        histogram_after=_histogram(scaled[mask], (1, MAX_INTENSITY)),
    )
    return PreparedScan(
        key=scan.key,
        subject=scan.subject,
        source=scan.source,
        sequence=scan.sequence,
        image=written["image"].relative_to(workspace.root),
        mask=written["mask"].relative_to(workspace.root),
        dseg=written["dseg"].relative_to(workspace.root) if dseg is not None else None,
        look=_draw(scan.key, workspace, image, mask),
        label_method=scan.label_method,
        facts=scan.facts,
        terms=scan.terms,
        source_zooms_mm=(float(zooms[0]), float(zooms[1]), float(zooms[2])),
        orientation_source=scan.orientation_source,
        preparation=preparation,
        digest=file_digest(*written.values()),
        notes=(*scan.notes, *notes),
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
            f"{scan.image}: the grid covers {text} mm, prepare.min_coverage_mm is {config.min_coverage_mm:g}",
            (image, None),
        )


def _check_brain(mask: BoolArray, image: Volume, scan: SourceScan, config: PrepareConfig) -> None:
    brain_ml = float(mask.sum()) * image.voxel_ml
    if not config.min_brain_ml <= brain_ml <= config.max_brain_ml:
        raise _Refusal(
            "implausible_brain",
            f"{scan.image}: the brain mask holds {brain_ml:.0f} ml, expected {config.min_brain_ml:.0f} to "
            f"{config.max_brain_ml:.0f} ml; is it a whole brain?",
            (image, mask),
        )
    extent_mm = np.array(resample.box_of(mask)[1]) * image.zooms_mm
    if extent_mm.min() < config.min_coverage_mm:
        text = " x ".join(f"{value:.0f}" for value in extent_mm)
        raise _Refusal(
            "partial_coverage",
            f"{scan.image}: the brain covers {text} mm, "
            f"prepare.min_coverage_mm is {config.min_coverage_mm:g}",
            (image, mask),
        )


def _thinning(image: Volume, finest_mm: float) -> tuple[int, int, int]:
    """Voxels to average to about 0.9 mm along axes that are finer than needed."""
    i, j, k = (max(round(0.9 / zoom), 1) if zoom < finest_mm else 1 for zoom in image.zooms_mm)
    return i, j, k


def _brain(image: Volume, scan: SourceScan) -> tuple[BoolArray, str, str, tuple[str, ...]]:
    """Brain mask, the method it came by, its detail, and notes. What the image itself shows goes first."""
    outline = masks.outline_of_stripped(image)
    if outline is not None:
        notes = (
            () if scan.stripped else ("the image came without skull although its name says nothing of it",)
        )
        return outline, "stripped", "outline of the image, which shows the brain alone", notes
    if scan.mask is not None:
        provided, problem = _provided_mask(scan.mask, scan.array_order, image)
        if provided is not None:
            return provided, "provided", scan.mask.name, ()
        return extraction.extract_brain(image), "embedded", f"version {extraction.VERSION}", (problem,)
    return extraction.extract_brain(image), "embedded", f"version {extraction.VERSION}", ()


def _provided_mask(path: Path, array_order: str | None, image: Volume) -> tuple[BoolArray | None, str]:
    """The mask on the image's grid, or None and why it is not used."""
    try:
        mask = volumes.load(path, array_order if volumes.stores_no_orientation(path) else None)
    except InputError as error:
        return None, f"brain mask not used: {error}"
    if not resample.same_box(mask, image):
        return None, f"brain mask {path.name} not used: it lies on another grid than the image"
    return resample.onto(Volume((mask.array > 0.5).astype(np.uint8), mask.affine), image) > 0, ""


def _range(array: NDArray[np.float32], mask: BoolArray, config: PrepareConfig) -> tuple[float, float]:
    """Two percentiles of the brain's intensities."""
    low, high = np.percentile(array[mask], (config.low_percentile, config.high_percentile))
    return float(low), float(high)


def _histogram(values: NDArray[Any], span: tuple[int, int] | None) -> tuple[int, ...]:
    return tuple(np.histogram(values, NUM_BINS, span)[0].tolist())


def _scale(array: NDArray[np.float32], mask: BoolArray, low: float, high: float) -> NDArray[np.uint16]:
    """Intensities between `low` and `high` to 1..4095, the rest clipped; 0 outside the brain."""
    unit = np.clip((array - low) / max(high - low, 1e-6), 0.0, 1.0)
    return np.where(mask, np.rint(1 + unit * (MAX_INTENSITY - 1)), 0).astype(np.uint16)


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
    try:
        return file_digest(*volumes.companions(path)) if path else None
    except OSError:
        return f"unreadable {path}"
