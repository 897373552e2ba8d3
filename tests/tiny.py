"""Tiny seeded random models, one for each family, with the inputs that tests run them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import diffusers
import timm
import tokenizers
import torch
import transformers as tf
from tiny_rows import (
    BETAS,
    BOS,
    CLIP_TEXT,
    EOS,
    IMAGE,
    LLMS,
    PACKED,
    PAD,
    TWO_TOWERS,
    UNET,
    VAE,
    VIDEO,
    VISION,
    VOCAB,
    WORDS,
)
from torch import nn

from steerlab.zoo.dinov2_saliency import SaliencyModel


@dataclass(frozen=True)
class Tiny:
    family: str
    model: Any
    inputs: dict[str, Any]
    padded: dict[str, Any] | None = None
    tokenizer: Any | None = None


def word_tokenizer(max_length: int = 64, side: str = "left") -> tf.PreTrainedTokenizerFast:
    """A tokenizer of whole words that puts <bos> first, and <eos> last when padding on the right."""
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A" if side == "left" else "<bos> $A <eos>",
        special_tokens=[("<bos>", BOS), ("<eos>", EOS)],
    )
    names = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=max_length, padding_side=side, **names
    )


def perturb(module: nn.Module, scale: float) -> nn.Module:
    """Add noise to every parameter, so that no bias is zero and no scale is one."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return module.eval().requires_grad_(False)


def hub_model(config: str, settings: dict[str, Any], model: str) -> nn.Module:
    return perturb(getattr(tf, model)(getattr(tf, config)(**settings)), 0.1)


def build_llm(family: str) -> Tiny:
    model = hub_model(*LLMS[family])
    ids = torch.randint(4, VOCAB, (2, 7))
    mask = torch.ones_like(ids)
    short, short_mask = ids.clone(), mask.clone()
    short[1] = torch.cat([torch.full((3,), PAD), ids[1, :4]])
    short_mask[1, :3] = 0
    return Tiny(
        family,
        model,
        {"input_ids": ids, "attention_mask": mask},
        {"input_ids": short, "attention_mask": short_mask},
        word_tokenizer(),
    )


def build_vision(family: str) -> Tiny:
    model = hub_model(*VISION[family])
    inputs = {"pixel_values": torch.randn(2, 3, 32, 32)}
    if family == "vit_mae":  # it drops random patches in an order drawn anew each call unless this is given
        inputs["noise"] = torch.rand(2, 16)
    return Tiny(family, model, inputs)


def build_two_towers(family: str) -> Tiny:
    model = hub_model(*TWO_TOWERS[family])
    ids = torch.randint(4, VOCAB, (2, 16 if family != "clip" else 7))
    ids[:, -1] = EOS
    inputs = {"input_ids": ids, "pixel_values": torch.randn(2, 3, 32, 32)}
    if family == "siglip2":
        inputs |= packed_images()
    return Tiny(family, model, inputs)


def packed_images() -> dict[str, torch.Tensor]:
    """What SigLIP 2 takes: flattened patches of images of different shapes."""
    mask = torch.ones(2, 16, dtype=torch.long)
    mask[1, 12:] = 0
    shapes = torch.tensor([[4, 4], [4, 3]])
    return {
        "pixel_values": torch.randn(2, 16, 3 * 8 * 8),
        "pixel_attention_mask": mask,
        "spatial_shapes": shapes,
    }


def build_packed_vision() -> Tiny:
    model = hub_model("Siglip2VisionConfig", PACKED, "Siglip2VisionModel")
    return Tiny("siglip2_vision", model, packed_images())


def build_clip_text() -> Tiny:
    model = text_encoder("CLIPTextModel")
    ids = torch.randint(4, VOCAB, (2, 7))
    ids[0, -1], ids[1, 4], ids[1, 5:] = EOS, EOS, PAD
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2])
    whole = {"input_ids": torch.cat([ids[:1], ids[:1].roll(1)]), "attention_mask": torch.ones_like(mask)}
    padded = {"input_ids": ids, "attention_mask": mask}
    return Tiny("clip_text", model, whole, padded, word_tokenizer(16, "right"))


def build_video(family: str) -> Tiny:
    model = hub_model(*VIDEO[family])
    name = "pixel_values_videos" if family == "vjepa2" else "pixel_values"
    frames, size = model.config.num_frames if family != "vjepa2" else 4, 32 if family == "videomae" else 16
    return Tiny(family, model, {name: torch.randn(2, frames, 3, size, size)})


