"""A finished data set, opened: its scans, its plan, its tables, and any sample of it by key.

`BrainAtlas(OUT)[key]` renders a sample from the stored scans and transforms by the code of the build. What it
gives is bit for bit what the shards hold: the done-record of a block says of what its shards were made, and
where that is no longer what is stored (a build stopped half-way, another version of this package) the sample
is refused.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from brainatlas_text import block_stages, plan, sample_keys, samples
from brainatlas_text.errors import DatasetError, SampleKeyError
from brainatlas_text.headers import short
from brainatlas_text.recipe import Recipe, load_recipe
from brainatlas_text.records import LabeledScan, PlannedPair, PreparedScan, Rejection, Sample, Shard
from brainatlas_text.registrations import HubTransform, PairAffines, PairTransform, pair_of
from brainatlas_text.samples import MeasuredPair, ReadyScan
from brainatlas_text.tasks import finished
from brainatlas_text.workspace import Workspace

Record = TypeVar("Record")
_WRITTEN = ("scans.parquet", "plan.parquet", "rejected.parquet", "shards.parquet", "README.md")
"""What a build writes at its end."""


class BrainAtlas:
    """A finished data set folder.

    `len()` counts its samples, iteration gives their keys in the order of the shards, `[key]` renders one.
    Tables and lists are read when they are asked for.
    """

    def __init__(self, root: Path | str) -> None:
        """Open the folder; raise DatasetError for one that is no finished data set."""
        self.root = Path(root)
        recipe = self.root / "recipe.toml"
        if not recipe.is_file():
            raise DatasetError(
                f"{self.root}: not a data set of brainatlas-text (no recipe.toml); give the --out of a build"
            )
        missing = [name for name in _WRITTEN if not (self.root / name).is_file()]
        if missing:
            raise DatasetError(
                f"{self.root}: the build of this data set has not finished (no {', '.join(missing)}); "
                "run the same build again"
            )
        self.recipe: Recipe = load_recipe(str(recipe))
        self._settings = block_stages.settings_of(self.root, self.recipe)
        self._workspace = Workspace(self.root)
        self._measured: MeasuredPair | None = None

    @cached_property
    def plan(self) -> Mapping[str, PlannedPair]:
        """Every planned pair by its name, dropped ones too."""
        return {pair.pair: pair for pair in self._records("plan.parquet", PlannedPair)}

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """The tars, by path."""
        return tuple(self._records("shards.parquet", Shard))

    @cached_property
    def rejections(self) -> tuple[Rejection, ...]:
        """The scans and pairs that were refused."""
        return tuple(self._records("rejected.parquet", Rejection))

    @cached_property
    def scans(self) -> Mapping[str, ReadyScan]:
        """The scans by key, as the stages noted them in `work/`; raises DatasetError without it."""
        keys = self._table(self.root / "scans.parquet", ["key"])["key"].to_pylist()
        prepared = self._noted("prepare", keys, PreparedScan)
        transforms = self._noted("register", keys, HubTransform)
        labeled = self._noted("label", keys, LabeledScan)
        return {
            key: ReadyScan(prepared=prepared[key], transform=transforms[key], labeled=labeled[key])
            for key in keys
        }

    def __len__(self) -> int:
        """The number of samples."""
        return sum(shard.num_samples for shard in self.shards)

    def __iter__(self) -> Iterator[str]:
        """Keys of all samples, shard by shard."""
        for shard in self.shards:
            if not (self.root / shard.path).is_file():
                raise DatasetError(
                    f"{self.root / shard.path}: this shard is missing; run the same build again"
                )
            with tarfile.open(self.root / shard.path) as tar:
                names = (member.name for member in tar)
                yield from (name.removesuffix(".json") for name in names if name.endswith(".json"))

    def __getitem__(self, key: str) -> Sample:
        """Render a sample again; raises SampleKeyError, which says why, where there is none of this key."""
        wanted = sample_keys.parse(key)
        if wanted is None:
            raise SampleKeyError(f"{self.root}: {sample_keys.no_key(key, self.plan)}")
        if wanted.pair not in self.plan:
            raise SampleKeyError(f"{self.root}: {sample_keys.no_pair(key, self.plan, self.rejections)}")
        measured = self.measured(wanted.pair)
        if wanted.index not in measured.kept.get(wanted.plane, {}):
            why = sample_keys.no_slice(key, wanted, measured, self.recipe.render)
            raise SampleKeyError(f"{self.root}: {why}")
        return samples.sample_of(measured, wanted.plane, wanted.index, self._settings)

    def slices(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All parts of the table of slices, or some columns of it: a row a named structure of a slice."""
        return self._parts("slices", columns)

    def volumes(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All parts of the table of volumes, or some columns of it: a row a named structure of a pair."""
        return self._parts("volumes", columns)

    def measured(self, pair: str) -> MeasuredPair:
        """Render and measure a pair of the plan; the last one is kept, so that its slices come at once."""
        if self._measured is None or self._measured.pair.pair != pair:
            planned = self.plan.get(pair)
            if planned is None:
                raise SampleKeyError(f"{self.root}: {sample_keys.no_pair(pair, self.plan, self.rejections)}")
            if planned.split is None:
                raise SampleKeyError(f"{self.root}: {sample_keys.dropped(planned, self.plan)}")
            self._measured = self._measure(planned)
        return self._measured

    def _measure(self, pair: PlannedPair) -> MeasuredPair:
        assert pair.split is not None and pair.block is not None
        name = (pair.split, pair.source, pair.block)
        pairs = self._blocks[name]
        affines = self._affines(pairs)
        task = block_stages.block_task(self.root, name, pairs, self.scans, affines, self.recipe)
        if finished(task) is None:
            raise DatasetError(
                f"{self.root}: the shards of block {task.key} were not made of the scans and transforms that "
                "are stored here, or by another version of this package; run the same build again"
            )
        moving_from_fixed = affines.moving_from_fixed(pair.moving, pair.fixed)
        moving, fixed = self.scans[pair.moving], self.scans[pair.fixed]
        return samples.measure_pair(self.root, pair, moving, fixed, moving_from_fixed, self._settings)

    @cached_property
    def _blocks(self) -> Mapping[tuple[str, str, int], tuple[PlannedPair, ...]]:
        return plan.blocks(self.plan.values())

    def _affines(self, pairs: tuple[PlannedPair, ...]) -> PairAffines:
        """Those of some pairs; direct registrations are thousands, so only what is needed of them is read."""
        to_hub = {key: scan.transform for key, scan in self.scans.items()}
        if self.recipe.register_.method == "hub":
            return PairAffines(to_hub=to_hub)
        wanted = sorted({pair_of(p.moving, p.fixed) for p in pairs if p.moving != p.fixed})
        records = [f"{fixed}/{moving}_{fixed}" for moving, fixed in wanted]
        found = self._noted("register", records, PairTransform)
        return PairAffines(to_hub=to_hub, direct=dict(zip(wanted, found.values(), strict=True)))

    def _noted(self, stage: str, keys: list[str], kind: type[Any]) -> dict[str, Any]:
        """What a stage noted of its finished work, by key, in their order."""
        if not self._workspace.work.is_dir():
            raise DatasetError(
                f"{self._workspace.work}: not there, so no sample can be rendered again; it holds the "
                "prepared scans and is never published: open the folder that was built, or build it anew"
            )
        adapter, found = TypeAdapter(kind), {}
        for key in keys:
            payload = self._workspace.recorded_one(stage, key)
            try:
                found[key] = adapter.validate_python(payload and payload["result"])
            except ValidationError as error:
                raise DatasetError(
                    f"{self._workspace.work}: the stage {stage} noted nothing of {key} that can be used "
                    "here; run the same build again"
                ) from error
        return found

    def _parts(self, folder: str, columns: Sequence[str] | None) -> pa.Table:
        parts = sorted((self.root / folder).glob("*.parquet"))
        if not parts:
            raise DatasetError(f"{self.root / folder}: holds no table of measures; run the same build again")
        return pa.concat_tables([self._table(part, columns) for part in parts])

    def _records(self, name: str, kind: type[Record]) -> list[Record]:
        """The rows of a table that a build wrote, as what they were made of."""
        adapter = TypeAdapter(kind)
        try:
            return [adapter.validate_python(row) for row in self._table(self.root / name).to_pylist()]
        except ValidationError as error:
            raise DatasetError(
                f"{self.root / name}: written by another version of this package; run the same build again"
            ) from error

    def _table(self, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
        try:
            return pq.read_table(path, columns=columns)
        except pa.ArrowInvalid as error:
            raise DatasetError(
                f"{path}: damaged since it was written ({short(error)}); delete it and run the "
                "same build again"
            ) from error
