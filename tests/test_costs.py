"""What steerlab adds to a forward, counted exactly: Python calls and attention matrices, never seconds."""

from __future__ import annotations

import pytest
import torch
import transformers
from benchmarks.measure import python_calls
from torch.utils._python_dispatch import TorchDispatchMode

import steerlab as sl

BLOCKS, HEADS, TOKENS = 30, 4, 24


@pytest.fixture(scope="module")
def micro():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        vocab_size=128,
    )
    return transformers.LlamaForCausalLM(config).eval()


@pytest.fixture
def inputs():
    ids = torch.arange(TOKENS)[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}


@pytest.fixture
def bare(micro, inputs):
    def run():
        with torch.no_grad():
            micro(**inputs)

    return run


def test_a_wrapped_model_costs_not_one_call_more(micro, inputs, bare):
    untouched = python_calls(bare)
    model = sl.wrap(micro)
    assert python_calls(bare) == untouched
    model.capture(inputs, at="blocks.*.resid")
    with torch.no_grad(), model.edit({"blocks.3.pattern": sl.Scale(0.5)}):
        micro(**inputs)
    assert python_calls(bare) == untouched


def test_reading_a_block_costs_at_most_ten_calls_and_a_run_150(micro, inputs, bare):
    model, base = sl.wrap(micro), python_calls(bare)
    one = python_calls(lambda: model.capture(inputs, at="logits")) - base
    every = python_calls(lambda: model.capture(inputs, at=["blocks.*.resid", "logits"])) - base
    assert one <= 150
    assert (every - one) / BLOCKS <= 10


def test_reading_in_a_session_that_stays_attached_costs_at_most_five_calls_a_block(micro, bare):
    model, base = sl.wrap(micro), python_calls(bare)
    with model.read("blocks.*.resid"):
        assert (python_calls(bare) - base) / BLOCKS <= 5


def test_an_additive_edit_costs_at_most_eight_calls_a_forward(micro, bare):
    model, base = sl.wrap(micro), python_calls(bare)
    with model.edit({"blocks.15.resid": sl.Add(torch.ones(64))}):
        assert python_calls(bare) - base <= 8


@pytest.fixture
def calls_a_token(micro):
    """Python calls of one more generated token."""
    ids = torch.arange(8)[None]
    how = {
        "attention_mask": torch.ones_like(ids),
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 0,
    }

    def count() -> float:
        few, many = (python_calls(lambda n=n: micro.generate(ids, max_new_tokens=n, **how)) for n in (3, 6))
        return (many - few) / 3

    return count


def test_a_generated_token_costs_seven_calls_more_under_an_edit_and_none_in_the_weights(micro, calls_a_token):
    model, base = sl.wrap(micro), calls_a_token()
    push = {"blocks.15.resid": sl.Add(torch.ones(64))}
    with model.edit(push):
        assert calls_a_token() - base <= 8
    with model.fold(push):
        assert calls_a_token() == base
    assert calls_a_token() == base


def test_a_scope_of_generated_tokens_costs_at_most_80_calls_a_token_and_40_a_site_more(micro, calls_a_token):
    model, base = sl.wrap(micro), calls_a_token()
    push = sl.Add(torch.ones(64)).on(tokens="generated")
    with model.edit({"blocks.15.resid": push}):
        one = calls_a_token() - base
    with model.edit({"blocks.15:17.resid": push}):
        two = calls_a_token() - base
    assert one <= 80 and two - one <= 40


def test_entering_and_leaving_an_edit_costs_at_most_150_calls(micro, inputs, bare):
    model, base = sl.wrap(micro), python_calls(bare)

    def edited():
        with model.edit({"blocks.15.resid": sl.Add(torch.ones(64))}):
            bare()

    assert python_calls(edited) - base <= 150


def test_a_tapped_pattern_costs_other_blocks_at_most_one_call(micro, bare):
    model, base = sl.wrap(micro), python_calls(bare)
    with model.read("blocks.15.pattern"):
        one = python_calls(bare) - base
    with model.read(["blocks.15.pattern", "blocks.16.pattern"]):
        two = python_calls(bare) - base
    assert one - (two - one) <= BLOCKS + 15  # what is left is one call a block and the clock's


class SquareMatrices(TorchDispatchMode):
    """Counts tensors ``[batch, head, token, token]`` that operations make."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if (
                isinstance(tensor, torch.Tensor)
                and tensor.ndim >= 3
                and tensor.shape[-2:] == (TOKENS, TOKENS)
            ):
                heads = tensor.numel() // TOKENS**2
                self.made += tensor.is_floating_point() and heads % HEADS == 0
        return result


def square_matrices(function) -> int:
    with SquareMatrices() as matrices:
        function()
    return matrices.made


def test_only_the_asked_block_makes_an_attention_matrix(micro, bare):
    model = sl.wrap(micro)
    assert square_matrices(bare) == 0
    with model.read("blocks.7.pattern"):
        one = square_matrices(bare)
    with model.read(["blocks.7.pattern", "blocks.8.pattern"]):
        two = square_matrices(bare)
    assert 0 < one <= 12
    assert two == 2 * one


def test_a_forward_ends_after_the_last_site_that_is_asked_for(micro, inputs):
    model, ran = sl.wrap(micro), []
    handles = [
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
        for i, block in enumerate(micro.model.layers)
    ]
    try:
        model.capture(inputs, at=["blocks.7.resid", "blocks.2.heads"])
    finally:
        for handle in handles:
            handle.remove()
    assert ran == list(range(8))


def test_a_stored_activation_keeps_no_larger_tensor_alive(micro, inputs):
    model = sl.wrap(micro)
    for options in ({"tokens": "last"}, {"dtype": torch.float16}, {}):
        for at in ("blocks.3.heads.1", "blocks.3.resid", "blocks.3.q"):
            stored = model.capture(inputs, at=at, **options)[at]
            assert stored.untyped_storage().nbytes() == stored.numel() * stored.element_size()
