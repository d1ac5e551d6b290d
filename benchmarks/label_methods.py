"""Methods of label fusion side by side, on the same candidates: how right they are, and at what cost.

Atlases (T1w) and targets (T1w, T2w, FLAIR) are people simulated from disjoint label maps; the tool and the
maps lie outside of this repository, and without them this prints a message and measures nothing. All scans go
through the build's own stages (prepare, register, warp); then each method fuses the same candidates of the
same target. Real brains follow where they are at hand: IBSR, labeled by the simulated atlases, against the
manual structures of those people who have them and everybody's manual tissues. Seconds are CPU seconds of the
fusion alone, one thread. `--work` keeps everything, so that the same call again continues.

    python benchmarks/label_methods.py [LABEL_MAPS] [--simulator FILE] [--real FOLDER] [--targets 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from fusions import Candidate, Method, methods
from fusions.tables import results, show, show_gains

from brainatlas_text import label_folders, label_stages, propagate, scores, sources, stages, volumes, warp
from brainatlas_text.console import TerminalProgress
from brainatlas_text.distribute import Engine
from brainatlas_text.engines import warps
from brainatlas_text.engines.warps import PointMap
from brainatlas_text.propagate import Target
from brainatlas_text.recipe import load_recipe
from brainatlas_text.records import PreparedScan, SourceScan
from brainatlas_text.running import run_stage
from brainatlas_text.tasks import Task
from brainatlas_text.workspace import Workspace, digest

SHARED = Path(os.environ.get("BRAINATLAS_SHARED", Path(__file__).parents[1].parent / "shared"))
SEQUENCES = {"T1": "T1w", "T2": "T2w", "FLAIR": "FLAIR"}
ATLASES = 6
TISSUE_SUFFIX = "_segTRI_fill_ana.nii.gz"


@dataclass(frozen=True)
class Case:
    """A scan to be labeled: its group in the table, and what is true of it."""

    group: str
    scan: PreparedScan
    structures: Path | None = None
    """In canonical numbers, on the scan's grid."""
    tissues: Path | None = None


def main() -> int:
    """Print the table, then the JSON of `run.py`."""
    args = arguments()
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"  # ANTs' own copy of ITK
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if not (args.simulator.is_file() and args.maps.is_dir()):
        missing = args.maps if args.simulator.is_file() else args.simulator
        print(f"label_methods: {missing} is not here; nothing is measured", file=sys.stderr)
        print("[]")
        return 0
    with tempfile.TemporaryDirectory() as scratch, closing(Engine(args.workers)) as engine:
        root = (args.work or Path(scratch)).resolve()
        tempfile.tempdir = scratch  # ANTs leaves its probability maps there
        bench = Bench(root, engine, args)
        cases = [*bench.simulated(), *(bench.real() if args.real.is_dir() else ())]
        rows = [bench.measure(case, method) for case in cases for method in methods(args.search)]
    show(rows)
    show_gains(rows)
    print(json.dumps(results(rows)))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("maps", type=Path, nargs="?", default=SHARED / "data" / "label-maps", metavar="LABEL_MAPS")
    add("--simulator", type=Path, default=SHARED / "tools" / "simulate_scans.py", help="simulate_scans.py")
    add("--real", type=Path, default=SHARED / "data" / "real-mini", help="a --root with IBSR in it")
    add("--people", type=Path, nargs=2, metavar=("ATLASES", "TARGETS"), help="simulated already")
    add("--targets", type=int, default=2, help="simulated people to label, by sequence (default: 2)")
    add(
        "--search",
        type=int,
        nargs="+",
        default=[1],
        help="radii of joint label fusion (default: 1 voxel)",
    )
    add("--zooms", type=float, default=1.0, help="voxels of simulated people in mm (default: 1)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key, as in build")
    add("--work", type=Path, help="keep everything here (default: a temporary folder)")
    add("--workers", type=int, default=1, help="of preparation and registration (default: 1)")
    return parser.parse_args()


