"""The module paths of every tower of the tiny models, written by hand for the oracles."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Row:
    """Module paths of one tower; those of attn, mlp, proj, act and core are relative to a block."""

    blocks: str
    attn: str  # its output is what attention adds to the stream
    mlp: str  # its output is what the MLP adds to the stream
    proj: str  # the attention's output projection
    act: str  # the MLP's last linear
    core: str  # the module that takes the softmax over keys
    final: str  # the final norm
    logits: str = ""
    mid: bool = True  # there is a point between attention and MLP

    def under(self, root: str) -> Row:
        return replace(self, blocks=root + self.blocks, final=self.final and root + self.final)


LLAMA = Row(
    blocks="model.layers",
    attn="self_attn",
    mlp="mlp",
    proj="self_attn.o_proj",
    act="mlp.down_proj",
    core="self_attn",
    final="model.norm",
    logits="lm_head",
)
EXPERTS = replace(LLAMA, act="")
GEMMA = replace(LLAMA, attn="post_attention_layernorm", mlp="post_feedforward_layernorm")
OPT = replace(
    LLAMA,
    blocks="model.decoder.layers",
    mlp="fc2",
    proj="self_attn.out_proj",
    act="fc2",
    final="model.decoder.final_layer_norm",
)
GPT2 = Row(
    blocks="transformer.h",
    attn="attn",
    mlp="mlp",
    proj="attn.c_proj",
    act="mlp.c_proj",
    core="attn",
    final="transformer.ln_f",
    logits="lm_head",
)
NEOX = Row(
    blocks="gpt_neox.layers",
    attn="attention",
    mlp="mlp",
    proj="attention.dense",
    act="mlp.dense_4h_to_h",
    core="attention",
    final="gpt_neox.final_layer_norm",
    logits="lm_head",
    mid=False,
)
VIT = Row(
    blocks="layers",
    attn="attention",
    mlp="mlp",
    proj="attention.o_proj",
    act="mlp.fc2",
    core="attention",
    final="layernorm",
)
DINO2 = replace(VIT, blocks="encoder.layer", attn="layer_scale1", mlp="layer_scale2")
DINO3 = replace(DINO2, blocks="model.layer", act="mlp.down_proj", final="norm")
JEPA = replace(VIT, blocks="layer", proj="attention.proj")
VIDEOMAE = replace(
    VIT,
    blocks="encoder.layer",
    mlp="output.dense",
    proj="attention.output.dense",
    act="output.dense",
    core="attention.attention",
)
# Attention over time and then over space, on reordered tokens, is not one addition to the stream.
TIMESFORMER = replace(VIDEOMAE, attn="", proj="", core="", mid=False)
TIMM = replace(VIT, blocks="blocks", attn="ls1", mlp="ls2", proj="attn.proj", core="", final="norm")
CLIP_TEXT = Row(
    blocks="encoder.layers",
    attn="self_attn",
    mlp="mlp",
    proj="self_attn.out_proj",
    act="mlp.fc2",
    core="self_attn",
    final="final_layer_norm",
)
CLIP_VISION = replace(CLIP_TEXT, final="")  # its norm is applied to the pooled token alone
SIGLIP_VISION = replace(CLIP_TEXT, final="post_layernorm")
SIGLIP = {"vision.": SIGLIP_VISION.under("vision_model."), "text.": CLIP_TEXT.under("text_model.")}

# family: tower prefix: row
ROWS: dict[str, dict[str, Row]] = {
    "llama": {"": LLAMA},
    "mistral": {"": LLAMA},
    "qwen3": {"": LLAMA},
    "phi3": {"": LLAMA},
    "mixtral": {"": EXPERTS},
    "gpt_oss": {"": EXPERTS},
    "gemma2": {"": GEMMA},
    "gemma3": {"": GEMMA},
    "gpt2": {"": GPT2},
    "gpt_neox": {"": NEOX},
    "opt": {"": OPT},
    "vit": {"": VIT},
    "deit": {"": VIT},
    "vit_mae": {"": VIT},
    "dinov2": {"": DINO2},
    "dinov2_with_registers": {"": DINO2},
    "dinov3_vit": {"": DINO3},
    "siglip_vision": {"": SIGLIP_VISION},
    "clip_vision": {"": CLIP_VISION},
    "clip_text": {"": CLIP_TEXT},
    "siglip2_vision": {"": SIGLIP_VISION},
    "clip": {"vision.": CLIP_VISION.under("vision_model."), "text.": CLIP_TEXT.under("text_model.")},
    "siglip": SIGLIP,
    "siglip2": SIGLIP,
    "videomae": {"": VIDEOMAE},
    "vjepa2": {"": JEPA.under("encoder."), "predictor.": JEPA.under("predictor.")},
    "timesformer": {"": TIMESFORMER},
    "timm_vit": {"": TIMM},
    "dinov2_saliency": {"": DINO2.under("backbone.")},
    "sd": {"text_encoder.": CLIP_TEXT.under("text_encoder.")},
    "sdxl": {
        "text_encoder.": CLIP_TEXT.under("text_encoder."),
        "text_encoder_2.": CLIP_TEXT.under("text_encoder_2.text_model."),
    },
    "pixart": {},
    "plain": {},
}
DENOISERS = {"sd": "unet", "sdxl": "unet", "pixart": "transformer"}
