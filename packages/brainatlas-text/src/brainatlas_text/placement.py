"""Where the scans of a build lie: each in the hub, labels' carriers bent into it, pairs as the recipe says.

Input: the prepared scans. Output: the scans that are in place, and what puts them there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainatlas_text import pair_stages, plan, stages, voters
from brainatlas_text.quality_table import Registered
from brainatlas_text.records import ATLAS_KEY, PreparedScan
from brainatlas_text.registrations import HubTransform, HubWarp, PairAffines, TransformRejection
from brainatlas_text.running import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The scans that can be used, and how they lie to one another."""

    own: Sequence[PreparedScan]
    """Of this data set."""
    lent: Sequence[PreparedScan]
    """Of atlases, which only vote."""
    splits: Mapping[str, str]
    """The split of each person of this data set."""
    affines: PairAffines
    warps: Mapping[str, HubWarp]
    """Of the scans between which labels are carried; empty where affines carry them."""
    quality: Registered
    """What `quality.parquet` lists."""
    page: Path
    """Each scan where it lies in the hub."""


def own_and_lent(scans: Iterable[PreparedScan]) -> tuple[list[PreparedScan], list[PreparedScan]]:
    """The scans of this data set, and those of atlases, which only vote."""
    own: list[PreparedScan] = []
    lent: list[PreparedScan] = []
    for scan in scans:
        (lent if scan.key.startswith(ATLAS_KEY) else own).append(scan)
    return own, lent


def place(run: Run, scans: Sequence[PreparedScan]) -> Placement:
    """Register scans as the recipe says; the page is written anew as more of it is known."""
    transforms = _register(run, scans)
    page = run.looks.at_registration(scans, transforms, {}, run.rejections)
    registered = [scan for scan in scans if scan.key in transforms]
    carried = voters.carriers(registered) if run.recipe.warp.method != "none" else frozenset()
    warps = _warp(run, [scan for scan in registered if scan.key in carried], transforms)
    if carried:
        run.looks.at_registration(scans, transforms, warps, run.rejections)
    own, lent = own_and_lent(scan for scan in registered if scan.key in warps or scan.key not in carried)
    splits = plan.draw_splits(own, run.recipe.seed, run.recipe.plan)
    affines = _affines(run, own, lent, transforms, splits)
    pairs = (affines.direct or {}).values()
    if affines.direct is not None:
        run.looks.at_registration(scans, transforms, warps, run.rejections, pairs)
    quality = Registered(
        hub=run.hub.name,
        transforms=(*transforms.values(), *warps.values(), *pairs),
        rejections=tuple(item for item in run.rejections if isinstance(item, TransformRejection)),
    )
    return Placement(
        own=own, lent=lent, splits=splits, affines=affines, warps=warps, quality=quality, page=page
    )


def _register(run: Run, scans: Iterable[PreparedScan]) -> dict[str, HubTransform]:
    tasks = [stages.register_task(run.root, scan, run.recipe.register_) for scan in scans]
    return {transform.key: transform for transform in run.stage("register", tasks, of_scans=True)}


def _warp(
    run: Run, scans: Iterable[PreparedScan], transforms: Mapping[str, HubTransform]
) -> dict[str, HubWarp]:
    config, files = run.recipe.warp, run.recipe.register_.hub_files
    tasks = [stages.warp_task(run.root, scan, transforms[scan.key], config, files) for scan in scans]
    return {warp.key: warp for warp in run.stage("warp", tasks, of_scans=True)} if tasks else {}


def _affines(
    run: Run,
    own: Sequence[PreparedScan],
    lent: Sequence[PreparedScan],
    transforms: Mapping[str, HubTransform],
    splits: Mapping[str, str],
) -> PairAffines:
    """Those of all pairs that are rendered or carry labels."""
    recipe, scans = run.recipe, {scan.key: scan for scan in (*own, *lent)}
    if recipe.register_.method == "hub":
        return PairAffines(to_hub=transforms)
    planned = plan.make_plan(own, splits, recipe.seed, recipe.plan)
    labeled = [scan for scan in scans.values() if scan.dseg is not None]
    chosen, _ = voters.assign_voters(own, labeled, splits, recipe.label.voters)
    wanted = [(pair.moving, pair.fixed) for pair in planned if pair.split is not None]
    wanted += [(voter.key, target) for target, found in chosen.items() for voter in found]
    tasks = pair_stages.pair_tasks(run.root, wanted, scans, recipe.register_)
    found = run.stage("pairs", tasks, of_scans=True)
    return PairAffines(to_hub=transforms, direct={(pair.moving, pair.fixed): pair for pair in found})
