"""What was fetched, beside the data: a record a file, and whether what it tells of is still there.

`<source>/.fetch/` holds the records, unfinished files and the lock; discovery does not look into it. A record
is written when everything it names lies checked and flushed in `.fetch/`, just before that is moved to its
place.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from brainatlas_text.download.catalog import RemoteFile
from brainatlas_text.download.unpack import PlacedFile
from brainatlas_text.workspace import write_text

FOLDER = ".fetch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What came of one remote file."""

    file: str
    url: str
    num_bytes: int
    sha256: str
    """Of the file as downloaded."""
    fetched_at: str
    placed: tuple[PlacedFile, ...]
    """Files below the target; an empty path is the target itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """The places of one remote file within a source's folder."""

    home: Path
    file: RemoteFile

    @property
    def target(self) -> Path:
        """Where it belongs, whole."""
        return self.home / (self.file.folder or self.file.file)

    @property
    def is_taken(self) -> bool:
        """Whether anything is in its place, be it a link that leads nowhere."""
        return os.path.lexists(self.target)

    @property
    def part(self) -> Path:
        """The download, unfinished."""
        return self._aside(".part")

    @property
    def whole(self) -> Path:
        """The download, checked."""
        return self._aside(".whole")

    @property
    def unpacking(self) -> Path:
        """The archive's content, unfinished."""
        return self._aside(".unpacking")

    @property
    def ready(self) -> Path:
        """What is moved into place."""
        return self._aside(".ready")

    @property
    def record(self) -> Path:
        """What came of it."""
        return self._aside(".json")

    def _aside(self, ending: str) -> Path:
        return self.home / FOLDER / f"{self.file.file}{ending}"

    def read(self) -> Record | None:
        """The record of an earlier fetch."""
        try:
            values: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
            placed = tuple(PlacedFile(**entry) for entry in values.pop("placed"))
            return Record(**values, placed=placed)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, record: Record) -> None:
        """Keep a record."""
        write_text(self.record, json.dumps(asdict(record), ensure_ascii=False, indent=1) + "\n")

    def missing(self, record: Record) -> list[str]:
        """Files of a record that are gone or have another size."""
        return [str(path) for path, entry in self._places(record) if not _has_size(path, entry.num_bytes)]

    def differing(self, record: Record) -> list[str]:
        """Files of a record that are gone or hold other bytes."""
        return [
            str(path)
            for path, entry in self._places(record)
            if not _has_size(path, entry.num_bytes) or sha256_of(path) != entry.sha256
        ]

    def remove_unpacked(self) -> None:
        """Remove what an interrupted unpacking left."""
        for leftover in (self.unpacking, self.ready):
            if leftover.is_dir():
                shutil.rmtree(leftover)

    def clear(self) -> None:
        """Remove what is no longer needed once the record's files are in place."""
        self.whole.unlink(missing_ok=True)
        self.remove_unpacked()

    def _places(self, record: Record) -> list[tuple[Path, PlacedFile]]:
        return [(self.target / entry.path if entry.path else self.target, entry) for entry in record.placed]


def _has_size(path: Path, num_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == num_bytes


def sha256_of(path: Path) -> str:
    """sha256 of a file."""
    return digest_of(path, "sha256")


def digest_of(path: Path, algorithm: str) -> str:
    """Digest of a file by `md5` or `sha256`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
