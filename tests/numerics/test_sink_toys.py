"""Heads trained to write nothing, or to tell everybody the same, and what single edits show of them."""

from __future__ import annotations

import pytest
import torch
from sink_toys import Head, Silent, Telling, trained

from steerlab.numerics.sink_classes import CLASSES, sink_classes
from steerlab.numerics.sink_values import (
    head_grams,
    projected_norms,
    roots,
    sink_ratio,
    update_shape,
    value_correction,
)
from steerlab.numerics.sinks import column_facts, counted, dominant, no_sums, operational, queries_of

INPUTS = 256


def measured(head: Head) -> dict[str, torch.Tensor]:
    """The numbers of the head's last call, ``[input]`` each."""
    pattern = head.pattern[:, None]
    real = torch.ones(pattern.shape[0], pattern.shape[2], dtype=torch.bool)
    place, mass = dominant(no_sums(pattern, False).added(pattern, 0), queries_of(real, False))
    on = counted(place, real, False)
    column = pattern.gather(3, place[..., None, None].expand(*pattern.shape[:3], 1))[..., 0]
    grams = head_grams(head.out.weight, 1)
    ratio = sink_ratio(projected_norms(head.values[:, None], grams), place, real)
    shape = update_shape(pattern @ head.values[:, None], on, roots(grams).float())
    facts = column_facts(column, on)
    event = operational(facts.routed[0])
    kind = sink_classes(event, ratio, shape.stable_rank)
    found = {"place": place, "mass": mass, "ratio": ratio, "rank": shape.stable_rank, "kind": kind}
    found |= {"routed": facts.routed[0], "subset": facts.subset_mass}
    return {name: one[:, 0] for name, one in found.items()}


def rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())


def edited(head: Head, place: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The head's change where the value at `place` becomes another, ``[input, token, dim]``."""
    rows = torch.arange(len(place))
    return head.out(value_correction(head.pattern[rows, :, place], value - head.values[rows, place]))


@pytest.fixture(scope="module")
def silent():
    toy = trained(Silent, 900, rate=3e-3, batch=96)
    torch.manual_seed(1)
    x = toy.draw(INPUTS)
    return toy, x, toy.active(x), toy(x)


def test_the_silent_head_parks_what_it_leaves_alone_on_a_token_without_a_value(silent):
    toy, x, active, output = silent
    paid = toy.head.pattern[:, 1:, 0]
    still = ~active[:, 1:]
    assert float(paid[still].mean() - paid[~still].mean()) > 0.8
    target = x.masked_fill(active[..., None], 0.0)
    assert float((output - target)[:, 1:].square().mean()) < 0.1 * float(x[:, 1:].square().mean())
    found = measured(toy.head)
    assert float((found["place"] == 0).float().mean()) > 0.95
    assert float(found["ratio"][found["place"] == 0].max()) < 0.1
    # half of the queries are routed: none by the rule of 90 %, a no-op by the mode for a subset
    assert float((found["kind"] == CLASSES.index("none")).float().mean()) > 0.9
    subset = sink_classes(operational(found["routed"], 0.2), found["ratio"], found["rank"])
    assert float((subset == CLASSES.index("no-op")).float().mean()) > 0.9
    assert float(found["subset"].mean()) > 0.85


def test_only_an_ordinary_value_breaks_the_silence(silent):
    toy, x, active, _ = silent
    toy(x)
    head, still = toy.head, ~active[:, 1:]
    null = torch.zeros(INPUTS, dtype=torch.long)
    zero = edited(head, null, torch.zeros(INPUTS, x.shape[2]))[:, 1:][still]
    ordinary = edited(head, null, head.values[:, 5].roll(-1, 0))[:, 1:][still]
    assert rms(zero) < 0.05 and rms(ordinary) > 0.8
    donor = edited(head, null, head.values[:, 0].roll(-1, 0))
    assert rms(donor) < 1e-6  # its value does not depend on the input, so that this edit says nothing here


@pytest.fixture(scope="module")
def telling():
    toy = trained(Telling, 500, rate=3e-3, batch=96)
    torch.manual_seed(1)
    x = toy.draw(INPUTS)
    return toy, x, toy.middle(x)


def test_the_telling_head_looks_at_the_token_that_it_is_to_tell_of(telling):
    toy, x, middle = telling
    assert float((toy(x) - x - toy.payload(x)[:, None]).square().mean()) < 0.25
    toy.second(middle)
    found, chosen = measured(toy.second.head), toy.chosen(x)
    right = found["place"] == chosen
    assert float(right.float().mean()) > 0.85
    assert 0.6 < float(found["ratio"][right].median()) < 1.7
    events = found["kind"] > 0
    assert float(events.float().mean()) > 0.5
    assert float((found["kind"][events] == CLASSES.index("broadcast")).float().mean()) > 0.9


def test_a_donors_value_carries_its_payload_in_the_second_layer(telling):
    toy, x, middle = telling
    head = toy.second.head
    base = toy.second(middle)
    place, rows = measured(head)["place"], torch.arange(INPUTS)
    own = head.values[rows, place]
    update = head(middle)

    def output(at: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return toy.second.after(middle, update + edited(head, at, value))

    def loss(y: torch.Tensor, payload: torch.Tensor) -> float:
        return float((y - x - payload[:, None]).square().mean())

    payload = toy.payload(x)
    moved = output(place, own.roll(-1, 0))
    step, wanted = (moved - base).mean(1), payload.roll(-1, 0) - payload
    assert float(torch.cosine_similarity(step, wanted, dim=1).mean()) > 0.9
    assert loss(moved, payload.roll(-1, 0)) < 0.35 * loss(base, payload.roll(-1, 0))
    nothing = torch.zeros_like(own)
    other = (place + 3) % x.shape[1]
    assert loss(output(place, nothing), payload) > 3 * loss(base, payload)
    assert loss(output(other, nothing), payload) < 1.2 * loss(base, payload)
    # every recipient is given the same, as far as it looks
    change = edited(head, place, own.roll(-1, 0))
    singular = torch.linalg.svdvals(change)
    assert float((singular[:, 0].square() / singular.square().sum(1)).min()) > 0.9999
