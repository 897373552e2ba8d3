"""Law 2 for others who hook the model: the user's hooks and transformers' recorders go on working."""

from __future__ import annotations

import oracles
import pytest
import tiny
import torch

import steerlab as sl
from steerlab.errors import SteerlabError


def lifted(x: torch.Tensor) -> torch.Tensor:
    return x * 1.5 + 0.01


@pytest.mark.parametrize("kind", ["forward hook", "forward pre-hook", "kwargs", "always called"])
def test_hooks_of_the_user_keep_firing_in_their_place(kind, held):
    one = held("llama")
    block, fired = one.tiny.model.model.layers[1], []

    def register(name: str):
        def note(*_) -> None:
            fired.append(name)

        if kind == "forward pre-hook":
            return block.register_forward_pre_hook(note)
        return block.register_forward_hook(
            note, with_kwargs=kind == "kwargs", always_call=kind == "always called"
        )

    sites = {site: sl.Fn(lifted) for site in ("blocks.1.resid_pre", "blocks.1.resid")}
    first = register("first")
    with one.model.edit(sites), one.model.read("blocks.1.*"):
        second = register("second")
        oracles.bare(one.tiny)
        with one.model.edit(sites):
            oracles.bare(one.tiny)
    oracles.bare(one.tiny)
    assert fired == ["first", "second"] * 3
    second.remove()
    oracles.bare(one.tiny)
    assert fired == ["first", "second"] * 3 + ["first"]
    first.remove()


def test_a_hook_of_the_user_sees_the_edited_value(held):
    one, seen = held("llama"), []
    handle = one.tiny.model.model.layers[1].register_forward_hook(
        lambda m, i, out: seen.append(oracles.first(out))
    )
    with one.model.edit({"blocks.1.resid": sl.Zero()}):
        oracles.bare(one.tiny)
    handle.remove()
    assert not seen[0].any()


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "dinov2_with_registers", "siglip_vision"])
def test_the_hidden_states_that_transformers_records_are_the_edited_ones(family, warm):
    made = tiny.tiny(family)
    model = sl.wrap(made.model)
    if warm:
        made.model(**made.inputs, output_hidden_states=True)
    with model.edit({"blocks.1.resid": sl.Fn(lifted)}), model.read("*.*.resid") as reading:
        recorded = made.model(**made.inputs, output_hidden_states=True).hidden_states
    truth = [oracles.read(made, f"blocks.{i}.resid") for i in range(2)]
    assert torch.equal(recorded[1], truth[0])
    assert torch.equal(recorded[2], lifted(truth[1]))
    assert torch.equal(reading.activations()["blocks.1.resid"], recorded[2])
    after = made.model(**made.inputs, output_hidden_states=True).hidden_states
    assert torch.equal(after[2], truth[1])


def test_hooks_that_somebody_else_clears_are_missed(held):
    """Some libraries clear every hook of a model when they are done."""
    one = held("llama")
    module = one.tiny.model.model.layers[1]
    edit = {"blocks.1.resid": sl.Add(torch.ones(32))}
    with pytest.raises(SteerlabError, match="took steerlab's hooks off LlamaDecoderLayer inside the context"):
        with one.model.edit(edit):
            oracles.bare(one.tiny)
            module._forward_hooks.clear()
            oracles.bare(one.tiny)
    with one.model.edit(edit, strict=False) as receipt:
        oracles.bare(one.tiny)
        module._forward_hooks.clear()
    assert receipt["blocks.1.resid"].fires == 1
