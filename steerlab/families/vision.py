"""Image encoders: ViT and its descendants, in transformers and timm."""

from __future__ import annotations

from steerlab.families.family import FAMILIES, Attention, Block, Family, Tower
from steerlab.families.inputs import (
    any_size_proof,
    image_inputs,
    image_proof,
    saliency_proof,
    siglip2_proof,
    timm_proof,
)
from steerlab.families.token_maps import image_tokens, packed_image_tokens, shuffled_tokens, timm_tokens

VIT = Attention("attention", "attention.o_proj")
VIT_BLOCK = Block({"": VIT}, mlp_last=("mlp.fc2",))
# layer scale stands between a sublayer and the stream
DINO_BLOCK = Block(
    {"": Attention("attention", "attention.o_proj", add="layer_scale1")},
    mlp_add="layer_scale2",
    mlp_last=("mlp.fc2", "mlp.weights_out", "mlp.down_proj"),
)
CLIP_BLOCK = Block({"": Attention("self_attn", "self_attn.out_proj")}, mlp_last=("mlp.fc2",))
TIMM_BLOCK = Block(
    {"": Attention("attn", "attn.proj", add="drop_path1", projections=("attn.qkv",), heads="attn.num_heads")},
    mlp_add="drop_path2",
    mlp_last=("mlp.fc2",),
)

CLS = (("cls", 1),)
REGISTERS = (("cls", 1), ("registers", "config.num_register_tokens"))


def _vision(
    name, types, block, blocks, *, tokens=None, final="layernorm", pooled="pooler", proving=image_proof
):
    tower = Tower(
        block,
        (blocks,),
        tokens or image_tokens(CLS),
        outside={"final": (final,), "pooled": (pooled,), "logits": ("/classifier",)},
    )
    return FAMILIES.add(name, Family(name, types, {"": tower}, proving, image_inputs))


_vision("vit", ("vit",), VIT_BLOCK, "layers")
_vision("deit", ("deit",), VIT_BLOCK, "layers", tokens=image_tokens((("cls", 1), ("distillation", 1))))
_vision("dinov2", ("dinov2",), DINO_BLOCK, "encoder.layer", proving=any_size_proof)
_vision(
    "dinov2_with_registers",
    ("dinov2_with_registers",),
    DINO_BLOCK,
    "encoder.layer",
    tokens=image_tokens(REGISTERS),
    proving=any_size_proof,
)
_vision(
    "dinov3_vit",
    ("dinov3_vit",),
    DINO_BLOCK,
    "model.layer",
    tokens=image_tokens(REGISTERS),
    final="norm",
    proving=any_size_proof,
)
_vision("vit_mae", ("vit_mae",), VIT_BLOCK, "layers", tokens=shuffled_tokens)
_vision(
    "clip_vision",
    ("clip_vision_model",),
    CLIP_BLOCK,
    "encoder.layers",
    final="post_layernorm",
    pooled="post_layernorm",
)
_vision(
    "siglip_vision",
    ("siglip_vision_model",),
    CLIP_BLOCK,
    "encoder.layers",
    tokens=image_tokens(()),
    final="post_layernorm",
    pooled="head",
)
_vision(
    "siglip2_vision",
    ("siglip2_vision_model",),
    CLIP_BLOCK,
    "encoder.layers",
    tokens=packed_image_tokens,
    final="post_layernorm",
    pooled="head",
    proving=siglip2_proof,
)

FAMILIES.add(
    "timm_vit",
    Family(
        "timm_vit",
        ("VisionTransformer",),
        {
            "": Tower(
                TIMM_BLOCK,
                ("blocks",),
                timm_tokens,
                outside={"final": ("norm",), "logits": ("/head",)},
            )
        },
        timm_proof,
        image_inputs,
    ),
)

# the zoo's DINOv2 with a decoder on top; its sites are the backbone's
FAMILIES.add(
    "dinov2_saliency",
    Family(
        "dinov2_saliency",
        ("SaliencyModel",),
        {
            "": Tower(
                DINO_BLOCK,
                ("encoder.layer",),
                image_tokens(CLS),
                roots=("backbone",),
                outside={"final": ("layernorm",)},
            )
        },
        saliency_proof,
        image_inputs,
    ),
)
