"""Are failed scans refused, and good ones left alone? Good scans, and failures planted into them, measured.

Scans are those of the demo's people; folders named on the command line are taken instead: a folder of sources
(`ibsr`, `oasis`, `ixi`, `kirby`), or any folder of NIfTI files whose names end in `T1`, `T2` or `FLAIR`. Each
scan is prepared and registered, then damaged in each of these ways and prepared and registered again:

    noise           its box filled with noise
    noise inside    its brain or head filled with noise, the outline kept
    shuffled        the voxels of its brain in another order; outline and histogram stay
    smooth          the same, in an order as smooth as tissue, or smoother
    turned          its header names other axes: by 90 and 180 degrees about each axis
    exchanged       two axes change places
    mirrored        front for back, top for bottom
    half            half of its brain or head is 0: each direction, either half
    cropped         its grid ends at the half
    half masked     a head with a mask, which is cut as the image is
    size            its header states twice or half the voxel size: of all axes, or of one
    constant        all voxels are alike
    empty mask      it comes with a mask of zeros

A caught failure is one that is rejected, by preparation or registration. The plain way looks at the masks'
overlap after the affine, its largest stretch and the sign of its determinant, as this package did before.

    python benchmarks/planted_failures.py [--every N] [FOLDER ...]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage

from brainatlas_text import prepare, register, spaces, volumes
from brainatlas_text.demo import write_demo_sources
from brainatlas_text.engines import masks, pose
from brainatlas_text.hub import load_hub
from brainatlas_text.prepare_config import PrepareConfig
from brainatlas_text.records import Facts, PreparedScan, Rejection, SourceScan
from brainatlas_text.register_config import RegisterConfig
from brainatlas_text.registrations import TransformRejection
from brainatlas_text.sources import SOURCES, Selection, find
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace

PREPARE, REGISTER = PrepareConfig(bias_correction=False), RegisterConfig(finest_mm=4.0)
LIMITLESS = REGISTER.model_copy(update={"min_orientation": 0.0, "min_overlap": 0.0})
SEQUENCES = {"T1": "T1w", "T2": "T2w", "FLAIR": "FLAIR"}
PLAIN_IS = "overlap of the masks >= 0.80, stretch <= 1.8, not mirrored, after the affine"


class Outcome(NamedTuple):
    """What became of a scan."""

    reason: str | None
    """Of its rejection; None for an accepted one."""
    plain: bool
    """Whether the plain limits accept it."""
    figures: dict[str, float]


def main() -> int:
    """Print the table of good scans and of failures, then the JSON of `run.py`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=8, help="plant failures into every Nth scan")
    parser.add_argument("folders", nargs="*", type=Path)
    arguments = parser.parse_args()
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        places = arguments.folders or [demo(Path(folder) / "demo")]
        for number, scan in enumerate(scan for place in places for scan in scans_of(place)):
            damage = planted(scan, Path(folder) / "planted") if number % arguments.every == 0 else ()
            for what, case in chain([("good", scan)], damage):  # one file, written anew for each
                outcome = tried(case, workspace)
                outcomes[what].append(outcome)
                shown = " ".join(f"{name} {value:.4g}" for name, value in outcome.figures.items())
                print(f"{what:16} {scan.key:24} {outcome.reason or 'accepted':20} {shown}", flush=True)
    for what, found in outcomes.items():
        print(f"{what:16} {dict(Counter(outcome.reason or 'accepted' for outcome in found))}")
    print(json.dumps([row(what, found) for what, found in outcomes.items()]))
    return 0


def row(what: str, found: list[Outcome]) -> dict[str, object]:
    """Share of right decisions."""
    good = what == "good"
    return {
        "what": "good scans: accepted" if good else f"{what}: refused",
        "unit": "%",
        "ours": 100 * sum((outcome.reason is None) == good for outcome in found) / len(found),
        "plain": 100 * sum(outcome.plain == good for outcome in found) / len(found),
        "plain_is": PLAIN_IS,
        "repeats": len(found),
    }


def demo(folder: Path) -> Path:
    """Four people of each of the demo's sources."""
    write_demo_sources(folder, people=4, seed=0, workers=1)
    return folder


def scans_of(folder: Path) -> Iterator[SourceScan]:
    """The scans of a folder of sources, or of NIfTI files."""
    sources = tuple(name for name in SOURCES if (folder / name).is_dir())
    if sources:
        yield from find(sources, folder, Selection()).scans
        return
    for path in sorted(folder.rglob("*.nii*")):
        stem = path.name.split(".nii")[0]
        sequence = SEQUENCES.get(stem.rsplit("_", 1)[-1])
        if sequence is not None:
            key = f"{folder.name}-{stem.replace('_', '-')}".lower()
            facts = Facts(age_years=None, sex=None)
            yield SourceScan(
                key=key, subject=key, source=folder.name, sequence=sequence, image=path, facts=facts,
                terms="bids",
            )  # fmt: skip


def planted(scan: SourceScan, folder: Path) -> Iterator[tuple[str, SourceScan]]:
    """The scan, damaged; files are written one after the other."""
    folder.mkdir(exist_ok=True)
    image = volumes.load(scan.image, scan.array_order)
    outline = masks.outline_of_stripped(image)
    inside = masks.foreground(image) if outline is None else outline
    bare = replace(scan, array_order=None, mask=None, dseg=None, superseded=(), repeats=(), left_marker=False)
    path, mask = folder / "scan.nii.gz", folder / "mask.nii.gz"
    for what, volume in chain(noises(image, inside), lies(image), halves(image, inside)):
        nib.save(nib.Nifti1Image(volume.array, volume.affine), path)
        yield what, replace(bare, image=path)
        if what.startswith("half") and outline is None:  # else the image shows the brain, and no mask is used
            nib.save(nib.Nifti1Image((inside & (volume.array != 0)).astype(np.uint8), volume.affine), mask)
            yield f"{what} masked", replace(bare, image=path, mask=mask)
    nib.save(nib.Nifti1Image(image.array, image.affine), path)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, dtype=np.uint8), image.affine), mask)
    yield "empty mask", replace(bare, image=path, mask=mask)


