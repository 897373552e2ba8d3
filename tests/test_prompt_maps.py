"""Maps of prompt tokens are the cross-attention of hand-written hooks, averaged."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl

SIZE = {"height": 32, "width": 32, "steps": 2}


@pytest.fixture
def sd(held):
    return held("sdxl").model


def attention_by_hand(attn, prompt, pipe) -> list[torch.Tensor]:
    """Patterns ``[image, head, query, key]`` of the conditional half at every call, from queries and keys."""
    given = {"to_q": [], "to_k": []}
    handles = [
        getattr(attn, name).register_forward_hook(lambda _, args, out, kept=kept: kept.append(out))
        for name, kept in given.items()
    ]
    try:
        generators = [torch.Generator().manual_seed(seed) for seed in range(len(prompt))]
        pipe(prompt, height=32, width=32, num_inference_steps=2, output_type="latent", generator=generators)
    finally:
        for handle in handles:
            handle.remove()
    patterns = []
    for q, k in zip(given["to_q"], given["to_k"], strict=True):
        q, k = (x.chunk(2)[1].unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (q, k))
        patterns.append((q @ k.transpose(-1, -2) * attn.scale).softmax(-1))
    return patterns


def test_a_map_is_the_mean_of_the_patterns_over_heads_steps_and_blocks(sd):
    prompts = ["a red cat", "a red dog"]
    unet = sd.module.unet
    sites = {
        "unet.down.1.0.blocks.0.cross.pattern": (unet.down_blocks[1].attentions[0], (8, 8)),
        "unet.mid.0.blocks.0.cross.pattern": (unet.mid_block.attentions[0], (4, 4)),
    }
    expected = torch.zeros(())
    for place, grid in sites.values():
        patterns = attention_by_hand(place.transformer_blocks[0].attn2, prompts, sd.module)
        mean = torch.stack(patterns).mean((0, 2)).transpose(1, 2).unflatten(2, grid)
        expected = expected + mean.repeat_interleave(8 // grid[0], 2).repeat_interleave(8 // grid[1], 3) / 2
    maps = sl.prompt_maps(sd, prompts, at=list(sites), **SIZE)
    torch.testing.assert_close(maps.maps, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(maps.maps.sum(1), torch.ones(2, 8, 8), atol=1e-5, rtol=0)


def test_a_word_is_the_sum_of_its_tokens(sd):
    maps = sl.prompt_maps(sd, "a red cat", at="unet.down.1.0.blocks.0.cross.pattern", **SIZE)
    place = maps.pieces[0].index(next(piece for piece in maps.pieces[0] if piece.strip() == "red"))
    assert torch.equal(maps.of("red"), maps.maps[:, place]) and len(maps.images) == 1


def test_a_word_that_the_prompt_lacks_is_refused_with_its_tokens(sd):
    maps = sl.prompt_maps(sd, "a red cat", at="unet.down.1.0.blocks.0.cross.pattern", **SIZE)
    with pytest.raises(sl.SteerlabError, match="no word 'blue' .*red, cat"):
        maps.of("blue")


def test_steps_and_an_edit_are_those_of_generate(sd):
    site = "unet.down.1.0.blocks.0.cross.pattern"
    edit = {site: sl.Scale(0.0).on(keys=[0])}
    maps = sl.prompt_maps(sd, "a red cat", at=site, edit=edit, during=sl.Scope(steps=[1]), **SIZE)
    assert maps.maps[:, 0].abs().max() == 0 and maps.maps[:, 1].min() > 0
