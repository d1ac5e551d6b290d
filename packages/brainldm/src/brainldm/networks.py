"""Typed configs -> networks: MONAI's AutoencoderKL, DiffusionModelUNet and PatchDiscriminator.

Two things are added around MONAI's cores, both without parameters of their own:

- pixel unshuffling in front and pixel shuffling behind (`patch`, `fold`), so that small models spend
  nothing at full resolution; with 1, as in the paper, the core stands alone;
- a padding mask in cross-attention, which MONAI does not have: padded words take no part.

Shape suffixes: B batch, C channels, H W image, h w latent, T words, D width of a word's vector.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from monai.networks.blocks.crossattention import CrossAttentionBlock
from monai.networks.nets.autoencoderkl import AutoencoderKL
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional

from brainldm.records import Config, Precision

_FIRST_LOG_VAR = -6.0
"""Latents beside a linear path start with this log-variance; at 0 the noise would drown them."""
NUM_TIMESTEPS = 1000
"""The U-Net sees a time t in [0, 1] as t * NUM_TIMESTEPS, the range its sinusoidal embedding expects."""


class AutoencoderConfig(Config):
    """AutoencoderKL without attention; latents are `patch * 2 ** (levels - 1)` times smaller."""

    patch: int = 1
    """Side of the squares folded into channels before the first convolution; 1 = none."""
    channels: tuple[int, ...] = (64, 128, 256)
    latent_channels: int = 1
    num_res_blocks: int = 2
    norm_groups: int = 32
    linear_path: bool = False
    """A cosine transform of each patch beside the network, from the image to the latent and back. The
    network then learns what it leaves over, which saves most of the images; needs a single level."""

    @property
    def reduction(self) -> int:
        """Pixels of the image to a side of one latent pixel."""
        return int(self.patch * 2 ** (len(self.channels) - 1))

    @model_validator(mode="after")
    def _check_groups(self) -> AutoencoderConfig:
        _check_divisible(self.channels, self.norm_groups)
        if self.linear_path and not (len(self.channels) == 1 and self.latent_channels <= self.patch**2):
            raise ValueError("linear_path needs one level of channels and at most patch**2 latent channels")
        return self


class UNetConfig(Config):
    """DiffusionModelUNet with cross-attention on the marked levels."""

    fold: int = 1
    """Side of the squares of latent pixels folded into channels before the first convolution."""
    channels: tuple[int, ...] = (32, 64, 128, 256)
    attention: tuple[bool, ...] = (False, False, True, True)
    num_res_blocks: int = 2
    head_channels: int = 32
    norm_groups: int = 32

    @model_validator(mode="after")
    def _check_levels(self) -> UNetConfig:
        _check_divisible(self.channels, self.norm_groups)
        if len(self.channels) != len(self.attention):
            raise ValueError(
                f"channels and attention must have one entry a level, got {len(self.channels)} and "
                f"{len(self.attention)}"
            )
        return self


class DiscriminatorConfig(Config):
    """PatchDiscriminator, used where the adversarial weight is not 0."""

    channels: int = 64
    num_layers: int = 3


class Autoencoder(nn.Module):
    """Image [B, 1, H, W] in [0, 1] <-> latent [B, C, h, w]."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        levels = len(config.channels)
        self.core = AutoencoderKL(
            spatial_dims=2,
            in_channels=config.patch**2,
            out_channels=config.patch**2,
            num_res_blocks=config.num_res_blocks,
            channels=config.channels,
            attention_levels=(False,) * levels,
            latent_channels=config.latent_channels,
            norm_num_groups=config.norm_groups,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
            include_fc=False,  # no attention uses it; left in, its weights would never get a gradient
        )
        if config.linear_path:
            self._start_as_cosine_transform()

    def encode(self, images_B1HW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latent, each [B, C, h, w]."""
        patches = functional.pixel_unshuffle(images_B1HW, self.config.patch)
        features = self.core.encoder(patches)
        mean, log_var = self.core.quant_conv_mu(features), self.core.quant_conv_log_sigma(features)
        if self.config.linear_path:
            mean = mean + self.to_latent(patches)
        return mean, log_var.clamp(-30.0, 20.0)

    def decode(self, latents_BChw: Tensor) -> Tensor:
        """Image [B, 1, H, W]; may leave [0, 1] a little."""
        patches = self.core.decode(latents_BChw)
        if self.config.linear_path:
            patches = patches + self.from_latent(latents_BChw)
        return functional.pixel_shuffle(patches, self.config.patch)

    def forward(self, images_B1HW: Tensor, noise_BChw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction from the latent drawn with `noise`, and the latent's mean and log-variance."""
        mean, log_var = self.encode(images_B1HW)
        return self.decode(mean + torch.exp(log_var / 2) * noise_BChw), mean, log_var

    def _start_as_cosine_transform(self) -> None:
        """Both linear maps are the lowest waves of a patch; the network around them starts at zero."""
        config = self.config
        waves = cosine_waves(config.patch, config.latent_channels)
        self.to_latent = nn.Conv2d(config.patch**2, config.latent_channels, 1)
        self.from_latent = nn.Conv2d(config.latent_channels, config.patch**2, 1)
        core: Any = self.core
        lasts = (core.quant_conv_mu, core.quant_conv_log_sigma, core.decoder.blocks[-1])
        with torch.no_grad():
            for module in (self.to_latent, self.from_latent, *lasts):
                for weight in module.parameters():
                    weight.zero_()
            self.to_latent.weight.copy_(waves[:, :, None, None])
            self.from_latent.weight.copy_(waves.T[:, :, None, None])
            core.quant_conv_log_sigma.conv.bias.fill_(_FIRST_LOG_VAR)


class Context(NamedTuple):
    """What the U-Net attends to: vectors [B, T, D] and which of them are words, bool [B, T]."""

    vectors: Tensor
    mask: Tensor


class MaskedCrossAttention(CrossAttentionBlock):
    """MONAI's block with the same weights, in which padding takes no part.

    Blocks are turned into this class in place (`ConditionedUNet`), so that names of weights stay MONAI's.
    """

    def forward(self, x: Tensor, context: Any = None) -> Tensor:
        """Pixels `x` [B, N, C] attend to `context.vectors` where `context.mask` is true."""
        queries = self.input_rearrange(self.to_q(x))
        keys = self.input_rearrange(self.to_k(context.vectors))
        values = self.input_rearrange(self.to_v(context.vectors))
        attended = _attend(queries, keys, values, context.mask[:, None, None, :], self.scale)
        out: Tensor = self.drop_output(self.out_proj(self.out_rearrange(attended)))
        return out


class ConditionedUNet(nn.Module):
    """Noisy latent, time and words -> prediction of the same shape as the latent."""

    def __init__(self, config: UNetConfig, latent_channels: int, context_width: int) -> None:
        super().__init__()
        self.config = config
        folded = latent_channels * config.fold**2
        self.core = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=folded,
            out_channels=folded,
            num_res_blocks=config.num_res_blocks,
            channels=config.channels,
            attention_levels=config.attention,
            norm_num_groups=config.norm_groups,
            num_head_channels=config.head_channels,
            with_conditioning=True,
            cross_attention_dim=context_width,
            use_flash_attention=torch.cuda.is_available(),  # the fused kernel is slow on CPUs, see _attend
        )
        for module in self.core.modules():
            if type(module) is CrossAttentionBlock:
                module.__class__ = MaskedCrossAttention

    def forward(self, latents_BChw: Tensor, times_B: Tensor, context: Context) -> Tensor:
        """Prediction [B, C, h, w] for latents at times in [0, 1]; what it predicts is `diffusion`'s."""
        folded = functional.pixel_unshuffle(latents_BChw, self.config.fold)
        predicted = self.core(folded, times_B * NUM_TIMESTEPS, context=context)
        return functional.pixel_shuffle(predicted, self.config.fold)


