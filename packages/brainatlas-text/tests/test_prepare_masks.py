"""Which method finds the brain, and external programs by a command template: real programs, real failures."""

import re
import shlex
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainatlas_text import recipe, stages, tasks, volumes
from brainatlas_text.engines import brain_masks, deepbet, mask_command
from brainatlas_text.engines.brain_masks import MaskSettings
from brainatlas_text.errors import RecipeError
from brainatlas_text.prepare import PrepareConfig, prepare
from brainatlas_text.records import PreparedScan, Rejection
from brainatlas_text.volumes import Volume
from brainatlas_text.workspace import Workspace

pytestmark = pytest.mark.integration
STRIPPER = """
import sys
import nibabel as nib
import numpy as np
given, written, how = sys.argv[1:4]
print("stripping", given)
image = nib.load(given)
mask = (np.asanyarray(image.dataobj) > 200).astype(np.uint8)
if how == "turned":
    image = image.as_reoriented([[2, -1], [0, 1], [1, -1]])
    mask = (np.asanyarray(image.dataobj) > 200).astype(np.uint8)
if how == "empty":
    mask[:] = 0
if how == "cropped":
    mask = mask[20:]
if how == "text":
    open(written, "w").write("no image")
elif how != "nothing":
    nib.save(nib.Nifti1Image(mask, image.affine), written)
print("writing to", written, file=sys.stderr)
if how == "fails":
    print("no licence found\\n", file=sys.stderr)
    sys.exit(3)
"""


