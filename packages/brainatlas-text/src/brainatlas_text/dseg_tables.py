"""The table beside a BIDS label map (`dseg.tsv`): what its numbers mean, told by the names of structures.

Names are FreeSurfer's, or those of the canonical table, in any case and with any separators; the side may
stand first or last, as a word or a letter (`Left-Hippocampus`, `hippocampus_l`, `ctx-lh-insula`). The
abbreviation and BIDS's standard number (`mapping`) are asked where the name is not known; most of the
standard ones are tissues without a side and say nothing.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from brainatlas_text.errors import LabelError
from brainatlas_text.labels import Scheme, canonical_table, read_table, targets

MAX_BYTES = 8_000_000
"""Far more than FreeSurfer's whole table of names."""
_SIDES = {"left": "left", "lh": "left", "l": "left", "right": "right", "rh": "right", "r": "right"}
_STANDARD = {"0": "background", "3": "csf", "4": "bone", "5": "soft tissue", "6": "non brain", "7": "lesion"}
"""What column `mapping` may say: those of BIDS's standard numbers that need no side."""
_TISSUES = frozenset((
    "csf", "gm", "wm", "cgm", "sgm", "cbm", "bs", "st", "nb", "b", "l", "bg", "gray_matter",
    "white_matter", "cerebrospinal_fluid", "cortical_gray_matter", "subcortical_gray_matter",
    "deep_gray_matter", "brain_stem", "brainstem", "cerebellum", "lesion", "background", "unknown",
    "bone", "soft_tissue", "non_brain",
))  # fmt: skip


def read_dseg_table(path: Path) -> Scheme:
    """The scheme that a `dseg.tsv` states; raises LabelError for a file that is no such table."""
    canonical: dict[int, tuple[int, ...]] = {0: (0,)}
    unknown: dict[int, str] = {}
    for row in _rows(path):
        text, name = row["index"].strip(), row["name"].strip()
        if not re.fullmatch(r"\d+(\.0+)?", text):
            raise LabelError(
                f"{path}: expected whole numbers in column index, found {text!r}; correct the row"
            )
        number = int(float(text))
        also = (row.get("abbreviation") or row.get("abbr") or "", _STANDARD.get(row.get("mapping") or "", ""))
        found = next((known for n in (name, *also) if (known := canonical_of(n)) is not None), None)
        if found is None:
            unknown[number] = name
        elif canonical.setdefault(number, found) != found:
            raise LabelError(f"{path}: number {number} stands for two structures; correct the table")
    return Scheme(name=str(path), canonical=canonical, unknown=unknown)


def names_tissues_only(path: Path) -> bool:
    """Whether the table names tissues (grey matter, white matter, CSF) and no structure."""
    names = {"_".join(_words(row["name"])) for row in _rows(path)}
    return bool(names) and names <= _TISSUES


def canonical_of(name: str) -> tuple[int, ...] | None:
    """Canonical number of a structure by name, both sides' where place decides; None for an unknown name."""
    words = _words(name)
    sides = [word for word in words if word in _SIDES]
    if len(words) > 1 and len(sides) == 1:
        words.remove(sides[0])
        return _known_names().get((_SIDES[sides[0]], _pattern(words)))
    return _known_names().get(("unsided", _pattern(words)))


def _pattern(words: list[str]) -> str:
    """The name, or its beginning alone for FreeSurfer's cortical parcels and the white matter below them."""
    return (
        f"{words[0]} *"
        if len(words) > 1 and words[0] in ("ctx", "wm") and words != _HYPO
        else " ".join(words)
    )


_HYPO = ["wm", "hypointensities"]


def _words(name: str) -> list[str]:
    return [word.replace("grey", "gray") for word in re.findall(r"[a-z0-9]+", name.lower())]


@cache
def _known_names() -> dict[tuple[str, str], tuple[int, ...]]:
    """(side or `unsided`, name) -> canonical numbers."""
    known: dict[tuple[str, str], tuple[int, ...]] = {
        ("unsided" if row.side == "midline" else row.side, row.name): (row.number,)
        for row in canonical_table().values()
    }
    for row in read_table("label_names.tsv"):
        known |= {
            (side, row["name"]): targets(row[side]) for side in ("left", "right", "unsided") if row[side]
        }
    return known


def _rows(path: Path) -> Iterable[dict[str, str]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LabelError(f"{path}: larger than {MAX_BYTES / 1e6:.0f} MB; is it a table of labels?")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows = list(csv.DictReader(lines, delimiter="\t", restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(
            f"{path}: not a readable table ({' '.join(str(error).split())[:120]}); "
            "expected tab-separated columns index and name"
        ) from error
    found = rows[0].keys() if rows else lines[:1]
    if not {"index", "name"} <= set(found):
        raise LabelError(
            f"{path}: expected tab-separated columns index and name, "
            f"found {', '.join(map(str, found)) or 'nothing'}"
        )
    return rows
