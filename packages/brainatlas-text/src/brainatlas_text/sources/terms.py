"""What each source allows and how it is obtained, as data (`tables/terms.toml`)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from brainatlas_text.errors import SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Terms of one source, in our words; the source's own text is binding."""

    name: str
    terms: str
    """The terms in a sentence or two."""
    may_redistribute_images: bool
    """Whether derived pictures may be passed on without asking the source."""
    may_redistribute_labels: bool
    may_study_anatomy: bool
    """Whether sizes of people's structures may be studied and shown without asking the source."""
    health_criterion: str
    """What makes a person of this source healthy by its own account."""
    acknowledgement: str
    citation: str
    url: str
    expected_files: str
    """Where the files are expected below the source's folder."""
    how_to_get: str


@cache
def _table() -> dict[str, Terms]:
    text = (resources.files("brainatlas_text") / "tables" / "terms.toml").read_text(encoding="utf-8")
    return {key: Terms(**row) for key, row in tomllib.loads(text).items()}


def terms_of(key: str) -> Terms:
    """The terms under a key of the table; raises SourceError for an unknown one."""
    try:
        return _table()[key]
    except KeyError:
        raise SourceError(f"no terms are known for {key!r}; known: {', '.join(_table())}") from None


def terms_of_license(text: str) -> str:
    """Key of the terms that the licence of a BIDS data set stands for; `unstated` for one we do not know."""
    words = " ".join(re.findall(r"[a-z0-9]+", text.lower()))
    if re.search(r"\bcc ?0\b|\bcc zero\b|creative commons zero", words):
        return "cc0"
    if re.search(r"\bpddl\b|public domain dedication", words):
        return "pddl"
    if not re.search(r"\bcc ?by\b|creative commons.*attribution", words):
        return "unstated"
    if re.search(r"\bnd\b|no ?deriv", words):
        return "unstated"
    kinds = (("nc", r"\bnc\b|non ?commercial"), ("sa", r"\bsa\b|share ?alike"))
    return "-".join(["cc-by", *(name for name, pattern in kinds if re.search(pattern, words))])
