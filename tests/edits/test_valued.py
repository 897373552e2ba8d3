"""Manifold edits in models: several sites, some steps of a generation, and training through them."""

from __future__ import annotations

import oracles
import pytest
import tiny
import torch

import steerlab as sl
from steerlab.bases import Shape, fit_manifold
from steerlab.edits import Replace, Toward, to_value
from steerlab.errors import SteerlabError

SITES = ("blocks.0.resid", "blocks.1.resid")
ENDLESS = {"eos_token_id": None, "pad_token_id": tiny.PAD, "max_new_tokens": 5}
NAMES = ("low", "middle", "high")


@pytest.fixture
def fits(held):
    """A manifold for each of two sites, through the means of three groups of tokens."""
    one = held("llama")
    found = one.model.capture(one.tiny.inputs, at=list(SITES))
    made = {}
    for at in SITES:
        x = found[at].reshape(-1, 32)[:9]
        shape = Shape("ordinal", names=NAMES)
        made[at] = fit_manifold(x, torch.arange(9) // 3, shape=shape, pca=4, facts={"site": at})
    return made


def test_each_site_gets_the_point_of_its_own_manifold(held, fits):
    one = held("llama")
    edits = to_value(fits, "high", tokens="last")
    before = one.model.capture(one.tiny.inputs, at=list(SITES))
    with one.model.edit(edits) as receipt:
        after = one.model.capture(one.tiny.inputs, at=list(SITES))
    for at in SITES:
        code = (after[at][0, -1].double() - fits[at].mean) @ fits[at].frame.T
        wanted = (fits[at].point("high") - fits[at].mean) @ fits[at].frame.T
        torch.testing.assert_close(code, wanted, atol=1e-5, rtol=0)
        across = torch.eye(32).double() - fits[at].frame.T @ fits[at].frame
        if at == SITES[0]:  # at the later site the rest is already another one
            kept = (before[at][0, -1] - after[at][0, -1]).double() @ across
            assert float(kept.abs().max()) < 1e-5
        assert receipt[at].fires == 1 and receipt[at].tokens == len(after[at])
    assert str(to_value(list(fits.values()), "high", tokens="last")) == str(edits)
    single = to_value(fits[SITES[1]], 2)
    assert list(single) == [SITES[1]] and isinstance(single[SITES[1]], Replace)


def test_toward_goes_a_part_of_the_way_and_past_the_value(held, fits):
    one, at = held("llama"), SITES[0]
    man = fits[at]
    own = man.encode(one.model.capture(one.tiny.inputs, at=at)[at].double())
    places = {}
    for amount in (0.5, 1.0, 1.5):
        with one.model.edit(to_value({at: man}, "high", how="toward", amount=amount)):
            after = one.model.capture(one.tiny.inputs, at=at)[at]
        places[amount] = man.encode(after.double())
    away = {amount: float((place - man.place("high")).abs().mean()) for amount, place in places.items()}
    start = float((own - man.place("high")).abs().mean())
    assert away[0.5] < 0.8 * start and away[1.0] < 0.3 * start
    # past the last value by about half the way it was short of it
    assert float((places[1.5] - places[1.0]).mean()) > 0.2 * float((man.place("high") - own).mean()) > 0


# name: tokens and begin, and the steps of 5 whose activation is written
WHEN = {
    "every step": ("last", 0, 5, 5),
    "the first step alone": ([-1], 0, 5, 1),
    "from the second new token on": ("generated[1:]", 0, 5, 3),
    "after two new tokens": ("last", 2, 3, 3),
}


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("how", ["replace", "toward"])
def test_a_generation_is_steered_at_the_steps_that_are_asked_for(held, fits, how, when):
    one, at = held("llama"), SITES[1]
    tokens, begin, fires, written = WHEN[when]
    edits = to_value({at: fits[at]}, "high", how=how, tokens=tokens)
    prompt = {"input_ids": one.tiny.inputs["input_ids"][:1]}
    spoken = one.model.generate(prompt, edit=edits, begin=begin, **ENDLESS)
    entry = spoken.receipt[at]
    assert (entry.fires, entry.tokens) == (fires, written) and entry.changed > 0
    # by hand: the same edit at the same steps of the same greedy loop
    edit, seen = edits[at].edit, [-1]

    def change(x: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        chosen = {"every step": True, "the first step alone": seen[0] == 0}.get(when, seen[0] >= 2)
        return torch.cat([x[:, :-1], edit(x[:, -1:])], 1) if chosen else x

    made = one.tiny
    with oracles.hooked(made, made.model, oracles.points(made)[at], change, 1):
        truth = made.model.generate(**prompt, do_sample=False, **ENDLESS)
    assert torch.equal(spoken.ids, truth)


def test_a_place_is_trained_through_a_model():
    made = tiny.tiny("gpt2")
    made.model.double().requires_grad_(False)
    model, at = sl.wrap(made.model), "blocks.1.resid"
    x = model.capture(made.inputs, at=at)[at].reshape(-1, 32)[:9]
    man = fit_manifold(x, torch.arange(9) // 3, shape=Shape("ordinal"), pca=4)
    place = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    optimiser, losses = torch.optim.SGD([place], lr=0.5), []

    def loss() -> torch.Tensor:
        return oracles.main(made.model(**made.inputs))[:, -1, 3].mean()

    with model.edit({at: Toward(man, place).on(tokens="last")}):
        for _ in range(3):
            optimiser.zero_grad()
            losses.append(loss())
            losses[-1].backward()
            slope = place.grad.clone()
            optimiser.step()
    assert losses[0] > losses[1] > losses[2] and slope.abs() > 1e-4


def test_what_cannot_be_steered_to_is_refused(fits):
    man = fits[SITES[0]]
    bare = fit_manifold(torch.randn(9, 4), torch.arange(9) // 3, shape=Shape("ordinal"))
    cases = [
        (lambda: to_value(man, "hihg"), "no value 'hihg'; did you mean 'high'"),
        (lambda: to_value(man, 1, how="replaec"), "did you mean 'replace'"),
        (lambda: to_value(man, 1, amount=2.0), "how='toward' takes an amount"),
        (lambda: to_value(bare, 1), "does not know its site"),
        (lambda: to_value([man, man], 1), "manifolds of different sites are needed"),
        (lambda: to_value({"blocks.0.resid": man.subspace}, 1), "blocks.0.resid: a manifold is needed"),
        (lambda: to_value({}, 1), "no manifold to steer along"),
    ]
    for ask, says in cases:
        with pytest.raises(SteerlabError, match=says):
            ask()
    assert isinstance(to_value(man, 1, how="toward")[SITES[0]], Toward)
