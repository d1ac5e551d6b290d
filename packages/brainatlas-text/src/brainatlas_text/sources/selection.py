"""Which of the scans found are used: by list, by preset, by health; and who is the same person as whom.

All of it belongs to the identity of a data set. The preset `paper` has the numbers of the paper, which does
not say whom it took; `PAPER` is our rule.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from brainatlas_text.errors import SourceError
from brainatlas_text.records import PreparedScan, Rejection, SourceScan
from brainatlas_text.records import Sequence as MriSequence
from brainatlas_text.sources.ixi import SCANNERS

AnyScan = SourceScan | PreparedScan
"""An atlas lends scans that are prepared already; who they are is told alike."""
MAX_BYTES = 8_000_000
_HEADINGS = frozenset(("subject", "subjects", "participant_id", "scan", "key", "id", "same_as"))
_ODD_YEARS = 10.0
"""Ages of one person in two sources may differ; by more than this it is worth a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is taken of the scans that the sources hold."""

    subjects: Path | str | None = None
    """A file of subject ids or scan keys, one a line; or `paper`; None for all."""
    healthy_only: bool = True
    """Leave out who fails the source's own criterion of health."""
    same_person: Path | None = None
    """A file of two ids a line that are one person: the second one's scans get the first one's subject."""
    average_repeats: bool = False
    """Average the repeats of a session instead of using the first one."""

    def flags(self) -> list[str]:
        """What was asked for, as it is compared when a build goes on; files count by what they say."""
        chosen = []
        if self.subjects is not None:
            ids = "paper" if self.subjects == "paper" else _fingerprint(read_ids(Path(self.subjects), 1))
            chosen.append(f"--subjects {ids}")
        if self.same_person is not None:
            chosen.append(f"--same-person {_fingerprint(read_ids(self.same_person, 2))}")
        if not self.healthy_only:
            chosen.append("--all-people")
        if self.average_repeats:
            chosen.append("--average-repeats")
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What the preset takes of one source: the first scans by key."""

    sequence: MriSequence
    scans: int
    one_a_person: bool = True
    first_from: str | None = None
    """Scanner whose scans go before all others."""


PAPER: Mapping[str, Quota] = {
    "ibsr": Quota(sequence="T1w", scans=18),
    "oasis": Quota(sequence="T1w", scans=77),
    "ixi": Quota(sequence="T2w", scans=64, first_from=SCANNERS["IOP"]),
    "kirby": Quota(sequence="FLAIR", scans=42, one_a_person=False),
}
"""18 + 77 + 64 + 42 = 201 scans: the paper's numbers, by our rule."""


