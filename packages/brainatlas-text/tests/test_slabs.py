"""Reading slab by slab gives what reading whole and thinning gives, in a fraction of the memory."""

import gzip
import tracemalloc
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from brainatlas_text import slabs, spaces, volumes
from brainatlas_text.errors import GeometryError, SourceError
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.unit
CODES = ["".join(c) for p in permutations(("RL", "AP", "SI")) for c in product(*p)]


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch):
    monkeypatch.setattr(slabs, "SLAB_VOXELS", 500)


def stored(tmp_path, volume, codes, dtype, name="a.nii.gz"):
    image = nib.Nifti1Image(volume.array, volume.affine)
    image.set_data_dtype(dtype)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(image.as_reoriented(turn), tmp_path / name)
    return volumes.open_scan(tmp_path / name)


def phantom():
    array = np.random.default_rng(0).integers(-500, 3000, (13, 17, 11)).astype(np.int16)
    return Volume(array, spaces.translation((-20.0, -30.0, -10.0)) @ np.diag([0.4, 0.5, 0.6, 1.0]))


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("factors", [(1, 1, 1), (2, 3, 2), (1, 4, 5)])
def test_every_stored_order_reads_and_thins_alike(tmp_path, codes, factors):
    volume = phantom()
    expected = volumes.thin(Volume(volume.array.astype(np.float32), volume.affine), factors)
    opened = stored(tmp_path, volume, codes, np.int16)
    found = volumes.read(opened, factors)
    np.testing.assert_allclose(found.array, expected.array, atol=1e-3)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)
    assert found.array.flags.c_contiguous and found.array.dtype == np.float32
    np.testing.assert_allclose(opened.ras_zooms_mm, (0.4, 0.5, 0.6), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_scaled_numbers_are_those_that_nibabel_reads(tmp_path, dtype, name):
    values = np.random.default_rng(1).normal(100, 40, (12, 14, 10)).astype(np.float32)
    opened = stored(tmp_path, Volume(values, np.eye(4)), "LIP", dtype, name)
    whole = nib.as_closest_canonical(nib.load(tmp_path / name)).get_fdata(dtype=np.float32)
    np.testing.assert_allclose(volumes.read(opened).array, whole, rtol=1e-5, atol=1e-4)


def test_big_endian_pairs_are_read(tmp_path):
    array = np.arange(1000, dtype=">i2").reshape(10, 10, 10)
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_dtype(">i2")
    header.set_data_shape(array.shape)
    nib.save(nib.AnalyzeImage(array, None, header), tmp_path / "a.img")
    np.testing.assert_array_equal(volumes.load(tmp_path / "a.img", "RAS").array, array)


@pytest.mark.parametrize("factors", [(1, 1, 1), (2, 2, 2)])
def test_a_flipped_bit_shows_in_the_checksum(tmp_path, factors):
    """Stored, not deflated, so that the stream itself stays readable."""
    path = tmp_path / "a.nii.gz"
    stored(tmp_path, phantom(), "RAS", np.int16)
    data = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0))
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(SourceError, match=r"a\.nii\.gz: damaged \(CRC check failed"):
        volumes.read(volumes.open_scan(path), factors)


@pytest.mark.parametrize(("name", "said"), [("a.nii", "cut short"), ("a.nii.gz", "damaged .*ended before")])
def test_missing_voxels_are_said(tmp_path, name, said):
    stored(tmp_path, phantom(), "RAS", np.int16, name)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(SourceError, match=said):
        volumes.load(path)


def test_colors_and_complex_numbers_are_no_scan(tmp_path):
    color = np.zeros((8, 8, 8), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for number, array in enumerate((color, np.zeros((8, 8, 8), np.complex64))):
        path = tmp_path / f"{number}.nii"
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
        with pytest.raises(SourceError, match="expected one real number a voxel"):
            volumes.load(path)


def test_a_large_grid_never_lies_in_memory_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(slabs, "SLAB_VOXELS", 1_000_000)
    shape = (300, 320, 310)
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    header.set_zooms((0.4, 0.4, 0.4))
    header.set_sform(np.diag([0.4, 0.4, 0.4, 1.0]), 1)
    with (tmp_path / "a.nii").open("wb") as file:
        file.write(header.binaryblock)
        file.truncate(352 + int(np.prod(shape)))  # a hole, which reads zero
    opened = volumes.open_scan(tmp_path / "a.nii")
    tracemalloc.start()
    try:
        assert volumes.read(opened, (2, 2, 2)).shape == (150, 160, 155)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.25 * 4 * np.prod(shape)


def test_label_maps_that_are_too_large_to_be_read_whole_are_refused(tmp_path, monkeypatch):
    stored(tmp_path, phantom(), "RAS", np.int16)
    monkeypatch.setattr(volumes, "MAX_WHOLE_VOXELS", 1000)
    with pytest.raises(GeometryError, match=r"a\.nii\.gz: .* million voxels, at most .* resample it"):
        volumes.load_labels(tmp_path / "a.nii.gz")
