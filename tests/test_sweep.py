"""n interventions as rows of one batch are n single runs."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl

STEP = torch.linspace(-1, 1, 32)
SEVEN = [
    {"blocks.0.heads.0": sl.Zero()},
    {"blocks.0.heads.0:2": sl.Zero()},
    {"blocks.1.resid": sl.Add(STEP).on(tokens="last")},
    {"blocks.1.pattern.1": sl.Scale(0.0).on(tokens="last")},
    {"blocks.2.k.1": sl.Scale(2.0), "blocks.0.mlp": sl.Zero().on(rows=1)},
    {"blocks.1.scores": sl.Mask(torch.eye(7, dtype=torch.bool))},
    {"blocks.2.mlp": [sl.Scale(2.0), sl.Add(STEP).on(tokens="first", strength=0.5)]},
]


def one_by_one(one, inputs, interventions) -> torch.Tensor:
    return torch.stack([one.model.compare(inputs, each, controls=0).effect for each in interventions])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("padded", [False, True])
def test_a_sweep_gives_what_each_intervention_gives_alone(held, family, padded):
    one = held(family)
    inputs = one.tiny.padded if padded else one.tiny.inputs
    swept = one.model.sweep(inputs, SEVEN, progress=False)
    assert swept.shape == (7, 2)
    torch.testing.assert_close(swept, one_by_one(one, inputs, SEVEN), atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_how_many_share_a_forward_makes_no_difference(held, batch):
    one = held("llama")
    forwards = []
    handle = one.tiny.model.register_forward_hook(lambda *_: forwards.append(True))
    try:
        swept = one.model.sweep(one.tiny.inputs, SEVEN, batch=batch, progress=False)
    finally:
        handle.remove()
    assert len(forwards) == -(-7 // batch)
    torch.testing.assert_close(swept, one_by_one(one, one.tiny.inputs, SEVEN), atol=1e-7, rtol=1e-3)


def test_every_head_of_an_image_encoder_is_swept(held):
    one = held("vit")
    heads = [{head: sl.Zero()} for head in one.model.heads()]
    swept = one.model.sweep(one.tiny.inputs, heads, progress=False)
    assert swept.shape == (12, 2)
    torch.testing.assert_close(swept, one_by_one(one, one.tiny.inputs, heads), atol=1e-6, rtol=1e-3)


def test_one_tower_is_swept_by_itself(held):
    one = held("clip")
    heads = [{head: sl.Zero()} for head in one.model.heads("text.blocks.*.heads")]
    swept = one.model.sweep({"input_ids": one.tiny.inputs["input_ids"]}, heads, progress=False)
    assert swept.shape == (12, 2) and bool((swept > 0).all())


def test_frames_folded_into_the_batch_stay_with_their_clip(held):
    one = held("timesformer")
    arms = [{f"blocks.1.{where}heads.{head}": sl.Zero()} for where in ("", "temporal.") for head in (0, 3)]
    swept = one.model.sweep(one.tiny.inputs, arms, progress=False)
    with torch.no_grad():
        base = one.tiny.model(**one.tiny.inputs).last_hidden_state
        for arm, effect in zip(arms, swept, strict=True):
            with one.model.edit(arm):
                edited = one.tiny.model(**one.tiny.inputs).last_hidden_state
            torch.testing.assert_close(effect, sl.metrics.relative_change(base, edited), atol=1e-6, rtol=1e-3)


def test_a_metric_of_the_users_is_asked_of_every_intervention(held):
    one = held("llama")
    swept = one.model.sweep(
        one.tiny.inputs, SEVEN[:2], metric=lambda base, other: (base - other).abs().amax(-1), progress=False
    )
    assert swept.shape == (2, 2) and bool((swept > 0).all())
