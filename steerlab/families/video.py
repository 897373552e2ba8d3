"""Video encoders."""

from __future__ import annotations

from steerlab.families.family import FAMILIES, Attention, Block, Family, Tower
from steerlab.families.inputs import image_inputs, video_proof
from steerlab.families.token_maps import unknown_tokens, video_tokens

JEPA_BLOCK = Block({"": Attention("attention", "attention.proj")}, mlp_last=("mlp.fc2",))

FAMILIES.add(
    "videomae",
    Family(
        "videomae",
        ("videomae",),
        {
            "": Tower(
                Block(
                    {"": Attention("attention", "attention.output.dense")},
                    mlp="output.dense",  # the output module adds the stream itself, its linear layer does not
                    mlp_last=("output.dense",),
                ),
                ("encoder.layer",),
                video_tokens(tubelet="config.tubelet_size"),
                outside={"final": ("layernorm",), "logits": ("/classifier",)},
            )
        },
        video_proof,
        image_inputs,
    ),
)

FAMILIES.add(
    "vjepa2",
    Family(
        "vjepa2",
        ("vjepa2",),
        {
            "": Tower(
                JEPA_BLOCK,
                ("layer",),
                video_tokens(tubelet="config.tubelet_size"),
                roots=("encoder", "vjepa2.encoder"),
                outside={"final": ("layernorm",), "logits": ("/classifier",)},
            ),
            "predictor": Tower(
                JEPA_BLOCK,
                ("layer",),
                unknown_tokens,
                roots=("predictor", "vjepa2.predictor"),
                outside={"final": ("layernorm",)},
            ),
        },
        video_proof,
        image_inputs,
    ),
)

FAMILIES.add(
    "timesformer",
    Family(
        "timesformer",
        ("timesformer",),
        {
            "": Tower(
                Block(
                    {
                        "": Attention(
                            "attention",
                            "attention.output.dense",
                            projections=("attention.attention.qkv",),
                            heads="attention.attention.num_heads",
                        ),
                        "temporal": Attention(
                            "temporal_attention",
                            "temporal_attention.output.dense",
                            projections=("temporal_attention.attention.qkv",),
                            heads="temporal_attention.attention.num_heads",
                        ),
                    },
                    mlp="output.dense",
                    mlp_last=("output.dense",),
                ),
                ("encoder.layer",),
                video_tokens((("cls", 1),), frame_last=True),
                outside={"final": ("layernorm",), "logits": ("/classifier",)},
            )
        },
        video_proof,
        image_inputs,
    ),
)
