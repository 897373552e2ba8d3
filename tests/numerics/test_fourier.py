"""Fourier probes and their spectrum, against numpy, planted planes and exact identities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import generator, randn
from planted_numbers import PERIODS, numbers

from steerlab.numerics.fourier import carried, fit_probes, in_turn, probe_periods, spectrum, waves


def test_waves_are_cosine_and_sine_of_each_period_and_no_sine_of_two():
    n = torch.tensor([0, 1, 5])
    found = waves(n, [2, 10]).numpy()
    n = n.numpy()
    assert found == pytest.approx(
        np.stack([np.cos(np.pi * n), np.cos(np.pi * n / 5), np.sin(np.pi * n / 5)], 1)
    )
    assert probe_periods([2, 10]) == (2, 10, 10)
    with pytest.raises(ValueError, match="2 or more"):
        probe_periods([1.5])
    with pytest.raises(ValueError, match="different"):
        probe_periods([5, 5])


def test_probes_are_numpys_least_squares_on_centred_data():
    g = generator(0)
    x, y = randn(40, 7, g=g) + 3, randn(40, 2, g=g) + 1
    probes = fit_probes(x, y)
    theirs = np.linalg.lstsq(np.c_[x, np.ones(40)], y, rcond=None)[0]
    assert probes.weights.numpy() == pytest.approx(theirs[:7].T) and probes.biases.numpy() == pytest.approx(
        theirs[7]
    )


def test_few_components_keep_the_probes_in_their_span():
    g = generator(1)
    x, y = randn(40, 7, g=g), randn(40, 2, g=g)
    vh = np.linalg.svd((x - x.mean(0)).numpy())[2]
    probes = fit_probes(x, y, components=3)
    assert (probes.weights.numpy() @ vh[3:].T) == pytest.approx(0, abs=1e-12)
    parts = (x - x.mean(0)).numpy() @ vh[:3].T
    theirs = np.linalg.lstsq(parts, (y - y.mean(0)).numpy(), rcond=None)[0].T @ vh[:3]
    assert probes.weights.numpy() == pytest.approx(theirs)


def test_samples_that_are_all_equal_are_refused():
    with pytest.raises(ValueError, match="all equal"):
        fit_probes(torch.ones(4, 3), torch.arange(4.0)[:, None])


def test_the_planted_probes_are_orthogonal_and_the_sine_of_two_has_no_weight():
    planted = numbers()
    unit = planted.code.weights / planted.code.weights.norm(dim=-1, keepdim=True)
    own = torch.tensor(probe_periods(PERIODS))
    others = (unit @ unit.T)[own[:, None] != own]
    assert float(others.square().mean().sqrt()) < 0.01
    few = fit_probes(planted.x, waves(planted.numbers, PERIODS), components=11).weights
    few = few / few.norm(dim=-1, keepdim=True)
    assert float((few @ few.T)[own[:, None] != own].abs().max()) < 0.01
    sine = (torch.pi * planted.numbers.double()).sin()[:, None]
    assert float(fit_probes(planted.x, sine).weights.norm()) < 1e-12 < float(planted.code.weights[0].norm())


def test_edits_in_turn_are_exact_for_orthogonal_probes_only():
    g = generator(2)
    x, targets = randn(5, 6, g=g), randn(5, 2, g=g)
    square = torch.linalg.qr(randn(6, 6, g=g)).Q
    weights, biases = 2 * square[:2], randn(2, g=g)
    there = in_turn(x, weights, biases, targets)
    assert torch.allclose(there @ weights.T + biases, targets)
    assert torch.allclose(there, x + (targets - x @ weights.T - biases) @ torch.linalg.pinv(weights).T)
    slanted = torch.stack([square[0], (square[0] + square[1]) / 2**0.5])
    said = in_turn(x, slanted, biases, targets) @ slanted.T + biases
    assert torch.allclose(said[:, 1], targets[:, 1]) and not torch.allclose(
        said[:, 0], targets[:, 0], atol=0.1
    )


def test_the_spectrum_has_a_line_at_each_planted_period_and_none_elsewhere():
    planted = numbers()
    found = spectrum(planted.x, planted.numbers, range(2, 151), components=12)
    share = dict(zip(found.periods, found.share.tolist(), strict=True))
    assert min(share[period] for period in PERIODS) > 0.99
    # a hundred numbers tell frequencies apart that are 1 / 100 apart or more
    apart = [p for p in share if min(abs(100 / p - 100 / own) for own in PERIODS) >= 1]
    assert {3, 4, 7, 15, 25, 30} <= set(apart) and max(share[p] for p in apart) < 0.1
    assert float(found.null.max()) < 0.1
    assert set(PERIODS) <= set(found.found)


def test_numbers_are_held_out_whole_so_that_learning_them_by_heart_is_no_wave():
    g = generator(3)
    by_heart = randn(20, 64, g=g)[torch.arange(200) % 20]  # a direction of its own for each number
    found = spectrum(by_heart, torch.arange(200) % 20, [2, 5, 10])
    assert float(found.share.max()) < 0.3 and float(found.null.max()) < 0.3
    with pytest.raises(ValueError, match="cannot be held out"):
        spectrum(by_heart, torch.arange(200) % 3, [2, 5])


def test_what_a_neuron_writes_into_a_subspace_is_a_share_of_its_length():
    written = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    assert carried(written, torch.eye(3)[:1]).tolist() == pytest.approx([0.6, 0, 0])
    assert carried(written, torch.eye(3)[:2]).tolist() == pytest.approx([1, 0, 0])
