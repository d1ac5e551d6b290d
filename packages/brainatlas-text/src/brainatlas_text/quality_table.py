"""`quality.parquet`: a row for every registration of a build, those that were refused as well."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from brainatlas_text.registrations import (
    HubTransform,
    HubWarp,
    Matrix,
    PairTransform,
    TransformQuality,
    TransformRejection,
)
from brainatlas_text.workspace import atomic_path

MAPS = {"affine": "hub_from_scan", "warp": "hub_from_bent", "pair": "moving_from_fixed"}
"""What the figures of each kind of transform are about: which points are mapped, and to what."""
_NUMBERS = pa.list_(pa.float64())
SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "kind": pa.string(),
        "maps": pa.string(),
        "moving": pa.string(),
        "fixed": pa.string(),
        "accepted": pa.bool_(),
        "reason": pa.string(),
        "similarity": pa.float64(),
        "overlap": pa.float64(),
        "determinant": pa.float64(),
        "scales": _NUMBERS,
        "shear_deg": pa.float64(),
        "jacobian": _NUMBERS,
        "matrix": _NUMBERS,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """All transforms of a build."""

    hub: str
    """Name of the template."""
    transforms: tuple[HubTransform | HubWarp | PairTransform, ...]
    rejections: tuple[TransformRejection, ...] = ()


def write_quality(path: Path, registered: Registered) -> None:
    """Write the table; by kind, then by key."""
    rows = [_row(transform, registered.hub) for transform in registered.transforms]
    rows += [_refused(rejection, registered.hub) for rejection in registered.rejections]
    rows.sort(key=lambda row: (list(MAPS).index(str(row["kind"])), str(row["key"])))
    with atomic_path(path) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), part)


def _row(transform: HubTransform | HubWarp | PairTransform, hub: str) -> dict[str, object]:
    if isinstance(transform, PairTransform):
        key, fixed = f"{transform.moving}_{transform.fixed}", transform.fixed
        return _figures("pair", key, fixed, None, transform.quality, transform.moving_from_fixed)
    if isinstance(transform, HubTransform):
        return _figures("affine", transform.key, hub, None, transform.quality, transform.hub_from_scan)
    return _figures("warp", transform.key, hub, None, transform.quality, None)


def _refused(rejection: TransformRejection, hub: str) -> dict[str, object]:
    fixed = rejection.key.split("_")[1] if rejection.kind == "pair" else hub
    return _figures(
        rejection.kind, rejection.key, fixed, rejection.reason, rejection.quality, rejection.matrix
    )


def _figures(
    kind: str,
    key: str,
    fixed: str,
    reason: str | None,
    quality: TransformQuality | None,
    matrix: Matrix | None,
) -> dict[str, object]:
    named = ("similarity", "overlap", "determinant", "scales", "shear_deg", "jacobian")
    return {
        "key": key,
        "kind": kind,
        "maps": MAPS[kind],
        "moving": key.split("_")[0],
        "fixed": fixed,
        "accepted": reason is None,
        "reason": reason,
        **{name: getattr(quality, name) if quality is not None else None for name in named},
        "matrix": [value for row in matrix for value in row] if matrix is not None else None,
    }
