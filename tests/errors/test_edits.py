"""What is said of an edit that cannot be: the culprit, what exists, and what to write instead."""

from __future__ import annotations

import pytest
import torch
from mistakes import EYE, NOBODY, acts, at_resid, check, edit, run

import steerlab as sl

FIT = "give [32], or a shape that broadcasts to the activation's"

# name: (what was done, how the message starts, what else it says)
MISTAKES = {
    "vector of another width": (
        at_resid(sl.Add(torch.ones(31))),
        f"blocks.1.resid: Add: a vector of shape [31] does not fit the activation [2, 7, 32]; {FIT}",
    ),
    "vector of whole numbers": (
        lambda: sl.Add(torch.ones(32, dtype=torch.long)),
        "Add: the vector holds torch.int64 numbers; it needs floating ones: .float()",
    ),
    "vector with NaN": (
        lambda: sl.Add(torch.tensor([1.0, float("nan")])),
        "Add: the vector: 1 of 2 entries are NaN or infinite",
    ),
    "text for a vector": (lambda: sl.Add("joy"), "Add: the vector is a tensor or a list of numbers, not str"),
    "strength that is no number": (
        lambda: sl.Add(torch.ones(2), "much"),
        "Add: strength='much' is not a number",
    ),
    "Replace from other inputs": (
        at_resid(sl.Replace(torch.zeros(2, 5, 32))),
        f"blocks.1.resid: Replace: a value of shape [2, 5, 32] does not fit the activation [2, 7, 32]; {FIT}",
    ),
    "Fn without return": (
        at_resid(sl.Fn(lambda x: None)),
        "blocks.1.resid: Fn: the function returned NoneType, not a tensor; does it return?",
    ),
    "Fn of another shape": (
        at_resid(sl.Fn(lambda x: x[:, :3])),
        "blocks.1.resid: Fn(<lambda>) returned [2, 3, 32] for an activation [2, 7, 32]",
    ),
    "Fn of no function": (lambda: sl.Fn(3), "Fn takes a function, not int"),
    "Project of a vector": (
        lambda: sl.Project(torch.ones(32)),
        "Project takes a basis, not Tensor; for one vector write Direction(vector)",
    ),
    "Zero of a vector": (
        lambda: sl.Zero(torch.ones(32)),
        "Zero takes a basis, not Tensor; for one vector write Direction(vector)",
    ),
    "Mean of one activation": (
        lambda: sl.Mean(torch.ones(5)),
        "Mean takes activations [batch, ...], not [5]",
    ),
    "Clamp without bounds": (lambda: sl.Clamp(), "Clamp needs a bound: low=, high= or both"),
    "Clamp with crossed bounds": (lambda: sl.Clamp(2, 1), "Clamp: low=2 is above high=1"),
    "Scale by no number": (lambda: sl.Scale("half"), "Scale: factor='half' is not a number"),
    "Chain of nothing": (lambda: sl.Chain([]), "Chain needs at least one edit"),
    "Chain of one edit": (lambda: sl.Chain(sl.Zero()), "Chain takes a list of edits: Chain([Zero()])"),
    "Chain of scoped edits": (
        lambda: sl.Chain([sl.Zero().on(tokens=0)]),
        "Chain takes edits, not Scoped: Zero().on(tokens=0); put a scope on the whole chain",
    ),
    "Mask of other inputs": (
        lambda: run("llama", {"blocks.1.scores": sl.Mask(torch.ones(5, 5).bool())}),
        (
            "blocks.1.scores: Mask of shape [5, 5] does not fit the scores [2, 4, 7, 7] (expected [7, 7], "
            "or with the axes"
        ),
    ),
    "Mask of other heads": (
        lambda: run("llama", {"blocks.1.scores": sl.Mask(torch.ones(3, 7, 7).bool())}),
        "blocks.1.scores: Mask of shape [3, 7, 7] does not fit the scores [2, 4, 7, 7]",
    ),
    "Mask that is not boolean": (
        lambda: sl.Mask(torch.ones(7, 7)),
        "Mask takes a boolean tensor (True may attend), not torch.float32",
    ),
    "Mask of one axis": (lambda: sl.Mask(NOBODY), "Mask takes [query, key] or more axes, not [7]"),
    "Mask that leaves no key": (
        lambda: sl.Mask(EYE & (torch.arange(7) > 1)),
        "Mask: 2 queries keep no key at all; every query needs at least one",
    ),
    "Mask at pattern": (
        edit({"blocks.1.pattern": sl.Mask(EYE)}),
        "blocks.1.pattern: Mask(tensor[7, 7]) edits scores; put it at blocks.1.scores",
    ),
    "Mask at resid": (
        edit({"blocks.1.resid": sl.Mask(EYE)}),
        "blocks.1.resid: Mask(tensor[7, 7]) edits scores; put it at blocks.1.scores",
    ),
    "Mask in a chain at resid": (
        edit({"blocks.1.resid": sl.Chain([sl.Mask(EYE)])}),
        "blocks.1.resid: Chain([Mask(tensor[7, 7])]) edits scores; put it at blocks.1.scores",
    ),
    "Mask.radius on text": (
        lambda: sl.Mask.radius(acts().map_of("blocks.1.resid"), 1.0),
        "patches, frames and regions need a grid: the inputs of this model are not images",
    ),
    "Mask.spatial on an image": (
        lambda: sl.Mask.spatial(acts("vit").map_of("blocks.1.resid")),
        "a temporal or spatial mask needs a video; the grid here is (4, 4)",
    ),
    "NaN made by an edit": (
        at_resid(sl.Fn(lambda x: x / 0)),
        "blocks.1.resid: Fn(<lambda>) made values that are NaN or infinite",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_says_what_was_asked_what_exists_and_what_to_write(name):
    check(MISTAKES[name])


def test_an_exception_of_the_users_function_keeps_its_type_and_names_the_site():
    with pytest.raises(ZeroDivisionError) as caught:
        run("llama", {"blocks.1.resid": sl.Fn(lambda x: x * (1 // 0))})
    assert caught.value.__notes__ == [
        "in Fn(<lambda>) at blocks.1.resid, on an activation [2, 7, 32] (batch, token, dim)"
    ]
