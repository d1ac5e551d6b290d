import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.networks.schedulers import DDPMScheduler
from pydantic import ValidationError

from brainldm import diffusion
from brainldm.diffusion import DiffusionConfig

pytestmark = pytest.mark.unit

CONFIGS = [
    DiffusionConfig(objective="epsilon", schedule="linear_beta"),
    DiffusionConfig(objective="epsilon", schedule="scaled_linear_beta"),
    DiffusionConfig(objective="v", schedule="linear_beta"),
    DiffusionConfig(objective="v", schedule="cosine"),
    DiffusionConfig(objective="flow", schedule="straight"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.objective}-{config.schedule}")
@given(seed=st.integers(0, 2**32 - 1), time=st.floats(0.001, 1.0))
def test_the_target_gives_back_latents_and_noise(config: DiffusionConfig, seed: int, time: float):
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, 3, 2, 4, 4, generator=generator, dtype=torch.float64)
    times = torch.full((3,), time, dtype=torch.float64)
    noisy = diffusion.add_noise(clean, noise, times, config)
    target = diffusion.target(clean, noise, times, config)
    latents, found = diffusion.split(noisy, target, times, config)
    alpha, _ = diffusion.alpha_sigma(times, config)
    # epsilon divides by alpha, which is small at the noisy end
    torch.testing.assert_close(latents, clean, atol=1e-6 / float(alpha.min().clamp(min=1e-2)), rtol=1e-6)
    torch.testing.assert_close(found, noise, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.objective}-{config.schedule}")
def test_clean_latents_from_the_network_stand_for_the_target(config: DiffusionConfig):
    config = config.model_copy(update={"network": "clean"})
    clean, noise = torch.randn(2, 4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0.1, 0.4, 0.7, 1.0])
    noisy = diffusion.add_noise(clean, noise, times, config)
    target = diffusion.target(clean, noise, times, config)
    torch.testing.assert_close(diffusion.to_target(clean, noisy, times, config), target, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.objective}-{config.schedule}")
def test_time_runs_from_clean_to_noise(config: DiffusionConfig):
    alpha, sigma = diffusion.alpha_sigma(torch.linspace(0, 1, 101), config)
    assert alpha[0] == 1 and sigma[0] == 0
    assert (alpha.diff() < 0).all() and (sigma.diff() > 0).all()
    if config.schedule != "straight":
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(101))


@pytest.mark.parametrize(
    ("schedule", "monai_name"), [("linear_beta", "linear_beta"), ("scaled_linear_beta", "scaled_linear_beta")]
)
def test_beta_schedules_are_those_of_ddpm(schedule, monai_name: str):
    config = DiffusionConfig(objective="epsilon", schedule=schedule)
    reference = DDPMScheduler(1000, schedule=monai_name, beta_start=0.0015, beta_end=0.0195)
    times = (torch.arange(1000) + 1) / 1000
    alpha, _ = diffusion.alpha_sigma(times, config)
    torch.testing.assert_close(alpha**2, reference.alphas_cumprod, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("times", ["uniform", "logit_normal"])
def test_training_times_lie_between_clean_and_noise(times):
    config = DiffusionConfig(objective="flow", schedule="straight", times=times)
    uniform = torch.linspace(0, 1, 100_001)[:-1]
    drawn = diffusion.training_times(uniform, config)
    assert drawn.min() > 0 and drawn.max() <= 1
    spread = {"uniform": (0.25, 0.75), "logit_normal": (0.3374, 0.6626)}[times]
    np.testing.assert_allclose(np.quantile(drawn, [0.25, 0.75]), spread, atol=1e-3)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.objective}-{config.schedule}")
def test_the_loss_is_the_targets_whatever_the_network_puts_out(config: DiffusionConfig):
    clean, noise, error = torch.randn(3, 2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0.5, 0.9])
    target = diffusion.target(clean, noise, times, config)
    plain = diffusion.loss_per_image(target + error, clean, noise, times, config)
    torch.testing.assert_close(plain, error.square().mean((1, 2, 3)))
    by_clean = config.model_copy(update={"network": "clean"})
    noisy = diffusion.add_noise(clean, noise, times, config)
    found = diffusion.to_target(clean + error, noisy, times, by_clean)
    expected = diffusion.loss_per_image(found, clean, noise, times, config)
    loss = diffusion.loss_per_image(clean + error, clean, noise, times, by_clean)
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-3)


def test_errors_of_nearly_clean_latents_are_not_magnified_without_end():
    config = DiffusionConfig(objective="flow", schedule="straight", network="clean")
    zeros, ones = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    assert diffusion.loss_per_image(ones, zeros, zeros, torch.tensor([0.5, 1e-6]), config).tolist() == [4, 16]


def test_a_schedule_that_loses_the_image_is_refused_for_epsilon():
    with pytest.raises(ValidationError, match="objective epsilon needs schedule linear_beta"):
        DiffusionConfig(objective="epsilon", schedule="cosine")
