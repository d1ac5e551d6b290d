"""The page of rejections lists the reasons that the code gives, each with something to do."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[1]
GIVEN = (
    r'reject\(\s*[^,()]+,\s*"(\w+)"',
    r'_Refusal\(\s*"(\w+)"',
    r'Refused\(\s*"(\w+)"',
    r'reason="(\w+)"',
    r'\breason(?:, detail)? = "(\w+)"',
    r'\breason = "\w+" if [^\n]+ else "(\w+)"',
    r'\w+Error: "(\w+)",',
    r'_REASONS\.get\(type\(error\), "(\w+)"\)',
)


def reasons_in_code() -> set[str]:
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "packages" / "brainatlas-text" / "src").rglob("*.py")
    )
    return {found for pattern in GIVEN for found in re.findall(pattern, code)}


def test_every_reason_is_explained_and_none_is_made_up() -> None:
    page = (ROOT / "docs" / "reference" / "rejections.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert {reason for reason, _, _ in rows} == reasons_in_code()
    assert len(rows) == len({reason for reason, _, _ in rows}) >= 19
    assert all(means.strip() and do.strip() for _, means, do in rows)
