"""The shared block against torch's own attention and a float64 reference, and a surrogate as a value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import steerlab as sl
from steerlab.surrogates import BlockSizes, RaptorBlock, Surrogate

SIZES = BlockSizes(8, 2, depth_hidden=5)


def block(sizes: BlockSizes = SIZES, seed: int = 0) -> RaptorBlock:
    torch.manual_seed(seed)
    made = RaptorBlock(sizes, layer_scale=0.7).eval()
    for name, parameter in made.named_parameters():
        if "norm" in name or "bias" in name or name.startswith("depth"):
            nn.init.normal_(parameter, std=0.4)
    return made.requires_grad_(False)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


@pytest.mark.parametrize("causal", [False, True])
def test_it_is_the_equation_with_torchs_attention_inside(causal):
    mine = block(BlockSizes(8, 2, depth_hidden=5, causal=causal)).double()
    theirs = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict(
        {
            "in_proj_weight": mine.qkv.weight,
            "in_proj_bias": mine.qkv.bias,
            "out_proj.weight": mine.proj.weight,
            "out_proj.bias": mine.proj.bias,
        }
    )
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    p = {name: value.numpy() for name, value in mine.state_dict().items()}

    def norm(x: np.ndarray, which: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return centred / scale * p[f"{which}.weight"] + p[f"{which}.bias"]

    hidden = silu(p["depth.0.weight"] @ np.array([7.0]) + p["depth.0.bias"])
    scales = p["depth.2.weight"] @ hidden + p["depth.2.bias"] + 1
    s_attn, s_mlp, s_out = np.split(scales, 3)
    given = torch.from_numpy(norm(x.numpy(), "norm1"))
    mask = torch.ones(4, 4, dtype=torch.bool).triu(1) if causal else None
    mixed, _ = theirs(given, given, given, attn_mask=mask, need_weights=False)
    y = x.numpy() + s_attn * p["gamma1"] * mixed.detach().numpy()
    a, b = np.split(norm(y, "norm2") @ p["up.weight"].T + p["up.bias"], 2, axis=-1)
    assert a.shape[-1] == 32  # four times the width, each half
    y = y + s_mlp * p["gamma2"] * ((silu(a) * b) @ p["down.weight"].T + p["down.bias"])
    assert np.allclose(mine(x, 7).numpy(), s_out * y)


def test_layers_may_differ_from_row_to_row():
    mine, x = block(), torch.randn(3, 4, 8)
    rows = torch.stack([mine(x[i : i + 1], layer)[0] for i, layer in enumerate((1, 5, 9))])
    assert torch.allclose(mine(x, torch.tensor([1, 5, 9])), rows, atol=1e-6)
    assert not torch.allclose(mine(x, 1), mine(x, 9), atol=1e-2)


def test_a_fresh_block_is_nearly_the_identity_and_has_the_size_the_paper_says():
    torch.manual_seed(0)
    fresh = RaptorBlock(SIZES)
    x = torch.randn(2, 4, 8)
    assert torch.allclose(fresh(x, 3), x, atol=1e-2)
    with torch.device("meta"):
        base = RaptorBlock(BlockSizes(768, 12))
    assert sum(p.numel() for p in base.parameters()) / 1e6 == pytest.approx(9.49, abs=0.01)


def test_a_surrogate_runs_its_blocks_in_turn_and_says_what_it_is():
    blocks = [block(seed=0), block(seed=1)]
    weights = {f"{i}.{name}": t for i, one in enumerate(blocks) for name, t in one.state_dict().items()}
    made = Surrogate(SIZES, (1, 6), (4,), weights)
    state = torch.randn(2, 4, 8)
    wanted, states = state, made.run(state)
    for layer, mine in zip((2, 3, 4, 5, 6), [blocks[0]] * 3 + [blocks[1]] * 2, strict=True):
        wanted = mine(wanted, layer)
        assert torch.equal(states[layer - 2], wanted)
    assert made.segments == [range(1, 4), range(4, 6)] and "blocks 1-3, 4-5" in repr(made)
    with pytest.raises(sl.SteerlabError, match="do not rise"):
        Surrogate(SIZES, (1, 6), (6,), weights)
    with pytest.raises(sl.SteerlabError, match="'2.depth.0.bias' is missing"):
        Surrogate(SIZES, (1, 6), (3, 4), weights)
    with pytest.raises(sl.SteerlabError, match="do not part into 3 heads"):
        BlockSizes(8, 3)
