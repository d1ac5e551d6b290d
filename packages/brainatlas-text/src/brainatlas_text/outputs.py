"""What a build writes beside the shards: tables, card and provenance."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata, resources
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from brainatlas_text import fuse, plan, prepare, register, render, warp
from brainatlas_text.card import CardFacts, LabelFacts, write_card
from brainatlas_text.hub import Hub
from brainatlas_text.measure_tables import FOLDERS, SUFFIXES
from brainatlas_text.quality_table import Registered, write_quality
from brainatlas_text.recipe import Recipe
from brainatlas_text.records import PlannedPair, Preparation, PreparedScan, Rejection, RenderCounts, Shard
from brainatlas_text.samples import ReadyScan
from brainatlas_text.shards import write_shard_table
from brainatlas_text.sources import terms_of
from brainatlas_text.voters import tally
from brainatlas_text.workspace import atomic_path, write_text

_PACKAGES = (
    "brainatlas-text",
    "numpy",
    "scipy",
    "SimpleITK",
    "nibabel",
    "numba",
    "zlib-ng",
    "isal",
    "nilearn",
)
_REJECTED = ("stage", "key", "reason", "detail")


def write_tables(
    root: Path,
    ready: Mapping[str, ReadyScan],
    registered: Registered,
    planned: Sequence[PlannedPair],
    shards: Sequence[Shard],
    rejections: Sequence[Rejection],
) -> None:
    """Write `scans.parquet`, `quality.parquet`, `plan.parquet`, `shards.parquet` and `labels.tsv`."""
    splits = {pair.moving: pair.split for pair in planned if pair.moving == pair.fixed}
    _write_table(root / "scans.parquet", [_scan_row(scan, splits) for scan in ready.values()])
    write_quality(root / "quality.parquet", registered)
    _write_table(
        root / "rejected.parquet",
        [{name: getattr(r, name) for name in _REJECTED} for r in rejections],
        pa.schema([(name, pa.string()) for name in _REJECTED]),
    )
    plan.write_plan(root / "plan.parquet", planned)
    write_shard_table(root / "shards.parquet", shards)
    table = resources.files("brainatlas_text") / "tables" / "labels.tsv"
    write_text(root / "labels.tsv", table.read_text(encoding="utf-8"))


def without_places(rejections: Iterable[Rejection], folders: Iterable[Path]) -> tuple[Rejection, ...]:
    """The rejections as they are passed on: files by their place in the build's folders, not on the disk."""
    named = {path for folder in folders for path in (folder, folder.resolve()) if path.is_absolute()}
    prefixes = sorted((f"{path}/" for path in named), key=len, reverse=True)

    def told(detail: str) -> str:
        for prefix in prefixes:
            detail = detail.replace(prefix, "")
        return detail

    return tuple(replace(rejection, detail=told(rejection.detail)) for rejection in rejections)


def label_facts(
    ready: Mapping[str, ReadyScan], lent: Sequence[PreparedScan], splits: Mapping[str, str], recipe: Recipe
) -> LabelFacts:
    """Count who voted for whom; `lent` are the labeled scans of atlases."""
    scans = {scan.key: scan for scan in (*(s.prepared for s in ready.values()), *lent)}
    own = {s.subject: s.source for s in scans.values() if s.dseg is not None and s.key in ready}
    others = {s.subject: f"{s.source} (by --atlas)" for s in lent if s.subject not in own}
    ballots = {
        key: (scan.prepared.subject, [scans[voter].subject for voter in scan.labeled.voters])
        for key, scan in ready.items()
    }
    counted = tally(ballots, splits)
    lone = sorted({voter for key in counted.alone for voter in ballots[key][1]})
    note = (
        f"labels: {len(counted.alone)} scans have one voter alone ({', '.join(lone)}): "
        "their agreement map says nothing"
    )
    return LabelFacts(
        people=Counter((own | others).values()),
        tally=counted,
        rule=recipe.label.voters,
        notes=(note,) if lone else (),
    )


def generations(ready: Mapping[str, ReadyScan], planned: Sequence[PlannedPair]) -> dict[str, int]:
    """Kept volumes by the generation of their labels."""
    counts = plan.atlas_volumes(planned, _own_labels(ready), kept=True)
    return {str(n): sum(number for cell, number in counts.items() if cell[1] == n) for n in (1, 2)}


def split_notes(ready: Mapping[str, ReadyScan], planned: Sequence[PlannedPair]) -> tuple[str, ...]:
    """What too few people leave of the three splits."""
    splits = {pair.moving_subject: pair.split for pair in planned if pair.moving == pair.fixed}
    known = {subject: split for subject, split in splits.items() if split is not None}
    return plan.split_notes([scan.prepared for scan in ready.values()], known)


