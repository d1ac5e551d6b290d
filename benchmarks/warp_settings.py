"""Settings of the deformable registration side by side: how well structures meet in the hub, at what cost.

People simulated from disjoint label maps lie in two folders (`simNNN_T1.nii.gz`, `_T2`, `_FLAIR`, `_dseg` and
`_mask`; see docs/decisions/0011-deformable.md). Atlases are T1w, targets T1w, T2w or FLAIR. Every scan is
prepared, registered and bent into the hub; its true labels go with it. The figure is the mean Dice overlap of
a target's labels with those of each atlas, in the hub, over 25 structures: no fusion is in between. Seconds
are CPU seconds of one deformable registration. `--work` keeps everything, so that the same call goes on.

    python benchmarks/warp_settings.py ATLASES TARGETS --atlases 1 --targets 1:T2 2:FLAIR --work DIR
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from brainatlas_text import prepare, register, volumes, warp
from brainatlas_text.engines import warps
from brainatlas_text.hub import load_hub
from brainatlas_text.prepare_config import PrepareConfig
from brainatlas_text.records import PreparedScan, SourceScan
from brainatlas_text.registrations import HubTransform, HubWarp
from brainatlas_text.warp import WarpConfig
from brainatlas_text.workspace import Workspace

STRUCTURES = (2, 41, 3, 42, 4, 43, 7, 46, 8, 47, 10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 14, 15, 16)
SEQUENCES = {"T1": "T1w", "T2": "T2w", "FLAIR": "FLAIR"}
SETTINGS = {
    "mattes, 1.5 mm, 40 20 5": WarpConfig(),
    "mattes, 1.5 mm, 100 70 10": WarpConfig(iterations=(100, 70, 10)),
    "mattes, 2 mm, 40 20 5": WarpConfig(grid_mm=2.0),
    "mattes, 2 mm, 100 70 20": WarpConfig(grid_mm=2.0, iterations=(100, 70, 20)),
    "cc, 2 mm, 40 20 5": WarpConfig(grid_mm=2.0, metric="cc", iterations=(40, 20, 5)),
    "affine alone": WarpConfig(method="none"),
}
"""The first is the default and stands as `plain` in every row."""


def main() -> int:
    arguments = parsed()
    if not (arguments.atlases_folder.is_dir() and arguments.targets_folder.is_dir()):
        print("warp_settings: no simulated people in these folders; nothing is measured", file=sys.stderr)
        print("[]")
        return 0
    with tempfile.TemporaryDirectory() as passing:
        lab = Lab((arguments.work or Path(passing)).resolve())
        atlases = [source(arguments.atlases_folder, "atlas", number, "T1") for number in arguments.atlases]
        targets = [
            source(arguments.targets_folder, "target", *wanted.split(":")) for wanted in arguments.targets
        ]
        found = {name: lab.measure(name, atlases, targets) for name in arguments.settings or SETTINGS}
    print(json.dumps(rows(found, len(targets))))
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    nowhere = Path("nowhere")
    parser.add_argument("atlases_folder", type=Path, nargs="?", default=nowhere, metavar="ATLASES")
    parser.add_argument("targets_folder", type=Path, nargs="?", default=nowhere, metavar="TARGETS")
    parser.add_argument("--atlases", nargs="+", default=["1", "3"], metavar="N")
    parser.add_argument(
        "--targets",
        nargs="+",
        default=["1:T1", "1:T2", "2:FLAIR", "3:T1", "3:T2", "3:FLAIR"],
        metavar="N:SEQ",
    )
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), metavar="NAME")
    parser.add_argument("--work", type=Path, metavar="DIR")
    return parser.parse_args()


def source(folder: Path, role: str, number: str, sequence: str) -> SourceScan:
    """A simulated person's scan, brain only, with its true labels."""
    stem = folder / f"sim{int(number):03d}"
    return SourceScan(
        key=f"{role}-{number}-{SEQUENCES[sequence].lower()}",
        subject=f"{role}-{number}",
        source=role,
        sequence=SEQUENCES[sequence],
        image=Path(f"{stem}_{sequence}.nii.gz").resolve(),
        mask=Path(f"{stem}_mask.nii.gz").resolve(),
        dseg=Path(f"{stem}_dseg.nii.gz").resolve(),
        label_scheme="synthseg",
        stripped=True,
        terms="ixi",
    )


