"""Pipelines of diffusers: UNets with named blocks, transformer denoisers, text encoders as towers."""

from __future__ import annotations

from steerlab.families.clip import text_tower
from steerlab.families.family import FAMILIES, Attention, Block, Denoiser, Family
from steerlab.families.inputs import pipeline_inputs, pipeline_proof
from steerlab.families.token_maps import latent_tokens


def _attention(name: str) -> Attention:
    return Attention(
        name,
        f"{name}.to_out.0",
        projections=tuple(f"{name}.to_{part}" for part in "qkv"),
        heads=f"{name}.heads",
    )


BASIC_BLOCK = Block(
    {"self": _attention("attn1"), "cross": _attention("attn2")}, mlp="ff", mlp_last=("ff.net.2",)
)

UNET = Denoiser(
    BASIC_BLOCK,
    places={
        "down.{i}.{j}": "down_blocks.{i}.attentions.{j}",
        "mid.{j}": "mid_block.attentions.{j}",
        "up.{i}.{j}": "up_blocks.{i}.attentions.{j}",
    },
    blocks="transformer_blocks",
    tokens=latent_tokens(),
)
TRANSFORMER = Denoiser(BASIC_BLOCK, places={"": ""}, blocks="transformer_blocks", tokens=latent_tokens(2))
ENCODER = text_tower("/text_projection", roots=("", "text_model"))


def _pipeline(name: str, types: tuple[str, ...], towers: dict) -> Family:
    return FAMILIES.add(name, Family(name, types, towers, pipeline_proof, pipeline_inputs))


_pipeline(
    "sdxl",
    (
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
        "StableDiffusionXLPAGPipeline",
        "StableDiffusionXLInstructPix2PixPipeline",
        "StableDiffusionXLModularPipeline",
    ),
    {"unet": UNET, "text_encoder": ENCODER, "text_encoder_2": ENCODER},
)
_pipeline(
    "sd",
    (
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionPAGPipeline",
        "StableDiffusionInstructPix2PixPipeline",
    ),
    {"unet": UNET, "text_encoder": ENCODER},
)
_pipeline("pixart", ("PixArtAlphaPipeline", "PixArtSigmaPipeline"), {"transformer": TRANSFORMER})
