"""Description length against closed forms, a Gaussian's own rate, and the figures of the paper's setting."""

from __future__ import annotations

import math

import pytest
import torch

from steerlab.numerics.description import (
    BlockMoments,
    description_length,
    dictionary_bits,
    gathered,
    rate,
    support_bits,
)
from steerlab.numerics.ranks import fullness


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("blocks", "active", "size", "together", "apart"),
    [(8192, 16, 4, 163.7, 663.9), (4096, 32, 3, 266.2, 805.3)],
)
def test_a_support_of_blocks_is_cheaper_than_one_of_their_atoms(blocks, active, size, together, apart):
    assert support_bits(blocks, active) == pytest.approx(together, abs=0.05)
    assert support_bits(blocks * size, active * size) == pytest.approx(apart, abs=0.05)
    assert support_bits(10, 3) == pytest.approx(math.log2(math.comb(10, 3)))


def test_the_dictionary_costs_little_where_many_share_it():
    assert dictionary_bits(8192, 3, 768, 1e8) == pytest.approx(2.5, abs=0.05)


def test_both_rates():
    variance = torch.tensor([0.5, 1.0, 15.0])
    assert rate(variance, 1.0).tolist() == pytest.approx([0.2925, 0.5, 2.0], abs=1e-4)
    assert rate(variance, 1.0, smooth=False).tolist() == pytest.approx([0, 0, 0.5 * math.log2(15)], abs=1e-6)


@pytest.mark.parametrize(
    ("spectrum", "ranks"),
    [((1.0, 1, 1, 0), (3, 3, 3)), ((4.0, 2, 1, 1), (2.0, 2.909, 3.364))],
)
def test_fullness_of_known_spectra(spectrum, ranks):
    found = fullness(torch.tensor(spectrum))
    assert [
        float(found[name]) for name in ("stable rank", "participation", "effective rank")
    ] == pytest.approx(ranks, abs=1e-3)
    assert float(found["utilisation"]) == pytest.approx(ranks[2] / 4, abs=1e-3)


def test_every_term_of_a_planted_code():
    """Two orthonormal planes; one fires in a quarter of the rows, with variances 4 and 1."""
    atoms = torch.eye(6, dtype=torch.float64)[:4]
    codes = torch.zeros(40000, 4, dtype=torch.float64)
    codes[:10000, :2] = 7 + random(10000, 2) * torch.tensor([2.0, 1.0], dtype=torch.float64)
    codes[10000:, 2:] = random(30000, 2, seed=1)
    noise = 0.1 * random(40000, 6, seed=2)
    rows = codes @ atoms + noise
    moments = BlockMoments(atoms, 2)
    batches = zip(rows.split(7000), codes.split(7000), (codes @ atoms).split(7000), strict=True)
    gathered(moments, batches)
    assert torch.allclose(moments.spectra(), torch.tensor([[4.0, 1], [1, 1]], dtype=torch.float64), atol=0.15)
    assert float(moments.spectra(centred=False)[0, 0]) == pytest.approx(100.5, rel=0.03)  # 2 * 49 + ...
    assert moments.variance == pytest.approx(float(rows.var(0, correction=0).mean()))
    delta = 0.1 * moments.variance
    found = description_length(moments, 1, share=0.1, rows=1e6)
    assert found.support == pytest.approx(1.0)
    by_hand = sum(p * 0.5 * math.log2(1 + v / delta) for p, v in [(0.25, 4), (0.25, 1), (0.75, 1), (0.75, 1)])
    assert found.code == pytest.approx(by_hand, rel=0.02)
    assert found.residual == pytest.approx(6 * 0.5 * math.log2(1 + 0.01 / delta), rel=0.02)
    assert found.dictionary == pytest.approx(0.5 * 2 * 2 * 4 / 1e6 * math.log2(1e6))
    assert found.total == pytest.approx(found.support + found.code + found.residual + found.dictionary)
    exact = description_length(moments, 1, share=0.1, rows=1e6, smooth=False)
    assert exact.residual == 0 and exact.code < found.code


def test_a_gauge_changes_no_bit():
    """The same contributions in rotated and in stretched coordinates."""
    atoms = torch.linalg.qr(random(8, 4))[0].T.contiguous()
    codes = random(3000, 4, seed=1) * torch.tensor([3.0, 1, 2, 0.5], dtype=torch.float64)
    turn = torch.linalg.qr(random(2, 2, seed=2))[0]
    stretch = torch.diag(torch.tensor([5.0, 0.2], dtype=torch.float64)) @ turn
    for change in (turn, stretch):
        other = torch.cat([atoms[:2], change @ atoms[2:]])
        moved = torch.cat([codes[:, :2], codes[:, 2:] @ torch.linalg.inv(change)], 1)
        lengths = []
        for a, z in ((atoms, codes), (other, moved)):
            moments = BlockMoments(a, 2)
            moments.add(codes @ atoms, z, z @ a)
            lengths.append(description_length(moments, 2))
        assert lengths[0].total == pytest.approx(lengths[1].total, abs=1e-9)
