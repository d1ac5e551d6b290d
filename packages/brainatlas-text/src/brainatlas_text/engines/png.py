"""8-bit grey PNG from an array: one IDAT chunk, the Up filter, deflate of runs by zlib-ng.

Written by hand because general encoders cost ten times as much at this size (docs/decisions/0004).
PNG specification, third edition, W3C 2025, sections 5 (chunks) and 9 (filters).
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainatlas_text.compression import deflated_runs

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2


def encode_grey(image: NDArray[np.uint8]) -> bytes:
    """PNG bytes of an image of shape (rows, columns), uint8."""
    rows, columns = image.shape
    lines = np.empty((rows, columns + 1), dtype=np.uint8)
    lines[:, 0] = _UP
    lines[0, 1:] = image[0]
    np.subtract(image[1:], image[:-1], out=lines[1:, 1:])  # modulo 256, as the filter asks
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    pixels = deflated_runs(lines.data)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: Any) -> bytes:
    body = kind + bytes(data)
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
