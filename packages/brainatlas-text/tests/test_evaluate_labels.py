"""Label maps of folders against the truth: pairing, grids, numbers, outputs."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainatlas_text import cli, label_folders, labels, scores
from brainatlas_text.evaluate_labels import TruthConfig, against_truth
from brainatlas_text.label_folders import pair_folders

pytestmark = pytest.mark.unit
AFFINE = np.array([[1.0, 0, 0, -9], [0, 1.5, 0, -8], [0, 0, 2.0, -7], [0, 0, 0, 1]])


def brain() -> np.ndarray:
    """Blocks of six structures, none of them symmetric."""
    array = np.zeros((14, 12, 10), dtype=np.uint8)
    array[1:7, 1:11, 1:9], array[7:13, 1:11, 1:9] = 3, 42
    array[2:6, 2:10, 2:8], array[8:12, 2:10, 2:8] = 2, 41
    array[4:6, 4:7, 3:6], array[8:11, 4:8, 3:6] = 17, 53
    return array


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, codes: str = "RAS") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    turned = nib.orientations.axcodes2ornt(codes)
    nib.save(nib.Nifti1Image(array, affine).as_reoriented(turned), path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("anna", "bert"):
        write(tmp_path / "truth" / f"{name}_dseg.nii.gz", brain())
        write(tmp_path / "labels" / f"{name}_dseg.nii.gz", np.roll(brain(), 1, axis=0))
    return tmp_path / "labels", tmp_path / "truth"


def run(*arguments: object) -> int:
    return cli.main(["evaluate-labels", *map(str, arguments), "--workers", "1"])


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a call that must fail with exit code 2."""
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("brainatlas-text: error: ")
    return line


def test_the_order_of_the_stored_axes_does_not_matter(tmp_path):
    write(tmp_path / "truth" / "anna_dseg.nii.gz", brain(), codes="LIA")
    write(tmp_path / "labels" / "anna_dseg.nii.gz", brain(), codes="PSR")
    found = against_truth(TruthConfig(labels=(tmp_path / "labels",), truth=tmp_path / "truth", workers=1))
    assert {score.dice for score in found.groups[0].structures} == {1.0}
    assert len(found.groups[0].structures) == 6


def test_zooms_reach_the_distances(folders):
    found = against_truth(TruthConfig(labels=folders[:1], truth=folders[1], workers=1))
    assert {round(score.hd95_mm, 3) for score in found.scans[0].structures} == {1.0}  # a voxel to the right


def test_people_pair_by_name_and_lend_their_truth_to_their_sequences(folders):
    labels_folder, truth = folders
    for name in ("anna", "bert"):
        (labels_folder / f"{name}_dseg.nii.gz").rename(labels_folder / f"{name}_T2w_dseg.nii.gz")
    write(labels_folder / "sub" / "anna_FLAIR_dseg.nii.gz", brain())
    write(labels_folder / "carl_dseg.nii.gz", brain())
    found = pair_folders(labels_folder, truth)
    assert [(p.scan, p.sequence, p.truth.path.name) for p in found.pairs] == [
        ("anna_T2w", "T2w", "anna_dseg.nii.gz"),
        ("bert_T2w", "T2w", "bert_dseg.nii.gz"),
        ("anna_FLAIR", "FLAIR", "anna_dseg.nii.gz"),
    ]
    assert found.left_out == ("carl",)


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("ixi-517-t2w", "T2w"),
        ("sub-01_ses-1_T1w", "T1w"),
        ("sim001_FLAIR", "FLAIR"),
        ("kirby-113-2-flair", "FLAIR"),
        ("flairy-t12", ""),
        ("sim001", ""),
    ],
)
def test_sequences_are_read_off_names(name, sequence):
    assert label_folders.sequence_of(name) == sequence


def test_numbers_are_told_by_the_nearest_table(folders):
    labels_folder, truth = folders
    own = {2: 3, 41: 4, 3: 1, 42: 2, 17: 5, 53: 6}
    renumbered = np.zeros_like(brain())
    for canonical, number in own.items():
        renumbered[brain() == canonical] = number
    for name in ("anna", "bert"):
        write(labels_folder / f"{name}_dseg.nii.gz", renumbered)
    names = ["left cerebral cortex", "right cerebral cortex", "Left-Cerebral-White-Matter"]
    names += ["Right-Cerebral-White-Matter", "Left-Hippocampus", "Right-Hippocampus"]
    rows = "".join(f"{number}\t{name}\n" for number, name in enumerate(names, 1))
    (labels_folder / "dseg.tsv").write_text("index\tname\n" + rows)
    (labels_folder.parent / "dseg.tsv").write_text("index\tname\n1\tBrain-Stem\n")  # not below the folder
    found = against_truth(TruthConfig(labels=(labels_folder,), truth=truth, workers=1))
    assert {score.dice for score in found.groups[0].structures} == {1.0}


