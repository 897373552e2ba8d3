"""Communities beside networkx, the exact best partition of a small graph, and indices by hand."""

from __future__ import annotations

import itertools

import networkx
import pytest
import torch

from steerlab.numerics.communities import agreement, communities, modularity, persistence, signed_cohesion


def planted_graph(count: int, groups: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, count, generator=generator, dtype=torch.float64)
    truth = torch.arange(count) % groups
    weights = (noise + noise.T) / 2 + 0.3 * (truth[:, None] == truth)
    return torch.where(weights > 0.55, weights, 0.0).fill_diagonal_(0.0), truth


def test_planted_groups_are_found_as_networkx_finds_them():
    weights, truth = planted_graph(80, 4, seed=0)
    labels = communities(weights)
    graph = networkx.from_numpy_array(weights.numpy())
    theirs = networkx.community.louvain_communities(graph, seed=0)
    assert modularity(weights, labels) == pytest.approx(
        networkx.community.modularity(graph, theirs), abs=1e-9
    )
    assert agreement(labels, truth) == 1.0
    assert torch.bincount(labels).tolist() == [20, 20, 20, 20]


def test_a_small_graph_gets_its_best_partition():
    weights, _ = planted_graph(7, 2, seed=3)
    everything = itertools.product(range(3), repeat=7)
    best = max(modularity(weights, torch.tensor(labels)) for labels in everything)
    found = max(modularity(weights, communities(weights, seed=seed)) for seed in range(5))
    assert found == pytest.approx(best, abs=1e-12)
    assert modularity(weights, torch.zeros(7, dtype=torch.long)) == pytest.approx(0, abs=1e-12)


def test_groups_are_numbered_by_size_and_lonely_nodes_are_alone():
    weights = torch.zeros(6, 6)
    weights[:3, :3] = weights[4:, 4:] = 1.0
    assert communities(weights).tolist() == [0, 0, 0, 2, 1, 1]
    assert communities(torch.zeros(3, 3)).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="0 or more"):
        communities(-weights)


def test_resolution_splits():
    weights, _ = planted_graph(40, 2, seed=1)
    assert int(communities(weights, resolution=3.0).max()) > int(communities(weights).max())


def test_agreement_is_the_adjusted_rand_index():
    one, other = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 0, 1, 2, 2, 2])
    # pairs together: in both 2, in one 3, in other 4, of 15
    assert agreement(one, other) == pytest.approx((2 - 3 * 4 / 15) / (3.5 - 3 * 4 / 15))
    assert agreement(one, torch.tensor([2, 2, 0, 0, 1, 1])) == 1.0


def test_a_group_persists_as_far_as_others_hold_it():
    group = torch.tensor([True, True, True, False, False])
    again = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    assert persistence(group, again) == pytest.approx((1 + 2 / 3) / 2)


def test_cohesion_is_the_mean_sign_of_pairs_that_are_coupled():
    couplings = torch.tensor([[0.0, -1, 2, 0], [-1, 0, -0.1, 0], [2, -0.1, 0, 0], [0, 0, 0, 0]])
    rho, positive = signed_cohesion(couplings, torch.arange(4))
    assert (rho, positive) == (pytest.approx(-1 / 3), pytest.approx(1 / 3))
