"""Every form in which a scan is distributed, written to disk as it is and read back: left stays left.

The phantom is a box with one bright mark near the left, front, top corner. Its size differs along every axis,
so that a wrong order of axes shows as well as a wrong direction.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.io import savemat

from brainatlas_text import spaces, volumes
from brainatlas_text.sources import discover

pytestmark = pytest.mark.unit
SHAPE, ZOOMS = (20, 26, 32), np.array([1.5, 1.25, 1.0])
MARK = (3, 20, 28)  # RAS voxel: left, front, top


def phantom(dtype="int16"):
    array = np.ones(SHAPE, dtype=dtype)
    array[MARK] = 100
    return array


def stored(codes):
    """The phantom as an array of other axes, and its zooms along them."""
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    return nib.orientations.apply_orientation(phantom(), turn), [
        ZOOMS[["LR", "PA", "IS"].index(a)] for a in axes(codes)
    ]


def axes(codes):
    return [next(pair for pair in ("LR", "PA", "IS") if code in pair) for code in codes]


def nifti(path, codes="RAS", dtype="int16", fourth=False, qform=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = phantom(dtype)
    image = nib.Nifti1Image(array, np.diag([*ZOOMS, 1.0]))
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    image = image.as_reoriented(turn)
    if fourth:
        image = nib.Nifti1Image(np.asarray(image.dataobj)[..., None], image.affine)
    if not qform:
        image.set_qform(None, 0)
    nib.save(image, path)


def analyze(path, codes, endian, compressed=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    array, zooms = stored(codes)
    header = nib.AnalyzeHeader(endianness=endian)
    header.set_data_dtype(f"{endian}i2")
    header.set_data_shape((*array.shape, 1))
    header.set_zooms((*zooms, 0.0))
    path.with_name(path.name + ".hdr").write_bytes(header.binaryblock)
    data = np.asarray(array, f"{endian}i2").tobytes(order="F")
    if compressed:
        path.with_name(path.name + ".img.gz").write_bytes(gzip.compress(data, 1))
        (path.with_name(path.name + ".hdr.gz")).write_bytes(gzip.compress(header.binaryblock, 1))
        path.with_name(path.name + ".hdr").unlink()
    else:
        path.with_name(path.name + ".img").write_bytes(data)


def only(source, root):
    (scan,) = discover(source, root).scans
    return scan


def assert_left_is_left(scan):
    volume = volumes.load(scan.image, scan.array_order)
    assert spaces.axis_codes(volume.affine) == "RAS" and volume.shape == SHAPE
    np.testing.assert_allclose(volume.zooms_mm, ZOOMS, rtol=1e-5)
    assert tuple(np.argwhere(volume.array == 100)[0]) == MARK


@dataclass(frozen=True)
class Form:
    """One row of the table in docs/reference/sources.md."""

    name: str
    source: str
    path: str
    codes: str = "RAS"
    orientation: str = "header"
    stripped: bool = False
    endian: str = ""  # of Analyze files
    compressed: bool = False
    nifti: dict = None

    def write(self, root: Path):
        if self.endian:
            analyze(root / self.source / self.path, self.codes, self.endian, self.compressed)
        else:
            nifti(root / self.source / self.path, self.codes, **(self.nifti or {}))


IBSR2 = "IBSR_nifti_stripped/IBSR_01/IBSR_01"
SESSION = "OAS1_0001_MR1"
PROCESSED = f"disc1/{SESSION}/PROCESSED/MPRAGE"
FORMS = [
    Form("ibsr-strip", "ibsr", f"{IBSR2}_ana_strip.nii.gz", stripped=True,
         nifti={"fourth": True, "qform": False}),
    Form("ibsr-head", "ibsr", f"{IBSR2}_ana.nii.gz", nifti={"fourth": True, "qform": False}),
    Form("ibsr-unpacked", "ibsr", f"{IBSR2}_ana_strip.nii", stripped=True),
    Form("ibsr-misa", "ibsr", "Training_Set/IBSR_01/IBSR_01.nii.gz", stripped=True, nifti={"fourth": True}),
    Form("ibsr-analyze", "ibsr", "IBSR_01/images/analyze/IBSR_01_ana", "LIA", "convention", endian="<"),
    Form("oasis-raw", "oasis", f"disc1/{SESSION}/RAW/{SESSION}_mpr-1_anon", "ASL", "convention", endian=">"),
    Form("oasis-raw-gz", "oasis", f"disc1/{SESSION}/RAW/{SESSION}_mpr-1_anon", "ASL", "convention",
         endian=">", compressed=True),
    Form("oasis-subj", "oasis", f"{PROCESSED}/SUBJ_111/{SESSION}_mpr_n4_anon_sbj_111", "ASL", "convention",
         endian=">"),
    Form("oasis-subj-n3", "oasis", f"{PROCESSED}/SUBJ_111/{SESSION}_mpr_n3_anon_sbj_111", "ASL",
         "convention", endian=">"),
    Form("oasis-t88", "oasis", f"{PROCESSED}/T88_111/{SESSION}_mpr_n4_anon_111_t88_gfc", "LAS", "convention",
         endian=">"),
    Form("oasis-t88-masked", "oasis", f"{PROCESSED}/T88_111/{SESSION}_mpr_n3_anon_111_t88_masked_gfc", "LAS",
         "convention", stripped=True, endian=">"),
    Form("oasis-flat", "oasis", f"{SESSION}_mpr_n4_anon_111_t88_gfc", "LAS", "convention", endian=">"),
    Form("oasis-neurite-orig", "oasis", f"OASIS_{SESSION}/orig.nii.gz", "LIA", nifti={"dtype": "float32"}),
    Form("oasis-neurite-norm", "oasis", f"OASIS_{SESSION}/norm.nii.gz", "LIA", stripped=True),
    Form("oasis-neurite-aligned", "oasis", f"OASIS_{SESSION}/aligned_norm.nii.gz", "LIA", stripped=True),
    Form("ixi-folder", "ixi", "IXI-T2/IXI002-Guys-0828-T2.nii.gz", "LAS"),
    Form("ixi-flat", "ixi", "IXI012-HH-1211-T1.nii.gz", "PSR"),
    Form("ixi-unpacked", "ixi", "IXI-T1/IXI012-HH-1211-T1.nii", "PSR"),
    Form("kirby-sequence-folder", "kirby", "KKI2009-ALL-MPRAGE/KKI2009-30-MPRAGE.nii.gz", "RPS",
         nifti={"dtype": "float32"}),
    Form("kirby-scan-folder", "kirby", "KKI2009-30/KKI2009-30-T2w.nii", "RPS"),
    Form("kirby-flat", "kirby", "KKI2009-33-FLAIR.nii.gz", "PSR"),
    Form("kirby-r-package", "kirby", "kirby21.flair/visit_2/113/113-02-FLAIR.nii.gz", "RPS"),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_scan_is_read_right_way_round(tmp_path, form):
    form.write(tmp_path)
    scan = only(form.source, tmp_path)
    assert (scan.orientation_source, scan.stripped) == (form.orientation, form.stripped)
    assert scan.array_order == (form.codes if form.endian else None)
    assert scan.dseg is None
    assert_left_is_left(scan)


def test_every_form_is_in_the_reference(repository):
    page = (repository / "docs/reference/sources.md").read_text(encoding="utf-8")
    assert [form.name for form in FORMS if f"`{form.name}`" not in page] == []


# IBSR: the matrix beside an ANALYZE image ------------------------------------------------------------------


def spm_matrix(zooms, signs=(-1, -1, 1)):
    """SPM's M for array order L, I, A (indices from 1), or with other signs."""
    matrix = np.zeros((4, 4))
    for column, (row, sign) in enumerate(zip((0, 2, 1), signs, strict=True)):
        matrix[row, column] = sign * zooms[column]
    matrix[:3, 3], matrix[3, 3] = 10.0, 1.0
    return matrix


