"""Rank correlation against scipy, and shared tops by hand."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch

from steerlab.atoms.agreement import ranks, shared_top, spearman


def test_rank_correlation_is_scipys_with_ties_and_without():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(50, generator=g), torch.randn(50, generator=g)
    for first, second in ((a, b), (a.round(), b), (a.round(), b.round())):
        expected = scipy.stats.spearmanr(first.numpy(), second.numpy()).statistic
        assert spearman(first, second) == pytest.approx(float(expected), abs=1e-12)
    assert ranks(torch.tensor([3.0, 1.0, 3.0])).tolist() == [1.5, 0.0, 1.5]
    assert math.isnan(spearman(a, torch.ones(50)))


def test_the_shared_top_counts_the_strongest_tenth_of_either_sign():
    a = torch.arange(20.0)
    b = torch.zeros(20)
    b[[19, 3]] = torch.tensor([-9.0, 5.0])
    assert shared_top(a, b) == 0.5  # 18 and 19 beside 19 and 3
    assert shared_top(a, -a) == 1 and shared_top(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])) == 0
