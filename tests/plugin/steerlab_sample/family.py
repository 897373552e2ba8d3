"""A family: a row of data for models of a type that steerlab does not know."""

from __future__ import annotations

from steerlab.families.family import Attention, Block, Family, Tower
from steerlab.families.inputs import text_inputs, text_proof
from steerlab.families.token_maps import text_tokens

SAMPLE = Family(
    "sample_llama",
    ("sample_llama",),
    {
        "": Tower(
            Block({"": Attention("self_attn", "self_attn.o_proj")}, mlp_last=("mlp.down_proj",)),
            ("layers",),
            text_tokens,
            ("", "base"),
            {"final": ("norm",), "logits": ("/lm_head",)},
        )
    },
    text_proof,
    text_inputs,
)
