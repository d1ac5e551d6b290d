"""What a scan file is and what its header says, checked before its voxels are read.

nibabel repairs some headers silently (a voxel size of 0 becomes 1 mm), reads no gzip stream to its checksum
and makes up an orientation where none is stored. Here such files are refused, or used with a note.
"""

from __future__ import annotations

import logging
import os
import stat
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, igzip_lib
from nibabel.analyze import AnalyzeHeader
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from brainatlas_text import spaces
from brainatlas_text.errors import GeometryError, SourceError
from brainatlas_text.spaces import Affine

_ISAL_ERROR: Any = igzip_lib.IsalError  # isal's types are wrong about both
_OPEN_GZIP: Any = igzip.open
READ_ERRORS = (OSError, EOFError, ValueError, TypeError, KeyError, OverflowError, MemoryError, zlib.error,
               _ISAL_ERROR, nib.filebasedimages.ImageFileError,
               nib.spatialimages.HeaderDataError)  # fmt: skip
"""What nibabel and the decompressors raise on damaged files."""
MAX_ZOOM_DIFFERENCE = 0.05
"""Between two statements of the voxel size in one header; beyond it areas would be off by a tenth."""
MAX_TILT_MM = 1.0
"""Between qform and sform at the corners of the grid, about its center; beyond it a note is made."""
SPARE_BYTES = 65_536
"""That may follow the voxels; some programs pad their files."""
_CHUNK, _WINDOW = 1 << 20, 1 << 18
_MM_OF_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""By NIfTI's code for the unit of space: unknown (taken as mm), meter, mm, micrometer."""


def open_image(path: Path) -> Any:
    """The nibabel image of a file, header read, voxels not; raises SourceError for what is no scan file."""
    for part in _parts(path):
        _check_file(part)
    try:
        with quiet():
            return nib.load(path, mmap=False)
    except READ_ERRORS as error:
        raise SourceError(f"{path}: not a readable scan ({short(error)}); replace or exclude it") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep nibabel's remarks on odd headers off the terminal: what matters is checked and said here."""
    logger, level = nib.imageglobals.logger, nib.imageglobals.logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def short(error: BaseException) -> str:
    """An error of another library in one short line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _parts(path: Path) -> tuple[Path, ...]:
    """The files that make up a scan: header and voxels of a pair, else the file itself."""
    name = path.name
    for one, other in ((".img", ".hdr"), (".hdr", ".img")):
        for ending in (one, one + ".gz"):
            if name.endswith(ending):
                return path, path.with_name(name[: -len(ending)] + ending.replace(one, other))
    return (path,)


def _check_file(path: Path) -> None:
    """Refuse what cannot be read, or would never end: `open` waits forever for the writer of a pipe."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise SourceError(f"{path}: expected a file, found {kind}; remove it or exclude the scan")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        found = "a link to nothing" if path.is_symlink() else "no such file"
        raise SourceError(f"{path}: {found}; put the file there or exclude the scan") from error
    except PermissionError as error:
        raise SourceError(f"{path}: may not be read; make it readable (chmod u+r) or exclude it") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened ({error.strerror}); replace or exclude it") from error
    if status.st_size == 0:
        raise SourceError(f"{path}: the file is empty; copy it again or exclude the scan")


def check_values(image: Any, path: Path) -> None:
    """Refuse voxels that are no plain numbers."""
    kind = image.get_data_dtype()
    if kind.kind not in "iuf":
        found = "complex numbers; save their magnitude" if kind.kind == "c" else "colors; save it as gray"
        raise SourceError(f"{path}: expected one real number a voxel, found {found}, or exclude the scan")


def header_zooms_mm(image: Any, path: Path) -> NDArray[np.float64]:
    """Voxel sizes as the header states them, unrepaired, shape (3,); raises GeometryError for nonsense."""
    zooms = _stated_zooms_mm(image)
    if not _sane(zooms):
        raise GeometryError(
            f"{path}: voxel sizes must be positive, the header says ({_listed(zooms)}) mm; repair the "
            "header or exclude the scan"
        )
    return zooms


