"""Train and measure `shapes-sdxl`; `shapes-checker`, trained before, judges its pictures."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline

from steerlab.zoo import scenes
from steerlab.zoo.checker import judge
from steerlab.zoo.shapes_sdxl import read_pipeline
from steerlab.zoo.training.sdxl_shapes import object_masks, sharpen_shapes
from steerlab.zoo.training.sdxl_unet import SCENES_SEED, scenes_and_latents, train_denoiser
from steerlab.zoo.training.sdxl_vae import sharpen_decoder, train_vae

__all__ = ["draw", "evaluate", "train"]

_LOG = logging.getLogger(__name__)

STEPS, GUIDANCE, AT_ONCE = 20, 3.0, 25
PROMPTS, RECONSTRUCTIONS = 200, 400


def train(folder: Path) -> None:
    """Train the autoencoder, its decoder once more, then the denoiser with the text encoders.

    Parameters
    ----------
    folder : Path
        Where the pipeline goes, in float16; the folder beside it, ending in ``-training``, holds the
        checkpoints that a run goes on from.
    """
    place = folder.with_name(folder.name + "-training")
    vae = train_vae(place / "vae.pt")
    sharpen_decoder(vae, place / "decoder.pt")
    _LOG.info("autoencoder: %s", _reconstruction(vae))
    pipeline = train_denoiser(vae, place, watch)
    shown, latents = scenes_and_latents(vae, place / "latents.pt")
    masks = object_masks(shown, SCENES_SEED, place / "masks.pt")
    sharpen_shapes(pipeline, (shown, latents, masks), place / "shapes.pt", watch)
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(folder)
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)  # they are written for the owner alone
    for file in folder.rglob("*.json"):  # diffusers notes where a part was read from
        said = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(said, dict) and said.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def watch(pipeline: StableDiffusionXLPipeline) -> None:
    """Log what the checker says of a few pictures drawn in few steps."""
    generator = torch.Generator().manual_seed(7)
    asked = scenes.random_scenes(AT_ONCE, generator)
    captions = scenes.random_captions(asked, generator)
    shares = judge(draw(pipeline, captions, steps=8)).agreement(asked, captions)
    _LOG.info("share as asked: %s", {name: round(share, 2) for name, share in shares.items()})


def evaluate(folder: Path) -> dict[str, float]:
    """Measure how often pictures are what was asked, and what the autoencoder keeps.

    Parameters
    ----------
    folder : Path
        The pipeline's folder.

    Returns
    -------
    dict
        ``colour``, ``shape``, ``size``, ``place``, ``count``: share of pictures, of those whose caption says
        it; ``all``: share with everything right that was said; ``kept_...`` and ``error``: of
        reconstructions.
    """
    pipeline = read_pipeline(folder)
    generator = torch.Generator().manual_seed(20_000_003)
    asked = scenes.random_scenes(PROMPTS, generator)
    captions = scenes.random_captions(asked, generator)
    shares = judge(draw(pipeline, captions)).agreement(asked, captions)
    return {name: round(share, 4) for name, share in (shares | _reconstruction(pipeline.vae)).items()}


def draw(
    pipeline: StableDiffusionXLPipeline, captions: Sequence[str], *, steps: int = STEPS, seed: int = 0
) -> torch.Tensor:
    """Draw one picture a caption, each with a seed of its own: ``[caption, 3, 64, 64]`` in [0, 1].

    Parameters
    ----------
    pipeline : StableDiffusionXLPipeline
        In float32, on the CPU.
    captions : sequence of str
        What to draw.
    steps, seed : int
        Number of steps of the scheduler, and the seed of the first picture.
    """
    parts = []
    pipeline.set_progress_bar_config(disable=True)
    for start in range(0, len(captions), AT_ONCE):
        some = list(captions[start : start + AT_ONCE])
        parts.append(
            pipeline(
                some,
                num_inference_steps=steps,
                guidance_scale=GUIDANCE,
                generator=[torch.Generator().manual_seed(seed + start + i) for i in range(len(some))],
                output_type="pt",
            ).images
        )
    return torch.cat(parts)


@torch.no_grad()
def _reconstruction(vae: torch.nn.Module) -> dict[str, float]:
    """What the checker still sees right after encoding and decoding, and the mean absolute error."""
    generator = torch.Generator().manual_seed(30_000_001)
    shown = scenes.random_scenes(RECONSTRUCTIONS, generator)
    pictures = scenes.render(shown, generator)
    parts = [vae.decode(vae.encode(2 * part - 1).latent_dist.mean).sample for part in pictures.split(AT_ONCE)]
    again = (torch.cat(parts) / 2 + 0.5).clamp(0, 1)
    kept = {f"kept_{name}": share for name, share in judge(again).agreement(shown).items()}
    return kept | {"error": (again - pictures).abs().mean().item()}
