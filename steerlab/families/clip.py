"""Two-tower models of images and text, and their text towers alone."""

from __future__ import annotations

from steerlab.families.family import FAMILIES, Family, Tower
from steerlab.families.inputs import clip_proof, clip_text_proof, paired_inputs, siglip2_proof, text_inputs
from steerlab.families.token_maps import image_tokens, packed_image_tokens, text_tokens
from steerlab.families.vision import CLIP_BLOCK, CLS


def _vision_tower(tokens, *pooled: str) -> Tower:
    outside = {"final": ("post_layernorm",), "pooled": pooled}
    return Tower(CLIP_BLOCK, ("encoder.layers",), tokens, roots=("vision_model",), outside=outside)


def text_tower(*pooled: str, roots: tuple[str, ...] = ("text_model",)) -> Tower:
    """A text tower, with the modules that give its pooled vector."""
    outside = {"final": ("final_layer_norm",), "pooled": pooled}
    return Tower(CLIP_BLOCK, ("encoder.layers",), text_tokens, roots=roots, outside=outside)


ENTRANCES = {"vision": "get_image_features", "text": "get_text_features"}


def _two_towers(name: str, vision: Tower, text: Tower, proving=clip_proof) -> Family:
    towers = {"vision": vision, "text": text}
    return FAMILIES.add(name, Family(name, (name,), towers, proving, paired_inputs, ENTRANCES))


_two_towers("clip", _vision_tower(image_tokens(CLS), "/visual_projection"), text_tower("/text_projection"))
_two_towers("siglip", _vision_tower(image_tokens(()), "head"), text_tower("head"))
_two_towers("siglip2", _vision_tower(packed_image_tokens, "head"), text_tower("head"), siglip2_proof)

FAMILIES.add(
    "clip_text",
    Family(
        "clip_text",
        ("clip_text_model",),
        {"": text_tower("/text_projection", roots=("", "text_model"))},
        clip_text_proof,
        text_inputs,
    ),
)
