"""The four sources of synthetic people on disk: forms, spreadsheets, truth, and how the folder is treated."""

import csv
import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xlrd
from nibabel.affines import apply_affine
from scipy import ndimage
from scipy.io import loadmat

from brainatlas_text import demo, sources, volumes
from brainatlas_text.demo import truth
from brainatlas_text.demo.anatomy import Anatomy, build_anatomy
from brainatlas_text.demo.camera import Camera
from brainatlas_text.demo.layouts import ibsr, ixi, kirby
from brainatlas_text.errors import InputError, OutputError
from brainatlas_text.labels import scheme, to_canonical

pytestmark = pytest.mark.integration

T88 = "disc1/OAS1_0003_MR1/PROCESSED/MPRAGE/T88_111/OAS1_0003_MR1_mpr_n4_anon_111_t88"
SUBJ = "disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/SUBJ_111/OAS1_0001_MR1_mpr_n4_anon_sbj_111"
RAW = "disc1/OAS1_0002_MR1/RAW/OAS1_0002_MR1_mpr-1_anon"


@pytest.fixture(scope="module")
def out(demo_sources: Path) -> Path:
    """Four people a source."""
    return demo_sources


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return build_anatomy()


@pytest.fixture(scope="module")
def rows(out: Path) -> list[truth.TruthRow]:
    return truth.read_rows(out / "truth" / "truth.tsv")


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def analyze_header(path: Path) -> nib.AnalyzeHeader:
    return nib.AnalyzeHeader(path.read_bytes())


def stored_order(row: truth.TruthRow) -> str | None:
    """What a reader must be told: Analyze files do not say."""
    return row.axis_codes if row.file.endswith(".img") else None


def test_ibsr_nifti_has_its_headers(out: Path) -> None:
    folder = out / "ibsr" / "IBSR_nifti_stripped" / "IBSR_01"
    kinds = ("ana", "ana_strip", "ana_brainmask", "seg_ana", "segTRI_ana", "segTRI_fill_ana")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"IBSR_01_{kind}.nii.gz" for kind in kinds
    )
    for kind in kinds:
        image = nib.load(folder / f"IBSR_01_{kind}.nii.gz")
        header = image.header
        assert image.ndim == 4 and image.shape[3] == 1 and header.get_data_dtype() == np.int16
        assert np.allclose(header["pixdim"][1:5], (0.9375, 1.5, 0.9375, 0))
        assert (header["qform_code"], header["sform_code"]) == (0, 1)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        corners = apply_affine(image.affine, [(image.shape[0] - 1, 0, 0), (0, 0, 0)])
        assert np.allclose(corners[0], 0) and corners[1][0] < -180


def test_ibsr_labels_are_cma_numbers_on_the_image(out: Path) -> None:
    base = out / "ibsr" / "IBSR_nifti_stripped" / "IBSR_02" / "IBSR_02_"
    seg, brain, image, tri, filled = (
        np.asarray(nib.load(f"{base}{kind}.nii.gz").dataobj)[..., 0]
        for kind in ("seg_ana", "ana_brainmask", "ana_strip", "segTRI_ana", "segTRI_fill_ana")
    )
    assert set(np.unique(seg).tolist()) <= scheme("ibsr-cma").canonical.keys()
    assert len(np.unique(to_canonical(seg, "ibsr-cma", "seg"))) > 30
    assert np.array_equal(image > 0, brain > 0) and (brain[seg > 0] == 1).all()
    assert np.array_equal(filled > 0, brain > 0)
    assert set(np.unique(tri).tolist()) == {0, 1, 2, 3} and (tri > 0).sum() < (filled > 0).sum()


