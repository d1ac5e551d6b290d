"""The embedded brain mask beside BET, a template's mask and a trained network, on heads whose brain is known.

Heads come from the shared simulator where it lies (`BRAINATLAS_SHARED`, else `../shared`): people made from
label maps of others. Without it they are the demo's, bent copies of the very template that the embedded mask
and the template's mask start from, which flatters both; the output says which. brainextractor and deepbet are
compared where they are installed:

    .venv/bin/uv pip install -p .venv -c constraints.txt trimesh tqdm deepbet
    .venv/bin/uv pip install -p .venv --no-deps brainextractor
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel as nib
import numpy as np

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import extraction
from brainatlas_text.engines.head_fit import fit_head, refine_on_brain, template_brain
from brainatlas_text.engines.head_template import load_head_template
from brainatlas_text.volumes import Volume

SEQUENCES = {"T1w": "T1", "T2w": "T2", "FLAIR": "FLAIR"}
NUM_PEOPLE, SEED = 2, 77
Method = Callable[[Path], np.ndarray]


class MissingError(Exception):
    """A package that is compared is not installed."""


@dataclass(frozen=True)
class Head:
    """A head in a file and its true brain mask."""

    path: Path
    sequence: str
    mask: np.ndarray


def embedded(path: Path) -> np.ndarray:
    return extraction.extract_brain(volumes.load(path))


def bet(path: Path) -> np.ndarray:
    """BET (Smith, HBM 2002), its author's settings, in Python."""
    try:
        from brainextractor import BrainExtractor
    except ImportError as error:
        raise MissingError("brainextractor") from error
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as quiet:
        loud, sys.stdout = sys.stdout, quiet
        try:
            extractor = BrainExtractor(img=nib.load(path))
            extractor.run()
            extractor.save_mask(f"{folder}/mask.nii.gz")
        finally:
            sys.stdout = loud
        return volumes.load(Path(folder) / "mask.nii.gz").array > 0.5


def template(path: Path) -> np.ndarray:
    """The template's mask through our own affine fit; a registration that starts blindly is no rival."""
    image, atlas = volumes.load(path), load_head_template()
    head = extraction.straightened(image)
    return template_brain(image, atlas, refine_on_brain(head, atlas, fit_head(head, atlas)))


def deepbet(path: Path) -> np.ndarray:
    """A trained network for T1w (Fisch et al., 2024)."""
    try:
        from deepbet import run_bet
    except ImportError as error:
        raise MissingError("deepbet") from error
    with tempfile.TemporaryDirectory() as folder:
        mask = Path(folder) / "mask.nii.gz"
        run_bet([str(path)], mask_paths=[str(mask)], no_gpu=True, skip_broken=False)
        return volumes.load(mask).array > 0.5


RIVALS: dict[str, tuple[Method, tuple[str, ...]]] = {
    "BET (brainextractor)": (bet, tuple(SEQUENCES)),
    "mask of the template, affine": (template, tuple(SEQUENCES)),
    "deepbet (trained network)": (deepbet, ("T1w",)),
}


def heads(folder: Path) -> tuple[str, list[Head]]:
    """Where the heads come from, and the heads, in files below `folder`."""
    shared = Path(os.environ.get("BRAINATLAS_SHARED", Path(__file__).parents[2] / "shared"))
    simulator, maps = shared / "tools" / "simulate_scans.py", shared / "data" / "label-maps"
    if simulator.is_file() and maps.is_dir():
        return "simulated from label maps of other people", list(_simulated(simulator, maps, folder))
    return "demo people, bent copies of the template itself (flattering)", list(_demo(folder))


def _simulated(simulator: Path, maps: Path, folder: Path) -> Iterator[Head]:
    command = [sys.executable, simulator, maps, "--out", folder, "--head", "--people", NUM_PEOPLE]
    command += ["--seed", SEED, "--sequences", *SEQUENCES.values()]
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr)
    for mask in sorted(folder.glob("*_mask.nii.gz")):
        truth = volumes.load(mask).array > 0
        for sequence, ending in SEQUENCES.items():
            yield Head(mask.with_name(mask.name.replace("_mask", f"_{ending}")), sequence, truth)


def _demo(folder: Path) -> Iterator[Head]:
    from brainatlas_text.demo.anatomy import build_anatomy
    from brainatlas_text.demo.camera import Camera, Grid
    from brainatlas_text.demo.contrast import Look
    from brainatlas_text.demo.people import Identity

    camera, shape = Camera(anatomy=build_anatomy(), seed=SEED), (176, 232, 224)
    grid = Grid(shape=shape, affine=spaces.from_axis_codes("RAS", shape, (1.0, 1.0, 1.0)))
    for number in range(NUM_PEOPLE):
        age_years = 22.0 + 16.0 * number
        person = camera.person(
            Identity(source="ixi", number=number, age_years=age_years, sex="FM"[number % 2])
        )
        for session, sequence in enumerate(SEQUENCES):
            scan = camera.take(person, grid, Look(sequence=sequence, noise=0.03), session)
            path = folder / f"{number}-{sequence}.nii.gz"
            path.write_bytes(volumes.encode(Volume(scan.counts(300), grid.affine), np.int16))
            yield Head(path, sequence, scan.mask)


def score(method: Method, head: Head) -> tuple[float, float]:
    """Dice with the truth and CPU seconds, the reading of the file included."""
    begin = time.process_time()
    mask = method(head.path)
    seconds = time.process_time() - begin
    return float(2 * (mask & head.mask).sum() / (mask.sum() + head.mask.sum())), seconds


def rows(sequence: str, ours: list[tuple[float, float]], rival: str, theirs: list[tuple[float, float]],
         source: str) -> Iterator[dict[str, Any]]:  # fmt: skip
    figures = {
        "mean Dice": ("Dice", lambda scores: statistics.mean(dice for dice, _ in scores)),
        "worst Dice": ("Dice", lambda scores: min(dice for dice, _ in scores)),
        "CPU time": ("CPU s", lambda scores: statistics.median(seconds for _, seconds in scores)),
    }
    for figure, (unit, of) in figures.items():
        yield {
            "what": f"brain mask of a {sequence} head, {figure}",
            "unit": unit,
            "ours": of(ours),
            "plain": of(theirs),
            "plain_is": rival,
            "repeats": len(theirs),
            "heads": source,
        }


def main() -> None:
    """Print the rows as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        source, known = heads(Path(folder))
        print(f"brain_masks: {len(known)} heads, {source}", file=sys.stderr)
        embedded(known[0].path)  # compiles
        ours = {head.path: score(embedded, head) for head in known}
        results: list[dict[str, Any]] = []
        for rival, (method, sequences) in RIVALS.items():
            try:
                for sequence in sequences:
                    mine = [head for head in known if head.sequence == sequence]
                    theirs = [score(method, head) for head in mine]
                    results += rows(sequence, [ours[head.path] for head in mine], rival, theirs, source)
            except MissingError as missing:
                print(f"brain_masks: {missing} is not installed; {rival} is left out", file=sys.stderr)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
