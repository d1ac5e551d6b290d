"""A tiny BIDS cohort, built end to end: its people, labels, terms, and what makes the data set this one."""

import json

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest

from brainatlas_text import cli

pytestmark = pytest.mark.integration
NAMES = {
    2: "Left-Cerebral-White-Matter", 3: "Left-Cerebral-Cortex", 10: "Left-Thalamus",
    41: "Right-Cerebral-White-Matter", 42: "Right-Cerebral-Cortex", 49: "Right-Thalamus",
}  # fmt: skip
PERMUTED = {2: 1, 3: 2, 10: 3, 41: 4, 42: 5, 49: 6}  # an atlas of its own, known by its table alone


def save(path, array, affine, codes):
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(nib.Nifti1Image(array.astype(np.int16), affine).as_reoriented(turn), path)


@pytest.fixture(scope="module")
def cohort(make_brain, tmp_path_factory):
    """Four people: one with a table's labels, one with FreeSurfer's, one with none, one who is a patient."""
    folder = tmp_path_factory.mktemp("study") / "rawdata"
    atlas = folder / "derivatives" / "atlas"
    for number, label in enumerate(("01", "02", "03", "04"), start=21):
        brain = make_brain(number)
        affine = np.diag([*brain.zooms, 1.0])
        affine[:3, 3] = (-99.0, -130.0, -70.0)
        save(folder / f"sub-{label}/anat/sub-{label}_T1w.nii.gz", brain.image, affine, "LIP")
        if label == "01":
            labels = np.vectorize(lambda n: PERMUTED.get(n, 0))(brain.labels)
            save(atlas / "sub-01/anat/sub-01_dseg.nii.gz", labels, affine, "RAS")
        if label == "02":
            mri = folder / "derivatives/freesurfer/sub-02/mri"
            mri.mkdir(parents=True)
            nib.save(nib.MGHImage(brain.labels.astype(np.int32), affine), mri / "aseg.mgz")
    rows = "".join(f"{PERMUTED[n]}\t{name}\n" for n, name in NAMES.items())
    (atlas / "dseg.tsv").write_text("index\tname\n" + rows)
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "Tiny", "License": "CC0"}))
    (folder / "participants.tsv").write_text(
        "participant_id\tage\tsex\tgroup\n"
        "sub-01\t31\tF\tcontrol\nsub-02\t42\tM\tcontrol\nsub-03\t53\tn/a\tcontrol\nsub-04\t64\tF\tpatient\n"
    )
    return folder


@pytest.fixture(scope="module")
def arguments(cohort, quick, tmp_path_factory):
    """The command; its data set lies beside the cohort."""
    overrides = [word for item in (*quick, "render.slice_step=32") for word in ("--set", item)]
    out = tmp_path_factory.mktemp("bids") / "dataset"
    return [
        "build",
        "--sources",
        f"bids:{cohort}",
        "--out",
        str(out),
        "--recipe",
        "demo",
        "--workers",
        "1",
        *overrides,
    ]


@pytest.fixture(scope="module")
def dataset(arguments):
    """The data set, built; one person is left out for their health."""
    assert cli.main(arguments) == 3
    return {row["key"]: row for row in pq.read_table(f"{arguments[4]}/scans.parquet").to_pylist()}


def test_people_labels_and_terms_are_the_cohorts(dataset):
    assert {
        key: (row["subject"], row["age_years"], row["sex"], row["label_method"])
        for key, row in dataset.items()
    } == {
        "tiny-01-t1w": ("tiny-01", 31.0, "F", "provided"),
        "tiny-02-t1w": ("tiny-02", 42.0, "M", "freesurfer"),
        "tiny-03-t1w": ("tiny-03", 53.0, None, "matching"),
    }
    assert dataset["tiny-03-t1w"]["label_voters"] == ["tiny-01-t1w", "tiny-02-t1w"]
    assert {row["terms"] for row in dataset.values()} == {"cc0"}


def test_labels_of_an_atlas_of_its_own_lie_where_their_names_say(dataset, arguments):
    """White matter inside cortex, left on the left, in canonical numbers."""
    image = nib.load(f"{arguments[4]}/work/prepared/tiny-01-t1w_dseg.nii.gz")
    array = np.asarray(image.dataobj)
    assert set(np.unique(array).tolist()) == {0, *NAMES}
    x = {
        number: (np.argwhere(array == number) @ image.affine[:3, :3].T + image.affine[:3, 3])[:, 0]
        for number in NAMES
    }
    assert all(x[left].max() < x[right].min() for left, right in ((2, 41), (3, 42), (10, 49)))


def test_another_selection_is_another_data_set(dataset, arguments, tmp_path, capsys):
    people = tmp_path / "people.txt"
    people.write_text("tiny-01\ntiny-02\n")
    for more, flag in ((["--all-people"], "--all-people"), (["--subjects", str(people)], "--subjects")):
        assert cli.main([*arguments, *more]) == 2
        assert f"differs in {flag}" in capsys.readouterr().err
    assert cli.main(arguments) == 3  # as it was: nothing to do


def test_nobody_left_is_an_error_with_the_reasons(arguments, tmp_path, capsys):
    people = tmp_path / "people.txt"
    people.write_text("tiny-04\n")
    assert cli.main([*arguments, "--out", str(tmp_path / "out"), "--subjects", str(people)]) == 2
    said = capsys.readouterr().err
    assert "no scan is left" in said and "not_healthy: 1" in said and not (tmp_path / "out").exists()


def test_mistakes_in_a_selection_are_one_line_and_exit_code_2(arguments, tmp_path, capsys):
    people = tmp_path / "people.txt"
    people.write_text("tiny-011\n")
    assert cli.main([*arguments, "--out", str(tmp_path / "out"), "--subjects", str(people)]) == 2
    said = capsys.readouterr().err
    assert "did you mean tiny-01" in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