@pytest.fixture
def program(tmp_path):
    """A program that takes image, mask and a mood; in a folder whose name has spaces and quotes."""
    path = tmp_path / "it's a program" / "strip.py"
    path.parent.mkdir()
    path.write_text(STRIPPER)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(path))}"


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary files go; must be empty again afterwards."""
    folder = tmp_path / "a b {image} {mask} $HOME"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def by(template, **settings):
    return PrepareConfig(mask="command", mask_command=template, bias_correction=False, **settings)


def test_a_programs_mask_is_used_and_recorded(tmp_path, noisy_brain, make_scan, program, scratch):
    for how in ("straight", "turned"):
        template = f"{program} {{image}} {{mask}} {how}"
        out = prepare(make_scan(noisy_brain), Workspace(tmp_path / how), by(template))
        assert isinstance(out, PreparedScan), out
        mask = volumes.load_prepared(tmp_path / how / out.mask)
        np.testing.assert_array_equal(mask.array > 0, noisy_brain.array > 200)
        assert out.preparation.mask_method == "command"
        assert template in out.preparation.mask_detail


def test_a_program_that_names_its_mask_itself(tmp_path, noisy_brain, make_scan, program, scratch):
    config = by(
        f"{program} {{image}} {{folder}}/brain_mask.nii.gz straight", mask_command_writes="brain_mask.nii.gz"
    )
    out = prepare(make_scan(noisy_brain), Workspace(tmp_path / "out"), config)
    assert isinstance(out, PreparedScan), out


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("fails", "status 3: no licence found"),
        ("nothing", "found nothing; name the file in prepare.mask_command_writes"),
        ("empty", "empty mask"),
        ("cropped", "another grid"),
        ("text", "mask.nii.gz: not a readable scan"),
    ],
)
def test_a_program_that_gives_no_mask_is_a_reason(
    tmp_path, noisy_brain, make_scan, program, scratch, how, words
):
    scan = make_scan(noisy_brain)
    result = prepare(scan, Workspace(tmp_path / "out"), by(f"{program} {{image}} {{mask}} {how}"))
    assert isinstance(result, Rejection) and result.reason == "mask_failed"
    assert words in result.detail and str(scan.image) in result.detail and "\n" not in result.detail
    assert not list(tmp_path.glob("out/work/prepared/*.nii.gz"))


def test_a_program_that_is_not_there_is_a_reason(tmp_path, noisy_brain, make_scan, scratch):
    result = prepare(make_scan(noisy_brain), Workspace(tmp_path), by("/no/such/bet {image} {mask}"))
    assert isinstance(result, Rejection)
    assert "/no/such/bet cannot be started (No such file or directory)" in result.detail


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path, noisy_brain, make_scan, scratch):
    alive = tmp_path / "alive"
    child = f"import time; time.sleep(2); open({str(alive)!r}, 'w')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    config = by(f"{sys.executable} -c {shlex.quote(parent)} {{image}} {{mask}}", mask_timeout_s=0.7)
    begin = time.monotonic()
    result = prepare(make_scan(noisy_brain), Workspace(tmp_path / "out"), config)
    assert isinstance(result, Rejection) and "prepare.mask_timeout_s, 0.7 s" in result.detail
    time.sleep(max(0.0, 3.5 - (time.monotonic() - begin)))
    assert not alive.exists()


def test_a_programs_failure_is_not_remembered_but_its_success_is(tmp_path, noisy_brain, make_scan):
    """The licence may be there tomorrow; the scan has not changed."""
    strict = tmp_path / "strict.py"
    strict.write_text(
        STRIPPER.replace("sys.argv[1:4]", f"*sys.argv[1:3], open({str(tmp_path / 'mood')!r}).read()")
    )
    config = by(f"{sys.executable} {strict} {{image}} {{mask}}")
    task = stages.prepare_task(tmp_path / "out", make_scan(noisy_brain), config)
    (tmp_path / "mood").write_text("fails")
    assert isinstance(tasks.run(task), Rejection) and tasks.finished(task) is None
    (tmp_path / "mood").write_text("straight")
    done = tasks.run(task)
    assert isinstance(done, PreparedScan) and tasks.finished(task) == done


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "must name a program"),
        ("bet {image}", "must name a program, {image}, and {mask} or {folder}"),
        ("bet {mask}", "must name a program, {image}"),
        ("bet {image} {out} {mask}", "{out} is not known"),
        ("bet '{image} {mask}", "cannot be split"),
    ],
)
def test_templates_are_checked_before_anything_runs(command, words):
    settings = ["prepare.mask=command", f"prepare.mask_command={command!r}"]
    with pytest.raises(RecipeError) as caught:
        recipe.load_recipe("demo", settings)
    assert words in str(caught.value) and "prepare.mask_command" in str(caught.value)
    assert mask_command.problem_with("mri_synthstrip -i {image} -m {mask}") is None


def test_a_command_without_its_method_is_a_mistake():
    with pytest.raises(RecipeError, match=r'prepare\.mask must be "command"'):
        recipe.load_recipe("demo", ["prepare.mask_command=bet {image} {mask}"])


def test_a_mask_file_must_stay_in_its_folder():
    for name in ("../x.nii.gz", "/x.nii.gz", "mask.png"):
        with pytest.raises(RecipeError, match="mask_command_writes"):
            recipe.load_recipe("demo", [f"prepare.mask_command_writes={name}"])


def test_auto_is_chosen_once_and_a_choice_that_is_gone_is_said(monkeypatch):
    demo = recipe.load_recipe("demo")
    begun = {}
    for there in (True, False):
        monkeypatch.setattr(deepbet, "is_installed", lambda there=there: there)
        begun[there] = recipe.freeze(demo, None)
    assert [begun[there].prepare.mask for there in (True, False)] == ["deepbet", "embedded"]
    assert recipe.freeze(demo, recipe.to_toml(begun[False])) == begun[False]
    with pytest.raises(RecipeError, match=r"pip install 'brainatlas-text\[deepbet\]'"):
        recipe.freeze(demo, recipe.to_toml(begun[True]))
    monkeypatch.setattr(deepbet, "is_installed", lambda: True)
    assert recipe.freeze(demo, recipe.to_toml(begun[False])).prepare.mask == "embedded"


def test_a_command_whose_program_is_missing_is_said_before_the_build():
    wanted = recipe.load_recipe(
        "demo", ["prepare.mask=command", "prepare.mask_command=no-such-bet {image} {mask}"]
    )
    with pytest.raises(RecipeError, match="no-such-bet is not a program"):
        recipe.freeze(wanted, None)


def test_deepbet_is_for_t1w_alone(monkeypatch):
    monkeypatch.setattr(deepbet, "is_installed", lambda: True)
    monkeypatch.setattr(deepbet, "version", lambda: "1.0.2")
    settings = MaskSettings(method="auto")
    assert brain_masks.identity("T1w", settings) == ("deepbet", "version 1.0.2")
    for sequence in ("T2w", "FLAIR"):
        method, detail = brain_masks.identity(sequence, settings)
        assert method == "embedded" and "deepbet is for T1w alone" in detail


@pytest.mark.parametrize("stripped", [False, True])
@pytest.mark.parametrize("kind", ["zeros", "faint", "elsewhere"])
def test_a_provided_mask_that_shows_nothing_refuses_the_scan(
    tmp_path, noisy_brain, make_scan, program, kind, stripped
):
    """Also where the image shows the brain alone, and needs no mask: somebody's step before us failed."""
    mask = (noisy_brain.array > 200).astype(np.float32)
    image = Volume(np.where(mask > 0, noisy_brain.array, 0), noisy_brain.affine) if stripped else noisy_brain
    affine = noisy_brain.affine + (np.diag([500.0], 3) if kind == "elsewhere" else 0)
    written = mask * {"zeros": 0.0, "faint": 0.4, "elsewhere": 1.0}[kind]
    path = make_scan(Volume(written.astype(np.float32), affine), "mask.nii.gz").image
    scan = replace(make_scan(image), mask=path)
    out = prepare(scan, Workspace(tmp_path / "out"), by(f"{program} {{image}} {{mask}} straight"))
    assert isinstance(out, Rejection) and out.reason == "empty_mask"
    assert str(path) in out.detail and "remove it" in out.detail
    assert ("lies in the image" in out.detail) == (kind == "elsewhere")
    assert out.look is not None