@pytest.mark.parametrize(
    ("matrix", "orientation", "note"),
    [
        (spm_matrix([1.5, 1.0, 1.25]), "checked", None),
        (spm_matrix([3.0, 2.0, 2.5]), "convention", "another grid"),
        (spm_matrix([1.5, 1.0, 1.25], (1, -1, 1)), "convention", "says axes RIA where the release has LIA"),
        (np.zeros((2, 2)), "convention", "no 4 x 4 matrix"),
    ],
    ids=["agrees", "other grid", "contradicts", "no matrix"],
)
def test_the_matrix_beside_an_image_checks_the_convention_and_never_replaces_it(
    tmp_path, matrix, orientation, note
):
    form = next(form for form in FORMS if form.name == "ibsr-analyze")
    form.write(tmp_path)
    savemat(tmp_path / "ibsr" / f"{form.path}.mat", {"M": matrix}, format="4")
    scan = only("ibsr", tmp_path)
    assert (scan.array_order, scan.orientation_source) == ("LIA", orientation)
    said = [text for text in scan.notes if ".mat" in text]
    assert (len(said) == 1 and note in said[0]) if note else said == []
    if matrix.shape == (4, 4):  # nibabel refuses an image beside a matrix of another shape
        assert_left_is_left(scan)


def test_a_matrix_that_is_junk_is_named_and_not_used(tmp_path):
    form = next(form for form in FORMS if form.name == "ibsr-analyze")
    form.write(tmp_path)
    (tmp_path / "ibsr" / f"{form.path}.mat").write_bytes(b"junk" * 9)
    scan = only("ibsr", tmp_path)
    assert scan.orientation_source == "convention" and "IBSR_01_ana.mat is not used" in scan.notes[-1]


