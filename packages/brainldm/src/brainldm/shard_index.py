"""Where each sample lies in the tars: one pass over headers and facts, cached as Parquet.

Reading then seeks straight to a sample, in any order. The pass also finds at once what is wrong with
a data set: a cut-off tar, a missing member, another format version. docs/shard-format.md is the contract.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from brainldm.errors import DataError

FORMAT_VERSION = 1
SPLITS = ("train", "validation", "test")
_MEMBERS = ("png", "seg.png", "txt", "json")
_BLOCK = 512
_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("key", pa.string()),
        ("png_offset", pa.int64()),
        ("png_size", pa.int64()),
        ("json_offset", pa.int64()),
        ("json_size", pa.int64()),
        ("subject", pa.string()),
        ("source", pa.string()),
        ("sequence", pa.string()),
        ("plane", pa.string()),
        ("position_fraction", pa.float32()),
    ]
)
_FACTS = ("subject", "source", "sequence", "plane", "position_fraction")


def splits(data: Path) -> tuple[str, ...]:
    """Names of the splits that have shards, in the order train, validation, test."""
    return tuple(split for split in SPLITS if any((data / "data" / split).glob("*.tar")))


def shard_paths(data: Path, split: str) -> list[Path]:
    """The tars of a split in order of name.

    Raises:
        DataError: no such folder, no shards in it, or none of this split.
    """
    if not data.is_dir():
        raise DataError(
            f"{data}: no such data set folder; give one with --data, for example --data "
            "./brainatlas-dataset, which `brainatlas-text build --sources ibsr oasis ixi kirby` writes"
        )
    paths = sorted((data / "data" / split).glob("*.tar"))
    if not paths:
        found = ", ".join(splits(data)) or "no shards at all"
        raise DataError(
            f"{data}: expected shards in data/{split}/*.tar, found {found}; build the data set first"
        )
    return paths


def fingerprint(data: Path, split: str, *, times: bool) -> str:
    """Digest over names and sizes of a split's tars, and with `times` over when they were written.

    With times it tells a changed file; without, a data set that was copied stays the same.
    """
    digest = hashlib.sha256()
    for path in shard_paths(data, split):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns if times else ''}\n".encode())
    return digest.hexdigest()[:16]


def load_index(data: Path, split: str, cache: Path | None) -> pa.Table:
    """One row a sample, in the order of shards and of samples within them.

    Columns: shard (number in `shard_paths`), key, offsets and sizes in bytes, and the facts to filter by.
    """
    paths = shard_paths(data, split)
    cached = (
        None if cache is None else cache / f"index-{split}-{fingerprint(data, split, times=True)}.parquet"
    )
    if cached is not None and cached.is_file():
        return pq.read_table(cached)
    rows = [row for number, path in enumerate(paths) for row in _scan(path, number)]
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    if cached is not None:
        cached.parent.mkdir(parents=True, exist_ok=True)
        partial = cached.with_suffix(f".{os.getpid()}.partial")
        pq.write_table(table, partial)
        partial.replace(cached)
    return table


def _scan(path: Path, number: int) -> Iterator[dict[str, Any]]:
    if path.stat().st_size == 0:
        raise DataError(f"{path}: expected a tar, found an empty file; build the data set again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tar:
        key, members = "", dict[str, tuple[int, int]]()
        for name, offset, size in _headers(path, tar):
            stem, _, extension = name.partition(".")
            if members and stem != key:
                yield _row(path, number, tar, key, members)
                members = {}
            key, members[extension] = stem, (offset, size)
        if members:
            yield _row(path, number, tar, key, members)


def _headers(path: Path, tar: mmap.mmap) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each regular file of a ustar archive."""
    place = 0
    while tar[place : place + 1] != b"\0":  # a block of zeros ends an archive
        if place + _BLOCK > len(tar):
            raise DataError(f"{path}: cut off at byte {len(tar)}; copy or build the shard again")
        header = tar[place : place + _BLOCK]
        try:
            size = int(header[124:136].rstrip(b"\0 ") or b"0", 8)
        except ValueError:
            raise DataError(f"{path}: expected a tar header at byte {place}, found other bytes") from None
        offset = place + _BLOCK
        if offset + size > len(tar):
            raise DataError(
                f"{path}: cut off within the member at byte {place}; copy or build the shard again"
            )
        if header[156:157] in (b"0", b"\0"):
            name = header[:100].rstrip(b"\0")
            prefix = header[345:500].rstrip(b"\0")
            yield (prefix + b"/" + name if prefix else name).decode(), offset, size
        place = offset + (size + _BLOCK - 1) // _BLOCK * _BLOCK


def _row(
    path: Path, number: int, tar: mmap.mmap, key: str, members: dict[str, tuple[int, int]]
) -> dict[str, Any]:
    missing = [f"{key}.{extension}" for extension in _MEMBERS if extension not in members]
    if missing:
        raise DataError(f"{path}: sample {key} lacks {', '.join(missing)}; build the shard again")
    offset, size = members["json"]
    try:
        facts = json.loads(tar[offset : offset + size])
    except ValueError as error:
        raise DataError(f"{path}: {key}.json: expected JSON, found {error}; build the shard again") from None
    if facts.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path}: sample {key}: expected format_version {FORMAT_VERSION}, found "
            f"{facts.get('format_version')}; use the brainldm that belongs to this data set or build it again"
        )
    absent = [name for name in _FACTS if name not in facts]
    if absent:
        raise DataError(f"{path}: {key}.json lacks {', '.join(absent)}; build the shard again")
    return {
        "shard": number,
        "key": key,
        "png_offset": members["png"][0],
        "png_size": members["png"][1],
        "json_offset": offset,
        "json_size": size,
    } | {name: facts[name] for name in _FACTS}
