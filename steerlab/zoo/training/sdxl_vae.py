"""The autoencoder of `shapes-sdxl`: pictures to latents of 16 by 16 and back."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import nn

from steerlab.zoo import scenes
from steerlab.zoo.training.loop import fit

__all__ = ["encode_scenes", "new_vae", "sharpen_decoder", "train_vae"]

STEPS, DECODER_STEPS, BATCH, RATE = 1250, 600, 16, 2e-3
KL_WEIGHT = 2e-4
OBJECT_WEIGHT = 5.0  # of a pixel that shows an object: there are few of them, and they are what matters


def new_vae() -> AutoencoderKL:
    """Make the untrained autoencoder, in training mode."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=scenes.SIDE,
        scaling_factor=1.0,
        force_upcast=False,
    ).train()


def train_vae(checkpoint: Path) -> AutoencoderKL:
    """Train the autoencoder on fresh pictures and set its scaling factor.

    Parameters
    ----------
    checkpoint : Path
        Where the state is kept meanwhile.

    Returns
    -------
    AutoencoderKL
        Ready for use; its scaled latents have a standard deviation of 1.
    """
    torch.manual_seed(0)
    vae = new_vae()

    def loss(generator: torch.Generator) -> torch.Tensor:
        pictures = _pictures(generator)
        posterior = vae.encode(pictures).latent_dist
        spread = posterior.kl().mean() / posterior.mean[0].numel()
        return _difference(vae.decode(posterior.sample(generator)).sample, pictures) + KL_WEIGHT * spread

    fit(vae, loss, steps=STEPS, rate=RATE, checkpoint=checkpoint)
    vae.eval().requires_grad_(False)
    latents = encode_scenes(vae, scenes.random_scenes(500, torch.Generator().manual_seed(0)), seed=1)
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 4))
    return vae


def sharpen_decoder(vae: AutoencoderKL, checkpoint: Path) -> None:
    """Train the decoder on, in place, while the encoder and so the latents stay as they are.

    Parameters
    ----------
    vae : AutoencoderKL
        From `train_vae`.
    checkpoint : Path
        Where the state is kept meanwhile.
    """
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder]).train().requires_grad_(True)

    def loss(generator: torch.Generator) -> torch.Tensor:
        generator.manual_seed(generator.initial_seed() + STEPS)  # other pictures than those of the first part
        pictures = _pictures(generator)
        with torch.no_grad():
            latents = vae.encode(pictures).latent_dist.sample(generator)
        return _difference(vae.decode(latents).sample, pictures)

    fit(decoder, loss, steps=DECODER_STEPS, rate=RATE, checkpoint=checkpoint)
    vae.eval().requires_grad_(False)


def _pictures(generator: torch.Generator) -> torch.Tensor:
    return 2 * scenes.render(scenes.random_scenes(BATCH, generator), generator) - 1


def _difference(made: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    error = made - pictures
    colourful = pictures.amax(1, keepdim=True) - pictures.amin(1, keepdim=True) > 0.5  # no background is
    weight = torch.where(colourful, OBJECT_WEIGHT, 1.0)
    return (weight * (error.abs() + error.square())).mean()


@torch.no_grad()
def encode_scenes(vae: AutoencoderKL, shown: list[scenes.Scene], seed: int) -> torch.Tensor:
    """Render scenes and encode them: the posterior's means, unscaled, ``[scene, 4, 16, 16]``."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, len(shown), 50):
        pictures = 2 * scenes.render(shown[start : start + 50], generator) - 1
        parts.append(vae.encode(pictures).latent_dist.mean)
    return torch.cat(parts)
