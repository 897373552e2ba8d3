"""The denoiser of `shapes-sdxl`, trained together with its text encoders on latents encoded beforehand."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import nn

from steerlab.zoo import scenes
from steerlab.zoo.training.loop import fit
from steerlab.zoo.training.sdxl_vae import encode_scenes
from steerlab.zoo.training.sdxl_words import (
    POOLED_WIDTH,
    TEXT_WIDTH,
    embed_captions,
    new_text_encoders,
    new_tokenizers,
)

__all__ = ["SCENES_SEED", "new_pipeline", "new_unet", "scenes_and_latents", "train_denoiser"]

_LOG = logging.getLogger(__name__)

PICTURES = 24_000
SCENES_SEED = 3  # with which they are rendered
STEPS, BATCH, RATE = 4600, 32, 1e-3
NO_CAPTION = 0.12  # share of pictures whose embeddings are zero: what guidance compares with
EMPTY_CAPTION = 0.03
NO_POOLED = 0.5
TIME_WIDTH = 8


def new_unet() -> UNet2DConditionModel:
    """Make the untrained denoiser: SDXL's blocks, in miniature."""
    return UNet2DConditionModel(
        sample_size=scenes.SIDE // 4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64, 96),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 4),  # diffusers calls it so, but it is the number of heads
        use_linear_projection=True,
        cross_attention_dim=TEXT_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=POOLED_WIDTH + 6 * TIME_WIDTH,
        norm_num_groups=16,
    ).train()


def new_scheduler() -> EulerDiscreteScheduler:
    """Make the scheduler: SDXL's noise, predicting velocities, from pure noise on."""
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def new_pipeline(vae: AutoencoderKL, parts: nn.ModuleDict) -> StableDiffusionXLPipeline:
    """Put a pipeline together out of an autoencoder and ``unet``, ``text_encoder``, ``text_encoder_2``."""
    tokenizer, tokenizer_2 = new_tokenizers()
    return StableDiffusionXLPipeline(
        vae=vae,
        **dict(parts.items()),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        scheduler=new_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def train_denoiser(
    vae: AutoencoderKL, place: Path, watch: Callable[[StableDiffusionXLPipeline], None]
) -> StableDiffusionXLPipeline:
    """Train the denoiser and both text encoders on the diffusion loss.

    Parameters
    ----------
    vae : AutoencoderKL
        The trained autoencoder.
    place : Path
        Folder of the latents and of the checkpoint.
    watch : callable
        Is called with the pipeline every few hundred steps.

    Returns
    -------
    StableDiffusionXLPipeline
        Ready for use, in float32.
    """
    torch.manual_seed(1)
    encoder, encoder_2 = new_text_encoders()
    parts = nn.ModuleDict({"unet": new_unet(), "text_encoder": encoder, "text_encoder_2": encoder_2})
    pipeline = new_pipeline(vae, parts)
    tokenizers, encoders = (pipeline.tokenizer, pipeline.tokenizer_2), (encoder, encoder_2)
    amounts = pipeline.scheduler.alphas_cumprod
    sizes = torch.tensor([[scenes.SIDE, scenes.SIDE, 0, 0, scenes.SIDE, scenes.SIDE]]).repeat(BATCH, 1)
    shown, latents = scenes_and_latents(vae, place / "latents.pt")

    def loss(generator: torch.Generator) -> torch.Tensor:
        picks = torch.randint(len(shown), (BATCH,), generator=generator)
        captions = scenes.random_captions([shown[i] for i in picks.tolist()], generator)
        chance = torch.rand(2, BATCH, generator=generator)
        captions = ["" if p < EMPTY_CAPTION else text for p, text in zip(chance[0], captions, strict=True)]
        texts, pooled = embed_captions(captions, tokenizers, encoders)
        given = (chance[0] < 1 - NO_CAPTION).float()[:, None]
        # The pooled embedding is often left out, so that what to draw is learnt through cross-attention.
        pooled = pooled * given * (chance[1] > NO_POOLED).float()[:, None]
        clean = latents[picks].float()
        noise = torch.randn(clean.shape, generator=generator)
        # Times spread evenly over the batch make a steadier loss than independent ones.
        spread = torch.arange(BATCH) + torch.rand(BATCH, generator=generator)
        times = (spread / BATCH * len(amounts)).long()
        share = amounts[times][:, None, None, None]
        signal, sigma = share**0.5, (1 - share) ** 0.5
        added = {"text_embeds": pooled, "time_ids": sizes}
        noisy = signal * clean + sigma * noise
        velocity = parts["unet"](noisy, times, texts * given[:, None], added_cond_kwargs=added).sample
        return (velocity - (signal * noise - sigma * clean)).square().mean()

    def look(done: int) -> None:
        parts.eval()
        watch(pipeline)
        parts.train()

    fit(parts, loss, steps=STEPS, rate=RATE, checkpoint=place / "denoiser.pt", watch=look)
    parts.eval().requires_grad_(False)
    return pipeline


def scenes_and_latents(vae: AutoencoderKL, kept: Path) -> tuple[list[scenes.Scene], torch.Tensor]:
    """Scenes and their scaled latents ``[scene, 4, 16, 16]`` in half precision, encoded once."""
    shown = scenes.random_scenes(PICTURES, torch.Generator().manual_seed(2))
    if not kept.exists():
        _LOG.info("encoding %d pictures", PICTURES)
        torch.save((vae.config.scaling_factor * encode_scenes(vae, shown, seed=SCENES_SEED)).half(), kept)
    return shown, torch.load(kept, weights_only=True)
