import pytest

from brainatlas_text.sources import discover

pytestmark = pytest.mark.unit
NIFTI = "ibsr/IBSR_nifti_stripped/IBSR_01/IBSR_01"
ANALYZE = "ibsr/IBSR_V2.0/IBSR_01"
README = """Some text
      #    Sex  age
     ---  ----------
       1    M   37
       3    F   JUV
"""


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def only(root):
    (scan,) = discover("ibsr", root).scans
    return scan


def test_the_nifti_release_comes_first_and_the_others_are_superseded(tmp_path):
    touch(
        tmp_path,
        *(
            f"{NIFTI}_{kind}.nii.gz"
            for kind in ("ana_strip", "ana", "ana_brainmask", "seg_ana", "segTRI_ana")
        ),
        *(f"{ANALYZE}/images/analyze/IBSR_01_ana.{end}" for end in ("hdr", "img", "mat")),
        *(f"{ANALYZE}/segmentation/analyze/IBSR_01_seg_ana.{end}" for end in ("hdr", "img", "mat")),
    )
    scan = only(tmp_path)
    assert scan.key == "ibsr-01-t1w" and scan.subject == "ibsr-01"
    assert scan.image.name == "IBSR_01_ana_strip.nii.gz" and scan.stripped
    assert scan.dseg.name == "IBSR_01_seg_ana.nii.gz" and scan.label_scheme == "ibsr-cma"
    assert scan.mask.name == "IBSR_01_ana_brainmask.nii.gz"
    assert (scan.array_order, scan.orientation_source) == (None, "header")
    assert [form.image.name for form in scan.superseded] == ["IBSR_01_ana.nii.gz", "IBSR_01_ana.img"]


def test_analyze_is_read_by_convention_with_its_own_labels(tmp_path):
    touch(
        tmp_path,
        *(f"{ANALYZE}/images/analyze/IBSR_01_ana.{end}" for end in ("hdr", "img")),
        *(f"{ANALYZE}/segmentation/analyze/IBSR_01_{kind}_ana.img" for kind in ("seg", "segTRI", "parc")),
    )
    scan = only(tmp_path)
    assert (scan.array_order, scan.orientation_source, scan.stripped) == ("LIA", "convention", False)
    assert scan.dseg.name == "IBSR_01_seg_ana.img"


def test_tissue_maps_are_never_labels(tmp_path):
    touch(tmp_path, f"{NIFTI}_ana_strip.nii.gz", f"{NIFTI}_segTRI_fill_ana.nii.gz")
    assert (only(tmp_path).dseg, only(tmp_path).label_scheme) == (None, None)


@pytest.mark.parametrize("table", ["csv", "readme"])
def test_facts_are_those_of_the_table(tmp_path, table):
    touch(tmp_path, NIFTI + "_ana_strip.nii.gz", (NIFTI + "_ana_strip.nii.gz").replace("01", "03"))
    if table == "csv":
        (tmp_path / "ibsr/IBSR_info.csv").write_text("ID,GENDER,AGE\n1,M,37\n3,F,JUV\n")
    else:
        (tmp_path / "ibsr/README.txt").write_text(README)
    adult, child = (scan.facts for scan in discover("ibsr", tmp_path).scans)
    assert (adult.age_years, adult.juvenile, adult.sex, adult.healthy) == (37.0, False, "M", None)
    assert (child.age_years, child.juvenile, child.sex) == (None, True, "F")


def test_without_a_table_nothing_is_invented(tmp_path):
    touch(tmp_path, f"{NIFTI}_ana_strip.nii.gz")
    scan, notes = only(tmp_path), discover("ibsr", tmp_path).notes
    assert (scan.facts.age_years, scan.facts.sex, scan.facts.juvenile) == (None, None, False)
    assert "unknown" in scan.notes[0] and "no spreadsheet" in notes[0]
