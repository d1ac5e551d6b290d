"""Kirby21: 21 healthy people scanned twice; MPRAGE, FLAIR and T2w in NIfTI.

Two layouts: NITRC's `KKI2009-33-FLAIR.nii[.gz]`, numbered by scan, in folders by sequence or by scan or flat,
which is preferred, and `visit_2/113/113-02-FLAIR.nii.gz`, by person and visit. Scan numbers are not paired in
order; who is who is said by `tables/kirby_visits.tsv` (the pairing that the R package kirby21.base
publishes), or by a map beside the scans. SURVEY files are localizers of nine slices, not scans of a brain.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brainatlas_text.labels import read_table
from brainatlas_text.records import Facts, Rejection, SourceScan
from brainatlas_text.records import Sequence as MriSequence
from brainatlas_text.sources import tabular
from brainatlas_text.sources.discovery import Discovery, Form, choose, list_files, reject

_SEQUENCES: dict[str, MriSequence] = {
    "MPRAGE": "T1w", "T1": "T1w", "T1W": "T1w", "T2": "T2w", "T2W": "T2w", "FLAIR": "FLAIR",
}  # fmt: skip
_NITRC = re.compile(r"KKI2009-(?P<scan>\d\d)-(?P<name>[A-Z0-9]+)\.nii(\.gz)?", re.I)
_BY_PERSON = re.compile(r"(?P<person>\d{3})-0(?P<visit>[12])-(?P<name>[A-Z0-9]+)\.nii(\.gz)?", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One person in the scanner; of a scan that no map knows the number stands for the person."""

    person: str
    visit: int | None

    @property
    def prefix(self) -> str:
        """Start of the keys of this session's scans."""
        return f"kirby-{self.person}" + (f"-{self.visit}" if self.visit else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """What the source's spreadsheets say."""

    sessions: Mapping[int, Session]
    """By KKI2009 number."""
    by_person: Mapping[str, Facts]
    by_scan: Mapping[int, Facts]
    notes: tuple[str, ...]


def discover(folder: Path) -> Discovery:
    """Find the scans below the folder of this source."""
    files = list_files(folder)
    people = _people(files)
    numbers = {session: number for number, session in people.sessions.items()}
    forms: list[Form] = []
    localizers: list[Rejection] = []
    unused = Counter[str]()
    masks: dict[Session, Path] = {}
    named = [(path, found) for path in files if (found := _identify(path, people))]
    for path, (session, name, _) in named:
        if name == "BRAINMASK":
            masks.setdefault(session, path)
    for path, (session, name, rank) in named:
        if name in _SEQUENCES:
            number = numbers.get(session) or _scan_number(path)
            scan = _scan(session, number, _SEQUENCES[name], path, people, masks)
            forms.append(Form(rank=rank, scan=scan))
        elif name == "SURVEY":
            detail = f"{path}: a localizer of a few thick slices, not a scan of the whole brain"
            localizers.append(reject(f"{session.prefix}-survey", "localizer", detail))
        elif name != "BRAINMASK":
            unused[name] += 1
    scans, rejections = choose(forms)
    notes = people.notes
    if unused:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(unused.items()))
        notes += (f"files of sequences that are not used: {counts}",)
    return Discovery(scans=scans, rejections=(*rejections, *localizers), notes=notes)


def _identify(path: Path, people: People) -> tuple[Session, str, int] | None:
    """Session, upper-case name of the sequence and rank of the layout; None for other files."""
    if match := _NITRC.fullmatch(path.name):
        number = int(match["scan"])
        alone = Session(person=f"kki{number:02d}", visit=None)
        return people.sessions.get(number, alone), match["name"].upper(), 0
    if match := _BY_PERSON.fullmatch(path.name):
        return Session(person=match["person"], visit=int(match["visit"])), match["name"].upper(), 1
    return None


def _scan_number(path: Path) -> int | None:
    match = _NITRC.fullmatch(path.name)
    return int(match["scan"]) if match else None


def _scan(
    session: Session,
    number: int | None,
    sequence: MriSequence,
    path: Path,
    people: People,
    masks: Mapping[Session, Path],
) -> SourceScan:
    facts, notes = _facts(session, number, people)
    if session.visit is None:
        notes = (
            *notes,
            "in no visit map: who this is is unknown, the scan counts as a person of its own",
        )
    return SourceScan(
        key=f"{session.prefix}-{sequence.lower()}",
        subject=f"kirby-{session.person}",
        source="kirby",
        sequence=sequence,
        image=path,
        mask=masks.get(session) if sequence == "T1w" else None,
        facts=facts,
        terms="kirby",
        notes=notes,
    )


def _facts(session: Session, number: int | None, people: People) -> tuple[Facts, tuple[str, ...]]:
    """Facts of person and scan joined; what they contradict each other in stays unknown."""
    known = [people.by_person.get(session.person), people.by_scan.get(number or 0)]
    stated = [facts for facts in known if facts]
    ages = sorted({facts.age_years for facts in stated if facts.age_years is not None})
    sexes = sorted({facts.sex for facts in stated if facts.sex is not None})
    notes = () if stated else ("not in any spreadsheet; age and sex unknown",)
    if len(ages) > 1 or len(sexes) > 1:
        notes = ("the spreadsheets contradict each other about this person; what differs stays unknown",)
    facts = Facts(
        age_years=ages[0] if len(ages) == 1 else None,
        sex=sexes[0] if len(sexes) == 1 else None,
        healthy=True,
    )
    return facts, notes


def _people(files: list[Path]) -> People:
    who = {"sex": "SEX|GENDER", "age": "AGE"}
    demography = tabular.find_table(
        files, ("kirby21_demog*.csv", "kirby21_demog*.xls*"), who | {"id": "SUBJECT_ID"}
    )
    per_scan = tabular.find_table(files, ("kirby_info*.csv", "kirby_info*.xls*"), who | {"id": "ID"})
    columns = {"number": "VISIT_ID", "person": "SUBJECT_ID", "visit": "SUBJ_VISIT"}
    visits = tabular.find_table(files, ("subject_id_to_visit_id*.csv",), columns, required=tuple(columns))
    notes = [] if demography.rows or per_scan.rows else [*demography.notes, *per_scan.notes]
    return People(
        sessions=_published_sessions() | _sessions(visits),
        by_person={f"{number:03d}": facts for number, facts in _by_number(demography).items()},
        by_scan=_by_number(per_scan),
        notes=tuple(notes),
    )


def _by_number(table: tabular.Table) -> dict[int, Facts]:
    return {
        number: Facts(age_years=tabular.age(row.get("age")), sex=tabular.sex(row.get("sex")))
        for row in table.rows
        if (number := tabular.whole(row.get("id"))) is not None
    }


def _published_sessions() -> dict[int, Session]:
    """All 42 scans of the data set."""
    return {
        int(row["scan"]): Session(person=row["person"], visit=int(row["visit"]))
        for row in read_table("kirby_visits.tsv")
    }


def _sessions(table: tabular.Table) -> dict[int, Session]:
    sessions = {}
    for row in table.rows:
        number, person, visit = (tabular.whole(row.get(name)) for name in ("number", "person", "visit"))
        if number is not None and person is not None and visit is not None:
            sessions[number] = Session(person=f"{person:03d}", visit=visit)
    return sessions
