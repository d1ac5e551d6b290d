import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import brainldm
from brainldm.cli import build_parser, main

HEAVY = ("torch", "monai", "transformers", "accelerate", "pydantic", "pyarrow", "PIL", "numpy", "rich")


@pytest.mark.unit
def test_every_public_name_is_there():
    assert brainldm.__all__ == sorted(brainldm.__all__)
    for name in brainldm.__all__:
        assert getattr(brainldm, name).__module__.startswith("brainldm.")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        brainldm.nothing  # noqa: B018


@pytest.mark.unit
def test_every_command_has_an_example(capsys: pytest.CaptureFixture[str]):
    for command in ("train", "sample", "evaluate"):
        with pytest.raises(SystemExit) as caught:
            build_parser().parse_args([command, "--help"])
        text = capsys.readouterr().out
        assert caught.value.code == 0 and "example" in text and f"brainldm {command}" in text


@pytest.mark.unit
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["sample", "--help"]])
def test_help_is_light(arguments: list[str]):
    code = f"import sys; from brainldm.cli import main\ntry: main({arguments})\nexcept SystemExit: pass\n"
    code += f"heavy = [name for name in {HEAVY} if name in sys.modules]; assert not heavy, heavy"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.unit
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere"], "DataError: nowhere: no such data set folder; give one with --data"),
        (["train"], "DataError: brainatlas-dataset: no such data set folder"),
        (
            ["train", "--recipe", "dmo"],
            "RecipeError: recipe dmo: expected one of demo, paper, small; did you mean",
        ),
        (
            ["train", "--set", "ldm.image=5"],
            "RecipeError: small.toml: unknown key ldm.image; did you mean images?",
        ),
        (
            ["sample", "nowhere", "a prompt"],
            "CheckpointError: nowhere: expected a run folder with recipe.toml",
        ),
        (["sample", "nowhere"], "InputError: brainldm sample: give sentences or --grid"),
        (
            ["sample", "nowhere", "a prompt", "--grid"],
            "InputError: brainldm sample: give sentences or --grid",
        ),
        (["evaluate", "nowhere"], "CheckpointError: nowhere: expected a run folder with recipe.toml"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    complaint = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint.startswith(message)
    assert not list(tmp_path.iterdir())


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.integration
def test_sample_writes_the_picture_of_prompt_and_seed(trained_run: Path, tmp_path: Path):
    out = tmp_path / "pictures" / "x.png"
    prompt = "A T2-weighted axial slice of the brain of a 31-year-old woman."
    assert main(["sample", str(trained_run), prompt, "--seed", "7", "--out", str(out)]) == 0
    first = out.read_bytes()
    assert pixels(out).shape == (32, 32)
    assert main(["sample", str(trained_run), prompt, "--seed", "7", "--out", str(out)]) == 0
    assert out.read_bytes() == first
    expected = brainldm.load(trained_run).generate([prompt], seed=7)[0]
    np.testing.assert_array_equal(pixels(out), expected)


@pytest.mark.integration
def test_several_pictures_stand_in_rows_of_prompts_and_columns_of_seeds(trained_run: Path, tmp_path: Path):
    out = tmp_path / "x.png"
    assert (
        main(["sample", str(trained_run), "one", "two", "--num", "3", "--steps", "2", "--out", str(out)]) == 0
    )
    assert pixels(out).shape == (2 * 32 + 2, 3 * 32 + 2 * 2)


@pytest.mark.integration
def test_the_grid_shows_sequences_by_planes(trained_run: Path, tmp_path: Path):
    out = tmp_path / "grid.png"
    assert main(["sample", str(trained_run), "--grid", "--out", str(out)]) == 0
    grid = pixels(out)
    assert grid.shape[0] == grid.shape[1] and grid.std() > 0


@pytest.mark.integration
def test_a_run_that_is_half_trained_says_what_is_missing(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "recipe.toml").write_text((trained_run / "recipe.toml").read_text())
    assert main(["sample", str(tmp_path), "a prompt"]) == 2
    assert "no snapshot of stage ldm; train it first" in capsys.readouterr().err


@pytest.mark.integration
def test_the_module_runs(run_command):
    assert "COMMAND" in run_command(sys.executable, "-m", "brainldm", "--help").stdout
    assert os.linesep
