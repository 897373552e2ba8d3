"""Energies of factor pairs and modes: exact identities, and planted modes with their known shares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steerlab.numerics.anova import FactorMoments
from steerlab.numerics.modes import (
    data_modes,
    effective_ranks,
    factor_energies,
    factor_shares,
    head_types,
    mode_types,
    specialisation,
    weight_modes,
    within_energies,
)

PLACES, DIM, HEAD = 49, 64, 16


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def frame(dim: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(random(dim, dim, seed=seed))[0]


def planted(n: int = 200) -> tuple[torch.Tensor, ...]:
    """Tokens, and weights whose logit is ``4 C1 C2 + 3 P1 C4 + 2 P2 P3 + C3 P4``; the 12 directions."""
    axes = frame(DIM, 1).T[:12]
    functions = random(PLACES, 4, seed=2)
    functions = torch.linalg.qr(functions - functions.mean(0))[0] * PLACES**0.5
    content = random(n, PLACES, 8, seed=3)
    x = 5 * random(DIM, seed=4) + functions @ axes[:4] + content @ axes[4:]
    p, c, turn = axes[:4], axes[4:], frame(HEAD, 5)
    w_q, w_k = torch.zeros(2, HEAD, DIM, dtype=torch.float64)
    for row, (left, right, size) in enumerate(
        ((c[0], c[1], 4.0), (p[0], c[3], 3.0), (p[1], p[2], 2.0), (c[2], p[3], 1.0))
    ):
        w_q[row], w_k[row] = size * left, right
    return x, turn @ w_q, turn @ w_k, axes


@pytest.fixture(scope="module")
def truth():
    return planted()


def models(x, w_q, w_k):
    return [FactorMoments().update(x @ w.T).finalize() for w in (w_q, w_k)]


def test_energies_of_pairs_sum_to_that_of_all_logits():
    x, (w_q, w_k) = random(40, 25, 32), random(2, 8, 32, seed=1)
    q, k = x @ w_q.T + random(8, seed=2), x @ w_k.T + random(8, seed=3)
    query, key = (FactorMoments().update(one).finalize() for one in (q, k))
    every = [f + g for f in "MPC" for g in "MPC"]
    found = factor_energies(query, key, unbiased=False, pairs=every)
    logits = q.flatten(0, 1) @ k.flatten(0, 1).T
    assert float(sum(found.values())) == pytest.approx(float(logits.square().mean()), rel=1e-13)
    assert float(found["PC"]) == pytest.approx(
        float(((query.pos @ (k - key.mu - key.pos).flatten(0, 1).T).square()).mean()), rel=1e-12
    )


def test_modes_are_the_singular_vectors_of_all_logits():
    x, (w_q, w_k) = random(40, 25, 32), random(2, 8, 32, seed=1)
    q, k = x @ w_q.T + 2.0, x @ w_k.T - 1.0
    query, key = (FactorMoments().update(one).finalize() for one in (q, k))
    modes = data_modes(query, key)
    left, right = ((one - one.mean((0, 1))).flatten(0, 1) for one in (q, k))
    dense = np.linalg.svd((left @ right.T).numpy(), compute_uv=False)[:8]
    assert np.allclose(modes.sigma * 40 * 25, dense, rtol=1e-12) and modes.rank == 8
    readings = [left @ modes.a.T, right @ modes.b.T]
    assert torch.allclose((readings[0] * modes.sigma) @ readings[1].T, left @ right.T, atol=1e-11)
    for one in readings:
        assert torch.allclose(one.T @ one / 1000, torch.eye(8, dtype=torch.float64), atol=1e-12)
    both = (modes.sigma[:, None] * modes.b) @ modes.a.T
    assert torch.allclose(both, torch.eye(8, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(modes.kept(range(8)), torch.eye(8, dtype=torch.float64), atol=1e-12)
    sides = (modes.query_position, modes.key_position)
    position = [(m.pos.repeat(40, 1) @ v.T).square().mean(0) for m, v in ((query, modes.a), (key, modes.b))]
    assert all(torch.allclose(one, two, atol=1e-12) for one, two in zip(sides, position, strict=True))


def test_planted_shares_are_found(truth):
    query, key = models(*truth[:3])
    shares = factor_shares(factor_energies(query, key, unbiased=False))
    expected = {"CC": 16 / 30, "CP": 1 / 30, "PC": 9 / 30, "PP": 4 / 30}
    assert shares.tolist() == pytest.approx([0.530, 0.036, 0.299, 0.136], abs=0.012)
    assert shares.sum() == pytest.approx(1)
    honest = factor_shares(factor_energies(query, key))
    assert honest.tolist() == pytest.approx(list(expected.values()), abs=0.01)
    assert honest[1] < shares[1] and honest[3] < shares[3]  # the bias is always towards position
    assert head_types(shares[None]) == ["content"]
    three = np.array([shares[0], shares[1] + shares[2], shares[3]])
    assert float(specialisation(shares)) == pytest.approx(1 + (three * np.log(three)).sum() / np.log(3))


def test_planted_modes_are_found_in_the_basis_of_the_data(truth):
    modes = data_modes(*models(*truth[:3]))
    assert modes.rank == 4 and modes.sigma[4:].abs().max() == 0
    assert modes.sigma[:4].tolist() == pytest.approx([4.008, 2.984, 1.999, 0.999], abs=0.03)
    assert modes.query_position[:4].tolist() == pytest.approx([0.007, 0.999, 0.999, 0.005], abs=0.004)
    assert modes.key_position[:4].tolist() == pytest.approx([0.005, 0.006, 0.998, 1.000], abs=0.004)
    assert modes.types()[:4] == ["CC", "PC", "PP", "CP"]
    honest = data_modes(*models(*truth[:3]), unbiased=True)
    assert honest.query_position[:4].tolist() == pytest.approx([0, 1, 1, 0], abs=0.0025)
    ranks = effective_ranks(modes.sigma[:4])
    assert float(ranks["entropy"]) == pytest.approx(2.940, abs=0.02)


def test_planted_modes_are_found_exactly_in_the_basis_of_the_weights(truth):
    x, w_q, w_k, axes = truth
    modes = weight_modes(w_q, w_k, FactorMoments().update(x).finalize())
    assert modes.rank == 4 and modes.sigma[:4].tolist() == pytest.approx([4, 3, 2, 1], abs=1e-12)
    p, c = axes[:4], axes[4:]
    for side, truths in ((modes.a, (c[0], p[0], p[1], c[2])), (modes.b, (c[1], c[3], p[2], p[3]))):
        assert (side[:4] * torch.stack(truths)).sum(1).abs().tolist() == pytest.approx([1] * 4, abs=1e-12)
    assert torch.allclose((modes.sigma * modes.a.T) @ modes.b, w_q.T @ w_k, atol=1e-12)
    assert modes.types()[:4] == ["CC", "PC", "PP", "CP"]


def test_pairs_of_one_image_agree_with_pairs_of_all(truth):
    x, w_q, w_k, _ = truth
    query, key = models(x, w_q, w_k)
    found, left = within_energies(x @ w_q.T, x @ w_k.T, query, key)
    pooled = factor_shares(factor_energies(query, key, unbiased=False))
    assert factor_shares(found).tolist() == pytest.approx(pooled.tolist(), abs=2e-3)
    assert 1e-6 < abs(float(left)) < 5e-3


def test_effective_ranks_of_known_spectra():
    found = {name: float(value) for name, value in effective_ranks(torch.tensor([4.0, 3, 2, 1])).items()}
    assert found == pytest.approx(
        {"entropy": 2.940, "participation": 2.542, "stable": 1.875, "to 90 %": 3}, abs=6e-4
    )
    assert {float(v) for v in effective_ranks(torch.tensor([3.0, 0, 0])).values()} == {1.0}


def test_removing_a_mode_takes_its_term_out_of_every_logit(truth):
    x, w_q, w_k, _ = truth
    q, k = x[0] @ w_q.T, x[1] @ w_k.T
    modes = data_modes(*models(x, w_q, w_k))
    before, after = q @ k.T, (q @ modes.removal([1]).T) @ k.T
    term = modes.sigma[1] * (q @ modes.a[1])[:, None] * (k @ modes.b[1])
    assert torch.allclose(before - after, term, atol=1e-11) and term.abs().max() > 1


def test_signs_follow_the_largest_reading():
    modes = data_modes(*(FactorMoments().update(random(9, 5, 3, seed=s)).finalize() for s in (1, 2)))
    readings = random(20, 3, seed=7) @ modes.a.T
    far = readings.gather(0, readings.abs().argmax(0, keepdim=True))[0]
    signed = modes.signed(readings)
    assert torch.equal(signed.a, modes.a * far.sign()[:, None])
    assert torch.equal(signed.b, modes.b * far.sign()[:, None]) and (far < 0).any()


def test_types_leave_the_middle_open():
    sides = torch.tensor([[0.1, 0.2], [0.9, 0.3], [0.61, 0.95], [0.05, 0.65], [0.55, 0.0]])
    assert mode_types(*sides.T) == ["CC", "PC", "PP", "CP", "mixed"]
    shares = torch.tensor([[0.6, 0.2, 0.1, 0.1], [0.2, 0.3, 0.3, 0.2], [0.4, 0.1, 0.2, 0.3], [0, 0, 0, 1.0]])
    assert head_types(shares) == ["content", "content-position", "mixed", "position"]
    assert specialisation(shares)[3] == pytest.approx(1)
