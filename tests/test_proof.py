"""A row is proved on the model itself: what holds becomes a site, what does not is refused with a reason."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import steerlab as sl
from steerlab.families import Attention, Block, Family, Tower
from steerlab.families.inputs import plain_inputs
from steerlab.families.token_maps import unknown_tokens


class Mix(nn.Module):
    """Attention without a table: one head, queries, keys and values side by side."""

    def __init__(self, width: int, factor: float) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.num_heads, self.factor = 1, factor

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        pattern = (self.factor * q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        return self.proj(pattern @ v)


class Layer(nn.Module):
    def __init__(self, width: int, *, in_place: bool, gate: float, factor: float) -> None:
        super().__init__()
        self.attn, self.fc = Mix(width, factor), nn.Linear(width, width)
        self.norm1, self.norm2, self.drop = nn.LayerNorm(width), nn.LayerNorm(width), nn.Dropout(0.5)
        self.in_place, self.gate = in_place, gate

    def forward(self, x):
        if self.in_place:
            x += self.attn(self.norm1(x))
            x += self.drop(self.fc(self.norm2(x)))
            return x
        x = x + self.gate * self.attn(self.norm1(x))
        return x + self.drop(self.fc(self.norm2(x)))


class Net(nn.Module):
    def __init__(
        self, *, in_place: bool = False, gate: float = 1.0, factor: float = 1.0, run: int = 3
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        facts = {"in_place": in_place, "gate": gate, "factor": factor}
        self.embed = nn.Linear(4, 8)
        self.layers = nn.ModuleList(Layer(8, **facts) for _ in range(3))
        self.norm, self.run = nn.LayerNorm(8), run

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers[: self.run]:
            x = layer(x)
        return self.norm(x)


def family(**changes: str) -> Family:
    attention = Attention("attn", "attn.proj", projections=("attn.qkv",), heads="attn.num_heads")
    facts = {"mlp": "fc", "mlp_last": ("fc",)} | changes
    tower = Tower(Block({"": attention}, **facts), ("layers",), unknown_tokens, outside={"final": ("norm",)})
    return Family("net", ("Net",), {"": tower}, lambda net: [(net, {"x": PROVING})], plain_inputs)


PROVING = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(1))
INPUT = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(2))


def truth(net: Net) -> dict[str, torch.Tensor]:
    """The stream around every block, computed out of place from the modules alone."""
    stream, found = net.embed(INPUT), {}
    for i, layer in enumerate(net.layers):
        found[f"blocks.{i}.resid_pre"] = stream
        attn = layer.attn(layer.norm1(stream))
        middle = stream + attn
        mlp = layer.fc(layer.norm2(middle))
        stream = middle + mlp
        found |= {f"blocks.{i}.attn": attn, f"blocks.{i}.resid_mid": middle, f"blocks.{i}.mlp": mlp}
        found[f"blocks.{i}.resid"] = stream
    return found


@pytest.mark.parametrize("in_place", [False, True])
def test_a_model_that_adds_in_place_is_read_as_one_that_does_not(in_place):
    net = Net(in_place=in_place).eval()
    model = sl.wrap(net, family=family())
    with torch.no_grad():
        wanted = truth(net)
    acts = model.capture(INPUT, at=list(wanted))
    assert set(acts) == set(wanted)
    for site, value in wanted.items():
        assert torch.allclose(acts[site], value, atol=1e-6), site


def test_a_gate_that_no_module_shows_withdraws_what_it_hides():
    model = sl.wrap(Net(gate=0.5).eval(), family=family())
    for site in ("blocks.0.attn", "blocks.0.resid_mid"):
        with pytest.raises(
            sl.SteerlabError, match=rf"{site}: refused on Net: the block does not add it .* off"
        ):
            model.capture(INPUT, at=site)
    # the MLP's part is borne out by the norm that reads the stream before it
    assert model.capture(INPUT, at="blocks.0.mlp")["blocks.0.mlp"].shape == (2, 6, 8)


def test_attention_that_weighs_otherwise_has_no_pattern():
    model = sl.wrap(Net(factor=3.0).eval(), family=family())
    with pytest.raises(
        sl.SteerlabError, match=r"blocks.1.pattern: refused on Net: pattern times values is off"
    ):
        model.capture(INPUT, at="blocks.1.pattern")
    assert model.capture(INPUT, at="blocks.1.heads")["blocks.1.heads"].shape == (2, 6, 1, 8)


def test_a_block_that_never_ran_and_a_module_that_is_not_there_are_refused_by_name():
    model = sl.wrap(Net(run=2).eval(), family=family())
    with pytest.raises(sl.SteerlabError, match=r"blocks.2.resid: refused on Net: Layer never ran"):
        model.capture(INPUT, at="blocks.2.resid")
    model = sl.wrap(Net().eval(), family=family(mlp="feed_forward", mlp_last=("feed_forward.out",)))
    for site in ("blocks.0.mlp", "blocks.0.mlp.act"):
        with pytest.raises(sl.SteerlabError, match=rf"{site}: refused on Net: no module 'feed_forward"):
            model.capture(INPUT, at=site)


def test_the_proof_leaves_mode_and_random_state_as_they_were():
    net = Net().train()
    net.layers[1].eval()
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    model = sl.wrap(net, family=family())
    assert torch.equal(torch.rand(3), wanted)
    assert [layer.training for layer in net.layers] == [True, False, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert "blocks.0.resid_mid" in [str(site) for site in model.sites()]


def test_a_model_may_be_wrapped_in_inference_mode():
    with torch.inference_mode():
        model = sl.wrap(Net().eval(), family=family())
        assert model.capture(INPUT, at="blocks.0.resid")["blocks.0.resid"].shape == (2, 6, 8)


def test_a_row_that_names_no_block_list_is_an_error_that_says_what_to_pass():
    with pytest.raises(
        sl.SteerlabError, match=r"family 'net', but none of its block lists is there.*'plain'"
    ):
        sl.wrap(nn.Sequential(nn.Linear(4, 8)), family=family())
