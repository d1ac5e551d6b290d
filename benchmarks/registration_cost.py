"""CPU seconds of registration, by way of the hub and directly, as scans grow in number; and a projection.

Both ways are measured in one run, alternating, on the demo's people or on the scans of a folder of sources.
The hub's cost is carried on by the number of scans, that of direct registration by the number of unordered
pairs, to the paper's 18 + 77 + 64 + 42 scans. Deformable registration and label fusion, which direct
registration does without, are measured on a few scans and added to the hub's projection.

    python benchmarks/registration_cost.py [--sizes 4 6 8] [--bend 2] [ROOT]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np

from brainatlas_text import label_stages, prepare, register, warp
from brainatlas_text.demo import write_demo_sources
from brainatlas_text.engines import syn
from brainatlas_text.hub import load_hub
from brainatlas_text.prepare_config import PrepareConfig
from brainatlas_text.recipe import load_recipe
from brainatlas_text.records import PreparedScan
from brainatlas_text.registrations import HubTransform, HubWarp, PairAffines
from brainatlas_text.sources import SOURCES, Selection, find
from brainatlas_text.tasks import Task
from brainatlas_text.workspace import Workspace

Result = TypeVar("Result")
RECIPE = load_recipe("default")
PAPER = {"ibsr": 18, "oasis": 77, "ixi": 64, "kirby": 42}
NUM_SCANS, NUM_LABELED = sum(PAPER.values()), PAPER["ibsr"]
NUM_PAIRS = NUM_SCANS * (NUM_SCANS - 1) // 2


@dataclass(frozen=True)
class Costs:
    """CPU seconds."""

    to_hub: dict[str, float]
    """By scan."""
    direct: dict[tuple[str, str], float]
    """By unordered pair."""
    bend: list[float]
    """Of each scan that was bent into the hub."""
    fuse: list[float]
    """Of each scan that was labeled, for each of its voters."""


def main() -> int:
    """Print what was measured and the projection, then the JSON of `run.py`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 6, 8])
    parser.add_argument("--bend", type=int, default=2, help="scans that are bent and labeled")
    parser.add_argument("root", nargs="?", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder) / "dataset")
        workspace.make()
        scans = prepared(arguments.root or demo(Path(folder)), workspace, max(arguments.sizes))
        costs = measure(scans, workspace, arguments.bend if syn.is_installed() else 0)
    print(json.dumps(report(costs, [scan.key for scan in scans], arguments.sizes)))
    return 0


def demo(folder: Path) -> Path:
    """People of each source, labeled ones among them."""
    write_demo_sources(folder / "sources", people=4, seed=0, workers=1)
    return folder / "sources"


def prepared(root: Path, workspace: Workspace, number: int) -> list[PreparedScan]:
    """The first scans that can be used, source by source in turn."""
    found = find(tuple(name for name in SOURCES if (root / name).is_dir()), root, Selection()).scans
    place = {scan.key: [s.key for s in found if s.source == scan.source].index(scan.key) for scan in found}
    scans: list[PreparedScan] = []
    for scan in sorted(found, key=lambda scan: (place[scan.key], scan.dseg is None, scan.key)):
        if len(scans) == number:
            break
        result = prepare.prepare(scan, workspace, PrepareConfig(bias_correction=False))
        scans += [result] if isinstance(result, PreparedScan) else []
    return scans


def measure(scans: list[PreparedScan], workspace: Workspace, num_bent: int) -> Costs:
    """Alternate: each scan to the hub, then directly to all before it."""
    hub, config = load_hub(), RECIPE.register_
    register.register_to_hub(scans[0], hub, workspace, config)  # compiles
    costs = Costs(to_hub={}, direct={}, bend=[], fuse=[])
    transforms: dict[str, HubTransform] = {}
    for number, scan in enumerate(scans):
        found, costs.to_hub[scan.key] = timed(
            lambda s=scan: register.register_to_hub(s, hub, workspace, config)
        )
        if isinstance(found, HubTransform):
            transforms[scan.key] = found
        for other in scans[:number]:
            pair = (other.key, scan.key)
            _, costs.direct[pair] = timed(
                lambda o=other, s=scan: register.register_pair(o, s, workspace, config)
            )
        print(f"{scan.key:24} to hub {costs.to_hub[scan.key]:.1f} s", flush=True)
    bend(costs, [scan for scan in scans if scan.key in transforms], transforms, workspace, num_bent)
    return costs


