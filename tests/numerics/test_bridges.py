"""Bridges: the sum identity, split concepts, broken pairs, and the guarded ratio."""

from __future__ import annotations

import math

import planted
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from steerlab.numerics.bridges import bridge, bridge_energy, bridge_ratio, population_plan, top_bridges
from steerlab.numerics.modality import (
    ModalityClasses,
    energy,
    energy_shares,
    modality_classes,
    modality_score,
)


def test_a_bridge_sums_to_the_mean_inner_product_of_pairs():
    pairs = planted.crowded(300)
    a, b = pairs.x
    matrix = bridge(pairs.first, pairs.second, atoms=pairs.atoms)
    assert float(matrix.sum()) == pytest.approx(float((a * b).sum(1).mean()), abs=1e-10)


def test_broken_pairs_carry_no_centred_bridge():
    pairs = planted.paired(20000)
    shuffled = pairs.second[torch.randperm(20000, generator=planted.generator(1))]
    intact = bridge(pairs.first, pairs.second, atoms=pairs.atoms, centred=True)
    broken = bridge(pairs.first, shuffled, atoms=pairs.atoms, centred=True)
    assert float(broken.abs().max()) < 0.01
    assert float(intact.diagonal()[pairs.shared].min()) > 0.1
    # raw moments do not fall: two concepts that are often on meet by chance
    assert float(bridge(pairs.first, shuffled, atoms=pairs.atoms).sum()) > 0.3


def test_a_split_concept_bridges_two_atoms():
    fires = (planted.rand(200_000, 1, g=planted.generator(0)) < 0.3).double()
    zero = torch.zeros_like(fires)
    atoms = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    first, second = torch.cat([fires, zero], 1), torch.cat([zero, fires], 1)
    matrix = bridge(first, second, atoms=atoms)
    assert float(matrix[0, 1]) == pytest.approx(0.18, abs=0.005)
    assert matrix[0, 0] == matrix[1, 1] == matrix[1, 0] == 0
    best = top_bridges(first, second, atoms=atoms, count=1)
    assert (int(best.first), int(best.second)) == (0, 1)
    carried, share = bridge_energy(matrix)
    torch.testing.assert_close(carried, matrix[0, 1] / 2 * torch.ones(2, dtype=torch.float64))
    assert share.tolist() == [1.0, 0.0]


def test_an_orthonormal_dictionary_has_a_diagonal_bridge_and_an_infinite_ratio():
    pairs = planted.paired()
    z1, z2 = (x @ pairs.atoms.T for x in pairs.x)
    matrix = bridge(z1, z2, atoms=pairs.atoms)
    assert float((matrix - matrix.diagonal().diag()).abs().max()) < 1e-12
    e1, e2 = energy(z1), energy(z2)
    classes = modality_classes(modality_score(e1, e2))
    share = energy_shares(classes, e1, second=e2).shared
    assert bridge_ratio(matrix, classes, share=share) == math.inf
    assert math.isnan(bridge_ratio(matrix, classes, share=0.0))
    assert math.isnan(bridge_ratio(matrix, classes, share=1.0))


def test_the_ratio_by_hand():
    def mask(*on):
        return torch.tensor([k in on for k in range(4)])

    classes = ModalityClasses(first=mask(0), shared=mask(1), second=mask(2), dead=mask(3))
    matrix = torch.tensor(
        [[0.0, 1.0, -2.0, 9.0], [1.0, 4.0, 1.0, 9.0], [1.0, 0.0, 1.0, 9.0], [9.0, 9.0, 9.0, 9.0]]
    )
    # with the shared atom: 1 + 1 + 4 + 1 + 0 = 7; without: 2 + 1 + 1 = 4; the dead atom counts nowhere
    assert bridge_ratio(matrix, classes, share=0.25) == pytest.approx(7 / 0.25 * 0.75 / 4)


@pytest.mark.parametrize("centred", [False, True])
def test_the_top_pairs_in_blocks_are_the_top_of_the_whole(monkeypatch, centred):
    monkeypatch.setattr("steerlab.numerics.bridges.BLOCK", 7)
    pairs = planted.crowded(200)
    matrix = bridge(pairs.first, pairs.second, atoms=pairs.atoms, centred=centred)
    best = top_bridges(pairs.first, pairs.second, atoms=pairs.atoms, count=60, centred=centred)
    torch.testing.assert_close(best.values, matrix.flatten().topk(60).values)
    torch.testing.assert_close(matrix[best.first, best.second], best.values)
    assert len({(int(i), int(j)) for i, j in zip(best.first, best.second, strict=True)}) == 60


def test_unpaired_groups_have_no_bridge():
    with pytest.raises(ValueError, match="3 samples meet 2"):
        bridge(torch.ones(3, 1), torch.ones(2, 1), atoms=torch.ones(1, 1))


def test_equal_energies_stay_where_they_are_and_split_ones_cross_over():
    atoms = planted.unit_rows(planted.randn(6, 4, g=planted.generator(2)))
    e = planted.rand(6, g=planted.generator(3))
    torch.testing.assert_close(
        population_plan(3 * e, e, atoms=atoms), (e / e.sum()).diag(), atol=1e-9, rtol=0
    )
    split = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    plan = population_plan(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 5.0]), atoms=split)
    torch.testing.assert_close(plan * (split @ split.T), torch.tensor([[0.0, 0.6], [0.0, 0.0]]).double())


def test_the_population_plan_is_an_assignment_where_energies_are_even():
    """Six even energies on either side of twelve atoms: scipy's own assignment is as cheap."""
    atoms = planted.unit_rows(planted.randn(12, 5, g=planted.generator(4)))
    first, second = torch.zeros(2, 12, dtype=torch.float64)
    first[:6], second[6:] = 1.0, 1.0
    plan, cost = population_plan(first, second, atoms=atoms), 1 - atoms @ atoms.T
    torch.testing.assert_close(plan.sum(1), first / 6, atol=1e-9, rtol=0)
    torch.testing.assert_close(plan.sum(0), second / 6, atol=1e-9, rtol=0)
    rows, columns = linear_sum_assignment(cost[:6, 6:].numpy())
    assert float((plan * cost).sum()) == pytest.approx(float(cost[:6, 6:][rows, columns].mean()), abs=1e-9)
