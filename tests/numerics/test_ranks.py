"""The three soft ranks: the worked example, planted ranks, noise, and an empty matrix."""

from __future__ import annotations

import pytest
import torch

from steerlab.numerics import ranks

ALL = [ranks.stable_rank, ranks.participation_ratio, ranks.entropy_rank]


@pytest.mark.parametrize(("rank", "expected"), list(zip(ALL, [1.875, 2.542, 2.940], strict=True)))
def test_the_worked_example_tells_the_three_apart_in_any_order_and_scale(rank, expected):
    spectra = torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 4.0, 3.0, 2.0], [4e30, 3e30, 2e30, 1e30]])
    assert rank(spectra).tolist() == pytest.approx([expected] * 3, abs=1e-3)
    assert rank(spectra).dtype == torch.float64


@pytest.mark.parametrize("rank", ALL)
def test_equal_orthogonal_directions_are_counted_and_rank_one_is_one(rank):
    generator = torch.Generator().manual_seed(0)
    rows, columns = (
        torch.linalg.qr(torch.randn(size, 6, generator=generator, dtype=torch.float64))[0]
        for size in (40, 24)
    )
    assert float(rank(torch.linalg.svdvals(3.0 * rows @ columns.T))) == pytest.approx(6, abs=1e-9)
    assert float(rank(torch.linalg.svdvals(torch.outer(rows[:, 0], columns[:, 0])))) == pytest.approx(1)
    assert bool(rank(torch.zeros(2, 3)).isnan().all())


def test_the_stable_rank_of_noise_and_of_a_common_mean():
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(256, 128, generator=generator, dtype=torch.float64)
    edge = 256 * 128 / (256**0.5 + 128**0.5) ** 2  # 43.9, the Marchenko-Pastur edge
    assert float(ranks.stable_rank(torch.linalg.svdvals(noise))) == pytest.approx(edge, rel=0.05)
    mean = torch.randn(128, generator=generator, dtype=torch.float64)
    assert float(ranks.stable_rank(torch.linalg.svdvals(mean + 0.22 * noise))) == pytest.approx(
        1.05, abs=0.02
    )
