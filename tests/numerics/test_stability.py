"""Matching of dictionaries: permuted, flipped, offset and random ones, and the published baselines."""

from __future__ import annotations

import numpy as np
import planted
import pytest
import torch

from steerlab.numerics.stability import assign, code_correlation, match_atoms, stability


def gaussian(atoms, dim, seed):
    return planted.randn(atoms, dim, g=planted.generator(seed))


def test_a_permuted_copy_is_stable_and_its_permutation_is_found():
    atoms = gaussian(40, 16, 0)
    order = torch.randperm(40, generator=planted.generator(1))
    for centred in (True, False):
        matching = match_atoms(atoms, atoms[order], centred=centred)
        assert matching.mean == pytest.approx(1, abs=1e-12)
        assert torch.equal(order[matching.columns], torch.arange(40))
        assert matching.values.min() == pytest.approx(1, abs=1e-12)


def test_a_flipped_copy_is_stable_only_without_signs():
    atoms = gaussian(64, 32, 0)
    assert match_atoms(atoms, -atoms, signed=False).mean == pytest.approx(1, abs=1e-12)
    signed = stability(atoms, -atoms)
    assert signed.score == pytest.approx(signed.baseline, abs=0.06)  # no better than random atoms


@pytest.mark.parametrize(
    ("atoms", "dim", "expected"), [(256, 64, 0.327), (1024, 64, 0.379), (1024, 512, 0.137)]
)
def test_random_dictionaries_match_as_well_as_published(atoms, dim, expected):
    first, second = gaussian(atoms, dim, 0), gaussian(atoms, dim, 1)
    assert match_atoms(first, second, centred=False).mean == pytest.approx(expected, abs=0.01)


def test_a_common_offset_looks_like_stability_until_it_is_removed():
    g = planted.generator(3)
    offset = 2 * planted.unit_rows(planted.randn(1, 64, g=g))
    first = planted.unit_rows(planted.randn(256, 64, g=g)) + offset
    second = planted.unit_rows(planted.randn(256, 64, g=g)) + offset
    assert match_atoms(first, second, centred=False).mean == pytest.approx(0.866, abs=0.01)
    measured = stability(first, second)
    assert measured.score == pytest.approx(0.330, abs=0.01)
    assert measured.baseline == pytest.approx(0.327, abs=0.01)
    assert measured.above_chance == pytest.approx(0, abs=0.02)


def test_half_shared_dictionaries_score_half():
    first, second = gaussian(256, 64, 4), gaussian(256, 64, 5)
    second[:128] = first[:128]
    measured = stability(first, second, centred=False)
    assert measured.score == pytest.approx(0.649, abs=0.01)
    weights = torch.zeros(256)
    weights[:128] = 1
    assert measured.matching.weighted(weights) == pytest.approx(1, abs=1e-12)


def test_the_baseline_has_the_shapes_and_the_treatment_of_what_it_stands_beside():
    first, second = gaussian(30, 16, 6), gaussian(300, 16, 7)
    for signed in (True, False):
        measured = stability(first, second, signed=signed)
        assert measured.baseline == pytest.approx(measured.score, abs=0.04)
        assert len(measured.matching.values) == 30
    assert stability(first, second, seed=1).baseline == stability(first, second, seed=1).baseline
    assert stability(first, second, seed=1).baseline != stability(first, second, seed=2).baseline


def test_the_assignment_is_the_best_of_all():
    from itertools import permutations

    similarity = gaussian(6, 6, 8)
    best = max(sum(float(similarity[i, p[i]]) for i in range(6)) for p in permutations(range(6)))
    assert float(assign(similarity).values.sum()) == pytest.approx(best)


def test_codes_correlate_as_numpy_says_and_silent_ones_not_at_all():
    first, second = gaussian(50, 3, 9), gaussian(50, 4, 10)
    first[:, 2] = 0
    got = code_correlation(first, second).numpy()
    expected = np.corrcoef(first.numpy()[:, :2], second.numpy(), rowvar=False)[:2, 2:]
    np.testing.assert_allclose(got[:2], expected, atol=1e-12)
    assert (got[2] == 0).all()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="4 and of 5 dimensions"):
        match_atoms(torch.ones(2, 4), torch.ones(2, 5))
    with pytest.raises(ValueError, match="not paired"):
        code_correlation(torch.ones(2, 4), torch.ones(3, 4))
