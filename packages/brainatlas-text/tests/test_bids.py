"""A BIDS folder: scans, sessions, runs; what its tables say of people; label maps of its derivatives."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from brainatlas_text import volumes
from brainatlas_text.dseg_tables import canonical_of, names_tissues_only, read_dseg_table
from brainatlas_text.errors import LabelError, SourceError
from brainatlas_text.hub import load_hub
from brainatlas_text.prepare import PrepareConfig, inputs_digest, prepare
from brainatlas_text.records import PreparedScan, Rejection
from brainatlas_text.sources import discover, find, name_of
from brainatlas_text.sources.selection import Selection
from brainatlas_text.sources.terms import terms_of, terms_of_license
from brainatlas_text.workspace import Workspace

pytestmark = pytest.mark.unit
TABLE = "index\tname\n2\tLeft-Cerebral-White-Matter\n41\tRight-Cerebral-White-Matter\n"


def image(path, shape=(8, 9, 10), origin=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = origin
    nib.save(nib.Nifti1Image(np.ones(shape, np.int16), affine), path)
    return path


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def cohort(tmp_path):
    """A folder with one person who has one T1w."""
    folder = tmp_path / "mycohort"
    text(folder / "dataset_description.json", {"Name": "Mine", "BIDSVersion": "1.10.0"})
    image(folder / "sub-01/anat/sub-01_T1w.nii.gz")
    return folder


def scans(folder, **options):
    return {scan.key: scan for scan in found(folder, **options).scans}


def found(folder, **options):
    return discover(f"bids:{folder}", folder.parent, **options)


# Scans -----------------------------------------------------------------------------------------------------


def test_sequences_and_sessions_are_scans_of_one_person(cohort):
    for name in (
        "ses-a/anat/sub-02_ses-a_T1w.nii.gz",
        "ses-a/anat/sub-02_ses-a_T2w.nii",
        "ses-b/anat/sub-02_ses-b_FLAIR.nii.gz",
    ):
        image(cohort / "sub-02" / name)
    for name in ("ses-a/anat/sub-02_ses-a_T2star.nii.gz", "ses-a/func/sub-02_ses-a_task-rest_bold.nii.gz"):
        image(cohort / "sub-02" / name)
    all_scans = scans(cohort)
    assert {key: (scan.subject, scan.sequence) for key, scan in all_scans.items()} == {
        "mycohort-01-t1w": ("mycohort-01", "T1w"),
        "mycohort-02-a-t1w": ("mycohort-02", "T1w"),
        "mycohort-02-a-t2w": ("mycohort-02", "T2w"),
        "mycohort-02-b-flair": ("mycohort-02", "FLAIR"),
    }
    assert {(s.source, s.orientation_source, s.terms) for s in all_scans.values()} == {
        ("mycohort", "header", "unstated")
    }
    assert any("T2star 1" in note for note in found(cohort).notes)


def test_runs_are_repeats_of_one_scan_and_acquisitions_are_scans(cohort):
    for name in ("acq-hi_run-1", "acq-hi_run-2", "acq-hi_run-10", "acq-lo", "acq-lo_rec-norm"):
        image(cohort / f"sub-02/anat/sub-02_{name}_T1w.nii.gz")
    hi, lo = (scans(cohort)[f"mycohort-02-acq{name}-t1w"] for name in ("hi", "lo"))
    assert hi.image.name == "sub-02_acq-hi_run-1_T1w.nii.gz" and hi.repeats == ()
    assert len(hi.superseded) == 2
    assert lo.image.name == "sub-02_acq-lo_T1w.nii.gz"
    assert [form.image.name for form in lo.superseded] == ["sub-02_acq-lo_rec-norm_T1w.nii.gz"]
    averaged = scans(cohort, average_repeats=True)
    repeats = averaged["mycohort-02-acqhi-t1w"].repeats
    assert [path.name.split("_")[2] for path in repeats] == ["run-2", "run-10"]
    assert averaged["mycohort-02-acqlo-t1w"].repeats == ()


def test_what_is_no_plain_scan_is_left_out_and_counted(cohort):
    anat = cohort / "sub-01/anat"
    for name in (
        "sub-01_part-phase_T1w",
        "sub-01_inv-1_T1w",
        "sub-02_T1w",
        "sub-01_T2w_T1w",
        "sub-01_run-x_T1w",
        "T1w",
    ):
        image(anat / f"{name}.nii.gz")
    image(anat / "sub-01_ce-gadolinium_T1w.nii.gz")
    result = found(cohort)
    assert [scan.image.name for scan in result.scans] == ["sub-01_T1w.nii.gz"]
    assert [(item.key, item.reason) for item in result.rejections] == [("mycohort-01-t1w", "contrast_agent")]
    assert "inv- 1, names that are not BIDS 4, part-phase 1" in result.notes[-1]


def test_labels_that_differ_in_case_only_do_not_become_one_person(cohort):
    for label in ("a1", "A1"):
        image(cohort / f"sub-{label}/anat/sub-{label}_T1w.nii.gz", (4, 4, 4 + len(label) + (label == "A1")))
    assert [item.reason for item in found(cohort).rejections] == ["duplicate_key"]


def test_links_that_lead_nowhere_and_in_circles_do_no_harm(cohort):
    (cohort / "sub-01/again").symlink_to(cohort)
    (cohort / "derivatives").symlink_to(cohort)
    (cohort / "sub-01/anat/sub-01_T2w.nii.gz").symlink_to("../../.git/annex/objects/gone")
    result = found(cohort)
    assert [scan.key for scan in result.scans] == ["mycohort-01-t1w"]
    assert [(item.key, item.reason) for item in result.rejections] == [("mycohort-01-t2w", "unreadable")]


def test_a_folder_without_scans_says_what_is_expected(tmp_path):
    with pytest.raises(SourceError, match=r"no such folder.*sub-01"):
        discover(f"bids:{tmp_path / 'nowhere'}", tmp_path)
    with pytest.raises(SourceError, match=r"no scan found.*sub-01_T1w"):
        discover(f"bids:{tmp_path}", tmp_path)


@pytest.mark.parametrize(
    ("folder", "title", "name"),
    [("My Cohort_2", "", "mycohort2"), ("rawdata", "Study of X!", "studyofx"), ("rawdata", "", "rawdata"),
     ("ixi", "", "bidsixi"), ("axial", "", "bidsaxial"), ("---", "", "bids")],
)  # fmt: skip
def test_the_name_of_the_source_comes_from_its_folder(tmp_path, folder, title, name):
    text(tmp_path / folder / "dataset_description.json", {"Name": title})
    assert name_of(f"bids:{tmp_path / folder}") == name


def test_two_folders_of_one_name_are_refused(tmp_path):
    for place in ("a", "b"):
        image(tmp_path / place / "x/sub-01/anat/sub-01_T1w.nii.gz")
    with pytest.raises(SourceError, match="two sources are named x"):
        find([f"bids:{tmp_path}/a/x", f"bids:{tmp_path}/b/x"], tmp_path, Selection())


# People ----------------------------------------------------------------------------------------------------


def facts(folder, key="mycohort-01-t1w"):
    scan = scans(folder, healthy_only=False)[key]
    return scan.facts.age_years, scan.facts.sex, scan.facts.healthy


def people(folder, header, *rows, about=None):
    text(
        folder / "participants.tsv", "\n".join(["\t".join(header), *("\t".join(row) for row in rows)]) + "\n"
    )
    if about is not None:
        text(folder / "participants.json", about)


@pytest.mark.parametrize(
    ("row", "about", "expected"),
    [
        (("34", "F"), None, (34.0, "F")),
        (("34.5", "male"), None, (34.5, "M")),
        (("n/a", "n/a"), None, (None, None)),
        (("89+", "F"), None, (None, "F")),
        (
            ("408", "1"),
            {"age": {"Units": "months"}, "sex": {"Levels": {"1": "male", "2": "female"}}},
            (34.0, "M"),
        ),
        (
            ("34", "2"),
            {"sex": {"Levels": {"1": {"Description": "Man"}, "2": {"Description": "Woman"}}}},
            (34.0, "F"),
        ),
        (("34", "1"), None, (34.0, None)),
        (("3400", "F"), None, (None, "F")),
        (("34", "F"), {"age": {"Units": "furlongs"}}, (None, "F")),
    ],
)
def test_age_and_sex_are_those_of_the_table_and_nothing_is_guessed(cohort, row, about, expected):
    people(cohort, ("participant_id", "age", "sex"), ("sub-01", *row), about=about)
    assert facts(cohort)[:2] == expected
    noted = any("age" in n or "sex" in n for n in scans(cohort)["mycohort-01-t1w"].notes)
    assert noted == (None in expected and "n/a" not in row)


def test_the_age_of_a_session_goes_before_that_of_the_participant(cohort):
    for session in ("1", "2", "3"):
        image(cohort / f"sub-02/ses-{session}/anat/sub-02_ses-{session}_T1w.nii.gz")
    people(cohort, ("participant_id", "age", "gender"), ("sub-02", "30", "F"))
    text(cohort / "sub-02/sub-02_sessions.tsv", "session_id\tage\nses-1\t30\nses-2\t32.5\n")
    assert [facts(cohort, f"mycohort-02-{n}-t1w")[0] for n in "123"] == [30.0, 32.5, 30.0]
    assert facts(cohort, "mycohort-02-1-t1w")[1] == "F"


def test_rows_that_contradict_each_other_leave_the_fact_unknown(cohort):
    people(cohort, ("participant_id", "age", "sex"), ("sub-01", "30", "F"), ("sub-01", "31", "F"))
    assert facts(cohort)[:2] == (None, "F")


def test_rows_of_several_sessions_are_told_apart(cohort):
    for session in ("1", "2"):
        image(cohort / f"sub-02/ses-{session}/anat/sub-02_ses-{session}_T1w.nii.gz")
    people(
        cohort, ("participant_id", "session_id", "age"), ("sub-02", "ses-1", "30"), ("sub-02", "ses-2", "33")
    )
    assert [facts(cohort, f"mycohort-02-{n}-t1w")[0] for n in "12"] == [30.0, 33.0]


def test_a_person_in_no_table_and_a_folder_without_one_are_kept_and_flagged(cohort):
    assert facts(cohort) == (None, None, None)
    assert "not in participants.tsv" in scans(cohort)["mycohort-01-t1w"].notes[0]
    assert "participants.tsv" in found(cohort).notes[0]
    (cohort / "participants.tsv").write_bytes(b"\0\1junk" * 99)
    assert facts(cohort) == (None, None, None) and "not a usable table" in found(cohort).notes[0]


@pytest.mark.parametrize(
    ("column", "values", "about", "expected"),
    [
        ("group", ("control", "patient"), None, (True, False)),
        ("diagnosis", ("HC", "SCHZ"), None, (True, False)),
        ("group", ("A", "B"), None, (None, None)),
        (
            "group",
            ("A", "B"),
            {"group": {"Levels": {"A": "Healthy controls", "B": "Patients"}}},
            (True, False),
        ),
        ("dx", ("control", "n/a"), None, (True, None)),
        ("handedness", ("control", "patient"), None, (None, None)),
    ],
)
def test_health_is_known_only_from_a_column_that_says_it(cohort, column, values, about, expected):
    image(cohort / "sub-02/anat/sub-02_T1w.nii.gz")
    people(cohort, ("participant_id", column), ("sub-01", values[0]), ("sub-02", values[1]), about=about)
    assert tuple(facts(cohort, f"mycohort-0{n}-t1w")[2] for n in (1, 2)) == expected
    left_out = [item.key for item in found(cohort).rejections]
    assert left_out == (["mycohort-02-t1w"] if expected[1] is False else [])
    if left_out:
        assert column in found(cohort).rejections[0].detail


@pytest.mark.parametrize(
    ("license_text", "key", "free"),
    [("CC0", "cc0", True), ("CC BY 4.0", "cc-by", True), ("CC-BY-NC-SA-4.0", "cc-by-nc-sa", True),
     ("PDDL", "pddl", True),
     ("Creative Commons Attribution-ShareAlike 4.0", "cc-by-sa", True), ("CC BY-ND 4.0", "unstated", False),
     ("ask me", "unstated", False), ("", "unstated", False)],
)  # fmt: skip
def test_terms_are_those_of_the_licence_and_unknown_ones_forbid(cohort, license_text, key, free):
    assert terms_of_license(license_text) == key
    text(cohort / "dataset_description.json", {"Name": "x", "License": license_text})
    assert scans(cohort)["mycohort-01-t1w"].terms == key
    terms = terms_of(key)
    assert terms.may_redistribute_images == terms.may_redistribute_labels == free


# Label maps ------------------------------------------------------------------------------------------------


def labels_of(folder, key="mycohort-01-t1w"):
    scan = scans(folder)[key]
    return (
        scan.dseg and scan.dseg.name,
        scan.label_table and scan.label_table.name,
        scan.label_scheme,
        scan.label_method,
    )


@pytest.mark.parametrize(
    "table",
    [
        "derivatives/x/sub-01/anat/sub-01_dseg.tsv",
        "derivatives/x/sub-01/anat/dseg.tsv",
        "derivatives/x/dseg.tsv",
    ],
)
def test_a_label_map_is_found_with_its_table_beside_or_above_it(cohort, table):
    image(cohort / "derivatives/x/sub-01/anat/sub-01_dseg.nii.gz")
    assert labels_of(cohort)[0] is None and "no dseg.tsv" in found(cohort).notes[-1]
    text(cohort / table, TABLE)
    assert labels_of(cohort) == ("sub-01_dseg.nii.gz", table.rsplit("/", 1)[1], None, "provided")


def test_the_most_particular_table_applies(cohort):
    image(cohort / "derivatives/x/sub-01/anat/sub-01_desc-mine_dseg.nii.gz")
    for name in ("dseg.tsv", "desc-mine_dseg.tsv", "desc-other_dseg.tsv"):
        text(cohort / "derivatives/x" / name, TABLE)
    assert labels_of(cohort)[1] == "desc-mine_dseg.tsv"


def test_maps_of_another_space_and_of_tissues_are_not_used_and_named(cohort):
    anat = cohort / "derivatives/fmriprep/sub-01/anat"
    image(anat / "sub-01_dseg.nii.gz")
    image(anat / "sub-01_space-MNI152NLin2009cAsym_desc-aseg_dseg.nii.gz")
    text(anat / "sub-01_dseg.tsv", "index\tname\n1\tGM\n2\tWM\n3\tCSF\n")
    assert labels_of(cohort)[0] is None
    said = " ".join(found(cohort).notes)
    assert "names tissues" in said and "in space MNI152NLin2009cAsym" in said


def test_freesurfers_maps_come_after_those_with_a_table(cohort):
    mri = cohort / "derivatives/freesurfer/sub-01/mri"
    mri.mkdir(parents=True)
    (mri / "aparc+aseg.mgz").touch()
    assert labels_of(cohort) == ("aparc+aseg.mgz", None, "freesurfer", "freesurfer")
    (mri / "aseg.mgz").touch()
    assert labels_of(cohort)[0] == "aseg.mgz"
    image(cohort / "derivatives/fmriprep/sub-01/anat/sub-01_desc-aseg_dseg.nii.gz")
    assert labels_of(cohort)[2:] == ("freesurfer", "freesurfer")
    image(cohort / "derivatives/z/sub-01/anat/sub-01_dseg.nii.gz")
    text(cohort / "derivatives/z/dseg.tsv", TABLE)
    assert labels_of(cohort)[0] == "sub-01_dseg.nii.gz"


def test_synthsegs_maps_need_no_table(cohort):
    image(cohort / "derivatives/x/sub-01/anat/sub-01_desc-synthseg_dseg.nii.gz")
    assert labels_of(cohort) == ("sub-01_desc-synthseg_dseg.nii.gz", None, "synthseg", "provided")


def test_people_of_the_one_bids_folder_may_be_listed_as_it_does(cohort, tmp_path):
    image(cohort / "sub-02/anat/sub-02_T1w.nii.gz")
    people(cohort, ("participant_id", "age"), ("sub-02", "30"))
    chosen = find([f"bids:{cohort}"], tmp_path, Selection(subjects=cohort / "participants.tsv"))
    assert [scan.key for scan in chosen.scans] == ["mycohort-02-t1w"]


def test_freesurfers_folders_are_found_by_session_and_inside_another_pipeline(cohort):
    for session in ("1", "2"):
        image(cohort / f"sub-02/ses-{session}/anat/sub-02_ses-{session}_T1w.nii.gz")
        mri = cohort / f"derivatives/fmriprep/sourcedata/freesurfer/sub-02_ses-{session}/mri"
        mri.mkdir(parents=True)
        (mri / "aseg.mgz").touch()
    (cohort / "derivatives/fmriprep/sourcedata/freesurfer/sub-02").mkdir()
    places = [scans(cohort)[f"mycohort-02-{n}-t1w"].dseg.parts[-3] for n in "12"]
    assert places == ["sub-02_ses-1", "sub-02_ses-2"]


def test_a_map_belongs_to_the_t1w_and_to_others_only_on_the_same_grid(cohort):
    image(cohort / "sub-01/anat/sub-01_T2w.nii.gz")
    image(cohort / "sub-01/anat/sub-01_FLAIR.nii.gz", origin=5.0)
    image(cohort / "derivatives/x/sub-01/anat/sub-01_dseg.nii.gz", origin=0.0)
    text(cohort / "derivatives/x/dseg.tsv", TABLE)
    assert [labels_of(cohort, f"mycohort-01-{n}")[0] is not None for n in ("t1w", "t2w", "flair")] == [
        True,
        True,
        False,
    ]
    image(cohort / "derivatives/x/sub-01/anat/sub-01_space-FLAIR_dseg.nii.gz")
    assert labels_of(cohort, "mycohort-01-flair")[0] == "sub-01_space-FLAIR_dseg.nii.gz"


def test_a_map_that_may_mean_two_sessions_is_not_used(cohort):
    for session in ("1", "2"):
        image(cohort / f"sub-02/ses-{session}/anat/sub-02_ses-{session}_T1w.nii.gz")
    image(cohort / "derivatives/x/sub-02/anat/sub-02_dseg.nii.gz")
    text(cohort / "derivatives/x/dseg.tsv", TABLE)
    assert [labels_of(cohort, f"mycohort-02-{n}-t1w")[0] for n in "12"] == [None, None]
    assert "which scan of the person" in found(cohort).notes[-1]


def test_a_brain_mask_of_the_derivatives_comes_along(cohort):
    image(cohort / "derivatives/x/sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    assert scans(cohort)["mycohort-01-t1w"].mask.name == "sub-01_desc-brain_mask.nii.gz"


# Names of structures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "canonical"),
    [("Left-Hippocampus", 17), ("hippocampus_r", 53), ("R Hippocampus", 53), ("ctx-lh-insula", 3),
     ("ctx_rh_G_cuneus", 42), ("wm-lh-cuneus", 2), ("Brain-Stem", 16), ("brainstem", 16), ("Unknown", 0),
     ("Left-Thalamus-Proper*", 10), ("left ventral DC", 28), ("3rd-Ventricle", 14), ("CSF", 24),
     ("right caudate nucleus", 50), ("non-WM-hypointensities", 0)],
)  # fmt: skip
def test_structures_are_known_by_name(name, canonical):
    assert canonical_of(name) == (canonical,)


@pytest.mark.parametrize(
    "name", ["Hippocampus", "GM", "Left", "l", "", "Left-Right-Hippocampus", "Sub-Area-7"]
)
def test_other_names_are_not_known(name):
    assert canonical_of(name) is None


def test_names_without_a_side_wait_for_the_place():
    assert canonical_of("WM-hypointensities") == canonical_of("CC_Posterior") == (2, 41)


def test_the_standard_columns_help_where_the_name_does_not(tmp_path):
    rows = "1\tFoo\tlh_hippocampus\tn/a\n2\tBar\tX\t0\n3\tBaz\tX\t1\n"
    table = text(tmp_path / "dseg.tsv", "index\tname\tabbreviation\tmapping\n" + rows)
    scheme = read_dseg_table(table)
    assert scheme.canonical[1] == (17,) and scheme.canonical[2] == (0,) and scheme.unknown == {3: "Baz"}


@pytest.mark.parametrize(
    "content", ["", "number\tname\n1\tx\n", "index\tname\nseven\tLeft-Hippocampus\n", "index,name\n1,x\n",
                "index\tname\n7\tLeft-Hippocampus\n7\tRight-Hippocampus\n"],
)  # fmt: skip
def test_a_table_that_is_none_is_an_error_of_one_line(tmp_path, content):
    with pytest.raises(LabelError, match=r"dseg\.tsv") as caught:
        read_dseg_table(text(tmp_path / "dseg.tsv", content))
    assert "\n" not in str(caught.value)


def test_tissue_tables_are_told_from_those_of_structures(tmp_path):
    tissues = text(
        tmp_path / "a.tsv", "index\tname\n0\tBackground\n1\tGrey Matter\n2\tWhite matter\n3\tCSF\n"
    )
    structures = text(tmp_path / "b.tsv", TABLE)
    assert names_tissues_only(tissues) and not names_tissues_only(structures)


# Labels onto the image -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brain():
    """The template at 3 mm, stripped, on its own grid (RAS)."""
    template = volumes.thin(load_hub().image, (3, 3, 3))
    return np.where(template.array > 30, template.array * 8, 0).astype(np.int16), template.affine


def conformed(array, affine, size=96, zoom=3.0):
    """As FreeSurfer has it: a cube around the center, axes L, I, A, and the world unchanged."""
    center = affine @ [*(np.array(array.shape) // 2), 1.0]  # a voxel of both grids, so that nearest is exact
    cube = np.array([[-zoom, 0, 0, 0], [0, 0, zoom, 0], [0, -zoom, 0, 0], [0, 0, 0, 1.0]])
    cube[:3, 3] = center[:3] - cube[:3, :3] @ np.full(3, size // 2)
    inverse = np.linalg.inv(affine) @ cube
    moved = ndimage.affine_transform(array, inverse[:3, :3], inverse[:3, 3], (size,) * 3, order=0)
    return nib.MGHImage(moved.astype(np.int32), cube)


def freesurfer_cohort(folder, brain, offset=0.0):
    array, affine = brain
    x = affine[0, 0] * np.arange(array.shape[0])[:, None, None] + affine[0, 3]
    labels = np.where(array > 0, np.where(x < 0, 1002, 2030), 0).astype(np.int32)
    core = ndimage.binary_erosion(array > 0, iterations=3)
    labels[core] = np.broadcast_to(np.where(x < 0, 2, 41), labels.shape)[core]
    labels[core & (np.abs(x) < 4)] = 251
    labels[(labels == 2) & (np.abs(x + 30) < 4)] = 77
    path = folder / "sub-01/anat/sub-01_T1w.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    mri = folder / "derivatives/freesurfer/sub-01/mri"
    mri.mkdir(parents=True, exist_ok=True)
    shifted = affine.copy()
    shifted[1, 3] += offset
    nib.save(conformed(labels, shifted), mri / "aseg.mgz")
    return scans(folder)["mycohort-01-t1w"], x


def prepared(scan, out):
    return prepare(scan, Workspace(out), PrepareConfig(bias_correction=False))


def test_freesurfers_labels_come_onto_the_scans_own_grid(tmp_path, brain):
    scan, x = freesurfer_cohort(tmp_path / "mycohort", brain)
    out = prepared(scan, tmp_path / "out")
    assert isinstance(out, PreparedScan), out
    assert out.label_method == "freesurfer"
    dseg = volumes.load_prepared(tmp_path / "out" / out.dseg).array
    assert set(np.unique(dseg).tolist()) == {0, 2, 3, 41, 42}
    inside = brain[0] > 0
    np.testing.assert_array_equal(dseg > 0, inside)
    for side, numbers in ((x < -1, (2, 3)), (x > 1, (41, 42))):  # the callosum, too, goes to its nearer half
        assert np.isin(dseg[inside & np.broadcast_to(side, dseg.shape)], numbers).mean() > 0.999


def test_labels_that_lie_beside_the_brain_are_refused(tmp_path, brain):
    scan, _ = freesurfer_cohort(tmp_path / "mycohort", brain, offset=30.0)
    out = prepared(scan, tmp_path / "out")
    assert (
        isinstance(out, Rejection) and out.reason == "labels_off_grid" and "% of their tissue" in out.detail
    )


def test_an_unknown_name_matters_only_where_the_map_holds_its_number(tmp_path, brain):
    array, affine = brain
    folder = tmp_path / "mycohort"
    labels = np.where(array > 0, 7, 0).astype(np.int16)
    for name, data in (("sub-01/anat/sub-01_T1w", array), ("derivatives/x/sub-01/anat/sub-01_dseg", labels)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(data, affine), folder / f"{name}.nii.gz")
    table = text(
        folder / "derivatives/x/dseg.tsv", "index\tname\n7\tLeft-Cerebral-Cortex\n8\tFrontal-Eye-Field\n"
    )
    scan = scans(folder)["mycohort-01-t1w"]
    first = inputs_digest(scan, PrepareConfig())
    assert isinstance(prepared(scan, tmp_path / "out"), PreparedScan)
    text(table, "index\tname\n7\tFrontal-Eye-Field\n")
    assert inputs_digest(scan, PrepareConfig()) != first
    out = prepared(scan, tmp_path / "out")
    assert isinstance(out, Rejection) and out.reason == "unknown_label"
    assert "label 7 is named 'Frontal-Eye-Field'" in out.detail
    text(table, "index\tname\n8\tLeft-Cerebral-Cortex\n")
    assert "label 7 is not in" in prepared(scan, tmp_path / "out").detail
