"""Answers as a function of an activation: the same numbers as plain edited forwards, and gradients."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from tiny import build_llm

import steerlab as sl
from steerlab.analyzers.manifold_steering import Outcomes, answers_at
from steerlab.analyzers.manifold_steering.reading import Answers
from steerlab.bases import Subspace
from steerlab.edits import Scale

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PROMPTS = ("the day after Monday is", "Friday comes after", "today is Sunday , and Tuesday is")
WORDS = ("Monday", "Friday", "Tuesday")
SITE = "blocks.1.resid"


@cache
def tiny(family: str) -> sl.Model:
    torch.manual_seed(0)
    made = build_llm(family)
    return sl.wrap(made.model, made.tokenizer)


def points(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 32, generator=torch.Generator().manual_seed(1))


def naive(model: sl.Model, answers: Answers, rows: torch.Tensor, basis=None) -> torch.Tensor:
    """One edited forward of a whole prompt for every point and prompt."""
    found = []
    for row in rows:
        for text, one in zip(PROMPTS, answers.prompts, strict=True):
            with model.edit({SITE: sl.Replace(row, basis).on(tokens=[one.place])}):
                chances = model.logits(text)[0, -1].double().softmax(-1)
            said = chances[answers.outcomes.ids[:, 0]]
            found.append(torch.cat([said, 1 - said.sum(-1, keepdim=True)]))
    return torch.stack(found).unflatten(0, (len(rows), len(PROMPTS)))


@pytest.mark.parametrize("words", [None, WORDS], ids=["last", "named"])
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3", "gpt2"])
def test_it_equals_one_edited_forward_for_every_point_and_prompt(family, words):
    model = tiny(family)
    outcomes = Outcomes.of(model, DAYS)
    answers = answers_at(model, PROMPTS, SITE, outcomes, words=words)
    found = answers(points())
    assert found.shape == (4, 3, 8) and found.std(0).max() > 1e-3
    assert torch.allclose(found.double(), naive(model, answers, points()), atol=2e-6)
    whole = answers_at(model, PROMPTS, SITE, outcomes, words=words, reuse=False)
    assert torch.allclose(found, whole(points()), atol=2e-6)
    assert torch.allclose(answers.unedited(), whole.unedited(), atol=2e-6)
    places = [len(one.ids) - 1 for one in answers.prompts] if words is None else [4, 1, 6]
    assert [one.place for one in answers.prompts] == places  # <bos> comes first


def test_blocks_before_the_site_are_left_out_for_last_tokens_alone():
    model = tiny("llama")
    outcomes = Outcomes.of(model, DAYS)
    frame = torch.linalg.qr(points(6).T).Q.T.contiguous()
    basis = Subspace(frame, points(1)[0])
    last = answers_at(model, PROMPTS, SITE, outcomes, basis=basis)
    assert last.skipped == (0,)
    assert answers_at(model, PROMPTS, SITE, outcomes, words=WORDS).skipped == ()
    assert answers_at(model, PROMPTS, "blocks.1.mlp", outcomes).skipped == ()
    assert torch.allclose(last(points()).double(), naive(model, last, points(), basis), atol=2e-6)
    doubled = last.under(lambda some: Scale(2.0), torch.zeros(1, 1))[0]
    for i, text in enumerate(PROMPTS):  # an edit that looks at the activation sees the prompt's own
        with model.edit({SITE: Scale(2.0).on(tokens="last")}):
            wanted = model.logits(text)[0, -1].softmax(-1)[outcomes.ids[:, 0]]
        assert torch.allclose(doubled[i, :7], wanted, atol=2e-6)
    own = model.capture(PROMPTS[2], at=SITE, tokens="last")[SITE][0, 0]
    assert torch.allclose(last.activations()[2], own, atol=1e-6)


def test_rows_are_the_same_however_many_share_a_forward():
    model = tiny("llama")
    answers = answers_at(model, PROMPTS, SITE, Outcomes.of(model, DAYS))
    assert torch.allclose(answers(points(7)), replace(answers, batch=2)(points(7)), atol=1e-6)


@pytest.mark.parametrize("words", [None, WORDS], ids=["last", "named"])
def test_gradients_are_those_of_whole_forwards(words):
    model = tiny("llama")
    outcomes = Outcomes.of(model, DAYS)
    slopes = []
    for reuse in (True, False):
        answers = answers_at(model, PROMPTS, SITE, outcomes, words=words, reuse=reuse)
        rows = points().requires_grad_()
        (answers(rows) * torch.arange(8)).square().sum().backward()
        slopes.append(rows.grad)
    assert slopes[0].abs().max() > 1e-4 and torch.allclose(*slopes, rtol=1e-3, atol=1e-6)
    assert not answers(points()).requires_grad


@pytest.mark.parametrize("words", [None, WORDS], ids=["last", "named"])
def test_whole_answers_are_products_of_their_tokens(words):
    model = tiny("llama")
    values = ("day one", "day two", "week three four", "man")
    outcomes = Outcomes.of(model, values, reading="whole")
    answers = answers_at(model, PROMPTS, SITE, outcomes, words=words)
    found = answers(points(2))
    for row, point in enumerate(points(2)):
        for i, text in enumerate(PROMPTS):
            place = answers.prompts[i].place
            for j, value in enumerate(values):
                begin = len(answers.prompts[i].ids)
                with model.edit({SITE: sl.Replace(point).on(tokens=[place])}):
                    chances = model.logits(f"{text} {value}")[0].log_softmax(-1)
                ids = model.processor(f"{text} {value}")["input_ids"]
                wanted = sum(chances[k - 1, ids[k]] for k in range(begin, len(ids))).exp()
                assert torch.allclose(found[row, i, j], wanted, rtol=1e-4)
    assert torch.allclose(found.sum(-1), torch.ones(2, 3), atol=1e-6)


def test_a_word_that_is_not_there_is_named():
    model = tiny("llama")
    with pytest.raises(sl.SteerlabError, match="'Paris' is no word of 'the day after"):
        answers_at(model, PROMPTS[:1], SITE, Outcomes.of(model, DAYS), words=["Paris"])