def stored_affine(image: Any, path: Path) -> tuple[Affine, tuple[str, ...]]:
    """The affine that the header states (RAS+ mm) and notes on it.

    Of two statements that agree but for a tilt the sform counts. Raises GeometryError where none is made,
    or where two contradict each other in side, direction or voxel size.
    """
    header = image.header
    if not isinstance(header, Nifti1Header):
        if isinstance(header, AnalyzeHeader):
            raise GeometryError(
                f"{path}: Analyze stores no orientation, so left and right are unknown; convert it to NIfTI"
            )
        return np.asarray(image.affine, dtype=np.float64), ()
    unit = _MM_OF_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    has_qform, has_sform = (int(header[f"{name}_code"]) > 0 for name in ("qform", "sform"))
    if not has_qform and not has_sform:
        raise GeometryError(
            f"{path}: neither qform nor sform is set, so left and right are unknown; set one of them from "
            "the original scan (FSL: fslorient) or exclude the scan"
        )
    notes: tuple[str, ...] = (
        () if unit == 1.0 else (f"voxel sizes are stated in units of {unit:g} mm and were converted",)
    )
    if not has_sform:
        header_zooms_mm(image, path)
        return _scaled(header.get_qform(), unit), notes
    sform = _scaled(header.get_sform(), unit)
    spaces.check_affine(sform, str(path))
    zooms = _stated_zooms_mm(image)
    if not _sane(zooms):
        return sform, (
            *notes,
            f"the header's voxel sizes ({_listed(zooms)}) mm are not used: the sform's are",
        )
    _check_same_zooms(zooms, spaces.zooms_of(sform), path)
    if has_qform:
        notes += _compared(header, sform, unit, image.shape, path)
    return sform, notes


def _check_same_zooms(stated: NDArray[np.float64], sform: NDArray[np.float64], path: Path) -> None:
    if np.abs(stated / sform - 1).max() > MAX_ZOOM_DIFFERENCE:
        raise GeometryError(
            f"{path}: the header states voxels of ({_listed(stated)}) mm, its sform ({_listed(sform)}) mm; "
            "correct the wrong one or exclude the scan"
        )


def _compared(header: Any, sform: Affine, unit: float, shape: tuple[int, ...], path: Path) -> tuple[str, ...]:
    """What to say of a qform beside the sform; raises GeometryError where they contradict each other."""
    try:
        qform = _scaled(header.get_qform(), unit)
    except (ValueError, nib.spatialimages.HeaderDataError):
        return ("the qform is no rotation; the sform is used",)
    codes = spaces.axis_codes(qform), spaces.axis_codes(sform)
    if codes[0] != codes[1]:
        raise GeometryError(
            f"{path}: qform says {codes[0]} and sform says {codes[1]}; find out which is right and copy it "
            "over the other (FSL: fslorient -copyqform2sform or -copysform2qform) or exclude the scan"
        )
    corners = (np.array(list(np.ndindex(2, 2, 2))) - 0.5) * shape[:3]
    apart_mm = float(np.linalg.norm(corners @ (qform - sform)[:3, :3].T, axis=1).max())
    if apart_mm <= MAX_TILT_MM:
        return ()
    return (
        f"qform and sform differ by up to {apart_mm:.1f} mm at the corners of the grid; the sform is used",
    )


def _scaled(affine: Any, unit: float) -> Affine:
    scaled = np.array(affine, dtype=np.float64)
    scaled[:3] *= unit
    return scaled


def _stated_zooms_mm(image: Any) -> NDArray[np.float64]:
    """From the header's own bytes: what nibabel gives is repaired already."""
    header = image.header
    if not isinstance(header, AnalyzeHeader):
        return np.asarray(header.get_zooms()[:3], dtype=np.float64)
    holder = image.file_map.get("header", image.file_map["image"])
    with holder.get_prepare_fileobj("rb") as file, quiet():
        raw = type(header).from_fileobj(file, check=False)
    unit = _MM_OF_UNIT.get(int(raw["xyzt_units"]) & 7, 1.0) if isinstance(header, Nifti1Header) else 1.0
    return np.asarray(raw["pixdim"][1:4], dtype=np.float64) * unit


def _sane(zooms: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(zooms).all() and (zooms > 0).all())


