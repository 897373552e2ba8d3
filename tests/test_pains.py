"""What users of other tools suffer from, each as a test that it does not happen here.

Pains that have a home of their own are not repeated: leaked hooks and foreign hooks in test_restore, wrong
places under padding in test_clock_tokens, memory in test_costs, precision in edits/, heads after the output
projection and fused projections in test_laws, install and import in test_floors.
"""

from __future__ import annotations

import copy

import accelerate
import pytest
import torch
import transformers
from oracles import main

import steerlab as sl

DECODERS = [
    "llama",
    "mistral",
    "qwen3",
    "gemma2",
    "gemma3",
    "gpt2",
    "gpt_neox",
    "opt",
    "phi3",
    "mixtral",
    "gpt_oss",
]


@pytest.mark.parametrize("family", DECODERS)
def test_a_tapped_decoder_still_does_not_see_the_future(held, family):
    """A replaced attention function drops the mask in silence elsewhere: the model starts to cheat."""
    one = held(family)
    inputs = dict(one.tiny.inputs)
    other = inputs | {"input_ids": inputs["input_ids"].clone()}
    other["input_ids"][:, -1] = (other["input_ids"][:, -1] + 5) % 40 + 4
    with torch.no_grad(), one.model.edit({"blocks.*.pattern": sl.Fn(lambda p: p * 0.999)}):
        first, second = (one.tiny.model(**kwargs).logits for kwargs in (inputs, other))
    assert torch.allclose(first[:, :-1], second[:, :-1], atol=1e-5)
    assert not torch.allclose(first[:, -1], second[:, -1], atol=1e-3)
    pattern = one.model.capture(inputs, at="blocks.1.pattern")["blocks.1.pattern"]
    assert not pattern.triu(1).any()


@pytest.mark.parametrize("family", ["mistral", "gemma3", "gpt_oss"])
def test_a_sliding_window_is_in_the_pattern(held, family):
    one = held(family)
    window = one.tiny.model.config.sliding_window
    pattern = one.model.capture(one.tiny.inputs, at="blocks.0.pattern")["blocks.0.pattern"]
    assert pattern.shape[-1] > window
    assert not pattern.tril(-window).any()
    assert pattern.diagonal(1 - window, -2, -1).gt(0).all()


@pytest.mark.parametrize("family", ["llama", "gpt_oss", "vit", "timm_vit"])
def test_editing_one_head_of_one_pattern_leaves_every_other_head_its_kernel_and_its_bits(held, family):
    one = held(family)
    bare = one.model.capture(one.tiny.inputs, at="blocks.1.heads")["blocks.1.heads"]
    edit = {"blocks.1.pattern.2": sl.Scale(0.5)}
    with torch.no_grad(), one.model.edit(edit), one.model.read("blocks.1.heads") as reading:
        one.tiny.model(**one.tiny.inputs)
    heads = reading.activations()["blocks.1.heads"]
    others = [0, 1, 3]
    assert torch.equal(heads[:, :, others], bare[:, :, others])
    assert torch.allclose(heads[:, :, 2], 0.5 * bare[:, :, 2], atol=1e-6)


def test_rows_that_the_model_folds_into_its_batch_are_never_mistaken_for_the_users_rows(held):
    """TimeSformer attends within frames: its attention's batch holds every frame of every video."""
    one = held("timesformer")
    zero = {"blocks.1.heads.1": sl.Zero()}
    result = one.model.compare(one.tiny.inputs, zero, controls=0)
    with torch.no_grad():
        base = main(one.tiny.model(**one.tiny.inputs))
        with one.model.edit(zero):
            edited = main(one.tiny.model(**one.tiny.inputs))
    assert torch.allclose(result.effect.float(), sl.metrics.relative_change(base, edited).float(), rtol=1e-3)
    with pytest.raises(sl.SteerlabError, match=r"blocks\.1\.heads: rows=0: this site has no batch axis"):
        with torch.no_grad(), one.model.edit({"blocks.1.heads": sl.Zero().on(rows=0)}):
            one.tiny.model(**one.tiny.inputs)


def test_grouped_heads_know_their_key_value_head(held):
    """Editing one key-value head moves the query heads that share it, and no other."""
    one = held("llama")  # 4 query heads, 2 key-value heads
    bare = one.model.capture(one.tiny.inputs, at="blocks.0.heads")["blocks.0.heads"]
    with (
        torch.no_grad(),
        one.model.edit({"blocks.0.v.1": sl.Zero()}),
        one.model.read("blocks.0.heads") as reading,
    ):
        one.tiny.model(**one.tiny.inputs)
    heads = reading.activations()["blocks.0.heads"]
    assert torch.equal(heads[:, :, :2], bare[:, :, :2])
    assert not heads[:, :, 2:].any()


def test_a_mixture_says_what_it_does_not_cover(held):
    refused = held("mixtral").model.doctor().refused
    assert refused["blocks.0.mlp.act"] == "its experts are one fused call; use mlp, or module:<path>"
    assert "experts" in str(held("mixtral").model.doctor())


def test_a_float32_vector_does_not_break_a_bfloat16_model(held):
    model = copy.deepcopy(held("llama").tiny.model).bfloat16()
    inputs = held("llama").tiny.inputs
    with torch.no_grad(), sl.wrap(model).edit({"blocks.1.resid": sl.Add(torch.ones(32))}) as receipt:
        assert model(**inputs).logits.dtype == torch.bfloat16
    assert receipt["blocks.1.resid"].dtype == "bfloat16"