def test_a_form_with_labels_goes_before_one_without(tmp_path):
    nifti(tmp_path / "ibsr/Training_Set/IBSR_01/IBSR_01.nii.gz")
    nifti(tmp_path / "ibsr/Training_Set/IBSR_01/IBSR_01_seg.nii.gz")
    analyze(tmp_path / "ibsr/IBSR_01/images/analyze/IBSR_01_ana", "LIA", "<")
    analyze(tmp_path / "ibsr/IBSR_01/segmentation/analyze/IBSR_01_seg_ana", "LIA", "<")
    scan = only("ibsr", tmp_path)
    assert (scan.image.name, scan.dseg.name) == ("IBSR_01_ana.img", "IBSR_01_seg_ana.img")
    assert [form.image.name for form in scan.superseded] == ["IBSR_01.nii.gz"]


# OASIS: repeats, order of preference -----------------------------------------------------------------------


def write_repeats(root, *numbers):
    for number in numbers:
        analyze(root / f"oasis/disc1/{SESSION}/RAW/{SESSION}_mpr-{number}_anon", "ASL", ">")


def test_repeats_are_averaged_only_where_asked_for(tmp_path):
    write_repeats(tmp_path, 1, 2, 4)
    scan = only("oasis", tmp_path)
    assert scan.repeats == () and len(scan.superseded) == 2
    (averaged,) = discover("oasis", tmp_path, average_repeats=True).scans
    assert averaged.image == scan.image and averaged.superseded == ()
    assert [path.name for path in averaged.repeats] == [f"{SESSION}_mpr-{n}_anon.img" for n in (2, 4)]


def test_a_repeat_that_is_there_compressed_as_well_counts_once(tmp_path):
    write_repeats(tmp_path, 1, 2)
    analyze(tmp_path / f"oasis/disc1/{SESSION}/RAW/{SESSION}_mpr-1_anon", "ASL", ">", compressed=True)
    (scan,) = discover("oasis", tmp_path, average_repeats=True).scans
    assert [path.name for path in scan.repeats] == [f"{SESSION}_mpr-2_anon.img"]


