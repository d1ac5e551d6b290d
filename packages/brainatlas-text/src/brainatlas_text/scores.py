"""Score label maps against the truth: overlap, distance of surfaces and error of volume, a structure each.

Input: two uint8 maps in canonical numbers on one grid. Dice is 2 |A and B| / (|A| + |B|). The 95 % Hausdorff
distance is the larger of the two directed 95th percentiles of distances between surface voxels (those that
touch the outside by a face), in mm. The volume error is signed: +0.1 where the map holds a tenth too much.
A structure that the truth lacks is not scored; one that the map lacks has Dice 0 and no distance.

Tissues (`tissue_map`): ventricles and CSF are CSF; cortex, deep grey, pallidum and ventral diencephalon
included, and limbic structures are grey matter; white matter and the brain stem are white matter; the
cerebellum is divided. Vessels are none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainatlas_text.labels import OUTER_CSF, canonical_table
from brainatlas_text.records import SEQUENCES, Rejection

VERSION = 1
STANDARD = (2, 3, 4, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 41, 42, 43, 46, 47, 49, 50, 51, 52, 53, 54)
"""The 25 structures over which mean figures are taken: in every label scheme, in every person."""
CSF, GREY, WHITE = 1, 2, 3
"""Numbers of a tissue map, as IBSR's `segTRI` has them."""
TISSUES = {CSF: "CSF", GREY: "grey matter", WHITE: "white matter"}
FILLED = "grey matter, filled"
"""Grey matter where what the brain mask holds of no tissue or of sulcal CSF counts as it too."""
_TISSUE_OF_GROUP = {
    "ventricle": CSF, "fluid": CSF, "cortex": GREY, "deep grey": GREY, "limbic": GREY,
    "white matter": WHITE, "brain stem": WHITE, "vessel": 0,
}  # fmt: skip
_TISSUE_OF_CEREBELLUM = {7: WHITE, 46: WHITE, 8: GREY, 47: GREY}


def structure_names() -> dict[int, str]:
    """Canonical number -> name with side, of all that are scored.

    CSF outside the ventricles (24) is none: it means different things in different schemes and never votes.
    """
    return {
        number: row.name if row.side == "midline" else f"{row.side} {row.name}"
        for number, row in sorted(canonical_table().items())
        if row.named and number != OUTER_CSF
    }


