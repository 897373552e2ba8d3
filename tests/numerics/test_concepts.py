"""Shared concepts of several models: entropies and proportions by hand, translation with oracle codes."""

from __future__ import annotations

import numpy as np
import planted
import pytest
import torch
from scipy import stats

from steerlab.numerics.concepts import (
    auc,
    cofire_proportion,
    consistency,
    edit_agreement,
    firing_entropy,
    iso_distribution_loss,
    iso_energy_loss,
    mapped,
    mean_contribution,
    paired_code_loss,
    translation_r2,
)


@pytest.fixture
def models():
    """One set of codes ``[500, 64]`` and dictionaries into 16, 24 and 12 dimensions."""
    g = planted.generator(0)
    codes = planted.sparse(500, 64, 6, g)
    return codes, [planted.randn(64, dim, g=g) for dim in (16, 24, 12)]


def test_firing_entropy_by_hand():
    counts = torch.tensor([[5, 9, 3, 0], [5, 0, 3, 0], [5, 0, 0, 0]])
    got = firing_entropy(counts)
    np.testing.assert_allclose(got[:3].numpy(), [1, 0, np.log(2) / np.log(3)], atol=1e-12)
    assert got[2].item() == pytest.approx(0.6309, abs=1e-4)
    assert got[3].isnan()
    with pytest.raises(ValueError, match="two models"):
        firing_entropy(counts[:1])


def test_cofire_proportion_by_construction():
    first, second = torch.zeros(20, 2), torch.zeros(20, 2)
    first[0:10, 0], second[5:15, 0] = 1.0, 0.2
    first[:, 1] = 0.1  # at the threshold, not above it
    got = cofire_proportion([first, second])
    assert got[:, 0].tolist() == [0.5, 0.5]
    assert got[:, 1].isnan().all()
    third = torch.zeros(20, 2)
    third[9:, 0] = 1
    assert cofire_proportion([first, second, third])[:, 0].tolist() == [0.1, 0.1, pytest.approx(1 / 11)]


def test_oracle_codes_translate_everywhere_and_a_wrong_index_nowhere(models):
    codes, dictionaries = models
    wrong = torch.roll(torch.arange(64), 1)
    for atoms in dictionaries:
        target = codes @ atoms + 3
        assert translation_r2(codes, target, atoms=atoms, offset=3.0) == pytest.approx(1, abs=1e-12)
        assert translation_r2(codes, target, atoms=atoms, index=wrong, offset=3.0) < -0.5
        # the same concepts in another order, with the index that says so
        order = torch.randperm(64, generator=planted.generator(1))
        turned = torch.empty_like(atoms)
        turned[order] = atoms
        assert translation_r2(codes, target, atoms=turned, index=order, offset=3.0) == pytest.approx(1)


def test_codes_move_to_their_places_and_add_up():
    got = mapped(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([4, 0, 4]), atoms=5)
    assert got.tolist() == [[2.0, 0.0, 0.0, 0.0, 4.0]]


def test_an_edited_concept_moves_every_model_along_its_atom(models):
    codes, dictionaries = models
    edited = codes.clone()
    edited[:, 7] = 5.0
    for atoms in dictionaries:
        change = (edited - codes) @ atoms
        cosine, off = edit_agreement(change, atoms[7])
        torch.testing.assert_close(cosine, torch.ones(500, dtype=torch.float64))
        assert float(off.max()) < 1e-12
        # where activations were standardised, undoing it doubles the change and turns nothing
        torch.testing.assert_close(2 * change, (2 * edited - 2 * codes) @ atoms)
    cosine, off = edit_agreement(torch.tensor([3.0, 4.0]), torch.tensor([10.0, 0.0]))
    assert cosine.item() == pytest.approx(0.6) and off.item() == pytest.approx(0.64)


def test_consistency_is_correlation_atom_by_atom(models):
    codes, _ = models
    noisy = codes + planted.randn(500, 64, g=planted.generator(2))
    expected = [np.corrcoef(codes[:, k].numpy(), noisy[:, k].numpy())[0, 1] for k in range(64)]
    np.testing.assert_allclose(consistency(codes, noisy).numpy(), expected, atol=1e-12)
    order = torch.randperm(64, generator=planted.generator(3))
    np.testing.assert_allclose(
        consistency(codes, noisy[:, order.argsort()], index=order).numpy(), expected, atol=1e-12
    )
    assert consistency(codes, torch.zeros_like(codes)).tolist() == [0] * 64


def test_iso_energy_is_zero_for_equal_and_three_fifths_for_doubled_codes(models):
    codes, _ = models
    assert iso_energy_loss(codes, codes).item() == 0
    assert iso_energy_loss(codes, codes[torch.randperm(500)]).item() == pytest.approx(
        0, abs=1e-12
    )  # no pairs
    assert iso_energy_loss(codes, 2 * codes).item() == pytest.approx(0.59999, abs=2e-5)
    only = iso_energy_loss(codes, torch.zeros_like(codes)).item()
    assert only == pytest.approx(1, abs=1e-3)


def test_losses_that_see_more_than_energy():
    a = torch.tensor([[3.0], [0.0], [0.0], [0.0]])
    b = torch.full((4, 1), 1.5)  # the same mean square, another distribution
    assert iso_energy_loss(a, b).item() == pytest.approx(0, abs=1e-6)
    assert iso_distribution_loss(a, b).item() > 1
    assert iso_distribution_loss(b, 2 * b).item() == pytest.approx(np.log(2), abs=1e-4)
    assert iso_distribution_loss(a, a.flip(0)).item() == 0
    assert paired_code_loss(a, a).item() == 0
    # disjoint codes: each squared difference is an energy, so the mean is one
    assert paired_code_loss(a, a.flip(0)).item() == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="no common ranks"):
        iso_distribution_loss(a, b[:2])


def test_the_loss_has_a_gradient_that_balances_energies():
    second = torch.full((4, 1), 2.0, requires_grad=True)
    iso_energy_loss(torch.ones(4, 1), second).backward()
    assert bool((second.grad > 0).all())  # the louder side is told to be quieter


def test_mean_contribution_by_hand():
    codes = torch.tensor([[1.0, -1.0], [3.0, 1.0]])
    assert mean_contribution(codes, torch.tensor([[3.0, 4.0], [1.0, 0.0]])).tolist() == [100.0, 0.0]


def test_auc_is_the_rank_statistic_with_ties():
    g = planted.generator(4)
    positive, negative = (planted.randn(n, 5, g=g).round(decimals=0) for n in (30, 47))
    expected = [
        stats.mannwhitneyu(positive[:, k].numpy(), negative[:, k].numpy()).statistic / (30 * 47)
        for k in range(5)
    ]
    np.testing.assert_allclose(auc(positive, negative).numpy(), expected, atol=1e-12)
    assert auc(torch.tensor([[2.0]]), torch.tensor([[1.0]])).item() == 1
