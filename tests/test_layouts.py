"""From raw tensors to activations and back, and tensors inside whatever a module passes on."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

import steerlab as sl
from steerlab.layouts import Layout, first_tensor, with_first

Pair = namedtuple("Pair", ["hidden", "rest"])


@dataclasses.dataclass(frozen=True)
class Output:
    sample: torch.Tensor
    other: int = 3


# name: (layout, shape of the raw tensor, shape of the activation)
LAYOUTS = {
    "plain": (Layout(), (2, 5, 12), (2, 5, 12)),
    "sum": (Layout("sum"), (2, 5, 12), (2, 5, 12)),
    "difference": (Layout("difference"), (2, 5, 12), (2, 5, 12)),
    "grid": (Layout(grid=True), (2, 12, 3, 4), (2, 12, 12)),
    "difference of grids": (Layout("difference", grid=True), (2, 12, 3, 4), (2, 12, 12)),
    "flat": (Layout(flat=True), (10, 12), (2, 5, 12)),
    "heads": (Layout(heads=4), (2, 5, 12), (2, 5, 4, 3)),
    "one of three": (Layout(part=(1, 3)), (2, 5, 12), (2, 5, 4)),
    "heads of one of three": (Layout(part=(2, 3), heads=2), (2, 5, 12), (2, 5, 2, 2)),
    "swapped": (Layout(swapped=True), (2, 4, 5, 3), (2, 5, 4, 3)),
}


def tensors(name: str) -> tuple[Layout, torch.Tensor, torch.Tensor]:
    layout, shape, _ = LAYOUTS[name]
    generator = torch.Generator().manual_seed(0)
    anchor = (2, 5, 12) if layout.flat else shape
    return layout, torch.randn(shape, generator=generator), torch.randn(anchor, generator=generator)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_activation_has_its_canonical_shape(name):
    layout, raw, anchor = tensors(name)
    assert layout.unpack(raw, anchor).shape == LAYOUTS[name][2]


@pytest.mark.parametrize("name", LAYOUTS)
def test_packing_what_was_unpacked_gives_the_same_bits(name):
    layout, raw, anchor = tensors(name)
    x = layout.unpack(raw, anchor)
    assert torch.equal(layout.pack(raw, anchor, x, x), raw)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_edit_is_found_again_where_it_was_put_and_nowhere_else(name):
    layout, raw, anchor = tensors(name)
    x = layout.unpack(raw, anchor)
    y = x.clone()
    y[1, 0] += 1.0
    packed = layout.pack(raw, anchor, x, y)
    torch.testing.assert_close(layout.unpack(packed, anchor), y)
    assert packed.shape == raw.shape
    assert int((packed != raw).sum()) == y[1, 0].numel()


@pytest.mark.parametrize("name", LAYOUTS)
def test_nothing_is_written_in_place(name):
    layout, raw, anchor = tensors(name)
    before = raw.clone(), anchor.clone()
    x = layout.unpack(raw, anchor)
    kept = x.clone()
    layout.pack(raw, anchor, x, x + 1)
    assert torch.equal(raw, before[0]) and torch.equal(anchor, before[1]) and torch.equal(x, kept)


def test_a_sum_adds_the_anchor_and_a_difference_takes_it_away():
    raw, anchor = torch.ones(1, 1, 2), torch.full((1, 1, 2), 4.0)
    assert Layout("sum").unpack(raw, anchor).tolist() == [[[5, 5]]]
    assert Layout("difference").unpack(raw, anchor).tolist() == [[[-3, -3]]]


def test_a_relative_layout_computes_the_difference_in_float32_and_rounds_once():
    raw = torch.tensor([[[2.0, 1.0]]], dtype=torch.bfloat16)
    anchor = torch.tensor([[[256.0, 0.5]]], dtype=torch.bfloat16)
    x = Layout("sum").unpack(raw, anchor)
    y = torch.ones_like(x)  # 1 - 258 is no number of bfloat16, 2 + (1 - 258) is one
    assert Layout("sum").pack(raw, anchor, x, y).tolist() == [[[-255.0, 0.5]]]


def test_tokens_of_a_map_run_row_by_row():
    raw = torch.arange(6.0).view(1, 1, 2, 3)
    assert Layout(grid=True).unpack(raw, None)[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]


A, B = torch.zeros(2), torch.ones(2)
CONTAINERS: dict[str, Any] = {
    "tensor": A,
    "tuple": (A, B),
    "list": [A, B],
    "named tuple": Pair(A, B),
    "nested": ((A, [B]), B),
    "dict": {"hidden": A, "other": B},
    "ordered dict": OrderedDict(hidden=A, other=B),
    "dataclass": Output(A),
    "model output": BaseModelOutput(last_hidden_state=A, attentions=(B,)),
    "tuple of model output": (BaseModelOutput(last_hidden_state=A), B),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_first_tensor_is_found_and_replaced_in_a_new_container_of_the_same_type(name):
    container, new = CONTAINERS[name], torch.full((2,), 7.0)
    assert first_tensor(container) is A
    changed = with_first(container, new)
    assert type(changed) is type(container)
    assert first_tensor(changed) is new
    assert first_tensor(container) is A


@pytest.mark.parametrize("name", ["tuple", "list", "named tuple", "dict", "ordered dict"])
def test_the_rest_of_a_container_is_passed_on_as_it_is(name):
    changed = with_first(CONTAINERS[name], B)
    rest = changed["other"] if isinstance(changed, dict) else changed[1]
    assert rest is B and len(changed) == 2


def test_a_model_output_keeps_its_other_fields_and_stays_an_output():
    changed = with_first(CONTAINERS["model output"], B)
    assert (
        changed.attentions[0] is B
        and changed[0] is B
        and list(changed) == ["last_hidden_state", "attentions"]
    )
    assert with_first(CONTAINERS["dataclass"], B).other == 3


@pytest.mark.parametrize("container", [None, (), {}, 3, "text", (None, A)])
def test_what_holds_no_tensor_first_is_refused(container):
    with pytest.raises(sl.SteerlabError, match="a module passes on .*, which holds no tensor to read"):
        first_tensor(container)
