"""Shards on disk -> samples at model size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from brainldm.records import PLANES, SEQUENCES, Config, Plane, Sample, Sequence


class DataConfig(Config):
    """Which slices are used, and at which size."""

    planes: tuple[Plane, ...] = PLANES
    sequences: tuple[Sequence, ...] = SEQUENCES
    sources: tuple[str, ...] = ()
    """Sources of the moving scan; none named = all."""
    max_samples: int | None = None
    """Per split, drawn evenly over subjects; None = all."""
    crop: int = 256
    """Side of the central square that is kept, in pixels of the shard's 256 x 256 picture."""
    image_size: int = 256
    """Side of the model's picture; `crop` is a multiple of it, pixels are averaged over areas."""
    caption_styles: tuple[str, ...] = ("full",)
    language: str = "en"


class SampleSet:
    """The samples of one split in a fixed order; random access by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def __iter__(self) -> Iterator[Sample]: ...


def open_samples(
    data: Path, config: DataConfig, *, split: str = "train", cache: Path | None = None
) -> SampleSet:
    """Opens one split of a data set folder.

    Args:
        data: the data set folder (docs/shard-format.md).
        config: filters and size; `Generator.recipe.data` holds those of a trained run.
        split: `train`, `validation` or `test`.
        cache: folder for the offset index, such as `RUN/cache`; None scans the shards again.

    Raises:
        DataError: no such folder or split, another format_version, a missing member, nothing left
            after the filters.
    """
    raise NotImplementedError


def splits(data: Path) -> tuple[str, ...]:
    """Names of the splits that have shards, in the order train, validation, test."""
    raise NotImplementedError
