"""One file, brought: download -> check -> unpack -> record -> move into place, from where it was stopped.

Nothing is visible in a source's folder before it is whole. What a person put there is never overwritten or
removed.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from brainatlas_text.download.ledger import Record, Shelf, digest_of, sha256_of
from brainatlas_text.download.transfer import Patience, download, forget
from brainatlas_text.download.unpack import DamagedArchiveError, Limits, PlacedFile, unpack
from brainatlas_text.errors import DownloadError, OutputError
from brainatlas_text.progress import TransferProgress

_UNPACKS_BY = 8
"""Times its size that an archive may take unpacked, where the catalog does not say what to expect …"""
_ALWAYS_BYTES = 1 << 24
"""… and what any may."""
_BEYOND_CATALOG = 3
"""Times what the catalog says that an archive may take unpacked."""


def bring(shelf: Shelf, progress: TransferProgress, patience: Patience) -> Record:
    """Make the file be in its place, whole. Raises DownloadError; the same call then goes on."""
    if not shelf.whole.is_file():
        download(shelf.file, shelf.part, progress, patience)
        progress.start(f"{shelf.file.file}: check", None, 0)
        _check(shelf)
        os.replace(shelf.part, shelf.whole)
        forget(shelf.part)
    num_bytes, sha256 = shelf.whole.stat().st_size, sha256_of(shelf.whole)
    if shelf.file.folder:
        try:
            placed = _unpack(shelf, progress)
        except BaseException:
            shelf.remove_unpacked()
            raise
    else:
        placed = (PlacedFile(path="", num_bytes=num_bytes, sha256=sha256),)
        os.replace(shelf.whole, shelf.ready)
    record = Record(
        file=shelf.file.file,
        url=shelf.file.url,
        num_bytes=num_bytes,
        sha256=sha256,
        fetched_at=datetime.now(UTC).isoformat(timespec="seconds"),
        placed=placed,
    )
    shelf.write(record)
    _move_into_place(shelf)
    shelf.clear()
    return record


def settle(shelf: Shelf, record: Record) -> list[str] | None:
    """Files of an earlier fetch that are gone or changed; None when not one is left."""
    if shelf.ready.exists() and not shelf.is_taken:
        _move_into_place(shelf)  # it was stopped between record and move
    missing = shelf.missing(record)
    if len(missing) == len(record.placed):
        return None
    shelf.clear()
    forget(shelf.part)
    return missing


def has_right_checksum(shelf: Shelf, path: Path) -> bool:
    """Whether a file holds what the catalog says it should."""
    algorithm, _, expected = (shelf.file.checksum or "").partition(":")
    return bool(expected) and digest_of(path, algorithm) == expected


def _check(shelf: Shelf) -> None:
    """The right bytes: as published, or else as at the first download."""
    earlier = shelf.read()
    if shelf.file.checksum:
        right, published = has_right_checksum(shelf, shelf.part), "its published checksum"
    elif earlier:
        right = sha256_of(shelf.part) == earlier.sha256
        published = (
            f"what was fetched on {earlier.fetched_at[:10]} (remove {shelf.record} to accept a new version)"
        )
    else:
        return
    if not right:
        forget(shelf.part)
        raise DownloadError(f"{shelf.file.url}: the bytes do not match {published}; removed")


def _unpack(shelf: Shelf, progress: TransferProgress) -> tuple[PlacedFile, ...]:
    """Unpack the checked archive to where it can be moved into place from, without a doubled top folder."""
    shelf.remove_unpacked()
    expected = shelf.file.unpacked_bytes
    most = expected * _BEYOND_CATALOG if expected else shelf.whole.stat().st_size * _UNPACKS_BY
    limits = Limits(total_bytes=max(most, _ALWAYS_BYTES))
    progress.start(f"{shelf.file.file}: unpack", expected, 0)
    try:
        placed = unpack(shelf.whole, shelf.unpacking, limits, progress)
    except DamagedArchiveError as error:
        shelf.whole.unlink()
        raise DownloadError(f"{shelf.file.url}: {error}; removed, the same command gets it anew") from error
    except DownloadError as error:
        raise DownloadError(
            f"{shelf.file.url}: {error}; nothing was unpacked. The archive is {shelf.whole}: look at it by "
            "hand, or remove it to get it anew"
        ) from error
    entries = list(shelf.unpacking.iterdir())
    if [entry.name for entry in entries] == [shelf.file.folder] and entries[0].is_dir():
        os.rename(entries[0], shelf.ready)
        return tuple(_without_top(entry) for entry in placed)
    os.rename(shelf.unpacking, shelf.ready)
    return placed


def _without_top(entry: PlacedFile) -> PlacedFile:
    path = entry.path.partition("/")[2]
    return PlacedFile(path=path, num_bytes=entry.num_bytes, sha256=entry.sha256)


def _move_into_place(shelf: Shelf) -> None:
    if shelf.is_taken:
        raise OutputError(f"{shelf.target}: appeared while it was being fetched; move it away and run again")
    os.rename(shelf.ready, shelf.target)
    shutil.rmtree(shelf.unpacking, ignore_errors=True)
