"""Shards -> samples at model size, and the order in which training sees them.

The order is one endless sequence of global positions: epoch after epoch, each a permutation drawn from
(seed, epoch). At a cursor of `n` images seen by all ranks together, rank r of W takes positions
n + r, n + r + W, ... The cursor is therefore the whole state: after a resume nothing is repeated or
lost, under any number of processes, and all ranks do the same number of steps. Whatever else is drawn
for an image (noise, time, caption) is a function of (seed, position) too: `chance`.
"""

from __future__ import annotations

import io
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from brainldm.errors import DataError, LaunchError
from brainldm.records import PLANES, SEQUENCES, Config, Plane, Sample, Sequence
from brainldm.shard_index import load_index, shard_paths, splits

__all__ = ["DataConfig", "SampleSet", "Stream", "chance", "open_samples", "prefetched", "splits"]

Loaded = TypeVar("Loaded")

PICTURE_SIZE = 256
_IMAGE_BUDGET_BYTES = 1 << 30
"""Decoded images are kept in memory up to this; a data set beyond it is decoded anew each time."""
_MAX_OPEN_FILES = 64
_DRAW_SEED = 20240
"""Seed of the draw of a subset; fixed, so that a subset is the same in every run."""


class DataConfig(Config):
    """Which slices are used, and at which size."""

    planes: tuple[Plane, ...] = PLANES
    sequences: tuple[Sequence, ...] = SEQUENCES
    sources: tuple[str, ...] = ()
    """Sources of the moving scan; none named = all."""
    max_samples: int | None = Field(default=None, gt=0)
    """Per split, drawn evenly over subjects; None = all."""
    crop: int = Field(default=PICTURE_SIZE, gt=0, le=PICTURE_SIZE)
    """Side of the central square that is kept, in pixels of the shard's 256 x 256 picture."""
    image_size: int = Field(default=PICTURE_SIZE, gt=0)
    """Side of the model's picture; `crop` is a multiple of it, pixels are averaged over areas."""
    caption_styles: tuple[str, ...] = ("full",)
    """Styles to choose from, one anew for each time an image is seen."""
    language: str = "en"

    @model_validator(mode="after")
    def _check_sizes(self) -> DataConfig:
        if self.crop % self.image_size or self.crop % 2:
            raise ValueError(
                f"crop must be even and a multiple of image_size, got {self.crop} and {self.image_size}"
            )
        return self


class SampleSet:
    """The samples of one split in a fixed order; random access by number, decoded images kept."""

    def __init__(self, paths: list[Path], index: pa.Table, config: DataConfig) -> None:
        self.index = index
        self._paths = paths
        self._config = config
        self._files: OrderedDict[int, int] = OrderedDict()
        size = config.image_size
        self._kept: NDArray[np.uint8] | None = None
        if len(index) * size * size <= _IMAGE_BUDGET_BYTES:
            self._kept = np.zeros((len(index), size, size), np.uint8)
        self._is_kept = np.zeros(len(index), bool)
        columns = ("shard", "png_offset", "png_size", "json_offset", "json_size")
        self._places = np.stack([index[name].to_numpy() for name in columns], axis=1).astype(np.int64)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> Sample:
        facts = self.facts(number)
        return Sample(
            key=facts["key"],
            image=self.image(number),
            caption=choose_caption(facts, self._config, 0.0),
            facts=facts,
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[number] for number in range(len(self)))

    def image(self, number: int) -> NDArray[np.uint8]:
        """The picture at model size, uint8 [H, W]."""
        if self._kept is None:
            return self._decode(number)
        if not self._is_kept[number]:
            self._kept[number] = self._decode(number)
            self._is_kept[number] = True
        image: NDArray[np.uint8] = self._kept[number]
        return image

    def facts(self, number: int) -> dict[str, Any]:
        """The sample's JSON."""
        shard, _, _, offset, size = self._places[number].tolist()
        facts: dict[str, Any] = json.loads(self._read(shard, offset, size))
        return facts

    def keys(self, numbers: list[int]) -> list[str]:
        """Keys of the samples with these numbers."""
        keys: list[str] = self.index["key"].take(numbers).to_pylist()
        return keys

    def caption(self, number: int, uniform: float) -> str:
        """The caption that a number drawn from [0, 1) picks among those of the recipe's styles."""
        return choose_caption(self.facts(number), self._config, uniform)

    def _decode(self, number: int) -> NDArray[np.uint8]:
        shard, offset, size, _, _ = self._places[number].tolist()
        where = f"{self._paths[shard]}: {self.index['key'][number].as_py()}.png"
        try:
            with Image.open(io.BytesIO(self._read(shard, offset, size))) as picture:
                pixels = np.asarray(picture)
        except (OSError, SyntaxError) as error:
            raise DataError(f"{where}: expected a PNG, found {error}; build the shard again") from None
        if pixels.shape != (PICTURE_SIZE, PICTURE_SIZE) or pixels.dtype != np.uint8:
            raise DataError(
                f"{where}: expected 8-bit grey {PICTURE_SIZE} x {PICTURE_SIZE}, found {pixels.dtype} "
                f"{' x '.join(map(str, pixels.shape))}; build the data set again"
            )
        return reduce_picture(pixels, self._config.crop, self._config.image_size)

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        descriptor = self._files.pop(shard, None)
        if descriptor is None:
            descriptor = os.open(self._paths[shard], os.O_RDONLY)
        self._files[shard] = descriptor
        if len(self._files) > _MAX_OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return os.pread(descriptor, size, offset)

    def __del__(self) -> None:
        for descriptor in getattr(self, "_files", {}).values():
            os.close(descriptor)