class Lab:
    """Does every step once, below one folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.hub = root, load_hub()
        Workspace(root).make()

    def measure(self, name: str, atlases: list[SourceScan], targets: list[SourceScan]) -> dict[str, Any]:
        """Dice of each target, and CPU seconds a registration."""
        maps = {scan.key: self.in_hub(name, scan) for scan in (*atlases, *targets)}
        dice = {
            target.key: float(
                np.mean([overlaps(maps[target.key][0], maps[atlas.key][0]) for atlas in atlases])
            )
            for target in targets
        }
        seconds = float(np.median([seconds for _, seconds in maps.values()]))
        mean = float(np.mean(list(dice.values())))
        print(f"{name}: {mean:.3f}, {seconds:.0f} CPU s; {dice}", file=sys.stderr, flush=True)
        return {"dice": mean, "seconds": seconds, "scans": dice}

    def in_hub(self, name: str, scan: SourceScan) -> tuple[np.ndarray, float]:
        """A scan's true labels on the hub's grid, and the CPU seconds of its warp."""
        prepared, affine = self.placed(scan)
        config, workspace = SETTINGS[name], Workspace(self.root)
        bent, seconds = None, 0.0
        if config.method != "none":
            key = prepared.key
            inputs = warp.inputs_digest(prepared, affine, self.hub, config)
            noted = workspace.read_record("warp", f"{key}-{inputs[:8]}", inputs)
            if noted is None:
                noted = self.bend(prepared, affine, config, inputs)
            bent, seconds = TypeAdapter(HubWarp).validate_python(noted["warp"]), float(noted["seconds"])
        grid = warp.hub_grid(self.hub, 1.5)
        labels = volumes.load_prepared(self.root / prepared.dseg)
        through = warp.scan_from_hub(affine, bent, self.root)
        whole = ((0, 0, 0), grid.shape)
        return warps.sample_labels(through, grid.affine, whole, labels), seconds

    def bend(
        self, scan: PreparedScan, affine: HubTransform, config: WarpConfig, inputs: str
    ) -> dict[str, Any]:
        """The record of a warp under these settings."""
        workspace, begin = Workspace(self.root), cpu_seconds()
        result = warp.warp_to_hub(scan, affine, self.hub, workspace, config)
        assert isinstance(result, HubWarp), result
        seconds, paths = cpu_seconds() - begin, []
        for name in ("bent_from_hub", "hub_from_bent"):  # kept apart from those of other settings
            path = self.root / getattr(result, name)
            paths.append(path.rename(path.with_name(f"{inputs[:8]}_{path.name}")))
        payload = TypeAdapter(HubWarp).dump_python(result, mode="json")
        payload |= {
            name: str(path) for name, path in zip(("bent_from_hub", "hub_from_bent"), paths, strict=True)
        }
        noted = {"warp": payload, "seconds": seconds}
        workspace.write_record("warp", f"{scan.key}-{inputs[:8]}", inputs, paths, noted)
        return noted

    def placed(self, scan: SourceScan) -> tuple[PreparedScan, HubTransform]:
        """The scan prepared and registered, from an earlier call where there was one."""
        workspace = Workspace(self.root)
        inputs, kind = (
            prepare.inputs_digest(scan, PrepareConfig()),
            TypeAdapter(tuple[PreparedScan, HubTransform]),
        )
        noted = workspace.read_record("placed", scan.key, inputs)
        if noted is None:
            prepared = prepare.prepare(scan, workspace, PrepareConfig())
            assert isinstance(prepared, PreparedScan), prepared
            affine = register.register_to_hub(prepared, self.hub, workspace, register.RegisterConfig())
            assert isinstance(affine, HubTransform), affine
            noted = {"placed": kind.dump_python((prepared, affine), mode="json")}
            files = [self.root / path for path in (prepared.image, prepared.mask, prepared.dseg) if path]
            workspace.write_record("placed", scan.key, inputs, files, noted)
        prepared, affine = kind.validate_python(noted["placed"])
        return prepared, affine


def overlaps(one: np.ndarray, other: np.ndarray) -> list[float]:
    """Dice of each of the 25 structures."""
    counts = [np.bincount(labels.ravel(), minlength=256) for labels in (one, other, one[one == other])]
    return [2 * counts[2][n] / max(int(counts[0][n] + counts[1][n]), 1) for n in STRUCTURES]


def cpu_seconds() -> float:
    """Of this process and the children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def rows(found: dict[str, dict[str, Any]], repeats: int) -> list[dict[str, Any]]:
    """Each setting beside the default, in Dice and in seconds."""
    usual = next(iter(SETTINGS))
    plain = found.get(usual) or next(iter(found.values()))
    return [
        {
            "what": name,
            "unit": unit,
            "ours": found[name][figure],
            "plain": plain[figure],
            "plain_is": f"the default, {usual}",
            "repeats": repeats,
        }
        for name in found
        for figure, unit in (("dice", "Dice"), ("seconds", "s"))
    ]


if __name__ == "__main__":
    sys.exit(main())