def standard_names() -> tuple[str, ...]:
    """Names of the standard structures."""
    names = structure_names()
    return tuple(names[number] for number in STANDARD)


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureScore:
    """One structure of one scan."""

    structure: str
    """Its name with its side, or a tissue's."""
    dice: float
    hd95_mm: float | None
    """None where the map lacks the structure."""
    volume_error: float
    """(map - truth) / truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanScores:
    """All structures of one scan, by one method."""

    method: str
    scan: str
    sequence: str
    """`T1w`, `T2w` or `FLAIR`; empty where a file's name does not say."""
    structures: tuple[StructureScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanScore:
    """One structure, a mean over scans."""

    structure: str
    scans: int
    """How many have the structure."""
    dice: float
    hd95_mm: float | None
    """Over the scans whose map has the structure; None where none has."""
    volume_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScores:
    """The scans of one method and one sequence."""

    method: str
    sequence: str
    scans: int
    structures: tuple[MeanScore, ...]
    """In the order of the canonical table."""

    @property
    def standard(self) -> tuple[MeanScore, ...]:
        """Those of the structures that are standard."""
        names = standard_names()
        return tuple(score for score in self.structures if score.structure in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of every scan, and their means."""

    scans: tuple[ScanScores, ...]
    groups: tuple[GroupScores, ...]
    rejections: tuple[Rejection, ...] = ()
    """Labeled scans that a method could not register: neither scored nor voting there."""
    notes: tuple[str, ...] = ()


def mean_dice(scores: Sequence[StructureScore | MeanScore]) -> float | None:
    """Each structure counts alike; None where there is none."""
    return float(np.mean([score.dice for score in scores])) if scores else None


def score_structures(
    labels: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    zooms_mm: Sequence[float] | NDArray[np.float64],
    names: Mapping[int, str] | None = None,
) -> tuple[StructureScore, ...]:
    """Score each number of `names` (default: all structures) that the truth holds; both (i, j, k)."""
    of_labels, of_truth = _boxes(labels), _boxes(truth)
    scored = []
    for number, name in (structure_names() if names is None else names).items():
        if (there := of_truth.get(number)) is None:
            continue
        box = _union(of_labels.get(number, there), there)
        mask, true_mask = (np.pad(array[box] == number, 1) for array in (labels, truth))
        scored.append(_score(name, mask, true_mask, zooms_mm))
    return tuple(scored)


def score_tissues(
    labels: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    zooms_mm: Sequence[float] | NDArray[np.float64],
    brain: NDArray[np.bool_] | None = None,
) -> tuple[StructureScore, ...]:
    """Score the tissues of `labels` (canonical) against a tissue map; with a brain mask, filled grey too."""
    scored = score_structures(tissue_map(labels), truth, zooms_mm, TISSUES)
    if brain is not None:
        masks = (filled_grey(labels, brain).astype(np.uint8), (truth == GREY).astype(np.uint8))
        scored += score_structures(*masks, zooms_mm, {1: FILLED})
    return scored


def tissue_map(canonical: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """1 CSF, 2 grey matter, 3 white matter, 0 neither, of a map in canonical numbers."""
    table = np.zeros(256, dtype=np.uint8)
    for number, row in canonical_table().items():
        found = _TISSUE_OF_CEREBELLUM.get(number)
        table[number] = _TISSUE_OF_GROUP[row.group] if found is None else found
    tissues: NDArray[np.uint8] = table[canonical]
    return tissues


def filled_grey(canonical: NDArray[np.uint8], brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Grey matter, and what of the brain mask has no tissue or is sulcal CSF."""
    tissues = tissue_map(canonical)
    open_to_fill = (tissues == 0) | (canonical == OUTER_CSF)
    filled: NDArray[np.bool_] = (tissues == GREY) | (open_to_fill & brain)
    return filled


def group_scores(scans: Iterable[ScanScores]) -> tuple[GroupScores, ...]:
    """Means over scans for each method, in the order of appearance, and sequence: T1w, T2w, FLAIR, none."""
    groups: dict[tuple[str, str], list[ScanScores]] = {}
    for scan in scans:
        groups.setdefault((scan.method, scan.sequence), []).append(scan)
    methods, sequences = [*dict.fromkeys(method for method, _ in groups)], [*SEQUENCES, ""]
    ordered = sorted(groups.items(), key=lambda g: (methods.index(g[0][0]), sequences.index(g[0][1])))
    return tuple(
        GroupScores(method=method, sequence=sequence, scans=len(members), structures=_means(members))
        for (method, sequence), members in ordered
    )


def _means(scans: Iterable[ScanScores]) -> tuple[MeanScore, ...]:
    found: dict[str, list[StructureScore]] = {}
    for scan in scans:
        for score in scan.structures:
            found.setdefault(score.structure, []).append(score)
    order = [*structure_names().values(), *TISSUES.values(), FILLED]
    means = []
    for structure, of_scans in sorted(found.items(), key=lambda item: order.index(item[0])):
        distances = [score.hd95_mm for score in of_scans if score.hd95_mm is not None]
        means.append(
            MeanScore(
                structure=structure,
                scans=len(of_scans),
                dice=float(np.mean([score.dice for score in of_scans])),
                hd95_mm=float(np.mean(distances)) if distances else None,
                volume_error=float(np.mean([score.volume_error for score in of_scans])),
            )
        )
    return tuple(means)


_Box = tuple[slice, ...]


def _boxes(labels: NDArray[np.uint8]) -> dict[int, _Box]:
    """The smallest box around each number, all in one pass."""
    return {number: box for number, box in enumerate(ndimage.find_objects(labels), 1) if box is not None}


def _union(one: _Box, other: _Box) -> _Box:
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))


def _score(
    name: str,
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    zooms_mm: Sequence[float] | NDArray[np.float64],
) -> StructureScore:
    """One structure on a box that holds both, with a voxel of margin."""
    volume, true_volume = int(mask.sum()), int(truth.sum())
    if not volume:
        return StructureScore(structure=name, dice=0.0, hd95_mm=None, volume_error=-1.0)
    edges = _surface(mask), _surface(truth)
    far_mm = [
        ndimage.distance_transform_edt(~here, sampling=zooms_mm)[there]
        for here, there in (edges, edges[::-1])
    ]
    return StructureScore(
        structure=name,
        dice=2 * int((mask & truth).sum()) / (volume + true_volume),
        hd95_mm=max(float(np.percentile(distances, 95)) for distances in far_mm),
        volume_error=volume / true_volume - 1,
    )


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    edge: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return edge
