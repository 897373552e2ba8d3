"""The jackknife's intervals: equal to the textbook's for a mean, and true as often as they say."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from steerlab.numerics.jackknife import jackknife


def test_for_a_mean_it_is_students_interval():
    x = torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left_out = torch.stack([torch.cat([x[:i], x[i + 1 :]]).mean() for i in range(12)])
    low, high = jackknife(x.mean(), left_out, level=0.9)
    expected = stats.t.interval(0.9, 11, loc=float(x.mean()), scale=float(x.std()) / 12**0.5)
    assert (float(low), float(high)) == pytest.approx(expected, rel=1e-12)


def test_it_holds_the_truth_as_often_as_it_says():
    x = torch.randn(10, 20, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    totals, squares = x.sum(1), x.square().sum(1)  # the variance, from chunks of 20
    left = (squares.sum(0) - squares) / 180 - ((totals.sum(0) - totals) / 180) ** 2
    whole = squares.sum(0) / 200 - (totals.sum(0) / 200) ** 2
    low, high = jackknife(whole, left)
    assert float(((low < 1) & (high > 1)).double().mean()) == pytest.approx(0.95, abs=0.025)
    with pytest.raises(ValueError, match="2 groups or more, and there are 1"):
        jackknife(whole, left[:1])