def _listed(zooms: NDArray[np.float64]) -> str:
    return ", ".join(f"{zoom:.3g}" for zoom in zooms)


def check_stream(image: Any, path: Path, *, labels: bool = False) -> None:
    """Read a file to its end without keeping it: length, checksum of a gzip stream, order of bytes.

    Raises SourceError for a stream that is damaged, cut short or far longer than the header says; nothing is
    allocated before. Formats with other compressions pass.
    """
    place = Path(image.file_map["image"].filename)
    if not isinstance(image.header, AnalyzeHeader) or place.name.lower().endswith((".bz2", ".zst")):
        return
    kind, count = image.get_data_dtype(), int(np.prod([int(n) for n in image.shape], dtype=object))
    offset, length = int(image.dataobj.offset), count * image.get_data_dtype().itemsize
    least = getattr(image.header, "single_vox_offset", 0) if "header" not in image.file_map else 0
    if offset < least:
        raise SourceError(
            f"{path}: voxels are said to begin at byte {offset}, within the header; repair it or exclude "
            "the scan"
        )
    middle = offset + (length - length % _WINDOW) // 2 // 16 * 16
    try:
        total, window = _measure(place, offset + length + SPARE_BYTES, middle)
    except READ_ERRORS as error:
        raise SourceError(f"{path}: damaged ({short(error)}); copy or unpack it again") from error
    if total < offset + length:
        raise SourceError(
            f"{path}: the header promises {offset + length} bytes, the file holds {total}; it was cut short: "
            "copy it again"
        )
    if total > offset + length + SPARE_BYTES:
        raise SourceError(
            f"{path}: the header promises {offset + length} bytes and more follow; the header is of another "
            "scan: replace it or exclude the scan"
        )
    if _looks_swapped(window[: len(window) // kind.itemsize * kind.itemsize], kind, labels):
        raise SourceError(
            f"{path}: the bytes of its voxels lie in the other order than the header says; convert it again"
        )


def _measure(path: Path, most: int, middle: int) -> tuple[int, bytes]:
    """Number of bytes once unpacked, counted no further than `most`, and some of them from `middle` on."""
    if not path.name.lower().endswith(".gz"):
        with path.open("rb") as file:
            file.seek(middle)
            return os.fstat(file.fileno()).st_size, file.read(_WINDOW)
    total, window = 0, b""
    with _OPEN_GZIP(path, "rb") as stream:
        while total <= most and (chunk := stream.read(_CHUNK)):
            if total + len(chunk) > middle and len(window) < _WINDOW:
                window += chunk[max(middle - total, 0) :][: _WINDOW - len(window)]
            total += len(chunk)
    return total, window


def _looks_swapped(window: bytes, kind: np.dtype[Any], labels: bool) -> bool:
    """Whether neighbors would be far more alike with their bytes in the other order."""
    if kind.itemsize not in (2, 4) or len(window) < 4096:
        return False
    with np.errstate(all="ignore"):
        values = np.frombuffer(window, dtype=kind)
        if kind.kind == "i" and kind.itemsize == 2 and _are_small_swapped(values):
            return True
        if labels:  # names of structures: 2 beside 1002 is no rougher than 2 beside 3
            return False
        as_is, swapped = _roughness(values), _roughness(values.byteswap())
    return as_is > 0.5 and as_is > 2.5 * swapped


def _are_small_swapped(values: NDArray[Any]) -> bool:
    """Numbers below 256 are as smooth either way; exchanged, they are multiples of 256, some negative."""
    if not (values < 0).any() or (values % 256 == 0).mean() < 0.99:
        return False
    return len(np.unique(values)) >= 8


def _roughness(values: NDArray[Any]) -> float:
    """Mean step between neighbors by the mean distance from the median: about 1.3 for noise."""
    numbers = values.astype(np.float64)
    numbers = np.clip(np.nan_to_num(numbers, posinf=1e30, neginf=-1e30), -1e30, 1e30)
    spread = float(np.abs(numbers - np.median(numbers)).mean())
    return float(np.abs(np.diff(numbers)).mean()) / spread if spread > 0 else 0.0
