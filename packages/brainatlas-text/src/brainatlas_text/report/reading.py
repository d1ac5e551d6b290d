"""Read samples back from the shards, the first of each: their order is drawn, so these are a fair draw."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from brainatlas_text.errors import DatasetError
from brainatlas_text.records import Sample, Shard

MAX_SHARDS = 120
MAX_SAMPLES = 6000
_MEMBERS = ("png", "seg.png", "txt", "json")
_Item = TypeVar("_Item")


def evenly(items: Sequence[_Item], at_most: int) -> list[_Item]:
    """At most so many of the items, spread evenly from the first to the last."""
    if len(items) <= at_most:
        return list(items)
    step = (len(items) - 1) / (at_most - 1)
    return [items[round(place * step)] for place in range(at_most)]


def some_samples(root: Path, shards: Sequence[Shard]) -> Iterator[Sample]:
    """Samples of shards spread over all splits, sources and planes; all samples of a small data set."""
    chosen = evenly(sorted(shards, key=lambda shard: shard.path), MAX_SHARDS)
    for shard in chosen:
        yield from first_samples(root / shard.path, MAX_SAMPLES // len(chosen))


def first_samples(path: Path, at_most: int) -> Iterator[Sample]:
    """The first samples of a shard; raises DatasetError for a tar that is none of ours or cut off."""
    try:
        with tarfile.open(path, mode="r|") as tar:
            members: dict[str, bytes] = {}
            for member in tar:
                key, _, extension = member.name.partition(".")
                file = tar.extractfile(member)
                members[extension] = file.read() if file else b""
                if extension == _MEMBERS[-1]:
                    yield _sample(key, members)
                    members, at_most = {}, at_most - 1
                    if at_most <= 0:
                        return
    except (tarfile.TarError, OSError, KeyError, ValueError) as error:
        raise DatasetError(
            f"{path}: expected a whole shard, found {error}; run the same build again"
        ) from error


def _sample(key: str, members: dict[str, bytes]) -> Sample:
    image_png, label_png, text, facts = (members[extension] for extension in _MEMBERS)
    return Sample(
        key=key, image_png=image_png, label_png=label_png, text=text.decode(), facts=json.loads(facts)
    )
