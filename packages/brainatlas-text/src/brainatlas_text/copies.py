"""Copies across splits that no name gives away: equal pictures, and one person under two ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from brainatlas_text.evidence import CheckResult, Evidence, and_, counted, few
from brainatlas_text.lookalikes import (
    MIN_BEYOND,
    MIN_BEYOND_SEQUENCES,
    MIN_LIKENESS,
    Compared,
    Likeness,
    Search,
    search,
)
from brainatlas_text.shard_contents import BLANK, FEWEST_PIXELS, HASH_BYTES, ShardContents, keys_of


def check_pictures(evidence: Evidence) -> CheckResult:
    """No picture of one split lies in another, by a hash of its pixels."""
    contents = evidence.contents
    hashes = [np.frombuffer(item.hashes, dtype=f"S{HASH_BYTES}") for item in contents]
    shard = np.repeat(np.arange(len(contents)), [item.size for item in hashes])
    place = np.concatenate([np.arange(0), *(np.arange(item.size) for item in hashes)])
    first = np.frombuffer(BLANK, dtype=f"S{HASH_BYTES}")
    picture = np.unique(np.concatenate([first, *hashes]), return_inverse=True)[1]
    blank, picture = picture[0], picture[1:]
    folders = sorted({item.split for item in contents}, reverse=True)
    split = np.array([folders.index(item.split) for item in contents], dtype=int)[shard]
    twice = [which for which in _in_two_splits(picture, split).tolist() if which != blank]
    num_blank = int(np.count_nonzero(picture == blank))

    def named(which: int) -> str:
        """All samples that show a picture."""
        found = np.flatnonzero(picture == which)
        where = [(contents[shard[i]], int(place[i])) for i in found[np.argsort(split[found], kind="stable")]]
        return (
            f"the same picture: {and_(f'{keys_of(evidence.root, c.path)[i]} ({c.split})' for c, i in where)}"
        )

    return CheckResult(
        check="pictures",
        proof=f"the pixels of {picture.size - num_blank} pictures ({counted(_per_split(contents))} samples), "
        f"by their hashes; {num_blank} that show less than {FEWEST_PIXELS} pixels were left out",
        breaches=tuple(few(map(named, twice), len(twice))),
        figures={"pictures": int(picture.size), "left_out": num_blank, "in_two_splits": len(twice)},
    )


def check_lookalikes(evidence: Evidence) -> CheckResult:
    """No two persons of different splits whose scans are so alike that they are one."""
    if not (evidence.root / "work").is_dir():
        return CheckResult(
            check="lookalikes",
            proof="no scans were compared",
            unproven="whether one person has two ids shows in the prepared scans, which lie in work/ and are "
            "never published; verify the folder that was built",
        )
    compared = _natives(evidence)
    found = search(evidence.root, compared, evidence.atlas.recipe.register_.hub_files, evidence.engine)
    across = [item for item in found.suspects if item.splits[0] != item.splits[1]]
    within = [item for item in found.suspects if item.splits[0] == item.splits[1]]
    return CheckResult(
        check="lookalikes",
        proof=_proof(len(compared), found),
        breaches=tuple(f"{_pair(item)} look like one person" for item in across),
        notes=(
            *(f"{_pair(item)} look like one person counted as two" for item in within),
            *(
                f"{_pair(item)} are one person and do not look it"
                for item in found.known
                if not item.one_person
            ),
        ),
        figures={"scans": len(compared), **asdict(found)},
    )


def _natives(evidence: Evidence) -> list[Compared]:
    """The scans of the plan, with the persons and splits that it states."""
    scans = evidence.atlas.scans
    return [
        Compared(
            subject=pair.moving_subject,
            split=pair.split,
            prepared=scans[pair.moving].prepared,
            transform=scans[pair.moving].transform,
        )
        for pair in evidence.atlas.plan.values()
        if pair.moving == pair.fixed and pair.split is not None
    ]


def _in_two_splits(picture: NDArray[np.intp], split: NDArray[np.intp]) -> NDArray[np.intp]:
    """Numbers of the pictures that are in more than one split."""
    count = int(picture.max(initial=-1)) + 1
    lowest, highest = np.full(count, split.max(initial=0) + 1), np.full(count, -1)
    np.minimum.at(lowest, picture, split)
    np.maximum.at(highest, picture, split)
    return np.flatnonzero(lowest < highest)


def _per_split(contents: Iterable[ShardContents]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for item in contents:
        counts[item.split] += item.num_samples
    return counts


def _proof(num_scans: int, found: Search) -> str:
    """What was compared, how near the nearest came, and why the limit lies where it does."""
    said = [
        f"{num_scans} scans, {found.num_pairs} pairs of different people, {found.num_across} of them across "
        "splits, each also mirrored, by the direction of their edges in the hub"
    ]
    if found.nearest_across:
        said.append(f"most alike across splits: {_pair(found.nearest_across)}")
    said.append(
        f"one person from likeness {MIN_LIKENESS} on, if it is {MIN_BEYOND} beyond what all others have in "
        f"common ({MIN_BEYOND_SEQUENCES} between sequences; why: docs/explanation/splits.md)"
    )
    if found.known:
        seen = sum(item.one_person for item in found.known)
        lowest = found.known[0].likeness
        said.append(
            f"of {len(found.known)} pairs known to be of one person {seen} look it, from {lowest:.3f} on"
        )
    return "; ".join(said)


def _pair(item: Likeness) -> str:
    turned = ", one mirrored" if item.mirrored else ""
    one, other = (
        f"{key} ({subject}, {split})"
        for key, subject, split in zip(item.keys, item.subjects, item.splits, strict=True)
    )
    figures = f"likeness {item.likeness:.3f}, {item.beyond:.3f} beyond the others{turned}"
    return f"{one} and {other} ({figures})"
