"""Write samples as WebDataset tar shards: the format of docs/shard-format.md.

Input: samples in their final order. Output: one tar and its Shard row. Headers carry no time, owner or
machine, so equal samples give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from brainatlas_text.records import Plane, Sample, Shard
from brainatlas_text.workspace import Workspace, atomic_path

VERSION = 2
FORMAT_VERSION = 1
_BLOCK = 512


def shard_path(split: str, source: str, plane: Plane, number: int) -> str:
    """Path of a shard relative to the data set folder."""
    return f"data/{split}/{source}-{plane}-{number:05d}.tar"


def write_shard(
    workspace: Workspace, split: str, source: str, plane: Plane, number: int, samples: Iterable[Sample]
) -> Shard:
    """Write one shard atomically; the samples stand in the order given."""
    name = shard_path(split, source, plane, number)
    total = hashlib.sha256()
    num_samples, num_bytes, terms = 0, 0, set()
    with atomic_path(workspace.root / name) as part, part.open("wb") as file:
        for sample in samples:
            data = sample_bytes(sample)
            file.write(data)
            total.update(data)
            num_samples, num_bytes = num_samples + 1, num_bytes + len(data)
            terms.add(str(sample.facts["terms"]))
        end = bytes(2 * _BLOCK)
        file.write(end)
        total.update(end)
    return Shard(
        path=name,
        split=split,
        source=source,
        plane=plane,
        num_samples=num_samples,
        num_bytes=num_bytes + len(end),
        sha256=total.hexdigest(),
        terms=tuple(sorted(terms)),
    )


def sample_bytes(sample: Sample) -> bytes:
    """The four tar members of a sample, headers and padding included."""
    facts = json.dumps(sample.facts, ensure_ascii=False, separators=(",", ":"))
    members = (
        ("png", sample.image_png),
        ("seg.png", sample.label_png),
        ("txt", sample.text.encode()),
        ("json", facts.encode()),
    )
    buffer = io.BytesIO()
    for extension, data in members:
        header = tarfile.TarInfo(f"{sample.key}.{extension}")
        header.size = len(data)
        header.mode = 0o644
        buffer.write(header.tobuf(tarfile.USTAR_FORMAT))
        buffer.write(data)
        buffer.write(bytes(-len(data) % _BLOCK))
    return buffer.getvalue()


def write_shard_table(path: Path, shards: Iterable[Shard]) -> None:
    """Write `shards.parquet`, one row a tar, by path."""
    rows = [
        {name: getattr(shard, name) for name in Shard.__slots__}
        for shard in sorted(shards, key=lambda shard: shard.path)
    ]
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("split", pa.string()),
            ("source", pa.string()),
            ("plane", pa.string()),
            ("num_samples", pa.int64()),
            ("num_bytes", pa.int64()),
            ("sha256", pa.string()),
            ("terms", pa.list_(pa.string())),
        ]
    )
    with atomic_path(path) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), part)
