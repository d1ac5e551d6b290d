"""How often the checks of left and right are right: capsules on heads, and two forms of one scan.

Heads are the demo's people and, where the folder of real scans is at hand, people simulated from other
label maps (`SIMULATED`, a folder that its `simulate_scans.py --head` wrote) and IXI's real heads. Capsules of
random size, place, gap and brightness are put beside the left of heads that have none; each head is also
looked at mirrored, as a file whose header lies. The plain way is the one by hand: compare the signal beside
the head on the left and on the right.

    python benchmarks/handedness.py [SIMULATED]
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.demo.anatomy import build_anatomy
from brainatlas_text.demo.camera import Camera
from brainatlas_text.demo.layouts import oasis
from brainatlas_text.engines import capsule, handedness, masks
from brainatlas_text.records import Verdict
from brainatlas_text.volumes import Volume

PEOPLE = 9
CAPSULES = 2
"""Drawn for each head."""
SHARED = Path(os.environ.get("BRAINATLAS_SHARED", Path(__file__).parents[1].parent / "shared"))


class Case(NamedTuple):
    """A head or a pair, what it is, and the verdict that is right."""

    what: str
    head: Volume
    truth: Verdict


def main() -> int:
    """Print a line a kind of head, then the JSON of `run.py`."""
    counts: dict[str, Counter[str]] = {}
    plain: dict[str, Counter[str]] = {}
    camera = Camera(anatomy=build_anatomy(), seed=1)
    for case in capsule_cases(camera):
        for truth, head in ((case.truth, case.head), (OPPOSITE[case.truth], mirrored(case.head))):
            what = f"{case.what}{', mirrored' if head is not case.head else ''}"
            tally(counts, what, truth, capsule.check_capsule(head).verdict)
            tally(plain, what, truth, brighter_side(head))
    for what, one, other in form_pairs(camera):
        for truth, form in (("agrees", other), ("contradicts", mirrored(other))):
            name = f"two forms, {what}{', mirrored' if form is not other else ''}"
            tally(counts, name, truth, handedness.compare_forms(one, form, "other").verdict)
            tally(plain, name, truth, "undecided")
    for what, counter in counts.items():
        print(f"{what:48} {dict(counter)}; by hand {dict(plain[what])}")
    print(json.dumps([row(what, counts[what], plain[what]) for what in counts]))
    return 0


OPPOSITE: dict[Verdict, Verdict] = {
    "agrees": "contradicts", "contradicts": "agrees", "undecided": "undecided",
}  # fmt: skip


def tally(counts: dict[str, Counter[str]], what: str, truth: str, verdict: str) -> None:
    """Count a verdict as right, wrong (the other side, or a side where none is marked) or undecided."""
    kind = "right" if verdict == truth else "undecided" if verdict == "undecided" else "wrong"
    counts.setdefault(what, Counter())[kind] += 1


def row(what: str, ours: Counter[str], plain: Counter[str]) -> dict[str, object]:
    """Shares of right verdicts."""
    return {
        "what": f"{what}: right verdicts, {ours['wrong']} wrong",
        "unit": "%",
        "ours": 100 * ours["right"] / ours.total(),
        "plain": 100 * plain["right"] / plain.total(),
        "plain_is": "the side with more signal beside the head",
        "repeats": ours.total(),
    }


def capsule_cases(camera: Camera) -> Iterator[Case]:
    """All heads, in closest-RAS order."""
    rng = np.random.default_rng(0)
    for number in range(PEOPLE):
        person = camera.person(oasis.identity(number, camera.seed))
        for form in (oasis._T88, oasis._SUBJ, oasis._RAW)[number % 3 :][:1]:
            for marked in (True, False):
                look = replace(form.look, marker=marked)
                scan = camera.take(person, form.grid, look, 1, talairach=form is oasis._T88)
                head = volumes.to_closest_ras(Volume(scan.counts(1800).astype(np.float32), form.grid.affine))
                if marked:
                    yield Case("demo head with its capsule", head, "agrees")
            yield from with_and_without("demo head", head, rng)
    for what, path in bare_heads():
        yield from with_and_without(what, volumes.load(path), rng)


def bare_heads() -> Iterator[tuple[str, Path]]:
    """Heads on disk that nobody marked."""
    folders = [("simulated head", Path(sys.argv[1]), "*_T1.nii.gz")] if len(sys.argv) > 1 else []
    folders.append(("real head (IXI)", SHARED / "data" / "real-mini" / "ixi" / "IXI-T1", "*.nii.gz"))
    return ((what, path) for what, folder, pattern in folders for path in sorted(folder.glob(pattern)))


def with_and_without(what: str, head: Volume, rng: np.random.Generator) -> Iterator[Case]:
    """The head without a capsule as it is, with ghosts of motion and without face; then with capsules."""
    head = volumes.thin_to(head, capsule.GRID_MM)
    yield Case(f"{what} without a capsule", head, "undecided")
    yield Case(f"{what} without a capsule, ghosts", with_ghosts(head), "undecided")
    yield Case(f"{what} without a capsule, face removed", without_face(head, rng), "undecided")
    for _ in range(CAPSULES):
        yield Case(f"{what} with a capsule", with_capsule(head, rng), "agrees")
    yield Case(f"{what} with a capsule, ghosts", with_ghosts(with_capsule(head, rng)), "agrees")
    yield Case(f"{what} with a capsule, face removed", with_capsule(without_face(head, rng), rng), "agrees")


def with_ghosts(head: Volume) -> Volume:
    """Copies of a fifth of the signal, a quarter of the field of view away from front to back."""
    shift = head.shape[1] // 4
    ghost = np.roll(head.array, shift, axis=1) + np.roll(head.array, -shift, axis=1)
    return Volume(head.array + np.float32(0.1) * ghost, head.affine)


def without_face(head: Volume, rng: np.random.Generator) -> Volume:
    """0 in front of and below a plane through nose and jaw, tilted a little."""
    points = np.stack(np.meshgrid(*[np.arange(n) for n in head.shape], indexing="ij"), axis=-1)
    world = spaces.apply(head.affine, points) - middle_of(head)
    normal = np.array([rng.normal(0, 0.08), 1.0, -1.0])
    cut = world @ normal > 95.0 + rng.normal(0, 5)
    return Volume(np.where(cut, np.float32(0), head.array), head.affine)


def middle_of(head: Volume) -> np.ndarray:
    """90 mm below the crown, in the middle of what lies above: near the middle of the brain."""
    coarse = volumes.thin_to(head, 4.0)
    points = spaces.apply(coarse.affine, np.argwhere(masks.foreground(coarse)))
    crown = points[:, 2].max()
    return np.array([*points[points[:, 2] > crown - 130][:, :2].mean(axis=0), crown - 90])


def with_capsule(head: Volume, rng: np.random.Generator) -> Volume:
    """A rod of oil with round ends' radii 3.5 to 5.5 and 6 to 11 mm, 1 mm into the skin to 5 mm off."""
    head = padded(head, 25.0, rng)
    shown = masks.foreground(Volume(ndimage.gaussian_filter(head.array, 0.7), head.affine))
    height_mm = ndimage.distance_transform_edt(~shown, sampling=head.zooms_mm)
    thin, long, gap = rng.uniform(3.5, 5.5), rng.uniform(6, 11), rng.uniform(-1, 5)
    turn, rise = np.radians(rng.uniform(20, 110)), np.radians(rng.uniform(-20, 45))
    ray = np.array([-np.sin(turn) * np.cos(rise), np.cos(turn) * np.cos(rise), np.sin(rise)])
    middle, vox_from_mm = middle_of(head), spaces.invert(head.affine)
    for reach in np.arange(160, 20, -0.5):
        center = middle + reach * ray
        place = np.rint(spaces.apply(vox_from_mm, center)).astype(int)
        if (place >= 0).all() and (place < head.shape).all() and height_mm[tuple(place)] <= thin + gap:
            break
    along = np.cross(ray, rng.normal(size=3))
    along /= np.linalg.norm(along)
    points = np.stack(np.meshgrid(*[np.arange(n) for n in head.shape], indexing="ij"), axis=-1)
    near = spaces.apply(head.affine, points) - center
    axial = near @ along
    radial = np.sqrt(np.maximum((near**2).sum(axis=-1) - axial**2, 0))
    share = (1 - np.hypot(axial / long, radial / thin)) * thin / head.zooms_mm.mean() + 0.5
    share = ndimage.gaussian_filter(np.clip(share, 0, 1), 0.5)
    value = rng.uniform(0.85, 1.4) * np.percentile(head.array[shown], 90)
    return Volume((head.array * (1 - share) + value * share).astype(np.float32), head.affine)


