"""Sparse inference on a known dictionary: what each search recovers, and what a one-shot encoder does not."""

from __future__ import annotations

import math

import pytest
import torch

from steerlab.numerics import sparse
from steerlab.numerics.pursuit import fista, matching_pursuit, refit

F64 = torch.float64


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def planted(n: int, k: int, samples: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes with k entries U(0, 1), Gaussian unit atoms in ``2 k ln(n / k)`` dimensions, and the data."""
    generator = torch.Generator().manual_seed(seed)
    dim = math.ceil(2 * k * math.log(n / k))
    atoms = unit(torch.randn(n, dim, generator=generator, dtype=F64))
    index = torch.rand(samples, n, generator=generator).topk(k).indices
    codes = torch.zeros(samples, n, dtype=F64).scatter(
        1, index, torch.rand(samples, k, generator=generator, dtype=F64)
    )
    return codes, atoms, codes @ atoms


def mcc(true: torch.Tensor, found: torch.Tensor) -> float:
    """Mean correlation of every code with its own estimate; the atoms are known, so they are matched."""
    centred = [z - z.mean(0) for z in (true, found)]
    along = (centred[0] * centred[1]).sum(0)
    return float((along / (centred[0].norm(dim=0) * centred[1].norm(dim=0)).clamp_min(1e-12)).mean())


def test_pursuit_on_orthonormal_atoms_is_exact_in_as_many_steps_as_there_are_codes():
    atoms = torch.linalg.qr(random(32, 32)).Q
    codes = torch.zeros(20, 32, dtype=F64).scatter(1, torch.rand(20, 32).topk(5).indices, random(20, 5).abs())
    assert (matching_pursuit(codes @ atoms, atoms, 5) - codes).abs().max() < 1e-12


def test_pursuit_leaves_a_shrinking_residual_orthogonal_to_its_last_atom():
    atoms, x = unit(random(256, 32, seed=3)), random(200, 32, seed=1)
    relative, before = [], None
    for steps in range(1, 41):
        codes = matching_pursuit(x, atoms, steps)
        residual = x - codes @ atoms
        if before is not None:
            assert bool((residual.norm(dim=-1) <= before[1].norm(dim=-1)).all())
            last = (codes - before[0]).abs().argmax(-1)
            assert (residual * atoms[last]).sum(-1).abs().max() < 1e-13
        before = codes, residual
        relative.append(float((residual.norm(dim=-1) / x.norm(dim=-1)).mean()))
    # 1.7: .573 / .362 / .161 / .040 at 5 / 10 / 20 / 40 steps on other random atoms
    for steps, expected in ((5, 0.573), (10, 0.362), (20, 0.161), (40, 0.040)):
        assert relative[steps - 1] == pytest.approx(expected, rel=0.12)


def test_pursuit_divides_by_the_squared_length_of_atoms_that_are_not_unit():
    atoms, x = unit(random(64, 16)), random(10, 16, seed=2)
    plain, stretched = (matching_pursuit(x, a, 8) for a in (atoms, 2 * atoms))
    assert torch.allclose(stretched, plain / 2, atol=1e-13)
    assert bool((stretched @ (2 * atoms) - x).norm(dim=-1).le(x.norm(dim=-1)).all())


def test_nonnegative_pursuit_never_goes_below_zero_and_stops_at_its_tolerance():
    atoms, x = unit(random(64, 16)), random(10, 16, seed=2)
    assert bool((matching_pursuit(x, atoms, 60, nonnegative=True) >= 0).all())
    away = -2 * atoms[:1]  # the only atom points the other way
    assert matching_pursuit(away, atoms[:1], 1)[0, 0] == pytest.approx(-2)
    assert matching_pursuit(away, atoms[:1], 1, nonnegative=True)[0, 0] == 0
    early = matching_pursuit(x, atoms, 60, tolerance=1.0)
    left = (x - early @ atoms).norm(dim=-1)
    assert bool((left <= 1).all()) and float(left.mean()) > 0.5


def test_fista_finds_the_planted_codes_and_one_shot_encoders_do_not():
    codes, atoms, x = planted(100, 10, 600)
    assert atoms.shape[1] == 47
    strict, loose = fista(x, atoms, 0.1), fista(x, atoms, 0.03)
    assert mcc(codes, strict) == pytest.approx(0.985, abs=0.008) and mcc(codes, loose) >= 0.997
    one_shot = sparse.top_k(x @ atoms.T, 10)
    assert mcc(codes, one_shot) <= 0.80 and mcc(codes, (x @ atoms.T).relu()) <= 0.80
    pursued = matching_pursuit(x, atoms, 10)
    assert mcc(codes, one_shot) < mcc(codes, pursued) < mcc(codes, loose)
    assert mcc(codes, refit(x, atoms, loose)) >= 0.998


def test_fista_meets_the_conditions_of_its_optimum():
    _, atoms, x = planted(100, 10, 20)
    codes = fista(x, atoms, 0.1, steps=3000)
    slope = (x - codes @ atoms) @ atoms.T
    assert float(slope.max()) <= 0.1 + 1e-3
    assert float((slope[codes > 1e-6] - 0.1).abs().max()) < 1e-3
    assert torch.allclose(fista(x, atoms, 0.1, steps=50, start=codes), codes, atol=1e-3)
