import pytest
import torch
from monai.networks.nets.autoencoderkl import AutoencoderKL
from pydantic import ValidationError
from torch import nn

from brainldm.networks import (
    Autoencoder,
    AutoencoderConfig,
    ConditionedUNet,
    Context,
    Denoiser,
    DiscriminatorConfig,
    UNetConfig,
    Words,
    build_discriminator,
    cosine_waves,
    count_parameters,
)

pytestmark = pytest.mark.unit

TINY_UNET = UNetConfig(
    channels=(8, 16), attention=(False, True), num_res_blocks=1, head_channels=8, norm_groups=4
)


def tiny_unet(fold: int = 1) -> ConditionedUNet:
    torch.manual_seed(0)
    unet = ConditionedUNet(TINY_UNET.model_copy(update={"fold": fold}), 2, 6).eval()
    for weight in unet.parameters():
        if weight.dim() > 1 and not weight.any():  # MONAI starts some at zero, which would hide the rest
            nn.init.normal_(weight, std=0.3)
    return unet


@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
def test_padding_takes_no_part_in_cross_attention(autocast: bool):
    unet = tiny_unet()
    latents, times = torch.randn(2, 2, 8, 8), torch.tensor([0.2, 0.9])
    vectors = torch.randn(2, 5, 6)
    padded = torch.cat([vectors, 100 * torch.randn(2, 7, 6)], dim=1)
    mask = torch.arange(12).expand(2, 12) < 5
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        short = unet(latents, times, Context(vectors, torch.ones(2, 5, dtype=torch.bool)))
        long = unet(latents, times, Context(padded, mask))
        unmasked = unet(latents, times, Context(padded, torch.ones_like(mask)))
    tolerance = 2e-2 if autocast else 1e-5
    torch.testing.assert_close(long, short, atol=tolerance, rtol=tolerance)
    assert (unmasked - short).abs().max() > 10 * tolerance


def test_weights_keep_monais_names_in_every_cross_attention():
    names = [name for name, _ in tiny_unet().named_parameters() if "attn2" in name]
    assert len(names) == 4 * 5 and all(
        name.split("attn2.")[1].split(".")[0] in ("to_q", "to_k", "to_v", "out_proj") for name in names
    )


@pytest.mark.parametrize("fold", [1, 2, 4])
def test_folding_keeps_the_shape_of_latents(fold: int):
    unet = tiny_unet(fold)
    context = Context(torch.randn(3, 4, 6), torch.ones(3, 4, dtype=torch.bool))
    assert unet(torch.randn(3, 2, 16, 16), torch.rand(3), context).shape == (3, 2, 16, 16)


def test_the_papers_autoencoder_is_monais_own():
    config = AutoencoderConfig(channels=(8, 16, 16), latent_channels=1, norm_groups=4)
    torch.manual_seed(0)
    ours = Autoencoder(config).eval()
    reference = AutoencoderKL(
        spatial_dims=2,
        channels=(8, 16, 16),
        num_res_blocks=(2, 2, 2),
        attention_levels=(False,) * 3,
        latent_channels=1,
        norm_num_groups=4,
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
        include_fc=False,
    ).eval()
    reference.load_state_dict(ours.core.state_dict())
    images = torch.rand(2, 1, 32, 32)
    mean, log_var = ours.encode(images)
    reference_mean, reference_sigma = reference.encode(images)
    assert mean.shape == (2, 1, 8, 8) and config.reduction == 4
    torch.testing.assert_close(mean, reference_mean)
    torch.testing.assert_close(torch.exp(log_var / 2), reference_sigma)
    torch.testing.assert_close(ours.decode(mean), reference.decode(mean))


def test_the_sizes_of_the_paper():
    autoencoder, unet = AutoencoderConfig(), UNetConfig()
    with torch.device("meta"):
        assert count_parameters(Autoencoder(autoencoder)) / 1e6 == pytest.approx(7.03, abs=0.01)
        assert count_parameters(ConditionedUNet(unet, 1, 768)) / 1e6 == pytest.approx(26.78, abs=0.01)


def test_a_caption_shared_by_two_images_is_encoded_once():
    class Counting(nn.Module):
        seen = 0

        def forward(self, ids, mask):
            self.seen += len(ids)
            return ids[..., None].float().expand(-1, -1, 6)

    encoder = Counting()
    words = Words(
        torch.tensor([[1, 2, 0], [3, 4, 5]]),
        torch.tensor([[1, 1, 0], [1, 1, 1]]).bool(),
        torch.tensor([1, 0, 1]),
    )
    context = Denoiser(tiny_unet(), encoder).embed(words)
    assert encoder.seen == 2
    assert context.vectors[:, 0, 0].tolist() == [3, 1, 3] and context.mask[1].tolist() == [True, True, False]


def test_the_discriminator_judges_each_image_alone():
    torch.manual_seed(0)
    judge = build_discriminator(DiscriminatorConfig(channels=4, num_layers=2))
    images = torch.rand(3, 1, 32, 32)
    torch.testing.assert_close(judge(images)[-1][:1], judge(images[:1])[-1])


def test_channels_that_do_not_divide_into_groups_are_refused():
    with pytest.raises(ValidationError, match="multiples of norm_groups = 32, got 48"):
        AutoencoderConfig(channels=(64, 48))
    with pytest.raises(ValidationError, match="one entry a level, got 2 and 1"):
        UNetConfig(channels=(32, 64), attention=(True,))


def test_the_linear_path_starts_as_the_cosine_transform_of_patches():
    waves = cosine_waves(4, 16)
    torch.testing.assert_close(waves @ waves.T, torch.eye(16), atol=1e-6, rtol=0)
    row, _ = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    assert torch.allclose(waves[0], torch.full((16,), 0.25))
    assert {abs(round(float(wave @ row.flatten()), 1)) for wave in waves[1:3]} == {0.0, 4.5}  # both slopes
    config = AutoencoderConfig(patch=4, channels=(8,), latent_channels=16, norm_groups=4, linear_path=True)
    autoencoder = Autoencoder(config).eval()
    images = torch.rand(2, 1, 32, 32)
    mean, log_var = autoencoder.encode(images)
    torch.testing.assert_close(autoencoder.decode(mean), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(mean[:, 0], 4 * nn.functional.avg_pool2d(images, 4)[:, 0], atol=1e-5, rtol=0)
    assert (log_var == -6).all()


def test_a_linear_path_needs_a_single_level():
    with pytest.raises(ValidationError, match="linear_path needs one level"):
        AutoencoderConfig(patch=4, channels=(32, 64), latent_channels=4, linear_path=True)