def test_a_model_compiled_inside_the_context_is_edited_and_left_alone_after(held):
    one = held("llama")
    add = {"blocks.1.resid": sl.Add(torch.ones(32))}
    model = copy.deepcopy(one.tiny.model)
    with torch.no_grad():
        bare = model(**one.tiny.inputs).logits
        with sl.wrap(model).edit(add):
            truth = model(**one.tiny.inputs).logits
        compiled = torch.compile(model, backend="eager")
        with sl.wrap(model).edit(add):
            assert torch.allclose(compiled(**one.tiny.inputs).logits, truth, atol=1e-5)
        assert torch.allclose(compiled(**one.tiny.inputs).logits, bare, atol=1e-5)


def test_a_model_that_ran_compiled_before_is_an_error_and_not_silence(held):
    one = held("llama")
    model = copy.deepcopy(one.tiny.model)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(**one.tiny.inputs)
        with pytest.raises(sl.SteerlabError, match=r"blocks\.1\.resid: .* never fired.*compiled"):
            with sl.wrap(model).edit({"blocks.1.resid": sl.Add(torch.ones(32))}):
                compiled(**one.tiny.inputs)


@pytest.mark.parametrize("family", ["llama", "vit"])
def test_accelerates_offload_hooks_go_on_working(held, family):
    """Weights leave the module after each forward; edits and reads act all the same."""
    one = held(family)
    model = copy.deepcopy(one.tiny.model)
    accelerate.cpu_offload(model, execution_device="cpu")
    held_model = sl.wrap(model)
    with torch.no_grad(), one.model.edit({"blocks.1.heads.2": sl.Zero()}):
        truth = main(one.tiny.model(**one.tiny.inputs))
    with torch.no_grad(), held_model.edit({"blocks.1.heads.2": sl.Zero()}):
        assert torch.allclose(main(model(**one.tiny.inputs)), truth, atol=1e-6)
    read = held_model.capture(one.tiny.inputs, at="blocks.0.resid")["blocks.0.resid"]
    assert torch.equal(read, one.model.capture(one.tiny.inputs, at="blocks.0.resid")["blocks.0.resid"])
    assert all(parameter.is_meta for parameter in model.parameters())  # offloaded again, nothing was left
    assert "offloaded by accelerate" in str(held_model.doctor())


def test_the_same_row_beside_other_rows_is_compared_with_itself(held):
    """Batches of other shapes round differently; base and edited share one, and the floor is measured."""
    one = held("llama")
    result = one.model.compare(one.tiny.inputs, {"blocks.1.heads.0": sl.Zero()})
    assert result.floor.max() < 1e-6
    assert (result.effect > 100 * result.floor.max()).all()


def test_a_read_is_a_plain_object_in_any_order(held):
    """No execution order to respect, no traced source: sites may be asked for in any order."""
    one = held("gpt2")
    names = ["blocks.2.resid", "blocks.0.heads", "blocks.1.pattern", "embed"]
    forward, backward = (one.model.capture(one.tiny.inputs, at=at) for at in (names, names[::-1]))
    assert all(torch.equal(forward[name], backward[name]) for name in names)


def test_an_attention_kernel_that_hides_its_mask_is_refused_by_name(held):
    """Under a kernel whose masks are not understood, a pattern is refused and not guessed."""
    from steerlab.attention import Call

    call = Call(
        torch.nn.Identity(), *[torch.zeros(1, 2, 3, 4)] * 3, torch.ones(1, 3), {}, "flash_attention_2"
    )
    with pytest.raises(sl.SteerlabError, match=r"'flash_attention_2'.*attn_implementation='sdpa' or 'eager'"):
        call.scores()


def test_the_attention_table_is_left_alone_when_the_user_has_an_entry_of_their_own(held):
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as TABLE

    one, calls, kernel = held("llama"), [], TABLE["sdpa"]

    def mine(*args, **kwargs):
        calls.append(1)
        return kernel(*args, **kwargs)

    TABLE["sdpa"] = mine
    try:
        one.model.capture(one.tiny.inputs, at="blocks.1.pattern")
        assert calls, "the user's function was bypassed"
        assert TABLE["sdpa"] is mine
    finally:
        del TABLE["sdpa"]
    assert TABLE["sdpa"] is kernel


def test_another_model_under_the_same_table_keeps_its_bits(held):
    one = held("llama")
    torch.manual_seed(1)
    other = transformers.LlamaForCausalLM(one.tiny.model.config).eval()
    with torch.no_grad():
        before = other(**one.tiny.inputs).logits
        with one.model.edit({"blocks.*.pattern": sl.Zero()}, strict=False):
            assert torch.equal(other(**one.tiny.inputs).logits, before)


def test_a_mask_that_blinds_a_query_together_with_the_models_own_is_refused(held):
    one = held("llama")
    keep = torch.zeros(7, 7, dtype=torch.bool)
    keep[:, -1] = True  # each query keeps the last key, which only the last may see
    with pytest.raises(sl.SteerlabError, match=r"blocks.1.scores: .* leaves 48 queries without any key"):
        with torch.no_grad(), one.model.edit({"blocks.1.scores": sl.Mask(keep)}):
            one.tiny.model(**one.tiny.inputs)
