import nibabel as nib
import numpy as np
import pytest

from brainatlas_text import spaces, volumes
from brainatlas_text.errors import GeometryError, SourceError
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit


def phantom():
    array = np.zeros((12, 14, 16), dtype=np.int16)
    array[2, 3, 4], array[9, 3, 4], array[2, 10, 12] = 100, 200, 300
    return Volume(array, spaces.translation((-20.0, -30.0, -10.0)) @ np.diag([1.0, 1.5, 2.0, 1.0]))


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PSR", "RPS", "LIA", "ASL"])
def test_any_stored_order_gives_the_same_ras_volume(tmp_path, codes):
    original = phantom()
    image = nib.Nifti1Image(original.array, original.affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(image.as_reoriented(turn), tmp_path / "scan.nii.gz")
    loaded = volumes.load(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(loaded.array, original.array)
    np.testing.assert_allclose(loaded.affine, original.affine)


def test_array_order_replaces_a_header_that_says_nothing(tmp_path):
    array = np.zeros((10, 12, 14), dtype=np.int16)
    array[:, :, 13] = 7  # the last slab of an A, S, L array is the leftmost
    nib.save(nib.AnalyzeImage(array, np.eye(4)), tmp_path / "scan.img")
    loaded = volumes.load(tmp_path / "scan.img", array_order="ASL")
    assert spaces.axis_codes(loaded.affine) == "RAS"
    assert loaded.array.shape == (14, 10, 12)
    assert (loaded.array[0] == 7).all() and not loaded.array[1:].any()


def test_one_volume_in_4d_is_a_volume(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((5, 6, 7, 1), np.int16), np.eye(4)), tmp_path / "scan.nii")
    assert volumes.load(tmp_path / "scan.nii").shape == (5, 6, 7)


def test_encoding_is_repeatable_and_read_back(tmp_path):
    volume = phantom()
    data = volumes.encode(volume, "uint16")
    assert data == volumes.encode(volume, "uint16")
    (tmp_path / "a.nii.gz").write_bytes(data)
    loaded = volumes.load_prepared(tmp_path / "a.nii.gz")
    assert loaded.array.dtype == np.uint16
    np.testing.assert_array_equal(loaded.array, volume.array)
    np.testing.assert_allclose(loaded.affine, volume.affine)


def test_bad_files_are_one_line(tmp_path):
    good = volumes.encode(phantom(), "int16")
    (tmp_path / "cut.nii.gz").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.nii.gz").write_text("not an image")
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5, 3), np.int16), np.eye(4)), tmp_path / "four.nii")
    for name, words in [
        ("cut.nii.gz", "cut"),
        ("text.nii.gz", "readable"),
        ("four.nii", "3-D"),
        ("gone.nii", "no such"),
    ]:
        with pytest.raises(SourceError, match=words) as caught:
            volumes.load(tmp_path / name)
        assert "\n" not in str(caught.value) and name in str(caught.value)


def test_a_huge_header_is_refused_before_anything_is_read(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    (tmp_path / "huge.nii").write_bytes(header.binaryblock + bytes(100))
    with pytest.raises((GeometryError, SourceError), match=r"huge\.nii"):
        volumes.load(tmp_path / "huge.nii")


def test_interpolated_labels_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.full((5, 5, 5), 1.5, np.float32), np.eye(4)), tmp_path / "seg.nii")
    with pytest.raises(SourceError, match="whole numbers"):
        volumes.load_labels(tmp_path / "seg.nii")