def test_the_average_that_the_source_made_goes_before_the_repeats(tmp_path):
    write_repeats(tmp_path, 1, 2)
    analyze(tmp_path / f"oasis/{PROCESSED}/SUBJ_111/{SESSION}_mpr_n4_anon_sbj_111", "ASL", ">")
    (scan,) = discover("oasis", tmp_path, average_repeats=True).scans
    assert "sbj_111" in scan.image.name and scan.repeats == () and len(scan.superseded) == 2


def test_of_two_averages_that_of_more_repeats_is_used(tmp_path):
    for n in (3, 4):
        analyze(tmp_path / f"oasis/{PROCESSED}/SUBJ_111/{SESSION}_mpr_n{n}_anon_sbj_111", "ASL", ">")
    found = discover("oasis", tmp_path)
    assert "_n4_" in found.scans[0].image.name and not found.rejections


def test_neurite_oasis_stands_behind_the_sources_own_forms_and_its_maps_are_no_labels(tmp_path):
    for name in ("orig", "norm", "aligned_norm", "seg35", "aligned_seg35", "seg4"):
        nifti(tmp_path / f"oasis/OASIS_{SESSION}/{name}.nii.gz", "LIA")
    scan = only("oasis", tmp_path)
    assert scan.key == "oasis-0001-1-t1w" and scan.dseg is None
    names = [scan.image.name, *(form.image.name for form in scan.superseded)]
    assert names == ["orig.nii.gz", "norm.nii.gz", "aligned_norm.nii.gz"]
    analyze(tmp_path / f"oasis/{PROCESSED}/T88_111/{SESSION}_mpr_n4_anon_111_t88_masked_gfc", "LAS", ">")
    assert only("oasis", tmp_path).image.name.endswith("t88_masked_gfc.img")


# Any source: files that cannot be opened, copies -----------------------------------------------------------


def test_compressed_and_plain_files_of_one_scan_are_one_scan(tmp_path):
    for name in ("IXI002-Guys-0828-T2.nii.gz", "IXI002-Guys-0828-T2.nii"):
        nifti(tmp_path / "ixi" / name)
    nifti(tmp_path / "kirby/KKI2009-33-FLAIR.nii")
    nifti(tmp_path / "kirby/KKI2009-33-FLAIR.nii.gz")
    for source in ("ixi", "kirby"):
        found = discover(source, tmp_path)
        assert len(found.scans) == 1 and not found.rejections
        assert len(found.scans[0].superseded) == 1


def test_a_copy_in_another_folder_is_no_second_scan(tmp_path):
    for place in ("disc1", "copy"):
        analyze(tmp_path / f"oasis/{place}/{SESSION}_mpr_n4_anon_sbj_111", "ASL", ">")
    found = discover("oasis", tmp_path)
    assert len(found.scans) == 1 and not found.rejections
    image = found.scans[0].superseded[0].image
    data = bytearray(image.read_bytes())
    data[-1] ^= 1
    image.write_bytes(bytes(data))
    assert [item.reason for item in discover("oasis", tmp_path).rejections] == ["duplicate_key"]


def test_a_link_that_leads_nowhere_is_named_and_the_next_form_is_used(tmp_path):
    write_repeats(tmp_path, 2)
    first = tmp_path / f"oasis/disc1/{SESSION}/RAW/{SESSION}_mpr-1_anon.img"
    first.symlink_to("../../annex/gone.img")
    scan = only("oasis", tmp_path)
    assert scan.image.name == f"{SESSION}_mpr-2_anon.img"
    assert "leads nowhere (../../annex/gone.img)" in scan.notes[-1]
    scan.image.unlink()
    found = discover("oasis", tmp_path)
    assert not found.scans and [item.reason for item in found.rejections] == ["unreadable"]
    assert "datalad get" in found.rejections[0].detail


def test_archives_that_are_not_unpacked_are_pointed_at(tmp_path):
    (tmp_path / "ixi").mkdir()
    (tmp_path / "ixi" / "IXI-T2.tar").touch()
    with pytest.raises(Exception, match=r"IXI-T2\.tar.*unpack"):
        discover("ixi", tmp_path)