def test_every_number_a_build_writes_is_known_without_a_table():
    numbers = np.array([0, *sorted(labels.canonical_table())], dtype=np.uint8)
    np.testing.assert_array_equal(labels.to_canonical(numbers, "freesurfer", "here"), numbers)


def test_tissues_of_structures_and_of_tissue_maps_are_the_same(tmp_path, folders):
    labels_folder, truth = folders
    as_tissue = tmp_path / "tissue"
    for name in ("anna", "bert"):
        write(as_tissue / f"{name}_seg.nii.gz", scores.tissue_map(brain()), codes="LAS")
        write(tmp_path / "masks" / f"{name}_mask.nii.gz", (brain() > 0).astype(np.uint8))
    common = {"labels": (labels_folder,), "tissue": True, "workers": 1, "masks": tmp_path / "masks"}
    structures = against_truth(TruthConfig(truth=truth, **common))
    tissues = against_truth(TruthConfig(truth=as_tissue, truth_suffix="_seg.nii.gz", **common))
    assert structures.scans == tissues.scans
    assert [s.structure for s in tissues.groups[0].structures] == [
        "grey matter",
        "white matter",
        "grey matter, filled",
    ]


def test_table_csv_plot_and_json(folders, tmp_path, capsys):
    labels_folder, truth = folders
    table, plot = tmp_path / "scores.csv", tmp_path / "scores.svg"
    arguments = ("--labels", labels_folder, truth, "--truth", truth, "--csv", table, "--plot", plot)
    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    assert "left hippocampus" in shown and "1.000" in shown
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 2 * 2 * 6
    assert {row["method"] for row in rows} == {str(labels_folder), str(truth)}
    assert {row["dice"] for row in rows if row["method"] == str(truth)} == {"1.0"}
    first = plot.read_bytes()
    assert b"<svg" in first
    assert run(*arguments, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert plot.read_bytes() == first
    by_hand = {(row["scan"], row["structure"]): float(row["dice"]) for row in rows[:12]}
    scan = printed["scans"][0]
    assert {(scan["scan"], s["structure"]): s["dice"] for s in scan["structures"]}.items() <= by_hand.items()


def test_bad_input_is_one_line(folders, tmp_path, capsys):
    labels_folder, truth = folders
    where = ("--labels", labels_folder, "--truth", truth)
    assert "no such folder" in complaint(capsys, "--labels", tmp_path / "nowhere", "--truth", truth)
    assert "no file ends in _x.nii.gz" in complaint(capsys, *where, "--suffix", "_x.nii.gz")
    assert "expected a data set folder OUT, or" in complaint(capsys)
    assert "expected a data set folder OUT, or" in complaint(capsys, "--truth", truth)
    assert "expected a data set folder OUT, or" in complaint(capsys, tmp_path, *where)
    assert "not a data set" in complaint(capsys, tmp_path)
    assert ".svg, .png, .pdf" in complaint(capsys, *where, "--plot", "scores.gif")
    assert "give its folder OUT" in complaint(capsys, *where, "--methods", "label.voters=all")
    assert "no brain mask anna_mask" in complaint(
        capsys, *where, "--tissue", "--masks", mask_of_bert(tmp_path)
    )


def mask_of_bert(folder: Path) -> Path:
    write(folder / "masks" / "bert_mask.nii.gz", (brain() > 0).astype(np.uint8))
    return folder / "masks"


def test_maps_that_do_not_fit_are_one_line(folders, capsys):
    labels_folder, truth = folders
    where = ("--labels", labels_folder, "--truth", truth)
    path = labels_folder / "anna_dseg.nii.gz"
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.5
    write(path, brain(), shifted)
    assert "not on the voxel grid of" in (line := complaint(capsys, *where)) and "0.5 voxels" in line
    write(path, brain()[:-1])
    assert "13x12x10 of 1/1.5/2 mm and 14x12x10" in complaint(capsys, *where)
    write(path, np.where(brain() == 17, 199, brain()))
    assert "label 199 is not in 'freesurfer'" in complaint(capsys, *where)
    path.unlink()
    assert "holds no labels anna_dseg.nii.gz for this truth" in complaint(capsys, *where)
    path.with_name("bert_dseg.nii.gz").rename(labels_folder / "carl_dseg.nii.gz")
    assert "no name agrees" in complaint(capsys, *where)


@pytest.mark.parametrize(
    ("value", "why"), [(0, "this truth holds no labels"), (24, "no structure that is scored")]
)
def test_a_truth_without_structures_is_one_line(folders, value, why, capsys):
    labels_folder, truth = folders
    write(truth / "anna_dseg.nii.gz", np.where(brain() > 0, value, 0).astype(np.uint8))
    assert why in complaint(capsys, "--labels", labels_folder, "--truth", truth)
