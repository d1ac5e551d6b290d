"""How alike two scans of one person are, and two people's: what `verify` can find, and what it cannot.

Groups, each taken as a data set of its own: the real scans of the shared folder; people simulated from
label maps, each scanned twice (other noise, coil, contrast, voxels, pose) in T1w, T2w and FLAIR; the demo's
people, who are all bent copies of one template. The first two need a folder that is not part of this
repository and are left out without it. Scans go through the build's own stages (prepare, register). The plain
way is to correlate the brightness of the two brains in the hub. Last, how fast the likeness of the same two
scans falls where one is registered wrong by some millimeters.

    python benchmarks/same_person.py [--people 3] [--set register.finest_mm=4] [--work FOLDER] [--workers 2]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from brainatlas_text import sources, spaces, stages, volumes
from brainatlas_text.console import TerminalProgress
from brainatlas_text.demo import write_demo_sources
from brainatlas_text.distribute import Engine
from brainatlas_text.engines import fingerprint, resample
from brainatlas_text.hub import load_hub
from brainatlas_text.lookalikes import Compared, Comparison, Likeness, write_fingerprints
from brainatlas_text.recipe import Recipe, load_recipe
from brainatlas_text.records import SourceScan
from brainatlas_text.registrations import HubTransform
from brainatlas_text.running import run_stage

SHARED = Path(os.environ.get("BRAINATLAS_SHARED", Path(__file__).parents[1].parent / "shared"))
SEQUENCES = {"T1": "T1w", "T2": "T2w", "FLAIR": "FLAIR"}
FOUR = ("ibsr", "oasis", "ixi", "kirby")
SESSION = 4
"""The simulator draws from streams 4 and on what differs between two scans of one person."""
OFF_MM = (0.0, 1.0, 2.0, 3.0, 4.0)


class Pair(NamedTuple):
    """Two scans of a group."""

    found: Likeness
    brightness: float
    """Correlation in the hub: the plain way."""

    @property
    def same(self) -> bool:
        """Whether both scans are of one person."""
        return self.found.subjects[0] == self.found.subjects[1]

    @property
    def kind(self) -> str:
        """Whether both are of one sequence."""
        one, other = self.found.sequences
        return "one sequence" if one == other else "two sequences"


def main() -> int:
    """Print the tables, then the JSON of `run.py`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=3, help="simulated people (default: 3)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override the recipe")
    parser.add_argument("--work", type=Path, help="keep everything here (default: a temporary folder)")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    recipe = load_recipe("default", args.set)
    with tempfile.TemporaryDirectory() as temporary, closing(Engine(args.workers)) as engine:
        work = args.work or Path(temporary)
        groups = {"demo people": lambda: demo(work)}
        if SHARED.is_dir():
            groups = {"real people": real, "simulated people": lambda: simulated(work, args.people)} | groups
        else:
            print(f"no real scans and no simulator at {SHARED}; set BRAINATLAS_SHARED")
        results = []
        for name, scans in groups.items():
            compared = register(work / name.replace(" ", "-"), scans(), recipe, engine)
            pairs = compare(work / name.replace(" ", "-"), compared, engine)
            show(name, pairs)
            results += rows(name, pairs)
            show_misplaced(name, work / name.replace(" ", "-"), compared)
    print(json.dumps(results))
    return 0


def real() -> tuple[SourceScan, ...]:
    """The shared real scans."""
    return sources.find(FOUR, SHARED / "data" / "real-mini", sources.Selection()).scans


def demo(work: Path) -> tuple[SourceScan, ...]:
    """The demo's people."""
    if not (work / "demo").is_dir():
        write_demo_sources(work / "demo", people=4, seed=0)
    return sources.find(FOUR, work / "demo", sources.Selection()).scans


