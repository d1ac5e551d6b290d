"""The work folder: atomic writes, content hashes, done-records and the lock.

A done-record is the only state of the build. It is written after its outputs, so that a record always
means finished work; it holds the digest of everything the outputs depend on.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike

from brainatlas_text.errors import OutputError, StageError
from brainatlas_text.volumes import Volume, encode

PART = ".part-"
"""Beginning of temporary names (the ending tells writers the format); whatever carries it is a leftover."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success flush it to disk and rename, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{PART}{os.getpid()}-{path.name}")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StageError(
                f"{path}: no space left on the disk; make room and run the same command again"
            ) from error
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_volume(path: Path, volume: Volume, dtype: DTypeLike) -> None:
    """Write a `.nii.gz` file atomically."""
    with atomic_path(path) as part:
        part.write_bytes(encode(volume, dtype))


def digest(value: object) -> str:
    """sha256 of a JSON-like value in canonical form (sorted keys); paths count by their text."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(*paths: Path) -> str:
    """sha256 over the bytes of the files, in order."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} has no canonical form")


@dataclass(frozen=True, slots=True)
class Workspace:
    """The data set folder and its private `work/` part."""

    root: Path

    @property
    def work(self) -> Path:
        """Prepared scans, label maps and done-records; never published."""
        return self.root / "work"

    def make(self) -> None:
        """Make the folder; raise OutputError where there can be none."""
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.root}: a data set folder cannot be made here ({error.strerror}); choose another --out"
            ) from error

    def read_record(self, stage: str, key: str, inputs: str) -> dict[str, Any] | None:
        """Payload of finished work with the same inputs digest and outputs of the same size, else None."""
        noted = self.read_outputs(stage, key, inputs)
        return noted[0] if noted else None

    def read_outputs(self, stage: str, key: str, inputs: str) -> tuple[dict[str, Any], list[str]] | None:
        """As `read_record`, with the names of the outputs below the root."""
        record = self._intact(self._record_path(stage, key))
        if record is None or record["inputs"] != inputs:
            return None
        payload: dict[str, Any] = record["payload"]
        return payload, list(record["outputs"])

    def recorded_one(self, stage: str, key: str) -> dict[str, Any] | None:
        """Payload of finished work whose outputs are in place, whatever it was made of; else None."""
        record = self._intact(self._record_path(stage, key))
        return record["payload"] if record else None

    def recorded(self, stage: str) -> dict[str, dict[str, Any]]:
        """Key -> payload of all finished work of a stage whose outputs are in place, by key."""
        paths = sorted((self.work / "records" / stage).glob("*.json"))
        return {path.stem: record["payload"] for path in paths if (record := self._intact(path))}

    def _intact(self, path: Path) -> dict[str, Any] | None:
        """A done-record whose outputs have the size that it notes, else None."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(record, dict) or "inputs" not in record:
            return None
        for name, size in record["outputs"].items():
            output = self.root / name
            if not output.is_file() or output.stat().st_size != size:
                return None
        return record

    def write_record(
        self, stage: str, key: str, inputs: str, outputs: Iterable[Path], payload: Mapping[str, Any]
    ) -> None:
        """Note that `outputs` (files under the root) are finished."""
        sizes = {path.relative_to(self.root).as_posix(): path.stat().st_size for path in outputs}
        record = {"stage": stage, "key": key, "inputs": inputs, "outputs": sizes, "payload": dict(payload)}
        text = json.dumps(record, sort_keys=True, ensure_ascii=False, indent=1, default=_plain)
        write_text(self._record_path(stage, key), text + "\n")

    def _record_path(self, stage: str, key: str) -> Path:
        return self.work / "records" / stage / f"{key}.json"

    def remove_leftovers(self) -> int:
        """Delete temporary files and folders that an interrupted run left behind; return their number."""
        leftovers = list(self.root.rglob(f"{PART}*"))
        for path in leftovers:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return len(leftovers)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; raise OutputError when another build holds it."""
        self.work.mkdir(parents=True, exist_ok=True)
        with hold(self.work / "lock", f"{self.root}: another build is writing here; wait for it or stop it"):
            yield


@contextmanager
def hold(lock: Path, busy: str) -> Iterator[None]:
    """Hold a lock file for this process; raise OutputError, saying `busy`, when another one holds it."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(busy) from error
        yield


def free_bytes(folder: Path) -> int:
    """Free space on the disk of a folder that may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