def test_ibsr_analyze_holds_the_nifti_voxels_as_lia(out: Path) -> None:
    base = out / "ibsr" / "IBSR_V2.0_ANALYZE" / "IBSR_01"
    nifti = np.asarray(nib.load(out / "ibsr/IBSR_nifti_stripped/IBSR_01/IBSR_01_ana.nii.gz").dataobj)[..., 0]
    path = base / "images" / "analyze" / "IBSR_01_ana"
    header = analyze_header(path.with_suffix(".hdr"))
    assert header.endianness == "<" and header.get_data_dtype() == np.dtype("<i2")
    nx, _, nz = nifti.shape
    shape = (nx, nz, nifti.shape[1])
    assert header.get_data_shape() == (*shape, 1)
    stored = np.fromfile(path.with_suffix(".img"), "<i2").reshape(shape, order="F")
    for i, j, k in ((10, 100, 60), (120, 90, 40), (70, 130, 100)):
        assert stored[i, j, k] == nifti[nx - 1 - i, k, nz - 1 - j]
    matrix = loadmat(path.with_suffix(".mat"))["M"]
    directions = np.array([[-0.9375, 0, 0], [0, 0, 1.5], [0, -0.9375, 0]])
    assert np.allclose(matrix[:3, :3], directions)
    assert (base / "segmentation" / "analyze" / "IBSR_01_seg_ana.img").is_file()
    assert not (out / "ibsr" / "IBSR_nifti_stripped" / "IBSR_04").exists()


@pytest.mark.parametrize(
    ("name", "shape", "zooms"),
    [
        (f"{T88}_gfc", (176, 208, 176), (1, 1, 1)),
        (f"{T88}_masked_gfc", (176, 208, 176), (1, 1, 1)),
        (SUBJ, (256, 256, 160), (1, 1, 1)),
        (RAW, (256, 256, 128), (1, 1, 1.25)),
    ],
)
def test_oasis_is_big_endian_analyze_without_orientation(
    out: Path, name: str, shape: tuple[int, ...], zooms: tuple[float, ...]
) -> None:
    path = out / "oasis" / name
    header = analyze_header(path.with_name(path.name + ".hdr"))
    assert header.endianness == ">" and header.get_data_dtype() == np.dtype(">i2")
    assert header.get_data_shape() == (*shape, 1) and np.allclose(header["pixdim"][1:4], zooms)
    assert header["orient"] == b"" and header["originator"] == b""
    assert path.with_name(path.name + ".img").stat().st_size == 2 * np.prod(shape)


@pytest.mark.parametrize(("name", "codes"), [(f"{T88}_gfc", "LAS"), (SUBJ, "ASL"), (RAW, "ASL")])
def test_oasis_marker_lies_on_the_left_of_the_stored_array(out: Path, name: str, codes: str) -> None:
    path = out / "oasis" / name
    image = nib.AnalyzeImage.load(path.with_name(path.name + ".img"))
    array = np.asarray(image.dataobj)[..., 0]
    pieces, _ = ndimage.label(array > 0.22 * array.max())
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    (of_its_size,) = np.flatnonzero((sizes > 200) & (sizes < 900))  # one thing alone lies beside the head
    capsule, head = np.argwhere(pieces == of_its_size), np.argwhere(pieces == sizes.argmax())
    assert np.ptp(capsule, axis=0).max() < 16
    axis = codes.index("L")  # indices grow towards the left
    zoom = float(image.header.get_zooms()[axis])
    assert (capsule[:, axis].mean() - np.median(head[:, axis])) * zoom > 40


def test_every_marker_is_a_bright_blob_where_the_truth_says(out: Path, rows: list[truth.TruthRow]) -> None:
    marked = [row for row in rows if row.marker_x_mm]
    assert len(marked) == 7 and {row.source for row in marked} == {"oasis"}
    assert not any(row.stripped for row in marked)
    for row in marked:
        scan = volumes.load(out / row.file, stored_order(row))
        brain = volumes.load_labels(out / "truth" / row.mask).array > 0
        point = (float(row.marker_x_mm), float(row.marker_y_mm), float(row.marker_z_mm))
        center = np.rint(apply_affine(np.linalg.inv(scan.affine), point)).astype(int)
        near = tuple(slice(c - 1, c + 2) for c in center)
        assert scan.array[near].mean() > 1.3 * scan.array[brain].mean(), row.file
        middle = apply_affine(scan.affine, np.argwhere(brain).mean(0))
        assert point[0] < middle[0] - 40, row.file
        mirrored = np.rint(apply_affine(np.linalg.inv(scan.affine), (2 * middle[0] - point[0], *point[1:])))
        i, j, k = (slice(int(c) - 1, int(c) + 2) for c in mirrored)
        assert scan.array[i, j, k].mean() < 0.9 * scan.array[near].mean(), row.file


