"""Likelihoods of endings and divergences on texts against sums over single texts in float64."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from conftest import build

import steerlab as sl
from steerlab.analyzers.likelihoods import Cost, Endings
from steerlab.errors import SteerlabError

AT = "blocks.0.resid"
CONTEXTS = ["the cat sat on", "Monday is"]
TOWARD, AWAY = [" the mat .", " a dog"], [" Paris", " the capital of France ."]


def alone(lm: sl.Model, context: str, ending: str) -> float:
    """Mean log-likelihood of an ending's tokens, the text by itself without padding."""
    ids = lm.processor(context + ending, return_tensors="pt").input_ids
    begin = lm.processor(context, return_tensors="pt").input_ids.shape[1]
    chances = lm.logits({"input_ids": ids})[0].double().log_softmax(-1)
    return sum(float(chances[t - 1, ids[0, t]]) for t in range(begin, ids.shape[1])) / (ids.shape[1] - begin)


@pytest.mark.parametrize("edit", [None, {"blocks.1.heads.0": sl.Zero()}])
def test_a_score_is_the_mean_over_single_texts(edit):
    lm = build("llama").model
    endings = Endings.of(lm, AT, CONTEXTS, TOWARD, AWAY)
    with lm.edit(edit) if edit else nullcontext():
        each = [
            sum(alone(lm, c, e) for e in TOWARD) / 2 - sum(alone(lm, c, e) for e in AWAY) / 2
            for c in CONTEXTS
        ]
    assert endings.score(edit) == pytest.approx(sum(each) / 2, abs=1e-5)
    assert endings.score(edit, backwards=True) == pytest.approx(endings.score(edit), abs=1e-5)


def test_a_cost_is_the_mean_divergence_of_every_real_token():
    lm = build("llama").model
    texts = ["the cat sat on the mat .", "Monday is"]
    edit = {"blocks.1.mlp": sl.Zero()}
    tokens = []
    for text in texts:
        ids = {"input_ids": lm.processor(text, return_tensors="pt").input_ids}
        base = lm.logits(ids)[0].double().log_softmax(-1)
        with lm.edit(edit):
            edited = lm.logits(ids)[0].double().log_softmax(-1)
        tokens += (base.exp() * (base - edited)).sum(-1).tolist()
    cost = Cost.of(lm, AT, texts)
    assert cost.divergence(edit) == pytest.approx(sum(tokens) / len(tokens), rel=1e-4)
    assert cost.divergence(edit, backwards=True) == pytest.approx(cost.divergence(edit), rel=1e-4)
    assert cost.divergence() == 0


def test_an_ending_without_tokens_and_data_that_are_no_texts_are_refused():
    lm = build("llama").model
    with pytest.raises(SteerlabError, match="adds no token to 'the cat'"):
        Endings.of(lm, AT, ["the cat"], [" "], AWAY)
    for data in ("one text", [], [torch.zeros(2)]):
        with pytest.raises(SteerlabError, match="give a list of texts"):
            Cost.of(lm, AT, data)