class Words(NamedTuple):
    """Tokenized captions of a batch, each distinct caption once.

    ids: int64 [U, T]; mask: bool [U, T], false on padding; rows: int64 [B], which of the U each image has.
    """

    ids: Tensor
    mask: Tensor
    rows: Tensor

    def to(self, device: torch.device) -> Words:
        """The same on another device."""
        return Words(self.ids.to(device), self.mask.to(device), self.rows.to(device))


class Denoiser(nn.Module):
    """U-Net and text encoder as one module, so that an encoder that is trained along learns with it."""

    def __init__(self, unet: ConditionedUNet, encoder: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.encoder = encoder

    def embed(self, words: Words) -> Context:
        """Encodes each distinct caption once and deals it out to the batch."""
        vectors_UTD = self.encoder(words.ids, words.mask)
        return Context(vectors_UTD[words.rows], words.mask[words.rows])

    def forward(self, latents_BChw: Tensor, times_B: Tensor, words: Words) -> Tensor:
        """Prediction [B, C, h, w]."""
        predicted: Tensor = self.unet(latents_BChw, times_B, self.embed(words))
        return predicted


def build_discriminator(config: DiscriminatorConfig) -> nn.Module:
    """Patch discriminator of one-channel images.

    Instance norm in place of MONAI's batch norm: the judgement of an image then depends neither on its
    neighbours in the batch nor on the number of processes.
    """
    return PatchDiscriminator(
        spatial_dims=2,
        channels=config.channels,
        in_channels=1,
        num_layers_d=config.num_layers,
        norm="INSTANCE",
    )


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Products in bf16 where the precision says so; weights stay fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def cosine_waves(patch: int, number: int) -> Tensor:
    """The lowest waves of the 2-D cosine transform of a square patch, orthonormal, [number, patch**2].

    Pixels are in the order of `pixel_unshuffle`, row by row; waves by the sum of their frequencies.
    """
    place, frequency = torch.arange(patch), torch.arange(patch)[:, None]
    wave = torch.cos(math.pi / patch * (place + 0.5) * frequency)
    wave = wave / wave.norm(dim=1, keepdim=True)
    both = torch.einsum("ur,vc->uvrc", wave, wave).reshape(patch**2, patch**2)
    order = sorted(range(patch**2), key=lambda n: (n // patch + n % patch, abs(n // patch - n % patch), n))
    return both[order[:number]]


def count_parameters(module: nn.Module) -> int:
    """Number of weights that are trained."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention where `mask` is true.

    torch 2.13's fused kernel for CPUs is 2 to 5 times slower in bf16 than the plain products, most of it
    in its backward pass.
    """
    if queries.device.type == "cpu" and queries.dtype == torch.bfloat16:
        scores = (queries @ keys.transpose(-1, -2)) * scale
        return scores.masked_fill(~mask, float("-inf")).softmax(dim=-1).to(values.dtype) @ values
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=scale)


def _check_divisible(channels: tuple[int, ...], groups: int) -> None:
    wrong = [number for number in channels if number % groups]
    if wrong:
        raise ValueError(f"channels must be multiples of norm_groups = {groups}, got {wrong[0]}")
