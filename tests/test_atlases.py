"""The new atlases as files for others, and atlases of others as voters."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
from nibabel.processing import resample_from_to

from brainatlas_text import InputError, atlas_stages, atlases, build, cli, load_recipe, stages, tasks, volumes
from brainatlas_text.dseg_tables import read_dseg_table
from brainatlas_text.hub import load_hub
from brainatlas_text.labels import canonical_table
from brainatlas_text.pipeline import BuildConfig
from brainatlas_text.records import Rejection
from brainatlas_text.sources import Selection, discover, find, lend

pytestmark = pytest.mark.integration
CORTEX = {3: 1002, 42: 2002}  # two of FreeSurfer's parcels stand for the cortex


def validate(folder: Path) -> tuple[int, list[dict[str, str]]]:
    """Exit code and errors of the official validator."""
    program = Path(sys.executable).with_name("bids-validator-deno")
    if not program.exists():
        pytest.skip("no bids-validator-deno here")
    done = subprocess.run(
        [program, folder, "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    return done.returncode, [issue for issue in issues if issue["severity"] == "error"]


def test_the_official_validator_finds_no_error(tiny_dataset, tmp_path):
    folder = tmp_path / "oasis"
    shutil.copytree(tiny_dataset / "atlases" / "oasis", folder)
    assert validate(folder) == (0, [])
    image = next(folder.rglob("*_dseg.nii.gz"))
    image.rename(image.with_name(image.name.replace("_space-T1w", "_T1wspace")))
    code, errors = validate(folder)
    assert code != 0 and errors


def test_only_labels_made_here_are_written(tiny_dataset):
    assert [path.name for path in (tiny_dataset / "atlases").iterdir()] == ["oasis"]
    assert {path.name for path in (tiny_dataset / "atlases" / "oasis").iterdir()} == {
        "README", "dataset_description.json", "sub-0011", "sub-0012",
    }  # fmt: skip
    place = tiny_dataset / "atlases/oasis/sub-0011/ses-1/anat"
    assert {path.name.removeprefix("sub-0011_ses-1_space-T1w_") for path in place.iterdir()} == {
        "dseg.nii.gz", "dseg.tsv", "dseg.json",
        "desc-agreement_probseg.nii.gz", "desc-agreement_probseg.json",
    }  # fmt: skip


def test_the_files_hold_the_labels_of_the_build_on_the_grid_of_the_scan(tiny_dataset):
    stem = tiny_dataset / "atlases/oasis/sub-0011/ses-1/anat/sub-0011_ses-1_space-T1w"
    labels, agreement = (nib.load(f"{stem}_{name}.nii.gz") for name in ("dseg", "desc-agreement_probseg"))
    work = tiny_dataset / "work"
    scan = nib.load(work / "prepared/oasis-0011-1-t1w.nii.gz")
    voted = nib.load(work / "labels/oasis-0011-1-t1w_dseg.nii.gz")
    per_cent = nib.load(work / "labels/oasis-0011-1-t1w_agreement.nii.gz")
    np.testing.assert_array_equal(labels.dataobj, voted.dataobj)
    np.testing.assert_allclose(agreement.get_fdata(), np.asarray(per_cent.dataobj) / 100, atol=1e-6)
    assert labels.get_data_dtype() == np.uint8 and labels.header.get_intent()[0] == "label"
    for image in (labels, agreement):
        np.testing.assert_array_equal(image.affine, scan.affine)
        np.testing.assert_allclose(image.get_qform(), scan.affine, atol=1e-4)
        codes = [int(image.header[name]) for name in ("sform_code", "qform_code")]
        assert codes == [2, 2]  # Analyze stores no orientation: it is ours by convention, not the scanner's
        assert image.header.get_xyzt_units()[0] == "mm"
    said = json.loads(Path(f"{stem}_dseg.json").read_text())
    assert said["Voters"] == ["ibsr-01-t1w", "ibsr-02-t1w", "ibsr-03-t1w"] and said["Manual"] is False
    assert said["LabelMethod"] == "matching" and said["Terms"] == "ibsr+oasis"
    assert said["OrientationSource"] == "convention" and said["SourceImage"].startswith("OAS1_0011_MR1")


def test_the_terms_of_voters_are_terms_of_the_atlas(tiny_dataset):
    said = json.loads((tiny_dataset / "atlases/oasis/dataset_description.json").read_text())
    assert said["DatasetType"] == "derivative" and said["GeneratedBy"][0]["Version"]
    assert "IBSR" in said["License"] and "OASIS" in said["License"] and len(said["SourceDatasets"]) == 2


def test_the_table_reads_back_as_the_numbers_it_names(tiny_dataset):
    path = next((tiny_dataset / "atlases").rglob("*_dseg.tsv"))
    scheme = read_dseg_table(path)
    assert scheme.canonical == {0: (0,)} | {number: (number,) for number in canonical_table()}
    assert not scheme.unknown
    colors = [line.split("\t")[3] for line in path.read_text().splitlines()[1:]]
    assert all(len(color) == 7 and int(color[1:], 16) >= 0 for color in colors)


def test_generations_are_told_in_table_and_card(tiny_dataset):
    rows = {row["key"]: row for row in pq.read_table(tiny_dataset / "scans.parquet").to_pylist()}
    assert all(row["generation"] == (1 if row["source"] == "ibsr" else 2) for row in rows.values())
    card = (tiny_dataset / "README.md").read_text()
    assert "| oasis | 2 | " in card and " of 25 |" in card


@pytest.mark.parametrize("rule", ["all", "split"])
def test_held_out_labels_reach_training_only_where_the_card_says_so(
    tiny_dataset, tiny_config, tmp_path, rule
):
    out = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, out)
    recipe = out / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('voters = "all"', f'voters = "{rule}"'))
    settings = tiny_config.recipe.label.model_copy(update={"voters": rule})
    changed = tiny_config.recipe.model_copy(update={"label": settings})
    build(dataclasses.replace(tiny_config, recipe=changed, out=out))
    rows = {row["key"]: row for row in pq.read_table(out / "scans.parquet").to_pylist()}
    homes = {"train": {"train"}, "test": {"train", "test"}}
    fused = [row for row in rows.values() if row["generation"] == 2]
    assert {row["split"] for row in fused} == {"train", "test"}
    for row in fused:
        voting = {rows[voter]["split"] for voter in row["label_voters"]}
        assert voting == ({"train", "validation", "test"} if rule == "all" else homes[row["split"]])
    card = (out / "README.md").read_text()
    assert ("2 people of validation or test voted for scans of other splits" in card) == (rule == "all")
    assert ("Votes were limited (`label.voters = split`)" in card) == (rule == "split")


def test_files_of_scans_that_left_are_removed(tiny_dataset, tmp_path):
    shutil.copytree(tiny_dataset / "atlases", tmp_path / "atlases")
    names = sorted(
        str(p.relative_to(tmp_path)) for p in (tmp_path / "atlases").rglob("sub-0012*") if p.is_file()
    )
    kept = atlases.AtlasScan(key="oasis-0012-1-t1w", source="oasis", terms="oasis", files=tuple(names))
    atlases.write_descriptions(tmp_path, [kept], "", "1")
    assert {path.name for path in (tmp_path / "atlases" / "oasis").iterdir()} == {
        "README", "dataset_description.json", "sub-0012",
    }  # fmt: skip
    atlases.write_descriptions(tmp_path, [], "", "1")
    assert not list((tmp_path / "atlases").iterdir())


# Labels of others


def save(path: Path, array: np.ndarray, affine: np.ndarray, codes: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(nib.Nifti1Image(array.astype(np.int16), affine).as_reoriented(turn), path)


def tilted(brain) -> np.ndarray:
    """The head lies askew in the scanner."""
    turn = np.deg2rad(6)
    rotation = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(brain.zooms)
    affine[:3, 3] = (-99.0, -120.0, -80.0)
    return affine


@pytest.fixture(scope="module")
def lending(tiny_sources, tiny_dataset, make_brain, quick, tmp_path_factory):
    """No labels of its own: two IBSR people without their maps, one of a study, who also is ibsr-03.

    Labels come from the tiny data set and from a derivative folder with FreeSurfer's numbers.
    """
    root = tmp_path_factory.mktemp("lending")
    for number in (1, 2):
        shutil.copytree(
            tiny_sources / f"ibsr/IBSR_nifti_stripped/IBSR_0{number}",
            root / f"sources/ibsr/IBSR_nifti_stripped/IBSR_0{number}",
            ignore=shutil.ignore_patterns("*_seg_ana*"),
        )
    study, brain = root / "study", make_brain(31)
    save(study / "sub-07/anat/sub-07_T1w.nii.gz", brain.image, tilted(brain), "LIP")
    (study / "dataset_description.json").write_text(json.dumps({"Name": "Study", "License": "CC0"}))
    parcels, brain = root / "parcels", make_brain(32)
    labels = np.vectorize(lambda number: CORTEX.get(number, number))(brain.labels)
    save(parcels / "sub-a/anat/sub-a_desc-preproc_T1w.nii.gz", brain.image, tilted(brain), "RAS")
    save(parcels / "sub-a/anat/sub-a_desc-aparcaseg_dseg.nii.gz", labels, tilted(brain), "RAS")
    (parcels / "dataset_description.json").write_text(
        json.dumps({"Name": "Parcels", "License": "CC-BY-4.0", "DatasetType": "derivative"})
    )
    (root / "same.txt").write_text("study-07 ibsr-03\n")
    return BuildConfig(
        sources=("ibsr", f"bids:{study}"),
        recipe=load_recipe("demo", (*quick, "render.slice_step=32", "plan.splits=paper")),
        selection=Selection(same_person=root / "same.txt"),
        root=root / "sources",
        atlases=(tiny_dataset, parcels),
        out=root / "out",
        workers=1,
    )


@pytest.fixture(scope="module")
def lent(lending):
    """The build with lent labels, and its scans."""
    summary = build(lending)
    rows = pq.read_table(lending.out / "scans.parquet").to_pylist()
    return summary, {row["key"]: row for row in rows}


def test_lent_people_vote_but_never_for_themselves(lent):
    everybody = ["atlas-ibsr-01-t1w", "atlas-ibsr-02-t1w", "atlas-ibsr-03-t1w", "atlas-parcels-a-t1w"]
    assert {key: row["label_voters"] for key, row in lent[1].items()} == {
        "ibsr-01-t1w": [everybody[i] for i in (1, 2, 3)],
        "ibsr-02-t1w": [everybody[i] for i in (0, 2, 3)],
        "study-07-t1w": [everybody[i] for i in (0, 1, 3)],  # by --same-person
    }


def test_lent_people_are_no_part_of_the_data_set_but_their_terms_are(lent, lending):
    summary, rows = lent
    assert summary.pairs["planned"] == 9 and summary.generations == {"1": 0, "2": 9}
    assert {key: row["terms"] for key, row in rows.items()} == {
        "ibsr-01-t1w": "cc-by+ibsr", "ibsr-02-t1w": "cc-by+ibsr", "study-07-t1w": "cc-by+cc0+ibsr",
    }  # fmt: skip
    notes = "\n".join(summary.notes)
    assert "3 labeled people vote with 3 scans; not used: 2 scans without labels" in notes
    card = (lending.out / "README.md").read_text()
    assert "3 of ibsr (by --atlas)" in card and "1 of parcels (by --atlas)" in card
    assert "| other data sets (--atlas) |" in card and "| cc-by |" in card


def test_schemes_meet_in_canonical_numbers(lent, lending):
    for key in lent[1]:
        labels = np.asarray(nib.load(lending.out / f"work/labels/{key}_dseg.nii.gz").dataobj)
        assert set(np.unique(labels).tolist()) == {0, 2, 3, 10, 41, 42, 49}


def test_an_atlas_lies_on_the_source_image_in_scanner_space(lent, lending):
    """Stored LIP and tilted: a viewer has nothing but the two headers to bring them together."""
    source = nib.load(lending.out.parent / "study/sub-07/anat/sub-07_T1w.nii.gz")
    dseg = nib.load(lending.out / "atlases/study/sub-07/anat/sub-07_space-T1w_dseg.nii.gz")
    assert int(dseg.header["sform_code"]) == int(dseg.header["qform_code"]) == 1
    labels = np.asarray(resample_from_to(dseg, source, order=0).dataobj)
    brain = np.asarray(source.dataobj) > 0
    assert 2 * ((labels > 0) & brain).sum() / ((labels > 0).sum() + brain.sum()) > 0.9
    assert nib.aff2axcodes(source.affine) == ("L", "I", "P")
    places = {number: np.argwhere(labels == number).mean(axis=0) for number in (10, 49)}
    assert places[10][0] > places[49][0] + 5  # the source's first axis runs to the left


def test_the_same_call_goes_on_and_another_atlas_is_another_data_set(lent, lending):
    records = lending.out / "work" / "records"
    before = {path: path.stat().st_mtime_ns for path in records.rglob("*.json")}
    build(lending)
    assert before == {path: path.stat().st_mtime_ns for path in records.rglob("*.json")}
    with pytest.raises(InputError, match="differs in --atlas"):
        build(dataclasses.replace(lending, atlases=lending.atlases[:1]))


def test_what_the_lender_did_is_not_done_again(lent, lending, tiny_dataset):
    """Its affines come along where the settings are the same; under keys of their own."""
    records = lending.out / "work" / "records"
    for stage in ("register", "warp"):
        for theirs in (tiny_dataset / "work" / "records" / stage).glob("ibsr-*.json"):
            ours = json.loads((records / stage / f"atlas-{theirs.name}").read_text())
            copied = json.loads(theirs.read_text().replace("ibsr-0", "atlas-ibsr-0"))
            assert ours["inputs"] == copied["inputs"] and ours["payload"] == copied["payload"]
            assert all((lending.out / name).stat().st_size == size for name, size in ours["outputs"].items())


def test_a_registration_is_taken_over_only_for_the_same_settings_and_hub(tiny_dataset, tmp_path):
    """An atlas of another hub is registered anew, like any scan."""
    (scan, *_) = lend(tiny_dataset).scans
    same = load_recipe("demo", ("register.finest_mm=8.0",)).register_
    coarse = volumes.thin(load_hub().image, (2, 2, 2))
    (tmp_path / "hub.nii.gz").write_bytes(volumes.encode(coarse, "float32"))
    taken = tasks.run(atlas_stages.borrow_task(tmp_path, scan))
    for change in ({"finest_mm": 7.0}, {"hub": str(tmp_path / "hub.nii.gz")}, {}):
        task = stages.register_task(tmp_path, taken, same.model_copy(update=change))
        atlas_stages.take_over([task], atlas_stages.lenders_of([scan]))
        assert (tasks.finished(task) is None) == bool(change)
    assert tasks.finished(task).key == scan.key


def test_a_lent_scan_that_changed_is_refused_by_name(tiny_dataset, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(tiny_dataset, copy, ignore=shutil.ignore_patterns("*.tar"))
    (copy / "work/prepared/ibsr-01-t1w_dseg.nii.gz").write_bytes(b"something else")
    (copy / "work/prepared/ibsr-02-t1w.nii.gz").unlink()
    scans = {scan.key: scan for scan in lend(copy).scans}
    for key, words in (("01", "changed since"), ("02", "is missing")):
        refused = tasks.run(atlas_stages.borrow_task(tmp_path / "out", scans[f"atlas-ibsr-{key}-t1w"]))
        assert isinstance(refused, Rejection) and words in refused.detail and refused.reason == "unreadable"
    taken = tasks.run(atlas_stages.borrow_task(tmp_path / "out", scans["atlas-ibsr-03-t1w"]))
    assert (tmp_path / "out" / taken.dseg).is_file() and not taken.dseg.is_absolute()


def without_labels(folder: Path) -> None:
    table = pq.read_table(folder / "scans.parquet")
    pq.write_table(table.filter([source == "oasis" for source in table["source"].to_pylist()]),
                   folder / "scans.parquet")  # fmt: skip


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        (lambda folder: shutil.rmtree(folder / "work"), "", "only with its work folder"),
        (lambda folder: (folder / "scans.parquet").unlink(), "", "has not finished"),
        (lambda folder: (folder / "scans.parquet").write_bytes(b"PAR"), "", "cannot be read"),
        (without_labels, "", "do not vote again"),
        (lambda folder: None, "atlases/oasis", "without the images"),
        (lambda folder: None, "nowhere", "no such folder"),
        (lambda folder: None, "transforms", "no scan found"),
    ],
)
def test_what_is_no_atlas_is_said_in_one_line(
    tiny_dataset, tiny_sources, tmp_path, capsys, change, place, words
):
    copy, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(tiny_dataset, copy, ignore=shutil.ignore_patterns("*.tar", "*.nii.gz.bak"))
    change(copy)
    arguments = ["build", "--sources", "oasis", "--root", str(tiny_sources), "--out", str(out)]
    assert cli.main([*arguments, "--atlas", str(copy / place)]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said and len(said.splitlines()) == 1 and not out.exists()


def test_a_data_set_is_not_its_own_atlas(tiny_dataset, tiny_config):
    with pytest.raises(InputError, match="its own"):
        build(dataclasses.replace(tiny_config, atlases=(tiny_dataset,)))


def test_a_folder_of_images_alone_is_no_atlas(make_brain, tmp_path):
    brain = make_brain(31)
    save(tmp_path / "raw/sub-1/anat/sub-1_T1w.nii.gz", brain.image, tilted(brain), "RAS")
    with pytest.raises(InputError, match="1 scans, none with a label map"):
        lend(tmp_path / "raw")


def test_who_is_lent_twice_votes_once(tiny_sources, tiny_dataset):
    found = find(("oasis",), tiny_sources, Selection(), (tiny_dataset, tiny_sources / "ibsr"))
    assert [scan.key for scan in found.lent] == [f"atlas-ibsr-0{number}-t1w" for number in (1, 2, 3)]
    assert "3 of these scans are lent by an earlier --atlas" in found.notes["atlas"][1]


def test_no_source_is_taken_for_an_atlas(make_brain, tmp_path):
    brain = make_brain(31)
    save(tmp_path / "atlas/sub-1/anat/sub-1_T1w.nii.gz", brain.image, tilted(brain), "RAS")
    (scan,) = discover(f"bids:{tmp_path / 'atlas'}", tmp_path).scans
    assert scan.key == "bidsatlas-1-t1w"


def test_a_source_folder_lends_too(tiny_sources):
    found = lend(tiny_sources / "ibsr")
    assert [scan.key for scan in found.scans] == [f"atlas-ibsr-0{number}-t1w" for number in (1, 2, 3)]


def test_one_labeled_person_is_enough_and_said(tiny_sources, tiny_config, tmp_path):
    root = tmp_path / "sources"
    for number in (1, 2):
        ignored = shutil.ignore_patterns(*(["*_seg_ana*"] if number == 2 else []))
        place = f"ibsr/IBSR_nifti_stripped/IBSR_0{number}"
        shutil.copytree(tiny_sources / place, root / place, ignore=ignored)
    config = dataclasses.replace(tiny_config, sources=("ibsr",), root=root, out=tmp_path / "out")
    summary = build(config)
    assert any("1 scans have one voter alone (ibsr-01)" in note for note in summary.notes)
    assert "one voter alone (ibsr-01)" in (config.out / "README.md").read_text()
    labels = nib.load(config.out / "atlases/ibsr/sub-02/anat/sub-02_space-T1w_dseg.nii.gz")
    assert set(np.unique(np.asarray(labels.dataobj))) > {2, 41}
    assert summary.generations == {"1": 1, "2": 1}
