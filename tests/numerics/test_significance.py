"""Tests and the control of false discoveries, against scipy and by construction."""

from __future__ import annotations

import numpy as np
import planted
import pytest
import torch
from scipy import stats

from steerlab.numerics.significance import (
    adjusted,
    discoveries,
    paired_t_test,
    permutation_test,
    sign_test,
    welch_test,
)


@pytest.fixture
def groups():
    g = planted.generator(0)
    shift = torch.linspace(0, 3, 6).double()
    return planted.randn(25, 6, g=g) + shift, 2 * planted.randn(40, 6, g=g)


def test_the_paired_test_is_scipys():
    g = planted.generator(1)
    d = planted.randn(30, 5, g=g) + torch.linspace(0, 4, 5).double()
    t, p = paired_t_test(d)
    expected = stats.ttest_1samp(d.numpy(), 0)
    np.testing.assert_allclose(t.numpy(), expected.statistic, rtol=1e-10)
    np.testing.assert_allclose(p.numpy(), expected.pvalue, rtol=1e-8)  # down to 1e-20
    assert float(p.min()) < 1e-15


def test_the_sign_test_is_the_binomial_test_and_ties_say_nothing():
    d = torch.tensor([[1.0] * 9 + [-1.0] * 2 + [0.0] * 4, [1.0] * 5 + [-1.0] * 5 + [0.0] * 5, [0.0] * 15]).T
    expected = [stats.binomtest(2, 11).pvalue, 1.0, 1.0]
    np.testing.assert_allclose(sign_test(d).numpy(), expected, rtol=1e-12)


def test_the_unpaired_test_is_welchs(groups):
    t, p = welch_test(*groups)
    expected = stats.ttest_ind(groups[0].numpy(), groups[1].numpy(), equal_var=False)
    np.testing.assert_allclose(t.numpy(), expected.statistic, rtol=1e-10)
    np.testing.assert_allclose(p.numpy(), expected.pvalue, rtol=1e-8)


def test_features_that_never_vary_are_no_finding_unless_they_differ():
    silent, loud = torch.zeros(5, 1), torch.ones(5, 1)
    assert paired_t_test(silent)[1].item() == 1 and paired_t_test(loud)[1].item() == 0
    assert welch_test(silent, silent)[1].item() == 1 and welch_test(loud, silent)[1].item() == 0
    with pytest.raises(ValueError, match="two pairs or more, not 1"):
        paired_t_test(silent[:1])


def test_permutation_agrees_with_welch_where_both_hold(groups):
    p = permutation_test(*groups, rounds=1999)
    near = stats.ttest_ind(groups[0].numpy(), groups[1].numpy()).pvalue
    np.testing.assert_allclose(p.numpy()[:3], near[:3], atol=0.06)
    assert p[-1].item() == 1 / 2000  # never zero
    assert torch.equal(p, permutation_test(*groups, rounds=1999))
    assert permutation_test(torch.zeros(4, 1), torch.zeros(4, 1), rounds=9).item() == 1


def test_permutation_enumerates_a_tiny_case():
    # of the 20 ways to choose 3 of 6, two are as extreme as 1 2 3 against 4 5 6
    p = permutation_test(torch.tensor([[1.0], [2], [3]]), torch.tensor([[4.0], [5], [6]]), rounds=4000)
    assert p.item() == pytest.approx(0.1, abs=0.02)


def test_adjusted_values_are_scipys_and_bound_the_false_discoveries():
    p = planted.rand(50, g=planted.generator(2)) ** 3
    np.testing.assert_allclose(adjusted(p).numpy(), stats.false_discovery_control(p.numpy()), rtol=1e-12)
    by_hand = torch.tensor([0.01, 0.04, 0.03, 0.005])
    torch.testing.assert_close(adjusted(by_hand), torch.tensor([0.02, 0.04, 0.04, 0.02]).double())
    assert discoveries(by_hand, rate=0.03).tolist() == [True, False, False, True]
    g = planted.generator(3)
    null = sum(int(discoveries(planted.rand(100, g=g)).any()) for _ in range(200))
    assert null / 200 < 0.1  # of 200 studies without an effect about 5 % claim one