def simulated(work: Path, count: int) -> tuple[SourceScan, ...]:
    """Each person twice, in three sequences."""
    folder = work / "simulated"
    folder.mkdir(parents=True, exist_ok=True)
    maps = sorted((SHARED / "data" / "label-maps").glob("*.nii.gz"))[:count]
    scans = []
    for number, path in enumerate(maps):
        for session in (1, 2):
            name = f"{number + 1:02d}-{session}"
            if not (folder / f"{name}_mask.nii.gz").is_file():
                simulate(path, number, session, folder / name)
            scans += [
                SourceScan(
                    key=f"sim-{name}-{SEQUENCES[sequence].lower()}",
                    subject=f"sim-{number + 1:02d}",
                    source="sim",
                    sequence=SEQUENCES[sequence],  # type: ignore[arg-type]
                    image=folder / f"{name}_{sequence}.nii.gz",
                    mask=folder / f"{name}_mask.nii.gz",
                    stripped=True,
                    terms="kirby",
                )
                for sequence in SEQUENCES
            ]
    return tuple(scans)


def simulate(path: Path, number: int, session: int, stem: Path) -> None:
    """Scan a made-up person; the second session draws anew from `SESSION` on, turned and shifted."""
    spec = importlib.util.spec_from_file_location("simulator", SHARED / "tools" / "simulate_scans.py")
    assert spec and spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    drawn = np.random.default_rng

    def rng(seed: Any) -> np.random.Generator:
        later = isinstance(seed, list) and len(seed) == 3 and seed[2] >= SESSION
        return drawn([*seed, session] if later else seed)

    np.random.default_rng = rng  # type: ignore[assignment]
    try:
        zooms = np.array([1.0, 1.0, 1.0] if session == 1 else [1.0, 1.2, 1.1])
        arrays, affine, _ = tool.simulate(path, 11, number, list(SEQUENCES), False, zooms)
    finally:
        np.random.default_rng = drawn
    pose = np.eye(4)
    if session == 2:
        pose[:3, :3] = Rotation.from_euler("xyz", [8, -4, 6], degrees=True).as_matrix()
        pose[:3, 3] = (5, -8, 12)
    for name in (*SEQUENCES, "mask"):
        nib.save(nib.Nifti1Image(arrays[name], pose @ affine), f"{stem}_{name}.nii.gz")


def register(root: Path, scans: Iterable[SourceScan], recipe: Recipe, engine: Engine) -> list[Compared]:
    """Prepare scans and register them to the hub."""
    progress = TerminalProgress()
    tasks = [stages.prepare_task(root, scan, recipe.prepare) for scan in scans]
    prepared = run_stage(engine, progress, "prepare", tasks).results
    tasks = [stages.register_task(root, scan, recipe.register_) for scan in prepared]
    found = {found.key: found for found in run_stage(engine, progress, "register", tasks).results}
    return [
        Compared(subject=scan.subject, split="train", prepared=scan, transform=found[scan.key])
        for scan in prepared
        if scan.key in found
    ]


def compare(root: Path, scans: list[Compared], engine: Engine) -> list[Pair]:
    """All pairs, ours and the plain way."""
    grid = fingerprint.grid_of(load_hub().mask)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_fingerprints(root, scans, ("", ""), Path(folder), engine)
        comparison = Comparison(scans, paths, grid)
        shown = [in_hub(root, scan, grid) for scan in scans]
        return [
            Pair(comparison.likeness(i, j), correlation(shown[i], shown[j]))
            for i, j in combinations(range(len(scans)), 2)
        ]


