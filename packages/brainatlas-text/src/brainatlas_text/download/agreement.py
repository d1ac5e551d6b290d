"""The terms of a source: shown once, accepted, and recorded beside the data."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from brainatlas_text.download.catalog import Offer
from brainatlas_text.sources import terms_of
from brainatlas_text.workspace import write_text

FILE_NAME = "terms-accepted.json"
Ask = Callable[[str, str], bool]
"""Shows the terms (source, text) to a person and tells whether they were accepted."""


def terms_text(offer: Offer) -> str:
    """The terms of a source, to be read by a person."""
    terms = terms_of(offer.source)
    parts = {
        "": f"{terms.name}, {terms.url}",
        "Before": offer.before,
        "Terms": terms.terms,
        "Say": terms.acknowledgement,
        "Cite": terms.citation,
        "Note": "This sums the terms up; what the source itself publishes is binding.",
    }
    lines = [f"{label}: {text}" if label else text for label, text in parts.items() if text]
    return "\n".join(textwrap.fill(line, 100, subsequent_indent="  ") for line in lines)


def is_accepted(home: Path, offer: Offer) -> bool:
    """Whether these very words were accepted before, for the source folder `home`."""
    try:
        record = json.loads((home / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("text_sha256") == _digest(terms_text(offer))


def record_acceptance(home: Path, offer: Offer, *, by: str) -> None:
    """Note beside the data that the terms were accepted: when, how, and which words."""
    text = terms_text(offer)
    record = {
        "source": offer.source,
        "accepted_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "accepted_by": by,
        "text_sha256": _digest(text),
        "text": text,
    }
    write_text(home / FILE_NAME, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