def test_a_provided_mask_on_another_grid_gives_way_to_the_method(
    tmp_path, noisy_brain, make_scan, program, scratch
):
    cropped = Volume((noisy_brain.array > 200).astype(np.uint8)[20:], noisy_brain.affine)
    scan = replace(make_scan(noisy_brain), mask=make_scan(cropped, "mask.nii.gz").image)
    out = prepare(scan, Workspace(tmp_path / "out"), by(f"{program} {{image}} {{mask}} straight"))
    assert isinstance(out, PreparedScan) and out.preparation.mask_method == "command"
    assert any("mask.nii.gz not used: it lies on another grid" in note for note in out.notes)


@pytest.mark.skipif(not deepbet.is_installed(), reason=f"needs {deepbet.INSTALL}")
def test_deepbet_itself_on_a_real_head(shared, tmp_path, make_scan):
    path = shared / "data" / "real-mini" / "ixi" / "IXI-T1" / "IXI012-HH-1211-T1.nii.gz"
    scan = make_scan(volumes.load(path))
    config = PrepareConfig(mask="deepbet", bias_correction=False)
    one, two = (prepare(scan, Workspace(tmp_path / name), config) for name in ("one", "two"))
    assert isinstance(one, PreparedScan) and one == two
    assert (one.preparation.mask_method, one.preparation.mask_detail) == (
        "deepbet",
        f"version {deepbet.version()}",
    )
    assert 1200 < one.preparation.brain_ml < 2000
    nothing = Volume(np.zeros((60, 60, 60), np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
    with pytest.raises(brain_masks.MaskError, match="no brain"):
        deepbet.extract_brain(nothing)


def test_the_paths_of_this_machine_stay_out_of_the_data_set(
    tmp_path, noisy_brain, make_scan, program, scratch
):
    out = prepare(
        make_scan(noisy_brain), Workspace(tmp_path / "o"), by(f"{program} {{image}} {{mask}} straight")
    )
    assert isinstance(out, PreparedScan)
    assert str(scratch) not in out.preparation.mask_detail
    assert not Path(out.image).is_absolute()


def test_what_is_no_head_is_a_reason_that_is_remembered(tmp_path, noisy_brain, make_scan):
    specks = np.zeros(noisy_brain.shape, np.int16)
    specks[np.random.default_rng(0).random(specks.shape) > 0.999] = 500
    config = PrepareConfig(mask="embedded", bias_correction=False)
    task = stages.prepare_task(tmp_path / "out", make_scan(Volume(specks, noisy_brain.affine)), config)
    result = tasks.run(task)
    assert isinstance(result, Rejection) and result.reason == "no_brain_found"
    assert "scan.nii.gz" in result.detail and "\n" not in result.detail
    assert tasks.finished(task) == result


def test_the_commands_in_the_documentation_are_good_ones(repository):
    page = (repository / "docs" / "how-to" / "external-brain-mask.md").read_text(encoding="utf-8")
    rows = [re.findall(r'(mask_\w+) = (?:"([^"]+)"|([0-9.]+))', line) for line in page.splitlines()]
    settings = [{key: text or float(number) for key, text, number in row} for row in rows if row]
    commands = [given for given in settings if "mask_command" in given]
    assert len(commands) >= 5
    for given in commands:
        assert PrepareConfig(mask="command", **given).mask_settings.command == given["mask_command"]


def test_a_relative_path_counts_from_where_the_build_runs(tmp_path, noisy_brain, make_scan, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("strip.py").write_text(STRIPPER)
    config = by(f"{shlex.quote(sys.executable)} strip.py {{image}} {{mask}} straight")
    out = prepare(make_scan(noisy_brain), Workspace(tmp_path / "out"), config)
    assert isinstance(out, PreparedScan), out
