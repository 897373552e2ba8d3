"""`shapes-sdxl`, a complete Stable Diffusion XL pipeline in miniature, trained on captioned shapes."""

from __future__ import annotations

from pathlib import Path

from diffusers import StableDiffusionXLPipeline

from steerlab.zoo import ZooModel

__all__ = ["WEIGHTS", "load", "read_pipeline"]

WEIGHTS = Path(__file__).parent / "weights" / "shapes-sdxl"


def load() -> ZooModel:
    """Load `shapes-sdxl`.

    Returns
    -------
    ZooModel
        `model` is a ``StableDiffusionXLPipeline`` that draws pictures of 64 by 64; a prompt such as
        ``a large red circle on the left`` gives what it says with 20 steps and a guidance scale of 3.
    """
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    return ZooModel(model=read_pipeline(WEIGHTS), processor=None, card=card)


def read_pipeline(folder: Path) -> StableDiffusionXLPipeline:
    """Read the pipeline in float32; from safetensors alone, and never from a hub."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, use_safetensors=True, local_files_only=True, add_watermarker=False
    )
    # afterwards, because diffusers has renamed the argument that says so
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        part.float()
    return pipeline
