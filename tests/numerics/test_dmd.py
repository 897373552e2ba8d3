"""Modes along depth: planted eigenvalues, the map of the ends, and where truncation drops what is small."""

from __future__ import annotations

import cmath

import pytest
import torch

from steerlab.numerics.affine import PairMoments, pair_moments
from steerlab.numerics.dmd import endpoint, fit_modes

PLANTED = [0.95 * cmath.exp(0.3j), 0.95 * cmath.exp(-0.3j), 0.8 * cmath.exp(1j), 0.8 * cmath.exp(-1j)]


def turning(value: complex) -> torch.Tensor:
    return torch.tensor([[value.real, -value.imag], [value.imag, value.real]], dtype=torch.float64)


def planted(rows: int = 60, noise: float = 0.0) -> tuple[list[torch.Tensor], torch.Tensor]:
    """States ``[rows, 32]`` along 6 steps, and the step inside the four dimensions that hold them."""
    generator = torch.Generator().manual_seed(0)
    step = torch.block_diag(turning(PLANTED[0]), turning(PLANTED[2]))
    embedding = torch.randn(4, 32, generator=generator, dtype=torch.float64)
    inner = [torch.randn(rows, 4, generator=generator, dtype=torch.float64)]
    for _ in range(6):
        inner.append(inner[-1] @ step.T)
    dust = [noise * torch.randn(rows, 32, generator=generator, dtype=torch.float64) for _ in inner]
    return [x @ embedding + d for x, d in zip(inner, dust, strict=True)], embedding


def moments(path: list[torch.Tensor]) -> PairMoments:
    steps = [pair_moments(a, b) for a, b in zip(path, path[1:], strict=False)]
    return sum(steps[1:], steps[0])


def by_size(values) -> list[complex]:
    return sorted((complex(value) for value in values), key=lambda z: (-round(abs(z), 6), z.imag))


@pytest.mark.parametrize("rank", [4, None])
def test_planted_eigenvalues_come_back_to_eight_digits(rank):
    modes = fit_modes(moments(planted()[0]), rank=rank)
    assert by_size(modes.eigenvalues()) == pytest.approx(by_size(PLANTED), abs=1e-8)


def test_powers_follow_the_path_and_equal_the_map_of_the_ends_where_the_step_is_linear():
    path, _ = planted()
    modes = fit_modes(moments(path), rank=4)
    for steps in (1, 3, 6):
        assert torch.allclose(path[0] @ modes.power(steps), path[steps], atol=1e-8)
    ends = endpoint(pair_moments(path[0], path[6]))
    assert torch.allclose(path[0] @ ends, path[6], atol=1e-8)


def test_truncation_and_ridge_do_what_they_say():
    path, embedding = planted(noise=1e-3)
    kept = fit_modes(moments(path), rank=4)
    assert by_size(kept.eigenvalues()) == pytest.approx(by_size(PLANTED), abs=5e-3)
    inside = torch.linalg.qr(embedding.T)[0]
    assert float((inside.T @ kept.basis).square().sum()) == pytest.approx(4, abs=1e-3)
    shrunk = fit_modes(moments(path), rank=4, ridge=100.0)
    assert float(shrunk.eigenvalues().abs().max()) < 0.9 * float(kept.eigenvalues().abs().max())
    with pytest.raises(ValueError, match="zero"):
        fit_modes(pair_moments(torch.zeros(3, 2), torch.zeros(3, 2)))
