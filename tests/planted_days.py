"""A language model whose seven days lie on a ring, planted in its token embeddings and its read-out."""

from __future__ import annotations

import math
from functools import cache

import torch
from tiny import build_llm
from tiny_rows import WORDS

import steerlab as sl

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
TEMPLATES = (
    "the day after {x} {x+1}",
    "{x-1} {x} {x+1}",
    "a cat sat on {x} and {x} {x+1}",
    "today is {x} {x+1}",
)


@cache
def planted_days() -> sl.Model:
    """A model that says the day after the last token, a day; what stood before it adds a little noise.

    Embeddings of days are ``6 (cos, sin) + (cos 2, sin 2)`` on four axes, and one more axis is constant;
    logits of days read the plane of the first two axes, a day further on.
    """
    torch.manual_seed(0)
    made = build_llm("llama")
    model, places = made.model, torch.tensor([WORDS.index(day) for day in DAYS])
    angle = torch.arange(len(DAYS), dtype=torch.float32) * 2 * math.pi / len(DAYS)
    embed, head = model.model.embed_tokens.weight, model.lm_head.weight
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight *= 0.3
            block.mlp.down_proj.weight *= 0.05
        embed *= 0.3
        embed[places] = 0.0
        for n, size in ((1, 6.0), (2, 1.0)):
            embed[places, 2 * n - 2] = size * (n * angle).cos()
            embed[places, 2 * n - 1] = size * (n * angle).sin()
        embed[places, 4] = 2.0
        head *= 0.0
        step = angle[1]
        head[places, 0], head[places, 1] = 1.2 * (angle - step).cos(), 1.2 * (angle - step).sin()
        head[WORDS.index("comes"), 4] = 3.0
        model.model.norm.weight.fill_(1.0)
    return sl.wrap(model, made.tokenizer)