def padded(head: Volume, margin_mm: float, rng: np.random.Generator) -> Volume:
    """More air around the head, as noisy as the air that is there."""
    margin = np.ceil(margin_mm / head.zooms_mm).astype(int)
    air = np.percentile(head.array, 2) + 1e-3
    array = np.abs(rng.normal(0, air, np.array(head.shape) + 2 * margin)).astype(np.float32)
    array[tuple(slice(m, -m) for m in margin)] = head.array
    return Volume(array, head.affine @ spaces.translation(-margin))


def form_pairs(camera: Camera) -> Iterator[tuple[str, Volume, Volume]]:
    """SUBJ_111 and T88_111 of one person each."""
    for number in range(0, PEOPLE, 2):
        person = camera.person(oasis.identity(number, camera.seed))
        forms = []
        for form in (oasis._SUBJ, oasis._T88):
            scan = camera.take(person, form.grid, form.look, form.session, talairach=form is oasis._T88)
            for stripped in (False, True):
                array = scan.counts(1800, stripped=stripped).astype(np.float32)
                forms.append(volumes.to_closest_ras(Volume(array, form.grid.affine)))
        yield "demo heads", forms[0], forms[2]
        yield "demo brains", forms[1], forms[3]
    folder = SHARED / "data" / "real-mini" / "oasis"
    for path in sorted(folder.rglob("*_sbj_111.img")):
        session = path.parents[1]
        yield (
            "real brains (OASIS 9003)",
            volumes.load(path, "ASL"),
            volumes.load(next(session.rglob("*_t88_masked_gfc.img")), "LAS"),
        )


def brighter_side(head: Volume) -> Verdict:
    """By hand: more signal outside the head's outline on one side than on the other, by half."""
    coarse = volumes.thin_to(head, 2.0)
    outside = ~masks.close(masks.foreground(coarse), 6.0, coarse.zooms_mm)
    x = spaces.apply(coarse.affine, np.stack(np.meshgrid(*map(np.arange, coarse.shape), indexing="ij"), -1))[
        ..., 0
    ]
    aside = x - middle_of(head)[0]
    left, right = (float(coarse.array[outside & side].sum()) for side in (aside < -20, aside > 20))
    if max(left, right) < 1.5 * min(left, right):
        return "undecided"
    return "agrees" if left > right else "contradicts"


def mirrored(head: Volume) -> Volume:
    """The same file with a header that lies."""
    return Volume(np.ascontiguousarray(head.array[::-1]), head.affine)


if __name__ == "__main__":
    sys.exit(main())
