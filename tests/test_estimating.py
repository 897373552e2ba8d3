"""The memory of a read, told from the inputs alone, is the memory that it takes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import steerlab as sl
from steerlab.sites import Site

FAMILIES = ("llama", "gemma2", "gpt2", "vit", "dinov2_with_registers", "vit_mae", "siglip_vision", "timm_vit")
FAMILIES += ("clip", "siglip2", "videomae", "vjepa2")


def taken(acts: sl.Activations) -> int:
    """Bytes of the storages that are kept alive."""
    storages = {
        value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()
        for value in acts.tensors.values()
    }
    return sum(storages.values())


def described(model: sl.Model) -> list[Site]:
    return [site for site in model.sites() if not site.place.startswith("predictor")]


def assert_the_estimate_is_exact(model: sl.Model, inputs: dict[str, Any], at: Any, **how: Any) -> None:
    assert model.memory_estimate(inputs, at, **how) == taken(model.capture(inputs, at, **how))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_estimate_of_every_site_is_what_it_takes(held, family):
    one = held(family)
    for site in described(one.model):
        assert_the_estimate_is_exact(one.model, one.tiny.inputs, site)


@pytest.mark.parametrize("family", ["llama", "vit", "videomae"])
def test_in_half_precision_attention_takes_float32_and_the_rest_takes_half(held, family):
    one = held(family)
    half = sl.wrap(copy.deepcopy(one.tiny.model).to(torch.bfloat16))
    inputs = {
        name: value.to(torch.bfloat16) if value.is_floating_point() else value
        for name, value in one.tiny.inputs.items()
    }
    for site in half.sites():
        assert_the_estimate_is_exact(half, inputs, site)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_dtype_is_what_is_stored(held, dtype):
    one = held("llama")
    for at in ("blocks.1.resid", "blocks.1.pattern", "blocks.1.heads.2"):
        assert_the_estimate_is_exact(one.model, one.tiny.inputs, at, dtype=dtype)


@pytest.mark.parametrize(
    "at", ["blocks.1.heads.2", "blocks.1.heads.0:3", "blocks.1.k.1", "blocks.*.pattern.1,3"]
)
def test_heads_that_are_not_asked_for_take_nothing(held, at):
    one = held("llama")
    assert_the_estimate_is_exact(one.model, one.tiny.inputs, at)


@pytest.mark.parametrize(
    ("family", "tokens"),
    [("llama", "last"), ("llama", slice(1, 4)), ("vit", "cls"), ("vit", "patches"), ("videomae", [0, 3, 5])],
)
@pytest.mark.parametrize("at", ["blocks.*.resid", "blocks.1.heads", "blocks.1.heads.2"])
def test_tokens_that_are_not_asked_for_take_nothing(held, family, tokens, at):
    one = held(family)
    assert_the_estimate_is_exact(one.model, one.tiny.inputs, at, tokens=tokens)


def test_several_sites_are_summed(held):
    one = held("llama")
    at = ["blocks.*.resid_mid", "logits", "blocks.0.pattern.1"]
    assert_the_estimate_is_exact(one.model, one.tiny.inputs, at)
    assert one.model.memory_estimate(one.tiny.inputs, at) == 4 * (3 * 2 * 7 * 32 + 2 * 7 * 54 + 2 * 7 * 7)


def test_the_estimate_grows_with_the_inputs_and_runs_no_forward(held):
    one = held("vit")
    fired = []
    handle = one.tiny.model.register_forward_hook(lambda *_: fired.append(True))
    try:
        small = one.model.memory_estimate(torch.zeros(1, 3, 32, 32), "blocks.1.resid")
        assert one.model.memory_estimate(torch.zeros(5, 3, 32, 32), "blocks.1.resid") == 5 * small
    finally:
        handle.remove()
    assert fired == []


def test_a_limit_refuses_one_byte_too_many_before_the_forward(held):
    one = held("llama")
    needed = one.model.memory_estimate(one.tiny.inputs, "blocks.1.resid")
    one.model.capture(one.tiny.inputs, "blocks.1.resid", limit=needed)
    with pytest.raises(
        sl.SteerlabError, match=rf"needs {needed:,} bytes, more than the limit of {needed - 1:,}"
    ):
        one.model.capture(one.tiny.inputs, "blocks.1.resid", limit=needed - 1)


@pytest.mark.parametrize(
    ("family", "at", "reason"),
    [
        ("llama", "module:lm_head", "the size of this site is known only after a forward"),
        ("timesformer", "blocks.1.temporal.heads", "the size of this site is known only after a forward"),
        ("vjepa2", "predictor.blocks.1.resid", "the inputs do not say how many tokens it has"),
    ],
)
def test_what_the_inputs_do_not_say_is_refused(held, family, at, reason):
    one = held(family)
    with pytest.raises(sl.SteerlabError, match=f"{at}: {reason}"):
        one.model.memory_estimate(one.tiny.inputs, at)