class Stream:
    """Which samples a rank sees at a cursor. Pure: the same arguments give the same numbers."""

    def __init__(
        self, num_samples: int, *, seed: int, batch_size: int, rank: int = 0, num_ranks: int = 1
    ) -> None:
        """`batch_size` is that of all ranks together: how far the cursor moves in a step."""
        if batch_size % num_ranks:
            raise LaunchError(
                f"batch_size = {batch_size} images a step cannot be dealt evenly to {num_ranks} processes; "
                "launch a number of processes that divides it, or change batch_size"
            )
        self.batch_size = batch_size
        self._num_samples = num_samples
        self._seed = seed
        self._rank = rank
        self._num_ranks = num_ranks

    def positions(self, cursor: int) -> NDArray[np.int64]:
        """Global positions [batch_size / num_ranks] of this rank when `cursor` images have been seen."""
        return cursor + np.arange(self._rank, self.batch_size, self._num_ranks, dtype=np.int64)

    def numbers(self, positions: NDArray[np.int64]) -> list[int]:
        """Numbers of the samples at global positions."""
        epochs, places = np.divmod(positions, self._num_samples)
        orders = {epoch: epoch_order(self._num_samples, self._seed, epoch) for epoch in set(epochs.tolist())}
        return [
            int(orders[epoch][place]) for epoch, place in zip(epochs.tolist(), places.tolist(), strict=True)
        ]


def prefetched(load: Callable[[int], Loaded], cursors: Iterable[int]) -> Iterator[Loaded]:
    """Batches at these cursors, the next one loaded by a thread while the last is worked on."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting: Future[Loaded] | None = None
        for cursor in cursors:
            following = thread.submit(load, cursor)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


@lru_cache(maxsize=2)
def epoch_order(num_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The permutation of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


def chance(seed: int, position: int) -> np.random.Generator:
    """The random numbers that belong to one global position, whatever rank or batch it lies in."""
    return np.random.default_rng([seed, position, 1])


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
    paths = shard_paths(data, split)
    index = _filtered(load_index(data, split, cache), config)
    if not len(index):
        raise DataError(
            f"{data}: no sample of split {split} passes the filters planes = {', '.join(config.planes)}; "
            f"sequences = {', '.join(config.sequences)}; sources = {', '.join(config.sources) or 'all'}; "
            "widen [data] in the recipe"
        )
    return SampleSet(paths, index, config)


def _filtered(index: pa.Table, config: DataConfig) -> pa.Table:
    keep = pc.and_(
        pc.is_in(index["plane"], pa.array(config.planes)),
        pc.is_in(index["sequence"], pa.array(config.sequences)),
    )
    if config.sources:
        keep = pc.and_(keep, pc.is_in(index["source"], pa.array(config.sources)))
    index = index.filter(keep)
    if config.max_samples is not None and len(index) > config.max_samples:
        index = index.take(draw_evenly(index["subject"].to_numpy(), config.max_samples))
    return index


def draw_evenly(subjects: NDArray[np.object_], number: int) -> NDArray[np.int64]:
    """Places of `number` entries, taken in turn from each subject in a random order, sorted."""
    shuffled = np.random.default_rng(_DRAW_SEED).permutation(len(subjects))
    _, person = np.unique(subjects[shuffled].astype(str), return_inverse=True)
    by_person = np.argsort(person, kind="stable")
    starts = np.searchsorted(person[by_person], person[by_person])
    turn = np.empty(len(subjects), np.int64)
    turn[by_person] = np.arange(len(subjects)) - starts
    chosen: NDArray[np.int64] = np.sort(shuffled[np.argsort(turn, kind="stable")[:number]])
    return chosen


def choose_caption(facts: dict[str, Any], config: DataConfig, uniform: float) -> str:
    """One of the captions in the recipe's styles and language, picked by a number in [0, 1)."""
    texts: list[str] = [
        caption["text"]
        for style in config.caption_styles
        for caption in facts["captions"]
        if caption["style"] == style and caption["language"] == config.language
    ]
    if not texts:
        found = sorted({f"{caption['style']} ({caption['language']})" for caption in facts["captions"]})
        raise DataError(
            f"{facts['key']}: expected captions in style {' or '.join(config.caption_styles)} "
            f"({config.language}), found {', '.join(found) or 'none'}; change data.caption_styles"
        )
    return texts[int(uniform * len(texts))]


def reduce_picture(pixels: NDArray[np.uint8], crop: int, image_size: int) -> NDArray[np.uint8]:
    """The central square of side `crop`, averaged over areas to side `image_size`."""
    start = (len(pixels) - crop) // 2
    square = pixels[start : start + crop, start : start + crop]
    factor = crop // image_size
    if factor == 1:
        return np.ascontiguousarray(square)
    areas = square.reshape(image_size, factor, image_size, factor)
    reduced: NDArray[np.uint8] = np.rint(areas.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)
    return reduced
