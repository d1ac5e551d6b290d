"""Spreadsheets as people have them: formats, encodings, separators, holes, junk; nothing stops a build."""

import io
import os
import stat
import tempfile
from pathlib import Path

import openpyxl
import pytest

from brainatlas_text.sources import SOURCES, discover, tabular

pytestmark = pytest.mark.unit
SCANS = {
    "ibsr": "IBSR_01_ana_strip.nii.gz", "oasis": "OAS1_0001_MR1_mpr_n4_anon_sbj_111.img",
    "ixi": "IXI002-Guys-0828-T2.nii.gz", "kirby": "KKI2009-30-MPRAGE.nii.gz",
}  # fmt: skip
TABLES = {
    "ibsr": ("IBSR_info.csv", "ID,GENDER,AGE\n1,M,37\n"),
    "oasis": ("oasis_cross-sectional.csv", "ID,M/F,Hand,Age,CDR\nOAS1_0001_MR1,M,R,37,0\n"),
    "ixi": ("IXI.csv", "IXI_ID,SEX_ID,AGE\n2,1,37\n"),
    "kirby": ("Kirby_info.csv", "ID,AGE,GENDER\n30,37,M\n"),
}


def folder(root, source, content=None):
    place = root / source
    place.mkdir(exist_ok=True)
    (place / SCANS[source]).touch()
    if content is not None:
        (place / TABLES[source][0]).write_bytes(content)
    return place


def stated(source, root):
    found = discover(source, root)
    (scan,) = found.scans
    return (scan.facts.age_years, scan.facts.sex), bool(scan.notes), found.notes


def respelled(text, how):
    """The same table as other programs write it."""
    return {
        "plain": text.encode(),
        "bom": b"\xef\xbb\xbf" + text.encode(),
        "utf-16": text.encode("utf-16"),
        "utf-16-le": text.encode("utf-16-le"),
        "utf-16-be": text.encode("utf-16-be"),
        "latin-1": text.replace("\n", ",\xe9\n", 1).encode("latin-1"),
        "semicolons": text.replace(",", ";").encode(),
        "tabs": text.replace(",", "\t").encode(),
        "bars": text.replace(",", "|").encode(),
        "crlf": text.replace("\n", "\r\n").encode(),
        "quoted": "\n".join(",".join(f'"{c}"' for c in row.split(",")) for row in text.splitlines()).encode(),
    }[how]


WAYS = [
    "plain",
    "bom",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "latin-1",
    "semicolons",
    "tabs",
    "bars",
    "crlf",
    "quoted",
]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_table_says_the_same_however_it_is_spelled(tmp_path, source, how):
    folder(tmp_path, source, respelled(TABLES[source][1], how))
    facts, noted, _ = stated(source, tmp_path)
    assert facts == (37.0, "M")
    assert not noted


JUNK = {
    "empty": b"", "binary": b"\0\1\2" * 99, "other columns": b"NAME,WEIGHT\n1,2\n", "no rows": b"ID,AGE\n",
    "one long line": b"x" * 200_000, "lone quote": b'ID,AGE\n"1,2\n' + b"y" * 200_000,
    "short rows": b"ID,AGE\n\n,\n",
    "huge": b"ID,AGE\n" + b"1,2\n" * 2_600_000,
}  # fmt: skip


