"""The two tokenizers and text encoders of `shapes-sdxl`, one token a word."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from steerlab.zoo.training.words import word_tokenizer

__all__ = ["POOLED_WIDTH", "TEXT_WIDTH", "embed_captions", "new_text_encoders", "new_tokenizers"]

LENGTH = 16
WIDTHS = (48, 80)  # unlike, as in SDXL, so that a mix-up of the two encoders cannot go unseen
TEXT_WIDTH = sum(WIDTHS)
POOLED_WIDTH = WIDTHS[1]


def new_tokenizers() -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """Make the two tokenizers, which differ in what they pad with: the end token and ``!``, as in SDXL."""
    first, second = word_tokenizer(LENGTH), word_tokenizer(LENGTH)
    second.pad_token = "!"
    return first, second


def new_text_encoders() -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Make the untrained text encoders; the second also gives the pooled embedding."""

    def settings(width: int, layers: int, tokenizer: CLIPTokenizer) -> CLIPTextConfig:
        return CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )

    tokenizer, tokenizer_2 = new_tokenizers()
    first = CLIPTextModel(settings(WIDTHS[0], 2, tokenizer))
    second = CLIPTextModelWithProjection(settings(WIDTHS[1], 3, tokenizer_2))
    for encoder in (first, second):
        for name, weight in encoder.named_parameters():
            # CLIP's own start is a fiftieth of this, too faint for cross-attention to learn from soon.
            if name.endswith("token_embedding.weight"):
                nn.init.normal_(weight, std=1.0)
            elif name.endswith("position_embedding.weight"):
                nn.init.normal_(weight, std=0.3)
    return first.train(), second.train()


def embed_captions(
    captions: Sequence[str],
    tokenizers: Sequence[CLIPTokenizer],
    encoders: Sequence[nn.Module],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embed captions the way SDXL's pipeline does.

    Parameters
    ----------
    captions : sequence of str
        One text a picture.
    tokenizers, encoders : sequence
        The two of each.

    Returns
    -------
    tuple of Tensor
        ``[caption, token, 128]``, the last hidden states but one of both encoders side by side, and
        ``[caption, 80]``, the projected state of the second encoder at the end token.
    """
    states = []
    for tokenizer, encoder in zip(tokenizers, encoders, strict=True):
        tokens = tokenizer(
            list(captions), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
        )
        output = encoder(tokens.input_ids, output_hidden_states=True)
        states.append(output.hidden_states[-2])
    return torch.cat(states, dim=-1), output.text_embeds