def in_hub(root: Path, scan: Compared, grid: fingerprint.Grid) -> np.ndarray:
    """Brightness at the points of the grid, 0 outside the brain."""
    image = volumes.thin_to(volumes.load_prepared(root / scan.prepared.image), fingerprint.GRID_MM)
    image = volumes.Volume(np.ascontiguousarray(image.array.astype(np.float32)), image.affine)
    source = spaces.invert(image.affine) @ spaces.invert(scan.transform.matrix) @ grid.affine
    return resample.linear(image.array, source, ((0, 0, 0), grid.points.shape))[grid.points]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of brightness where both show brain, whatever its sign."""
    both = (one > 0) & (other > 0)
    return float(abs(np.corrcoef(one[both], other[both])[0, 1]))


def show(name: str, pairs: list[Pair]) -> None:
    """A row a relation: how alike, and how many are held to be one person."""
    table = Table(title=f"{name}: likeness of two scans, and beyond all others")
    for heading in (
        "scans of",
        "in",
        "pairs",
        "least",
        "median",
        "most",
        "beyond: least",
        "most",
        "held one",
    ):
        table.add_column(heading, justify="left" if heading in ("scans of", "in") else "right")
    for same, kind, chosen in kinds(pairs):
        likeness = [pair.found.likeness for pair in chosen]
        beyond = [pair.found.beyond for pair in chosen]
        figures = (min(likeness), np.median(likeness), max(likeness), min(beyond), max(beyond))
        held = sum(pair.found.one_person for pair in chosen)
        who = "one person" if same else "two people"
        table.add_row(who, kind, str(len(chosen)), *(f"{value:.3f}" for value in figures), str(held))
    Console(width=110).print(table)


def kinds(pairs: list[Pair]) -> Iterable[tuple[bool, str, list[Pair]]]:
    """Pairs by whether they are of one person and of one sequence."""
    for same in (True, False):
        for kind in ("one sequence", "two sequences"):
            if chosen := [pair for pair in pairs if pair.same == same and pair.kind == kind]:
                yield same, kind, chosen


def rows(name: str, pairs: list[Pair]) -> list[dict[str, object]]:
    """Shares of one person's pairs that are more alike than every pair of two people."""
    ways: dict[str, Callable[[Pair], float]] = {
        "ours": lambda pair: pair.found.likeness,
        "plain": lambda pair: pair.brightness,
    }
    return [
        {
            "what": f"{name}, {kind}: pairs of one person more alike than any two people",
            "unit": "%",
            **{way: share(chosen, pairs, value) for way, value in ways.items()},
            "plain_is": "correlation of brightness in the hub",
            "repeats": len(chosen),
        }
        for same, kind, chosen in kinds(pairs)
        if same
    ]


def share(chosen: list[Pair], pairs: list[Pair], value: Callable[[Pair], float]) -> float:
    """In per cent; compared with two people's pairs of the same kind where there are such."""
    others = [pair for pair in pairs if not pair.same]
    alike = [value(pair) for pair in others if pair.kind == chosen[0].kind] or [
        value(pair) for pair in others
    ]
    return 100 * float(np.mean([value(pair) > max(alike) for pair in chosen]))


def show_misplaced(name: str, root: Path, scans: list[Compared]) -> None:
    """Likeness of one person's scans where the second is registered wrong by some millimeters."""
    grid = fingerprint.grid_of(load_hub().mask)
    pairs = [(one, other) for one, other in combinations(scans, 2) if one.subject == other.subject]
    table = Table(title=f"{name}: median likeness of one person's scans, one misplaced")
    for heading in ("in", "pairs", *(f"{off:g} mm" for off in OFF_MM)):
        table.add_column(heading)
    for kind, wanted in (("one sequence", True), ("two sequences", False)):
        chosen = [p for p in pairs if (p[0].prepared.sequence == p[1].prepared.sequence) is wanted][:6]
        if chosen:
            cells = [
                np.median([misplaced(root, grid, one, other, off) for one, other in chosen]) for off in OFF_MM
            ]
            table.add_row(kind, str(len(chosen)), *(f"{cell:.3f}" for cell in cells))
    Console(width=110).print(table)


def misplaced(root: Path, grid: fingerprint.Grid, one: Compared, other: Compared, off_mm: float) -> float:
    """Likeness with the second scan shifted along (1, 1, 1)."""
    shift = spaces.translation(np.full(3, off_mm / np.sqrt(3)))
    rows = tuple(tuple(row) for row in (shift @ other.transform.matrix).tolist())
    moved = replace(other, transform=replace(other.transform, hub_from_scan=rows))
    prints = [print_of(root, grid, scan.prepared, scan.transform) for scan in (one, moved)]
    return float(fingerprint.likenesses(prints[:1], prints[1:])[0, 0])


def print_of(root: Path, grid: fingerprint.Grid, scan: Any, transform: HubTransform) -> Any:
    """The fingerprint of a prepared scan under a transform."""
    image, mask = (volumes.load_prepared(root / path) for path in (scan.image, scan.mask))
    return fingerprint.fingerprint(image, mask, spaces.invert(transform.matrix), grid)


if __name__ == "__main__":
    sys.exit(main())
