"""Sparsity rules against independent numpy, and the values that are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steerlab.numerics import sparse

PRE = torch.randn(4, 6, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
RANK = torch.rand(24, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5


def strongest(row: np.ndarray, k: int, strength: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(row)
    for j in sorted(range(len(row)), key=lambda j: -strength[j])[:k]:
        kept[j] = row[j]
    return kept


def rows(rule) -> torch.Tensor:
    flat = PRE.reshape(-1, 24).numpy()
    return torch.from_numpy(np.stack([rule(row) for row in flat])).reshape(PRE.shape)


def test_jumprelu_needs_more_than_the_threshold_and_more_than_zero():
    threshold = torch.linspace(-1, 1, 24, dtype=torch.float64)
    expected = np.where((PRE.numpy() > threshold.numpy()) & (PRE.numpy() > 0), PRE.numpy(), 0)
    assert torch.equal(sparse.jumprelu(PRE, threshold), torch.from_numpy(expected))
    at = sparse.jumprelu(torch.tensor([0.5, 0.5001]), 0.5)
    assert at[0] == 0 and at[1] > 0


@pytest.mark.parametrize("k", (1, 5, 20))
def test_top_k_keeps_the_k_largest_positive_entries(k):
    expected = rows(lambda row: strongest(np.maximum(row, 0), k, np.maximum(row, 0)))
    assert torch.equal(sparse.top_k(PRE, k), expected)


def test_top_k_by_magnitude_keeps_signs():
    got = sparse.spread(*sparse.top_k_entries(PRE, 5, absolute=True), 24)
    assert torch.equal(got, rows(lambda row: strongest(row, 5, np.abs(row))))
    assert bool((got < 0).any())


def test_top_k_ranked_by_the_decoder_keeps_its_own_values():
    got = sparse.spread(*sparse.top_k_entries(PRE, 5, rank_by=RANK), 24)
    expected = rows(lambda row: strongest(np.maximum(row, 0), 5, np.maximum(row, 0) * RANK.numpy()))
    assert torch.equal(got, expected) and not torch.equal(got, sparse.top_k(PRE, 5))


def test_batch_top_k_and_its_threshold_give_k_codes_on_average_exactly():
    codes = sparse.batch_top_k(PRE, 3)
    assert int((codes != 0).sum()) == 3 * 24  # 4 x 6 rows
    threshold = sparse.batch_threshold(PRE, 3)
    assert torch.equal(torch.where(PRE >= threshold, PRE, 0), codes)
    assert not torch.equal((codes != 0).sum(-1), torch.full((4, 6), 3))  # rows differ


def test_gated_opens_by_one_path_and_measures_by_the_other():
    gate, magnitude = PRE, PRE.flip(-1)
    expected = np.where(gate.numpy() > 0, np.maximum(magnitude.numpy(), 0), 0)
    assert torch.equal(sparse.gated(gate, magnitude), torch.from_numpy(expected))


def test_group_max_keeps_the_largest_of_each_group():
    codes = sparse.group_max(PRE, 6).unflatten(-1, (6, 4))
    parts = PRE.relu().unflatten(-1, (6, 4))
    assert torch.equal(codes.amax(-1), parts.amax(-1)) and int((codes != 0).sum(-1).max()) == 1


def test_block_top_k_keeps_whole_blocks_with_their_signs():
    codes = sparse.block_top_k(PRE, 2, 4).unflatten(-1, (6, 4))
    length = PRE.unflatten(-1, (6, 4)).norm(dim=-1)
    kept = (codes != 0).any(-1)
    assert torch.equal(kept.sum(-1), torch.full((4, 6), 2)) and bool((codes < 0).any())
    assert bool((length[kept].reshape(4, 6, 2).amin(-1) >= length.masked_fill(kept, 0).amax(-1)).all())
    assert torch.equal(codes[kept], PRE.unflatten(-1, (6, 4))[kept])


@pytest.mark.parametrize(
    ("scores", "point"),
    [((0.5, 0.3, -1.0), (0.6, 0.4, 0.0)), ((2.0, 0.0, 0.0), (1.0, 0.0, 0.0)), ((0.0,) * 4, (0.25,) * 4)],
)
def test_sparsemax_has_the_known_values(scores, point):
    got = sparse.sparsemax(torch.tensor(scores, dtype=torch.float64))
    assert torch.allclose(got, torch.tensor(point, dtype=torch.float64), atol=1e-15)


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    point = sparse.sparsemax(PRE)
    assert torch.allclose(point.sum(-1), torch.ones(4, 6, dtype=torch.float64)) and bool((point >= 0).all())
    others = torch.distributions.Dirichlet(torch.full((24,), 0.3, dtype=torch.float64)).sample((500,))
    nearest = (PRE.reshape(-1, 1, 24) - others).norm(dim=-1).amin(-1)
    assert bool(((PRE - point).norm(dim=-1).reshape(-1) <= nearest).all())
