"""The tiny models, built once a session; every test that takes one leaves it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import oracles
import pytest
import snapshots
import tiny
import torch

import steerlab as sl

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    # numpy 2 warns of torch tensors in diffusers' schedulers, which neither side of ours can change
    config.addinivalue_line(
        "filterwarnings", "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    )


@dataclass(frozen=True)
class Held:
    """A tiny model and the same model held by steerlab."""

    tiny: tiny.Tiny
    model: sl.Model
    before: dict[str, Any]


_BUILT: dict[str, Held] = {}


def build(family: str) -> Held:
    if family not in _BUILT:
        made = tiny.tiny(family)
        model = sl.wrap(made.model, made.tokenizer)
        oracles.bare(
            made
        )  # transformers' recorders come at the first call that wants hidden states, and stay
        _BUILT[family] = Held(made, model, snapshots.snapshot(made.model))
    return _BUILT[family]


@pytest.fixture
def held() -> Iterator[Callable[[str], Held]]:
    """Families by name; after the test each of them must be as it was built."""
    used: dict[str, Held] = {}

    def take(family: str) -> Held:
        used[family] = build(family)
        return used[family]

    yield take
    for family, one in used.items():
        left = snapshots.differences(one.before, snapshots.snapshot(one.tiny.model))
        if left:
            del _BUILT[family]  # the next test gets a new one
        assert not left, f"the test left {family} changed:\n" + "\n".join(left[:8])