def read_ids(path: Path, num_columns: int) -> tuple[tuple[str, ...], ...]:
    """Rows of one or two ids; `#` begins a comment, a heading is passed over.

    Further columns of a table are not read. Raises SourceError for a file that cannot be read or a line with
    too few ids.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SourceError(f"{path}: larger than {MAX_BYTES / 1e6:.0f} MB; expected a list of ids")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SourceError(f"{path}: {reason}; expected a list of subject ids, one a line") from error
    rows: list[tuple[str, ...]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        ids = [word for word in re.split(r"[\s,;]+", line.partition("#")[0].strip()) if word]
        if not ids or (not rows and ids[0].lower() in _HEADINGS):
            continue
        if len(ids) < num_columns:
            raise SourceError(
                f"{path}, line {number}: expected two ids of one person, found {line.strip()!r}"
            )
        rows.append(tuple(word.lower() for word in ids[:num_columns]))
    if not rows:
        raise SourceError(f"{path}: no ids in it; expected one a line, such as ixi-002 or kirby-113-2-flair")
    return tuple(rows)


def _fingerprint(rows: Sequence[tuple[str, ...]]) -> str:
    """Length and hash of a list; order and comments do not count."""
    text = "\n".join(sorted({" ".join(row) for row in rows}))
    return f"{len(set(rows))} lines, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def join_people(scans: Sequence[AnyScan], path: Path) -> tuple[AnyScan, ...]:
    """Give scans of one person one subject, that of the id named first; facts that contradict get a note."""
    subjects = {name: scan.subject for scan in scans for name in _names(scan, scans)}
    same: dict[str, str] = {}
    for row in read_ids(path, 2):
        first, second = (_root(same, _found(name, subjects, path)) for name in row)
        if first != second:
            same[second] = first
    joined = [replace(scan, subject=_root(same, scan.subject)) for scan in scans]
    people: dict[str, list[AnyScan]] = {}
    for scan in joined:
        people.setdefault(scan.subject, []).append(scan)
    changed = {_root(same, subject) for subject in same}
    notes = {subject: _contradictions(people[subject]) for subject in changed}
    return tuple(replace(scan, notes=(*scan.notes, *notes.get(scan.subject, ()))) for scan in joined)


def select(
    scans: Sequence[SourceScan], rejections: Sequence[Rejection], path: Path, asked: Sequence[SourceScan]
) -> tuple[tuple[SourceScan, ...], tuple[Rejection, ...], tuple[str, ...]]:
    """The scans and rejections that a list names, and a note on how many it leaves.

    `asked` are the same scans before people were joined, whose ids count as well.
    """
    wanted = {row[0] for row in read_ids(path, 1)}
    names = {
        scan.key: {scan.subject, *_names(before, asked)} for scan, before in zip(scans, asked, strict=True)
    }
    refused = {
        item: {item.key} | {item.key.rsplit("-", cut)[0] for cut in range(1, item.key.count("-"))}
        for item in rejections
    }
    known = set().union(*names.values(), *refused.values())
    unknown = sorted(wanted - known)
    if unknown:
        near = get_close_matches(unknown[0], sorted(known), n=1, cutoff=0.5)
        others = f" (nor do {len(unknown) - 1} others)" if len(unknown) > 1 else ""
        raise SourceError(
            f"{path}: {unknown[0]} fits no subject or scan found{others}"
            + (f"; did you mean {near[0]}?" if near else "; ids look like ixi-002 or kirby-113-2-flair")
        )
    kept = tuple(scan for scan in scans if names[scan.key] & wanted)
    note = f"{path}: {len(kept)} of {len(scans)} scans are selected"
    return kept, tuple(item for item in rejections if refused[item] & wanted), (note,)


def select_paper(scans: Sequence[SourceScan]) -> tuple[tuple[SourceScan, ...], tuple[str, ...]]:
    """The scans of the preset, and a note for each source that has fewer than the paper took."""
    kept: list[SourceScan] = []
    notes = []
    for source in dict.fromkeys(scan.source for scan in scans):
        if source not in PAPER:
            raise SourceError(
                f"--subjects paper: {source} is none of the paper's sources ({', '.join(PAPER)}); "
                "leave it out or list the subjects in a file"
            )
        quota = PAPER[source]
        chosen = _first(scans, source, quota)
        kept += chosen
        found = f"{len(chosen)} of {quota.scans} {quota.sequence} scans of {source}"
        notes.append(
            f"--subjects paper: {found}" + ("" if len(chosen) == quota.scans else ", no more are here")
        )
    return tuple(sorted(kept, key=lambda scan: scan.key)), tuple(notes)


def _first(scans: Iterable[SourceScan], source: str, quota: Quota) -> list[SourceScan]:
    fitting = [scan for scan in scans if scan.source == source and scan.sequence == quota.sequence]
    fitting.sort(key=lambda scan: (quota.first_from not in (None, scan.facts.scanner), scan.key))
    taken = Counter[str]()
    chosen: list[SourceScan] = []
    for scan in fitting:
        if not (quota.one_a_person and taken[scan.subject]) and len(chosen) < quota.scans:
            taken[scan.subject] += 1
            chosen.append(scan)
    return chosen


def _names(scan: AnyScan, scans: Sequence[AnyScan]) -> tuple[str, ...]:
    """Ids of a scan in a list: its key, its person, and `sub-01` where there is one BIDS folder only."""
    of_bids = {other.source for other in scans} - PAPER.keys()
    label = scan.subject.removeprefix(f"{scan.source}-")
    return (scan.key, scan.subject, *([f"sub-{label}"] if of_bids == {scan.source} else []))


def _found(name: str, subjects: Mapping[str, str], path: Path) -> str:
    if name not in subjects:
        near = get_close_matches(name, sorted(subjects), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "ids look like ixi-002 or kirby-113-2-flair"
        raise SourceError(f"{path}: {name} fits no subject or scan found; {hint}")
    return subjects[name]


def _root(same: Mapping[str, str], subject: str) -> str:
    while subject in same:
        subject = same[subject]
    return subject


def _contradictions(scans: Sequence[AnyScan]) -> tuple[str, ...]:
    """What the sources say differently of one person."""
    notes = []
    sexes = sorted({scan.facts.sex for scan in scans if scan.facts.sex is not None})
    ages = sorted({scan.facts.age_years for scan in scans if scan.facts.age_years is not None})
    who = f"joined as one person ({', '.join(sorted({scan.source for scan in scans}))})"
    if len(sexes) > 1:
        notes.append(f"{who}, but the sex differs ({', '.join(sexes)})")
    if ages and ages[-1] - ages[0] > _ODD_YEARS:
        notes.append(f"{who}, but the ages are {ages[0]:g} and {ages[-1]:g}")
    return tuple(notes)
