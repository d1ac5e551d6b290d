import gzip
import os
import tempfile
import tracemalloc
from pathlib import Path

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


def stored(path, array, affine, *, qform=None, sform=None, units="mm"):
    """A NIfTI file that states a qform, a sform or both."""
    image = nib.Nifti1Image(array, None)
    image.header.set_xyzt_units(units)
    image.header.set_zooms(spaces.zooms_of(affine))
    image.set_qform(qform, 0 if qform is None else 1)
    image.set_sform(sform, 0 if sform is None else 1)
    nib.save(image, path)
    return path


def test_the_sform_counts_and_a_tilt_beside_it_is_noted(tmp_path):
    array, affine = np.ones((40, 40, 40), np.int16), np.diag([2.0, 2.0, 2.0, 1.0])
    turned = affine.copy()
    turned[:2, :2] = 2 * np.array([[0.998, -0.06], [0.06, 0.998]])
    same = volumes.open_scan(stored(tmp_path / "a.nii", array, affine, qform=affine, sform=affine))
    other = volumes.open_scan(stored(tmp_path / "b.nii", array, affine, qform=turned, sform=affine))
    assert same.notes == () and len(other.notes) == 1 and "qform and sform differ" in other.notes[0]
    np.testing.assert_allclose(other.affine, affine)


@pytest.mark.parametrize("flip", [(-1.0, 1, 1), (1, -1.0, 1), (1, 1, -1.0)])
def test_forms_that_contradict_each_other_are_both_named(tmp_path, flip):
    array, affine = np.ones((20, 20, 20), np.int16), np.diag([2.0, 2.0, 2.0, 1.0])
    path = stored(tmp_path / "a.nii", array, affine, qform=affine, sform=affine @ np.diag([*flip, 1.0]))
    codes = spaces.axis_codes(affine @ np.diag([*flip, 1.0]))
    with pytest.raises(GeometryError, match=rf"a\.nii: qform says RAS and sform says {codes}"):
        volumes.open_scan(path)


def test_no_orientation_is_not_made_up(tmp_path):
    array, affine = np.ones((20, 20, 20), np.int16), np.eye(4)
    with pytest.raises(GeometryError, match="left and right are unknown"):
        volumes.open_scan(stored(tmp_path / "a.nii", array, affine))
    nib.save(nib.AnalyzeImage(array, affine), tmp_path / "b.img")
    with pytest.raises(GeometryError, match="left and right are unknown"):
        volumes.open_scan(tmp_path / "b.img")


@pytest.mark.parametrize(("units", "factor"), [("meter", 1000.0), ("micron", 0.001)])
def test_other_units_of_length_become_mm(tmp_path, units, factor):
    affine = np.diag([1.5, 2.0, 3.0, 1.0])
    affine[:3, 3] = (-30, -40, -50)
    scaled = np.vstack([affine[:3] / factor, affine[3:]])
    array = np.ones((20, 20, 20), np.int16)
    for forms in ({"qform": scaled}, {"sform": scaled}):
        opened = volumes.open_scan(stored(tmp_path / "a.nii", array, scaled, **forms, units=units))
        np.testing.assert_allclose(opened.affine, affine, rtol=1e-5)
        assert "converted" in opened.notes[0]


def test_a_flipped_bit_behind_the_last_voxel_read_is_found(tmp_path):
    """Readers that stop at the last voxel never see the checksum."""
    data = bytearray(volumes.encode(phantom(), "int16"))
    data[-6] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(bytes(data))
    with pytest.raises(SourceError, match="damaged"):
        volumes.load(tmp_path / "a.nii.gz")


def test_nothing_is_allocated_for_voxels_that_are_not_there(tmp_path):
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    image.header.set_data_shape((800, 800, 800))
    image.header["vox_offset"] = 352
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(image.header.binaryblock + bytes(5000)))
    opened = volumes.open_scan(tmp_path / "a.nii.gz")
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="cut short"):
            volumes.read(opened)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["i2", "u2", "i4", "f4"])
def test_exchanged_bytes_are_told_from_noise(tmp_path, kind):
    rng = np.random.default_rng(0)
    waves = np.add.outer(np.add.outer(*[np.sin(np.arange(40) / 6)] * 2), np.cos(np.arange(40) / 5))
    smooth = 1500 + 400 * waves + rng.integers(0, 60, waves.shape)
    noise = rng.integers(0, 30000, waves.shape)
    small = smooth // 12
    cases = [(smooth, False), (small, False), (noise, False), (smooth.astype(kind).byteswap(), True)]
    if kind == "i2":
        cases.append((small.astype(kind).byteswap(), True))
    for array, refused in cases:
        nib.save(nib.Nifti1Image(array.astype(kind), np.eye(4)), tmp_path / "a.nii")
        if refused:
            with pytest.raises(SourceError, match="other order"):
                volumes.load(tmp_path / "a.nii")
        else:
            volumes.load(tmp_path / "a.nii")


def test_label_numbers_need_not_be_smooth(tmp_path):
    """Thin left cortex (1002) in white matter of both sides: bytes exchanged would be smoother by chance."""
    z = np.arange(40)[:, None, None] + np.zeros((1, 40, 40), int)
    left = np.where(z % 10 == 0, 1002, 2)
    brain = np.where(np.arange(40)[None, :, None] % 2, left, 41)
    nib.save(nib.Nifti1Image(brain.astype("i2"), np.eye(4)), tmp_path / "a.nii")
    assert set(np.unique(volumes.load_labels(tmp_path / "a.nii").array)) == {2, 41, 1002}
    small = (z % 12 * 16).astype("i2").byteswap()
    nib.save(nib.Nifti1Image(small, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(SourceError, match="other order"):
        volumes.load_labels(tmp_path / "a.nii")


def test_a_file_that_may_not_be_read_is_named():
    """Root may read everything, so somebody else does."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "a.nii.gz"
        path.write_bytes(volumes.encode(phantom(), "int16"))
        path.chmod(0)
        mine = os.geteuid()
        try:
            if mine == 0:
                os.seteuid(65534)
            with pytest.raises(SourceError, match=r"a\.nii\.gz: may not be read"):
                volumes.open_scan(path)
        finally:
            os.seteuid(mine)


def test_odd_headers_are_not_remarked_on_behind_our_back(tmp_path, capfd):
    image = nib.Nifti1Image(phantom().array, phantom().affine)
    data = bytearray(image.to_bytes())
    data[76:80] = bytes(4)  # qfac 0, which nibabel sets to 1 and says so
    (tmp_path / "a.nii").write_bytes(bytes(data))
    volumes.load(tmp_path / "a.nii")
    assert capfd.readouterr() == ("", "")
