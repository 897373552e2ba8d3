"""Templates filled with values, and answers as tokens: what is asked, what is right, what is refused."""

from __future__ import annotations

import pytest
import torch
from tiny import build_llm

import steerlab as sl
from steerlab.analyzers.manifold_steering.outcomes import Outcomes
from steerlab.analyzers.manifold_steering.prompts import Concept, prompts_of

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    made = build_llm("llama")
    return sl.wrap(made.model, made.tokenizer)


def test_slots_are_filled_round_the_week_and_the_last_one_is_the_answer():
    found = prompts_of(["{x-1}, {x}, {x+1}"], Concept(DAYS), [1])
    assert [one.text for one in found[:2]] == ["Sunday, Monday,", "Monday, Tuesday,"]
    assert [one.answer for one in found] == [1, 2, 3, 4, 5, 6, 0]
    assert {one.offset for one in found} == {1} and [one.named for one in found] == list(range(7))


def test_an_offset_is_counted_in_words_and_reaches_the_answer():
    concept = Concept(DAYS, counts=("one", "two", "three", "four", "five"))
    found = prompts_of(["{n} days after {x} is {x+n}", "{x+1} in {n}: {x-2n}"], concept, [2, 5])
    assert len(found) == 28 and found[0].text == "two days after Monday is" and found[0].answer == 2
    assert found[7].text == "five days after Monday is" and (found[7].answer, found[7].offset) == (5, -2)
    assert found[14].text == "Tuesday in two:" and (found[14].answer, found[14].named) == (3, None)
    with pytest.raises(sl.SteerlabError, match="'In two days,' has several answers"):
        prompts_of(["In {n} days, {x-2n}"], concept, [2])
    with pytest.raises(sl.SteerlabError, match="counts are written for 1 to 5"):
        prompts_of(["{n} days after {x} is {x+n}"], concept, [6])


def test_an_order_that_does_not_close_has_no_prompts_beyond_its_ends():
    found = prompts_of(["{x}, {x+2}"], Concept(DAYS, cyclic=False), [1])
    assert [(one.named, one.answer, one.offset) for one in found] == [(i, i + 2, 2) for i in range(5)]


@pytest.mark.parametrize("template", ["no slot", "{x} is a day", "after {y} is {x}", "{x}, {x+}", "{x}, {n}"])
def test_templates_without_a_meaning_are_refused(template):
    with pytest.raises(sl.SteerlabError, match="slot"):
        prompts_of([template], Concept(DAYS), [1])


def test_gaps_and_offsets_go_the_short_way():
    week, year = Concept(DAYS), Concept(tuple("abcdefghijkl"))
    assert [week.gap(0, b) for b in range(7)] == [0, 1, 2, 3, 3, 2, 1]
    assert [week.offset(0, b) for b in range(7)] == [0, 1, 2, 3, -3, -2, -1]
    assert [year.offset(0, b) for b in (5, 6, 7)] == [5, 6, -5]
    assert Concept(DAYS, cyclic=False).offset(6, 0) == -6


def test_spellings_of_one_token_are_summed(tiny):
    outcomes = Outcomes.of(tiny, DAYS)
    assert outcomes.ids.shape == (7, 1)  # this tokenizer knows one spelling of each
    logits = torch.randn(3, 1, 1, tiny.module.config.vocab_size, generator=torch.Generator().manual_seed(0))
    found, whole = outcomes.distribution(logits), logits[:, 0, 0].double().softmax(-1)
    assert torch.allclose(found[:, :7].double(), whole[:, outcomes.ids[:, 0]], atol=1e-6)
    assert torch.allclose(found.sum(-1), torch.ones(3)) and found[:, 7].min() > 0.5


@pytest.mark.parametrize(
    ("values", "reading", "says"),
    [
        (("Monday", "monday day", "Sunday"), "token", "'monday day' is no single token"),
        (("week one", "week two", "day"), "token", "'week one', 'week two' begin with the same token"),
        (("Monday", "Tuesday", "Monday "), "token", "share a token"),
        (("day", "day one", "day two"), "whole", "begins with the tokens of 'day'"),
        (DAYS, "first", "'token' or 'whole'"),
    ],
)
def test_values_that_cannot_be_told_apart_are_refused(tiny, values, reading, says):
    with pytest.raises(sl.SteerlabError, match=says):
        Outcomes.of(tiny, values, reading=reading)
