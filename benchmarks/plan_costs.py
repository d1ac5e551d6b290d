"""What a build costs a scan, a pair, a vote and a slice: the figures of `brainatlas_text/tables/costs.toml`.

Builds the recipes `default` and `paper` in one process from a few labeled people and one scan of each other
source, of the demo's or of a folder of sources, counts CPU seconds stage by stage and bytes on disk, and
prints them in the table's form. Each data set is rendered twice, with every slice and with every eighth: that
tells what a pair costs from what a slice costs. Its rows compare with what `brainatlas-text plan` says of
these builds by the table as it stands.

    python benchmarks/plan_costs.py [--labeled 2] [ROOT]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

import pyarrow.parquet as pq
from pydantic import TypeAdapter

from brainatlas_text import label_stages
from brainatlas_text.cohort import found_on_disk, load_forms
from brainatlas_text.costs import load_costs
from brainatlas_text.demo import write_demo_sources
from brainatlas_text.estimate import Estimate, estimate
from brainatlas_text.pipeline import BuildConfig, BuildSummary, build
from brainatlas_text.recipe import Recipe, load_recipe
from brainatlas_text.records import PLANES, PreparedScan
from brainatlas_text.registrations import HubTransform, HubWarp, PairAffines
from brainatlas_text.sources import SOURCES, Selection, find
from brainatlas_text.sources.selection import PAPER
from brainatlas_text.workspace import Workspace

Result = TypeVar("Result", PreparedScan, HubTransform, HubWarp)

STEP = 8
STAGES = ("prepare", "register", "warp", "pairs", "label", "render")


def main() -> int:
    """Print the table's figures, then the JSON of `run.py`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--labeled", type=int, default=2, help="people of each source with labels")
    parser.add_argument("root", nargs="?", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.root or demo(Path(folder))
        chosen = choose(root, Path(folder) / "scans.txt", arguments.labeled)
        runs = {name: measure(name, root, chosen, Path(folder) / name) for name in ("default", "paper")}
    print_costs(runs["default"], runs["paper"])
    print(json.dumps([row for name, run in runs.items() for row in compared(name, run)]))
    return 0


def demo(folder: Path) -> Path:
    """Four people a source."""
    write_demo_sources(folder / "sources", people=4, seed=0, workers=1)
    return folder / "sources"


def choose(root: Path, path: Path, num_labeled: int) -> Path:
    """List scans of the sequence that the paper takes of a source: of some labeled people, else one."""
    keys: list[str] = []
    for name in [name for name in SOURCES if (root / name).is_dir()]:
        right = [
            scan for scan in find((name,), root, Selection()).scans if scan.sequence == PAPER[name].sequence
        ]
        labeled = {scan.subject: scan.key for scan in right if scan.dseg is not None}
        keys += list(labeled.values())[:num_labeled] or [scan.key for scan in right[:1]]
    path.write_text("".join(f"{key}\n" for key in keys))
    return path


@dataclass
class CpuByStage:
    """Counts the CPU seconds of each stage, those of processes that it awaited included."""

    seconds: dict[str, float] = field(default_factory=dict)
    stage: str = ""
    begin: float = 0.0

    def start(self, stage: str, total: int, reused: int) -> None:
        """See brainatlas_text.progress.Progress."""
        self.stage, self.begin = stage, sum(os.times()[:4])

    def advance(self) -> None:
        """See brainatlas_text.progress.Progress."""

    def finish(self, line: str) -> None:
        """See brainatlas_text.progress.Progress."""
        self.seconds[self.stage] = sum(os.times()[:4]) - self.begin
        print(f"{self.stage:10} {line}, CPU {self.seconds[self.stage]:.1f} s", file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One data set that was built."""

    estimated: Estimate
    """What `brainatlas-text plan` says of it."""
    seconds: dict[str, float]
    """CPU, by stage."""
    sparse_seconds: float
    """CPU of rendering every eighth slice."""
    summary: BuildSummary
    sparse: BuildSummary
    num_scans: int
    label_seconds: tuple[float, float]
    """CPU of labeling a scan without and for each of its voters."""
    num_pairs: int
    """Registered directly."""
    num_warps: int
    shown_mm: dict[str, float]
    """By plane: slices kept of a volume, times their distance, on the average."""
    bytes: dict[str, int]
    """Of `work/warps`, of the rest of `work`, and of all that is meant to be passed on."""


def measure(name: str, root: Path, chosen: Path, out: Path) -> Measured:
    """Build once with every slice, then render again with every eighth."""
    counted, again = CpuByStage(), CpuByStage()
    sources = tuple(source for source in SOURCES if (root / source).is_dir())
    selection = Selection(subjects=chosen)

    def made(progress: CpuByStage, *overrides: str) -> BuildSummary:
        recipe = load_recipe(name, overrides)
        return build(
            BuildConfig(sources=sources, recipe=recipe, selection=selection, root=root, out=out, workers=1),
            progress,
        )

    members, _ = found_on_disk(find(sources, root, selection).scans)
    estimated = estimate(members, load_recipe(name), load_forms(None), load_costs())
    summary = made(counted)
    scans = pq.read_table(out / "scans.parquet").to_pylist()
    shown, sizes = shown_mm(out), bytes_of(out)
    begun = out / "recipe.toml"  # from now on the folder is one of every eighth slice; all else is reused
    begun.write_text(begun.read_text().replace("slice_step = 1\n", f"slice_step = {STEP}\n"))
    sparse = made(again, f"render.slice_step={STEP}")
    return Measured(
        estimated=estimated,
        seconds=counted.seconds,
        sparse_seconds=again.seconds["render"],
        summary=summary,
        sparse=sparse,
        num_scans=len(scans),
        label_seconds=label_seconds(out, load_recipe(name)),
        num_pairs=len(list((out / "transforms").glob("pairs/*/*.tfm"))),
        num_warps=len(list((out / "work" / "warps").glob("*_bent-from-hub.nii.gz"))),
        shown_mm=shown,
        bytes=sizes,
    )


def label_seconds(out: Path, recipe: Recipe) -> tuple[float, float]:
    """CPU of labeling a scan and of each vote: medians of labeling one by all of its voters, and by one."""
    workspace = Workspace(out)

    def results(stage: str, kind: type[Result]) -> dict[str, Result]:
        found = {key: payload["result"] for key, payload in workspace.recorded(stage).items()}
        return {
            key: TypeAdapter(kind).validate_python(made)
            for key, made in found.items()
            if "reason" not in made
        }

    scans, transforms = results("prepare", PreparedScan), results("register", HubTransform)
    warps = results("warp", HubWarp)
    voters = tuple(scan for scan in scans.values() if scan.dseg is not None)
    target = next(s for s in scans.values() if s.dseg is None and (not warps or s.key in warps))
    affines = PairAffines(to_hub=transforms)

    def seconds(some: tuple[PreparedScan, ...]) -> float:
        task = label_stages.label_task(out, target, some, transforms, warps, recipe.label, affines)
        begin = time.process_time()
        task.work()
        return time.process_time() - begin

    seconds(voters)  # compiles
    one, every = (median(seconds(some) for _ in range(3)) for some in (voters[:1], voters))
    vote = max(every - one, 0.0) / (len(voters) - 1)
    return one - vote, vote


def shown_mm(out: Path) -> dict[str, float]:
    """Of an isotropic data set: its slices are 1 mm apart."""
    shards = pq.read_table(out / "shards.parquet").to_pylist()
    kept = sum(row["split"] is not None for row in pq.read_table(out / "plan.parquet").to_pylist())
    return {plane: sum(s["num_samples"] for s in shards if s["plane"] == plane) / kept for plane in PLANES}


def bytes_of(out: Path) -> dict[str, int]:
    """What lies where."""
    everything, work, warps = (
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in (out, out / "work", out / "work" / "warps")
    )
    return {"warps": warps, "work": work - warps, "data set": everything - work}


def print_costs(default: Measured, paper: Measured) -> None:
    """The table, as it goes into the package."""
    iso_pair, iso_slice = rendering(default)
    own_pair, own_slice = rendering(paper)
    scans = default.num_scans + paper.num_scans
    cpu_s = {
        "prepare_scan": (default.seconds["prepare"] + paper.seconds["prepare"]) / scans,
        "register_scan": (default.seconds["register"] + paper.seconds["register"]) / scans,
        "register_pair": paper.seconds["pairs"] / paper.num_pairs,
        "warp_scan": default.seconds["warp"] / default.num_warps,
        "label_matching": default.label_seconds[0],
        "label_majority": paper.label_seconds[0],
        "vote_matching": default.label_seconds[1],
        "vote_majority": paper.label_seconds[1],
        "pair_isotropic": iso_pair,
        "pair_fixed": own_pair,
        "slice_isotropic": iso_slice,
        "slice_fixed": own_slice,
    }
    sizes = {
        "scan": default.bytes["work"] / default.num_scans,
        "warp": default.bytes["warps"] / default.num_warps,
        "slice_isotropic": default.bytes["data set"] / default.summary.slices_kept,
        "slice_fixed": paper.bytes["data set"] / paper.summary.slices_kept,
    }
    print(f'measured_on = "{platform.machine()}, {os.cpu_count()} cores, {processor()}"')
    for name, table in (("cpu_s", cpu_s), ("bytes", sizes), ("shown_mm", default.shown_mm)):
        print(f"\n[{name}]")
        for key, value in table.items():
            print(f"{key} = {float(f'{value:.3g}'):.10g}")


def rendering(measured: Measured) -> tuple[float, float]:
    """CPU seconds of a pair and of a slice, from the two ways of rendering the same pairs."""
    number, seconds = measured.summary.slices_kept, measured.seconds["render"]
    a_slice = (seconds - measured.sparse_seconds) / (number - measured.sparse.slices_kept)
    return (seconds - a_slice * number) / measured.summary.volumes_shown, a_slice


def processor() -> str:
    """The processor's own name, where the system tells."""
    path = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", path.read_text()) if path.is_file() else []
    return names[0] if names else platform.processor() or "unknown processor"


def compared(name: str, measured: Measured) -> list[dict[str, object]]:
    """What the table as it stands says of the build, beside what was measured."""
    hours = sum(measured.seconds.get(stage, 0.0) for stage in STAGES) / 3600
    slices = sum(measured.estimated.slices_kept.values())
    rows = (
        ("CPU-hours", "CPU h", sum(measured.estimated.cpu_hours.values()), hours),
        ("slices", "slices", slices, measured.summary.slices_kept),
        ("data set", "bytes", measured.estimated.num_bytes["data set"], measured.bytes["data set"]),
    )
    return [
        {
            "what": f"{what} of {measured.num_scans} scans, recipe {name}, foretold",
            "unit": unit,
            "ours": ours,
            "plain": plain,
            "plain_is": "as it came out",
            "repeats": 1,
        }
        for what, unit, ours, plain in rows
    ]


if __name__ == "__main__":
    sys.exit(main())
