"""What a BIDS folder says of its people: `participants.tsv`, `sessions.tsv` and the `.json` beside them.

Ages come in years unless the `.json` names another unit; a session's own age goes before the participant's.
`89+` and the like are no ages, and sexes in codes that no `.json` explains are not known: nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainatlas_text.records import Facts, Sex
from brainatlas_text.sources import tabular

HEALTH_COLUMNS = (
    "diagnosis",
    "dx",
    "healthy",
    "health",
    "clinical_status",
    "patient_status",
    "group",
    "patho",
)
"""Columns that may say who is healthy; the first one in which a value clearly does."""
_HEALTHY = frozenset((
    "control", "controls", "healthy", "hc", "cn", "nc", "td", "ctrl", "con", "normal", "healthy_control",
    "healthy_controls", "healthy_volunteer", "healthy_volunteers", "healthy_subject", "normal_control",
    "cognitively_normal", "typically_developing", "unaffected",
))  # fmt: skip
_UNKNOWN = frozenset(("", "n/a", "na", "nan", "none", "unknown", "other", "o"))
_YES = frozenset(("yes", "y", "true", "1"))
_YEARS = (("year|yrs?$|y$", 1.0), ("month|mos?$", 1 / 12), ("week|wks?$", 7 / 365.25), ("day|d$", 1 / 365.25))
_COLUMNS = {"id": "participant_id", "age": "age", "sex": "sex|gender", "session": "session_id|session"}


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The tables of a BIDS folder."""

    folder: Path
    rows: Mapping[str, tuple[tabular.Row, ...]]
    """Of `participants.tsv`, by label without `sub-`."""
    about: Mapping[str, Any]
    """`participants.json`."""
    health_column: str | None
    notes: tuple[str, ...]

    @property
    def health_criterion(self) -> str:
        """What makes a person healthy by this folder's account."""
        if self.health_column is None:
            return "none stated"
        return f"a value for healthy people or controls in column {self.health_column} of participants.tsv"


def read_people(folder: Path) -> People:
    """Read the tables that concern all people; never raises for their content."""
    columns = _COLUMNS | {name: name for name in HEALTH_COLUMNS}
    optional = ("session", *HEALTH_COLUMNS)
    table = tabular.find_table(
        [folder / "participants.tsv"] if (folder / "participants.tsv").is_file() else [],
        ("participants.tsv",), columns, optional=optional,
    )  # fmt: skip
    rows: dict[str, tuple[tabular.Row, ...]] = {}
    for row in table.rows:
        label = row.get("id", "").removeprefix("sub-")
        rows[label] = (*rows.get(label, ()), row)
    about = read_json(folder / "participants.json")
    clear = (
        name for name in HEALTH_COLUMNS if any(_is_healthy(row.get(name), about, name) for row in table.rows)
    )
    return People(folder=folder, rows=rows, about=about, health_column=next(clear, None), notes=table.notes)


def facts_of(people: People, subject: str, session: str | None) -> tuple[Facts, tuple[str, ...]]:
    """Facts of one person in one session, and what is odd about them."""
    rows = people.rows.get(subject, ())
    if any(row.get("session") for row in rows):
        rows = tuple(row for row in rows if row.get("session", "").removeprefix("ses-") == session) or rows
    notes = [] if rows else [f"sub-{subject} is not in participants.tsv; age, sex and health unknown"]
    age, more = _session_age(people, subject, session)
    if age is None and not more:
        age, more = _age([row.get("age") for row in rows], people.about)
    sexes = {sex for row in rows if (sex := _sex(row.get("sex"), people.about)) is not None}
    stated = {row["sex"] for row in rows if row.get("sex", "").lower() not in _UNKNOWN}
    if len(sexes) > 1:
        notes.append(f"participants.tsv has several sexes for sub-{subject}; sex unknown")
    elif stated and not sexes:
        notes.append(f"participants.tsv gives sex as {', '.join(sorted(stated))}, which is not explained")
    return (
        Facts(
            age_years=age,
            sex=next(iter(sexes)) if len(sexes) == 1 else None,
            healthy=_health(rows, people),
        ),
        (*notes, *more),
    )


def read_json(path: Path) -> Mapping[str, Any]:
    """A `.json` object; empty where there is none or it cannot be read."""
    try:
        if path.stat().st_size > tabular.MAX_BYTES:
            return {}
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _session_age(people: People, subject: str, session: str | None) -> tuple[float | None, tuple[str, ...]]:
    """Age by `sub-X_sessions.tsv`."""
    path = people.folder / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
    if session is None or not path.is_file():
        return None, ()
    table = tabular.find_table(
        [path], ("*_sessions.tsv",), {"id": "session_id", "age": "age"}, optional=("age",)
    )
    ages = [row.get("age") for row in table.rows if row.get("id", "").removeprefix("ses-") == session]
    about = read_json(path.with_suffix(".json")) or read_json(people.folder / "sessions.json")
    return _age(ages, about) if ages else (None, table.notes)


def _age(texts: Iterable[str | None], about: Mapping[str, Any]) -> tuple[float | None, tuple[str, ...]]:
    stated = sorted({text for text in texts if text and text.lower() not in _UNKNOWN})
    if not stated:
        return None, ()
    unit = str(_column(about, "age").get("Units") or "years").strip().lower()
    factor = next((years for pattern, years in _YEARS if re.match(pattern, unit)), None)
    values = {number * factor for text in stated if (number := tabular.number(text)) is not None and factor}
    if len(stated) == 1 and len(values) == 1 and 0 < (age := values.pop()) < 120:
        return age, ()
    return None, (f"age is given as {' and '.join(stated)} {unit}; age unknown",)


def _sex(text: str | None, about: Mapping[str, Any]) -> Sex | None:
    for name in ("sex", "gender"):
        if level := _level(_column(about, name), text):
            return tabular.sex(re.split(r"\W", level.strip())[0])
    return tabular.sex(text)


def _health(rows: Iterable[tabular.Row], people: People) -> bool | None:
    """None where the tables do not say, or say two things."""
    name = people.health_column
    if name is None:
        return None
    stated = [row.get(name) for row in rows if (row.get(name) or "").lower() not in _UNKNOWN]
    found: set[bool] = {_is_healthy(text, people.about, name) for text in stated}
    return found.pop() if len(found) == 1 else None


def _is_healthy(text: str | None, about: Mapping[str, Any], column: str) -> bool:
    if column == "healthy" and (text or "").lower() in _YES:
        return True
    level = _level(_column(about, column), text)
    words = {"_".join(re.findall(r"[a-z]+", (value or "").lower())) for value in (text, level)}
    return bool(words & _HEALTHY)


def _column(about: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The description of a column, whatever the case of its name."""
    found: Any = next((value for key, value in about.items() if key.lower() == name), {})
    return found if isinstance(found, dict) else {}


def _level(column: Mapping[str, Any], text: str | None) -> str | None:
    """What a value of the column stands for."""
    levels = column.get("Levels")
    meaning = levels.get((text or "").strip()) if isinstance(levels, dict) else None
    if isinstance(meaning, dict):
        meaning = meaning.get("Description") or meaning.get("LongName")
    return str(meaning) if meaning is not None else None
