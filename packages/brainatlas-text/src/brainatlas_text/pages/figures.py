"""The figures of registrations and label maps on pages: their names, their limits, and what stands out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from brainatlas_text.pages.flags import Flag
from brainatlas_text.pages.outliers import MAX_DEVIATION, MIN_GROUP, modified_z
from brainatlas_text.records import PreparedScan
from brainatlas_text.register_config import RegisterConfig
from brainatlas_text.registrations import TransformQuality
from brainatlas_text.warp import WarpConfig

CLOSE = 1.1
"""A figure within this factor of its limit is close to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number that describes a registration or a label map."""

    name: str
    title: str
    what: str
    """What it is, in a few words."""
    digits: int = 2
    unit: str = ""
    by_contrast: bool = False
    """Depends on the sequence, so that only scans of one sequence can be compared."""
    worst: str = "-"
    """Which end to look at first: `` for the least, `-` for the greatest."""

    def text(self, value: float) -> str:
        """The value as it is shown."""
        return f"{value:.{self.digits}f}{self.unit}"


SIMILARITY = Figure(
    name="similarity", title="Similarity", what="of the images, mutual information", digits=3,
    by_contrast=True, worst="",
)  # fmt: skip
OVERLAP = Figure(name="overlap", title="Overlap", what="of the brain masks, Dice", digits=3, worst="")
VOLUME = Figure(name="determinant", title="Volume ratio", what="of hub over scan, the determinant")
LEAST = Figure(name="least-stretch", title="Least stretch", what="of the affine", worst="")
GREATEST = Figure(name="greatest-stretch", title="Greatest stretch", what="of the affine")
ANISOTROPY = Figure(name="anisotropy", title="Anisotropy", what="greatest over least stretch")
SHEAR = Figure(name="shear", title="Shear", what="of right angles by the affine", digits=1, unit="°")
WARP_SIMILARITY = Figure(
    name="warp-similarity", title="Similarity, warped", what="of the images after the warp", digits=3,
    by_contrast=True, worst="",
)  # fmt: skip
WARP_OVERLAP = Figure(
    name="warp-overlap", title="Overlap, warped", what="of the masks after the warp", digits=3, worst=""
)
LEAST_JACOBIAN = Figure(
    name="least-jacobian", title="Least Jacobian", what="of the warp; a fold at 0", worst=""
)
GREATEST_JACOBIAN = Figure(name="greatest-jacobian", title="Greatest Jacobian", what="of the warp", digits=1)
AGREEMENT = Figure(
    name="agreement", title="Mean agreement", what="of the voters, where a label won", digits=3, worst=""
)
LABELED = Figure(name="labeled", title="Labeled", what="share of the brain mask", digits=3, worst="")

AFFINE = (SIMILARITY, OVERLAP, VOLUME, LEAST, GREATEST, ANISOTROPY, SHEAR)
WARP = (WARP_SIMILARITY, WARP_OVERLAP, LEAST_JACOBIAN, GREATEST_JACOBIAN)
REGISTRATION = AFFINE + WARP
LABELS = (AGREEMENT, LABELED)

UNUSUAL = Flag(
    name="unusual",
    title="Unlike its group",
    why=f"A figure's modified z-score is over {MAX_DEVIATION:g} among scans of the same source and sequence, "
    "or among all scans where these are fewer than eight.",
)

Values = Mapping[Figure, float]
Limits = Mapping[Figure, tuple[float | None, float | None]]
"""The least and the greatest value that is accepted."""


def of_affine(quality: TransformQuality) -> dict[Figure, float]:
    """The figures of an affine."""
    return {
        SIMILARITY: quality.similarity,
        OVERLAP: quality.overlap,
        VOLUME: quality.determinant,
        LEAST: quality.scales[0],
        GREATEST: quality.scales[2],
        ANISOTROPY: quality.scales[2] / max(quality.scales[0], 1e-9),
        SHEAR: quality.shear_deg,
    }


def of_warp(quality: TransformQuality) -> dict[Figure, float]:
    """The figures of a warp."""
    found = {WARP_SIMILARITY: quality.similarity, WARP_OVERLAP: quality.overlap}
    if quality.jacobian is not None:
        found |= {LEAST_JACOBIAN: quality.jacobian[0], GREATEST_JACOBIAN: quality.jacobian[1]}
    return found


def limits_of(affine: RegisterConfig, warp: WarpConfig) -> Limits:
    """What the recipe accepts."""
    return {
        SIMILARITY: (affine.min_similarity, None),
        OVERLAP: (affine.min_overlap, None),
        VOLUME: (1 / affine.max_determinant, affine.max_determinant),
        LEAST: (1 / affine.max_scale, None),
        GREATEST: (None, affine.max_scale),
        ANISOTROPY: (None, affine.max_anisotropy),
        SHEAR: (None, affine.max_shear_deg),
        LEAST_JACOBIAN: (warp.min_jacobian, None),
        GREATEST_JACOBIAN: (None, warp.max_jacobian),
    }


def close_to(values: Values, limits: Limits) -> tuple[Figure, ...]:
    """The figures that lie close to a limit, or beyond."""
    found = []
    for figure, value in values.items():
        low, high = limits.get(figure, (None, None))
        if (low is not None and value < low * CLOSE) or (high is not None and value * CLOSE > high):
            found.append(figure)
    return tuple(found)


def deviations(scans: Sequence[PreparedScan], values: Mapping[str, Values]) -> dict[str, dict[Figure, float]]:
    """How far each figure of each scan lies from those like it, as a modified z-score, by key.

    Compared are scans of the same source and sequence; where they are few, all scans, unless the figure
    depends on the sequence. A scan in too small a group has no score.
    """
    measured = [scan for scan in scans if scan.key in values]
    found: dict[str, dict[Figure, float]] = {scan.key: {} for scan in measured}
    for figure in {figure: None for of_scan in values.values() for figure in of_scan}:
        alike, wider = _by(measured, values, figure, narrow=True), _by(measured, values, figure, narrow=False)
        for scan in measured:
            if figure in values[scan.key]:
                group = alike[_group(scan, figure, narrow=True)]
                if len(group) < MIN_GROUP:
                    group = wider[_group(scan, figure, narrow=False)]
                if len(group) >= MIN_GROUP:
                    found[scan.key][figure] = modified_z(values[scan.key][figure], group)
    return found


def _by(
    scans: Iterable[PreparedScan], values: Mapping[str, Values], figure: Figure, *, narrow: bool
) -> dict[Hashable, list[float]]:
    groups: dict[Hashable, list[float]] = {}
    for scan in scans:
        if figure in values[scan.key]:
            groups.setdefault(_group(scan, figure, narrow=narrow), []).append(values[scan.key][figure])
    return groups


def _group(scan: PreparedScan, figure: Figure, *, narrow: bool) -> Hashable:
    if narrow:
        return scan.source, scan.sequence
    return scan.sequence if figure.by_contrast else None
