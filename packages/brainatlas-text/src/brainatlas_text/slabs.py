"""Image files read slab by slab, so that grids of hundreds of millions of voxels never lie in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import NDArray

SLAB_VOXELS = 8_000_000
"""Read from a file at once."""


def read_slabs(
    proxy: Any, shape: tuple[int, int, int], first: int, multiple: int
) -> Iterator[NDArray[np.float32]]:
    """Parts of a stored array along its last axis from index `first` on, scaled, in storage order.

    Parameters are nibabel's array proxy, its shape without axes of length one, and the number of which each
    part's depth is a multiple (but the last one's). A compressed file is read once and to its end, which
    verifies its checksum. Raises what the decompressor, numpy or nibabel raise for files that are no good.
    """
    if type(proxy) is not nib.arrayproxy.ArrayProxy or proxy.order != "F":
        yield np.asanyarray(proxy, dtype=np.float32).reshape(shape)[..., first:]
        return
    plane_bytes = shape[0] * shape[1] * proxy.dtype.itemsize
    depth = max(SLAB_VOXELS // (shape[0] * shape[1]) // multiple, 1) * multiple
    with _stream(proxy.file_like) as file:
        file.seek(proxy.offset + first * plane_bytes)
        for start in range(first, shape[2], depth):
            size = plane_bytes * min(depth, shape[2] - start)
            data = file.read(size)
            if len(data) < size:
                raise EOFError(f"expected {size} bytes more, found {len(data)}")
            slab = np.frombuffer(data, dtype=proxy.dtype).reshape((*shape[:2], -1), order="F")
            yield _scaled(slab, proxy.slope, proxy.inter)
        file.read(1)


def means(slab: NDArray[np.float32], factors: Sequence[int]) -> NDArray[np.float32]:
    """Means over blocks of voxels; voxels left over at the ends are dropped.

    Sums of strided parts, so that nothing but the result is allocated.
    """
    if max(factors) == 1:
        return slab
    shape = [n // factor for n, factor in zip(slab.shape, factors, strict=True)]
    total = np.zeros(shape, dtype=np.float32, order="F")
    for start in np.ndindex(*factors):
        parts = zip(start, shape, factors, strict=True)
        total += slab[tuple(slice(at, at + n * factor, factor) for at, n, factor in parts)]
    total /= np.float32(np.prod(factors))
    return total


def _stream(source: Any) -> Any:
    """The bytes of an image file, decompressed; isal is several times as fast as zlib."""
    if str(source).lower().endswith(".gz"):
        stream: Any = igzip.open
        return stream(source, "rb")
    return nib.openers.ImageOpener(source, "rb")


def _scaled(slab: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused later, by name
        array = slab.astype(np.float32)
        if (slope, intercept) != (1.0, 0.0):
            array *= np.float32(slope)
            array += np.float32(intercept)
    return array
