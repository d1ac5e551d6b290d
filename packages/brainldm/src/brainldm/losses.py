"""Terms of the autoencoder's loss, named after Eq. 1 of the paper, and how they are weighed.

    L_VAE = L_rec + L_adv + L_reg,  L_rec = L1 + perceptual,  L_reg = KL to a standard normal

The perceptual term here needs no pretrained weights: it compares images and their gradients over
several scales. Images are [B, 1, H, W] in [0, 1]; every term is a mean over pixels, in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from brainldm.records import Config

GRADIENT_SCALES = 3


class VaeLossConfig(Config):
    """Weights of the terms beside L1, whose weight is 1."""

    perceptual: float = 1.0
    kl: float = 1e-6
    adversarial: float = 0.0
    """0 leaves the discriminator out."""
    adversarial_from: int = 0
    """Images seen before the discriminator takes part."""


def l1(reconstruction_B1HW: Tensor, images_B1HW: Tensor) -> Tensor:
    """Mean absolute difference."""
    return functional.l1_loss(reconstruction_B1HW.float(), images_B1HW.float())


def multiscale_gradients(reconstruction_B1HW: Tensor, images_B1HW: Tensor) -> Tensor:
    """Weight-free perceptual term: differences of gradients, and of the image itself, over scales.

    At each scale (full, half, quarter size) the L1 difference of horizontal and vertical gradients;
    below full size also that of the images, which holds broad contrast. Edges are what structural
    similarity and the eye judge by, and L1 alone blurs them.
    """
    difference = reconstruction_B1HW.float() - images_B1HW.float()  # all terms are linear in it
    total = difference.new_zeros(())
    for scale in range(GRADIENT_SCALES):
        if scale:
            difference = functional.avg_pool2d(difference, 2)
            total = total + difference.abs().mean()
        total = total + difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
    return total


def kl_divergence(mean_BChw: Tensor, log_var_BChw: Tensor) -> Tensor:
    """KL of the latent's normal to the standard normal: sum over the latent, mean over the batch."""
    mean, log_var = mean_BChw.float(), log_var_BChw.float()
    per_image = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).flatten(1).sum(1)
    return per_image.mean()


def adversarial_generator(fake_logits: Tensor) -> Tensor:
    """Least squares: the autoencoder wants its patches judged 1."""
    return (fake_logits.float() - 1.0).square().mean()


def adversarial_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Least squares: real patches to 1, reconstructed ones to 0."""
    return 0.5 * ((real_logits.float() - 1.0).square().mean() + fake_logits.float().square().mean())


def vae_terms(
    images_B1HW: Tensor,
    reconstruction_B1HW: Tensor,
    mean_BChw: Tensor,
    log_var_BChw: Tensor,
    fake_logits: Tensor | None,
    config: VaeLossConfig,
) -> dict[str, Tensor]:
    """The terms of Eq. 1 already weighed; their sum is the loss."""
    terms = {
        "l1": l1(reconstruction_B1HW, images_B1HW),
        "perceptual": config.perceptual * multiscale_gradients(reconstruction_B1HW, images_B1HW),
        "kl": config.kl * kl_divergence(mean_BChw, log_var_BChw),
    }
    if fake_logits is not None:
        terms["adversarial"] = config.adversarial * adversarial_generator(fake_logits)
    return terms


def sum_terms(terms: dict[str, Tensor]) -> Tensor:
    """The loss."""
    return torch.stack(list(terms.values())).sum()
