"""Causal language models: one row a layout of blocks."""

from __future__ import annotations

from steerlab.families.family import FAMILIES, Attention, Block, Family, Tower
from steerlab.families.inputs import text_inputs, text_proof
from steerlab.families.token_maps import text_tokens

ALONE = ""  # the name of the only attention of a block


def _text(
    name: str, types: tuple[str, ...], block: Block, *, blocks="layers", final="norm", roots=("", "base")
) -> Family:
    outside = {"final": (final,), "logits": ("/lm_head", "/embed_out")}
    tower = Tower(block, (blocks,), text_tokens, roots, outside)
    return FAMILIES.add(name, Family(name, types, {"": tower}, text_proof, text_inputs))


LLAMA = Attention("self_attn", "self_attn.o_proj")
LLAMA_BLOCK = Block({ALONE: LLAMA}, mlp_last=("mlp.down_proj",))
# Gemma normalises what attention and MLP return before it is added
GEMMA_BLOCK = Block(
    {ALONE: Attention("self_attn", "self_attn.o_proj", add="post_attention_layernorm")},
    mlp_add="post_feedforward_layernorm",
    mlp_last=("mlp.down_proj",),
)
EXPERTS_BLOCK = Block({ALONE: LLAMA})

_text("llama", ("llama",), LLAMA_BLOCK)
_text("mistral", ("mistral", "ministral"), LLAMA_BLOCK)
_text("qwen3", ("qwen3", "qwen2"), LLAMA_BLOCK)
_text("phi3", ("phi3",), LLAMA_BLOCK)
_text("gemma2", ("gemma2",), GEMMA_BLOCK)
_text("gemma3", ("gemma3_text",), GEMMA_BLOCK)
_text("mixtral", ("mixtral", "qwen3_moe"), EXPERTS_BLOCK)
_text("gpt_oss", ("gpt_oss",), EXPERTS_BLOCK)
_text(
    "gpt2",
    ("gpt2",),
    Block({ALONE: Attention("attn", "attn.c_proj")}, mlp_last=("mlp.c_proj",)),
    blocks="h",
    final="ln_f",
)
_text(
    "gpt_neox",
    ("gpt_neox",),
    Block({ALONE: Attention("attention", "attention.dense")}, mlp_last=("mlp.dense_4h_to_h",)),
    final="final_layer_norm",
)
_text(
    "opt",
    ("opt",),
    Block({ALONE: Attention("self_attn", "self_attn.out_proj")}, mlp="fc2", mlp_last=("fc2",)),
    final="final_layer_norm",
    roots=("model.decoder", "decoder"),  # its language model calls the decoder past the base model
)