def test_ixi_grids_are_those_of_their_scanners(out: Path) -> None:
    t2w = nib.load(out / "ixi" / "IXI-T2" / "IXI038-IOP-0714-T2.nii.gz")
    assert nib.aff2axcodes(t2w.affine) == ("L", "A", "S") and t2w.header.get_data_dtype() == np.int16
    assert np.allclose(t2w.header.get_zooms(), (0.9375, 0.9375, 1.2))
    assert 0.03 < abs(t2w.affine[2, 1]) < 0.06 and np.allclose(t2w.get_qform(), t2w.get_sform(), atol=1e-3)
    t1w = nib.load(out / "ixi" / "IXI-T1" / "IXI025-HH-0707-T1.nii.gz")
    assert nib.aff2axcodes(t1w.affine) == ("P", "S", "R")


def test_ixi_spreadsheet(out: Path) -> None:
    book = xlrd.open_workbook(out / "ixi" / "IXI.xls")
    sheet = book.sheet_by_name("Table")
    assert sheet.row_values(0)[:3] == ["IXI_ID", "SEX_ID (1=m, 2=f)", "HEIGHT"] and sheet.ncols == 12
    ids = sheet.col_values(0)[1:]
    assert ids == [12.0, 25.0, 25.0, 38.0, 51.0]
    assert sheet.row_values(2) == sheet.row_values(3)
    assert sheet.col_values(11)[-1] == "" and all(
        isinstance(age, float) for age in sheet.col_values(11)[1:-1]
    )


def test_kirby_files_and_visits(out: Path) -> None:
    folder = out / "kirby"
    names = sorted(path.name for path in folder.glob("KKI2009-ALL-FLAIR/*"))
    assert names == [f"KKI2009-{n:02d}-FLAIR.nii.gz" for n in (1, 2, 4, 5, 7)]
    image = nib.load(folder / "KKI2009-ALL-FLAIR" / names[0])
    assert nib.aff2axcodes(image.affine) == ("R", "P", "S") and image.header.get_data_dtype() == np.float32
    assert np.allclose(image.header.get_zooms(), (1.2, 1, 1))
    visits = table(folder / "subject_id_to_visit_id.csv")
    assert visits[0] == ["Visit_ID", "Subject_ID", "Subj_Visit", "kki_id"]
    twice = [row for row in visits[1:] if row[1] == "131"]
    assert [(row[0], row[2]) for row in twice] == [("2", "2"), ("5", "1")]
    assert table(folder / "kirby21_demog.csv")[0] == ["Subject_ID", "Age", "Sex"]
    assert table(folder / "Kirby_info.csv")[0] == ["ID", "AGE", "GENDER", "HAND"]


def test_spreadsheets_of_ibsr_and_oasis(out: Path) -> None:
    people = table(out / "ibsr" / "IBSR_info.csv")
    assert people[0] == ["ID", "GENDER", "AGE"] and people[3][2] == "JUV" and len(people) == 5
    sessions = table(out / "oasis" / "oasis_cross-sectional.csv")
    assert ",".join(sessions[0]) == "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
    ratings = {row[0]: row[7] for row in sessions[1:]}
    assert ratings.pop("OAS1_0099_MR1") == "0.5" and set(ratings.values()) == {"", "0"}


def test_truth_lies_on_the_stored_grid_and_fits_the_image(out: Path, rows: list[truth.TruthRow]) -> None:
    assert len(rows) == 34
    for row in rows:
        image = nib.load(out / row.file)
        dseg, mask = (nib.load(out / "truth" / name) for name in (row.dseg, row.mask))
        assert dseg.shape == image.shape[:3] == mask.shape
        assert "".join(nib.aff2axcodes(dseg.affine)) == row.axis_codes
        brain = np.asarray(mask.dataobj) > 0
        labels = np.asarray(dseg.dataobj)
        array = np.asarray(image.dataobj).reshape(dseg.shape)
        assert (
            (brain[labels > 0]).all() and 1000 < brain.sum() * abs(np.linalg.det(dseg.affine)) / 1000 < 2300
        )
        for axis in range(3):
            planes = brain.any(axis=tuple({0, 1, 2} - {axis}))
            assert not planes[0] and not planes[-1], f"{row.file}: the brain is cut"
        some = np.s_[::2, ::2, ::2]  # enough to average
        fluid, white = np.isin(labels[some], (4, 43)), np.isin(labels[some], (2, 41))
        bright = array[some]
        assert (bright[fluid].mean() > bright[white].mean()) == (row.sequence == "T2w")
        assert (array[~brain].max() > 0) != row.stripped
        left, right = (apply_affine(dseg.affine, np.argwhere(labels == n)).mean(0) for n in (17, 53))
        assert left[0] < right[0] - 30


