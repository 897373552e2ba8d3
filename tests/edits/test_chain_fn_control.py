"""Chain applies in order, Fn applies anything, RandomControl moves as far in a random direction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edit_references import HALVES, VECTOR, X, assert_equals

import steerlab as sl


def test_a_chain_applies_its_edits_in_order():
    chain = sl.Chain([sl.Add(VECTOR), sl.Scale(2.0), sl.Clamp(-1.0, 1.0)])
    assert torch.equal(chain(X), (2 * (X + VECTOR)).clamp(-1, 1))
    assert not torch.allclose(chain(X), sl.Chain([sl.Scale(2.0), sl.Add(VECTOR)])(X))


def test_a_chain_belongs_where_its_links_do():
    mask = sl.Mask(torch.ones(2, 2, dtype=torch.bool))
    assert sl.Chain([sl.Scale(2.0), mask]).streams == ("scores",)
    assert sl.Chain([sl.Chain([mask])]).streams == ("scores",)
    assert sl.Chain([sl.Scale(2.0)]).streams == ()


def test_fn_is_the_function():
    assert_equals(sl.Fn(lambda x: x.double().tanh().to(x.dtype)), np.tanh)


def test_a_function_that_writes_in_place_writes_on_a_copy():
    kept = X.clone()
    assert bool((sl.Fn(lambda x: x.zero_())(X) == 0).all())
    assert torch.equal(X, kept)


def test_fn_prints_the_name_of_its_function():
    assert repr(sl.Fn(torch.tanh)) == "Fn(tanh)"


@pytest.mark.parametrize("edit", [sl.Zero(), sl.Add(VECTOR, 3.0), sl.Remove(sl.Direction(VECTOR))], ids=repr)
def test_a_control_moves_every_entry_as_far_as_its_edit(edit):
    length = (edit(X.double()) - X.double()).norm(dim=-1)
    control = sl.RandomControl(edit, 5)(X.double()) - X.double()
    torch.testing.assert_close(control.norm(dim=-1), length, rtol=1e-6, atol=0)


def test_a_control_moves_all_entries_in_one_direction_that_its_seed_decides():
    step = sl.RandomControl(sl.Scale(0.0), 5)(X) - X
    unit = step / step.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(unit, unit[:1, :1].expand_as(unit), rtol=1e-4, atol=1e-5)
    assert torch.equal(sl.RandomControl(sl.Zero(), 5)(X), sl.RandomControl(sl.Zero(), 5)(X))
    assert not torch.allclose(sl.RandomControl(sl.Zero(), 5)(X), sl.RandomControl(sl.Zero(), 6)(X))


@pytest.mark.parametrize("dtype", HALVES)
def test_a_control_of_no_change_changes_no_bit(dtype):
    assert torch.equal(sl.RandomControl(sl.Scale(1.0))(X.to(dtype)), X.to(dtype))
