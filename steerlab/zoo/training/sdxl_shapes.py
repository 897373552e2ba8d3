"""The second half of the denoiser's training: the object counts more, at the noise where shapes form."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from torch import nn
from torch.nn import functional as F

from steerlab.zoo import scenes
from steerlab.zoo.training.loop import fit
from steerlab.zoo.training.sdxl_words import embed_captions

__all__ = ["object_masks", "sharpen_shapes"]

_LOG = logging.getLogger(__name__)

STEPS, BATCH, RATE = 2000, 48, 1e-3
OBJECT = 6.0  # how much more a place of the object counts than one of the background
DECISIVE = (150, 900)  # times at which shapes form; two thirds of the batch are drawn from there
NO_CAPTION, NO_POOLED = 0.1, 0.5


def object_masks(shown: list[scenes.Scene], seed: int, kept: Path) -> torch.Tensor:
    """Where the objects of rendered scenes lie, with one place around them: ``[scene, 1, 16, 16]`` of 0 or 1.

    Parameters
    ----------
    shown : list of Scene
        The scenes.
    seed : int
        The seed with which they were rendered for the autoencoder, 50 at a time.
    kept : Path
        Where the masks are kept for the next run.
    """
    if not kept.exists():
        generator, parts = torch.Generator().manual_seed(seed), []
        for start in range(0, len(shown), 50):
            pictures = scenes.render(shown[start : start + 50], generator)
            strong = (pictures.amax(1) - pictures.amin(1) > 0.2).float()  # backgrounds are nearly grey
            parts.append(F.max_pool2d(F.max_pool2d(strong, 4), 3, stride=1, padding=1).bool())
        torch.save(torch.cat(parts), kept)
    return torch.load(kept, weights_only=True)[:, None]


def sharpen_shapes(
    pipeline: StableDiffusionXLPipeline,
    data: tuple[list[scenes.Scene], torch.Tensor, torch.Tensor],
    checkpoint: Path,
    watch: Callable[[StableDiffusionXLPipeline], None],
) -> None:
    """Train the denoiser and its text encoders further, in place.

    Parameters
    ----------
    pipeline : StableDiffusionXLPipeline
        As the first half left it.
    data : tuple
        Scenes, their scaled latents ``[scene, 4, 16, 16]``, and their masks ``[scene, 1, 16, 16]``.
    checkpoint : Path
        Where the state is kept meanwhile.
    watch : callable
        Is called with the pipeline every few hundred steps.
    """
    shown, latents, masks = data
    names = ("unet", "text_encoder", "text_encoder_2")
    parts = nn.ModuleDict({name: getattr(pipeline, name) for name in names}).train().requires_grad_(True)
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2)
    amounts = pipeline.scheduler.alphas_cumprod
    sizes = torch.tensor([[scenes.SIDE, scenes.SIDE, 0, 0, scenes.SIDE, scenes.SIDE]]).repeat(BATCH, 1)

    def loss(generator: torch.Generator) -> torch.Tensor:
        picks = torch.randint(len(shown), (BATCH,), generator=generator)
        captions = scenes.random_captions([shown[i] for i in picks.tolist()], generator)
        texts, pooled = embed_captions(captions, tokenizers, encoders)
        chance = torch.rand(2, BATCH, generator=generator)
        given = (chance[0] > NO_CAPTION).float()[:, None]
        pooled = pooled * given * (chance[1] > NO_POOLED).float()[:, None]
        clean = latents[picks].float()
        noise = torch.randn(clean.shape, generator=generator)
        times = _times(generator, len(amounts))
        share = amounts[times][:, None, None, None]
        signal, sigma = share**0.5, (1 - share) ** 0.5
        added = {"text_embeds": pooled, "time_ids": sizes}
        noisy = signal * clean + sigma * noise
        velocity = pipeline.unet(noisy, times, texts * given[:, None], added_cond_kwargs=added).sample
        weight = 1 + (OBJECT - 1) * masks[picks]
        return (weight * (velocity - (signal * noise - sigma * clean)).square()).mean() / weight.mean()

    def look(done: int) -> None:
        parts.eval()
        watch(pipeline)
        parts.train()

    fit(parts, loss, steps=STEPS, rate=RATE, checkpoint=checkpoint, watch=look)
    parts.eval().requires_grad_(False)


def _times(generator: torch.Generator, count: int) -> torch.Tensor:
    """Times of a batch, spread evenly: a third over all, two thirds over the decisive ones."""
    spread = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
    low, high = DECISIVE
    everywhere, decisive = 3 * spread, (3 * spread - 1) / 2
    return torch.where(spread < 1 / 3, everywhere * count, low + decisive * (high - low)).long()
