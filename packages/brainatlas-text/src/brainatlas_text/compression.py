"""Deflate whose bytes repeat, by zlib-ng: files are hashed and compared, so equal content is equal bytes.

isal, which reads files here, is up to twice as fast at writing, but what it writes depends now and then on
what its memory held before (docs/decisions/0017-repeatable-bytes.md).
"""

from __future__ import annotations

from typing import Any

from zlib_ng import zlib_ng

_GZIP = 31
"""The window of 32 kB, in gzip's frame; its header carries neither a time nor a name."""
_ZLIB, _MEMORY = 15, 8
_LEVEL = 2
"""Of volumes; the first level loses half as much again to save a few hundredths of a second."""


def gzipped(data: bytes) -> bytes:
    """A whole gzip file."""
    packed: bytes = zlib_ng.compress(data, _LEVEL, wbits=_GZIP)
    return packed


def deflated_runs(data: Any) -> bytes:
    """A zlib stream in which matches are runs of one byte alone: for pictures, fast and small enough."""
    packer = zlib_ng.compressobj(1, zlib_ng.DEFLATED, _ZLIB, _MEMORY, zlib_ng.Z_RLE)
    packed: bytes = packer.compress(data) + packer.flush()
    return packed
