"""Bytes of the scan files the four sources distribute: NIfTI-1 with their header fields, and Analyze 7.5.

Equal arrays, equal bytes: nothing here depends on time or machine.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spm99analyze import Spm99AnalyzeHeader
from numpy.typing import DTypeLike, NDArray
from scipy.io import savemat

from brainatlas_text import spaces
from brainatlas_text.compression import gzipped
from brainatlas_text.errors import InputError, StageError
from brainatlas_text.spaces import Affine


def write_nifti(
    path: Path,
    array: NDArray[Any],
    affine: Affine,
    dtype: DTypeLike,
    *,
    codes: tuple[int, int] = (1, 1),
    units: str = "mm",
    zooms: Sequence[float] | None = None,
) -> None:
    """Write a `.nii.gz`; `codes` are those of qform and sform, 0 leaves a form out of the header."""
    image = nib.Nifti1Image(np.asarray(array, dtype=dtype), None)
    qform_code, sform_code = codes
    image.header.set_zooms(spaces.zooms_of(affine) if zooms is None else zooms)
    image.header.set_xyzt_units(units)
    image.header.set_qform(affine if qform_code else None, qform_code)
    image.header.set_sform(affine, sform_code)
    _write(path, gzipped(image.to_bytes()))


def write_ibsr_nifti(path: Path, array: NDArray[Any], affine: Affine) -> None:
    """As IBSR's NIfTI release: int16, a fourth axis of one volume with zoom 0, sform alone."""
    zooms = (*spaces.zooms_of(affine), 0.0)
    write_nifti(path, array[..., None], affine, np.int16, codes=(0, 1), units="unknown", zooms=zooms)


def write_analyze(path: Path, array: NDArray[Any], zooms_mm: Sequence[float], dtype: DTypeLike) -> None:
    """Write `path`.hdr and .img as OASIS-1 does: big endian, a fourth axis of one, no orientation."""
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_dtype(dtype)
    header.set_data_shape((*array.shape, 1))
    header.set_zooms((*zooms_mm, 0.0))
    header["regular"] = b"r"
    _write(path.with_name(path.name + ".hdr"), header.binaryblock)
    big_endian = np.dtype(dtype).newbyteorder(">")
    _write(path.with_name(path.name + ".img"), np.asarray(array, dtype=big_endian).tobytes(order="F"))


def write_spm_analyze(path: Path, array: NDArray[Any], zooms_mm: Sequence[float]) -> None:
    """Write `path`.hdr, .img and .mat as IBSR's ANALYZE release does: little endian int16, axes L, I, A.

    The header stores no orientation; SPM's matrix M (indices from 1) says i -> -x, j -> -z, k -> +y.
    """
    header = Spm99AnalyzeHeader(endianness="<")
    header.set_data_dtype(np.int16)
    header.set_data_shape((*array.shape, 1))
    header.set_zooms((*zooms_mm, 0.0))
    origin = np.asarray(array.shape) // 2 + 1
    header["origin"][:3] = origin
    header["vox_units"] = b"mm"
    header["glmax"] = int(array.max())
    _write(path.with_name(path.name + ".hdr"), header.binaryblock)
    _write(path.with_name(path.name + ".img"), np.asarray(array, dtype="<i2").tobytes(order="F"))
    matrix = np.eye(4)
    matrix[:3, :3] = 0.0
    for world, axis, sign in ((0, 0, -1), (2, 1, -1), (1, 2, 1)):
        matrix[world, axis] = sign * zooms_mm[axis]
        matrix[world, 3] = -sign * zooms_mm[axis] * origin[axis]
    with io.BytesIO() as buffer:
        savemat(buffer, {"M": matrix}, format="4")
        _write(path.with_name(path.name + ".mat"), buffer.getvalue())


def write_table(path: Path, rows: Iterable[Sequence[object]], delimiter: str = ",") -> None:
    """Write a text table; the first row names the columns."""
    with io.StringIO(newline="") as buffer:
        csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerows(rows)
        _write(path, buffer.getvalue().encode())


def write_xls(path: Path, sheet: str, rows: Iterable[Sequence[object]]) -> None:
    """Write an Excel 97 workbook of one sheet; empty texts are empty cells."""
    try:
        import xlwt  # in the extra `demo`: only synthetic sources are ever written as .xls
    except ImportError as error:
        raise InputError(
            "demo-sources: the package xlwt is not installed; install it with: "
            "pip install 'brainatlas-text[demo]'"
        ) from error
    book = xlwt.Workbook()
    table = book.add_sheet(sheet)
    for index, row in enumerate(rows):
        for column, value in enumerate(row):
            if value != "":
                table.write(index, column, value)
    with io.BytesIO() as buffer:
        book.save(buffer)
        _write(path, buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise StageError(
            f"{path}: cannot be written ({error.strerror}); make room or give another folder"
        ) from error
