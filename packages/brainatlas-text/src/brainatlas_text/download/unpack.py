"""Unpack a tar of scans and believe nothing in it: only files and folders, inside the folder, of sane sizes.

`tarfile` reads the headers and nothing else. Names are checked and files created here, in a fresh folder
where no link can exist, because the standard library's own filters could be led outside by links
(CVE-2025-4517). An archive that holds anything a set of scans has no use for is refused as a whole. `tarfile`
takes a damaged header for the end; here an archive ends with the block of zeros that tar writes, or it is
not whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from isal import igzip, igzip_lib

from brainatlas_text.errors import DownloadError
from brainatlas_text.progress import TransferProgress

_BLOCK = 1 << 18
_ROOM_FOR_HEADERS = 1 << 20
_MAX_DEPTH = 32


class DamagedArchiveError(DownloadError):
    """The archive is not whole, so that another download may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFile:
    """One file that came out of an archive."""

    path: str
    """Below the archive's folder, with `/`."""
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What no archive of scans exceeds."""

    total_bytes: int
    file_bytes: int = 4 << 30
    files: int = 100_000


def unpack(archive: Path, folder: Path, limits: Limits, progress: TransferProgress) -> tuple[PlacedFile, ...]:
    """Unpack into `folder`, which must not exist yet.

    Raises DamagedArchiveError for what is not whole and DownloadError for what is unsafe; what was unpacked
    before stays in `folder`, and is the caller's to remove.
    """
    folder.mkdir()
    placed = []
    try:
        with archive.open("rb") as packed, _unzipped(packed) as unzipped:
            stream = _Metered(unzipped, limits.total_bytes)
            with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK, encoding="utf-8") as tar:  # type: ignore[call-overload]
                for member in _members(tar, stream, limits):
                    if member.isdir():
                        folder.joinpath(*_parts(member)).mkdir(parents=True, exist_ok=True)
                    else:
                        placed.append(_place(tar, member, folder, stream, progress))
                end = tar.offset
            stream.check_end(end)
    except (tarfile.TarError, EOFError, igzip_lib.IsalError, igzip.BadGzipFile) as error:  # type: ignore[misc]
        raise DamagedArchiveError(f"not a whole archive: {error}") from error
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL):
            raise DownloadError(f"names that cannot stand side by side: {error}") from error
        raise
    if not placed:
        raise DamagedArchiveError("holds no files")
    return tuple(placed)


def _unzipped(packed: BinaryIO) -> IO[bytes]:
    beginning = packed.read(2)
    packed.seek(0)
    return igzip.open(packed, "rb") if beginning == b"\x1f\x8b" else packed  # type: ignore[no-untyped-call]


def _members(tar: tarfile.TarFile, stream: _Metered, limits: Limits) -> Iterator[tarfile.TarInfo]:
    """Members that may be unpacked, each before its content is read."""
    for _ in range(limits.files + 1):
        stream.allow(_ROOM_FOR_HEADERS)
        member = tar.next()
        if member is None:
            return
        _check(member, limits)
        yield member
    raise DownloadError(f"holds more than {limits.files:,} files and folders")


def _check(member: tarfile.TarInfo, limits: Limits) -> None:
    shown = repr(member.name[:200])
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        kind = "a link" if member.islnk() or member.issym() else "neither a file nor a folder"
        raise DownloadError(f"{shown} is {kind}")
    if not 0 <= member.size <= limits.file_bytes:
        raise DownloadError(
            f"{shown} claims {member.size:,} bytes; at most {limits.file_bytes:,} are believed"
        )
    parts = _parts(member)
    if member.name.startswith("/") or ".." in parts or "\\" in member.name:
        raise DownloadError(f"{shown} leads out of the folder")
    if not member.name.isprintable() or len(parts) > _MAX_DEPTH or not (parts or member.isdir()):
        raise DownloadError(f"{shown} is not a usable name")


def _parts(member: tarfile.TarInfo) -> list[str]:
    return [part for part in member.name.split("/") if part not in ("", ".")]


def _place(
    tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, stream: _Metered, progress: TransferProgress
) -> PlacedFile:
    """Write one file, new and whole, and flush it to disk."""
    parts, digest, left = _parts(member), hashlib.sha256(), member.size
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    if content is None:
        raise DownloadError(f"{member.name!r} has no content")
    stream.allow(member.size + _ROOM_FOR_HEADERS)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "wb") as out:
        while left and (block := content.read(min(_BLOCK, left))):
            out.write(block)
            digest.update(block)
            progress.advance(len(block))
            left -= len(block)
        out.flush()
        os.fsync(out.fileno())
    if left:
        raise DamagedArchiveError(f"not a whole archive: {member.name!r} lacks {left:,} bytes")
    return PlacedFile(path="/".join(parts), num_bytes=member.size, sha256=digest.hexdigest())


class _Metered:
    """The unzipped stream: gives no more than was allowed, and remembers the latest bytes."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self._limit = stream, limit
        self._position, self._allowed = 0, _ROOM_FOR_HEADERS
        self._latest = b""

    def allow(self, num_bytes: int) -> None:
        """Let so many bytes more be read from here."""
        self._allowed = self._position + num_bytes

    def read(self, num_bytes: int) -> bytes:
        """What `tarfile` calls, a block at a time."""
        block = self._stream.read(num_bytes)
        self._position += len(block)
        if self._position > self._limit:
            raise DownloadError(f"unpacks to more than {self._limit:,} bytes")
        if self._position > self._allowed:
            raise DownloadError(f"has a header of more than {_ROOM_FOR_HEADERS:,} bytes")
        self._latest = self._latest[-_BLOCK:] + block
        return block

    def check_end(self, offset: int) -> None:
        """The zeros of tar's end must stand at `offset`; reads the rest, so that gzip's checksum counts."""
        begin = offset - (self._position - len(self._latest))
        if begin < 0 or self._latest[begin : begin + 512] != bytes(512):
            raise DamagedArchiveError("not a whole archive: it ends, or is damaged, before the end mark")
        self.allow(self._limit)
        while self.read(_BLOCK):
            pass
