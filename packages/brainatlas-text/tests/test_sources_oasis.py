import pytest

from brainatlas_text.sources import discover

pytestmark = pytest.mark.unit
HEADER = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay\n"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def session(person, visit=1):
    return f"oasis/disc1/OAS1_{person}_MR{visit}"


def forms(person, visit=1, n="n4"):
    name = f"OAS1_{person}_MR{visit}_mpr"
    place = session(person, visit)
    return {
        "sbj": f"{place}/PROCESSED/MPRAGE/SUBJ_111/{name}_{n}_anon_sbj_111.img",
        "raw1": f"{place}/RAW/{name}-1_anon.img",
        "raw2": f"{place}/RAW/{name}-2_anon.img",
        "gfc": f"{place}/PROCESSED/MPRAGE/T88_111/{name}_{n}_anon_111_t88_gfc.img",
        "masked": f"{place}/PROCESSED/MPRAGE/T88_111/{name}_{n}_anon_111_t88_masked_gfc.img",
        "fseg": f"{place}/FSL_SEG/{name}_{n}_anon_111_t88_masked_gfc_fseg.img",
    }


def table(root, *rows):
    (root / "oasis").mkdir(exist_ok=True)
    (root / "oasis/oasis_cross-sectional.csv").write_text(HEADER + "".join(f"{row}\n" for row in rows))


ORDER = [("sbj", "ASL"), ("raw1", "ASL"), ("raw2", "ASL"), ("gfc", "LAS"), ("masked", "LAS")]


@pytest.mark.parametrize("first", range(5))
def test_one_session_is_one_scan_in_the_stated_order(tmp_path, first):
    names = forms("0001", n="n3")
    touch(tmp_path, names["fseg"], *(names[name] for name, _ in ORDER[first:]))
    (scan,) = discover("oasis", tmp_path).scans
    chosen, codes = ORDER[first]
    assert scan.key == "oasis-0001-1-t1w" and scan.subject == "oasis-0001"
    assert scan.image == tmp_path / names[chosen]
    assert (scan.array_order, scan.orientation_source) == (codes, "convention")
    assert scan.stripped == (chosen == "masked")
    assert [form.image for form in scan.superseded] == [
        tmp_path / names[name] for name, _ in ORDER[first + 1 :]
    ]


def test_two_sessions_are_two_scans_of_one_person(tmp_path):
    touch(tmp_path, forms("0061")["sbj"], forms("0061", visit=2)["sbj"])
    one, two = discover("oasis", tmp_path).scans
    assert (one.key, two.key) == ("oasis-0061-1-t1w", "oasis-0061-2-t1w")
    assert one.subject == two.subject == "oasis-0061"


def test_health_is_the_sources_own_criterion(tmp_path):
    table(
        tmp_path,
        "OAS1_0001_MR1,F,R,74,2,3,29,0,1344,0.743,1.306,N/A",
        "OAS1_0003_MR1,F,R,73,4,3,27,0.5,1454,0.708,1.207,N/A",
        "OAS1_0004_MR1,M,R,28,,,,,1588,0.803,1.105,N/A",
        "OAS1_0005_MR1,M,R,81,,,,,1588,0.803,1.105,N/A",
    )
    touch(tmp_path, *(forms(f"000{n}")["sbj"] for n in (1, 3, 4, 5)))
    found = discover("oasis", tmp_path)
    assert [(scan.key[6:10], scan.facts.healthy) for scan in found.scans] == [
        ("0001", True), ("0004", True), ("0005", None)
    ]  # fmt: skip
    assert [(item.key, item.reason) for item in found.rejections] == [("oasis-0003-1-t1w", "not_healthy")]
    everybody = discover("oasis", tmp_path, healthy_only=False)
    assert len(everybody.scans) == 4 and not everybody.rejections
    facts = {scan.key[6:10]: scan.facts for scan in everybody.scans}
    assert (facts["0003"].age_years, facts["0003"].sex, facts["0003"].healthy) == (73.0, "F", False)


def test_who_is_not_in_the_table_is_kept_without_facts(tmp_path):
    table(tmp_path, "OAS1_0001_MR1,F,R,74,2,3,29,0,1344,0.743,1.306,N/A")
    touch(tmp_path, forms("9001")["masked"])
    (scan,) = discover("oasis", tmp_path).scans
    assert (scan.facts.age_years, scan.facts.sex, scan.facts.healthy) == (None, None, None)
    assert "not in the spreadsheet" in scan.notes[0]
