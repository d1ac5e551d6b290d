"""Keys of samples: read, and explained where a data set has no sample of that name.

A key is `<moving>_<fixed>_<plane>-<index>`, such as `ixi-517-t2w_ibsr-01-t1w_axial-127`. Whoever asks for one
that is not there learns why: no such scan, a scan rejected, a pair dropped, a plane or slice left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

from brainatlas_text import render
from brainatlas_text.records import PLANES, Plane, PlannedPair, Rejection
from brainatlas_text.render import RenderConfig
from brainatlas_text.samples import MeasuredPair, sample_key

_KEY = re.compile(rf"(?P<pair>[^_]+_[^_]+)_(?P<plane>{'|'.join(PLANES)})-(?P<index>\d{{3,}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleKey:
    """What the key of a sample says."""

    pair: str
    plane: Plane
    index: int


def parse(key: str) -> SampleKey | None:
    """Read a key; None for text that is none."""
    found = _KEY.fullmatch(key)
    if found is None or len(found["index"]) != len(f"{int(found['index']):03d}"):
        return None
    return SampleKey(pair=found["pair"], plane=cast(Plane, found["plane"]), index=int(found["index"]))


def no_key(key: str, plan: Mapping[str, PlannedPair]) -> str:
    """Why text is no key, and which one may be meant."""
    near = _nearest(key, plan)
    hint = f"did you mean {near}?" if near else f"such as {_example(plan)}"
    return f"{key!r} is no key of a sample: expected MOVING_FIXED_PLANE-INDEX; {hint}"


def no_pair(key: str, plan: Mapping[str, PlannedPair], rejections: Iterable[Rejection]) -> str:
    """Why the plan has no pair of this name, or of this key: a scan that is not known, or was rejected."""
    refused, known = {rejection.key: rejection for rejection in rejections}, _scans(plan)
    scans = key.split("_")[:2]
    for scan in scans:
        if scan in refused:
            what = refused[scan]
            return f"{key}: {scan} was rejected in {what.stage} ({what.reason}): {what.detail}"
    strange = next((scan for scan in scans if scan not in known), scans[0])
    near = _nearest(key, plan)
    hint = f"did you mean {near}?" if near else f"scans.parquet lists those it has, as in {_example(plan)}"
    return f"{key}: the data set has no scan {strange}; {hint}"


def dropped(pair: PlannedPair, plan: Mapping[str, PlannedPair]) -> str:
    """Why a planned pair was not rendered."""
    moving, fixed = (plan[f"{scan}_{scan}"].split for scan in (pair.moving, pair.fixed))
    if moving != fixed:
        return (
            f"{pair.pair}: this pair was dropped: {pair.moving_subject} is in {moving}, {pair.fixed_subject} "
            f"in {fixed}, and a pair across splits would bring a person into both; see plan.parquet"
        )
    return (
        f"{pair.pair}: this pair was dropped, because the registration of its scans was refused; "
        "quality.parquet says why"
    )


def no_slice(key: str, wanted: SampleKey, measured: MeasuredPair, config: RenderConfig) -> str:
    """Why a rendered pair has no such sample: a plane, a step or too little brain."""
    if wanted.plane not in measured.kept:
        return (
            f"{key}: {wanted.plane} slices are not part of this data set (render.planes: "
            f"{', '.join(measured.kept)})"
        )
    kept = list(measured.kept[wanted.plane])
    if not kept:
        return f"{key}: no {wanted.plane} slice of this pair is kept; {_rule(config)}"
    nearest = min(kept, key=lambda index: (abs(index - wanted.index), index))
    hint = f"the nearest is {sample_key(wanted.pair, wanted.plane, nearest)}"
    every = config.model_copy(update={"slice_step": 1})
    if wanted.index in dict(render.kept_slices(measured.rendered, wanted.plane, every)):
        return f"{key}: left out by render.slice_step = {config.slice_step}; {hint}"
    return (
        f"{key}: this slice is empty, so it is no sample: {_rule(config)}, and {wanted.plane} slices of this "
        f"pair do from {kept[0]} to {kept[-1]}; {hint}"
    )


def _rule(config: RenderConfig) -> str:
    return f"a slice must show {config.min_brain_mm2:g} mm² of brain (render.min_brain_mm2)"


def _scans(plan: Mapping[str, PlannedPair]) -> list[str]:
    return sorted({pair.moving for pair in plan.values()})


def _example(plan: Mapping[str, PlannedPair]) -> str:
    """A key of a pair that is kept, in the middle of the frame."""
    kept = next((pair.pair for pair in plan.values() if pair.split is not None), "MOVING_FIXED")
    return sample_key(kept, "axial", render.SIZE // 2)


def _nearest(key: str, plan: Mapping[str, PlannedPair]) -> str | None:
    """A key like this one of scans and planes that there are; its slice may still be empty."""
    parts = key.strip().lower().split("_")
    number = re.search(r"\d+", parts[-1])
    if len(parts) != 3 or number is None:
        return None
    scans = _scans(plan)
    near = [get_close_matches(part, scans, n=1) for part in parts[:2]]
    plane = get_close_matches(parts[2][: number.start()].rstrip("-"), PLANES, n=1)
    if not (near[0] and near[1] and plane):
        return None
    return sample_key(f"{near[0][0]}_{near[1][0]}", cast(Plane, plane[0]), int(number[0]))
