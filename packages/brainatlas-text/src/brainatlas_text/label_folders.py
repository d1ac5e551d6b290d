"""Label maps in folders: find them, pair them by name, read them in canonical numbers on one grid.

Files are looked for below the folder, so that BIDS derivatives serve as they are. A map's numbers are told by
the BIDS table beside it (`..._dseg.tsv`, or `dseg.tsv` there or in a folder above); without one they are
FreeSurfer's, which the maps of a build are too. Two maps pair when the part of their names before the suffix
agrees; a truth named after a person (`sim001`) serves that person's sequences too (`sim001_T2`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainatlas_text import labels, scores, spaces, volumes
from brainatlas_text.dseg_tables import read_dseg_table
from brainatlas_text.errors import GeometryError, LabelError, SourceError
from brainatlas_text.records import Sequence
from brainatlas_text.volumes import Volume

SUFFIX = "_dseg.nii.gz"
MASK_SUFFIX = "_mask.nii.gz"
OFF_GRID_VOX = 0.1
"""By how much of a voxel two grids may lie apart and count as one: headers round."""
_SEQUENCE = re.compile(r"[-_](T1|T2|FLAIR)w?(?=[-_]|$)", re.IGNORECASE)
_SEQUENCES: dict[str, Sequence] = {"T1": "T1w", "T2": "T2w", "FLAIR": "FLAIR"}


@dataclass(frozen=True, slots=True)
class LabelMap:
    """A label map on disk and the BIDS table that tells its numbers, if there is one."""

    path: Path
    table: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPair:
    """A label map and the truth about it."""

    scan: str
    """What their names have in common, or the label map's own where it names its sequence."""
    sequence: str
    """`T1w`, `T2w` or `FLAIR`; empty where the name does not say."""
    labels: LabelMap
    truth: LabelMap
    mask: Path | None = None
    """The brain mask of the scan, where masks were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """What two folders have in common."""

    pairs: tuple[LabelPair, ...]
    left_out: tuple[str, ...]
    """Names of label maps without a truth."""


def pair_folders(
    folder: Path,
    truth: Path,
    suffix: str = SUFFIX,
    truth_suffix: str | None = None,
    masks: Path | None = None,
) -> Pairing:
    """Pair the maps of two folders, and brain masks with them; maps without a truth are left out.

    Raises SourceError where no two names agree, and for a truth or a brain mask without its partner: a scan
    that lost its labels on the way would flatter the mean.
    """
    found, true = _maps(folder, suffix), _maps(truth, truth_suffix or suffix)
    brains = {} if masks is None else _maps(masks, MASK_SUFFIX)
    names = {name: _partner(name, true) for name in found}
    pairs = [
        LabelPair(
            scan=name,
            sequence=sequence_of(name),
            labels=LabelMap(found[name], _table_of(found[name], folder)),
            truth=LabelMap(true[partner], _table_of(true[partner], truth)),
            mask=None if masks is None else _brain(name, brains, masks),
        )
        for name, partner in names.items()
        if partner is not None
    ]
    if not pairs:
        raise SourceError(
            f"{folder}: no name agrees with one in {truth}; without the endings they are "
            f"{next(iter(found))}, ... and {next(iter(true))}, ...; rename the files or give their endings"
        )
    if without := sorted(true.keys() - set(names.values())):
        raise SourceError(
            f"{true[without[0]]}: {folder} holds no labels {without[0]}{suffix} for this truth"
            f"{_others(without)}; add them, or take the truth away"
        )
    left_out = tuple(name for name, partner in names.items() if partner is None)
    return Pairing(pairs=tuple(pairs), left_out=left_out)


def sequence_of(name: str) -> str:
    """The sequence that a name states, such as T2w of `sim001_T2`; empty where it states none."""
    found = _SEQUENCE.search(name)
    return _SEQUENCES[found[1].upper()] if found else ""


def read_pair(pair: LabelPair, *, tissue: bool) -> tuple[NDArray[np.uint8], Volume, NDArray[np.bool_] | None]:
    """Labels (canonical), truth (canonical; with `tissue` a tissue map) and brain mask, on the truth's grid.

    Raises GeometryError where the grids differ and LabelError for a number that is not known.
    """
    where = pair.truth.path
    truth = read_tissues(pair.truth) if tissue else read_canonical(pair.truth)
    if not truth.array.any():
        raise LabelError(f"{where}: this truth holds no labels; correct or remove it")
    given = on_grid_of(truth, read_canonical(pair.labels), pair.labels.path, where)
    if pair.mask is None:
        return given, truth, None
    return given, truth, on_grid_of(truth, volumes.load_labels(pair.mask), pair.mask, where) > 0


def read_canonical(file: LabelMap) -> Volume:
    """A label map as uint8 in canonical numbers, closest-RAS order."""
    return _canonical(file, volumes.load_labels(file.path))


def read_tissues(file: LabelMap) -> Volume:
    """A map as tissues: as it is where it holds only 0 to 3, else by what its structures are made of."""
    stored = volumes.load_labels(file.path)
    if stored.array.min() >= 0 and stored.array.max() <= scores.WHITE:
        return Volume(stored.array.astype(np.uint8), stored.affine)
    return Volume(scores.tissue_map(_canonical(file, stored).array), stored.affine)


def on_grid_of(truth: Volume, given: Volume, path: Path, truth_path: Path) -> NDArray[np.uint8]:
    """The array of `given` in the axis order of `truth`; GeometryError where they are not on one grid."""
    truth_vox_from_given_vox = spaces.invert(truth.affine) @ given.affine
    turned = volumes.to_closest_ras(Volume(given.array, truth_vox_from_given_vox))
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(truth.shape) - 1)
    off = np.abs(spaces.apply(turned.affine, corners) - corners).max()
    if turned.shape != truth.shape or off > OFF_GRID_VOX:
        raise GeometryError(
            f"{path}: not on the voxel grid of {truth_path} ({_grid(given)} and {_grid(truth)}, up to "
            f"{off:.1f} voxels apart); resample one onto the other by nearest neighbor"
        )
    return np.ascontiguousarray(turned.array)


def _canonical(file: LabelMap, stored: Volume) -> Volume:
    scheme = read_dseg_table(file.table) if file.table else labels.scheme("freesurfer")
    return Volume(labels.to_canonical(stored.array, scheme, str(file.path)), stored.affine)


def _table_of(path: Path, root: Path) -> Path | None:
    """The BIDS table of a map: its own, or the nearest one that its folder inherits below `root`."""
    own = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    folders = [folder for folder in path.parents if folder.is_relative_to(root)]
    tables = (own, *(folder / "dseg.tsv" for folder in folders))
    return next((table for table in tables if table.is_file()), None)


def _maps(folder: Path, suffix: str) -> dict[str, Path]:
    """Files below a folder by the part of their names before the suffix."""
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder; expected one with files ending in {suffix}")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob(f"*{suffix}")):
        name = path.name.removesuffix(suffix)
        if name in found:
            raise SourceError(f"{path}: has the same name as {found[name]}; keep one of them")
        found[name] = path
    if not found:
        raise SourceError(f"{folder}: no file ends in {suffix}; give the folder or the ending of label maps")
    return found


def _partner(name: str, true: Mapping[str, Path]) -> str | None:
    person = _SEQUENCE.sub("", name)
    return next((known for known in (name, person) if known in true), None)


def _brain(name: str, brains: Mapping[str, Path], folder: Path) -> Path:
    if (known := _partner(name, brains)) is None:
        raise SourceError(f"{folder}: no brain mask {name}{MASK_SUFFIX}; add it")
    return brains[known]


def _others(names: list[str]) -> str:
    return f" (nor for {len(names) - 1} others)" if len(names) > 1 else ""


def _grid(volume: Volume) -> str:
    zooms = "/".join(f"{zoom:.3g}" for zoom in volume.zooms_mm)
    return f"{'x'.join(map(str, volume.shape))} of {zooms} mm"
