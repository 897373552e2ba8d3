"""Couplings of planted spins, beside exact log odds, optimality and samples of a known Ising model."""

from __future__ import annotations

import math

import pytest
import torch
from planted_circle import planted_spins

from steerlab.numerics.communities import signed_cohesion
from steerlab.numerics.couplings import (
    cofiring,
    ising,
    magnitude_correlation,
    mutual_information,
    pseudo_likelihood,
)

TILE = ~torch.eye(8, dtype=torch.bool)


def test_planted_tiles_exclude_each_other_and_the_pair_attracts():
    fires = planted_spins()
    found = ising(fires, strength=1.0)
    assert bool((found.pairs[:8, :8][TILE] < -0.5).all())
    assert signed_cohesion(found.pairs, torch.arange(8)) == (-1.0, 0.0)
    assert signed_cohesion(found.pairs, torch.tensor([8, 9])) == (1.0, 1.0)
    a, b = fires[:, 8], fires[:, 9]
    odds = torch.logit(a[b].double().mean()) - torch.logit(a[~b].double().mean())
    assert float(found.pairs[8, 9]) == pytest.approx(float(odds) / 4, abs=0.03)
    assert float(found.pairs[8, 9]) == pytest.approx(1.69, abs=0.1)
    assert float(found.pairs[:8, 8:].abs().mean()) < 0.03  # nothing but chance


def test_couplings_solve_the_regressions():
    fires = planted_spins(4000, share=0.3)[:, [0, 1, 2, 8, 9]]
    strength = 0.05
    fine = ising(fires, strength=strength, steps=5000)
    # one regression by scipy, with slopes as differences of positive parts
    from scipy.optimize import minimize

    others = torch.cat([fires[:, :3], fires[:, 4:]], 1).double().numpy()
    sign = (2 * fires[:, 3].double() - 1).numpy()

    def objective(w):
        slopes = w[:4] - w[4:8]
        import numpy as np

        drive = sign * (others @ slopes + w[8])
        miss = -sign / (1 + np.exp(drive))
        slope = strength * (others.T @ miss)
        value = strength * np.logaddexp(0, -drive).sum() + w[:8].sum()
        return value, np.concatenate([slope + 1, 1 - slope, [strength * miss.sum()]])

    best = minimize(objective, [0.0] * 9, jac=True, bounds=[(0, None)] * 8 + [(None, None)], tol=1e-14)
    own = torch.tensor(best.x[:4] - best.x[4:8])
    # J is symmetrised: what is penalised to zero on one side is checked through the field
    assert float(fine.fields[3]) == pytest.approx(float(best.x[8] + own.sum() / 2) / 2, abs=1e-3)
    assert float(own[3]) / 4 == pytest.approx(float(fine.pairs[3, 4]), abs=0.05)


def test_couplings_of_a_known_ising_model_are_found_again():
    pairs = torch.zeros(4, 4, dtype=torch.float64)
    for i, j, value in ((0, 1, 0.8), (1, 2, -0.6), (2, 3, 0.3)):
        pairs[i, j] = pairs[j, i] = value
    fields = torch.tensor([0.2, -0.1, 0.0, -0.4], dtype=torch.float64)
    states = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4)
    energy = states @ fields + 0.5 * ((states @ pairs) * states).sum(1)
    generator = torch.Generator().manual_seed(0)
    drawn = states[torch.multinomial(energy.exp(), 100_000, replacement=True, generator=generator)]
    found = ising(drawn > 0, strength=10.0)
    torch.testing.assert_close(found.pairs, pairs, atol=0.02, rtol=0)
    torch.testing.assert_close(found.fields, fields, atol=0.02, rtol=0)
    # 0 and 2 hang together through 1 alone: they correlate, and are not coupled
    together = cofiring(drawn > 0)
    assert float(together[0, 2]) < float((drawn[:, 2] > 0).double().mean()) - 0.1
    assert abs(float(found.pairs[0, 2])) < 0.02
    drive = 2 * (fields + states @ pairs) * states
    exact = -float((energy.softmax(0)[:, None] * (1 + (-drive).exp()).log()).sum())
    assert pseudo_likelihood(found, drawn > 0) == pytest.approx(exact, abs=0.01)


def test_couplings_refuse_what_is_not_boolean():
    with pytest.raises(ValueError, match="booleans"):
        ising(torch.ones(3, 2))


def test_cofiring_counts_given_the_first_atom():
    fires = torch.tensor([[1, 1], [1, 0], [1, 0], [0, 1]], dtype=torch.bool)
    torch.testing.assert_close(cofiring(fires), torch.tensor([[1, 1 / 3], [0.5, 1]], dtype=torch.float64))


def test_magnitudes_of_tiles_have_no_correlation_rather_than_none():
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(2000, generator=generator)
    codes = torch.stack([base + 0.1, 2 * base + 1, torch.rand(2000, generator=generator)], 1)
    codes[:1000, 0] = 0.0
    codes[1000:, 2] = 0.0
    found = magnitude_correlation(codes)
    both = codes[1000:, :2].double()
    assert float(found[0, 1]) == pytest.approx(float(torch.corrcoef(both.T)[0, 1]), abs=1e-9)
    assert math.isnan(found[0, 2])
    assert float(found[1, 2]) == pytest.approx(
        float(torch.corrcoef(codes[:1000, 1:].double().T)[0, 1]), abs=1e-9
    )


def test_mutual_information_is_one_with_itself_and_none_between_strangers():
    generator = torch.Generator().manual_seed(0)
    codes = torch.rand(20_000, 3, generator=generator) * (torch.rand(20_000, 3, generator=generator) < 0.4)
    codes[:, 1] = codes[:, 0].square() * 5  # the same order, so the same bins
    found = mutual_information(codes)
    assert found.diagonal().tolist() == pytest.approx([1.0] * 3)
    assert float(found[0, 1]) == pytest.approx(1.0)
    assert 0 <= float(found[0, 2]) < 0.01
    # two values of equal chance and their copy with a quarter of errors: 1 - H(1/4) bits of one
    one = (torch.arange(8000) % 2).float()
    other = torch.where(torch.arange(8000) % 8 < 2, 1 - one, one)
    both = mutual_information(torch.stack([one, other], 1), bins=1)
    assert float(both[0, 1]) == pytest.approx(1 + 0.25 * math.log2(0.25) + 0.75 * math.log2(0.75), abs=1e-9)
