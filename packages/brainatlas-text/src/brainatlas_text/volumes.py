"""Volumes in memory and NIfTI files on disk: `Volume(array, affine)`, always in closest-RAS order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import DTypeLike, NDArray

from brainatlas_text import headers, slabs, spaces
from brainatlas_text.compression import gzipped
from brainatlas_text.errors import GeometryError, SourceError, StageError
from brainatlas_text.spaces import Affine

MAX_VOXELS = 600_000_000
"""Refused before anything is allocated; Kirby's native FLAIR, the largest known here, has 108 million."""
MAX_WHOLE_VOXELS = 150_000_000
"""Of label maps and masks, which are not thinned while they are read."""
_DECOMPRESS: Any = igzip.decompress  # isal's types are wrong about it


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A 3-D array and its affine (voxel index -> RAS+ mm)."""

    array: NDArray[Any]
    affine: Affine

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along the three axes."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def zooms_mm(self) -> NDArray[np.float64]:
        """Voxel sizes along the three axes, shape (3,)."""
        return spaces.zooms_of(self.affine)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)


@dataclass(frozen=True, slots=True)
class OpenedScan:
    """Header facts of a scan file, before its voxels are read."""

    path: Path
    image: Any
    shape: tuple[int, int, int]
    affine: Affine
    """Of the stored array, checked."""
    notes: tuple[str, ...] = ()
    """What a reader should know of the header."""

    @property
    def ras_zooms_mm(self) -> tuple[float, float, float]:
        """Voxel sizes along the RAS axes."""
        zooms = dict(
            zip(io_orientation(self.affine)[:, 0].astype(int), spaces.zooms_of(self.affine), strict=True)
        )
        return float(zooms[0]), float(zooms[1]), float(zooms[2])

    @property
    def ras_shape(self) -> tuple[int, int, int]:
        """Voxels along the RAS axes."""
        sizes = dict(zip(io_orientation(self.affine)[:, 0].astype(int), self.shape, strict=True))
        return sizes[0], sizes[1], sizes[2]


def open_scan(path: Path, array_order: str | None = None) -> OpenedScan:
    """Read the header alone; `array_order` gives the axis codes where the header stores none.

    Raises SourceError for a file that is no 3-D scan and GeometryError for an impossible grid.
    """
    image = headers.open_image(path)
    shape = image.shape
    headers.check_values(image, path)
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise SourceError(f"{path}: expected one 3-D volume, found shape {tuple(shape)}; extract one volume")
    if min(shape[:3]) < 2 or int(np.prod([int(n) for n in shape[:3]], dtype=object)) > MAX_VOXELS:
        raise GeometryError(
            f"{path}: implausible grid {tuple(shape[:3])}; repair the header or exclude the scan"
        )
    if array_order is None:
        affine, notes = headers.stored_affine(image, path)
    else:
        zooms_mm, notes = headers.header_zooms_mm(image, path), ()
        affine = spaces.from_axis_codes(array_order, shape, zooms_mm)
    spaces.check_affine(affine, str(path))
    i, j, k = (int(n) for n in shape[:3])
    return OpenedScan(path=path, image=image, shape=(i, j, k), affine=affine, notes=notes)


def read(opened: OpenedScan, thinned_by: tuple[int, int, int] = (1, 1, 1), *, labels: bool = False) -> Volume:
    """The voxels as float32 in closest-RAS order (axes permuted and flipped, never interpolated).

    `thinned_by` counts voxels along the RAS axes: means over blocks of that many are taken while the file is
    read, slab by slab, so that a grid of hundreds of millions of voxels never lies in memory. What is left
    over at the end of an axis is dropped. The values of `labels` are names, between which nothing need be
    smooth. Raises SourceError for voxels that cannot be read.
    """
    headers.check_stream(opened.image, opened.path, labels=labels)
    axes = [(int(axis), int(turn)) for axis, turn in io_orientation(opened.affine)]
    factors = [thinned_by[axis] for axis, _ in axes]
    skipped = [n % f if turn < 0 else 0 for n, f, (_, turn) in zip(opened.shape, factors, axes, strict=True)]
    kept = [n // f for n, f in zip(opened.shape, factors, strict=True)]
    shape = np.empty(3, dtype=int)
    shape[[axis for axis, _ in axes]] = kept
    array = np.empty(shape, dtype=np.float32)
    stored = array.transpose([axis for axis, _ in axes])[tuple(slice(None, None, turn) for _, turn in axes)]
    try:
        place = 0
        for slab in slabs.read_slabs(opened.image.dataobj, opened.shape, skipped[2], factors[2]):
            means = slabs.means(slab[skipped[0] :, skipped[1] :], factors)
            depth = means.shape[2]
            stored[..., place : place + depth] = means
            place += depth
    except headers.READ_ERRORS as error:
        raise SourceError(
            f"{opened.path}: voxels cannot be read ({headers.short(error)}); replace or exclude it"
        ) from error
    step = np.diag([*factors, 1.0])
    step[:3, 3] = np.array(skipped) + (np.array(factors) - 1) / 2
    orientation = io_orientation(opened.affine)
    return Volume(array, opened.affine @ step @ inv_ornt_aff(orientation, kept))


def load(path: Path, array_order: str | None = None, *, labels: bool = False) -> Volume:
    """`open_scan` and `read` in one; raise GeometryError for a grid that is too large to be read whole."""
    opened = open_scan(path, array_order)
    if np.prod(opened.shape) > MAX_WHOLE_VOXELS:
        raise GeometryError(
            f"{path}: {np.prod(opened.shape) / 1e6:.0f} million voxels, at most "
            f"{MAX_WHOLE_VOXELS / 1e6:.0f} million are read of a label map or mask; resample it"
        )
    return read(opened, labels=labels)


def load_labels(path: Path, array_order: str | None = None) -> Volume:
    """Read a label map as int32 in closest-RAS order; raise SourceError unless all values are whole."""
    volume = load(path, array_order, labels=True)
    labels = np.empty(volume.shape, dtype=np.int32)
    for plane, values in zip(labels, volume.array, strict=True):  # large maps: no temporary copies
        whole = np.rint(values)
        if not np.isfinite(values).all() or np.abs(whole - values).max() > 1e-3:
            raise SourceError(
                f"{path}: a label map holds whole numbers only, this one was interpolated or scaled; "
                "resample it by nearest neighbor or exclude the scan"
            )
        if np.abs(whole).max() >= 2**31:
            raise SourceError(f"{path}: label numbers up to {np.abs(whole).max():g}; replace or exclude it")
        plane[:] = whole
    return Volume(labels, volume.affine)


def to_closest_ras(volume: Volume) -> Volume:
    """Permute and flip the axes to the nearest RAS order; world positions do not change."""
    orientation = io_orientation(volume.affine)
    array = np.ascontiguousarray(apply_orientation(volume.array, orientation))
    return Volume(array, volume.affine @ inv_ornt_aff(orientation, volume.shape))


def thin(volume: Volume, factors: tuple[int, int, int]) -> Volume:
    """Means (float32) over blocks of `factors` voxels; voxel centers lie in the middle of their blocks."""
    if factors == (1, 1, 1):
        return volume
    a, b, c = factors
    i, j, k = (n // factor for n, factor in zip(volume.shape, factors, strict=True))
    blocks = volume.array[: i * a, : j * b, : k * c].reshape(i, a, j, b, k, c)
    step = np.diag([a, b, c, 1.0])
    step[:3, 3] = (np.array(factors) - 1) / 2
    return Volume(blocks.mean(axis=(1, 3, 5), dtype=np.float32), volume.affine @ step)


def thin_to(volume: Volume, grid_mm: float) -> Volume:
    """`thin` along each axis by the largest whole factor that leaves voxels of at most `grid_mm`."""
    i, j, k = (max(int(grid_mm / zoom + 0.01), 1) for zoom in volume.zooms_mm)
    return thin(volume, (i, j, k))


def stores_no_orientation(path: Path) -> bool:
    """Whether the file's format (Analyze) says nothing of the directions of its axes."""
    return path.name.lower().endswith((".img", ".hdr", ".img.gz", ".hdr.gz"))


