"""A prepared scan is made again when, and only when, what it is made of has changed."""

import json
import os
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from brainatlas_text import prepare as stage
from brainatlas_text import stages, tasks, volumes
from brainatlas_text.engines import deepbet, extraction
from brainatlas_text.errors import StageError
from brainatlas_text.prepare import PrepareConfig
from brainatlas_text.records import Facts
from brainatlas_text.volumes import Volume

pytestmark = pytest.mark.integration
QUICK = PrepareConfig(mask="embedded", bias_correction=False)


@pytest.fixture
def scan(noisy_brain, make_scan):
    """A scan with its mask and labels, three files."""
    inside = (noisy_brain.array > 200).astype(np.uint8)
    mask = make_scan(Volume(inside, noisy_brain.affine), "mask.nii.gz").image
    dseg = make_scan(Volume(inside * 2, noisy_brain.affine), "dseg.nii.gz").image
    return make_scan(noisy_brain, mask=mask, dseg=dseg, label_scheme="ibsr-cma")


@pytest.fixture
def out(tmp_path, scan):
    """A folder in which the scan is prepared."""
    folder = tmp_path / "out"
    tasks.run(stages.prepare_task(folder, scan, QUICK))
    assert is_done(folder, scan)
    return folder


def is_done(out, scan, config=QUICK):
    return tasks.finished(stages.prepare_task(out, scan, config)) is not None


def test_times_names_and_places_do_not_count(tmp_path, scan, out):
    for path in (scan.image, scan.mask, scan.dseg):
        os.utime(path, (1, 1))
    assert is_done(out, scan)
    elsewhere = tmp_path / "other disk"
    shutil.move(scan.image.parent, elsewhere)
    shutil.move(elsewhere / "scan.nii.gz", elsewhere / "t1.nii.gz")
    names = {"image": "t1.nii.gz", "mask": "mask.nii.gz", "dseg": "dseg.nii.gz"}
    assert is_done(out, replace(scan, **{field: elsewhere / name for field, name in names.items()}))
    assert not is_done(out, scan)  # where the files were, there are none


@pytest.mark.parametrize("field", ["image", "mask", "dseg"])
def test_another_byte_counts_even_with_the_old_time(scan, out, field):
    path = getattr(scan, field)
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[4] ^= 1  # the time in the gzip header: the voxels are the same, the file is not
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert not is_done(out, scan)
    tasks.run(stages.prepare_task(out, scan, QUICK))
    assert is_done(out, scan)


def test_what_the_source_says_counts(scan, out):
    assert not is_done(out, replace(scan, facts=Facts(age_years=38.0, sex="M")))
    assert not is_done(out, replace(scan, sequence="T2w"))
    assert not is_done(out, replace(scan, mask=None))


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"high_percentile": 99.0}, True),
        ({"bias_correction": True}, True),
        ({"bias_grid_mm": 5.0}, True),
        ({"finest_mm": 0.5}, True),
        ({"mask": "command", "mask_command": "bet {image} {mask}"}, True),
        ({"mask_timeout_s": 5.0}, False),  # it changes whether there is a result, never which
        ({"mask_command_writes": "other.nii.gz"}, False),  # of a method that this recipe does not use
    ],
)
def test_settings_count_that_the_result_depends_on(scan, out, changes, counts):
    config = PrepareConfig.model_validate(QUICK.model_dump() | changes)
    assert is_done(out, scan, config) != counts


def test_auto_counts_as_what_it_stands_for(monkeypatch, scan, out):
    auto = PrepareConfig(mask="auto", bias_correction=False)
    monkeypatch.setattr(deepbet, "is_installed", lambda: False)
    assert is_done(out, scan, auto)
    monkeypatch.setattr(deepbet, "is_installed", lambda: True)
    monkeypatch.setattr(deepbet, "version", lambda: "1.0.2")
    assert not is_done(out, scan, auto)


def test_code_versions_count_where_their_code_is_used(monkeypatch, scan, out):
    by_command = PrepareConfig(mask="command", mask_command="bet {image} {mask}", bias_correction=False)
    tasks.run(stages.prepare_task(out / "other", scan, by_command))  # its mask is provided: no bet is run
    monkeypatch.setattr(extraction, "VERSION", extraction.VERSION + 1)
    assert not is_done(out, scan) and is_done(out / "other", scan, by_command)
    monkeypatch.setattr(stage, "VERSION", stage.VERSION + 1)
    assert not is_done(out / "other", scan, by_command)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"inputs": ', "\x00" * 100, "old"])
def test_a_record_that_is_lost_or_damaged_counts_as_none(scan, out, text):
    path = out / "work" / "records" / "prepare" / f"{scan.key}.json"
    if text is None:
        path.unlink()
    elif text == "old":  # by a version that knew other fields
        record = json.loads(path.read_text())
        del record["payload"]["result"]["preparation"]
        path.write_text(json.dumps(record))
    else:
        path.write_text(text)
    assert not is_done(out, scan)


@pytest.mark.parametrize("name", ["", "_mask", "_dseg"])
def test_outputs_that_are_gone_or_cut_are_made_again(scan, out, name):
    path = out / "work" / "prepared" / f"{scan.key}{name}.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert not is_done(out, scan)
    path.unlink()
    assert not is_done(out, scan)
    tasks.run(stages.prepare_task(out, scan, QUICK))
    assert path.read_bytes() == whole


def test_a_damaged_output_of_the_same_size_is_never_used(scan, out):
    """Its bytes are not hashed again by every run; whoever reads it verifies them."""
    path = out / "work" / "prepared" / f"{scan.key}.nii.gz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(bytes(data))
    assert is_done(out, scan)
    with pytest.raises(StageError, match=r"damaged since it was written.*delete it and run the same command"):
        volumes.load_prepared(path)


def test_the_mat_of_an_analyze_pair_counts(tmp_path, noisy_brain):
    nib.save(nib.Spm99AnalyzeImage(noisy_brain.array, noisy_brain.affine), tmp_path / "a.img")
    assert {path.suffix for path in volumes.companions(tmp_path / "a.img")} == {".img", ".hdr", ".mat"}