def text_encoder(kind: str) -> nn.Module:
    return hub_model("CLIPTextConfig", CLIP_TEXT, kind)


def unet(**settings: Any) -> nn.Module:
    return perturb(diffusers.UNet2DConditionModel(**UNET, **settings), 0.05)


def images(family: str, pipe: Any, size: int = 32) -> Tiny:
    pipe.set_progress_bar_config(disable=True)
    prompts = {"prompt": ["a red cat", "a blue dog"], "num_inference_steps": 3, "output_type": "latent"}
    return Tiny(family, pipe, prompts | {"height": size, "width": size})


def build_sdxl() -> Tiny:
    model = unet(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 2),
        attention_head_dim=(2, 4, 4),
        use_linear_projection=True,
        cross_attention_dim=64,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
    )
    pipe = diffusers.StableDiffusionXLPipeline(
        vae=perturb(diffusers.AutoencoderKL(**VAE), 0.05),
        text_encoder=text_encoder("CLIPTextModel"),
        text_encoder_2=text_encoder("CLIPTextModelWithProjection"),
        tokenizer=word_tokenizer(16, "right"),
        tokenizer_2=word_tokenizer(16, "right"),
        unet=model,
        scheduler=diffusers.EulerDiscreteScheduler(**BETAS),
        add_watermarker=False,
    )
    return images("sdxl", pipe)


def build_sd() -> Tiny:
    model = unet(
        block_out_channels=(16, 32, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4,
        cross_attention_dim=32,
    )
    pipe = diffusers.StableDiffusionPipeline(
        vae=perturb(diffusers.AutoencoderKL(**VAE), 0.05),
        text_encoder=text_encoder("CLIPTextModel"),
        tokenizer=word_tokenizer(16, "right"),
        unet=model,
        scheduler=diffusers.DDIMScheduler(**BETAS, steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return images("sd", pipe)


def build_pixart() -> Tiny:
    t5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": VOCAB}
    sizes = {"num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 3, "cross_attention_dim": 32}
    sizes |= {"in_channels": 4, "out_channels": 8, "sample_size": 16, "patch_size": 2}
    transformer = diffusers.PixArtTransformer2DModel(
        **sizes, caption_channels=32, use_additional_conditions=False
    )
    pipe = diffusers.PixArtAlphaPipeline(
        tokenizer=word_tokenizer(16, "right"),
        text_encoder=hub_model("T5Config", t5, "T5EncoderModel"),
        vae=perturb(diffusers.AutoencoderKL(**VAE), 0.05),
        transformer=perturb(transformer, 0.05),
        scheduler=diffusers.DPMSolverMultistepScheduler(**BETAS),
    )
    made = images("pixart", pipe)
    extra = {"max_sequence_length": 16, "use_resolution_binning": False, "clean_caption": False}
    return Tiny("pixart", pipe, made.inputs | extra)


def build_saliency() -> Tiny:
    backbone = tf.Dinov2Model(tf.Dinov2Config(**IMAGE, mlp_ratio=2))
    pixels = {"pixel_values": torch.randn(2, 3, 32, 32)}
    return Tiny("dinov2_saliency", perturb(SaliencyModel(backbone), 0.1), pixels)


def build_timm_vit() -> Tiny:
    sizes = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 32, "num_heads": 4, "num_classes": 10}
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, init_values=0.5, **sizes)
    return Tiny("timm_vit", perturb(model, 0.1), {"x": torch.randn(2, 3, 32, 32)})


def build_plain() -> Tiny:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 64, 32),
        nn.GELU(),
        nn.Linear(32, 5),
    )
    return Tiny("plain", perturb(model, 0.1), {"input": torch.randn(2, 3, 8, 8)})


GROUPS = ((LLMS, build_llm), (VISION, build_vision), (TWO_TOWERS, build_two_towers), (VIDEO, build_video))
BUILDERS: dict[str, Callable[[], Tiny]] = {
    family: partial(build, family) for table, build in GROUPS for family in table
}
BUILDERS |= {"sdxl": build_sdxl, "sd": build_sd, "pixart": build_pixart}
BUILDERS |= {"timm_vit": build_timm_vit, "dinov2_saliency": build_saliency, "plain": build_plain}
BUILDERS |= {"siglip2_vision": build_packed_vision, "clip_text": build_clip_text}


def tiny(family: str) -> Tiny:
    """Build the family's model afresh: the same weights and inputs each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BUILDERS[family]()
