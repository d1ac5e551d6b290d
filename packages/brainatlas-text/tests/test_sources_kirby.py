from collections import Counter

import pytest

from brainatlas_text.sources import discover

pytestmark = pytest.mark.unit
VISITS = (
    "Visit_ID,Subject_ID,Subj_Visit,kki_id\n30,113,1,KKI2009-30\n33,113,2,KKI2009-33\n16,505,1,KKI2009-16\n"
)
DEMOGRAPHY = "Subject_ID,Age,Sex\n113,28,F\n505,42,F\n"
PER_SCAN = "ID,AGE,GENDER,HAND\n30,28,F,R\n33,28,F,R\n16,41,F,R\n"


def make(root, *names, visits=True, demography=True, per_scan=False):
    folder = root / "kirby"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    tables = {"subject_id_to_visit_id.csv": VISITS if visits else None,
              "kirby21_demog.csv": DEMOGRAPHY if demography else None,
              "Kirby_info.csv": PER_SCAN if per_scan else None}  # fmt: skip
    for name, text in tables.items():
        if text:
            (folder / name).write_text(text)
    return discover("kirby", root)


def test_two_visits_are_one_person(tmp_path):
    found = make(
        tmp_path,
        "KKI2009-ALL-MPRAGE/KKI2009-30-MPRAGE.nii.gz",
        "KKI2009-ALL-MPRAGE/KKI2009-33-MPRAGE.nii",
        "KKI2009-ALL-FLAIR/KKI2009-33-FLAIR.nii.gz",
        "KKI2009-ALL-T2w/KKI2009-33-T2w.nii.gz",
        "KKI2009-ALL-FLAIR/KKI2009-33-FLAIR.par",
        "KKI2009-ALL-fMRI/KKI2009-33-fMRI.nii.gz",
    )
    assert [scan.key for scan in found.scans] == [
        "kirby-113-1-t1w", "kirby-113-2-flair", "kirby-113-2-t1w", "kirby-113-2-t2w"
    ]  # fmt: skip
    assert [scan.sequence for scan in found.scans] == ["T1w", "FLAIR", "T1w", "T2w"]
    assert {scan.subject for scan in found.scans} == {"kirby-113"}
    assert {(scan.facts.age_years, scan.facts.sex) for scan in found.scans} == {(28.0, "F")}
    assert found.notes == ("files of sequences that are not used: FMRI 1",)


def test_without_a_map_beside_the_scans_the_published_one_says_who_is_who(tmp_path):
    names = (f"KKI2009-{number:02d}-MPRAGE.nii.gz" for number in range(1, 43))
    found = make(tmp_path, *names, visits=False, per_scan=True)
    visits = Counter(scan.subject for scan in found.scans)
    assert len(visits) == 21 and set(visits.values()) == {2}
    assert [scan.image.name[8:10] for scan in found.scans if scan.subject == "kirby-113"] == ["30", "33"]
    assert not found.notes


def test_a_map_beside_the_scans_counts_more_than_the_published_one(tmp_path):
    (tmp_path / "kirby").mkdir()
    (tmp_path / "kirby" / "subject_id_to_visit_id.csv").write_text(
        "Visit_ID,Subject_ID,Subj_Visit\n33,999,1\n"
    )
    found = make(tmp_path, "KKI2009-33-FLAIR.nii.gz", "KKI2009-30-FLAIR.nii.gz", visits=False)
    assert {scan.subject for scan in found.scans} == {"kirby-999", "kirby-113"}


def test_a_scan_that_no_map_knows_counts_for_itself_and_says_so(tmp_path):
    found = make(tmp_path, "KKI2009-77-FLAIR.nii.gz", visits=False)
    (scan,) = found.scans
    assert (scan.key, scan.subject) == ("kirby-kki77-flair", "kirby-kki77")
    assert "in no visit map" in scan.notes[-1]


def test_both_layouts_of_one_scan_are_one_scan(tmp_path):
    found = make(tmp_path, "KKI2009-33-FLAIR.nii.gz", "kirby21.flair/visit_2/113/113-02-FLAIR.nii.gz")
    (scan,) = found.scans
    assert scan.image.name == "KKI2009-33-FLAIR.nii.gz"
    assert [form.image.name for form in scan.superseded] == ["113-02-FLAIR.nii.gz"]


def test_the_brain_mask_belongs_to_the_t1_of_its_visit(tmp_path):
    found = make(
        tmp_path,
        "visit_2/113/113-02-T1.nii.gz", "visit_2/113/113-02-FLAIR.nii.gz", "visit_1/113/113-01-T1.nii.gz",
        "visit_2/113/113-02-BrainMask.nii.gz",
    )  # fmt: skip
    masks = {scan.key: scan.mask and scan.mask.name for scan in found.scans}
    assert masks == {
        "kirby-113-1-t1w": None, "kirby-113-2-flair": None, "kirby-113-2-t1w": "113-02-BrainMask.nii.gz"
    }  # fmt: skip


def test_a_localizer_is_refused(tmp_path):
    found = make(tmp_path, "KKI2009-ALL-SURVEY/KKI2009-16-SURVEY.nii.gz")
    assert not found.scans
    assert [(item.key, item.reason) for item in found.rejections] == [("kirby-505-1-survey", "localizer")]


def test_tables_that_contradict_each_other_leave_the_fact_unknown(tmp_path):
    found = make(tmp_path, "KKI2009-16-MPRAGE.nii.gz", per_scan=True)
    (scan,) = found.scans
    assert (scan.facts.age_years, scan.facts.sex) == (None, "F")
    assert "contradict" in scan.notes[0]