def _own_labels(ready: Mapping[str, ReadyScan]) -> set[str]:
    return {key for key, scan in ready.items() if scan.labeled.agreement is None}


def version() -> str:
    """Of this package."""
    return metadata.version("brainatlas-text")


def write_description(
    root: Path,
    recipe: Recipe,
    hub: Hub,
    ready: Mapping[str, ReadyScan],
    labels: LabelFacts,
    planned: Sequence[PlannedPair],
    shards: Sequence[Shard],
    rejections: Sequence[Rejection],
    rendered: RenderCounts,
) -> None:
    """Write the card and `provenance.json`."""
    own = _own_labels(ready)
    people = {scan.prepared.subject: scan.prepared.source for scan in ready.values()}
    terms_by_source = {s.prepared.source: terms_of(s.prepared.terms) for s in ready.values()}
    facts = CardFacts(
        recipe_name=recipe.name,
        shards=shards,
        num_subjects=Counter(people.values()),
        num_scans=Counter(f"{s.prepared.source} {s.prepared.sequence}" for s in ready.values()),
        pairs=plan.counts(planned),
        rendered=rendered,
        split_rule=plan.split_rule(recipe.plan),
        split_notes=split_notes(ready, planned),
        empty_rule=f"A slice is empty when it shows less than {recipe.render.min_brain_mm2:g} mm² of brain.",
        rejections=rejections,
        labels=labels,
        volumes=(plan.atlas_volumes(planned, own), plan.atlas_volumes(planned, own, kept=True)),
        methods=tuple(
            filter(
                None,
                (
                    prepare.methods(recipe.prepare),
                    register.methods(recipe.register_, hub),
                    warp.methods(recipe.warp),
                    fuse.methods(recipe.label),
                    render.methods(recipe.render),
                ),
            )
        ),
        terms={key: terms_of(key).terms for s in ready.values() for key in s.labeled.terms.split("+")},
    )
    write_text(root / "README.md", write_card(facts))
    provenance = {
        "recipe": recipe.name,
        "hub": {"name": hub.name, "sha256": hub.digest},
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "sources": {
            source: ", ".join(filter(None, (t.name, t.url))) for source, t in sorted(terms_by_source.items())
        },
    }
    write_text(root / "provenance.json", json.dumps(provenance, indent=1, ensure_ascii=False) + "\n")


def remove_stale(root: Path, written: Iterable[str]) -> None:
    """Delete shards and parts of tables that no block of this plan wrote, by their names below the root."""
    current = {root / name for name in written}
    parts = (path for folder in FOLDERS for path in (root / folder).glob("*-*.*") if path.suffix in SUFFIXES)
    for path in (*(root / "data").rglob("*.tar"), *parts):
        if path not in current:
            path.unlink()
    for folder in sorted((root / "data").glob("*")):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _scan_row(scan: ReadyScan, splits: Mapping[str, str | None]) -> dict[str, object]:
    prepared, labeled = scan.prepared, scan.labeled
    return {
        "key": prepared.key,
        "subject": prepared.subject,
        "source": prepared.source,
        "sequence": prepared.sequence,
        "split": splits[prepared.key],
        "age_years": prepared.facts.age_years,
        "juvenile": prepared.facts.juvenile,
        "sex": prepared.facts.sex,
        "healthy": prepared.facts.healthy,
        "scanner": prepared.facts.scanner,
        "source_zooms_mm": list(prepared.source_zooms_mm),
        "orientation_source": prepared.orientation_source,
        "left_by_capsule": _verdict(prepared, "capsule"),
        "left_by_two_forms": _verdict(prepared, "two forms"),
        **_preparation(prepared.preparation),
        "label_method": labeled.label_method,
        "generation": 1 if labeled.agreement is None else 2,
        "label_voters": list(labeled.voters),
        "terms": labeled.terms,
        "notes": list(prepared.notes),
    }


def _preparation(made: Preparation) -> dict[str, object]:
    """The path a scan took to what is used of it."""
    return {
        "stored_codes": made.stored_codes,
        "stored_shape": list(made.stored_shape),
        "stored_zooms_mm": list(made.stored_zooms_mm),
        "oblique_deg": made.oblique_deg,
        "num_averaged": made.num_averaged,
        "thinned_by": list(made.thinned_by),
        "mask_method": made.mask_method,
        "mask_detail": made.mask_detail,
        "brain_ml": made.brain_ml,
        "bias_correction": made.bias_correction,
        "intensity_range": list(made.intensity_range),
    }


def _verdict(scan: PreparedScan, method: str) -> str | None:
    """How a check of left and right came out; None where it was not made."""
    checks = scan.preparation.handedness
    return next((check.verdict for check in checks if check.method == method), None)


def _write_table(path: Path, rows: Sequence[dict[str, object]], schema: pa.Schema | None = None) -> None:
    with atomic_path(path) as part:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), part)