def test_the_sources_are_found_as_the_truth_says(out: Path, rows: list[truth.TruthRow]) -> None:
    stated = {row.file: row for row in rows}
    subjects: dict[str, set[str]] = {}
    for name, module in (
        ("ibsr", sources.ibsr),
        ("oasis", sources.oasis),
        ("ixi", sources.ixi),
        ("kirby", sources.kirby),
    ):
        found = module.discover(out / name)
        assert not found.rejections
        for scan in found.scans:
            row = stated[scan.image.relative_to(out).as_posix()]
            facts = scan.facts
            assert (scan.subject, scan.sequence, facts.sex) == (row.subject, row.sequence, row.sex)
            assert facts.age_years == (float(row.age_years) if row.age_years else None)
            assert (facts.juvenile, scan.stripped) == (row.juvenile, row.stripped)
            assert scan.array_order == stored_order(row)
            assert (facts.healthy is False) == (scan.subject == "oasis-0099")
            subjects.setdefault(name, set()).add(scan.subject)
    assert {name: len(people) for name, people in subjects.items()} == {
        "ibsr": 4, "oasis": 5, "ixi": 4, "kirby": 4
    }  # fmt: skip


def test_a_person_written_alone_has_the_same_bytes(out: Path, tmp_path: Path, anatomy: Anatomy) -> None:
    camera = Camera(anatomy=anatomy, seed=0)
    for layout, name, number in ((kirby, "kirby", 3), (ixi, "ixi", 2)):
        who = layout.identity(number, 0)
        for row in layout.write_person(tmp_path / name, tmp_path / "truth" / name, camera, who):
            for part in (row.file, f"truth/{row.dseg}", f"truth/{row.mask}"):
                assert digest(tmp_path / part) == digest(out / part), part
    ixi.write_tables(tmp_path / "ixi", [ixi.identity(number, 0) for number in range(4)], 0)
    assert digest(tmp_path / "ixi" / "IXI.xls") == digest(out / "ixi" / "IXI.xls")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_finished_folder_is_left_alone(out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    assert demo.write_demo_sources(out, people=4, seed=0).written == ()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")} == before


def test_an_interrupted_run_leaves_nothing_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anatomy: Anatomy
) -> None:
    monkeypatch.setattr(demo, "_LAYOUTS", {"ibsr": ibsr})
    monkeypatch.setattr(demo, "build_anatomy", lambda: anatomy)
    monkeypatch.setattr(ibsr, "_SHAPE", (24, 20, 24))  # few voxels: this is about folders

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as failing:
        failing.setattr(ibsr, "write_tables", interrupt)
        with pytest.raises(KeyboardInterrupt):
            demo.write_demo_sources(tmp_path, workers=1)
    assert not (tmp_path / "ibsr").exists() and not (tmp_path / "truth").exists()
    assert demo.write_demo_sources(tmp_path, workers=1).written == ("ibsr",)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".brainatlas-demo.json", "ibsr", "truth"]


def test_other_settings_replace_what_was_written(tmp_path: Path) -> None:
    demo._claim(tmp_path, people=4, seed=0)
    (tmp_path / "ibsr").mkdir()
    (tmp_path / "notes.txt").write_text("kept")
    demo._claim(tmp_path, people=4, seed=0)
    assert (tmp_path / "ibsr").is_dir()
    demo._claim(tmp_path, people=5, seed=0)
    assert not (tmp_path / "ibsr").exists() and (tmp_path / "notes.txt").is_file()


@pytest.mark.parametrize("people", [3, 0, 49])
def test_a_number_of_people_out_of_range_is_an_input_error(tmp_path: Path, people: int) -> None:
    with pytest.raises(InputError, match=f"4 to 48 people a source, got {people}"):
        demo.write_demo_sources(tmp_path / "new", people=people)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="expected an empty folder"):
        demo.write_demo_sources(tmp_path)
    with pytest.raises(OutputError, match="expected a folder, found a file"):
        demo.write_demo_sources(tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
