"""A receipt says what an intervention did: fires, rows, tokens, size; and refuses what did nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import steerlab as sl
from steerlab.receipts import Entry, Receipt, note
from steerlab.sites import Site

SITE = Site("blocks.0", "resid")


def run(one, intervention, inputs=None, times: int = 1, **how) -> Receipt:
    with one.model.edit(intervention, **how) as receipt, torch.no_grad():
        for _ in range(times):
            one.tiny.model(**(inputs or one.tiny.inputs))
    return receipt


def entry(x: torch.Tensor, y: torch.Tensor, finite: bool = True) -> Entry:
    made = Entry(SITE, "edit")
    note(made, x, y, x.shape[0], finite)
    return made


@pytest.mark.parametrize("times", [1, 3])
def test_fires_rows_and_tokens_are_counted(held, times):
    receipt = run(held("llama"), {"blocks.1.resid": sl.Scale(2.0), "blocks.*.mlp": sl.Zero()}, times=times)
    assert [str(one.site) for one in receipt] == ["blocks.1.resid", *(f"blocks.{i}.mlp" for i in range(3))]
    assert [one.fires for one in receipt] == [times] * 4
    assert {one.rows for one in receipt} == {2}
    assert {one.tokens for one in receipt} == {times * 2 * 7}
    assert {one.dtype for one in receipt} == {"float32"}


def test_tokens_are_those_that_the_scope_chose(held):
    one = held("llama")
    scopes = {"last": 2, "1:3": 4, "all": 11}  # the second row has three tokens of padding
    for tokens, count in scopes.items():
        receipt = run(one, {"blocks.1.resid": sl.Zero().on(tokens=tokens)}, one.tiny.padded)
        assert receipt["blocks.1.resid"].tokens == count
    assert run(one, {"blocks.1.resid": sl.Zero().on(rows=1)})["blocks.1.resid"].tokens == 7
    assert run(one, {"blocks.1.pattern": sl.Scale(0.5).on(tokens="last")})["blocks.1.pattern"].tokens == 2


def test_the_relative_size_is_that_of_float64(held):
    one = held("llama")
    x = one.model.capture(one.tiny.inputs, "blocks.1.resid")["blocks.1.resid"].double().numpy()
    vector = torch.linspace(-1, 1, 32)
    receipt = run(one, {"blocks.1.resid": sl.Add(vector, 3.0).on(tokens="last")})
    moved = np.zeros_like(x)
    moved[:, -1] = 3.0 * vector.double().numpy()
    assert receipt["blocks.1.resid"].relative == pytest.approx(
        np.linalg.norm(moved) / np.linalg.norm(x[:, -1]),
        rel=1e-5,  # of the chosen entries
    )
    assert receipt["blocks.1.resid"].changed == 2 * 32


def test_over_several_fires_squares_are_summed():
    x, made = torch.tensor([[3.0, 4.0]]), Entry(SITE, "edit")
    note(made, x, x + torch.tensor([[1.0, 0.0]]), 1, True)
    note(made, x, x + torch.tensor([[0.0, 2.0]]), 1, True)
    assert made.relative == pytest.approx(np.sqrt((1 + 4) / (25 + 25)))
    assert made.fires == 2 and made.changed == 2


def test_the_size_of_a_change_in_half_precision_is_not_rounded_to_it():
    x = torch.tensor([[1.0, 100.0]], dtype=torch.bfloat16)
    y = torch.tensor([[-256.0, 100.0]], dtype=torch.bfloat16)
    assert entry(x, y).relative == pytest.approx(257 / np.sqrt(10001), rel=1e-6)


def test_masked_scores_are_left_out_of_the_size():
    x = torch.tensor([[3.0, 4.0, -torch.inf]])
    y = torch.tensor([[3.0, -torch.inf, -torch.inf]])
    made = entry(x, y, finite=False)
    assert made.changed == 1 and np.isfinite(made.relative)
    Receipt([made]).check()


def test_an_edit_that_changes_nothing_warns(held):
    with pytest.warns(sl.SteerlabWarning, match=r"changed nothing: blocks.1.resid: Scale\(1\)"):
        run(held("llama"), {"blocks.1.resid": sl.Scale(1.0)})


def test_an_edit_that_never_fires_is_an_error_unless_it_is_accepted(held):
    one = held("clip")
    text = {"input_ids": one.tiny.inputs["input_ids"]}
    intervention = {"vision.blocks.1.resid": sl.Zero()}
    with pytest.raises(sl.SteerlabError, match=r"vision.blocks.1.resid: Zero\(\) never fired"):
        with one.model.edit(intervention), torch.no_grad():
            one.tiny.model.get_text_features(**text)
    with one.model.edit(intervention, strict=False) as receipt, torch.no_grad():
        one.tiny.model.get_text_features(**text)
    assert receipt.entries[0].fires == 0
    assert np.isnan(receipt.entries[0].relative)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_or_infinity_made_by_an_edit_is_an_error(held, value):
    with pytest.raises(
        sl.SteerlabError, match=r"blocks.1.mlp: Fn\(<lambda>\) made values that are NaN or infinite"
    ):
        run(held("llama"), {"blocks.1.mlp": sl.Fn(lambda x: x + value)})


def test_a_stream_of_zeros_may_be_moved():
    zeros = torch.zeros(1, 3)
    moved = entry(zeros, zeros + 1)
    Receipt([moved]).check()
    assert moved.relative == float("inf")
    assert entry(zeros + 1, zeros + 1).relative == 0


def test_another_dtype_is_cast_back_and_counted(held):
    one = held("llama")
    receipt = run(one, {"blocks.1.resid": sl.Fn(lambda x: 2 * x.double())}, times=2)
    assert receipt["blocks.1.resid"].casts == 2
    assert receipt["blocks.1.resid"].dtype == "float32"
    assert "2 casts" in str(receipt)


def test_a_receipt_prints_a_line_an_edit(held):
    receipt = run(held("llama"), {"blocks.1.resid": [sl.Zero(), sl.Add(torch.ones(32))]})
    lines = str(receipt).splitlines()
    assert len(receipt) == len(lines) == 2
    assert "Zero()" in lines[0] and "fired 1, rows 2, tokens 14" in lines[0] and "|Δ|/|x| 1," in lines[0]
    assert "Add(tensor[32])" in lines[1]
    assert str(Receipt()) == "no edits"


def test_the_error_of_a_run_is_not_hidden_by_that_of_its_receipt(held):
    with pytest.raises(RuntimeError, match="mine"), held("llama").model.edit({"blocks.1.resid": sl.Zero()}):
        raise RuntimeError("mine")


def test_a_mask_tells_how_many_scores_it_changed(held):
    one = held("vit")
    keep = torch.ones(17, 17, dtype=torch.bool)
    keep[1, 2] = False
    with torch.no_grad(), one.model.edit({"blocks.1.scores": sl.Mask(keep)}) as receipt:
        one.tiny.model(**one.tiny.inputs)
    assert receipt["blocks.1.scores"].changed == 2 * 4
    assert "changed 8" in str(receipt)