def bend(
    costs: Costs,
    scans: list[PreparedScan],
    transforms: dict[str, HubTransform],
    workspace: Workspace,
    number: int,
) -> None:
    """Bend some labeled scans and one that is not, and label that one."""
    labeled = [scan for scan in scans if scan.dseg is not None][:number]
    others = [
        scan for scan in scans if scan.dseg is None and scan.subject not in {s.subject for s in labeled}
    ]
    if not labeled or not others:
        print("nothing bent: antspyx, a labeled scan and one of somebody else without labels are needed")
        return
    warps: dict[str, HubWarp] = {}
    for scan in (*labeled, others[0]):
        found, seconds = timed(
            lambda s=scan: warp.warp_to_hub(s, transforms[s.key], load_hub(), workspace, RECIPE.warp)
        )
        costs.bend.append(seconds)
        if isinstance(found, HubWarp):
            warps[scan.key] = found
        print(f"{scan.key:24} bent into the hub {seconds:.1f} s", flush=True)
    voters = tuple(scan for scan in labeled if scan.key in warps)
    for _ in range(2):  # the first one compiles
        task = label_task(workspace, others[0], voters, transforms, warps)
        _, seconds = timed(task.work)
    costs.fuse.append(seconds / len(voters))


def label_task(
    workspace: Workspace,
    scan: PreparedScan,
    voters: tuple[PreparedScan, ...],
    transforms: dict[str, HubTransform],
    warps: dict[str, HubWarp],
) -> Task:
    """The build's own label stage."""
    affines = PairAffines(to_hub=transforms)
    return label_stages.label_task(workspace.root, scan, voters, transforms, warps, RECIPE.label, affines)


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """A result and the CPU seconds it took, those of processes that it started and awaited included."""
    begin = sum(os.times()[:4])
    return work(), sum(os.times()[:4]) - begin


def report(costs: Costs, keys: list[str], sizes: list[int]) -> list[dict[str, object]]:
    """What was measured a planned pair (ordered, natives included), and the projection."""
    rows = []
    for size in sizes:
        used = set(keys[:size])
        hub = sum(costs.to_hub[key] for key in used)
        direct = sum(seconds for pair, seconds in costs.direct.items() if used.issuperset(pair))
        both = {"ours": hub / size**2, "plain": direct / size**2}
        what = f"affines for {size} scans, a planned pair"
        rows.append(
            {"what": what, "unit": "CPU s", **both, "plain_is": "a registration a pair", "repeats": 1}
        )
    a_scan, a_pair = np.mean(list(costs.to_hub.values())), np.mean(list(costs.direct.values()))
    hub_h, pairs_h = NUM_SCANS * a_scan / 3600, NUM_PAIRS * a_pair / 3600
    print(f"a scan to the hub {a_scan:.1f} s, a pair {a_pair:.1f} s (means)")
    print(
        f"{NUM_SCANS} scans: {hub_h:.2f} h to the hub; {NUM_PAIRS} pairs: {pairs_h:.1f} h; "
        f"ratio {pairs_h / hub_h:.0f}"
    )
    rows.append(projected("affines", hub_h, pairs_h, len(costs.direct)))
    if costs.bend and costs.fuse:
        targets = NUM_SCANS - NUM_LABELED
        bend_h = NUM_SCANS * median(costs.bend) / 3600
        fuse_h = targets * NUM_LABELED * median(costs.fuse) / 3600
        print(f"{NUM_SCANS} scans bent: {bend_h:.2f} h; {targets} labeled by {NUM_LABELED}: {fuse_h:.2f} h")
        rows.append(projected("affines, warps and labels", hub_h + bend_h + fuse_h, pairs_h, len(costs.bend)))
    return rows


def projected(what: str, hub_h: float, pairs_h: float, repeats: int) -> dict[str, object]:
    """A row of the projection to the paper's scans."""
    return {
        "what": f"{what}, projected to {NUM_SCANS} scans",
        "unit": "CPU h",
        "ours": hub_h,
        "plain": pairs_h,
        "plain_is": f"direct affines of {NUM_PAIRS} pairs",
        "repeats": repeats,
    }


if __name__ == "__main__":
    sys.exit(main())
