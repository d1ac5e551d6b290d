import io

import pytest

from brainatlas_text.sources import discover, tabular

pytestmark = pytest.mark.unit
COLUMNS = ("IXI_ID", "SEX_ID (1=m, 2=f)", "HEIGHT", "AGE")
ROWS = (
    (12.0, 1.0, 175.0, 38.78),
    (15.0, 2.0, 160.0, 24.5), (15.0, 2.0, 0.0, 24.5),
    (219.0, 2.0, 170.0, 53.08), (219.0, 2.0, 164.0, 58.07),
    (328.0, 2.0, 155.0, 61.79), (328.0, 1.0, 0.0, 62.08),
    (400.0, 1.0, 180.0, ""),
)  # fmt: skip


def write_xls(path):
    xlwt = pytest.importorskip("xlwt")
    book = xlwt.Workbook()
    sheet = book.add_sheet("Table")
    for i, row in enumerate((COLUMNS, *ROWS)):
        for j, value in enumerate(row):
            sheet.write(i, j, value)
    stream = io.BytesIO()
    book.save(stream)
    path.write_bytes(stream.getvalue())


def write_decimal_comma_csv(path):
    lines = [",".join(f'"{name}"' for name in COLUMNS)]
    lines += [",".join(f'"{str(value).replace(".", ",")}"' for value in row) for row in ROWS]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())


@pytest.fixture(
    params=[("IXI.xls", write_xls), ("IXI_info.csv", write_decimal_comma_csv)], ids=["xls", "csv"]
)
def people(request, tmp_path):
    folder = tmp_path / "ixi"
    folder.mkdir()
    name, write = request.param
    write(folder / name)
    for number in (12, 15, 219, 328, 400, 500):
        (folder / f"IXI{number:03d}-IOP-1140-T2.nii.gz").touch()
    return {scan.subject[4:]: scan for scan in discover("ixi", tmp_path).scans}


def facts(scan):
    return scan.facts.age_years, scan.facts.sex, bool(scan.notes)


def test_facts_are_those_of_the_spreadsheet(people):
    assert facts(people["012"]) == (38.78, "M", False)


def test_double_rows_that_agree_are_one(people):
    assert facts(people["015"]) == (24.5, "F", False)


def test_contradicting_rows_leave_only_the_fact_in_question_unknown(people):
    assert facts(people["219"]) == (None, "F", True)
    assert "53.08, 58.07" in people["219"].notes[0]
    assert facts(people["328"]) == (None, None, True)


def test_missing_facts_stay_missing(people):
    assert facts(people["400"]) == (None, "M", False)
    assert facts(people["500"]) == (None, None, True)


def test_sequence_and_scanner_come_from_the_name(tmp_path):
    (tmp_path / "ixi").mkdir()
    for name in ("IXI012-HH-1211-T1", "IXI012-HH-1211-PD", "IXI012-HH-1211-MRA", "IXI012-HH-1211-DTI-00"):
        (tmp_path / "ixi" / f"{name}.nii.gz").touch()
    found = discover("ixi", tmp_path)
    (scan,) = found.scans
    assert (scan.key, scan.sequence, scan.facts.scanner) == ("ixi-012-t1w", "T1w", "Philips 3 T")
    assert found.notes[-1] == "files of sequences that are not used: DTI 1, MRA 1, PD 1"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0\1\2" * 99, b"NAME,WEIGHT\n1,2\n", b"\xd0\xcf\x11\xe0" + b"junk" * 50,
        b"IXI_ID,AGE\n" + b"x" * (tabular.MAX_BYTES + 1),
    ],
    ids=["empty", "binary", "other columns", "half an xls", "huge"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["IXI.xls", "IXI.csv"])
def test_an_unusable_spreadsheet_keeps_the_scan_and_says_so(tmp_path, name, content):
    (tmp_path / "ixi").mkdir()
    (tmp_path / "ixi" / name).write_bytes(content)
    (tmp_path / "ixi" / "IXI012-HH-1211-T1.nii.gz").touch()
    found = discover("ixi", tmp_path)
    assert facts(found.scans[0]) == (None, None, True)
    assert found.notes


def test_latin_1_and_utf_16_tables_are_read(tmp_path):
    text = "ID;NAME;AGE\n1;Zoë;34,5\n"
    for number, encoding in enumerate(("latin-1", "utf-16", "utf-8-sig")):
        path = tmp_path / f"t{number}.csv"
        path.write_bytes(text.encode(encoding))
        table = tabular.find_table([path], ("t*.csv",), {"id": "ID", "name": "NAME", "age": "AGE"})
        assert table.rows == ({"id": "1", "name": "Zoë", "age": "34,5"},)
        assert tabular.age(table.rows[0]["age"]) == 34.5
