import pytest
import torch
from torch.nn import functional

from brainldm import losses
from brainldm.losses import VaeLossConfig

pytestmark = pytest.mark.unit


def test_kl_is_that_of_torch_distributions():
    mean, log_var = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    normal = torch.distributions.Normal(mean, torch.exp(log_var / 2))
    reference = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(losses.kl_divergence(mean, log_var), reference.flatten(1).sum(1).mean())
    assert losses.kl_divergence(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)) == 0


def test_kl_is_reckoned_in_float32():
    mean, log_var = torch.randn(2, 1, 8, 8).bfloat16(), torch.randn(2, 1, 8, 8).bfloat16()
    value = losses.kl_divergence(mean, log_var)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, losses.kl_divergence(mean.double(), log_var.double()).float())


def test_the_perceptual_term_minds_edges_and_contrast():
    torch.manual_seed(0)
    image = functional.avg_pool2d(torch.rand(1, 1, 64, 64), 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    blurred = functional.avg_pool2d(functional.pad(image, (2, 2, 2, 2), mode="reflect"), 5, 1)
    shift = (blurred - image).abs().mean()
    brighter = image + shift  # as far away in L1
    assert losses.multiscale_gradients(image, image) == 0
    assert losses.multiscale_gradients(blurred, image) > 1.5 * losses.multiscale_gradients(brighter, image)
    assert losses.multiscale_gradients(brighter, image) > 0


def test_the_adversarial_terms_pull_against_each_other():
    real, fake = torch.ones(4), torch.zeros(4)
    assert losses.adversarial_discriminator(real, fake) == 0
    assert losses.adversarial_generator(fake) == 1 and losses.adversarial_generator(real) == 0


def test_the_loss_is_the_sum_of_weighed_terms():
    images, rebuilt = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    mean, log_var, logits = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4), torch.randn(2, 1, 3, 3)
    config = VaeLossConfig(perceptual=0.5, kl=0.25, adversarial=2.0)
    terms = losses.vae_terms(images, rebuilt, mean, log_var, logits, config)
    expected = (
        losses.l1(rebuilt, images)
        + 0.5 * losses.multiscale_gradients(rebuilt, images)
        + 0.25 * losses.kl_divergence(mean, log_var)
        + 2.0 * losses.adversarial_generator(logits)
    )
    torch.testing.assert_close(losses.sum_terms(terms), expected)
    assert "adversarial" not in losses.vae_terms(images, rebuilt, mean, log_var, None, config)
