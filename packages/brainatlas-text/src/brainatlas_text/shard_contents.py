"""What a shard holds, read back from the tar itself: whose pictures, in which split, with which voters.

Input: a finished tar. Output: the pairs of people that its samples name, and a hash of each picture's pixels,
so that two files with the same picture are known without keeping either.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from brainatlas_text.errors import StageError

FEWEST_PIXELS = 100
"""Pictures that show less are not compared: the tip of one brain may equal that of another."""
HASH_BYTES = 16
BLANK = bytes(HASH_BYTES)
"""Stands for a picture that is not compared."""
_AGAIN = "download it again, or delete it and run the same build again"
_DAMAGE = (tarfile.TarError, EOFError, ValueError, KeyError, TypeError, UnidentifiedImageError, SyntaxError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where samples of a shard say that they come from."""

    split: str
    moving: str
    fixed: str
    subject: str
    fixed_subject: str
    voters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardContents:
    """One tar, read."""

    path: str
    """Relative to the data set folder."""
    split: str
    """Of the folder it lies in."""
    origins: Counter[Origin]
    """How many samples come from where."""
    hashes: bytes
    """Of the samples' pictures, `HASH_BYTES` each, in their order; `BLANK` where too little is shown."""

    @property
    def num_samples(self) -> int:
        """Samples read."""
        return len(self.hashes) // HASH_BYTES


def read_shard(root: Path, path: str) -> ShardContents:
    """Read a tar below a data set folder; raises StageError for one that is missing or damaged."""
    origins: Counter[Origin] = Counter()
    hashes = bytearray()
    try:
        for picture, facts in _samples(root / path):
            hashes += _hash(picture)
            origins[_origin(facts)] += 1
    except OSError as error:
        raise StageError(f"{root / path}: cannot be read ({error.strerror or error}); {_AGAIN}") from error
    except _DAMAGE as error:
        raise StageError(f"{root / path}: damaged ({type(error).__name__}: {error}); {_AGAIN}") from error
    return ShardContents(path=path, split=Path(path).parent.name, origins=origins, hashes=bytes(hashes))


def keys_of(root: Path, path: str) -> list[str]:
    """Keys of a tar's samples, in their order."""
    with tarfile.open(root / path) as tar:
        return [name.removesuffix(".json") for name in tar.getnames() if name.endswith(".json")]


def _samples(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Picture and facts of each sample; raises ValueError where they do not stand together."""
    with tarfile.open(path) as tar:
        picture: tuple[str, bytes] = ("", b"")
        for member in tar:
            key, _, extension = member.name.partition(".")
            if extension not in ("png", "json"):
                continue
            file = tar.extractfile(member)
            data = file.read() if file else b""
            if extension == "png":
                picture = (key, data)
            elif key != picture[0]:
                raise ValueError(f"{key}.json does not follow {key}.png")
            else:
                yield picture[1], json.loads(data)


def _hash(picture: bytes) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(picture)))
    if np.count_nonzero(pixels) < FEWEST_PIXELS:
        return BLANK
    return hashlib.blake2b(pixels.tobytes(), digest_size=HASH_BYTES, key=str(pixels.shape).encode()).digest()


def _origin(facts: dict[str, Any]) -> Origin:
    voters = tuple(facts["label_voters"])
    names = ("split", "moving", "fixed", "subject", "fixed_subject")
    return Origin(voters=voters, **{name: str(facts[name]) for name in names})
