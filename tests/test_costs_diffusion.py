"""What an edit of one map adds to a denoising step, counted exactly: Python calls, never seconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from benchmarks.measure import python_calls
from denoising import generate

import steerlab as sl

WIDTH, PLACE = 32, "unet.mid.0"


def run(held, steps: int) -> Callable[[], object]:
    one = held("sdxl")
    return lambda: generate(one.tiny.model, one.tiny.inputs, num_inference_steps=steps)


def a_step(held, edit, at: str = f"{PLACE}.update") -> float:
    """Calls that an edit adds to each step of a run, beyond what it adds to the run."""
    added = []
    for steps in (4, 12):
        bare = run(held, steps)
        base = python_calls(bare)
        with held("sdxl").model.edit({at: edit}):
            added.append(python_calls(bare) - base)
    return (added[1] - added[0]) / 8


def test_an_edited_map_costs_at_most_36_calls_a_step(held):
    assert a_step(held, sl.Add(torch.ones(WIDTH))) <= 36


@pytest.mark.parametrize("scope", [{"branch": "cond"}, {"steps": "1:4", "branch": "cond"}], ids=str)
def test_an_edit_at_its_time_on_its_branch_costs_at_most_60_calls_a_step(scope, held):
    assert a_step(held, sl.Add(torch.ones(WIDTH)).on(**scope)) <= 60


def test_a_wrapped_pipeline_costs_not_one_call_more(held):
    bare = run(held, 2)
    one = held("sdxl")
    with one.model.edit({f"{PLACE}.update": sl.Add(torch.ones(WIDTH))}):
        bare()
    before = python_calls(bare)
    with one.model.edit({f"{PLACE}.update": sl.Add(torch.ones(WIDTH)).on(branch="cond")}):
        bare()
    assert python_calls(bare) == before