@pytest.mark.parametrize("content", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("source", SOURCES)
def test_an_unusable_table_keeps_the_people_without_facts_and_says_so(tmp_path, source, content):
    folder(tmp_path, source, content)
    facts, noted, notes = stated(source, tmp_path)
    assert facts == (None, None) and noted and notes


@pytest.mark.parametrize("source", SOURCES)
def test_no_table_and_a_folder_of_its_name_are_the_same(tmp_path, source):
    (folder(tmp_path, source) / TABLES[source][0]).mkdir()
    facts, noted, notes = stated(source, tmp_path)
    assert facts == (None, None) and noted and "no spreadsheet" in " ".join(notes)


@pytest.mark.parametrize(
    ("source", "text", "facts"),
    [
        ("ibsr", "ID,GENDER\n1,M\n", (None, "M")),
        ("oasis", "ID,Age\nOAS1_0001_MR1,37\n", (37.0, None)),
        ("ixi", "IXI_ID,AGE\n2,37\n", (37.0, None)),
        ("kirby", "ID,GENDER\n30,M\n", (None, "M")),
    ],
)
def test_a_missing_column_leaves_only_its_own_fact_unknown(tmp_path, source, text, facts):
    folder(tmp_path, source, text.encode())
    found, _, notes = stated(source, tmp_path)
    assert found == facts
    assert "no column" in " ".join(notes) or source == "kirby"


def test_without_the_rating_nobody_is_called_healthy(tmp_path):
    folder(tmp_path, "oasis", b"ID,M/F,Age\nOAS1_0001_MR1,M,30\n")
    (scan,) = discover("oasis", tmp_path).scans
    assert scan.facts.healthy is None and scan.facts.age_years == 30.0


def write_oasis_workbook(path):
    """As OASIS has it: five sheets, of which some hold other things, and unrounded values."""
    book = openpyxl.Workbook()
    sheets = {
        "all": [
            ("ID", "M/F", "Hand", "Age", "CDR", "nWBV"), ("OAS1_0001_MR1", "F", "R", 74, 0, 0.742938),
            ("OAS1_0002_MR1", "M", "R", 28, None, 0.8),
        ],
        "mpr>=3": [("ID", "M/F", "Age", "CDR"), ("OAS1_0001_MR1", "F", 74, 0)],
        "cohort select": [("some", "notes"), (1, 2)],
        "lookup": [("ID", "Meaning"), ("OAS1_0004_MR1", "not a table of people")],
        "cross-sectional": [("ID", "M/F", "Age", "CDR"), ("OAS1_0003_MR1", "F", 73, 0.5)],
        "reliability": [],
    }  # fmt: skip
    for name, rows in sheets.items():
        sheet = book.create_sheet(name.replace(">", ""))
        for row in rows:
            sheet.append(row)
    del book["Sheet"]
    book.save(path)


def test_the_workbook_of_oasis_is_read_over_all_its_sheets(tmp_path):
    place = folder(tmp_path, "oasis")
    for number in (2, 3, 4):
        (place / SCANS["oasis"].replace("0001", f"000{number}")).touch()
    write_oasis_workbook(place / "oasis_cross-sectional-5708aa0a98d82080.xlsx")
    found = discover("oasis", tmp_path, healthy_only=False)
    facts = {s.key[6:10]: (s.facts.age_years, s.facts.sex, s.facts.healthy) for s in found.scans}
    assert facts == {
        "0001": (74.0, "F", True), "0002": (28.0, "M", True), "0003": (73.0, "F", False), "0004": (None,) * 3,
    }  # fmt: skip
    assert not found.notes


def test_sheets_that_contradict_each_other_leave_the_fact_unknown(tmp_path):
    text = "ID,M/F,Age,CDR\nOAS1_0001_MR1,F,74,0\nOAS1_0001_MR1,F,75,0.5\n"
    folder(tmp_path, "oasis", text.encode())
    (scan,) = discover("oasis", tmp_path, healthy_only=False).scans
    assert (scan.facts.age_years, scan.facts.sex, scan.facts.healthy) == (None, "F", False)
    assert "age and CDR" in scan.notes[0]


def test_a_broken_workbook_gives_way_to_another_table(tmp_path):
    place = folder(tmp_path, "oasis", TABLES["oasis"][1].encode())
    stream = io.BytesIO()
    openpyxl.Workbook().save(stream)
    (place / "oasis_cross-sectional.xlsx").write_bytes(stream.getvalue()[:900])
    assert stated("oasis", tmp_path)[0] == (37.0, "M")
    (place / "oasis_cross-sectional.csv").write_bytes(b"")
    facts, noted, notes = stated("oasis", tmp_path)
    assert facts == (None, None) and noted and len(notes) == 2


@pytest.mark.parametrize("text", ["missing", "Mixed", "n/a", "?", "", None])
def test_words_that_only_begin_like_a_sex_are_none(text):
    assert tabular.sex(text) is None
    assert tabular.sex(" Male ") == "M" and tabular.sex("f") == "F"


@pytest.fixture
def nobody():
    """Act as a user without rights, for permissions mean nothing to root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder():
    """A folder that others may enter, unlike those of tmp_path."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "ixi" / "closed").mkdir(parents=True)
        for name in ("sub-01", "sub-02"):
            (place / "mine" / name / "anat").mkdir(parents=True)
            (place / "mine" / name / "anat" / f"{name}_T1w.nii.gz").touch()
        (place / "mine/sub-02/anat").chmod(0)
        for path in ("ixi/IXI002-Guys-0828-T2.nii.gz", "ixi/IXI003-Guys-0828-T2.nii.gz", "ixi/IXI.csv"):
            (place / path).write_text("IXI_ID,AGE\n2,37\n")
        (place / "ixi/IXI003-Guys-0828-T2.nii.gz").chmod(0)
        (place / "ixi/IXI.csv").chmod(0)
        (place / "ixi/closed").chmod(0)
        yield place
        for name in ("ixi/closed", "mine/sub-02/anat"):
            (place / name).chmod(stat.S_IRWXU)


def test_what_may_not_be_read_is_named_and_the_rest_is_found(open_folder, nobody):
    found = discover("ixi", open_folder)
    assert [scan.key for scan in found.scans] == ["ixi-002-t2w"]
    assert [(item.key, item.reason) for item in found.rejections] == [("ixi-003-t2w", "unreadable")]
    assert "permissions" in found.rejections[0].detail
    said = " ".join(found.notes)
    assert "closed: cannot be looked into" in said and "IXI.csv: not a usable table" in said


def test_a_person_of_a_bids_folder_who_may_not_be_read_is_named(open_folder, nobody):
    found = discover(f"bids:{open_folder / 'mine'}", open_folder)
    assert [scan.key for scan in found.scans] == ["mine-01-t1w"]
    assert "sub-02/anat: cannot be looked into" in found.notes[-1]