class Bench:
    """The build's stages on the benchmark's people, and the fusions."""

    def __init__(self, root: Path, engine: Engine, args: argparse.Namespace) -> None:
        self.root, self.engine, self.args = root, engine, args
        self.recipe = load_recipe("default", args.set)
        self.workspace = Workspace(root)
        self.places: dict[str, label_stages.Placed] = {}
        self.atlases: list[PreparedScan] = []

    def simulated(self) -> list[Case]:
        """Atlases from the first maps, targets from the others."""
        folders = self.args.people or self.simulate()
        atlases = people(folders[0], "voter", ATLASES, {"T1": "T1w"})
        targets = people(folders[1], "target", self.args.targets, SEQUENCES)
        placed = self.place([*atlases, *targets])
        self.atlases = [scan for scan in placed if scan.source == "voter"]
        return [
            Case(f"simulated {scan.sequence}", scan, structures=self.root / scan.dseg)
            for scan in placed
            if scan.source == "target" and scan.dseg is not None
        ]

    def simulate(self) -> list[Path]:
        """The folders of atlases and targets; of maps that they do not share."""
        maps = sorted(self.args.maps.glob("*.nii.gz"))
        folders = []
        for seed, (name, some) in enumerate((("atlas", maps[:ATLASES]), ("target", maps[ATLASES:]))):
            of_maps, out = self.root / f"{name}-maps", self.root / name
            of_maps.mkdir(parents=True, exist_ok=True)
            for path in some:
                (of_maps / path.name).exists() or (of_maps / path.name).symlink_to(path.resolve())
            count = ATLASES if name == "atlas" else self.args.targets
            call = [self.args.simulator, of_maps, "--out", out, "--people", count, "--seed", seed + 1]
            call += ["--zooms", self.args.zooms, "--sequences", *(("T1",) if name == "atlas" else SEQUENCES)]
            if not out.is_dir():
                subprocess.run([sys.executable, *map(str, call)], check=True, stdout=sys.stderr)
            folders.append(out)
        return folders

    def real(self) -> list[Case]:
        """IBSR's people, labeled by the simulated atlases."""
        found = sources.find(("ibsr",), self.args.real, sources.Selection()).scans
        tissues = {scan.key: tissue_map_of(scan) for scan in found}
        placed = self.place(found)
        whole = [
            Case(f"IBSR {scan.subject.removeprefix('ibsr-')}", scan, structures=self.root / scan.dseg)
            for scan in placed
            if scan.dseg is not None
        ]
        return whole + [Case("IBSR tissues", s, tissues=path) for s in placed if (path := tissues[s.key])]

    def place(self, scans: Iterable[SourceScan]) -> list[PreparedScan]:
        """Prepare, register and warp; a rejected scan is an error here."""
        prepared = self.stage(
            "prepare", [stages.prepare_task(self.root, s, self.recipe.prepare) for s in scans]
        )
        tasks = [stages.register_task(self.root, scan, self.recipe.register_) for scan in prepared]
        files = self.recipe.register_.hub_files
        affines = {transform.key: transform for transform in self.stage("register", tasks)}
        tasks = [stages.warp_task(self.root, s, affines[s.key], self.recipe.warp, files) for s in prepared]
        for warped in self.stage("warp", tasks):
            self.places[warped.key] = label_stages.Placed(affines[warped.key], warped)
        return prepared

    def stage(self, name: str, tasks: list[Task]) -> list[Any]:
        """Results of all tasks."""
        done = run_stage(self.engine, TerminalProgress(), name, tasks)
        for rejection in done.rejections:
            raise SystemExit(f"label_methods: {rejection.detail}")
        return done.results

    def measure(self, case: Case, method: Method) -> dict[str, Any]:
        """Fuse and score, or what an earlier call noted of the same."""
        key = f"{case.group}-{case.scan.key}-{method.name}".replace(" ", "-")
        voters = [scan.digest for scan in self.atlases]
        places = {k: p.digests for k, p in self.places.items()}
        inputs = digest([case.scan.digest, voters, places, method.version, propagate.VERSION, scores.VERSION])
        noted = self.workspace.read_record("fusion", key, inputs)
        if noted is None:
            noted = self.fuse_and_score(case, method)
            self.workspace.write_record("fusion", key, inputs, [], noted)
        return {"group": case.group, "scan": case.scan.key, "method": method.name, **noted}

    def fuse_and_score(self, case: Case, method: Method) -> dict[str, Any]:
        """CPU seconds and Dice by structure or tissue."""
        target, candidates = self.candidates(replace(case.scan, dseg=None), affine=method.affine)
        start = time.process_time()
        labels = target.uncropped(method.fuse(target, candidates))
        seconds = time.process_time() - start
        grid = volumes.load_prepared(self.root / case.scan.image)
        if case.structures is not None:
            truth = volumes.load_prepared(case.structures).array
            found = scores.score_structures(labels, truth, grid.zooms_mm)
        else:
            path = case.tissues
            given = label_folders.read_tissues(label_folders.LabelMap(path, None))
            truth = label_folders.on_grid_of(grid, given, path, self.root / case.scan.image)
            brain = volumes.load_prepared(self.root / case.scan.mask).array > 0
            found = scores.score_tissues(labels, truth, grid.zooms_mm, brain)
        print(f"{case.group} {case.scan.key} {method.name}: {seconds:.1f} s", file=sys.stderr)
        return {"seconds": seconds, "dice": {score.structure: score.dice for score in found}}

    def candidates(self, scan: PreparedScan, *, affine: bool) -> tuple[Target, list[Candidate]]:
        """What the atlases propose for a scan, by affines alone or by warps on top of them."""
        places = {k: replace(p, warp=None) if affine else p for k, p in self.places.items()}
        target = propagate.read_target(scan, self.workspace)
        own = places[scan.key]
        hub_from_target = warp.hub_from_scan(own.transform, own.warp, self.root)

        def voter_from_target(key: str) -> PointMap:
            voter = places[key]
            return hub_from_target.then(warp.scan_from_hub(voter.transform, voter.warp, self.root))

        moved = propagate.candidates(target, self.atlases, voter_from_target, self.workspace)
        return target, [
            Candidate(labels, self.moved_image(target, voter, voter_from_target(voter.key)))
            for voter, labels in zip(self.atlases, moved, strict=True)
        ]

    def moved_image(self, target: Target, voter: PreparedScan, through: PointMap) -> np.ndarray:
        """The voter's intensities on the target's box, which joint label fusion compares."""
        image = volumes.load_prepared(self.root / voter.image)
        return np.rint(warps.sample_image(through, target.affine, target.box, image)).astype(np.uint16)


def people(folder: Path, source: str, count: int, sequences: dict[str, str]) -> Iterator[SourceScan]:
    """The simulator's people as scans of a source."""
    for dseg in sorted(folder.glob("*_dseg.nii.gz"))[:count]:
        person = dseg.name.removesuffix("_dseg.nii.gz")
        for name, sequence in sequences.items():
            yield SourceScan(
                key=f"{source}-{person}-{sequence.lower()}",
                subject=f"{source}-{person}",
                source=source,
                sequence=sequence,
                image=folder / f"{person}_{name}.nii.gz",
                dseg=dseg,
                label_scheme="freesurfer",
                stripped=True,
                terms="unstated",
            )


def tissue_map_of(scan: SourceScan) -> Path | None:
    return next(iter(sorted(scan.image.parent.glob(f"*{TISSUE_SUFFIX}"))), None)


if __name__ == "__main__":
    sys.exit(main())