def companions(path: Path) -> tuple[Path, ...]:
    """The files of one scan: header, voxels and SPM's `.mat` of a pair, else the file itself."""
    name = path.name
    for one, other in ((".img", ".hdr"), (".hdr", ".img")):
        for ending in (one, one + ".gz"):
            if name.lower().endswith(ending):
                stem = name[: -len(ending)]
                partners = (path.with_name(stem + end) for end in (other, other + ".gz", ".mat"))
                return (path, *(partner for partner in partners if partner.is_file()))
    return (path,)


def load_prepared(path: Path) -> Volume:
    """Read a file of our own (already closest RAS) in its stored dtype; its checksum is verified.

    Raises StageError for a file that changed since it was written.
    """
    try:
        image: Any = nib.Nifti1Image.from_bytes(_DECOMPRESS(path.read_bytes()))
        array = np.asarray(image.dataobj)
    except headers.READ_ERRORS as error:
        raise StageError(
            f"{path}: damaged since it was written ({headers.short(error)}); "
            "delete it and run the same command again"
        ) from error
    return Volume(array, np.asarray(image.affine, dtype=np.float64))


def encode(
    volume: Volume, dtype: DTypeLike, *, code: int = 1, intent: str = "none", slope: float | None = None
) -> bytes:
    """The bytes of a `.nii.gz` file (NIfTI-1, sform and qform set, mm). Equal volumes, equal bytes.

    `code` says what the coordinates are (1: scanner, 2: aligned), `intent` what the values are, such as
    `label`; readers multiply the stored values by `slope`.
    """
    image = nib.Nifti1Image(np.asarray(volume.array, dtype=dtype), volume.affine)
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)
    image.header.set_slope_inter(slope, None if slope is None else 0.0)
    image.set_sform(volume.affine, code)
    image.set_qform(volume.affine, code)
    return gzipped(image.to_bytes())
