"""The budget search: the strength it finds meets the bound, and a little more does not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import steerlab as sl
from steerlab.errors import SteerlabError
from steerlab.numerics.divergence import kl_tokens

VECTOR = torch.linspace(-1, 1, 32)


def test_kl_of_tokens_is_that_of_torch():
    p, q = torch.randn(3, 400, 11), torch.randn(3, 400, 11)
    expected = nn.functional.kl_div(
        q.double().log_softmax(-1), p.double().log_softmax(-1), log_target=True, reduction="none"
    )
    assert torch.allclose(kl_tokens(p, q), expected.sum(-1))


@pytest.mark.parametrize("sign", (1, -1))
def test_the_strength_is_the_largest_under_the_bound(sign, held):
    one = held("llama")
    found = sl.within_budget(
        one.model,
        one.tiny.inputs,
        lambda s: {"blocks.0.resid": sl.Add(VECTOR, s)},
        bound=1e-3,
        start=sign * 0.01,
    )
    base = one.model.logits(one.tiny.inputs)
    mask = one.tiny.inputs["attention_mask"].bool()

    def cost(strength: float) -> float:
        with one.model.edit({"blocks.0.resid": sl.Add(VECTOR, strength)}):
            return float(kl_tokens(base, one.model.logits(one.tiny.inputs))[mask].mean())

    assert found.strength * sign > 0
    assert cost(found.strength) == pytest.approx(found.cost, rel=1e-6) and found.cost <= 1e-3
    assert cost(1.01 * found.strength) > 1e-3
    assert all(c <= 1e-3 for s, c in found.curve if abs(s) <= abs(found.strength))
    with one.model.edit(found.intervention) as receipt:
        one.model.logits(one.tiny.inputs)
    assert len(receipt) == 1
    assert str(found).startswith(f"strength {found.strength:.4g}: KL(base || edited) in nats")


def test_models_without_logits_are_measured_by_the_change_of_their_output(held):
    one = held("vit")
    found = sl.within_budget(
        one.model, one.tiny.inputs, lambda s: {"blocks.0.resid": sl.Scale(1 + s)}, bound=0.05, start=0.1
    )
    assert 0 < found.cost <= 0.05 and "relative change" in str(found)


@pytest.mark.parametrize("wrong", ({"start": 0.0}, {"bound": 0.0}, {"start": float("nan")}))
def test_a_search_without_a_direction_or_a_bound_is_refused(wrong, held):
    one = held("llama")
    with pytest.raises(SteerlabError, match="a search needs a start"):
        sl.within_budget(one.model, one.tiny.inputs, lambda s: {"blocks.0.resid": sl.Scale(s)}, **wrong)


def test_an_edit_that_always_costs_too_much_is_said(held):
    one = held("llama")
    with pytest.raises(SteerlabError, match="even a strength of .* costs .* more than the bound"):
        sl.within_budget(one.model, one.tiny.inputs, lambda s: {"blocks.0.resid": sl.Zero()}, bound=1e-9)
