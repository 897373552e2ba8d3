"""An edit in the weights: it does what the hook does, costs no call, and is undone or refused."""

from __future__ import annotations

import copy

import oracles
import pytest
import snapshots
import tiny
import torch
from torch import nn

import steerlab as sl

FAMILIES = ["llama", "qwen3", "phi3", "gpt2", "gpt_neox", "opt", "vit", "deit", "siglip_vision", "clip"]
generator = torch.Generator().manual_seed(5)
VECTOR, PLANE = torch.randn(32, generator=generator), torch.randn(2, 32, generator=generator)
EDITS = {
    "add to the stream": ("resid", sl.Add(VECTOR, 0.7)),
    "add to the mlp": ("mlp", sl.Add(VECTOR.view(1, 1, 32))),
    "add to attention": ("attn", sl.Add(VECTOR)),
    "silence a head": ("heads.2", sl.Zero()),
    "scale two heads": ("heads.0:2", sl.Scale(-2.0)),
    "add to a head": ("heads.3", sl.Add(torch.tensor([1.5]))),
    "silence attention": ("attn", sl.Zero()),
    "remove a direction": ("mlp", sl.Remove(sl.Direction(VECTOR))),
    "remove a plane around a point": ("attn", sl.Remove(sl.Subspace(PLANE, origin=VECTOR))),
    "keep a plane": ("mlp", sl.Project(sl.Subspace(PLANE))),
}


def prefix(family: str) -> str:
    return "vision." if family == "clip" else ""


def known(one, site: str) -> bool:
    return any(str(site).startswith(str(s)) for s in one.model.sites())


@pytest.mark.parametrize("work", EDITS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_do_what_the_hook_does_and_are_put_back(family, work, held):
    one, (stream, edit) = held(family), EDITS[work]
    model, site = one.tiny.model, f"{prefix(family)}blocks.1.{stream}"
    before = [(p, p.data_ptr(), p.clone()) for p in model.parameters()]
    bare = oracles.bare(one.tiny)
    with one.model.edit({site: edit}):
        hooked = oracles.bare(one.tiny)
    with one.model.fold({site: edit}) as fold:
        folded = oracles.bare(one.tiny)
        left = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    assert torch.allclose(folded, hooked, atol=2e-4, rtol=1e-4) and fold.off < 1e-4
    assert not torch.allclose(folded, bare, atol=1e-3) and len(fold.layers) == 1
    assert left == 0 or left == sum(len(m._forward_hooks) for m in model.modules())
    assert torch.equal(oracles.bare(one.tiny), bare)
    after = list(model.parameters())
    assert len(after) == len(before)
    for parameter, (same, place, values) in zip(after, before, strict=True):
        assert parameter is same and parameter.data_ptr() == place and torch.equal(parameter, values)


def test_several_edits_of_one_block_act_in_the_order_of_the_model(held):
    one = held("llama")
    edits = {
        "blocks.1.resid": sl.Add(VECTOR),
        "blocks.1.mlp": [sl.Add(VECTOR), sl.Remove(sl.Direction(PLANE[0]))],
        "blocks.1.mlp.act": sl.Scale(0.5),
        "blocks.*.heads.1": sl.Zero(),
    }
    with one.model.edit(edits):
        hooked = oracles.bare(one.tiny)
    with one.model.fold(edits) as fold:
        folded = oracles.bare(one.tiny)
    assert torch.allclose(folded, hooked, atol=1e-4) and len(fold.layers) == 4


def test_a_bias_that_was_not_there_is_there_inside_alone(held):
    layer = held("llama").tiny.model.model.layers[1].mlp.down_proj
    weight = layer.weight
    with held("llama").model.fold({"blocks.1.resid": sl.Add(VECTOR)}):
        assert torch.equal(layer.bias, VECTOR) and layer.weight is weight
    assert layer.bias is None and list(layer._parameters) == ["weight", "bias"]


def test_generation_is_that_of_the_hook(held):
    one = held("llama")
    how = {"max_new_tokens": 8, "eos_token_id": None}
    edit = {"blocks.1.resid": sl.Add(2 * VECTOR)}
    hooked = one.model.generate(one.tiny.padded, edit=edit, **how)
    with one.model.fold(edit):
        folded = one.model.generate(one.tiny.padded, **how)
    assert torch.equal(folded.ids, hooked.ids)
    assert not torch.equal(folded.ids, one.model.generate(one.tiny.padded, **how).ids)


def test_an_exception_inside_or_on_the_way_in_leaves_nothing():
    made = tiny.tiny("gpt2")
    model = sl.wrap(made.model)
    oracles.bare(made)
    before = snapshots.snapshot(made.model)
    with pytest.raises(KeyError), model.fold({"blocks.0.mlp": sl.Scale(2.0)}):
        raise KeyError
    assert snapshots.differences(before, snapshots.snapshot(made.model)) == []
    fold = model.fold({"blocks.0.mlp": sl.Scale(2.0), "blocks.1.mlp": sl.Add(torch.ones(31))})
    with pytest.raises(sl.SteerlabError, match="blocks.1.mlp"), fold:
        pass
    assert snapshots.differences(before, snapshots.snapshot(made.model)) == []


def test_a_fold_may_be_entered_again_and_hooks_may_act_inside_of_it(held):
    one = held("llama")
    fold = one.model.fold({"blocks.0.mlp": sl.Scale(2.0)})
    more = {"blocks.1.mlp": sl.Scale(-1.0)}
    with one.model.edit({"blocks.0.mlp": sl.Scale(2.0), **more}):
        both = oracles.bare(one.tiny)
    for _ in range(2):
        with fold, one.model.edit(more):
            assert torch.allclose(oracles.bare(one.tiny), both, atol=1e-4)


def test_half_precision_is_folded_as_well_as_it_rounds():
    made = tiny.tiny("llama")
    made.model.to(torch.bfloat16)
    model = sl.wrap(made.model)
    with model.fold({"blocks.1.attn": sl.Remove(sl.Direction(VECTOR))}) as fold:
        assert made.model.model.layers[1].self_attn.o_proj.weight.dtype == torch.bfloat16
    assert 0 < fold.off < 5e-2


def test_a_layer_that_is_followed_by_something_unseen_is_refused_by_its_numbers():
    made = tiny.tiny("llama")
    block = made.model.model.layers[1]
    block.mlp.down_proj.register_forward_hook(lambda m, a, out: out.abs())
    model = sl.wrap(made.model)
    with pytest.raises(sl.SteerlabError, match=r"model.layers.1.mlp.down_proj: .* is off by"):
        with model.fold({"blocks.1.mlp": sl.Add(VECTOR)}):
            pass
    assert block.mlp.down_proj.bias is None


def test_a_wrapped_layer_of_another_kind_is_refused():
    made = tiny.tiny("llama")
    inner = copy.deepcopy(made.model.model.layers[1].mlp.down_proj)

    class Adapted(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, self.weight) * 1.0

    adapted = Adapted(48, 32, bias=False)
    adapted.weight = inner.weight
    made.model.model.layers[1].mlp.down_proj = adapted
    with pytest.raises(sl.SteerlabError, match="Adapted does not hold an ordinary matrix"):
        sl.wrap(made.model).fold({"blocks.1.mlp": sl.Add(VECTOR)})