def noises(image: Volume, inside: masks.BoolArray) -> Iterator[tuple[str, Volume]]:
    """Images that show nothing, ever more like a brain."""
    rng = np.random.default_rng(0)
    noise = rng.gamma(2.0, image.array[inside].mean() / 2, image.shape).astype(np.float32)
    yield "constant", Volume(np.full(image.shape, 7, dtype=np.float32), image.affine)
    yield "noise", Volume(noise, image.affine)
    yield "noise inside", Volume(np.where(inside, noise, 0), image.affine)
    field = rng.normal(size=image.shape)
    for what, scale_mm in (
        ("shuffled", 0.0),
        ("smooth 3 mm", 3.0),
        ("smooth 6 mm", 6.0),
        ("smooth 12 mm", 12.0),
    ):
        order = ndimage.gaussian_filter(field, scale_mm / image.zooms_mm)[inside]
        array = np.where(inside, 0, image.array)
        array[inside] = np.sort(image.array[inside])[np.argsort(np.argsort(order))]
        yield what, Volume(array, image.affine)


def lies(image: Volume) -> Iterator[tuple[str, Volume]]:
    """The same voxels under headers that lie."""
    for axis, name in enumerate("xyz"):
        for degrees in (90, 180):
            turn = next(t for t in pose.right_angle_turns() if is_turn(t, axis, degrees))
            yield f"turned {degrees} about {name}", lying(image, turn)
        yield f"{'xyz'.replace(name, '')} exchanged", lying(image, np.eye(3)[exchanged(axis)])
        if axis > 0:  # a mirror from left to right is one that no template can tell
            yield f"mirrored {name}", lying(image, np.diag(np.where(np.arange(3) == axis, -1.0, 1.0)))
        for factor in (2.0, 0.5):
            yield (
                f"size {factor:g} {name}",
                lying(image, np.diag(np.where(np.arange(3) == axis, factor, 1.0))),
            )
    for factor in (2.0, 0.5):
        yield f"size {factor:g}", lying(image, factor * np.eye(3))


def halves(image: Volume, inside: masks.BoolArray) -> Iterator[tuple[str, Volume]]:
    """Half of the brain or head alone, on the whole grid and on half of it."""
    for axis, name in enumerate("xyz"):
        middle = int(np.argwhere(inside)[:, axis].mean())
        for side, kept in (("+", slice(middle, None)), ("-", slice(None, middle))):
            box = tuple(kept if other == axis else slice(None) for other in range(3))
            array = np.zeros_like(image.array)
            array[box] = image.array[box]
            yield f"half {name}{side}", Volume(array, image.affine)
            start = [part.start or 0 for part in box]
            yield f"cropped {name}{side}", Volume(image.array[box], image.affine @ spaces.translation(start))


def exchanged(axis: int) -> list[int]:
    """The order of axes in which the two others change places."""
    order = [2, 1, 0] if axis == 1 else [1, 0, 2] if axis == 2 else [0, 2, 1]
    return order


def is_turn(turn: np.ndarray, axis: int, degrees: int) -> bool:
    """Whether a rotation by right angles is the one about an axis, counter-clockwise."""
    one, other = (axis + 1) % 3, (axis + 2) % 3
    cosine, sine = round(np.cos(np.radians(degrees))), round(np.sin(np.radians(degrees)))
    return bool(turn[axis, axis] == 1 and turn[one, one] == cosine and turn[other, one] == sine)


def lying(image: Volume, turn: np.ndarray) -> Volume:
    """The same voxels under another header."""
    wrong = np.eye(4)
    wrong[:3, :3] = turn
    return Volume(image.array, wrong @ image.affine)


def tried(scan: SourceScan, workspace: Workspace) -> Outcome:
    """Prepare and register a scan, and look at where the affine ends whatever the pose says."""
    prepared = prepare.prepare(scan, workspace, PREPARE)
    if isinstance(prepared, Rejection):
        return Outcome(prepared.reason, False, {})
    found = register.register_to_hub(prepared, load_hub(), workspace, REGISTER)
    quality = found.quality
    if quality is None:  # refused before it was estimated
        quality = register.register_to_hub(prepared, load_hub(), workspace, LIMITLESS).quality
    assert quality is not None
    figures = {name: getattr(quality, name) for name in ("overlap", "similarity", "determinant", "shear_deg")}
    figures |= {"stretch": quality.scales[2], "shape": quality.scales[2] / quality.scales[0]}
    stretch = max(quality.scales[2], 1 / quality.scales[0])
    plain = quality.overlap >= 0.80 and stretch <= 1.8 and quality.determinant > 0
    reason = found.reason if isinstance(found, TransformRejection) else None
    return Outcome(reason, plain, pose_figures(prepared, workspace) | figures)


def pose_figures(scan: PreparedScan, workspace: Workspace) -> dict[str, float]:
    """What the rigid pose says."""
    hub = load_hub()
    image, mask = (volumes.load_prepared(workspace.root / path) for path in (scan.image, scan.mask))
    near, far = pose.find_poses(hub.image, hub.mask, image, mask)
    overlap = register.mask_overlap(hub.mask, mask, spaces.invert(near.template_from_scan))
    return {"orientation": near.information / far.information, "rigid_overlap": overlap}


if __name__ == "__main__":
    sys.exit(main())
