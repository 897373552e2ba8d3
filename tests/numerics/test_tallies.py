"""Statistics of codes by construction, and exact merging."""

from __future__ import annotations

import dataclasses
import functools

import planted
import pytest
import torch

from steerlab.numerics.tallies import CodeTally, tally

CODES = torch.tensor([[1.0, 0.0, -2.0], [3.0, 0.0, 2.0], [0.0, 0.0, -2.0], [0.0, 0.0, 2.0]])


def test_by_construction():
    got = tally(CODES)
    assert got.samples == 4
    assert got.l0 == 1.5  # negative codes count
    assert got.dead.tolist() == [False, True, False]
    assert got.mean.tolist() == [1.0, 0.0, 0.0]
    assert got.energy.tolist() == [2.5, 0.0, 4.0]
    assert got.active_mean.tolist() == [2.0, 0.0, 0.0]
    assert got.peak.tolist() == [3.0, 0.0, 2.0]
    torch.testing.assert_close(got.deviation, CODES.double().std(0, unbiased=False))


def test_top_k_codes_have_an_l0_of_k():
    codes = planted.sparse(50, 30, 4, planted.generator(0))
    assert tally(codes.reshape(5, 10, 30)).l0 == 4


def test_batches_give_what_one_pass_gives():
    codes = planted.sparse(100, 20, 3, planted.generator(1)) * planted.randn(100, 20, g=planted.generator(2))
    parts = [tally(part) for part in codes.split([1, 60, 39])]
    whole, merged = tally(codes), functools.reduce(CodeTally.merge, parts)
    for field in dataclasses.fields(CodeTally):
        a, b = getattr(merged, field.name), getattr(whole, field.name)
        torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-12, atol=1e-14)


def test_an_atom_is_alive_if_any_batch_fires_it():
    silent, firing = torch.zeros(3, 2), torch.tensor([[0.0, 1.0]])
    assert tally(silent).merge(tally(firing)).dead.tolist() == [True, False]
    with pytest.raises(ValueError, match="no codes"):
        tally(silent[:0])
