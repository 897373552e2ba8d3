"""Base and edited in one batch: the effect is that of two runs, and rows do not touch each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import steerlab as sl
from steerlab.comparing import controlled
from steerlab.receipts import Receipt

STEP = torch.linspace(-1, 1, 32)
INTERVENTION = {"blocks.1.resid": sl.Add(STEP, 2.0), "blocks.2.heads.3": sl.Zero().on(tokens="last")}


def logits(one: Any, inputs: dict[str, Any], intervention: Any = None) -> torch.Tensor:
    """Logits of the last real token, in a run of their own."""
    with torch.no_grad():
        if intervention is None:
            out = one.tiny.model(**inputs).logits
        else:
            with one.model.edit(intervention):
                out = one.tiny.model(**inputs).logits
    last = inputs["attention_mask"].shape[1] - 1 - inputs["attention_mask"].flip(1).argmax(1)
    return out[torch.arange(len(out)), last]


def kl(base: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    p, q = base.double().log_softmax(-1), other.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_oss", "mixtral"])
@pytest.mark.parametrize("padded", [False, True])
def test_the_effect_is_that_of_two_separate_runs(held, family, padded):
    one = held(family)
    inputs = one.tiny.padded if padded else one.tiny.inputs
    found = one.model.compare(inputs, INTERVENTION)
    base, edited = logits(one, inputs), logits(one, inputs, INTERVENTION)
    torch.testing.assert_close(found.base, base, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.edited, edited, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.effect, kl(base, edited), atol=1e-6, rtol=1e-3)
    assert found.metric == "KL(base || edited)"


def test_padding_on_the_right_compares_the_last_real_token(held):
    one = held("llama")
    ids, mask = one.tiny.padded["input_ids"].clone(), one.tiny.padded["attention_mask"].clone()
    ids[1], mask[1] = ids[1].roll(-3), mask[1].roll(-3)
    right = one.model.compare({"input_ids": ids, "attention_mask": mask}, INTERVENTION, controls=0)
    left = one.model.compare(one.tiny.padded, INTERVENTION, controls=0)
    torch.testing.assert_close(right.effect, left.effect, atol=1e-6, rtol=1e-3)


def test_the_floor_is_the_noise_between_two_copies_of_the_base(held):
    one = held("llama")
    found = one.model.compare(one.tiny.inputs, INTERVENTION)
    assert found.floor.shape == (2,)
    assert bool((found.floor.abs() < 1e-9).all()) and bool((found.effect > 1e-4).all())


def test_each_row_is_compared_with_its_own_base(held):
    """A row alone has the effect that it has in the batch."""
    one = held("llama")
    both = one.model.compare(one.tiny.inputs, INTERVENTION, controls=0).effect
    for row in range(2):
        alone = {name: value[row : row + 1] for name, value in one.tiny.inputs.items()}
        torch.testing.assert_close(
            one.model.compare(alone, INTERVENTION, controls=0).effect,
            both[row : row + 1],
            atol=1e-7,
            rtol=1e-3,
        )


def test_rows_of_a_scope_are_rows_of_the_inputs(held):
    one = held("llama")
    found = one.model.compare(one.tiny.inputs, {"blocks.1.resid": sl.Add(STEP, 2.0).on(rows=1)}, controls=0)
    assert float(found.effect[0]) == pytest.approx(0, abs=1e-9)
    assert float(found.effect[1]) > 1e-4
    torch.testing.assert_close(found.base[0], found.edited[0], atol=1e-5, rtol=1e-4)


def test_controls_are_as_large_as_the_edit_and_differ_from_each_other(held):
    """The receipt of each control, run alone, tells the size that the edit's tells."""
    one = held("llama")
    intervention = {"blocks.1.resid": sl.Add(STEP, 2.0).on(tokens="last"), "blocks.0.mlp": sl.Zero()}
    found = one.model.compare(one.tiny.inputs, intervention, controls=3)
    assert found.controls.shape == (3, 2)
    assert len({round(float(row.sum()), 9) for row in found.controls}) == 3
    for seed in range(3):
        with one.model.edit(controlled(intervention, seed)) as receipt, torch.no_grad():
            one.tiny.model(**one.tiny.inputs)
        # the first edit of the stream comes before anything else is changed
        assert receipt["blocks.0.mlp"].relative == pytest.approx(1, rel=1e-5)
        assert receipt["blocks.1.resid"].tokens == found.receipt["blocks.1.resid"].tokens == 2


def test_the_receipt_is_that_of_the_intervention_alone(held):
    one = held("llama")
    found = one.model.compare(one.tiny.inputs, INTERVENTION, controls=2)
    assert [str(entry.site) for entry in found.receipt] == ["blocks.1.resid", "blocks.2.heads.3"]
    assert [entry.rows for entry in found.receipt] == [2, 2]
    assert [entry.tokens for entry in found.receipt] == [14, 2]
    assert found.receipt.entries[0].edit == "Add(tensor[32], 2)"


