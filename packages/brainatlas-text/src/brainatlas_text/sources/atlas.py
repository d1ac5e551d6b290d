"""Labeled people from elsewhere, who vote in a build and are no part of it (`--atlas`).

Input: what a folder holds, or the data set folder of another build. Output: the scans that vote, `atlas-` in
front of their keys. Of another build the prepared scans are taken as they are; labels that were voted there
do not vote again. Registration to the hub is this build's own, so that any hub will do.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from brainatlas_text.errors import SourceError, one_line
from brainatlas_text.records import ATLAS_KEY, PreparedScan, SourceScan
from brainatlas_text.sources.discovery import Discovery

LentScan = SourceScan | PreparedScan
"""To be prepared here, or prepared by another build: then its paths are absolute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """The labeled scans of one atlas."""

    scans: tuple[LentScan, ...]
    note: str
    """How many people and scans vote, and what of the folder does not."""


def is_data_set(folder: Path) -> bool:
    """Whether a folder was made by `build`."""
    return (folder / "recipe.toml").is_file()


def of_folder(folder: Path, found: Discovery) -> Lent:
    """The labeled scans of a source or BIDS folder; raises SourceError where there are none."""
    labeled = tuple(scan for scan in found.scans if scan.dseg is not None)
    if not labeled:
        said = "; ".join((*found.notes, *sorted({item.detail for item in found.rejections})))
        raise SourceError(
            f"--atlas {folder}: {len(found.scans)} scans, none with a label map; expected images with "
            "theirs, such as sub-01_T1w.nii.gz and sub-01_dseg.nii.gz with a dseg.tsv"
            + (f" ({said})" if said else "")
        )
    return _lent(folder, labeled, len(found.scans), Counter(item.reason for item in found.rejections))


def of_data_set(folder: Path) -> Lent:
    """The labeled scans of another build, as it prepared them; raises SourceError where there are none."""
    try:
        keys = pq.read_table(folder / "scans.parquet", columns=["key"])["key"].to_pylist()
    except FileNotFoundError as error:
        raise SourceError(f"--atlas {folder}: its build has not finished; run that first") from error
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"--atlas {folder}: scans.parquet cannot be read ({one_line(str(error))}); run its build again"
        ) from error
    scans = [_prepared(folder, key) for key in keys]
    labeled = tuple(scan for scan in scans if scan.dseg is not None)
    if not labeled:
        raise SourceError(
            f"--atlas {folder}: none of its {len(scans)} scans has labels of its own (labels that were voted "
            "there do not vote again); give a data set with labeled people, such as those of ibsr"
        )
    return _lent(folder, labeled, len(scans), {})


def without_repeats(atlases: Iterable[Lent]) -> list[Lent]:
    """The atlases without scans that an earlier one lends under the same key."""
    known: set[str] = set()
    different = []
    for one in atlases:
        scans = tuple(scan for scan in one.scans if scan.key not in known)
        repeated = len(one.scans) - len(scans)
        note = (
            f"{one.note}; {repeated} of these scans are lent by an earlier --atlas" if repeated else one.note
        )
        different.append(Lent(scans=scans, note=note))
        known |= {scan.key for scan in scans}
    return different


def _prepared(folder: Path, key: str) -> PreparedScan:
    """The done-record of a scan, its paths made absolute."""
    path = folder / "work" / "records" / "prepare" / f"{key}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))["payload"]["result"]
        scan = TypeAdapter(PreparedScan).validate_python(record)
    except OSError as error:
        raise SourceError(
            f"--atlas {folder}: {path} is missing; a data set lends its labels only with its work folder"
        ) from error
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise SourceError(
            f"--atlas {folder}: {path} was noted by another version of brainatlas-text; run its build again"
        ) from error
    home = folder.resolve()
    dseg = home / scan.dseg if scan.dseg else None
    return replace(scan, image=home / scan.image, mask=home / scan.mask, look=home / scan.look, dseg=dseg)


def _lent(folder: Path, labeled: Iterable[LentScan], num_scans: int, refused: Mapping[str, int]) -> Lent:
    scans = tuple(replace(scan, key=f"{ATLAS_KEY}{scan.key}") for scan in labeled)
    people = len({scan.subject for scan in scans})
    without = [f"{num_scans - len(scans)} scans without labels"] if num_scans > len(scans) else []
    without += [f"{reason}: {number}" for reason, number in sorted(refused.items())]
    note = f"{folder.resolve().name}: {people} labeled people vote with {len(scans)} scans"
    return Lent(scans=scans, note=note + (f"; not used: {', '.join(without)}" if without else ""))
