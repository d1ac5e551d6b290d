"""Which side of a scan is the left: what pictures say of it, and what follows from that.

Two kinds of evidence: the capsule that some sources fix to the left of the head (`capsule`), and two forms of
one scan whose sides are known in different ways, which must fit each other better as they are than mirrored
(the idea of AFNI's left-right check: Glen et al., Front Neuroinform 2020). Nothing here flips a scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text import spaces, volumes
from brainatlas_text.engines import capsule, itk, masks, resample
from brainatlas_text.engines.masks import BoolArray
from brainatlas_text.errors import InputError
from brainatlas_text.records import HandednessCheck, OrientationSource, OtherForm, SourceScan, Verdict
from brainatlas_text.spaces import Affine
from brainatlas_text.volumes import Volume

VERSION = 1
Contradicted = Literal["reject", "strict", "keep"]
GRID_MM = 2.0
"""Working grid: the folds of two forms fit to a few mm."""
MIN_CORRELATION, MIN_MARGIN = 0.5, 0.15
"""Of the better fit of two forms, and between the better and the worse one."""
DETAIL_MM, INNER_MM = 6.0, 4.0
"""Detail is what a Gaussian of this width leaves; it is compared this deep inside the brain or head."""
_FORMS_SCHEDULE = itk.AffineSchedule(grids_mm=(8.0, 4.0), iterations=(150, 60))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What follows from the checks of one scan."""

    source: OrientationSource
    notes: tuple[str, ...] = ()
    refusal: str | None = None
    """Why the scan is not used."""


def check(scan: SourceScan, image: Volume, mask: BoolArray, *, stripped: bool) -> tuple[HandednessCheck, ...]:
    """All evidence that there is on the sides of an image (closest RAS) with its brain mask."""
    checks = [capsule.check_capsule(image)] if scan.left_marker and not stripped else []
    if form := other_form(scan):
        checks.append(_check_form(form, image, mask, stripped=stripped))
    return tuple(checks)


def other_form(scan: SourceScan) -> OtherForm | None:
    """The preferred one of the other forms whose sides are known in another way than the image's."""
    return next((form for form in scan.superseded if form.array_order != scan.array_order), None)


def judge(checks: Sequence[HandednessCheck], stated: OrientationSource, contradicted: Contradicted) -> Sides:
    """What to do with a scan whose sides are `stated` by header or convention.

    A capsule is evidence on the image itself: it confirms the sides or speaks against the scan. Two forms
    that contradict each other do not tell which of them is wrong, unless the image's capsule agrees.
    """
    by_capsule, by_forms = (_of(checks, method) for method in ("capsule", "two forms"))
    source: OrientationSource = "checked" if by_capsule and by_capsule.verdict == "agrees" else stated
    against = [c for c in (by_capsule, by_forms) if c is not None and c.verdict == "contradicts"]
    if not against:
        return Sides(source=source)
    said = f"left and right are contradicted: the {stated} says one thing, but " + " and ".join(
        c.detail for c in against
    )
    if source == "checked":
        return Sides(source=source, notes=(f"{said}; by the capsule the form in use is the right one",))
    grave = against[0].method == "capsule" or contradicted == "strict"
    if grave and contradicted != "keep":
        advice = "correct the file or exclude the scan, or use it as it is with prepare.contradicted=keep"
        return Sides(source=source, refusal=f"{said}; {advice}")
    return Sides(source=source, notes=(f"{said}; used as it is, and which is right is not known",))


def _of(checks: Sequence[HandednessCheck], method: str) -> HandednessCheck | None:
    return next((check for check in checks if check.method == method), None)


def _check_form(form: OtherForm, image: Volume, mask: BoolArray, *, stripped: bool) -> HandednessCheck:
    """Compare with another form on disk; one that cannot be read decides nothing."""
    name = form.image.name
    try:
        other = volumes.load(form.image, form.array_order)
    except InputError as error:
        return HandednessCheck(
            method="two forms", verdict="undecided", detail=f"{name} could not be compared: {error}"
        )
    if not stripped and masks.outline_of_stripped(other) is not None:
        image = Volume(np.where(mask, image.array, 0), image.affine)
    return compare_forms(image, other, name)


def compare_forms(scan: Volume, other: Volume, name: str) -> HandednessCheck:
    """Fit another form of the same scan (called `name`) to this one as it is and mirrored.

    Both volumes in closest-RAS order, both with skull or both without. The two fits are measured alike, by
    the correlation of their detail inside the head or brain.
    """
    fixed, inside = _foreground(scan)
    moving, _ = _foreground(other)
    straight = _correlation(fixed, inside, moving)
    mirrored = _correlation(fixed, inside, Volume(np.ascontiguousarray(moving.array[::-1]), moving.affine))
    verdict: Verdict = "undecided"
    if max(straight, mirrored) >= MIN_CORRELATION and abs(straight - mirrored) >= MIN_MARGIN:
        verdict = "agrees" if straight > mirrored else "contradicts"
    detail = (
        f"{name} fits this form with a correlation of {straight:.2f} as it is and {mirrored:.2f} mirrored"
    )
    return HandednessCheck(method="two forms", verdict=verdict, detail=detail)


def _foreground(image: Volume) -> tuple[Volume, BoolArray]:
    """The image on the working grid with 0 in the air, and where it is not air."""
    coarse = volumes.thin_to(image, GRID_MM)
    _, solid = capsule.solid_head(coarse)
    return Volume(np.where(solid, coarse.array, 0).astype(np.float32), coarse.affine), solid


def _correlation(fixed: Volume, inside: BoolArray, moving: Volume) -> float:
    """Correlation of detail after the best affine fit of `moving` to `fixed`."""
    start = spaces.translation(_middle(moving) - _middle(fixed))
    moving_from_fixed, _ = itk.register_affine(fixed, moving, start, _FORMS_SCHEDULE)
    moved = _moved(moving, moving_from_fixed, fixed)
    inner = masks.erode(inside & (moved > 0), INNER_MM, fixed.zooms_mm)
    if inner.sum() < 1000:
        return 0.0
    sigmas = DETAIL_MM / fixed.zooms_mm
    one, other = ((a - ndimage.gaussian_filter(a, sigmas))[inner] for a in (fixed.array, moved))
    if min(one.std(), other.std()) == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _moved(moving: Volume, moving_from_fixed: Affine, fixed: Volume) -> NDArray[np.float32]:
    moving_from_fixed_vox = spaces.invert(moving.affine) @ moving_from_fixed @ fixed.affine
    return np.asarray(
        resample.linear(moving.array, moving_from_fixed_vox, ((0, 0, 0), fixed.shape)), dtype=np.float32
    )


def _middle(image: Volume) -> NDArray[np.float64]:
    """Center of mass of what is shown, in mm."""
    return spaces.apply(image.affine, np.argwhere(image.array > 0).mean(axis=0))