def test_masks_have_no_controls(held):
    one = held("llama")
    keep = torch.eye(7, dtype=torch.bool)
    found = one.model.compare(one.tiny.inputs, {"blocks.1.scores": sl.Mask(keep)})
    assert found.controls.shape == (0, 2) and "control" not in str(found)
    assert found.stands_out


@pytest.mark.parametrize(
    ("effect", "floor", "controls", "stands_out"),
    [
        ([1.0, 3.0], [0.1, 0.1], [[1.0, 1.0], [1.0, 2.5]], True),
        ([1.0, 3.0], [0.1, 0.1], [[0.0, 0.0], [1.0, 3.5]], False),  # one control is as strong
        ([1.0, 3.0], [2.0, 2.5], [[1.0, 1.0]], False),  # nothing but noise
        ([1.0, 3.0], [0.1, 0.1], [], True),
    ],
)
def test_an_effect_stands_out_when_it_exceeds_the_floor_and_every_control(
    effect, floor, controls, stands_out
):
    effect, floor, controls = (torch.tensor(values) for values in (effect, floor, controls))
    empty = torch.zeros(2)
    found = sl.Comparison(effect, floor, controls, empty, empty, Receipt(), "metric")
    assert found.stands_out is stands_out


def test_a_comparison_prints_the_effect_beside_what_it_must_exceed(held):
    one = held("llama")
    found = one.model.compare(one.tiny.inputs, INTERVENTION, controls=3)
    lines = str(found).splitlines()
    assert lines[0].startswith("KL(base || edited): effect ")
    assert lines[1].startswith("3 random controls of equal size: ")
    assert len(lines) == 4


def test_a_metric_of_the_users_is_asked_and_named(held):
    one = held("llama")

    def top_token(base: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (base.argmax(-1) != other.argmax(-1)).float()

    found = one.model.compare(one.tiny.inputs, {"final": sl.Scale(-5.0)}, metric=top_token, controls=0)
    assert found.metric == "top_token" and found.effect.tolist() == [1, 1]


@pytest.mark.parametrize(("family", "tensor"), [("vit", "pooler_output"), ("videomae", "last_hidden_state")])
def test_without_logits_the_relative_change_of_the_output_is_measured(held, family, tensor):
    one = held(family)
    intervention = {"blocks.1.resid": sl.Add(STEP)}
    found = one.model.compare(one.tiny.inputs, intervention, controls=0)
    with torch.no_grad():
        base = getattr(one.tiny.model(**one.tiny.inputs), tensor)
        with one.model.edit(intervention):
            edited = getattr(one.tiny.model(**one.tiny.inputs), tensor)
    expected = (edited - base).flatten(1).norm(dim=1) / base.flatten(1).norm(dim=1)
    assert found.metric == "relative change"
    torch.testing.assert_close(found.effect, expected.double(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("tower", "embeds"), [("vision", "image_embeds"), ("text", "text_embeds"), ("both", "both")]
)
def test_of_two_towers_each_is_compared_by_its_own_embedding(held, tower, embeds):
    one = held("clip")
    towers = ["vision", "text"] if tower == "both" else [tower]
    intervention = {f"{prefix}.blocks.1.resid": sl.Add(STEP) for prefix in towers}
    found = one.model.compare(one.tiny.inputs, intervention, controls=0)
    assert bool((found.effect > 1e-3).all())

    def output() -> torch.Tensor:
        with torch.no_grad():
            out = one.tiny.model(**one.tiny.inputs)
        parts = {"image_embeds": out.image_embeds, "text_embeds": out.text_embeds}
        return torch.cat(list(parts.values()), 1) if embeds == "both" else parts[embeds]

    base = output()
    with one.model.edit(intervention):
        edited = output()
    # a tower run alone gives the embedding before it is normalised
    got = [torch.nn.functional.normalize(part, dim=1) for part in (found.base, found.edited)]
    want = [torch.nn.functional.normalize(part, dim=1) for part in (base, edited)]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_logits_that_nobody_looks_at_are_not_computed(held):
    one, seen = held("llama"), []
    handle = one.tiny.model.lm_head.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].shape[1])
    )
    try:
        alone = one.model.compare(one.tiny.inputs, {"blocks.1.heads.0": sl.Zero()}, controls=1)
        one.model.compare(one.tiny.inputs, {"logits": sl.Scale(2.0)}, controls=1)
    finally:
        handle.remove()
    assert seen == [1, 7]
    with torch.no_grad(), one.model.edit({"blocks.1.heads.0": sl.Zero()}):
        whole = one.tiny.model(**one.tiny.inputs).logits[:, -1]
    assert torch.allclose(alone.edited.squeeze(), whole, atol=1e-5)


def test_a_dose_of_nothing_is_a_dose(held):
    one = held("llama")
    doses = [sl.Add(torch.ones(32)).on(strength=strength) for strength in (0.0, 0.5, 1.0)]
    effect = one.model.sweep(one.tiny.inputs, [{"blocks.1.resid": dose} for dose in doses], progress=False)
    assert effect[0].abs().max() < 1e-6
    assert (effect[2] > effect[1]).all() and (effect[1] > 1e-4).all()
