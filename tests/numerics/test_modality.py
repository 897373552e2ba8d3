"""Energies, modality scores and classes on data whose shared and private atoms are known."""

from __future__ import annotations

import planted
import pytest
import torch

from steerlab.numerics.modality import (
    energy,
    energy_shares,
    mean_code_score,
    modality_classes,
    modality_score,
    modality_spread,
    shift_together,
    subtract_means,
)


def inferred(pairs):
    """Codes by the transpose of an orthonormal dictionary, which is an exact encoder."""
    return tuple(x @ pairs.atoms.T for x in pairs.x)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_construction_g_is_sorted_without_a_mistake(seed):
    pairs = planted.paired(seed=seed)
    e1, e2 = (energy(z) for z in inferred(pairs))
    score = modality_score(e1, e2)
    assert 0.46 < score[pairs.shared].min() and score[pairs.shared].max() < 0.54
    torch.testing.assert_close(score[pairs.image], torch.ones(4, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(score[pairs.text], torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    classes = modality_classes(score)
    assert torch.equal(classes.first, pairs.image)
    assert torch.equal(classes.second, pairs.text)
    assert torch.equal(classes.shared, pairs.shared)
    assert not classes.dead.any()
    shares = energy_shares(classes, e1, second=e2)
    assert shares.first + shares.shared + shares.second == pytest.approx(1, abs=1e-12)
    # 5 codes of mean square 13/12 with noise against 4 + 3 * (1/2)(1/3) of private energy
    five = 5 * (1 + 1 / 12) * (1 + 0.01 / 3)
    assert shares.shared == pytest.approx(five / (five + 4.5), abs=0.02)
    assert not shares.split_suspected


def test_a_dead_atom_is_in_no_class():
    score = modality_score(torch.tensor([1.0, 1e-10, 0.0]), torch.tensor([1.0, 1e-10, 0.0]))
    assert score.tolist() == [0.5, -1.0, -1.0]
    classes = modality_classes(score)
    assert classes.dead.tolist() == [False, True, True]
    assert not (classes.first | classes.second)[1:].any() and not classes.shared[1:].any()


def test_the_borders_of_the_classes():
    score = torch.tensor([0.0, 0.0499, 0.05, 0.5, 0.95, 0.9501, 1.0], dtype=torch.float64)
    classes = modality_classes(score)
    assert classes.second.tolist() == [True, True, False, False, False, False, False]
    assert classes.shared.tolist() == [False, False, True, True, True, False, False]
    assert classes.first.tolist() == [False, False, False, False, False, True, True]
    # .05 is an amplitude ratio of sqrt(19)
    ratio = modality_score(torch.tensor([1.0]), torch.tensor([19.0]))
    assert float(ratio) == pytest.approx(0.05)


def test_groups_of_unequal_size_leave_shared_atoms_at_one_half():
    pairs = planted.paired(1000, texts=3000)
    score = modality_score(energy(pairs.first), energy(pairs.second))
    assert float(score[pairs.shared].mean()) == pytest.approx(0.5, abs=0.01)
    pooled = pairs.first.square().sum(0) / (pairs.first.square().sum(0) + pairs.second.square().sum(0))
    assert float(pooled[pairs.shared].mean()) == pytest.approx(0.25, abs=0.02)  # what sums would say


def test_energy_and_mean_code_are_different_scores():
    rare, common = torch.zeros(100, 1), torch.zeros(100, 1)
    rare[:1], common[:10] = 10.0, 1.0
    assert float(mean_code_score(rare, common)) == pytest.approx(0.5)
    assert float(modality_score(energy(rare), energy(common))) == pytest.approx(100 / 110)
    alternating = torch.tensor([[1.0], [-1.0]]).repeat(50, 1)
    weak = torch.full((100, 1), 0.1)
    assert float(mean_code_score(alternating, weak)) == pytest.approx(0, abs=1e-6)
    assert float(modality_score(energy(alternating), energy(weak))) == pytest.approx(1 / 1.01, abs=1e-6)


def test_spread_is_zero_when_shared_and_one_half_apart():
    one = torch.tensor([1.0, 2.0])
    assert modality_spread(one, one) == 0
    assert modality_spread(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 5.0, 0.0])) == pytest.approx(0.5)
    # energies 3 + 1 at mu = 3/4 and 0 + 4 at mu = 0
    expected = ((4 * 0.0625 + 4 * 0.25) / 8) ** 0.5
    assert modality_spread(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 4.0])) == pytest.approx(expected)


def test_codes_with_axes_of_samples_and_tokens_are_averaged_over_both():
    codes = torch.randn(3, 4, 5, generator=planted.generator(0))
    torch.testing.assert_close(energy(codes), codes.double().pow(2).sum((0, 1)) / 12)


def test_means_removed_and_groups_shifted_meet_at_one_point():
    a, b = planted.paired().x
    u, v = subtract_means(a, b)
    assert u.mean(0).abs().max() < 1e-12 and v.mean(0).abs().max() < 1e-12
    s, t = shift_together(a, b)
    torch.testing.assert_close(s.mean(0), (a.mean(0) + b.mean(0)) / 2)
    torch.testing.assert_close(t.mean(0), s.mean(0))
    torch.testing.assert_close(s - s.mean(0), u)


def test_split_concepts_are_suspected():
    pairs = planted.split(0.5)
    e1, e2 = energy(pairs.first), energy(pairs.second)
    classes = modality_classes(modality_score(e1, e2))
    assert not classes.shared.any()
    shares = energy_shares(classes, e1, second=e2)
    assert shares.shared == 0 and shares.split_suspected
