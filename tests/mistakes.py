"""Mistakes for the tests of error messages: ways to make them, each a function without arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
from conftest import build

import steerlab as sl

Mistake = tuple[Any, ...]  # what was done, how the message starts, what else it says

EYE = torch.eye(7, dtype=torch.bool)
NOBODY = torch.zeros(7, dtype=torch.bool)
STREAMS = "(known: resid_pre, resid_mid, resid, attn, mlp, mlp.act, update, heads, q, k, v, "
WORDS = "(known: all, first, last, special, bos, eos, pad, word:...)"
WORDS_TO_GIVE = "give a word (all, first, last, special, bos, eos, pad, word:...), an index, a slice, "


def run(family: str, intervention: Any, processor: bool = True) -> None:
    """One forward of the tiny model under an intervention."""
    one = build(family)
    model = one.model if processor else sl.wrap(one.tiny.model)
    with model.edit(intervention), torch.no_grad():
        one.tiny.model(**one.tiny.inputs)


def at_resid(edit: Any, family: str = "llama", processor: bool = True) -> Callable[[], None]:
    return lambda: run(family, {"blocks.1.resid": edit}, processor)


def on(family: str = "llama", **scope: Any) -> Callable[[], None]:
    return lambda: run(family, {"blocks.1.resid": sl.Zero().on(**scope)})


def find(at: Any, family: str = "llama") -> Callable[[], None]:
    return lambda: build(family).model.sites(at)


def edit(intervention: Any, family: str = "llama") -> Callable[[], None]:
    return lambda: build(family).model.edit(intervention)


def read(at: Any, family: str = "llama", inputs: Any = None, **how: Any) -> Callable[[], None]:
    def call() -> None:
        one = build(family)
        one.model.capture(one.tiny.inputs if inputs is None else inputs, at, **how)

    return call


def without_processor(family: str, inputs: Any) -> Callable[[], None]:
    return lambda: sl.wrap(build(family).tiny.model).capture(inputs, "blocks.1.resid")


def compare(intervention: Any, **how: Any) -> Callable[[], None]:
    return lambda: build("llama").model.compare(build("llama").tiny.inputs, intervention, **how)


def sweep(interventions: Any, **how: Any) -> Callable[[], None]:
    def call() -> None:
        one = build("llama")
        one.model.sweep(one.tiny.inputs, interventions, progress=False, **how)

    return call


def wrap(make: Callable[[], Any], **how: Any) -> Callable[[], None]:
    return lambda: sl.wrap(make(), **how)


def llama() -> Any:
    return build("llama").tiny.model


class OneUsed(torch.nn.Module):
    """A module with a part that its forward never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


def unused() -> None:
    net = OneUsed()
    with sl.wrap(net).edit({"module:unused": sl.Zero()}):
        net(torch.ones(1, 2))


def no_forward() -> None:
    with build("llama").model.edit({"blocks.1.resid": sl.Zero()}):
        pass


def compiled(act: Callable[[sl.Model, Any], Any], part: str) -> Callable[[], None]:
    def call() -> None:
        made = tiny.tiny("llama")
        model = sl.wrap(made.model)
        made.model.get_submodule(part).compile()  # nothing is compiled before the first call
        act(model, made.inputs)

    return call


def entered_twice() -> None:
    context = build("llama").model.edit({"blocks.1.resid": sl.Zero()}, strict=False)
    with context, context:
        pass


def receipt_of_another_site() -> None:
    one = build("llama")
    with one.model.edit({"blocks.1.resid": sl.Zero()}) as receipt, torch.no_grad():
        one.tiny.model(**one.tiny.inputs)
    receipt["blocks.2.resid"]


def acts(family: str = "llama", at: Any = "blocks.*.resid") -> sl.Activations:
    return build(family).model.capture(build(family).tiny.inputs, at)


def check(mistake: Mistake) -> None:
    """The mistake is a SteerlabError that starts as told and says the rest."""
    act, start, *parts = mistake
    with pytest.raises(sl.SteerlabError) as caught:
        act()
    message = str(caught.value)
    assert message.startswith(start)
    for part in parts:
        assert part in message
