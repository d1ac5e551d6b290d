import pytest
import torch
from torch import Tensor

from brainldm import diffusion, sampling
from brainldm.diffusion import DiffusionConfig

pytestmark = pytest.mark.unit

CONFIGS = [
    DiffusionConfig(objective="epsilon", schedule="linear_beta"),
    DiffusionConfig(objective="v", schedule="cosine"),
    DiffusionConfig(objective="flow", schedule="straight"),
]


def oracle(mean: float, variance: float, config: DiffusionConfig) -> sampling.Predict:
    """The best predictor where latents are normal, every pixel alike: known in closed form."""

    def predict(noisy: Tensor, times: Tensor) -> Tensor:
        alpha, sigma = (level[:, None, None, None] for level in diffusion.alpha_sigma(times, config))
        total = alpha**2 * variance + sigma**2
        clean = mean + alpha * variance / total * (noisy - alpha * mean)
        noise = sigma / total * (noisy - alpha * mean)
        return diffusion.target(clean, noise, times, config)

    return predict


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.objective)
def test_an_oracle_leads_noise_to_the_distribution_of_latents(config: DiffusionConfig):
    noise = torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    latents = sampling.sample_latents(oracle(2.0, 0.25, config), noise, 200, config)
    assert latents.mean().item() == pytest.approx(2.0, abs=0.05)
    assert latents.std().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.objective)
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_a_single_image_is_reached_exactly_in_any_number_of_steps(config: DiffusionConfig, steps: int):
    image = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))

    def predict(noisy: Tensor, times: Tensor) -> Tensor:
        alpha, sigma = (level[:, None, None, None] for level in diffusion.alpha_sigma(times, config))
        return diffusion.target(image, (noisy - alpha * image) / sigma, times, config)

    noise = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(2))
    latents = sampling.sample_latents(predict, noise, steps, config)
    torch.testing.assert_close(latents, image.expand(3, -1, -1, -1), atol=2e-3, rtol=1e-3)


def test_on_the_straight_path_the_step_is_eulers():
    config = CONFIGS[2]
    noise = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(3))

    def velocity(latents: Tensor, times: Tensor) -> Tensor:
        return torch.sin(latents) + times[:, None, None, None]

    expected = noise
    for step in range(4):
        expected = expected - 0.25 * velocity(expected, torch.full((2,), 1 - 0.25 * step))
    torch.testing.assert_close(sampling.sample_latents(velocity, noise, 4, config), expected)


def test_guidance_leads_from_the_null_prediction_through_the_conditional():
    conditional, null = (lambda z, t: z + 1.0), (lambda z, t: z)
    zeros, times = torch.zeros(1, 1, 1, 1), torch.ones(1)
    for guidance in (0.0, 1.0, 3.0):
        predict = sampling.guided(conditional, null, guidance)
        assert predict(zeros, times).item() == pytest.approx(guidance)


def test_guidance_of_one_never_asks_the_null_prediction():
    def null(latents: Tensor, times: Tensor) -> Tensor:
        raise AssertionError("asked")

    sampling.guided(lambda z, t: z, null, 1.0)(torch.zeros(1), torch.zeros(1))


def test_noise_belongs_to_its_seed_and_not_to_its_batch():
    three = sampling.draw_noise([5, 6, 7], (2, 4, 4))
    torch.testing.assert_close(sampling.draw_noise([6], (2, 4, 4))[0], three[1], atol=0, rtol=0)
    assert not torch.equal(three[0], three[1])
